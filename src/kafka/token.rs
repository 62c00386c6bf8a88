//! Tokens for OAUTHBEARER: where they come from, and what a command's output must be.
//!
//! Pure. `token_command.rs` and `oidc.rs` fetch tokens, `token_keeper.rs` decides when. Invariant: no text here that says what is
//! wrong contains what a command printed or a server answered, except for the words that are meant to be read.

use std::fmt;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value;

use crate::secret::Hidden;
use crate::secret::Secret;

/// Where the tokens of `kafka.sasl` come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// The command or the server.
    pub origin: TokenOrigin,
    /// Secret values that it knows, and may repeat in its messages.
    pub hidden: Hidden,
}

/// The kind of a [`TokenSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenOrigin {
    /// `token_command`.
    Command(TokenCommand),
    /// `oidc`.
    Oidc(OidcClient),
}

impl TokenOrigin {
    /// Whether anyone on the network can read the secret that gets the token.
    #[must_use]
    pub fn sends_secret_in_clear(&self) -> bool {
        matches!(self, TokenOrigin::Oidc(client) if client.url.starts_with("http://"))
    }

    /// Its key in the file.
    pub(super) fn key(&self) -> &'static str {
        match self {
            TokenOrigin::Command(_) => "kafka.sasl.token_command",
            TokenOrigin::Oidc(_) => "kafka.sasl.oidc",
        }
    }
}

/// A command that prints a token. It is run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCommand {
    /// A path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<Secret>,
}

/// A client of an OpenID Connect server, which gives it tokens for its secret. Its `Debug` omits who it is.
#[derive(Clone, PartialEq, Eq)]
pub struct OidcClient {
    /// The token endpoint.
    pub url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// The scope to ask for.
    pub scope: Option<String>,
    /// The authority of the server's certificate, PEM; `None` means the system's.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for OidcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcClient").finish_non_exhaustive()
    }
}

/// A token. Its `Debug` shows only when it expires.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BearerToken {
    pub(super) value: Secret,
    /// Milliseconds since 1970-01-01 UTC.
    pub(super) expires_ms: i64,
    /// Whose token it is; only librdkafka's debug lines show it.
    pub(super) principal: String,
    /// SASL extensions, which brokers may require.
    pub(super) extensions: Vec<(String, String)>,
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}

/// The year 10000. A number of seconds behind it counts milliseconds.
const YEAR_10000_S: f64 = 253_402_300_800.0;
const YEAR_10000_MS: i64 = 253_402_300_800_000;

impl BearerToken {
    /// A token that a client may be given at `now_ms`.
    pub(super) fn new(value: &str, expires_ms: i64, now_ms: i64) -> Result<BearerToken, String> {
        if value.is_empty() || !value.bytes().all(|c| c.is_ascii_graphic()) {
            return Err("gave a token that is empty or has characters other than printable ASCII".to_owned());
        }
        if expires_ms <= now_ms {
            let ago = now_ms.saturating_sub(expires_ms) / 1000;
            return Err(format!("gave a token that expired {ago} s ago; if it is new, compare the clocks"));
        }
        // librdkafka counts microseconds.
        let expires_ms = expires_ms.min(YEAR_10000_MS);
        let (principal, extensions) = (String::new(), Vec::new());
        Ok(BearerToken { value: Secret(value.to_owned()), expires_ms, principal, extensions })
    }

    /// The token in the output of a command: `{"token": "..", "expires_at": ..}`, with `principal` and `extensions` if needed.
    pub(super) fn printed(output: &[u8], now_ms: i64) -> Result<BearerToken, String> {
        let Ok(Value::Object(object)) = serde_json::from_slice(output) else {
            return Err("printed no JSON object such as {\"token\": \"..\", \"expires_at\": 1767225600}".to_owned());
        };
        let text = object.get("token").and_then(Value::as_str).ok_or("printed no string `token`")?;
        let expires_ms = object.get("expires_at").and_then(time_ms).ok_or(
            "printed no `expires_at` in Unix seconds or as a time with a time zone, such as \"2026-01-31T00:00:00Z\"",
        )?;
        let mut token = BearerToken::new(text, expires_ms, now_ms)?;
        if let Some(principal) = object.get("principal") {
            token.principal = principal.as_str().ok_or("printed a `principal` that is no string")?.to_owned();
        }
        if let Some(extensions) = object.get("extensions") {
            let table = extensions.as_object().ok_or("printed `extensions` that are no object")?;
            token.extensions = self::extensions(table)?;
        }
        Ok(token)
    }
}

