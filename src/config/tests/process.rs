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

/// A pipeline's file without `[kafka]`.
const REST: &str =
    "[input]\ntopics = [\"orders\"]\n[[step]]\nwasm = \"plugins/mask.wasm\"\n[output.main]\ntopic = \"orders.clean\"\n";

/// A case whose process has this `[kafka]`, in a folder of its own with a password and a certificate.
fn beside(kafka: &str) -> Case {
    let mut case = Case::new();
    let folder = case.folder.path().join("process");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("secret"), "sw0rdfish\n").unwrap();
    fs::write(folder.join("own.pem"), "").unwrap();
    fs::write(folder.join("wasmill.toml"), format!("http.listen = \"0.0.0.0:1\"\n[kafka]\n{kafka}\n")).unwrap();
    case.overrides.service = Some(folder.join("wasmill.toml"));
    case
}

const WHOLE: &str = r#"brokers = ["one:1", "two:2"]
client_id = "all"
tls = { ca = "own.pem" }
sasl = { mechanism = "SCRAM-SHA-256", username = "wasmill", password = "${file:secret}" }
librdkafka = { "client.rack" = "a", "socket.timeout.ms" = 1000 }"#;

fn password(pipeline: &Pipeline) -> Option<(&str, &str)> {
    match pipeline.kafka.sasl.as_ref()? {
        Sasl::Password { username, password, .. } => Some((username, &password.0)),
        Sasl::Token(_) => None,
    }
}

#[test]
fn a_pipeline_without_a_connection_has_that_of_the_process() {
    let case = beside(WHOLE);
    let pipeline = case.load(REST).unwrap();
    assert_eq!(pipeline.kafka.brokers, ["one:1", "two:2"]);
    assert_eq!(pipeline.kafka.client_id, "all");
    // Paths in the file of the process begin at its folder.
    let ca = pipeline.kafka.tls.as_ref().unwrap().ca.as_ref().unwrap();
    assert!(ca.ends_with("process/own.pem"), "{ca}");
    assert_eq!(password(&pipeline), Some(("wasmill", "sw0rdfish")));
    assert_eq!(pipeline.http, "127.0.0.1:9108".parse().unwrap(), "nothing else is taken from the file");
    assert_eq!(pipeline.hide("sw0rdfish"), "***");
    assert!(pipeline.place(Some(pipeline.spans.brokers)).ends_with("process/wasmill.toml:3"));
}

#[test]
fn each_key_of_the_pipeline_is_stronger_than_that_of_the_process() {
    let case = beside(WHOLE);
    let own = |kafka: &str| case.load(format!("[kafka]\n{kafka}\n{REST}")).unwrap();
    let pipeline = own("brokers = [\"three:3\"]");
    assert_eq!((pipeline.kafka.brokers.as_slice(), password(&pipeline).is_some()), (&["three:3".to_owned()][..], true));
    let pipeline = own("client_id = \"mine\"");
    assert_eq!((pipeline.kafka.client_id.as_str(), pipeline.kafka.brokers.len()), ("mine", 2));
    // A login and certificates are one whole.
    let pipeline = own("tls = { cert = \"me.pem\", key = \"me.key\" }");
    assert_eq!(pipeline.kafka.tls.as_ref().unwrap().ca, None);
    let pipeline = own("sasl = { mechanism = \"PLAIN\", username = \"a\", password = \"b\" }");
    assert_eq!(password(&pipeline), Some(("a", "b")));
    let pipeline = own("sasl = false\ntls = false");
    assert!(pipeline.kafka.sasl.is_none() && pipeline.kafka.tls.is_none());
    // The settings of librdkafka are taken key by key.
    let pipeline = own("librdkafka = { \"client.rack\" = \"b\", \"socket.keepalive.enable\" = true }");
    let passed: Vec<_> = pipeline.kafka.librdkafka.iter().map(|(key, value)| format!("{key}={}", value.0)).collect();
    assert_eq!(passed, ["client.rack=b", "socket.keepalive.enable=true", "socket.timeout.ms=1000"]);
    // The command line is stronger than both files.
    let case = case.set("kafka.sasl.username=c");
    assert_eq!(password(&case.load(REST).unwrap()), Some(("c", "sw0rdfish")));
}

#[test]
fn config_show_names_the_file_of_each_value_of_the_connection() {
    let case = beside(WHOLE);
    let page = further::shown(&case, &format!("[kafka]\nlibrdkafka = {{ \"client.rack\" = \"b\" }}\n{REST}"));
    let lines: Vec<_> = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "brokers = [\"one:1\", \"two:2\"] # process/wasmill.toml:3",
        "sasl.password = \"***\" # ${file:secret}, process/wasmill.toml:6",
        "librdkafka.\"client.rack\" = \"b\" # orders.toml:2",
        "librdkafka.\"socket.timeout.ms\" = 1000 # process/wasmill.toml:7",
        "topics = [\"orders\"] # orders.toml:4",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line:?} is missing in:\n{page}");
    }
    assert!(!page.contains("sw0rdfish"), "{page}");
}

