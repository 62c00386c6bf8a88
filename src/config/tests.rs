//! Whole files in, whole messages out: compares the exact text that a user reads.

mod further;
mod grants;
mod login;
mod on_error;
mod policy;
mod process;
mod references;
mod topics;
mod windows;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;

use super::*;
use crate::kafka::settings::Isolation;
use crate::kafka::settings::OnGap;
use crate::kafka::settings::OnRecreate;
use crate::kafka::settings::Partition;
use crate::kafka::settings::Sasl;
use crate::kafka::settings::Start;
use crate::kafka::settings::refused;
use crate::partition::Retries;

const SMALLEST: &str = r#"[kafka]
brokers = ["localhost:9092"]
[input]
topics = ["orders"]
[[step]]
wasm = "plugins/mask.wasm"
[output.main]
topic = "orders.clean"
"#;

/// All keys of this version.
const LARGEST: &str = r#"name = "orders-enrich"
delivery = "at_least_once"
order = "partition"
shutdown_timeout = "20s"
[kafka]
brokers = ["kafka-1:9093", "[::1]:9093"]
client_id = "enrich"
tls = { ca = "ca.pem", cert = "me.pem", key = "me.key" }
sasl = { mechanism = "SCRAM-SHA-512", username = "${KAFKA_USER}", password = "${file:secret}" }
librdkafka = { "client.rack" = "eu-1a", "socket.keepalive.enable" = true, "socket.timeout.ms" = 30000 }
[input]
topics = ["orders", "^returns\\..*"]
group = "enrich"
instance_id = "${HOSTNAME:-}"
start = 2026-01-31T00:00:00Z
on_gap = "continue"
on_recreate = "beginning"
isolation = "read_uncommitted"
session_timeout = "6s"
max_poll_interval = "1m"
librdkafka = { "fetch.min.bytes" = 1 }
[limits]
parallelism = 8
max_in_flight = { records = 5_000, bytes = "32 MiB" }
commit_every = "500ms"
drain_timeout = "2s"
[[step]]
name = "mask"
wasm = "plugins/mask.wasm"
timeout = "50ms"
init_timeout = "30s"
memory = "32 MiB"
batch = 64
settings = { fields = ["email", "phone"], since = 2026-01-31, deep = { ratio = 0.5, on = true } }
[[step]]
name = "again"
wasm = "plugins/mask.wasm"
[output.late]
topic = "orders.late"
partition = "same_as_input"
compression = "zstd"
librdkafka = { "compression.level" = 3 }
[output.main]
topic = "orders.enriched"
[on_error]
retries = "forever"
backoff = { from = "200ms", to = "20s" }
then = "dead_letter"
max_reject_share = 0.25
dead_letter = "orders.dead"
dialect = "connect"
[http]
listen = "0.0.0.0:9200"
"#;

/// A directory with a pipeline's file and empty files that it names.
struct Case {
    folder: tempfile::TempDir,
    env: BTreeMap<&'static str, &'static str>,
    overrides: Overrides,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        for file in ["plugins/mask.wasm", "ca.pem", "me.pem", "me.key"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
        let env = BTreeMap::from([("KAFKA_USER", "sesame"), ("EMPTY", "")]);
        Case { folder, env, overrides: Overrides::default() }
    }

    fn set(mut self, argument: &str) -> Case {
        self.overrides.set.push(argument.into());
        self
    }

    fn load(&self, text: impl AsRef<[u8]>) -> Result<Pipeline, Report> {
        let path = self.folder.path().join("orders.toml");
        fs::write(&path, text).unwrap();
        load(&path, &self.overrides, &|name| self.env.get(name).map(Into::into))
    }

    /// The report without the directory's name.
    fn report(&self, text: &str) -> String {
        self.shown(&self.load(text).unwrap_err())
    }

