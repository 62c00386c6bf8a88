//! Values from the environment and from files: which of them are secret, and how they are read as the types of keys.

use super::further::shown;
use super::*;

/// A case with these variables. The file `count` holds text where a number is expected, and `eight` a number.
fn with_env(env: &[(&'static str, &'static str)]) -> Case {
    let mut case = Case::new();
    case.env.extend(env.iter().copied());
    fs::write(case.folder.path().join("count"), "hunter2\n").unwrap();
    fs::write(case.folder.path().join("eight"), " 8765432 \n").unwrap();
    case
}

/// The messages about a file.
fn messages(case: &Case, text: &str) -> Vec<String> {
    let report = case.load(text).unwrap_err();
    report.findings().iter().map(|finding| finding.message.clone()).collect()
}

/// The lines of `config show` with single spaces.
fn page(case: &Case, text: &str) -> Vec<String> {
    shown(case, text).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn has(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(lines.iter().any(|found| found == line), "{line:?} is missing in:\n{}", lines.join("\n"));
    }
}

#[test]
fn what_came_from_a_variable_is_shown_in_messages() {
    let case = with_env(&[("GROUP", "blue"), ("TOPIC", "or/ders"), ("LISTEN", "nowhere\u{1b}[1m"), ("LONG", "2 days")]);
    for (text, expected) in [
        (with("[\"orders\"]", "[\"${TOPIC}\"]"), "`or/ders` from `${TOPIC}` can't be a topic's name"),
        (
            with("orders.clean", "a/${GROUP}-${GROUP}"),
            "`a/blue-blue` from `${GROUP}` and `${GROUP}` can't be a topic's name",
        ),
        (and("[http]\nlisten = \"${LISTEN}\""), "`nowhere\\u{1b}[1m` from `${LISTEN}` is not an address to listen at"),
        (first("shutdown_timeout = \"${LONG}\""), "`shutdown_timeout`: `2 days` from `${LONG}` is longer than a day"),
        (with("wasm =", "memory = \"${GROUP}\"\nwasm ="), "`memory`: `blue` from `${GROUP}` is not a size"),
    ] {
        assert_eq!(messages(&case, &text), [expected]);
    }
    let pipeline = case.load(with("topics", "group = \"${GROUP}\"\ntopics")).unwrap();
    let group = pipeline.spans.group.unwrap();
    assert!(pipeline.is_shown(group));
    assert_eq!(pipeline.hide("the group blue of user sesame"), "the group blue of user sesame");
}

#[test]
fn config_show_shows_what_came_from_a_variable_and_hides_secrets() {
    let case = with_env(&[("GROUP", "blue"), ("KEY", "open"), ("PASS", "canary")]);
    let text = with(
        "brokers",
        "sasl = { mechanism = \"${MECHANISM:-PLAIN}\", username = \"${KAFKA_USER}\", password = \"${PASS}\" }\n\
         tls = true\nlibrdkafka = { \"client.rack\" = \"${KEY}\", \"ssl.key.password\" = \"${PASS:-x}\" }\nbrokers",
    )
    .replace("topics", "group = \"${GROUP}\"\ninstance_id = \"a-${file:secret}-b\"\ntopics")
    .replace(
        "wasm =",
        "settings = { key = \"${KEY}\", API_Token = \"${OTHER:-abcdef}\", secrets = { username = \"${OTHER:-abcdef}\" } }\n\
         allow = { env = { REGION = \"${KEY}\", DB_PASSWORD = \"${OTHER:-abcdef}\", FILE = \"${file:secret}\" } }\nwasm =",
    );
    let lines = page(&case, &text);
    has(
        &lines,
        &[
            "sasl.mechanism = \"***\" # ${MECHANISM}, orders.toml:2",
            "sasl.username = \"***\" # ${KAFKA_USER}, orders.toml:2",
            "sasl.password = \"***\" # ${PASS}, orders.toml:2",
            "librdkafka.\"client.rack\" = \"open\" # ${KEY}, orders.toml:4",
            "librdkafka.\"ssl.key.password\" = \"***\" # ${PASS}, orders.toml:4",
            "group = \"blue\" # ${GROUP}, orders.toml:7",
            "instance_id = \"***\" # ${file:secret}, orders.toml:8",
            "settings.key = \"open\" # ${KEY}, orders.toml:11",
            "settings.API_Token = \"***\" # ${OTHER}, orders.toml:11",
            "settings.secrets.username = \"***\" # ${OTHER}, orders.toml:11",
            "allow.env.REGION = \"open\" # ${KEY}, orders.toml:12",
            "allow.env.DB_PASSWORD = \"***\" # ${OTHER}, orders.toml:12",
            "allow.env.FILE = \"***\" # ${file:secret}, orders.toml:12",
        ],
    );
    let page = lines.join("\n");
    for secret in ["hunter2", "sesame", "canary", "abcdef"] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
}

