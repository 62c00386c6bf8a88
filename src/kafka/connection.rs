//! Explains why a broker can't be reached: turns librdkafka's text into one sentence with the broker, the reason and
//! the key to change.
//!
//! Pure. librdkafka reports the same failure up to four times, as an error and as log lines, in terms of its own
//! settings. Here they become one [`ConnectionProblem`]. Text that isn't recognized gives `None` and is shown
//! unchanged. Invariant: no text is longer than a line, and none contains the value of a setting.

use std::borrow::Cow;
use std::fmt;

/// The text that precedes OpenSSL's error number in the log line that `sys::callbacks::refuse_certificate` causes.
pub(crate) const X509: &str = "x509 error ";

/// A connection that can't be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionProblem {
    /// `host:port`, as librdkafka knows it; `None` if no broker was asked.
    pub broker: Option<String>,
    /// What is wrong and what to change.
    pub text: Cow<'static, str>,
    /// Whether the broker refused who logs in.
    pub is_refused: bool,
}

impl fmt::Display for ConnectionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.broker {
            Some(broker) => write!(f, "broker {broker}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// How librdkafka begins the text about a failed [`fail`](super::sys::TokenTarget::fail).
const TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token: ";
const NO_TOKEN: &str = "no new token for the brokers: ";
const TOKEN_REFUSED: &str = "it refused the token: a wrong one, an expired one, or one for others; see what `kafka.sasl` fetches, and the log of the brokers";

/// The problem that a text of librdkafka describes. `has_token` says whether the client logs in with a token.
pub(crate) fn trouble(text: &str, has_token: bool) -> Option<ConnectionProblem> {
    let text = text.lines().next().unwrap_or_default();
    if let Some(text) = no_token(text) {
        return Some(ConnectionProblem { broker: None, text: text.into(), is_refused: false });
    }
    let reason = reason(text)?;
    let is_refused = reason == LOGIN_REFUSED;
    let reason = if is_refused && has_token { TOKEN_REFUSED } else { reason };
    Some(ConnectionProblem { broker: Some(broker(text).to_owned()), text: reason.into(), is_refused })
}

/// What to do about a refused connection, for a client that logs in with a token; `None` if the text is about something else.
#[must_use]
pub fn token_help(text: &str) -> Option<&'static str> {
    if text.starts_with(NO_TOKEN) {
        return Some("run the command, or ask the server, as the user who runs wasmill");
    }
    (reason(text) == Some(LOGIN_REFUSED)).then_some(TOKEN_REFUSED)
}

/// Why there is no token, if that is what the text says.
pub(crate) fn no_token(text: &str) -> Option<String> {
    text.split_once(TOKEN).map(|(_, why)| format!("{NO_TOKEN}{why}"))
}

/// Whether the text only repeats what another line says better: a failed TLS verification, of this client or of the
/// other one, or a timeout, which the worker already reports as no broker answering. librdkafka takes a silent broker
/// for one from 2015, and suggests one of its own settings.
///
/// The texts of failed verifications are OpenSSL's. librdkafka prefixes them with "SSL handshake failed", unless the
/// broker's answer arrives within the call that starts the handshake (2.12.1: `rd_kafka_transport_ssl_connect`).
pub(crate) fn is_duplicate(text: &str) -> bool {
    text.contains("certificate verify failed") || text.contains("ApiVersionRequest failed: Local: Timed out")
}

/// Whether the text says only that no broker can be reached.
pub(crate) fn is_consequence(text: &str) -> bool {
    text.ends_with("brokers are down")
}

fn reason(text: &str) -> Option<&'static str> {
    let has = |part: &str| text.contains(part);
    if let Some((_, rest)) = text.split_once(X509) {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        return Some(match digits.trim_start_matches('0') {
            "9" => "its certificate is not valid yet: compare the clocks, or have the broker's certificate renewed",
            "10" => "its certificate has expired: have it renewed; if it is valid, this machine's clock is wrong",
            "62" | "64" => {
                "its certificate is for another host name: write the name of the certificate under `kafka.brokers` and in the \
                 broker's `advertised.listeners`"
            }
            "2" | "18" | "19" | "20" | "21" => {
                "its certificate is of an authority that is not known here: set `kafka.tls.ca` to that authority's PEM"
            }
            _ => {
                "its certificate was not accepted: set `kafka.tls.ca` to the authority's PEM, and see the broker's certificate"
            }
        });
    }
    let alert = has("certificate required") || has("bad certificate") || has("unknown ca") || has("handshake failure");
    if alert || has("client SSL authentication might be required") {
        return Some("it requires a client certificate that it trusts: set `kafka.tls.cert` and `kafka.tls.key`");
    }
    // The second text is the first one without librdkafka's guess: see `is_duplicate`.
    let left =
        has("connecting to a PLAINTEXT broker listener?") || has("Disconnected") && has("in state SSL_HANDSHAKE");
    if left || has("wrong version number") {
        return Some(
            "TLS got no answer there, the port may be one without TLS: remove `kafka.tls`, or use the TLS port",
        );
    }
    if has("connecting to a SSL listener?") || has("broker might require SASL authentication") {
        return Some(
            "it closed a connection without TLS, the port may be one with TLS or SASL: set `kafka.tls` or `kafka.sasl`",
        );
    }
    if has("Unsupported SASL mechanism") {
        return Some("it doesn't take this mechanism: change `kafka.sasl.mechanism`");
    }
    let sasl =
        has("SASL") && (has("authentication error") || has("authentication failed") || has("Authentication failed"));
    sasl.then_some(LOGIN_REFUSED)
}

