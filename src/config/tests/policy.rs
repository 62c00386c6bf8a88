//! A policy: its own mistakes, and what it refuses of a pipeline, each with both places.

use std::path::Path;

use super::*;

const POLICY: &str = r#"[[rule]]
pipelines = ["orders", "orders-*"]
brokers = ["kafka-?:9092"]
topics = { read = ["orders.*", "^returns\\..*"], write = ["orders.*", "shared"] }
groups = ["orders-*"]
references = { env = ["ORDERS_*"], files = ["secrets/orders/*"] }
allow = { env = ["ORDERS_*"], clock = true }
librdkafka = ["client.*"]
limits = { parallelism = 4, weight = 10, memory = "32 MiB", timeout = "500ms", init_timeout = "20s", max_in_flight = { bytes = "1 GiB" } }
plugins = { sha256 = ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"], signed_by = ["team-a"] }
[signers]
team-a = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
"#;

const PERMITTED: &str = r#"[kafka]
brokers = ["kafka-1:9092"]
librdkafka = { "client.rack" = "a" }
[input]
topics = ["orders.new", "^returns\\..*"]
group = "orders-clean"
[[step]]
wasm = "mask.wasm"
memory = "32 MiB"
timeout = "500ms"
allow = { clock = true, env = { ORDERS_REGION = "${ORDERS_REGION}" } }
settings = { key = "${file:secrets/orders/key}" }
[output.main]
topic = "orders.clean"
[limits]
parallelism = 4
[on_error]
dead_letter = "shared"
"#;

/// The findings about a pipeline under a policy, without the folder's name; and whether brokers may be asked.
/// What the policy says of the pipeline that it permits, with these lines in its output. The input reads other topics.
pub(super) fn judge(output: &str) -> String {
    let text = PERMITTED.replace("[limits]", &format!("{output}\n[limits]"));
    judged(POLICY, &text.replace("\"orders.new\", ", ""), &[]).0
}

/// What a policy whose `allow` has these keys, too, says of that pipeline with this line in its step.
pub(super) fn judge_step(rule: &str, step: &str) -> String {
    let policy =
        POLICY.replace("clock = true }", &format!("clock = true{}{rule} }}", if rule.is_empty() { "" } else { ", " }));
    let allow = "allow = { clock = true, env = { ORDERS_REGION = \"${ORDERS_REGION}\" } }";
    judged(&policy, &PERMITTED.replace(allow, step), &[]).0
}

fn judged(policy: &str, pipeline: &str, set: &[&str]) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("secrets/orders")).unwrap();
    for (name, text) in [
        ("policy.toml", policy),
        ("orders.toml", pipeline),
        ("mask.wasm", ""),
        ("secrets/orders/key", "a"),
        ("secrets/other", "hunter2"),
    ] {
        fs::write(path(name), text).unwrap();
    }
    let overrides = Overrides { set: set.iter().map(|set| (*set).to_owned()).collect(), http: None, service: None };
    let env = |name: &str| (name.ends_with("REGION")).then(|| "eu".into());
    let mut examined = examine(&path("orders.toml"), &overrides, &env);
    crate::config::policy(&path("policy.toml")).unwrap().judge(&mut examined);
    assert!(
        examined.referenced.iter().any(|file| file.path == path("policy.toml")),
        "a change of the policy is noticed"
    );
    let asks = examined.pipeline.as_ref().is_some_and(|(_, usable)| usable.connection);
    (examined.report.to_string().replace(&format!("{}/", folder.path().display()), ""), asks)
}

#[test]
fn what_a_rule_permits_is_no_finding() {
    assert_eq!(judged(POLICY, PERMITTED, &[]), (String::new(), true));
    let everything = "[[rule]]\npipelines = [\"*\"]\nbrokers = [\"*\"]\ntopics = { read = [\"*\"], write = [\"*\"] }\n\
                      groups = [\"*\"]\nreferences = { env = [\"*\"], files = [\"*\"] }\nallow = { env = [\"*\"], clock = true }\n\
                      librdkafka = [\"*\"]\n";
    assert_eq!(judged(everything, PERMITTED, &[]), (String::new(), true));
}

