//! Who may change something, or see what records hold.
//!
//! With a token in the process's file, users who have it; without one, users of this machine. A page of the internet in the browser of
//! somebody on this machine is not: a request of such a page has an `Origin` that isn't the server's, or a `Host` that isn't this machine.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::header::HOST;
use axum::http::header::ORIGIN;
use sha2::Digest as _;
use sha2::Sha256;

use crate::secret::Secret;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub struct Access {
    token: Option<Secret>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It has no token, and needs one.
    NoToken,
    /// It has another token.
    WrongToken,
    /// No token is set, and it comes from another machine.
    Elsewhere,
    /// It comes from a page of another server.
    OtherPage,
}

/// An answer to a wrong token is delayed by this, so that tokens can't be tried out quickly.
pub(super) const DELAY: Duration = Duration::from_millis(500);

impl Access {
    /// With this token, or for this machine alone.
    #[must_use]
    pub fn new(token: Option<Secret>) -> Access {
        Access { token }
    }

    /// Whether a request from this address may do that, or why not.
    pub(super) fn judge(&self, from: SocketAddr, headers: &HeaderMap) -> Result<(), Denied> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = header(HOST).unwrap_or_default();
        let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of == host);
        if headers.contains_key(ORIGIN) && !header(ORIGIN).is_some_and(is_own) {
            return Err(Denied::OtherPage);
        }
        let given = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        match (&self.token, given) {
            (Some(token), Some(given)) if is_same(&token.0, given) => Ok(()),
            (Some(_), Some(_)) => Err(Denied::WrongToken),
            (Some(_), None) => Err(Denied::NoToken),
            (None, _) if !from.ip().to_canonical().is_loopback() => Err(Denied::Elsewhere),
            (None, _) if !is_this_machine(host) => Err(Denied::OtherPage),
            (None, _) => Ok(()),
        }
    }
}

impl Denied {
    pub(super) fn text(self) -> &'static str {
        match self {
            Denied::NoToken => {
                "this needs the token of `[http] token` in wasmill.toml: send the header `Authorization: Bearer TOKEN`"
            }
            Denied::WrongToken => "the token is another one than that of `[http] token` in wasmill.toml",
            Denied::Elsewhere => {
                "this is for requests from the same machine only, because no `[http] token` is set in wasmill.toml"
            }
            Denied::OtherPage => "the request comes from the page of another server",
        }
    }
}

/// Compares digests, so that the time it takes says nothing about the token.
fn is_same(token: &str, given: &str) -> bool {
    let [token, given] = [token, given].map(|text| Sha256::digest(text.as_bytes()));
    token.iter().zip(&given).fold(0, |differences, (one, other)| differences | (one ^ other)) == 0
}

/// Whether a `Host` header names this machine, so that no name of elsewhere was made to lead here.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn judged(token: Option<&str>, from: &str, headers: &[(HeaderName, &str)]) -> Result<(), Denied> {
        let access = Access::new(token.map(|token| Secret(token.to_owned())));
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        access.judge(from.parse().unwrap(), &headers)
    }

    const HERE: &str = "127.0.0.1:40000";
    const THERE: &str = "10.0.0.7:40000";

    #[test]
    fn without_a_token_only_this_machine_may_and_no_page_of_elsewhere() {
        let host = |name| [(HOST, name)];
        for name in ["localhost:9108", "127.0.0.1:9108", "[::1]:9108", "LOCALHOST"] {
            assert_eq!(judged(None, HERE, &host(name)), Ok(()), "{name}");
        }
        assert_eq!(judged(None, "[::ffff:127.0.0.1]:1", &host("localhost")), Ok(()));
        assert_eq!(judged(None, THERE, &host("localhost")), Err(Denied::Elsewhere));
        assert_eq!(judged(None, HERE, &host("evil.example:9108")), Err(Denied::OtherPage), "a name that leads here");
        let page = |origin| judged(None, HERE, &[(HOST, "localhost:9108"), (ORIGIN, origin)]);
        assert_eq!(page("http://localhost:9108"), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:80"] {
            assert_eq!(page(origin), Err(Denied::OtherPage), "{origin}");
        }
    }

    #[test]
    fn with_a_token_only_users_who_have_it_may() {
        let with = |value| judged(Some("canary"), THERE, &[(HOST, "mill:9108"), (AUTHORIZATION, value)]);
        assert_eq!(with("Bearer canary"), Ok(()));
        for wrong in ["Bearer canar", "Bearer canary2", "Bearer "] {
            assert_eq!(with(wrong), Err(Denied::WrongToken), "{wrong}");
        }
        assert_eq!(with("Basic canary"), Err(Denied::NoToken));
        assert_eq!(judged(Some("canary"), HERE, &[(HOST, "localhost")]), Err(Denied::NoToken), "also on this machine");
        assert!(!format!("{:?}", Access::new(Some(Secret("canary".into())))).contains("canary"));
    }
}