#[test]
fn a_mistake_in_the_connection_of_the_process_is_reported_where_it_is() {
    for (kafka, expected) in [
        ("brokers = [\"one\"]", "process/wasmill.toml:3:12"),
        ("broker = [\"one:1\"]", "process/wasmill.toml:3:1"),
        ("brokers = [\"one:1\"]\ntls = { ca = \"none.pem\" }", "process/wasmill.toml:4:14"),
        (
            "brokers = [\"one:1\"]\nsasl = { mechanism = \"PLAIN\", username = \"a\", password = \"hunter2\" }",
            "process/wasmill.toml:4:8",
        ),
        ("brokers = [\"one:1\"]\nsasl.username = \"a\"", "process/wasmill.toml:4"),
        ("brokers = [\"one:1\"]\nsasl = true", "process/wasmill.toml:4:8"),
        ("brokers = [\"${NONE}:1\"]", "process/wasmill.toml:3:12"),
        ("brokers = [", "process/wasmill.toml:"),
        ("client_id = \"a\"", "`kafka.brokers` is missing"),
    ] {
        let report = beside(kafka).report(REST);
        assert!(report.contains(expected) && !report.contains("hunter2"), "{kafka}:\n{report}");
    }
    let mut case = Case::new();
    case.overrides.service = Some(case.folder.path().join("none.toml"));
    assert!(case.report(REST).contains("cannot read"), "{}", case.report(REST));
    // Without the option, the file beside the pipeline's is only pointed at.
    let case = Case::new();
    fs::write(case.folder.path().join("wasmill.toml"), "").unwrap();
    assert!(case.report(REST).contains("or with `--service "), "{}", case.report(REST));
}

#[test]
fn the_connection_of_the_process_is_checked_by_itself() {
    for (text, expected) in [
        ("[kafka]\nbrokers = [\"one\"]", "`one` is not a broker's address"),
        ("[kafka]\nbrokers = []", "`kafka.brokers` is missing"),
        ("[kafka]\nsasl = { mechanism = \"PLAIN\" }", "`kafka.sasl.username` is missing"),
        ("[kafka]\ntls = { ca = \"none.pem\" }", "doesn't exist"),
        ("[kafka]\nlibrdkafka = { \"group.id\" = \"a\" }", "librdkafka's `group.id` can't be set"),
        ("[kafka]\ngroup = \"a\"", "unknown field `group`"),
    ] {
        let report = process(text).unwrap_err();
        assert!(report.contains(expected) && report.contains("wasmill.toml:2"), "{text:?}:\n{report}");
    }
    // What a pipeline may add isn't missing.
    for text in [
        "[kafka]",
        "[kafka]\ninsecure = true",
        "[kafka]\nsasl = { mechanism = \"PLAIN\", username = \"a\", password = \"b\" }",
    ] {
        assert_eq!(process(text).map(|_| ()), Ok(()), "{text}");
    }
    assert_eq!(process("[kafka]\nbrokers = \"${LISTEN},b:1\"").map(|_| ()), Ok(()));
}

/// What the file of the process has is that of the people who wrote the policy, except for what may be sent where.
#[test]
fn a_policy_compares_the_brokers_of_the_process_and_not_its_files() {
    let case = beside(WHOLE);
    let (pipeline, policy) = (case.folder.path().join("orders.toml"), case.folder.path().join("policy.toml"));
    let rule = |brokers: &str| {
        format!(
            "[[rule]]\npipelines = [\"*\"]\nbrokers = [\"{brokers}\"]\ngroups = [\"*\"]\ntopics = {{ read = [\"*\"], write = [\"*\"] }}\n"
        )
    };
    for (brokers, kafka, expected) in [
        ("*", "", None),
        ("one:1", "", Some("process/wasmill.toml:3")),
        ("*", "[kafka]\nlibrdkafka = { \"client.rack\" = \"b\" }\n", Some("orders.toml:2")),
        ("*", "[kafka]\ntls = { ca = \"ca.pem\" }\n", Some("the file `")),
    ] {
        fs::write(&policy, rule(brokers)).unwrap();
        fs::write(&pipeline, format!("{kafka}{REST}")).unwrap();
        let mut examined = examine(&pipeline, &case.overrides, &|_| None);
        crate::config::policy(&policy).unwrap().judge(&mut examined);
        let report = case.shown(&examined.report);
        match expected {
            None => assert_eq!(report, ""),
            Some(expected) => assert!(report.contains(expected), "{kafka}:\n{report}"),
        }
    }
}

#[test]
fn a_change_of_the_process_file_and_of_its_secrets_changes_the_pipeline() {
    let case = beside(WHOLE);
    let path = case.folder.path().join("orders.toml");
    fs::write(&path, REST).unwrap();
    let referenced = examine(&path, &case.overrides, &|_| None).referenced;
    for name in ["orders.toml", "process/wasmill.toml", "process/secret", "process/own.pem"] {
        let found = referenced.iter().find(|file| file.path == case.folder.path().join(name));
        assert!(found.is_some_and(|file| file.held != Held::Unread), "{name}: {referenced:?}");
    }
}

#[test]
fn the_memory_of_all_pipelines_has_a_least_size() {
    assert_eq!(process("[limits]\nmemory = \"2 GiB\"").unwrap().memory, Some(2 << 30));
    assert_eq!(process("").unwrap().memory, None);
    for (text, expected) in [
        ("[limits]\nmemory = \"1 MiB\"", "`limits.memory`: `1 MiB` is too small"),
        ("[limits]\nmemory = \"much\"", "`limits.memory`: `much` is not a size"),
        ("[limits]\nparallelism = 2", "unknown field `parallelism`"),
    ] {
        let report = process(text).unwrap_err();
        assert!(report.contains(expected) && report.contains("wasmill.toml:2"), "{text:?}:\n{report}");
    }
}
