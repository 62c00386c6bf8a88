//! Fetches a token from an OpenID Connect server, by the grant of client credentials (RFC 6749, section 4.4).
//!
//! One request with the client's id and secret as HTTP Basic, to one URL: redirects are not followed. Invariant: it returns within its
//! limit, keeps no more of an answer than a token can need, and its errors show nothing of an answer but the two texts that are for people.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use ureq::tls::Certificate;
use ureq::tls::PemItem;
use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;
use ureq::tls::parse_pem;

use super::token::BearerToken;
use super::token::OidcClient;
use super::token::first_line;

/// How long a request may take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// What RFC 3986 never escapes stays as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A token. The error is what follows "the server ..".
pub(super) fn fetch(client: &OidcClient, limit: Duration, now_ms: i64) -> Result<BearerToken, String> {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let login = STANDARD.encode(format!("{}:{}", escape(&client.client_id), escape(&client.client_secret.0)));
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(client.scope.as_deref().map(|scope| ("scope", scope)));
    let unanswered = |error: ureq::Error| {
        if matches!(error, ureq::Error::Timeout(_)) {
            return format!("has not answered within {} s", limit.as_secs());
        }
        if matches!(error, ureq::Error::BodyExceedsLimit(_)) {
            return format!("answers with more than {} KiB", ANSWER_BYTES_MAX / 1024);
        }
        format!("can't be asked: {}", first_line(error.to_string().as_bytes()))
    };
    let agent = agent(client, limit)?;
    let request = agent.post(&client.url).header("accept", "application/json");
    let mut answer = request.header("authorization", format!("Basic {login}")).send_form(form).map_err(unanswered)?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(unanswered)?;
    if status.is_success() {
        return token(&body, now_ms);
    }
    let what = if status.is_redirection() { "answers with a redirect, which is not followed: " } else { "answers " };
    Err(format!("{what}{status}{}", said(&body)))
}

fn agent(client: &OidcClient, limit: Duration) -> Result<ureq::Agent, String> {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent("wasmill");
    if client.url.starts_with("https://") {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&authorities(client.ca.as_deref())?))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        config = config.tls_config(tls);
    }
    Ok(config.build().new_agent())
}

/// The certificates of the authorities to trust.
fn authorities(file: Option<&Path>) -> Result<Vec<Certificate<'static>>, String> {
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs().certs;
        return match found.is_empty() {
            true => {
                Err("can't be asked: the system has no authorities' certificates, set `kafka.sasl.oidc.ca`".to_owned())
            }
            false => Ok(found.iter().map(|der| Certificate::from_der(der).to_owned()).collect()),
        };
    };
    let wrong = |why: String| format!("can't be asked: `kafka.sasl.oidc.ca`, {}: {why}", file.display());
    let text = fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if certificates.is_empty() { Err(wrong("there is no certificate in it".to_owned())) } else { Ok(certificates) }
}

/// The token in an answer.
fn token(body: &[u8], now_ms: i64) -> Result<BearerToken, String> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return Err("answers with no JSON object: is it the token endpoint?".to_owned());
    };
    let text = object.get("access_token").and_then(Value::as_str).ok_or("answers without a string `access_token`")?;
    // Some servers write the number as a string.
    let seconds = object.get("expires_in").and_then(|value| match value.as_str() {
        Some(text) => text.parse().ok(),
        None => value.as_i64(),
    });
    let seconds = seconds.ok_or("answers without a number `expires_in`")?;
    BearerToken::new(text, now_ms.saturating_add(seconds.saturating_mul(1000)), now_ms)
}

/// What an answer says about an error, in the members that RFC 6749 has for that.
fn said(body: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return String::new() };
    let texts = ["error", "error_description"].map(|key| object.get(key).and_then(Value::as_str).unwrap_or_default());
    texts.iter().filter(|text| !text.is_empty()).map(|text| format!(": {}", first_line(text.as_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_needs_a_token_and_its_life() {
        let given =
            token(b"{\"access_token\": \"a.b\", \"expires_in\": 60, \"token_type\": \"Bearer\"}", 1000).unwrap();
        assert_eq!((given.value.0.as_str(), given.expires_ms), ("a.b", 61_000));
        assert_eq!(token(b"{\"access_token\": \"a\", \"expires_in\": \"60\"}", 0).unwrap().expires_ms, 60_000);
        let long = b"{\"access_token\": \"a\", \"expires_in\": 9223372036854775807}";
        assert!(token(long, 0).unwrap().expires_ms < i64::MAX / 1000);
        for (body, part) in [
            ("<html>canary", "token endpoint"),
            ("{\"id_token\": \"canary\", \"expires_in\": 60}", "`access_token`"),
            ("{\"access_token\": \"canary\"}", "`expires_in`"),
            ("{\"access_token\": \"canary\", \"expires_in\": 0}", "expired 0 s ago"),
            ("{\"access_token\": \"canary\", \"expires_in\": -9223372036854775808}", "expired"),
            ("{\"access_token\": \"canary \", \"expires_in\": 60}", "printable ASCII"),
        ] {
            let why = token(body.as_bytes(), 0).unwrap_err();
            assert!(why.contains(part) && !why.contains("canary"), "{body}: {why}");
        }
    }

    #[test]
    fn a_refusal_shows_the_texts_for_people() {
        let body =
            b"{\"error\": \"invalid_client\", \"error_description\": \"no such\\nclient\", \"token\": \"canary\"}";
        assert_eq!(said(body), ": invalid_client: no such");
        assert_eq!(said(b"canary"), "");
    }
}