const LOGIN_REFUSED: &str =
    "it refused the user or the password: change `kafka.sasl.username` and `kafka.sasl.password`";

/// The broker in `[thrd:NAME]: sasl_ssl://HOST:PORT/bootstrap: text`.
fn broker(text: &str) -> &str {
    let text = text.strip_prefix("[thrd:").and_then(|text| text.split_once("]: ")).map_or(text, |(_, text)| text);
    let name = text.split_once(": ").map_or("", |(name, _)| name);
    let name = name.rsplit_once("://").map_or(name, |(_, name)| name);
    let name = name.split_once('/').map_or(name, |(name, _)| name);
    if name.is_empty() || name.contains(' ') { "a broker" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, part: &str) {
        let trouble = trouble(text, false).expect("it is known");
        assert_eq!(trouble.broker.as_deref(), Some("127.0.0.1:9093"));
        assert!(trouble.text.contains(part), "{text}: {}", trouble.text);
    }

    #[test]
    fn each_failure_names_the_broker_and_the_key_to_change() {
        let line = |number| {
            format!(
                "[thrd:ssl://127.0.0.1:9093/bootstrap]: ssl://127.0.0.1:9093/bootstrap: Broker certificate verification failed: \
                 {X509}{number:03}"
            )
        };
        check(&line(10), "expired");
        check(&line(19), "kafka.tls.ca");
        check(&line(64), "another host name");
        check(
            "ssl://127.0.0.1:9093/1: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
            "remove `kafka.tls`",
        );
        check(
            "ssl://127.0.0.1:9093/1: Disconnected: connection closed by peer (after 3ms in state SSL_HANDSHAKE)",
            "remove `kafka.tls`",
        );
        check(
            "ssl://127.0.0.1:9093/1: error:0A00045C:SSL routines::tlsv13 alert certificate required",
            "kafka.tls.cert",
        );
        check("127.0.0.1:9093/bootstrap: Disconnected (connecting to a SSL listener?)", "set `kafka.tls`");
        check(
            "sasl_ssl://127.0.0.1:9093/bootstrap: SASL authentication error: Authentication failed during",
            "kafka.sasl.password",
        );
    }

    #[test]
    fn a_refused_token_and_one_that_is_missing_are_told_apart() {
        let refused = "sasl_ssl://127.0.0.1:9093/bootstrap: SASL authentication error: {\"status\":\"invalid_token\"} (after 1ms in state AUTH_REQ)";
        let trouble = trouble(refused, true).unwrap();
        assert!(trouble.is_refused && trouble.to_string().starts_with("broker 127.0.0.1:9093: it refused the token"));
        // What a command says is not taken for a text of librdkafka's.
        let text = format!("{TOKEN}the command of `kafka.sasl.token_command` failed: SASL authentication error");
        let trouble = super::trouble(&text, true).unwrap();
        assert!(!trouble.is_refused && trouble.broker.is_none());
        assert!(trouble.to_string().starts_with("no new token for the brokers: the command of"), "{trouble}");
    }

    #[test]
    fn a_failed_verification_is_reported_once_however_early_it_fails() {
        for early in ["", "SSL handshake failed: "] {
            let text = format!(
                "ssl://127.0.0.1:9093/bootstrap: {early}error:0A000086:SSL routines::certificate verify failed: more \
                 (after 3ms in state SSL_HANDSHAKE)"
            );
            assert!(is_duplicate(&text) && trouble(&text, false).is_none(), "{text}");
        }
    }

    #[test]
    fn a_silent_broker_is_not_taken_for_an_old_version() {
        let text =
            "127.0.0.1:9092/1: ApiVersionRequest failed: Local: Timed out: probably due to broker version < 0.10 (see";
        assert!(is_duplicate(text) && trouble(text, false).is_none());
    }

    #[test]
    fn unknown_texts_are_not_a_connection_problem() {
        assert_eq!(trouble("127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused", false), None);
        assert_eq!(trouble("", false), None);
    }
}