/// Texts of librdkafka and of plugins repeat values of the pipeline.
#[test]
fn exactly_the_secrets_are_hidden_in_other_texts() {
    let case = with_env(&[("REGION", "eu-central"), ("PASS", "canary"), ("LISTED", "one:9092, two:9092")]);
    fs::write(case.folder.path().join("hosts"), "red:9092, blue:9092").unwrap();
    let text = with("[\"localhost:9092\"]", "[\"${LISTED}\", \"${file:hosts}\"]")
        .replace("topics", "group = \"${REGION}-${file:secret}\"\ntopics")
        .replace("wasm =", "settings = { region = \"${REGION}\", token = \"a${PASS}b\" }\nwasm =");
    let pipeline = case.load(&text).unwrap();
    for (text, expected) in [
        ("no region eu-central at one:9092", "no region eu-central at one:9092"),
        ("bad: hunter2, eu-central-hunter2", "bad: ***, ***"),
        ("bad: acanaryb, canary", "bad: ***, ***"),
        ("red:9092/bootstrap: refused", "***/bootstrap: refused"),
    ] {
        assert_eq!(pipeline.hide(text), expected);
        assert_eq!(pipeline.steps[0].hidden.hide(text), expected);
    }
    assert!(!pipeline.is_shown(pipeline.spans.group.unwrap()) && !pipeline.is_shown(pipeline.spans.brokers));
    assert!(pipeline.spans.topics.iter().all(|span| pipeline.is_shown(*span)));
}

/// A password in another key is the same password.
#[test]
fn a_variable_that_is_secret_in_one_key_is_secret_in_all() {
    let case = with_env(&[("PASS", "canary")]);
    let text = with("orders.clean", "in-${PASS}/").replace("wasm =", "settings = { token = \"${PASS}\" }\nwasm =");
    assert_eq!(messages(&case, &text), ["`***` from `${PASS}` can't be a topic's name"]);
    let alone = with("orders.clean", "in-${PASS}/");
    assert_eq!(messages(&case, &alone), ["`in-canary/` from `${PASS}` can't be a topic's name"]);
}

#[test]
fn a_user_from_a_variable_is_in_no_command() {
    let case = with_env(&[("ME", "me")]);
    let sasl = |user: &str| {
        let sasl =
            format!("tls = true\nsasl = {{ mechanism = \"PLAIN\", username = \"{user}\", password = \"x\" }}\nbrokers");
        case.load(with("brokers", &sasl)).unwrap().kafka
    };
    assert_eq!(sasl("${ME}").shown_user(), None);
    assert_eq!(sasl("me").shown_user().as_deref(), Some("me"));
    assert!(!format!("{:?}", sasl("${KAFKA_USER}")).contains("sesame"));
}

#[test]
fn a_list_is_one_reference_or_a_list_of_them() {
    let case = with_env(&[
        ("BROKERS", "a:1 ,b:2"),
        ("ONE", "c:3"),
        ("TOPICS", "one, two"),
        ("PATTERN", "^x{1,2}$"),
        ("MIXED", "one,^two"),
    ]);
    let brokers = |written: &str| case.load(with("[\"localhost:9092\"]", written)).unwrap().kafka.brokers;
    assert_eq!(brokers("\"${BROKERS}\""), ["a:1", "b:2"]);
    assert_eq!(brokers("[\"${BROKERS}\", \"${ONE}\"]"), ["a:1", "b:2", "c:3"]);
    assert_eq!(brokers("\"${BROKERS},d:${PORT:-4}\""), ["a:1", "b:2", "d:4"]);
    let topics = |written: &str| case.load(with("[\"orders\"]", written)).unwrap().kafka.input.topics;
    assert_eq!(topics("\"${TOPICS}\""), ["one", "two"]);
    assert_eq!(topics("\"${PATTERN}\""), ["^x{1,2}$"]);
    assert_eq!(topics("\"${MIXED}\""), ["one", "^two"]);
    has(
        &page(&case, &with("[\"localhost:9092\"]", "\"${BROKERS}\"")),
        &["brokers = [\"a:1\", \"b:2\"] # ${BROKERS}, orders.toml:2"],
    );
    // Without a reference a list is a list.
    titles(&with("[\"localhost:9092\"]", "\"a:1,b:2\""), &["`kafka.brokers`: expected a list, found a string"]);
    titles(&with("[\"localhost:9092\"]", "\"$${a}\""), &["`kafka.brokers`: expected a list, found a string"]);
}