#[test]
fn each_thing_that_a_rule_does_not_permit_is_reported_with_both_places() {
    for (old, new, message, help) in [
        (
            "kafka-1:9092",
            "evil:9092",
            "the broker `evil:9092` is not permitted",
            "policy.toml:3: `brokers` permits `kafka-?:9092`",
        ),
        (
            "orders.new",
            "payments",
            "reading the topic `payments` is not",
            "policy.toml:4: `topics.read` permits `orders.*`, `^ret",
        ),
        (
            "^returns\\\\..*",
            "^rest\\\\..*",
            r"reading the topic `^rest\..*` is not",
            "a pattern needs exactly its text there, or `*`",
        ),
        (
            "orders.clean",
            "payments",
            "output `main`: writing the topic `payments` is",
            "`topics.write` permits `orders.*`, `shared`",
        ),
        ("\"shared\"", "\"other\"", "writing dead letters to the topic `other` is", "policy.toml:4: `topics.write`"),
        (
            "group = \"orders-clean\"",
            "",
            "the consumer group `orders` is not",
            "policy.toml:5: `groups` permits `orders-*`",
        ),
        (
            "\"${ORDERS_REGION}\"",
            "\"${REGION}\"",
            "the variable `REGION` is not",
            "policy.toml:6: `references.env` permits",
        ),
        (
            "secrets/orders/key",
            "secrets/other",
            "the file `secrets/other` is not",
            "`references.files` permits `secrets/orders/*`",
        ),
        (
            "secrets/orders/key",
            "secrets/orders/../other",
            "the file `secrets/orders/../other` is not",
            "`references.files`",
        ),
        (
            "{ ORDERS_REGION",
            "{ AWS_KEY",
            "step `mask`: the variable `AWS_KEY` is not",
            "policy.toml:7: `allow.env` permits `ORDERS_*`",
        ),
        (
            "clock = true",
            "random = true",
            "step `mask`: `allow.random` is not",
            "policy.toml:1: the rule has no `allow.random = true`",
        ),
        (
            "client.rack",
            "socket.nagle.disable",
            "the key of librdkafka `socket.nagle.disable` is not",
            "`librdkafka` permits `client.*`",
        ),
        (
            "[output.main]",
            "[output.main]\nlibrdkafka = { \"a.b\" = 1 }",
            "the key of librdkafka `a.b` is not",
            "policy.toml:8",
        ),
        (
            "parallelism = 4",
            "parallelism = 5",
            "`limits.parallelism` is 5, which is more",
            "policy.toml:9: the rule permits 4 at most",
        ),
        (
            "parallelism = 4",
            "weight = 11\nparallelism = 4",
            "`limits.weight` is 11, which is more",
            "policy.toml:9: the rule permits 10 at most",
        ),
        (
            "memory = \"32 MiB\"\n",
            "",
            "`memory` of step `mask` is \"64 MiB\" by default",
            "the rule permits \"32 MiB\" at most",
        ),
        (
            "timeout = \"500ms\"",
            "timeout = \"2s\"",
            "`timeout` of step `mask` is \"2s\", which",
            "the rule permits \"500ms\" at most",
        ),
        (
            "timeout = \"500ms\"",
            "timeout = \"500ms\"\ninit_timeout = \"1m\"",
            "`init_timeout` of step `mask` is \"1m\", which",
            "the rule permits \"20s\" at most",
        ),
        (
            "parallelism = 4",
            "parallelism = 4\nmax_in_flight.bytes = \"2 GiB\"",
            "`limits.max_in_flight.bytes` is \"2 GiB\"",
            "policy.toml:9",
        ),
        (
            "brokers =",
            "insecure = true\nsasl = { mechanism = \"PLAIN\", username = \"a\", password = \"b\" }\nbrokers =",
            "`insecure` is not permitted",
            "no `insecure = true`",
        ),
    ] {
        assert!(PERMITTED.contains(old), "{old}");
        let (found, _) = judged(POLICY, &PERMITTED.replacen(old, new, 1), &[]);
        assert!(found.contains(message) && found.contains(help), "{new}:\n{found}");
        assert_eq!(found.matches("error: ").count(), 1, "{new}:\n{found}");
        assert!(found.contains("orders.toml:") && !found.contains("hunter2"), "{found}");
    }
}

