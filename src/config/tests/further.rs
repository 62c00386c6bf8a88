//! What is done with a file besides running it: `config show`, and looking further although something is wrong.

use super::*;

/// What `config show` says of a file, with the folder's name taken out of it.
fn shown(case: &Case, text: &str) -> String {
    let path = case.folder.path().join("orders.toml");
    fs::write(&path, text).unwrap();
    let env = |name: &str| case.env.get(name).map(|value| (*value).to_owned());
    let shown = show(&path, &case.overrides, &env).unwrap();
    shown.replace(&format!("{}/", case.folder.path().display()), "")
}

#[test]
fn every_value_is_shown_with_where_it_came_from() {
    let case = Case::new().set("limits.parallelism=3").set("step.0.timeout=50ms");
    let text = with("topics", "instance_id = \"${HOSTNAME:-}\"\nlibrdkafka = { \"fetch.min.bytes\" = 1 }\ntopics")
        .replace(
            "brokers",
            "sasl = { mechanism = \"SCRAM-SHA-256\", username = \"${KAFKA_USER}\", password = \"hunter2\" }\nbrokers",
        )
        .replace("wasm =", "settings = { fields = [\"a\", \"x${KAFKA_USER}\"], token = \"hunter2\" }\nwasm =");
    let page = shown(&case, &text);
    let lines: Vec<String> = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "# What orders.toml comes to. `***` stands for what is not shown.",
        "name = \"orders\" # default: the file's name without `.toml`",
        "shutdown_timeout = \"25s\" # default",
        "brokers = [\"localhost:9092\"] # orders.toml:3",
        "client_id = \"wasmill-orders\" # default: `wasmill-` and the pipeline's name",
        "tls = false # default",
        "sasl.mechanism = \"SCRAM-SHA-256\" # orders.toml:2",
        "sasl.username = \"***\" # ${KAFKA_USER}, orders.toml:2",
        "sasl.password = \"***\" # orders.toml:2",
        "group = \"orders\" # default: the pipeline's name",
        "instance_id = \"***\" # ${HOSTNAME}, orders.toml:5",
        "librdkafka.\"fetch.min.bytes\" = 1 # orders.toml:6",
        "[[step]]",
        "name = \"mask\" # default: the component's file name without `.wasm`",
        "settings.fields = [\"a\", \"***\"] # ${KAFKA_USER}, orders.toml:9",
        "settings.token = \"***\" # orders.toml:9",
        "timeout = \"50ms\" # --set",
        "[output.main]",
        "parallelism = 3 # --set",
        "max_in_flight.bytes = \"64 MiB\" # default",
        "listen = \"127.0.0.1:9108\" # default",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line:?} is missing in:\n{page}");
    }
    assert!(!page.contains("hunter2") && !page.contains("sesame"), "{page}");
    assert_eq!(page, shown(&case, &text));
}

/// What `config show` prints is the same pipeline, so its defaults, which are also the documentation's, are those that count.
#[test]
fn what_is_shown_can_be_pasted_back_and_means_the_same() {
    let case = Case::new();
    for text in [SMALLEST.to_owned(), LARGEST.replace("${KAFKA_USER}", "me").replace("${HOSTNAME:-}", "pod-1")] {
        let debug = |pipeline: &Pipeline| {
            let Pipeline { kafka, steps, policy, routes, limits, http, shutdown_timeout, .. } = pipeline;
            format!(
                "{} {kafka:?} {steps:?} {policy:?} {routes:?} {limits:?} {http} {shutdown_timeout:?}",
                pipeline.name
            )
        };
        let page = shown(&case, &text).replace("sasl.password = \"***\"", "sasl.password = \"${file:secret}\"");
        assert_eq!(debug(&case.load(&text).unwrap()), debug(&case.load(&page).unwrap()), "\n{page}");
    }
}

/// What may be looked into although something is wrong, as `connection, group, components, inits`.
#[test]
fn a_mistake_spoils_its_own_part_and_no_other() {
    let two = and("[[step]]\nname = \"two\"\nwasm = \"plugins/mask.wasm\"");
    let case = Case::new();
    for (old, new, expected) in [
        ("topics =", "topics =", (true, true, [true, true], [true, true])),
        ("brokers =", "tsl = true\nbrokers =", (false, true, [true, true], [true, true])),
        ("[\"localhost:9092\"]", "[\"${NONE}\"]", (false, true, [true, true], [true, true])),
        ("[input]", "[kafak]\ntls = true\n[input]", (false, false, [true, true], [false, false])),
        ("topics =", "groop = \"x\"\ntopics =", (true, false, [true, true], [true, true])),
        ("name = \"two\"", "name = \"two\"\nsetings = {}", (true, true, [true, true], [true, false])),
        ("name = \"two\"", "name = \"two\"\nsettings = { a = \"${NONE}\" }", (true, true, [true, true], [true, false])),
        (
            "name = \"two\"\nwasm = \"plugins/mask",
            "name = \"two\"\nwasm = \"plugins/gone",
            (true, true, [true, false], [true, false]),
        ),
        ("[output.main]", "[output.mian]", (true, true, [true, true], [false, false])),
        ("[output.main]", "[limits]\nparallelism = 0\n[output.main]", (true, true, [true, true], [true, true])),
    ] {
        assert!(two.contains(old), "{old}");
        let path = case.folder.path().join("orders.toml");
        fs::write(&path, two.replacen(old, new, 1)).unwrap();
        let examined = examine(&path, &case.overrides, &|_| None);
        let (_, sound) = examined.pipeline.unwrap();
        let steps = &sound.steps;
        let got =
            (sound.connection, sound.group, [steps[0].component, steps[1].component], [steps[0].init, steps[1].init]);
        assert_eq!(got, expected, "{new}\n{}", examined.report);
    }
}