#[test]
fn an_empty_item_of_a_list_is_reported_with_its_variable() {
    let case = with_env(&[("BROKERS", "a:1,,b:2"), ("TRAILING", "one,")]);
    fs::write(case.folder.path().join("hosts"), "hunter2:1,").unwrap();
    same(
        &case.report(&with("[\"localhost:9092\"]", "\"${BROKERS}\"")),
        r#"
error: `${BROKERS}` is "a:1,,b:2", and `kafka.brokers` has no empty items
 --> orders.toml:2:11
  |
2 | brokers = "${BROKERS}"
  |           ^^^^^^^^^^^^
help: write the items with one comma between two: `a,b`
"#,
    );
    for (written, expected) in [
        ("[\"${TRAILING}\"]", "`${TRAILING}` is \"one,\", and `input.topics` has no empty items"),
        ("\"${EMPTY}\"", "`${EMPTY}` is \"\", and `input.topics` has no empty items"),
        ("\"${file:hosts}\"", "`input.topics` has no empty items, and the value of `${file:hosts}` has one"),
    ] {
        assert_eq!(messages(&case, &with("[\"orders\"]", written)), [expected]);
    }
}

#[test]
fn numbers_switches_sizes_and_times_take_references() {
    let case = with_env(&[
        ("N", " 3 "),
        ("SHARE", "0.25"),
        ("CREATE", "true"),
        ("SIZE", "32 MiB"),
        ("BYTES", "1048576"),
        ("TIME", "1500ms"),
        ("RETRIES", "5"),
        ("FOREVER", "forever"),
    ]);
    let text = with("brokers", "tls = \"${CREATE}\"\nbrokers").replace(
        "wasm =",
        "batch = \"1${NONE:-6}\"\nmemory = \"${BYTES}\"\nallow = { clock = \"${CREATE}\", random = \"${NO:-false}\" }\nwasm =",
    ) + "[limits]\nparallelism = \"${NONE:-4}\"\nmax_in_flight = { records = \"${N}\", bytes = \"${SIZE}\" }\ncommit_every = \"${TIME}\"\n\
         [on_error]\nthen = \"skip\"\nretries = \"${RETRIES}\"\nmax_reject_share = \"${SHARE}\"\n\
         [on_error.kind.timeout]\nretries = \"${FOREVER}\"\n[reload]\nwatch = \"${CREATE}\"\n";
    let pipeline = case.load(&text).unwrap();
    let limits = &pipeline.limits;
    assert_eq!((limits.parallelism, limits.max_in_flight_records, limits.max_in_flight_bytes), (4, 3, 32 << 20));
    assert_eq!(pipeline.kafka.commit_every, Duration::from_millis(1500));
    let step = &pipeline.steps[0];
    assert_eq!(
        (step.batch_records, step.memory_bytes, step.allow.clock, step.allow.random),
        (16, 1 << 20, true, false)
    );
    assert!(pipeline.kafka.tls.is_some() && pipeline.reload.watch);
    assert_eq!((pipeline.policy.general.retries, pipeline.policy.rejects_max), (Retries::Times(5), Some(50)));
    assert_eq!(pipeline.policy.kinds[&crate::failure::Kind::Timeout].retries, Retries::Forever);
    has(
        &page(&case, &text),
        &[
            "parallelism = 4 # ${NONE}, orders.toml:14",
            "commit_every = \"1s 500ms\" # ${TIME}, orders.toml:16, written \"1500ms\"",
            "max_reject_share = 0.25 # ${SHARE}, orders.toml:20",
            "watch = true # ${CREATE}, orders.toml:24",
        ],
    );
    let set = case.set("limits.parallelism=${N}").load(SMALLEST).unwrap();
    assert_eq!(set.limits.parallelism, 3);
}

