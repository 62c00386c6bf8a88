//! Other uses of a file than running it: `config show`, and checking the usable parts of a file with mistakes.

use super::*;

/// The output of `config show`, without the directory's name.
pub(super) fn shown(case: &Case, text: &str) -> String {
    let path = case.folder.path().join("orders.toml");
    fs::write(&path, text).unwrap();
    let env = |name: &str| case.env.get(name).map(Into::into);
    let shown = show(&path, &case.overrides, &env).unwrap();
    shown.replace(&format!("{}/", case.folder.path().display()), "")
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let mut case = Case::new().set("limits.parallelism=3").set("step.0.timeout=50ms");
    case.env.insert("REGION", "eu-1");
    let text = with("topics", "instance_id = \"${HOSTNAME:-}\"\nlibrdkafka = { \"fetch.min.bytes\" = 1 }\ntopics")
        .replace(
            "brokers",
            "sasl = { mechanism = \"SCRAM-SHA-256\", username = \"${KAFKA_USER}\", password = \"hunter2\" }\nbrokers",
        )
        .replace("wasm =", "settings = { fields = [\"a\", \"x${REGION}\"], token = \"hunter2\" }\nwasm =");
    let page = shown(&case, &text);
    let lines: Vec<String> = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "# The effective values of orders.toml. `***` stands for hidden values.",
        "name = \"orders\" # default: the file's name without `.toml`",
        "shutdown_timeout = \"25s\" # default",
        "brokers = [\"localhost:9092\"] # orders.toml:3",
        "client_id = \"wasmill-orders\" # default: `wasmill-` and the pipeline's name",
        "tls = false # default",
        "sasl.mechanism = \"SCRAM-SHA-256\" # orders.toml:2",
        "sasl.username = \"***\" # ${KAFKA_USER}, orders.toml:2",
        "sasl.password = \"***\" # orders.toml:2",
        "group = \"orders\" # default: the pipeline's name",
        "instance_id = \"\" # ${HOSTNAME}, orders.toml:5",
        "librdkafka.\"fetch.min.bytes\" = 1 # orders.toml:6",
        "[[step]]",
        "name = \"mask\" # default: the component's file name without `.wasm`, or what follows `std:`",
        "settings.fields = [\"a\", \"xeu-1\"] # ${REGION}, orders.toml:9",
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

#[test]
fn dependent_defaults_and_normalized_units_are_shown() {
    let case = Case::new();
    let page = |text: &str| {
        let page = shown(&case, text);
        let lines: Vec<_> = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        lines.join("\n")
    };
    let plain = page(SMALLEST);
    assert!(plain.contains("\nthen = \"stop\" # default: ") && !plain.contains("dialect"), "{plain}");
    let units = with("wasm =", "memory = \"64M\"\ntimeout = \"1500ms\"\nwasm =")
        + "[on_error]\ndead_letter = \"dead\"\n[limits]\nmax_in_flight.bytes = 67108864\n";
    let page = page(&units);
    for line in [
        "memory = \"64 MB\" # orders.toml:6, written \"64M\"",
        "timeout = \"1s 500ms\" # orders.toml:7, written \"1500ms\"",
        "max_in_flight.bytes = \"64 MiB\" # orders.toml:14, written 67108864",
        "then = \"dead_letter\" # default: ",
        "dialect = \"streams\" # default: ",
    ] {
        assert!(page.contains(line), "{line:?} is missing in:\n{page}");
    }
}

/// Environment variables can't hold lists.
#[test]
fn a_list_item_from_a_variable_is_split_at_commas_except_in_plugin_settings() {
    let mut case = Case::new();
    case.env.extend([("LIST", "a:1, b:2"), ("TOPICS", "one,two"), ("PATTERN", "^x{1,2}$")]);
    let text = with("[\"localhost:9092\"]", "[\"${LIST}\", \"c:3\"]")
        .replace("topics = [\"orders\"]", "topics = [\"${TOPICS}\", \"${PATTERN}\", \"orders\"]")
        .replace("wasm =", "settings = { list = [\"${TOPICS}\"] }\nwasm =");
    let pipeline = case.load(&text).unwrap();
    assert_eq!(pipeline.kafka.brokers, ["a:1", "b:2", "c:3"]);
    assert_eq!(pipeline.kafka.input.topics, ["one", "two", "^x{1,2}$", "orders"]);
    assert_eq!(pipeline.steps[0].settings.0, "{\"list\":[\"one,two\"]}");
}

/// Also in a file with mistakes, because the correction may be in a referenced file.
#[test]
fn every_file_that_a_pipeline_refers_to_is_known() {
    let case = Case::new();
    let text = with(
        "brokers",
        "tls = { ca = \"ca.pem\", cert = \"me.pem\", key = \"me.key\" }\n\
         sasl = { mechanism = \"PLAIN\", username = \"${file:secret}\", password = \"${file:none}\" }\n\
         librdkafka = { \"ssl.crl.location\" = \"/none/crl.pem\" }\nbrokers",
    );
    let path = case.folder.path().join("orders.toml");
    fs::write(&path, &text).unwrap();
    let files = |text: &str| {
        fs::write(&path, text).unwrap();
        let examined = examine(&path, &case.overrides, &|_| None);
        let folder = format!("{}/", case.folder.path().display());
        let name = |file: &Referenced| file.path.display().to_string().replace(&folder, "");
        let held = |file: &Referenced| match &file.held {
            Held::Unread => "unread",
            Held::Nothing => "nothing",
            Held::Digest(_) => "digest",
        };
        let files: Vec<_> = examined.referenced.iter().map(|file| (name(file), held(file))).collect();
        (files, examined.valid().is_ok())
    };
    let expected = [
        ("orders.toml", "digest"),
        ("none", "nothing"),
        ("secret", "digest"),
        ("ca.pem", "digest"),
        ("me.pem", "digest"),
        ("me.key", "digest"),
        ("/none/crl.pem", "nothing"),
        ("plugins/mask.wasm", "unread"),
    ];
    let (mut found, is_sound) = files(&text);
    found[1..3].sort();
    assert_eq!(found, expected.map(|(name, held)| (name.to_owned(), held)));
    assert!(!is_sound);
    assert_eq!(files("no toml").0, [("orders.toml".to_owned(), "digest")]);
}

/// The output of `config show` is an equivalent pipeline, so the defaults in the schema and the documentation are the
/// real ones.
#[test]
fn the_output_of_config_show_can_be_used_as_a_file_and_means_the_same() {
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

/// The usable parts, as `connection, group, components, inits`.
#[test]
fn a_mistake_makes_only_its_own_part_unusable() {
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
        let (_, usable) = examined.pipeline.unwrap();
        let steps = &usable.steps;
        let got =
            (usable.connection, usable.group, [steps[0].component, steps[1].component], [steps[0].init, steps[1].init]);
        assert_eq!(got, expected, "{new}\n{}", examined.report);
    }
}

#[test]
fn a_step_runs_a_file_or_a_plugin_that_comes_with_wasmill() {
    let used = |text: &str| with("wasm = \"plugins/mask.wasm\"", text);
    titles(&used("use = \"std:jk\""), &["`std:jk` is not a plugin that comes with wasmill"]);
    titles(&used("use = \"mask\""), &["`mask` is not a plugin that comes with wasmill"]);
    titles(&used("wasm = \"plugins/mask.wasm\"\nuse = \"std:mask\""), &["a step has `wasm` or `use`, and not both"]);
    titles(
        &with("plugins/mask.wasm", "std:mask"),
        &["`wasm` names a file, and this is a plugin that comes with wasmill"],
    );
}

/// The bounds of what plugins produce are those of every step; the rate is off unless it is set.
#[test]
fn what_plugins_produce_is_bounded_and_the_rate_of_reading_may_be() {
    let bounds = |text: &str| {
        let pipeline = Case::new().load(text).unwrap();
        let Limits { outputs_per_record, output_bytes_per_record, records_per_second, .. } = pipeline.limits;
        let step = &pipeline.steps[0];
        assert_eq!(
            (step.outputs_per_record, step.output_bytes_per_record),
            (outputs_per_record, output_bytes_per_record)
        );
        (outputs_per_record, output_bytes_per_record, records_per_second.map(NonZeroU32::get))
    };
    assert_eq!(bounds(SMALLEST), (10_000, 16 << 20, None));
    let limits =
        "[limits]\noutputs_per_record = 100\noutput_bytes_per_record = \"1 MiB\"\nrecords_per_second = 1_000\n";
    assert_eq!(bounds(&format!("{SMALLEST}{limits}")), (100, 1 << 20, Some(1_000)));
    for (key, message) in [
        ("outputs_per_record = 0", "`outputs_per_record`: 0 is out of range"),
        ("output_bytes_per_record = \"1 GiB\"", "`output_bytes_per_record`: `1 GiB` is too large"),
        ("records_per_second = 0", "`records_per_second`: 0 is out of range"),
    ] {
        titles(&format!("{SMALLEST}[limits]\n{key}\n"), &[message]);
    }
}

/// The files that say what components have to be are watched like all others.
#[test]
fn keys_and_signatures_are_files_of_the_pipeline() {
    let case = Case::new();
    let key = "untrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
    fs::write(case.folder.path().join("a.pub"), key).unwrap();
    let digest = "a".repeat(64);
    let text = with("wasm =", &format!("sha256 = \"{digest}\"\nwasm =")) + "[plugins]\nkeys = [\"a.pub\"]\n";
    let path = case.folder.path().join("orders.toml");
    fs::write(&path, &text).unwrap();
    let examined = examine(&path, &case.overrides, &|_| None);
    for name in ["a.pub", "plugins/mask.wasm", "plugins/mask.wasm.minisig"] {
        assert!(examined.referenced.iter().any(|file| file.path.ends_with(name)), "{name}");
    }
    let demands = &examined.valid().unwrap().steps[0].demands;
    assert_eq!(
        demands.iter().map(|demand| (demand.digests.len(), demand.signers.len())).collect::<Vec<_>>(),
        [(1, 0), (0, 1)]
    );
    assert!(demands[0].place.ends_with("orders.toml:6: `sha256`"), "{}", demands[0].place);
    assert!(shown(&case, &text).contains("keys = [\"a.pub\"]"));
    titles(&(SMALLEST.to_owned() + "[plugins]\nkeys = []\n"), &["`plugins.keys` is empty"]);
    let native = windows::windowed(&format!("{}sha256 = \"{digest}\"", windows::STEP));
    titles(&native, &["`sha256` is for plugins, and `std:aggregate` runs none"]);
}

#[test]
fn a_weight_is_a_number_up_to_a_hundred() {
    for (weight, expected) in [("1", Ok(1)), ("100", Ok(100)), ("0", Err(())), ("101", Err(())), ("\"high\"", Err(()))]
    {
        let loaded = Case::new().load(and(&format!("[limits]\nweight = {weight}")));
        let loaded = loaded.map(|pipeline| pipeline.limits.weight).map_err(|report| {
            let [finding] = report.findings() else { panic!("{report}") };
            assert!(finding.message.contains("weight") && finding.line == Some(10), "{report}");
        });
        assert_eq!(loaded, expected, "{weight}");
    }
    assert_eq!(ok(SMALLEST).limits.weight, 10);
}
