//! The command line as a user sees it: the listed commands, and the messages for mistakes.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "cli/data.rs"]
mod data;
#[path = "cli/notify.rs"]
mod notify;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/told.rs"]
mod told;
#[path = "cli/windows.rs"]
mod windows;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

fn wasmill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmill")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn help_lists_the_commands_that_work_and_gives_examples() {
    let help = text(&wasmill(&["--help"]));
    for verb in [
        "run",
        "dev",
        "try",
        "test",
        "dlq",
        "state",
        "conformance",
        "check",
        "inspect",
        "config",
        "schema",
        "wit",
        "new",
        "build",
        "status",
        "top",
        "logs",
        "tap",
        "log-filter",
        "pause",
        "resume",
        "restart",
        "stop",
        "start",
        "reload",
        "skip",
    ] {
        assert!(help.contains(&format!("  {verb} ")), "{verb} is missing:\n{help}");
        let own = text(&wasmill(&[verb, "--help"]));
        assert!(own.contains("Examples:"), "{verb} has no examples:\n{own}");
    }
}

#[test]
fn config_show_reports_mistakes_with_78_and_schema_prints_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipe.toml");
    fs::write(&file, "[kafka]\nbrokers = []\n").unwrap();
    let shown = wasmill(&["config", "show", file.to_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(78));
    assert!(text(&shown).contains("`kafka.brokers` is missing"), "{}", text(&shown));
    assert!(text(&wasmill(&["config", "show", "--help"])).contains("Examples:"));
    let schema = wasmill(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
}

/// `check` and `run` refuse the same, with both places, and the flag has a variable.
#[test]
fn a_pipeline_that_violates_the_policy_is_78() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("p.wasm"), component("batch-handler", "")).unwrap();
    let pipeline = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[input]\ntopics = [\"orders\"]\n[[step]]\nwasm = \"p.wasm\"\n\
                    [output.main]\ntopic = \"payments\"\n[http]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(path("pipe.toml"), pipeline).unwrap();
    let policy = "[[rule]]\npipelines = [\"*\"]\nbrokers = [\"127.0.0.1:1\"]\ntopics = { read = [\"*\"], write = [\"orders\"] }\n\
                  groups = [\"*\"]\n";
    fs::write(path("policy.toml"), policy).unwrap();
    for arguments in [&["check", "--offline"][..], &["run"]] {
        let output = wasmill(&[arguments, &[&path("pipe.toml"), "--policy", &path("policy.toml")]].concat());
        let told = text(&output);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {told}");
        for part in [
            "writing the topic `payments` is not permitted",
            "pipe.toml:8:9",
            "policy.toml:4: `topics.write` permits `orders`",
        ] {
            assert!(told.contains(part), "{arguments:?}: {part} in: {told}");
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    let output =
        command.args(["check", "--offline", &path("pipe.toml")]).env("WASMILL_POLICY", path("policy.toml")).output();
    assert_eq!(output.unwrap().status.code(), Some(78));
    let set = [
        "check",
        "--offline",
        &path("pipe.toml"),
        "--policy",
        &path("policy.toml"),
        "--set",
        "output.main.topic=orders",
    ];
    assert!(!text(&wasmill(&set)).contains("not permitted"));
    // A wrong policy is one error, and nothing runs without it.
    fs::write(path("policy.toml"), policy.replace("groups", "group")).unwrap();
    for verb in ["check", "run"] {
        let output = wasmill(&[verb, &path("pipe.toml"), "--policy", &path("policy.toml")]);
        let told = text(&output);
        assert_eq!(
            (output.status.code(), told.matches("did you mean `groups`?").count()),
            (Some(78), 1),
            "{verb}: {told}"
        );
        assert!(told.contains("policy.toml:5:1"), "{told}");
    }
    let schema: serde_json::Value = serde_json::from_slice(&wasmill(&["schema", "policy"]).stdout).unwrap();
    assert_eq!(schema["title"], "A policy of wasmill");
}

/// Nothing is compiled whose bytes aren't those that were asked for. The signature is that of the documentation of minisign-verify, for the
/// four bytes `test`: with it, the file is refused only because it is no component.
#[test]
fn a_component_needs_the_digest_and_the_signature_that_are_demanded() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let good = component("batch-handler", "");
    fs::write(path("p.wasm"), &good).unwrap();
    fs::write(path("t.wasm"), "test").unwrap();
    let inspected = text(&wasmill(&["inspect", &path("p.wasm")]));
    let digest = inspected.lines().find_map(|line| line.strip_prefix("sha256")).unwrap().trim().to_owned();
    let pipeline = |step: &str, more: &str| {
        format!(
            "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[input]\ntopics = [\"orders\"]\n[[step]]\n{step}\n[output.main]\ntopic = \"clean\"\n{more}"
        )
    };
    let check = |text_of: &str, policy: Option<&str>| {
        fs::write(path("pipe.toml"), text_of).unwrap();
        let (file, of_policy) = (path("pipe.toml"), path("policy.toml"));
        let mut arguments = vec!["check", "--offline", &file];
        if let Some(plugins) = policy {
            let rule = format!(
                "[signers]\nteam-a = \"{KEY}\"\n[[rule]]\npipelines = [\"*\"]\nbrokers = [\"*\"]\ntopics = {{ read = [\"*\"], write = [\"*\"] }}\n\
                 groups = [\"*\"]\nplugins = {plugins}\n"
            );
            fs::write(&of_policy, rule).unwrap();
            arguments.extend(["--policy", &of_policy]);
        }
        let output = wasmill(&arguments);
        (output.status.code(), text(&output))
    };
    let pinned = |digest: &str| pipeline(&format!("wasm = \"p.wasm\"\nsha256 = \"{digest}\""), "");
    assert_eq!(check(&pinned(&digest), None).0, Some(0));
    assert_eq!(check(&pinned(&digest.to_uppercase()), None).0, Some(0));
    let other = "0".repeat(64);
    let (code, told) = check(&pinned(&other), None);
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains(&format!("its sha256 is {digest}"))
            && told.contains(&format!("pipe.toml:7: `sha256` wants {other}")),
        "{told}"
    );
    let (code, told) = check(&pinned("abc"), None);
    assert!(code == Some(78) && told.contains("`sha256`: `abc` is not a SHA-256"), "{told}");

    let signed = pipeline("wasm = \"t.wasm\"", &format!("[plugins]\nkeys = [\"{KEY}\"]\n"));
    let plain = pipeline("wasm = \"t.wasm\"", "");
    let by_policy = Some("{ signed_by = [\"team-a\"] }");
    for (text_of, policy, who) in [
        (&signed, None, "pipe.toml:10: `plugins.keys` wants a signature by `RWQf6LRCGA9i53ml`"),
        (&plain, by_policy, "policy.toml:8: `plugins` wants a signature by `team-a`"),
    ] {
        let _ = fs::remove_file(path("t.wasm.minisig"));
        let (code, told) = check(text_of, policy);
        assert!(code == Some(78) && told.contains(who) && told.contains("there is no "), "{told}");
        fs::write(path("t.wasm.minisig"), SIGNATURE).unwrap();
        let (_, told) = check(text_of, policy);
        assert!(told.contains("neither a WebAssembly component") && !told.contains("signature"), "{told}");
        fs::write(path("t.wasm"), "tesd").unwrap();
        let (_, told) = check(text_of, policy);
        assert!(told.contains("not of these bytes") && !told.contains("neither"), "{told}");
        fs::write(path("t.wasm"), "test").unwrap();
    }
    let (code, told) = check(&pipeline("wasm = \"p.wasm\"", ""), Some(&format!("{{ sha256 = [\"{digest}\"] }}")));
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = check(&pipeline("wasm = \"p.wasm\"", ""), Some("{ bundled = true }"));
    assert!(code == Some(78) && told.contains("`plugins` has neither `sha256` nor `signed_by`"), "{told}");
    fs::write(path("a.pub"), format!("untrusted comment: minisign public key\n{KEY}\n")).unwrap();
    let (_, told) = check(&pipeline("wasm = \"t.wasm\"", "[plugins]\nkeys = [\"a.pub\"]\n"), None);
    assert!(told.contains("neither a WebAssembly component"), "{told}");
    let (_, told) = check(&pipeline("wasm = \"t.wasm\"", "[plugins]\nkeys = [\"b.pub\"]\n"), None);
    assert!(told.contains("the key `b.pub` can't be used: No such file"), "{told}");
}