/// The certificates and keys of the connection are files that a team could name to pass for another one.
#[test]
fn the_files_of_the_connection_are_judged_like_references() {
    let with = |ca: &str| PERMITTED.replace("librdkafka", &format!("tls = {{ ca = \"{ca}\" }}\nlibrdkafka"));
    assert_eq!(judged(POLICY, &with("secrets/orders/key"), &[]).0, "");
    let (found, asks) = judged(POLICY, &with("secrets/other"), &[]);
    assert!(found.contains("secrets/other` is not permitted") && !asks, "{found}");
}

/// The bytes of components are looked at where they are loaded, if there is something to compare them with.
#[test]
fn without_digests_and_signers_only_bundled_plugins_can_be_permitted() {
    let policy = |plugins: &str| {
        let line = POLICY.lines().find(|line| line.starts_with("plugins")).unwrap();
        POLICY.replace(line, &format!("plugins = {plugins}"))
    };
    let bundled = PERMITTED.replace("wasm = \"mask.wasm\"", "use = \"std:jq\"");
    let (found, _) = judged(&policy("{ signed_by = [\"team-a\"] }"), &bundled, &[]);
    assert!(found.contains("a plugin that comes with wasmill is not permitted"), "{found}");
    assert!(found.contains("policy.toml:10: `plugins` has no `bundled = true`"), "{found}");
    let (found, _) = judged(&policy("{ bundled = true }"), PERMITTED, &[]);
    assert!(found.contains("step `mask`: a plugin of one's own is not permitted"), "{found}");
    let (found, _) = judged(&policy("{ bundled = true }"), &bundled, &[]);
    assert!(!found.contains("not permitted"), "{found}");
}

#[test]
fn all_violations_are_reported_at_once_and_no_override_gets_around_the_policy() {
    let (found, asks) =
        judged(POLICY, PERMITTED, &["input.group=payments", "limits.parallelism=64", "kafka.brokers=[\"evil:1\"]"]);
    for part in ["`payments` is not permitted", "`limits.parallelism` is 64", "the broker `evil:1`", "--set"] {
        assert!(found.contains(part), "{part} in:\n{found}");
    }
    assert!(!asks, "no password goes to a broker that isn't permitted");
    let (found, asks) = judged(POLICY, PERMITTED, &["output.main.topic=payments"]);
    assert!(found.contains("writing the topic `payments`") && asks, "{found}");
}

#[test]
fn a_limit_without_a_default_has_to_be_set_and_what_plugins_produce_is_bounded() {
    let bounded =
        "records_per_second = 1_000, outputs_per_record = 100, output_bytes_per_record = \"1 MiB\", parallelism = 4";
    let policy = POLICY.replace("parallelism = 4", bounded);
    let (found, _) = judged(&policy, PERMITTED, &[]);
    for part in [
        "`limits.records_per_second` is unlimited by default, which is more",
        "`limits.outputs_per_record` is 10000 by default",
        "`limits.output_bytes_per_record` is \"16 MiB\" by default",
        "policy.toml:9: the rule permits 1000 at most",
    ] {
        assert!(found.contains(part), "{part} in:\n{found}");
    }
    let set =
        ["limits.records_per_second=1000", "limits.outputs_per_record=100", "limits.output_bytes_per_record=1MiB"];
    assert_eq!(judged(&policy, PERMITTED, &set).0, "");
    let (found, _) = judged(&policy, PERMITTED, &[&set[1..], &["limits.records_per_second=1001"]].concat());
    assert!(found.contains("`limits.records_per_second` is 1001, which is more"), "{found}");
}

