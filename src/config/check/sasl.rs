//! `sasl` under `[kafka]`: who logs in, with a password or with a token.

use std::path::PathBuf;

use toml::Spanned;

use super::Check;
use super::value;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::kafka::settings::OidcClient;
use crate::kafka::settings::Sasl;
use crate::kafka::settings::TokenCommand;
use crate::kafka::settings::TokenOrigin;
use crate::kafka::settings::TokenSource;
use crate::kafka::settings::Tokens;
use crate::secret::Hidden;
use crate::secret::Secret;

const BEARER: &str = "OAUTHBEARER";

/// What goes over the network unencrypted though it must stay secret: where that is written, what it is, and what to do instead.
pub(super) fn in_clear(sasl: &Spanned<raw::Sasl>, encrypted: bool) -> Vec<(Span, &'static str, &'static str)> {
    let (at, sasl) = (sasl.span().into(), sasl.get_ref());
    let mut found = Vec::new();
    match sasl.mechanism.as_ref().filter(|_| !encrypted).map(|text| text.get_ref().as_str()) {
        Some("PLAIN") => {
            found.push((at, "`PLAIN` without `tls` sends the password in clear", "set `tls` under `[kafka]`"));
        }
        Some(BEARER) => {
            found.push((at, "`OAUTHBEARER` without `tls` sends the token in clear", "set `tls` under `[kafka]`"));
        }
        Some(_) | None => {}
    }
    let url = sasl.oidc.as_ref().and_then(|oidc| oidc.get_ref().url.as_ref());
    if let Some(url) = url.filter(|url| url.get_ref().starts_with("http://")) {
        found.push((
            url.span().into(),
            "`url` without TLS sends the client's secret in clear",
            "write an `https://` address",
        ));
    }
    found
}

/// How to log in, if that is wanted.
pub(super) fn wanted(login: Spanned<raw::Login>) -> Option<Spanned<raw::Sasl>> {
    let span = login.span();
    match login.into_inner() {
        raw::Login::None => None,
        raw::Login::Sasl(sasl) => Some(Spanned::new(span, *sasl)),
    }
}

pub(super) fn sasl(check: &mut Check<'_>, sasl: Spanned<raw::Sasl>) -> Option<Sasl> {
    const MECHANISMS: [(&str, &str); 4] =
        [("PLAIN", "PLAIN"), ("SCRAM-SHA-256", "SCRAM-SHA-256"), ("SCRAM-SHA-512", "SCRAM-SHA-512"), (BEARER, BEARER)];
    let at: Span = sasl.span().into();
    let sasl = sasl.into_inner();
    if sasl.mechanism.is_none() {
        check.missing(at, "kafka.sasl.mechanism", "`sasl` needs `mechanism`, and who logs in");
    }
    match value::one_of(check, sasl.mechanism.as_ref(), "mechanism", &MECHANISMS, &["GSSAPI"]) {
        Some(BEARER) => token(check, at, sasl),
        known => password(check, at, sasl, known),
    }
}

fn password(check: &mut Check<'_>, at: Span, sasl: raw::Sasl, mechanism: Option<&str>) -> Option<Sasl> {
    let oidc = sasl.oidc.as_ref().map(|oidc| ("oidc", oidc.span()));
    let command = sasl.token_command.as_ref().map(|command| ("token_command", command.span()));
    if oidc.is_none() && command.is_none() || mechanism.is_some() {
        for (key, _) in
            [("username", &sasl.username), ("password", &sasl.password)].iter().filter(|(_, text)| text.is_none())
        {
            check.missing(at, &format!("kafka.sasl.{key}"), "`sasl` needs `mechanism`, `username` and `password`");
        }
    }
    for (key, span) in [oidc, command].into_iter().flatten().filter(|_| mechanism.is_some()) {
        let help = "remove it, or write `mechanism = \"OAUTHBEARER\"`";
        check.report.add(span.into(), format!("`{key}` is for `OAUTHBEARER` only"), help);
    }
    let username = value::filled(check, sasl.username.as_ref(), "username");
    let password = value::filled(check, sasl.password.as_ref(), "password");
    Some(Sasl::Password { mechanism: mechanism?.to_owned(), username: username?, password: Secret(password?) })
}