const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
    RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
    trusted comment: timestamp:1556193335\tfile:test\n\
    y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n";

#[test]
fn wrong_use_of_the_command_line_is_2() {
    assert_eq!(wasmill(&["run", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(wasmill(&["frobnicate"]).status.code(), Some(2));
    let near = text(&wasmill(&["compile-componen"]));
    assert!(near.contains("unrecognized subcommand") && !near.contains("compile-component'"), "{near}");
}

/// See `.cargo/config.toml`: a build without this setting works, but needs more memory and time.
#[test]
fn the_allocator_is_built_to_reuse_freed_memory_for_messages() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    let output = command.arg("--version").env("MALLOC_CONF", "stats_print:true").output().unwrap();
    assert!(text(&output).contains("opt.lg_extent_max_active_fit: 16"), "{}", text(&output));
}

/// A minimal component of the contract: `init` succeeds and `process` traps. It imports nothing except `import`, if given.
fn component(world: &str, import: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module {import}
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "wasmill:plugin/{world}@0.1.0#init") (param i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "wasmill:plugin/{world}@0.1.0#process")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))"#
    ))
    .unwrap()
}

/// `inspect` describes any file, and says of one that `check` and `run` refuse why they do.
#[test]
fn inspect_says_what_check_and_run_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let inspected = |wasm: &[u8]| {
        fs::write(folder.path().join("p.wasm"), wasm).unwrap();
        text(&wasmill(&["inspect", &folder.path().join("p.wasm").display().to_string()]))
    };
    let preview_1 = |function: &str| {
        component(
            "batch-handler",
            &format!("(import \"wasi_snapshot_preview1\" \"{function}\" (func (param i32 i32) (result i32)))"),
        )
    };
    let refused = inspected(&preview_1("fd_unheard_of"));
    for part in [
        "refuse it: it imports interfaces that it wasn't granted: wasi_snapshot_preview1.fd_unheard_of",
        "build it without",
    ] {
        assert!(refused.contains(part), "{part} in: {refused}");
    }
    assert!(!refused.contains("touches   nothing"), "{refused}");
    let random = inspected(&preview_1("random_get"));
    for part in ["imports   wasi_snapshot_preview1.random_get: ", "always the same", "nothing to allow"] {
        assert!(random.contains(part), "{part} in: {random}");
    }
    let other = inspected(&component("timers", ""));
    assert!(other.contains("refuse it: its exports don't fit"), "{other}");
}

