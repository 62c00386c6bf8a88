//! `wasmill.toml`: its keys, and its mistakes with their places.

use super::*;

fn process(text: &str) -> Result<Process, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wasmill.toml");
    fs::write(&path, text).unwrap();
    let env = |name: &str| (name == "LISTEN").then(|| "0.0.0.0:9200".into());
    crate::config::process(&path, &env).map_err(|report| report.to_string())
}

#[test]
fn the_waits_before_a_start_have_defaults_in_their_order() {
    for (text, expected) in [
        ("{ from = \"2s\", to = \"1m\" }", (2, 60)),
        ("{ from = \"20m\" }", (1200, 1200)),
        ("{ to = \"5s\" }", (5, 5)),
        ("{}", (10, 300)),
    ] {
        let Restart { from, to } = process(&format!("service.restart = {text}")).unwrap().restart.unwrap();
        assert_eq!((from.as_secs(), to.as_secs()), expected, "{text}");
    }
    assert_eq!(process("").unwrap(), Process::default());
    let token = process("http.token = \"0123456789abcdef\"").unwrap().token;
    assert_eq!(token.map(|token| token.0).as_deref(), Some("0123456789abcdef"));
    let endpoint = process("trace.endpoint = \"http://collector:4318\"").unwrap().trace_endpoint;
    assert_eq!(endpoint.as_deref(), Some("http://collector:4318"));
    assert_eq!(process("http.listen = \"${LISTEN}\"").unwrap().http.map(|http| http.port()), Some(9200));
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (text, expected) in [
        ("[service]\nrestart = { from = \"1m\", to = \"1s\" }", "`to` is shorter than `from`"),
        ("[service]\nrestart = { from = \"soon\" }", "`restart.from`: `soon` is not a time"),
        ("[service]\nrestart = \"10s\"", "`service.restart`: expected a table such as { from"),
        ("[service]\nrestarts = {}", "unknown field `restarts`"),
        ("[http]\nlisten = \"here\"", "`here` is not an address to listen at"),
        ("[http]\ntoken = \"short\"", "`http.token` can't be used"),
        ("[http]\ntoken = \"with a space in the middle\"", "`http.token` can't be used"),
        ("[trace]\nendpoint = \"collector:4317\"", "`trace.endpoint` can't be used: `collector:4317`"),
        ("[trace]\nurl = \"http://collector\"", "unknown field `url`"),
        ("[http]\nlisten = \"${NONE}\"", "the environment variable `NONE` is not set"),
        ("[input]\ntopics = [\"a\"]", "unknown field `input`"),
        ("[http", "not valid TOML"),
    ] {
        let report = process(text).unwrap_err();
        assert!(report.contains(expected) && report.contains("wasmill.toml:"), "{text:?}:\n{report}");
    }
}