/// Names and values as RFC 7628 permits them.
fn extensions(table: &Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let is_text = |text: &str| text.bytes().all(|c| c.is_ascii_graphic() || c == b' ');
    let pair = |(key, value): (&String, &Value)| {
        let is_name = !key.is_empty() && key != "auth" && key.bytes().all(|c| c.is_ascii_alphabetic());
        let value = value.as_str().filter(|value| is_name && is_text(value));
        value.map(|value| (key.clone(), value.to_owned())).ok_or_else(|| {
            "printed an extension whose name isn't made of letters, is `auth`, or whose value is no printable ASCII"
                .to_owned()
        })
    };
    table.iter().map(pair).collect()
}

/// A time in milliseconds: Unix seconds, or RFC 3339.
fn time_ms(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str() {
        return text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    }
    let seconds = value.as_f64().filter(|seconds| (0.0..YEAR_10000_S).contains(seconds))?;
    jiff::SignedDuration::try_from_secs_f64(seconds).ok().and_then(|time| i64::try_from(time.as_millis()).ok())
}

/// The first line of a text, for a message: at most 200 characters, none of which moves the cursor.
pub(super) fn first_line(text: &[u8]) -> String {
    const CHARS_MAX: usize = 200;
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn printed(text: &str) -> Result<BearerToken, String> {
        BearerToken::printed(text.as_bytes(), NOW)
    }

    #[test]
    fn a_command_gives_the_time_as_seconds_or_as_text() {
        for (time, expires_ms) in [
            ("1700000060", NOW + 60_000),
            ("1700000060.5", NOW + 60_500),
            ("\"2023-11-14T22:14:20Z\"", NOW + 60_000),
            ("\"2023-11-14T23:14:20+01:00\"", NOW + 60_000),
        ] {
            let token = printed(&format!("{{\"token\": \"a.b.c\", \"expires_at\": {time}}}\n")).unwrap();
            assert_eq!((token.value.0.as_str(), token.expires_ms), ("a.b.c", expires_ms), "{time}");
        }
        let more = "\"principal\": \"mill\", \"extensions\": {\"logicalCluster\": \"lkc 1\"}";
        let token = printed(&format!("{{\"token\": \"a\", \"expires_at\": 1700000060, {more}}}")).unwrap();
        assert_eq!(token.principal, "mill");
        assert_eq!(token.extensions, [("logicalCluster".to_owned(), "lkc 1".to_owned())]);
        assert!(!format!("{token:?}").contains("mill"));
    }

    #[test]
    fn whatever_is_wrong_with_the_output_is_told_without_showing_it() {
        for (output, part) in [
            ("canary", "no JSON object"),
            ("", "no JSON object"),
            ("[\"canary\"]", "no JSON object"),
            ("{\"token\": \"canary\"} {}", "no JSON object"),
            ("{\"tokn\": \"canary\", \"expires_at\": 1700000060}", "no string `token`"),
            ("{\"token\": [\"canary\"], \"expires_at\": 1700000060}", "no string `token`"),
            ("{\"token\": \"canary\"}", "no `expires_at`"),
            ("{\"token\": \"canary\", \"expires_at\": 1700000060000}", "no `expires_at`"),
            ("{\"token\": \"canary\", \"expires_at\": -1}", "no `expires_at`"),
            ("{\"token\": \"canary\", \"expires_at\": 1e400}", "no JSON object"),
            ("{\"token\": \"canary\", \"expires_at\": \"2033-11-14T22:14:20\"}", "no `expires_at`"),
            ("{\"token\": \"canary\", \"expires_at\": 1699999990}", "expired 10 s ago"),
            ("{\"token\": \"canary\\u0001\", \"expires_at\": 1700000060}", "printable ASCII"),
            ("{\"token\": \"canary canary\", \"expires_at\": 1700000060}", "printable ASCII"),
            ("{\"token\": \"\", \"expires_at\": 1700000060}", "empty"),
            ("{\"token\": \"canary\", \"expires_at\": 1700000060, \"principal\": 1}", "`principal`"),
            ("{\"token\": \"canary\", \"expires_at\": 1700000060, \"extensions\": []}", "`extensions`"),
            (
                "{\"token\": \"canary\", \"expires_at\": 1700000060, \"extensions\": {\"auth\": \"canary\"}}",
                "extension",
            ),
            (
                "{\"token\": \"canary\", \"expires_at\": 1700000060, \"extensions\": {\"a\": \"canary\\n\"}}",
                "extension",
            ),
        ] {
            let why = printed(output).unwrap_err();
            assert!(why.contains(part) && !why.contains("canary"), "{output}: {why}");
        }
    }

    #[test]
    fn a_line_for_a_message_is_short_and_plain() {
        assert_eq!(first_line(b"\n \x1b[31mno vault\x07\nmore"), "[31mno vault");
        assert_eq!(first_line(&[b'x'; 500]).len(), 200);
        assert_eq!(first_line(b""), "");
    }
}