#[test]
fn wit_prints_the_contract_and_writes_it_for_tools() {
    let printed = wasmill(&["wit"]);
    assert_eq!(String::from_utf8_lossy(&printed.stdout), include_str!("../wit/v1.2/plugin.wit"));
    let first = wasmill(&["wit", "--contract", "1.0"]);
    assert_eq!(String::from_utf8_lossy(&first.stdout), include_str!("../wit/v1/plugin.wit"));
    let folder = tempfile::tempdir().unwrap();
    let wit = folder.path().join("wit").display().to_string();
    assert!(wasmill(&["wit", "--dir", &wit, "--world", "transform"]).status.success());
    let world = fs::read_to_string(folder.path().join("wit/world.wit")).unwrap();
    assert!(world.contains("include wasmill:plugin/transform@1.2.0;"), "{world}");
    assert!(folder.path().join("wit/deps/wasmill/plugin.wit").exists());
    let early = wasmill(&["wit", "--contract", "1.0", "--world", "reduce"]);
    assert!(!early.status.success() && text(&early).contains("since 1.1"), "{}", text(&early));
}

/// Six mistakes, each reported with its position, the reason and the fix, and with exit code 78.
#[test]
fn planted_mistakes_are_78_with_position_and_fix() {
    let folder = tempfile::tempdir().unwrap();
    let whole = "[kafka]\nbrokers = [\"localhost:9092\"]\n[input]\ntopics = [\"orders\"]\n[[step]]\nwasm = \"p.wasm\"\n\
                 [output.main]\ntopic = \"orders.clean\"\n";
    let good = component("batch-handler", "");
    let timers = component("timers", "");
    let wasi = component(
        "batch-handler",
        r#"(import "wasi_snapshot_preview1" "fd_unheard_of" (func (param i32 i32 i32 i32) (result i32)))"#,
    );
    let cases: [(&str, String, &[u8], &[&str]); 6] = [
        ("misspelt key", whole.replace("topics", "topic"), &good, &["`topic`", ".toml:4:1", "did you mean `topics`?"]),
        ("missing file", whole.replace("p.wasm", "q.wasm"), &good, &["q.wasm", ".toml:6:", "help"]),
        ("unknown output key", whole.replace("[output.main]", "[output.mian]"), &good, &["main", ".toml:"]),
        (
            "wrong world",
            whole.into(),
            &timers,
            &["wasmill:plugin/batch-handler@1 ", "   wasmill:plugin/timers@0.1.0", "p.wasm"],
        ),
        ("import not granted", whole.into(), &wasi, &["wasi_snapshot_preview1", "p.wasm"]),
        ("loop", whole.replace("orders.clean", "orders"), &good, &["`orders`", ".toml:8:", "help"]),
    ];
    for (name, pipeline, wasm, expected) in cases {
        fs::write(folder.path().join("p.wasm"), wasm).unwrap();
        let file = folder.path().join("pipe.toml");
        fs::write(&file, pipeline).unwrap();
        let output = wasmill(&["check", "--offline", file.to_str().unwrap()]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(78), "{name}: {said}");
        for part in expected {
            assert!(said.contains(part), "{name}: {part:?} is missing in:\n{said}");
        }
    }
}