fn token(check: &mut Check<'_>, at: Span, sasl: raw::Sasl) -> Option<Sasl> {
    for (key, text) in [("username", &sasl.username), ("password", &sasl.password)] {
        if let Some(text) = text {
            let message = format!("`{key}` has no meaning with `OAUTHBEARER`");
            check.report.add(text.span().into(), message, "remove it: the token says who logs in");
        }
    }
    let source = match (sasl.oidc, sasl.token_command) {
        (Some(oidc), None) => self::oidc(check, oidc),
        (None, Some(words)) => command(check, &words),
        (Some(_), Some(words)) => {
            check.report.add(words.span().into(), "`oidc` and `token_command` both give a token", "keep one of them");
            None
        }
        (None, None) => {
            let help = "add `oidc = { url = \"https://..\", client_id = \"..\", client_secret = \"${file:..}\" }`, or \
                        `token_command = [\"./token.sh\"]`";
            check.missing(at, "kafka.sasl.oidc", help);
            None
        }
    };
    source.map(|source| Sasl::Token(Tokens::of(source)))
}

fn command(check: &mut Check<'_>, words: &Spanned<Vec<Text>>) -> Option<TokenSource> {
    let Some((program, arguments)) = words.get_ref().split_first().filter(|(program, _)| !program.get_ref().is_empty())
    else {
        check.report.add(
            words.span().into(),
            "`token_command` names no command",
            "write `token_command = [\"./token.sh\"]`",
        );
        return None;
    };
    // A name alone is looked up in `PATH`, where the pipeline runs.
    let path = match program.get_ref().contains('/') {
        true => check.file(program, "the command"),
        false => PathBuf::from(program.get_ref()),
    };
    let hidden: Vec<String> = texts(check, words.get_ref().iter());
    let arguments = arguments.iter().map(|text| Secret(text.get_ref().clone())).collect();
    let origin = TokenOrigin::Command(TokenCommand { program: path, arguments });
    Some(TokenSource { origin, hidden: Hidden::new(hidden) })
}

fn oidc(check: &mut Check<'_>, oidc: Spanned<raw::Oidc>) -> Option<TokenSource> {
    let at: Span = oidc.span().into();
    let oidc = oidc.into_inner();
    let parts = [("url", &oidc.url), ("client_id", &oidc.client_id), ("client_secret", &oidc.client_secret)];
    for (key, _) in parts.iter().filter(|(_, text)| text.is_none()) {
        let help = "`oidc` needs `url`, `client_id` and `client_secret`";
        check.missing(at, &format!("kafka.sasl.oidc.{key}"), help);
    }
    let named = [&oidc.url, &oidc.client_id, &oidc.scope].into_iter().flatten();
    let mut hidden = texts(check, named);
    let url = value::filled(check, oidc.url.as_ref(), "url");
    let client_id = value::filled(check, oidc.client_id.as_ref(), "client_id");
    let client_secret = value::filled(check, oidc.client_secret.as_ref(), "client_secret");
    let scope = value::filled(check, oidc.scope.as_ref(), "scope");
    let ca = oidc.ca.as_ref().map(|ca| check.file(ca, "the authority's certificate"));
    if let Some(text) = oidc.url.as_ref().filter(|text| !text.get_ref().is_empty() && !is_address(text.get_ref())) {
        let help = "write the server's token endpoint, such as \"https://id.example.com/oauth2/token\"";
        check.report.add(text.span().into(), "`url` is not an address of HTTP", help);
    }
    hidden.extend(client_secret.clone());
    let client = OidcClient { url: url?, client_id: client_id?, client_secret: Secret(client_secret?), scope, ca };
    Some(TokenSource { origin: TokenOrigin::Oidc(client), hidden: Hidden::new(hidden) })
}

/// Whether it is an address with a host, and without a user or a password, for which there are other keys.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_plain = url.bytes().all(|c| c.is_ascii_graphic());
    is_plain && host.is_some_and(|host| !host.is_empty() && !host.starts_with(':') && !host.contains('@'))
}

/// The texts that came from references, which are secret here.
fn texts<'a>(check: &Check<'_>, all: impl Iterator<Item = &'a Text>) -> Vec<String> {
    all.filter(|text| check.secrets.touch(&text.span())).map(|text| text.get_ref().clone()).collect()
}