#[test]
fn a_rule_is_chosen_by_the_name_and_the_file_and_without_one_nothing_is_permitted() {
    let named = |name: &str| format!("name = \"{name}\"\n{PERMITTED}");
    assert_eq!(judged(POLICY, &named("orders-2"), &[]).0, "");
    let (found, asks) = judged(POLICY, &named("payments"), &[]);
    let expected = "no rule of policy.toml is for the pipeline `payments`";
    assert!(found.contains(expected) && found.contains("orders.toml:1:8") && !asks, "{found}");
    assert!(found.contains("there are rules for `orders`, `orders-*` (policy.toml:1)"), "{found}");
    let (found, _) = judged(POLICY, PERMITTED, &["name=payments"]);
    assert!(found.contains(expected), "{found}");
    // The first rule holds, also if a later one permits more.
    let all = POLICY
        .split("[signers]")
        .next()
        .unwrap()
        .replace("[\"orders\", \"orders-*\"]", "[\"*\"]")
        .replace("[\"orders-*\"]", "[\"*\"]");
    let (found, _) = judged(&format!("{POLICY}{all}"), &PERMITTED.replace("orders-clean", "other"), &[]);
    assert!(found.contains("policy.toml:5: `groups`"), "{found}");
    // A name alone isn't enough where the rule names files.
    let of_files = |files: &str| POLICY.replace("brokers =", &format!("files = [\"{files}\"]\nbrokers ="));
    assert_eq!(judged(&of_files("ord*.toml"), PERMITTED, &[]).0, "");
    let (found, _) = judged(&of_files("/etc/wasmill/*"), PERMITTED, &[]);
    assert!(found.contains("in files `/etc/wasmill/*`"), "{found}");
}

#[test]
fn the_changelog_of_a_step_with_windows_and_its_memory_are_judged() {
    let windows = PERMITTED.replace(
        "[output.main]",
        "[[step]]\nname = \"sum\"\nuse = \"std:aggregate\"\nwindow = { size = \"1m\" }\nsettings = { n = \"count\" }\n[output.main]",
    );
    let policy = POLICY
        .replace("[limits]", "")
        .replace("memory = \"32 MiB\"", "memory = \"32 MiB\", state_memory = \"1 MiB\", steps = 1");
    let (found, _) = judged(&policy, &windows.replace(", \"^returns\\\\..*\"", ""), &[]);
    for part in [
        "writing the changelog topic `orders-clean.sum.changelog` is not permitted",
        "`state.memory` is \"512 MiB\" by default",
        "the number of steps is 2, which is more than is permitted",
    ] {
        assert!(found.contains(part), "{part} in:\n{found}");
    }
}

#[test]
fn a_mistake_in_the_pipeline_is_not_reported_as_a_violation_too() {
    let (found, _) = judged(POLICY, &PERMITTED.replace("memory = \"32 MiB\"", "memry = \"32 MiB\""), &[]);
    assert!(found.contains("unknown field `memry`") && !found.contains("by default"), "{found}");
}

#[test]
fn a_policy_has_its_own_mistakes_with_places_and_suggestions() {
    let read = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        fs::write(&path, text).unwrap();
        policy(&path).unwrap_err().to_string()
    };
    for (old, new, expected) in [
        ("groups", "group", "did you mean `groups`?"),
        ("groups = [\"orders-*\"]\n", "", "`rule.groups` is missing"),
        ("orders.*\", \"shared", "orders.**\", \"shared", "write `orders.*`"),
        ("\"orders-*\"]\nbrokers", "\"^orders-.*$\"]\nbrokers", "did you mean `orders-*`?"),
        ("clock = true", "clok = true", "did you mean `clock`?"),
        ("parallelism = 4", "parallelism = 0", "`limits.parallelism`: 0 is out of range"),
        ("32 MiB", "32 MuB", "`limits.memory`: `32 MuB` is not a size"),
        ("signed_by = [\"team-a\"]", "signed_by = [\"team-b\"]", "there is no signer `team-b`"),
        ("\"team-a\"]", "\"team-b\"]", "did you mean `team-a`?"),
        ("\"RWQf6", "\"RXQf6", "the key `RXQf6"),
        ("e3b0c4", "e3b0", "`plugins.sha256`: `e3b0"),
        ("[[rule]]", "[rule]", "expected"),
    ] {
        assert!(POLICY.contains(old), "{old}");
        let found = read(&POLICY.replacen(old, new, 1));
        assert!(found.contains(expected) && found.contains("policy.toml:"), "{new}:\n{found}");
    }
    assert!(read("").contains("`[[rule]]` is missing"));
    let missing = policy(Path::new("/nowhere/policy.toml")).unwrap_err().to_string();
    assert!(missing.contains("cannot read `/nowhere/policy.toml`"), "{missing}");
}