#[test]
fn a_valid_pipeline_passes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), component("batch-handler", "")).unwrap();
    let file = folder.path().join("pipe.toml");
    let text_of = "[kafka]\nbrokers = [\"localhost:9092\"]\n[input]\ntopics = [\"orders\"]\n[[step]]\nwasm = \"p.wasm\"\n\
                   [output.main]\ntopic = \"orders.clean\"\n";
    fs::write(&file, text_of).unwrap();
    for what in [&*file, folder.path()] {
        let output = wasmill(&["check", "--offline", what.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    // A folder is checked with the file of the process.
    fs::write(folder.path().join("wasmill.toml"), "[http]\nlisten = \"nowhere\"\n").unwrap();
    let output = wasmill(&["check", "--offline", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("wasmill.toml:2"), "{}", text(&output));
}

#[test]
fn a_new_plugin_is_a_folder_and_check_says_how_to_build_its_component() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_wasmill")).current_dir(&folder).args(arguments).output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, said) = run(&["new", "plugin", "mine"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("wasmill build"), "{said}");
    for (arguments, code, part) in [
        (&["new", "plugin", "mine"][..], 78, "choose another name"),
        (&["new", "plugin", "Not A Name"], 2, "can't be a plugin's name"),
        (&["check", "--offline", "mine/pipeline.toml"], 78, "build it: `wasmill build mine`"),
        (&["build", "nowhere"], 78, "nowhere/plugin.toml"),
    ] {
        let (found, said) = run(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {part} is missing in\n{said}");
    }
    fs::write(folder.path().join("mine/plugin.toml"), "[build]\nlang = \"rust\"\n").unwrap();
    let (code, said) = run(&["build", "mine"]);
    assert!(code == Some(78) && said.contains("mine/plugin.toml:1: missing field `output`"), "{said}");
}

/// The comma-separated form is how many systems write broker addresses in environment variables.
#[test]
fn a_list_may_be_a_comma_separated_environment_variable() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        whole.replace("\"localhost:9092\"", "\"${KAFKA_BROKERS}\"").replace("\"orders\"", "\"${TOPICS}\""),
    )
    .unwrap();
    let check = |brokers: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        command.args(["check", "--offline", &file]).env("KAFKA_BROKERS", brokers).env("TOPICS", "orders,returns");
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    assert_eq!(check("a.example:9092, b.example:9092").0, Some(0));
    let (code, said) = check("a.example:9092,b.example");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("`b.example` from `${KAFKA_BROKERS}` is not a broker's address: it has no port"), "{said}");
    let (_, said) = check("user:canary@a.example");
    assert!(said.contains("`***@a.example` from `${KAFKA_BROKERS}`") && !said.contains("canary"), "{said}");
    let (_, said) = check("a.example:9092,,b.example:9092");
    let message = "`${KAFKA_BROKERS}` is \"a.example:9092,,b.example:9092\", and `kafka.brokers` has no empty items";
    assert!(said.contains(message), "{said}");
}

