//! The settings of a process with several pipelines.

use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::Check;
use super::http;
use super::value;
use crate::config::interpolate::Secrets;
use crate::config::process::Process;
use crate::config::process::Raw;
use crate::config::process::Restart;
use crate::config::process::Waits;
use crate::config::report::Report;

/// The waits before a failed pipeline is started again, where the file names only one of them.
const FROM: Duration = Duration::from_secs(10);
const TO: Duration = Duration::from_secs(5 * 60);

/// Checks the raw file. Where the report has a finding, the result holds a default.
pub(in crate::config) fn process(raw: Raw, secrets: &Secrets, report: &mut Report) -> Process {
    let check = &mut Check { report, secrets, folder: Path::new(""), whole: true };
    let listen = raw.http.listen.map(|listen| http::address(check, &listen));
    let restart = raw.service.restart.map(|restart| waits(check, &restart));
    Process { http: listen, restart }
}

fn waits(check: &mut Check<'_>, restart: &Spanned<Waits>) -> Restart {
    let Waits { from, to } = restart.get_ref();
    let [first, longest] =
        [(from, "restart.from"), (to, "restart.to")].map(|(text, key)| value::duration(check, text.as_ref(), key));
    let from = first.unwrap_or_else(|| FROM.min(longest.unwrap_or(FROM)));
    let to = longest.unwrap_or_else(|| TO.max(from));
    if to < from {
        check.report.add(
            restart.span().into(),
            "`restart`: `to` is shorter than `from`",
            "the wait before a start grows from `from` to `to`: write for example `{ from = \"10s\", to = \"5m\" }`",
        );
    }
    Restart { from, to: to.max(from) }
}