#[test]
fn a_text_that_is_not_of_its_keys_type_is_reported_with_variable_and_key() {
    let case = with_env(&[("N", "many"), ("BIG", "5000"), ("MINUS", "-1")]);
    same(
        &case.report(&and("[limits]\nparallelism = \"${N:-4}\"")),
        r#"
error: `${N}` is "many", and `limits.parallelism` is a whole number
  --> orders.toml:10:15
   |
10 | parallelism = "${N:-4}"
   |               ^^^^^^^^^
help: write it in digits, such as `8`
"#,
    );
    for (text, expected) in [
        (
            with("wasm =", "batch = \"1${N}\"\nwasm ="),
            "`${N}` in its text makes \"1many\", and `step.batch` is a whole number",
        ),
        (
            with("wasm =", "allow.clock = \"${N}\"\nwasm ="),
            "`${N}` is \"many\", and `step.allow.clock` is `true` or `false`",
        ),
        (with("wasm =", "batch = \"${EMPTY}\"\nwasm ="), "`${EMPTY}` is \"\", and `step.batch` is a whole number"),
        (with("brokers", "tls = \"${N}\"\nbrokers"), "`${N}` is \"many\", and `kafka.tls` is `true` or `false`"),
        (
            and("[on_error]\nretries = \"${N}\""),
            "`${N}` is \"many\", and `on_error.retries` is a whole number or \"forever\"",
        ),
        (
            and("[on_error]\nretries = \"${MINUS}\""),
            "`retries` from `${MINUS}` is neither a number of times nor \"forever\"",
        ),
        (
            and("[on_error]\nthen = \"skip\"\nmax_reject_share = \"${N}\""),
            "`${N}` is \"many\", and `on_error.max_reject_share` is a number",
        ),
        (
            and("[on_error]\nthen = \"skip\"\nmax_reject_share = \"${BIG}\""),
            "`max_reject_share`: 5000 from `${BIG}` is out of range",
        ),
        (and("[limits]\nparallelism = \"${BIG}\""), "`parallelism`: 5000 from `${BIG}` is out of range"),
        (and("[limits]\ncommit_every = \"${N}\""), "`commit_every`: `many` from `${N}` is not a time"),
        // A literal is what it is.
        (and("[limits]\nparallelism = \"4\""), "`limits.parallelism`: expected i64, found a string"),
        (and("[reload]\nwatch = \"true\""), "`reload.watch`: expected `true` or `false`, found a string"),
    ] {
        let found = messages(&case, &text);
        assert!(found[0] == expected || found[0] == expected.replace("i64", "a whole number"), "{found:?}");
    }
}

/// A plugin's settings may be anything, so nothing says what a text should be.
#[test]
fn references_in_settings_stay_text() {
    let case = with_env(&[("N", "4"), ("LIST", "a,,b")]);
    let text = with("wasm =", "settings = { n = \"${N}\", batch = \"${N}\", list = [\"${LIST}\"] }\nwasm =");
    assert_eq!(case.load(&text).unwrap().steps[0].settings.0, "{\"n\":\"4\",\"batch\":\"4\",\"list\":[\"a,,b\"]}");
}

#[test]
fn a_secret_of_the_wrong_type_is_not_shown() {
    let case = with_env(&[]);
    let windowed = |more: &str| {
        let step = "name = \"w\"\nuse = \"std:aggregate\"\nwindow = { size = \"1m\" }\n";
        with("wasm = \"plugins/mask.wasm\"", &format!("{step}{more}\n"))
    };
    let count = "settings = { orders = \"count\" }\n";
    for (text, expected) in [
        (
            and("[limits]\nparallelism = \"${file:count}\""),
            "`limits.parallelism` is a whole number, and the value of `${file:count}` is not",
        ),
        (
            and("[reload]\nwatch = \"${file:count}\""),
            "`reload.watch` is `true` or `false`, and the value of `${file:count}` is not",
        ),
        (and("[limits]\nparallelism = \"${file:eight}\""), "`parallelism`: `***` from `${file:eight}` is out of range"),
        (
            and("[on_error]\nthen = \"skip\"\nmax_reject_share = \"${file:eight}\""),
            "`max_reject_share`: `***` from `${file:eight}` is out of range",
        ),
        (and("[limits]\ncommit_every = \"${file:count}\""), "`commit_every`: `***` from `${file:count}` is not a time"),
        (
            windowed(&format!("{count}key = \"${{file:count}}\"\nsame_partition = true")),
            "`key`: `***` from `${file:count}` can't be used",
        ),
        (
            windowed("settings = { orders = \"${file:count}\" }"),
            "`settings` holds a secret, and a text that is no function",
        ),
        (
            with("plugins/mask.wasm", "std:${file:count}"),
            "`wasm` names a file, and this is a plugin that comes with wasmill",
        ),
    ] {
        let report = case.load(&text).unwrap_err();
        let all = format!("{report}{report:?}{:?}", report.findings());
        assert!(report.findings().iter().any(|finding| finding.message == expected), "{expected}: {all}");
        assert!(!all.contains("hunter2") && !all.contains("8765432"), "{all}");
    }
    let text = and("[limits]\nmax_in_flight = { records = \"${file:eight}\" }");
    let pipeline = case.load(&text).unwrap();
    assert_eq!(pipeline.limits.max_in_flight_records, 8_765_432);
    assert!(!format!("{pipeline:?}").contains("8765432"));
    has(&page(&case, &text), &["max_in_flight.records = \"***\" # ${file:eight}, orders.toml:10"]);
}