/// A plugin that forwards its input, with additional functions.
fn plugin(more: &str) -> Vec<u8> {
    let init = "(func $init (param i32 i32 i32 i32) (result i32) (i32.const 0))";
    let (forward, prelude) = (include_str!("plugins/forward.wat"), include_str!("plugins/prelude.wat"));
    wat::parse_str(format!("(module {forward}\n{init}\n{prelude}\n{more})")).unwrap()
}

/// Writes a plugin that forwards its input as `p.wasm`, and a pipeline with its test cases. Returns the pipeline's file.
fn forwarding(folder: &Path, cases: &str) -> String {
    fs::write(folder.join("p.wasm"), plugin("")).unwrap();
    fs::write(folder.join("pipe.test.toml"), cases).unwrap();
    let file = folder.join("pipe.toml");
    let whole = "[kafka]\nbrokers = [\"localhost:9092\"]\n[input]\ntopics = [\"orders\"]\ngroup = \"g\"\n[[step]]\nwasm = \"p.wasm\"\n\
                 [output.main]\ntopic = \"orders.clean\"\n";
    fs::write(&file, whole).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Each mistake is reported at its own position, without running the plugin.
#[test]
fn settings_are_checked_against_the_plugins_schema() {
    let folder = tempfile::tempdir().unwrap();
    let mask = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/kept/mask-1.0.0.wasm");
    fs::copy(mask, folder.path().join("mask.wasm")).unwrap();
    let file = folder.path().join("pipe.toml");
    let whole = "[kafka]\nbrokers = [\"localhost:9092\"]\n[input]\ntopics = [\"orders\"]\ngroup = \"g\"\n[[step]]\nwasm = \"mask.wasm\"\n\
                 settings = SETTINGS\n[output.main]\ntopic = \"orders.clean\"\n";
    let check = |settings: &str| {
        fs::write(&file, whole.replace("SETTINGS", settings)).unwrap();
        let output = wasmill(&["check", "--offline", file.to_str().unwrap()]);
        (output.status.code(), text(&output))
    };
    assert_eq!(check("{ fields = [\"iban\"] }").0, Some(0));
    for (settings, parts) in [
        (
            "{ fields = [\"iban\", 7] }",
            &["`settings.fields.1`: expected a string, found a whole number", "pipe.toml:8:32"][..],
        ),
        ("{ fields = \"iban\" }", &["`settings.fields`: expected a list, found a string", "pipe.toml:8:23"]),
        ("{ feilds = [] }", &["plugin `mask` has no `settings.feilds`", "did you mean `fields`?", "pipe.toml:8:14"]),
    ] {
        let (code, said) = check(settings);
        assert_eq!(code, Some(78), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part} is missing in:\n{said}");
        }
    }
    let audited = |port: &str| whole.replace("SETTINGS", "{}") + &format!("[output.{port}]\ntopic = \"more\"\n");
    for (port, warns) in [("audit", false), ("aduit", true)] {
        fs::write(&file, audited(port)).unwrap();
        let output = wasmill(&["check", "--offline", file.to_str().unwrap()]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(said.contains("no plugin writes to the output `aduit`"), warns, "{said}");
        assert_eq!(said.contains("the plugins write to `audit`"), warns, "{said}");
    }
    let two = check("{ feilds = [], fields = 1 }").1;
    assert!(two.contains("2 errors"), "{two}");
    let run = wasmill(&["run", file.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(78));
    assert!(text(&run).contains("pipe.toml:8:14"), "{}", text(&run));
}
