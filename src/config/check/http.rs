//! `[http]`: the address of metrics and probes, and who may ask for state there.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use toml::Spanned;

use super::Check;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::kafka::settings;

/// The default address: only processes of this machine reach it.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9108);

/// `[http]`, checked.
pub(super) struct Http {
    pub(super) listen: SocketAddr,
    /// Whether committed values are served: by default only where nobody else can reach them.
    pub(super) serves_state: bool,
    /// Whether records may be watched; `None` if the file doesn't say.
    pub(super) serves_tap: Option<bool>,
    pub(super) advertise: Option<String>,
    /// The first key, if there is one.
    pub(super) span: Option<Span>,
}

/// Checks `[http]`. `has_windows`: there is a step whose state could be asked for.
pub(super) fn http(check: &mut Check<'_>, raw: &raw::Http, has_windows: bool) -> Http {
    let listen = raw.listen.as_ref().map_or(LISTEN, |listen| address(check, listen));
    let serves_state = raw.state.as_ref().map_or_else(|| listen.ip().is_loopback(), |state| *state.get_ref());
    let serves_tap = raw.tap.as_ref().map(|tap| *tap.get_ref());
    let advertise =
        raw.advertise.as_ref().and_then(|advertise| advertised(check, advertise, serves_state, has_windows));
    let spans = [
        raw.listen.as_ref().map(Spanned::span),
        raw.state.as_ref().map(Spanned::span),
        raw.tap.as_ref().map(Spanned::span),
        raw.advertise.as_ref().map(Spanned::span),
    ];
    Http { listen, serves_state, serves_tap, advertise, span: spans.into_iter().flatten().next().map(Span::from) }
}

pub(super) fn address(check: &mut Check<'_>, listen: &Text) -> SocketAddr {
    listen.get_ref().parse().unwrap_or_else(|_| {
        let shown = check.shown(listen);
        check.report.add(
            listen.span().into(),
            format!("{shown} is not an address to listen at"),
            "write an IP address and a port, such as \"127.0.0.1:9108\" or \"0.0.0.0:9108\"",
        );
        LISTEN
    })
}

fn advertised(check: &mut Check<'_>, text: &Text, serves_state: bool, has_windows: bool) -> Option<String> {
    let span = text.span().into();
    if !settings::is_address(text.get_ref()) {
        let message = format!("`http.advertise`: {} is not `host:port`", check.shown(text));
        check.report.add(span, message, "write what other machines connect to, such as \"wasmill-0.wasmill:9108\"");
        return None;
    }
    if !has_windows {
        let message = "`http.advertise` without a step with windows: there is no state to ask for";
        check.report.add(span, message, "remove it");
    } else if !serves_state {
        let message = "`http.advertise` sends others to this process, and `http.state` is `false`";
        check.report.add(span, message, "write `state = true` in `[http]`, or remove `advertise`");
    }
    Some(text.get_ref().clone())
}
