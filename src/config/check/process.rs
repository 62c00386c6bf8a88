//! The settings of a process with several pipelines.

use std::time::Duration;

use toml::Spanned;

use super::Check;
use super::connection;
use super::http;
use super::value;
use crate::config::interpolate::Secrets;
use crate::config::process::Process;
use crate::config::process::Raw;
use crate::config::process::Restart;
use crate::config::process::Waits;
use crate::config::raw::Text;
use crate::config::report::Report;
use crate::secret::Secret;
use crate::trace::is_endpoint;

/// The waits before a failed pipeline is started again, where the file names only one of them.
const FROM: Duration = Duration::from_secs(10);
const TO: Duration = Duration::from_secs(5 * 60);
/// One pipeline with the smallest plugin and a little in flight needs this much.
const MEMORY_MIN: u64 = 16 << 20;
const MEMORY_MAX: u64 = 1 << 50;
/// With a try each half second, shorter tokens could be found.
const TOKEN_MIN: usize = 16;

/// Checks the raw file. Where the report has a finding, the result holds a default.
pub(in crate::config) fn process(raw: Raw, whole: bool, secrets: &Secrets, report: &mut Report) -> Process {
    let check = &mut Check { report, secrets, whole };
    let listen = raw.http.listen.map(|listen| http::address(check, &listen));
    let token = raw.http.token.and_then(|token| secret(check, &token));
    let restart = raw.service.restart.map(|restart| waits(check, &restart));
    if let Some(kafka) = raw.kafka {
        connection::of_process(check, kafka.into_inner());
    }
    let memory = value::size(check, raw.limits.memory.as_ref(), "limits.memory", MEMORY_MIN, MEMORY_MAX);
    let trace_endpoint = raw.trace.endpoint.and_then(|url| collector(check, &url));
    Process { http: listen, token, serves_tap: raw.http.tap.unwrap_or(false), restart, memory, trace_endpoint }
}

/// The URL of a collector.
fn collector(check: &mut Check<'_>, url: &Text) -> Option<String> {
    match is_endpoint(url.get_ref()) {
        Ok(()) => Some(url.get_ref().clone()),
        Err(help) => {
            let shown = check.shown(url);
            check.report.add(url.span().into(), format!("`trace.endpoint` can't be used: {shown}"), help);
            None
        }
    }
}

/// A token that can be sent in a header, and can't be guessed by trying.
fn secret(check: &mut Check<'_>, token: &Text) -> Option<Secret> {
    let text = token.get_ref().trim_end();
    let help = match text {
        _ if text.len() < TOKEN_MIN => "write 16 characters or more, such as the output of `openssl rand -hex 16`",
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => "use letters, digits and punctuation of ASCII only",
        _ => return Some(Secret(text.to_owned())),
    };
    check.report.add(token.span().into(), "`http.token` can't be used", help);
    None
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
