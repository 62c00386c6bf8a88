//! `kafka.sasl` with `OAUTHBEARER`: where its tokens come from, what excludes what, and what stays hidden.

use super::further::shown;
use super::*;
use crate::kafka::settings::TokenOrigin;

/// The smallest file with TLS and this `sasl`.
fn sasl(keys: &str) -> String {
    with("brokers", &format!("tls = true\nsasl = {{ {keys} }}\nbrokers"))
}

const OIDC: &str =
    "oidc = { url = \"https://id.example.com/token\", client_id = \"mill\", client_secret = \"hunter2\" }";

/// A token of this kind.
fn bearer(keys: &str) -> String {
    sasl(&format!("mechanism = \"OAUTHBEARER\", {keys}"))
}

#[test]
fn tokens_come_from_a_server_or_from_a_command() {
    let origin = |text: &str| {
        let case = Case::new();
        fs::write(case.folder.path().join("token.sh"), "").unwrap();
        let pipeline = case.load(text).unwrap();
        assert_eq!(
            (pipeline.kafka.shown_user(), format!("{:?}", pipeline.kafka.sasl).contains("hunter2")),
            (None, false)
        );
        (pipeline.kafka.tokens().unwrap().source().origin.clone(), case)
    };
    let (TokenOrigin::Oidc(client), _) =
        origin(&bearer(&OIDC.replace("hunter2\"", "${file:secret}\", scope = \"kafka\"")))
    else {
        panic!("another origin")
    };
    assert_eq!((client.client_id.as_str(), client.client_secret.0.as_str()), ("mill", "hunter2"));
    assert_eq!((client.scope.as_deref(), client.ca), (Some("kafka"), None));
    // A path is relative to the file, a name is looked up when it is run.
    for (written, is_path) in [("./token.sh", true), ("aws", false)] {
        let (TokenOrigin::Command(command), case) =
            origin(&bearer(&format!("token_command = [\"{written}\", \"${{KAFKA_USER}}\"]")))
        else {
            panic!("another origin")
        };
        let expected = if is_path { case.folder.path().join(written) } else { written.into() };
        assert_eq!((command.program, command.arguments[0].0.as_str()), (expected, "sesame"));
    }
}

#[test]
fn what_a_token_excludes_is_reported() {
    let command = "token_command = [\"aws\"]";
    for (text, expected) in [
        (bearer("x = 1"), &["unknown field `x`"][..]),
        (sasl("mechanism = \"OAUTHBEARER\""), &["`kafka.sasl.oidc` is missing"]),
        (bearer(&format!("{OIDC}, {command}")), &["`oidc` and `token_command` both give a token"]),
        (
            bearer(&format!("username = \"a\", password = \"b\", {command}")),
            &["`username` has no meaning with `OAUTHBEARER`", "`password` has no meaning with `OAUTHBEARER`"],
        ),
        (
            sasl(&format!("mechanism = \"PLAIN\", username = \"a\", password = \"b\", {command}")),
            &["`token_command` is for `OAUTHBEARER` only"],
        ),
        (
            sasl(&format!("mechanism = \"OAUTHBEARER2\", {command}")),
            &["`mechanism`: `OAUTHBEARER2` is not a known value"],
        ),
        (sasl(command), &["`kafka.sasl.mechanism` is missing"]),
        (bearer("token_command = []"), &["`token_command` names no command"]),
        (bearer("token_command = [\"\", \"a\"]"), &["`token_command` names no command"]),
        (bearer("token_command = \"aws\""), &["`kafka.sasl.token_command`: expected a list, found a string"]),
        (
            bearer("oidc = { url = \"https://a/\" }"),
            &["`kafka.sasl.oidc.client_id` is missing", "`kafka.sasl.oidc.client_secret` is missing"],
        ),
        (bearer(&OIDC.replace("https://", "https://u:p@")), &["`url` is not an address of HTTP"]),
        (bearer(&OIDC.replace("https://", "ftp://")), &["`url` is not an address of HTTP"]),
        (bearer(&OIDC.replace("https://id.example.com", "https://")), &["`url` is not an address of HTTP"]),
    ] {
        titles(&text, expected);
    }
    titles(&bearer("token_command = [\"./none.sh\"]"), &["the command `./none.sh` doesn't exist"]);
}

#[test]
fn what_is_sent_in_clear_needs_a_word() {
    let command = bearer("token_command = [\"aws\"]").replace("tls = true\n", "");
    titles(&command, &["`OAUTHBEARER` without `tls` sends the token in clear"]);
    let server = bearer(&OIDC.replace("https", "http"));
    titles(&server, &["`url` without TLS sends the client's secret in clear"]);
    for (text, risk) in [(command, "OAUTHBEARER without TLS"), (server, "`kafka.sasl.oidc.url` without TLS")] {
        let risks = ok(&text.replace("sasl =", "insecure = true\nsasl =")).kafka.risks();
        assert!(matches!(risks[..], [one] if one.contains(risk)), "{risks:?}");
    }
    titles(
        &bearer(&format!("{OIDC} }}\ninsecure = true\nx = {{ ")),
        &["`insecure` alone changes nothing", "unknown field `x`"],
    );
}

#[test]
fn what_gets_a_token_is_never_shown() {
    let page = shown(&Case::new(), &bearer(OIDC));
    assert!(!page.contains("hunter2") && page.contains("sasl.oidc.client_secret = \"***\""), "{page}");
    let page = shown(&Case::new(), &bearer("token_command = [\"aws\", \"hunter2\"]"));
    assert!(!page.contains("hunter2") && page.contains("sasl.token_command"), "{page}");
    for text in [
        bearer("token_command = [\"./${file:secret}\", \"hunter2\"]"),
        bearer("token_command = \"hunter2\""),
        bearer("oidc = { url = \"${file:secret}\", client_id = \"a\", client_secret = \"hunter2\" }"),
        bearer("oidc = { url = \"https://u:hunter2@a/\", client_id = 1, client_secret = \"hunter2\" }"),
        bearer("oidc = { url = \"https://a/\", client_id = \"a\", clientsecret = \"hunter2\" }"),
    ] {
        let report = Case::new().load(&text).unwrap_err();
        let all = format!("{report}{report:?}{:?}", report.findings());
        assert!(!all.contains("hunter2"), "{all}");
    }
}