    fn shown(&self, report: &Report) -> String {
        report.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn ok(text: &str) -> Pipeline {
    Case::new().load(text).unwrap()
}

/// Checks a whole report.
fn check(text: &str, expected: &str) {
    same(&Case::new().report(text), expected);
}

fn same(report: &str, expected: &str) {
    assert_eq!(report, expected.trim_start_matches('\n'), "\n--- got ---\n{report}");
}

/// Checks the titles of a report, and that each finding has a place and a help text.
fn titles(text: &str, expected: &[&str]) {
    let report = Case::new().load(text).unwrap_err();
    let got: Vec<&str> = report.findings().iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(got, expected, "\n--- got ---\n{report}");
    for finding in report.findings() {
        assert!(finding.line.is_some() && finding.column.is_some() && finding.help.is_some(), "{finding}");
    }
}

/// The smallest file with more lines at its end.
fn and(more: &str) -> String {
    format!("{SMALLEST}{more}\n")
}

/// The smallest file with lines before its first table.
fn first(more: &str) -> String {
    format!("{more}\n{SMALLEST}")
}

/// The smallest file with a part replaced.
fn with(old: &str, new: &str) -> String {
    assert!(SMALLEST.contains(old), "{old}");
    SMALLEST.replace(old, new)
}

#[test]
fn the_smallest_file_gets_the_documented_defaults() {
    let case = Case::new();
    let pipeline = case.load(SMALLEST).unwrap();
    assert_eq!(pipeline.name, "orders");
    assert_eq!(pipeline.kafka.client_id, "wasmill-orders");
    assert_eq!(pipeline.kafka.commit_every, Duration::from_secs(1));
    assert!(pipeline.kafka.tls.is_none() && pipeline.kafka.sasl.is_none());
    let input = &pipeline.kafka.input;
    assert_eq!((input.group.as_str(), &input.instance_id), ("orders", &None));
    assert_eq!((input.start, input.on_gap, input.isolation), (Start::Earliest, OnGap::Stop, Isolation::ReadCommitted));
    assert_eq!(input.on_recreate, OnRecreate::Stop);
    assert_eq!(input.session_timeout, Duration::from_secs(45));
    assert_eq!(input.max_poll_interval, Duration::from_secs(300));
    let step = &pipeline.steps[0];
    assert_eq!((&*step.name, step.settings.0.as_str(), step.batch_records), ("mask", "{}", 128));
    assert_eq!((step.timeout.call.as_secs(), step.timeout.init.as_secs(), step.memory_bytes), (1, 10, 64 << 20));
    assert_eq!(step.wasm, case.folder.path().join("plugins/mask.wasm"));
    assert_eq!(step.ports, ["main"]);
    let output = &pipeline.kafka.outputs[0];
    assert_eq!((output.partition, output.compression.as_str()), (Partition::ByKey, "none"));
    let cores = std::thread::available_parallelism().unwrap().get();
    let limits = Limits {
        parallelism: cores.max(4),
        max_in_flight_records: 25_000,
        max_in_flight_bytes: 64 << 20,
        drain_timeout: Duration::from_secs(5),
        ..pipeline.limits.clone()
    };
    assert_eq!(pipeline.limits, limits);
    assert_eq!(pipeline.policy, Policy::default());
    assert_eq!(pipeline.http.to_string(), "127.0.0.1:9108");
    assert_eq!(pipeline.shutdown_timeout, Duration::from_secs(25));
}

#[test]
fn every_key_is_read() {
    let pipeline = ok(LARGEST);
    assert_eq!(pipeline.name, "orders-enrich");
    assert_eq!(pipeline.shutdown_timeout, Duration::from_secs(20));
    let kafka = &pipeline.kafka;
    assert_eq!(kafka.brokers, ["kafka-1:9093", "[::1]:9093"]);
    assert_eq!(kafka.client_id, "enrich");
    let tls = kafka.tls.as_ref().unwrap();
    for (path, name) in [(&tls.ca, "ca.pem"), (&tls.cert, "me.pem"), (&tls.key, "me.key")] {
        let path = Path::new(path.as_ref().unwrap());
        assert!(path.is_absolute() && path.ends_with(name), "{path:?}");
    }
    let Some(Sasl::Password { mechanism, username, password }) = &kafka.sasl else { panic!("{:?}", kafka.sasl) };
    assert_eq!((mechanism.as_str(), username.as_str()), ("SCRAM-SHA-512", "sesame"));
    assert_eq!(password.0, "hunter2");
    let passed: Vec<_> = kafka.librdkafka.iter().map(|(key, value)| format!("{key}={}", value.0)).collect();
    assert_eq!(passed, ["client.rack=eu-1a", "socket.keepalive.enable=true", "socket.timeout.ms=30000"]);
    let input = &kafka.input;
    assert_eq!(input.topics, ["orders", "^returns\\..*"]);
    assert_eq!((input.group.as_str(), &input.instance_id), ("enrich", &None));
    assert_eq!(input.start, Start::Timestamp(1_769_817_600_000));
    assert_eq!((input.on_gap, input.isolation), (OnGap::Continue, Isolation::ReadUncommitted));
    assert_eq!(input.on_recreate, OnRecreate::Beginning);
    assert_eq!((input.session_timeout, input.max_poll_interval), (Duration::from_secs(6), Duration::from_secs(60)));
    assert_eq!(input.librdkafka["fetch.min.bytes"].0, "1");
    let limits = Limits {
        parallelism: 8,
        max_in_flight_records: 5_000,
        max_in_flight_bytes: 32 << 20,
        drain_timeout: Duration::from_secs(2),
        ..pipeline.limits.clone()
    };
    assert_eq!(pipeline.limits, limits);
    assert_eq!(kafka.commit_every, Duration::from_millis(500));
    let step = &pipeline.steps[0];
    assert_eq!((step.timeout.call.as_millis(), step.timeout.init.as_secs(), step.memory_bytes), (50, 30, 32 << 20));
    assert_eq!(step.batch_records, 64);
    let settings = r#"{"fields":["email","phone"],"since":"2026-01-31","deep":{"ratio":0.5,"on":true}}"#;
    assert_eq!(step.settings.0, settings);
    // `main` comes first, in any order of the file.
    assert_eq!(step.ports, ["main", "late"]);
    let late = &kafka.outputs[0];
    assert_eq!((&*late.name, late.topic_name(), late.partition), ("late", "orders.late", Partition::SameAsInput));
    assert_eq!((late.compression.as_str(), late.librdkafka["compression.level"].0.as_str()), ("zstd", "3"));
    assert_eq!((pipeline.policy.general.retries, pipeline.policy.rejects_max), (Retries::Forever, Some(50)));
    assert_eq!(pipeline.policy.general.backoff_from, Duration::from_millis(200));
    assert_eq!(pipeline.policy.general.backoff_to, Duration::from_secs(20));
    assert_eq!(pipeline.http.to_string(), "0.0.0.0:9200");
}

#[test]
fn a_misspelt_key_is_reported_with_a_suggestion() {
    check(
        &with("topics =", "topic ="),
        r#"
error: unknown field `topic`
 --> orders.toml:4:1
  |
4 | topic = ["orders"]
  | ^^^^^ not a known field here
help: did you mean `topics`?
"#,
    );
}

#[test]
fn an_unknown_key_is_reported_with_the_known_ones() {
    check(
        &and("[http]\nwebsite = \"x\""),
        r#"
error: unknown field `website`
  --> orders.toml:10:1
   |
10 | website = "x"
   | ^^^^^^^ not a known field here
help: known here: `listen`, `state`, `tap`, `advertise`
"#,
    );
}

#[test]
fn a_missing_component_is_reported_with_a_suggestion() {
    check(
        &with("mask.wasm", "mas.wasm"),
        r#"
error: the component `plugins/mas.wasm` doesn't exist
 --> orders.toml:6:8
  |
6 | wasm = "plugins/mas.wasm"
  |        ^^^^^^^^^^^^^^^^^^ no such file
help: did you mean `plugins/mask.wasm`?
"#,
    );
    check(
        &with("mask.wasm", "enrich.wasm"),
        r#"
error: the component `plugins/enrich.wasm` doesn't exist
 --> orders.toml:6:8
  |
6 | wasm = "plugins/enrich.wasm"
  |        ^^^^^^^^^^^^^^^^^^^^^ no such file
help: paths are relative to the pipeline's file: there is no `plugins/enrich.wasm`
"#,
    );
}

#[test]
fn an_output_that_leads_back_into_the_input_is_refused() {
    check(
        &with("orders.clean", "orders"),
        r#"
error: output `main` writes `orders`, which the input reads
 --> orders.toml:8:9
  |
8 | topic = "orders"
  |         ^^^^^^^^ read by `input.topics`
help: its records would circulate for ever: write to another topic, or don't read this one
"#,
    );
    titles(
        &with("[\"orders\"]", "['^ord.*\\.clean$']"),
        &["output `main` writes `orders.clean`, which the input reads by `^ord.*\\.clean$`"],
    );
    // As librdkafka interprets it: the second alternative of the pattern is not anchored.
    titles(
        &with("[\"orders\"]", "[\"^invoices|clean\"]"),
        &["output `main` writes `orders.clean`, which the input reads by `^invoices|clean`"],
    );
    ok(&with("[\"orders\"]", "[\"^orders$\"]"));
}

#[test]
fn a_finding_about_a_component_points_at_its_line() {
    let case = Case::new();
    let pipeline = case.load(SMALLEST).unwrap();
    let mut report = pipeline.report();
    assert!(report.is_empty());
    let message = "step `mask` sends to port `suspects`, which no output has";
    report.add(pipeline.spans.steps[0].wasm, message, "add `[output.suspects]`");
    same(
        &case.shown(&report),
        r#"
error: step `mask` sends to port `suspects`, which no output has
 --> orders.toml:6:8
  |
6 | wasm = "plugins/mask.wasm"
  |        ^^^^^^^^^^^^^^^^^^^
help: add `[output.suspects]`
"#,
    );
    let finding = &report.findings()[0];
    assert!(finding.file.ends_with("orders.toml"));
    assert_eq!((finding.line, finding.column), (Some(6), Some(8)));
    assert_eq!((finding.message.as_str(), finding.help.as_deref()), (message, Some("add `[output.suspects]`")));
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    check(
        &and("partition = 5\ncompresion = \"zstd\"\n[state]\ndir = \"x\"\n[limits]\ndrain_timeout = 5"),
        r#"
error: `output.main.partition`: expected a string, found a whole number
 --> orders.toml:9:13
  |
9 | partition = 5
  |             ^
help: write it in quotes

error: unknown field `compresion`
  --> orders.toml:10:1
   |
10 | compresion = "zstd"
   | ^^^^^^^^^^ not a known field here
help: did you mean `compression`?

error: `state.dir` is not supported yet
  --> orders.toml:12:1
   |
12 | dir = "x"
   | ^^^
help: remove it: state is restored from its changelog topic

error: `limits.drain_timeout`: expected a string, found a whole number
  --> orders.toml:14:17
   |
14 | drain_timeout = 5
   |                 ^
help: write a time with its unit, such as "5s" or "200ms"
"#,
    );
    titles(
        "",
        &[
            "`kafka.brokers` is missing",
            "`input.topics` is missing",
            "there is no `[output.main]`",
            "`[[step]]` is missing",
        ],
    );
}

#[test]
fn the_mistakes_of_a_file_are_bounded() {
    let many: String = (0..100).map(|number| format!("x{number} = 1\n")).collect();
    assert_eq!(Case::new().load(first(&many)).unwrap_err().findings().len(), 21);
    let many = "x = = 1\n".repeat(100);
    assert_eq!(Case::new().load(first(&many)).unwrap_err().findings().len(), 20);
}

#[test]
fn several_syntax_errors_are_reported_at_once() {
    let report = Case::new().load("[kafka]\nbrokers = [\"a:1\"\n[input]\ntopics = yes\n").unwrap_err();
    let lines: Vec<_> = report.findings().iter().map(|finding| finding.line.unwrap()).collect();
    assert!(lines.len() >= 2, "{report}");
    assert!(lines.is_sorted() && report.findings().iter().all(|found| found.message.starts_with("not valid TOML: ")));
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_the_right_form() {
    check(
        &with("[\"orders\"]", "\"orders\""),
        r#"
error: `input.topics`: expected a list, found a string
 --> orders.toml:4:10
  |
4 | topics = "orders"
  |          ^^^^^^^^
help: write it as a list: `topics = ["orders"]`
"#,
    );
    let step = with("[[step]]", "[step]");
    titles(&step, &["`step`: expected a list, found a table"]);
    let tls = "`kafka.tls`: expected `true` or a table with `ca`, `cert` and `key`, found a whole number";
    titles(&with("brokers", "tls = 5\nbrokers"), &[tls]);
    titles(&with("brokers", "tls = { cart = \"x\" }\nbrokers"), &["unknown field `cart`"]);
    titles(&with("brokers", "tls = { cert = \"me.pem\" }\nbrokers"), &["`cert` needs its `key`"]);
    titles(&with("topic = ", "[output.main.topic]\nx = "), &["`output.main.topic`: expected a string, found a table"]);
    titles(&with("[output.main]", "[output]"), &["`output.topic`: expected a table, found a string"]);
}

#[test]
fn keys_of_later_versions_are_not_called_unknown() {
    for (text, key) in [
        (and("[log]\npayloads = true"), "log"),
        (with("wasm =", "repartition = { partitions = 1 }\nwasm ="), "step.repartition"),
    ] {
        titles(&text, &[&format!("`{key}` is not supported yet")]);
    }
    for (text, value) in [
        (
            with("brokers", "sasl = { mechanism = \"GSSAPI\", username = \"a\", password = \"b\" }\nbrokers"),
            "`mechanism`: `GSSAPI`",
        ),
        (with("plugins/mask.wasm", "oci://count"), "components from `oci://`"),
    ] {
        let message = if value.starts_with("components") { "are not supported yet" } else { "is not supported yet" };
        titles(&text, &[&format!("{value} {message}")]);
    }
}

#[test]
fn keys_that_would_break_a_guarantee_are_not_passed_on() {
    check(
        &with("[input]", "librdkafka = { acks = 1, \"group.id\" = \"x\" }\n[input]"),
        r#"
error: librdkafka's `acks` can't be set
 --> orders.toml:3:16
  |
3 | librdkafka = { acks = 1, "group.id" = "x" }
  |                ^^^^ an output counts only when every in-sync replica has it
help: remove it

error: librdkafka's `group.id` can't be set
 --> orders.toml:3:26
  |
3 | librdkafka = { acks = 1, "group.id" = "x" }
  |                          ^^^^^^^^^^ wasmill sets this one itself
help: set `input.group` instead
"#,
    );
    let unverified = "librdkafka = { \"enable.ssl.certificate.verification\" = false }\n";
    titles(
        &with("[input]", &format!("{unverified}[input]")),
        &["librdkafka's `enable.ssl.certificate.verification` can't be set"],
    );
    ok(&with("[input]", &format!("insecure = true\n{unverified}[input]")));
    titles(&with("[input]", "insecure = true\n[input]"), &["`insecure` alone changes nothing"]);
    titles(&and("librdkafka = { partitioner = \"random\" }"), &["librdkafka's `partitioner` can't be set"]);
}

#[test]
fn more_outputs_than_a_message_can_identify_are_refused() {
    let outputs =
        |count: usize| (1..count).map(|n| format!("[output.o{n}]\ntopic = \"out.{n}\"\n")).collect::<String>();
    ok(&and(&outputs(1000)));
    titles(&and(&outputs(1001)), &["there are more than 1000 outputs"]);
}

#[test]
fn values_out_of_range_are_refused() {
    for (text, message) in [
        (first("name = \"a b\""), "`a b` can't be a pipeline's name"),
        (first("shutdown_timeout = \"0s\""), "`shutdown_timeout`: `0s` is shorter than a millisecond"),
        (first("shutdown_timeout = \"2 days\""), "`shutdown_timeout`: `2 days` is longer than a day"),
        (
            first("delivery = \"exactly_once\"") + "\n[limits]\ntransaction_every = \"11s\"",
            "`transaction_every`: `11s` is longer than 10 seconds",
        ),
        (first("shutdown_timeout = \"soon\""), "`shutdown_timeout`: `soon` is not a time"),
        (and("[limits]\nparallelism = 0"), "`parallelism`: 0 is out of range"),
        (and("[on_error]\nthen = \"skip\"\nmax_reject_share = 1"), "`max_reject_share`: 1 is out of range"),
        (and("[on_error]\nthen = \"skip\"\nmax_reject_share = 0.0"), "`max_reject_share`: 0 is out of range"),
        (and("[on_error]\nthen = \"skip\"\nmax_reject_share = nan"), "`max_reject_share`: NaN is out of range"),
        (
            and("[on_error]\nmax_reject_share = 0.5"),
            "the pipeline stops at the first reject, so `max_reject_share` has no effect",
        ),
        (and("[limits]\nmax_in_flight = { records = 0 }"), "`max_in_flight.records`: 0 is out of range"),
        (and("[limits]\nmax_in_flight = { bytes = \"0 B\" }"), "`max_in_flight.bytes`: `0 B` is too small"),
        (and("[limits]\nmax_in_flight = { bytes = \"many\" }"), "`max_in_flight.bytes`: `many` is not a size"),
        (with("wasm =", "memory = \"512 KiB\"\nwasm ="), "`memory`: `512 KiB` is too small"),
        (with("wasm =", "memory = \"8 GiB\"\nwasm ="), "`memory`: `8 GiB` is too large"),
        (with("wasm =", "batch = 0\nwasm ="), "`batch`: 0 is out of range"),
        (with("wasm =", "batch = 4097\nwasm ="), "`batch`: 4097 is out of range"),
        (with("wasm =", "settings = { x = nan }\nwasm ="), "`settings` holds a number that JSON doesn't have"),
        (with("wasm =", "name = \"\"\nwasm ="), "`` can't be a step's name"),
        (and("[on_error]\nretries = -1"), "`retries` is neither a number of times nor \"forever\""),
        (and("[on_error]\nbackoff = { from = \"1m\" }"), "`backoff.to` is below `backoff.from`"),
        (and("[http]\nlisten = \"localhost\""), "`localhost` is not an address to listen at"),
        (with("topics", "start = \"yesterday\"\ntopics"), "`start`: `yesterday` is not a valid start"),
        (with("topics", "start = 5\ntopics"), "`start` is not a valid start"),
        (with("topics", "group = \"\"\ntopics"), "`group` is empty"),
        (with("topics", "session_timeout = \"6m\"\ntopics"), "`session_timeout` is longer than `max_poll_interval`"),
        (with("localhost:9092", "localhost"), "`localhost` is not a broker's address: it has no port"),
        (with("localhost:9092", "PLAINTEXT://a:1"), "`PLAINTEXT://a:1` is not a broker's address: it names a protocol"),
        (with("[\"localhost:9092\"]", "[]"), "`kafka.brokers` is missing"),
        (with("[\"orders\"]", "[]"), "`input.topics` is missing"),
        (with("[\"orders\"]", "[\"orders\", \"orders\"]"), "`orders` is listed twice"),
        (with("[\"orders\"]", "[\"or/ders\"]"), "`or/ders` can't be a topic's name"),
        (with("[\"orders\"]", "['^(a']"), "`^(a` is not a pattern of topics: it doesn't parse"),
        (with("[\"orders\"]", "['^\\d+']"), "`^\\d+` is not a pattern of topics: `\\d` means something else here"),
        (
            with("[\"orders\"]", "['^(a{1000}){1000}']"),
            "`^(a{1000}){1000}` is not a pattern of topics: it is too large",
        ),
        (with("orders.clean", "__orders"), "`__orders` is a reserved name"),
        (with("orders.clean", "orders.changelog"), "`orders.changelog` is a reserved name"),
        (with("orders.clean", "a b"), "`a b` can't be a topic's name"),
        (and("[output.Late]\ntopic = \"late\""), "`Late` can't be an output's name"),
        (and("[output.late]"), "`output.late.topic` is missing"),
        (with("[output.main]", "[output.other]"), "there is no `[output.main]`"),
        (and("compression = \"ztsd\""), "`compression`: `ztsd` is not a known value"),
        (with("wasm = \"plugins/mask.wasm\"", ""), "`step.wasm` is missing"),
        (and("[[step]]\nwasm = \"plugins/mask.wasm\""), "steps 1 and 2 are both called `mask`"),
        (
            and("[output.b]\ntopic = \"orders.clean\"\ncompression = \"lz4\""),
            "outputs `main` and `b` write `orders.clean` with different settings",
        ),
        (with("orders.clean", "a\\u0000b"), "a value holds the character NUL"),
    ] {
        titles(&text, &[message]);
    }
    // A pattern never matches a reserved topic, so there is no loop.
    ok(&with("[\"orders\"]", "[\"^.*changelog\"]"));
    ok(&and("[output.b]\ntopic = \"orders.clean\""));
}

#[test]
fn references_are_filled_in_after_parsing() {
    let group = |text: &str| Case::new().load(with("topics", &format!("group = \"{text}\"\ntopics")));
    for (text, expected) in [
        ("${KAFKA_USER}", "sesame"),
        ("a-${KAFKA_USER}-b", "a-sesame-b"),
        ("${NONE:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${EMPTY}x", "x"),
        ("${file:secret}", "hunter2"),
        ("$${KAFKA_USER}", "${KAFKA_USER}"),
        ("$$${KAFKA_USER}", "$${KAFKA_USER}"),
        ("$5 {x}", "$5 {x}"),
    ] {
        assert_eq!(group(text).unwrap().kafka.input.group, expected, "{text}");
    }
    for (text, message) in [
        ("${NONE}", "the environment variable `NONE` is not set"),
        ("${NONE:?the team's group}", "the environment variable `NONE` is not set: the team's group"),
        ("${KAFKA_USER", "`${` without its `}`"),
        ("${NONE:-${KAFKA_USER}}", "`${...}` inside of `${...}`"),
        ("${KAFKA_USER:x}", "`${KAFKA_USER:` must continue with `-` and a default, or with `?` and a message"),
        ("${a b}", "`${a b}` doesn't name an environment variable"),
    ] {
        assert_eq!(group(text).unwrap_err().findings()[0].message, message, "{text}");
    }
    let missing = group("${file:none}").unwrap_err().to_string();
    assert!(missing.contains("cannot read `") && missing.contains("/none`: "), "{missing}");
    // Inserted text can't become another key.
    let mut case = Case::new();
    case.env.insert("EVIL", "x\"\n[http]\nlisten = \"0.0.0.0:1");
    let pipeline = case.load(with("topics", "group = \"${EVIL}\"\ntopics")).unwrap();
    assert_eq!(pipeline.http.port(), 9108);
}

/// The variable is set, so its default doesn't apply.
#[test]
fn a_variable_that_is_not_utf_8_is_distinguished_from_an_unset_one() {
    let case = Case::new();
    let path = case.folder.path().join("orders.toml");
    for reference in ["${LATIN}", "${LATIN:-fallback}", "${LATIN:?the team's group}"] {
        fs::write(&path, with("topics", &format!("group = \"{reference}\"\ntopics"))).unwrap();
        let latin = |_: &str| Some(OsString::from_vec(b"caf\xe9".to_vec()));
        let report = load(&path, &case.overrides, &latin).unwrap_err();
        let message = "the environment variable `LATIN` is set, but not to UTF-8";
        assert_eq!(report.findings()[0].message, message, "{reference}");
    }
}

#[test]
fn a_missing_variable_does_not_hide_other_mistakes() {
    titles(
        &with("topics", "group = \"${NONE}\"\ntopic"),
        &["the environment variable `NONE` is not set", "unknown field `topic`"],
    );
}

#[test]
fn secrets_are_never_shown() {
    let places = [
        first("name = \"${file:secret}!\""),
        first("delivery = \"${file:secret}\""),
        first("shutdown_timeout = \"${file:secret}\""),
        with("localhost:9092", "${file:secret}"),
        with("brokers", "client_id = \"${file:secret} \"\nbrokers"),
        with("brokers", "tls = \"${file:secret}\"\nbrokers"),
        with("brokers", "tls = { ca = \"${file:secret}\" }\nbrokers"),
        with("brokers", "sasl = \"${file:secret}\"\nbrokers"),
        with("brokers", "sasl = { mechanism = \"${file:secret}\", username = \"x\", password = \"x\" }\nbrokers"),
        with("topics", "start = \"${file:secret}\"\ntopics"),
        with("[\"orders\"]", "[\"${file:secret}\", \"${file:secret}\"]"),
        with("[\"orders\"]", "[\"^${file:secret}(\"]"),
        with("orders.clean", "${file:secret}/"),
        with("[\"orders\"]", "[\"${file:secret}\"]").replace("orders.clean", "${file:secret}"),
        with("plugins/mask.wasm", "${file:secret}"),
        with("wasm =", "memory = \"${file:secret}\"\nwasm ="),
        with("wasm =", "batch = \"${file:secret}\"\nwasm ="),
        with("wasm =", "name = \"${file:secret}\"\ntimeout = \"6s\"\nwasm ="),
        and("[on_error]\nretries = \"${file:secret}\""),
        and("[http]\nlisten = \"${file:secret}\""),
        // Written into the file, but under a key that marks it as a secret.
        with("brokers", "sasl = { mechanism = 1, username = 1, password = \"hunter2\" }\nbrokers"),
        with("brokers", "sasl = { mechanism = \"PLAIN\", username = \"x\", pasword = \"hunter2\" }\nbrokers"),
        with("brokers", "librdkafka = { \"ssl.key.password\" = \"hunter2\", acks = 1 }\nbrokers"),
    ];
    for text in places {
        let report = Case::new().load(&text).unwrap_err();
        let all = format!("{report}{report:?}{:?}", report.findings());
        assert!(!all.contains("hunter2"), "{all}");
    }
    let pipeline = ok(LARGEST);
    assert!(!format!("{pipeline:?}{:?}", pipeline.kafka.sasl).contains("hunter2"));
}

#[test]
fn the_command_line_overrides_the_file() {
    let case = Case::new()
        .set("input.group=blue")
        .set("limits.parallelism=3")
        .set("limits.max_in_flight.bytes=1 MiB")
        .set("step.0.timeout=20ms")
        .set("step.0.settings.fields=[\"a\"]")
        .set("input.topics=[\"a\", \"b\"]")
        .set("name = \"quoted\"");
    let pipeline = case.load(SMALLEST).unwrap();
    assert_eq!(pipeline.name, "quoted");
    assert_eq!(pipeline.kafka.input.group, "blue");
    assert_eq!(pipeline.kafka.input.topics, ["a", "b"]);
    assert_eq!((pipeline.limits.parallelism, pipeline.limits.max_in_flight_bytes), (3, 1 << 20));
    assert_eq!(pipeline.steps[0].timeout.call, Duration::from_millis(20));
    assert_eq!(pipeline.steps[0].settings.0, r#"{"fields":["a"]}"#);

    let mut case = Case::new();
    case.overrides.http = Some("127.0.0.1:0".into());
    assert_eq!(case.load(LARGEST).unwrap().http.to_string(), "127.0.0.1:0");
}

#[test]
fn a_mistake_on_the_command_line_is_shown_there() {
    same(
        &Case::new().set("input.topics=[\"a\"]").set("input.grop=blue").set("step.7.batch=1").report(SMALLEST),
        r#"
error: unknown field `grop`
 --> --set:1:7
  |
1 | input.grop="blue"
  |       ^^^^ not a known field here
help: did you mean `group`?

error: `step` has no table number `7`
 --> --set:1:6
  |
1 | step.7.batch=1
  |      ^
help: count from 0: the first is `step.0`
"#,
    );
    same(
        &Case::new().set("parallelism").report(SMALLEST),
        r#"
error: cannot use this `--set`: there is no `=` in it
 --> --set parallelism
help: write `--set input.group=orders`
"#,
    );
    let mut case = Case::new();
    case.overrides.http = Some("9108".into());
    same(
        &case.report(SMALLEST),
        r#"
error: `9108` is not an address to listen at
 --> --http:1:15
  |
1 | http.listen = "9108"
  |               ^^^^^^
help: write an IP address and a port, such as "127.0.0.1:9108" or "0.0.0.0:9108"
"#,
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let case = Case::new();
    let report = load(&case.folder.path().join("none.toml"), &Overrides::default(), &|_| None).unwrap_err();
    same(
        &case.shown(&report),
        r#"
error: cannot read `none.toml`: No such file or directory (os error 2)
 --> none.toml
help: name a pipeline's file
"#,
    );
    let report = case.load(b"name = \"a\"\n# \xff\n").unwrap_err();
    assert!(report.to_string().contains("line 2 is not UTF-8"), "{report}");
}

#[test]
fn a_file_that_nests_too_deeply_is_refused() {
    let part = ["a"; 78].join(".");
    let value = (0..78).fold("1".to_owned(), |value, _| format!("{{{part} = {value}}}"));
    let text = with("wasm =", &format!("settings = {value}\nwasm ="));
    titles(&text, &["a value is nested more than 64 levels deep"]);
    Case::new().load(with("wasm =", &format!("settings = {}\nwasm =", "[".repeat(100_000)))).unwrap_err();
    Case::new().load(first(&format!("{} = 1", ["a"; 100_000].join(".")))).unwrap_err();
}

/// The table of refused keys in `docs/configuration.md` lists only keys that are refused.
#[test]
fn the_keys_documented_as_refused_are_refused() {
    let docs = include_str!("../../docs/configuration.md");
    let (_, table) = docs.split_once("that are refused").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let keys = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let wrong: Vec<_> = keys.filter(|key| *key != "_cb" && refused(key, "false", false).is_none()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(report) = Case::new().load(&bytes) {
            prop_assert!(!report.to_string().is_empty());
        }
    }

    /// Replaces a few bytes of a valid file.
    #[test]
    fn no_change_to_a_file_causes_a_panic(
        changes in prop::collection::vec((0..LARGEST.len(), 0_usize..6, "[\\PC\t\n\r\\[\\]{}=\"'.,$0-9]{0,6}"), 1..4),
    ) {
        let mut text = LARGEST.to_owned();
        for (at, length, new) in changes {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, &new);
        }
        if let Err(report) = Case::new().load(&text) {
            prop_assert!(report.to_string().contains("error: "));
            prop_assert!(!report.to_string().contains("hunter2"));
        }
    }
}
