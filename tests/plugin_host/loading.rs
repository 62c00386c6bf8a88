//! Files that are refused before any of their code runs, and the output of `inspect`.

use proptest::prelude::*;
use wasmill::failure::Kind;
use wasmill::plugin::Form;
use wasmill::plugin::Grant;
use wasmill::plugin::Grants;
use wasmill::plugin::Needs;
use wasmill::plugin::Settings;
use wasmill::plugin::World;
use wasmill::plugin::inspect;
use wasmill::secret::Secret;
use wasmtime::component::Component;

use crate::component::component;
use crate::component::described;
use crate::component::fixture;
use crate::component::load;
use crate::component::of_version;
use crate::component::settings;
use crate::component::text;
use crate::component::with_prelude;
use crate::records;
use crate::wasi::preview_1;

fn refusal(bytes: &[u8]) -> String {
    load(bytes, settings()).unwrap_err().to_string()
}

fn check(bytes: &[u8], parts: &[&str]) {
    let refusal = refusal(bytes);
    for part in parts.iter().chain(&["step `mask`", "plugin.wasm"]) {
        assert!(refusal.contains(part), "{refusal} lacks `{part}`");
    }
}

#[test]
fn a_component_and_the_core_module_of_one_are_both_loaded() {
    let core = fixture("talk");
    let component = component(&core);
    for (bytes, form) in [(&core, Form::CoreModule), (&component, Form::Component)] {
        let step = load(bytes, settings()).unwrap();
        step.instantiate().unwrap();
        let inspection = inspect(bytes).unwrap();
        assert_eq!((inspection.form, inspection.world), (form, World::TransformBatch));
        assert_eq!(inspection.contract.as_deref(), Some("1.0.0"));
        assert_eq!((inspection.bytes, &*inspection.digest), (bytes.len() as u64, &**step.digest()));
        assert_eq!(inspection.digest.len(), 64);
        let log = inspection.imports.iter().find(|import| import.name == "wasmill:plugin/log@1.0.0").unwrap();
        assert_eq!((log.touches, log.needs), ("lines in the log", Needs::Nothing));
        assert!(inspection.imports.iter().all(|import| import.needs == Needs::Nothing), "{:?}", inspection.imports);
        assert!(form == Form::CoreModule || inspection.producers.iter().any(|(name, _)| name == "wit-component"));
    }
}

#[test]
fn every_version_of_both_tracks_runs_and_others_do_not() {
    let talk = with_prelude(&text("talk"));
    for version in ["0.1.0", "0.1.7", "1.0.0", "1.0.4", "1.1.0", "1.3.0"] {
        let core = of_version(&talk, "batch", version);
        for bytes in [&core, &component(&core)] {
            assert_eq!(inspect(bytes).unwrap().contract.as_deref(), Some(version));
            let step = load(bytes, settings()).unwrap();
            step.instantiate().unwrap().process(&records(0).view()).unwrap();
        }
    }
    for version in ["0.2.0", "2.0.0"] {
        let found = format!("   wasmill:plugin/batch-handler@{version}");
        check(
            &component(&of_version(&talk, "batch", version)),
            &[&found, "process: func(source: source,", "doesn't run"],
        );
    }
}

/// The host's engine for core modules has threads enabled, for a flag of its own.
#[test]
fn a_plugin_can_not_share_memory_or_use_atomics() {
    let text = with_prelude(&text("identity"));
    let shared = text.replace(r#"(memory (export "memory") 2)"#, r#"(memory (export "memory") 2 16 shared)"#);
    let atomic = text.replace("(func $array", "(func (drop (i32.atomic.load (i32.const 0))))\n(func $array");
    for plugin in [shared, atomic] {
        assert_ne!(plugin, text);
        check(&described(&plugin, "batch"), &["it uses threads", "target-feature=-atomics"]);
    }
}

/// The message lists the expected functions next to those that were found.
#[test]
fn a_component_of_another_world_is_refused_with_expected_and_found_functions() {
    let other = wat::parse_str(
        r#"(component
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                (func (export "run") (param i32 i32) (result i32) unreachable))
            (core instance $code (instantiate $code))
            (func $run (param "values" (list u8)) (result (result (error string)))
                (canon lift (core func $code "run") (memory $code "memory") (realloc (func $code "realloc"))))
            (instance $api (export "run" (func $run)))
            (export "acme:job/api@1.0.0" (instance $api)))"#,
    )
    .unwrap();
    check(
        &other,
        &[
            "  expected ",
            "\n  wasmill:plugin/batch-handler@1 ",
            "   acme:job/api@1.0.0\n",
            "  process: func(source: source, batch: batch) -> result<outcome, string>",
            "     run: func(values: list<u8>) -> result<_, string>\n",
            "build it with an SDK",
        ],
    );
    let nothing = wat::parse_str("(component)").unwrap();
    check(&nothing, &["   nothing", "wasmill:plugin/batch-handler@1 "]);
    let typed = with_prelude(&text("drop")).replace(
        "(export \"wasmill:plugin/batch-handler@1.0.0#init\"",
        "(func (export \"wasmill:plugin/handler@1.0.0#init\") (param i32 i32 i32 i32) (result i32) unreachable)
         (func (export \"wasmill:plugin/handler@1.0.0#process\") (param i32 i32 i32 i32 i32) (result i32) unreachable)
         (export \"wasmill:plugin/batch-handler@1.0.0#init\"",
    );
    let both = described(&typed, "both");
    assert_eq!(inspect(&both).unwrap().world, World::Several);
    check(&both, &["export one of", "   wasmill:plugin/handler@1.0.0"]);
}

#[test]
fn a_manifest_is_read_and_a_broken_one_is_refused() {
    let with = |json: &str| {
        let section = format!("(@custom \"wasmill:manifest\" {json:?})");
        with_prelude(&format!("{section} {}", text("drop")))
    };
    let json = r#"{"name":"mask","version":"1.2","description":"hides","ports":["main"],"settings":{}}"#;
    let core = described(&with(json), "batch");
    for bytes in [&core, &component(&core)] {
        let inspection = inspect(bytes).unwrap();
        let manifest = inspection.manifest.unwrap();
        assert_eq!((&*manifest.name, &*manifest.version, &*manifest.description), ("mask", "1.2", "hides"));
        assert_eq!(inspection.version, "1.2");
        assert_eq!(load(bytes, settings()).unwrap().manifest().unwrap().name, "mask");
    }
    check(&described(&with("{\"name\":"), "batch"), &["its manifest", "wasmill:manifest", "build it again"]);
    for (state, part) in [
        (r#"{"version":2,"reads":[1]}"#, "`state.reads` lacks the version 2"),
        (r#"{"version":"2","reads":[2]}"#, "`state.version` has the version \"2\", where 1 to 255 are allowed"),
        ("[2,[2]]", "`state` is not as in `{\"version\":2,\"reads\":[1,2]}`"),
    ] {
        let unread = format!(r#"{{"name":"top","state":{state}}}"#);
        check(&described(&with(&unread), "batch"), &["its manifest", part, "build it again"]);
    }
}

#[test]
fn every_import_that_is_not_granted_is_named() {
    let greedy = with_prelude(
        "(import \"wasi:filesystem/types@0.2.6\" \"touch\" (func $files))
         (import \"wasi:sockets/tcp@0.2.6\" \"touch\" (func $network))
         (func $process (type $process) (call $network) (call $files) (i32.const 0))",
    );
    check(
        &described(&greedy, "greedy"),
        &["wasi:filesystem/types@0.2.6 (the folders", "wasi:sockets/tcp@0.2.6 (WASI 0.2, which only components get)"],
    );
    // The runtimes of some languages import it: a component may, and what it calls is refused by name.
    let step = load(&component(&described(&greedy, "greedy")), settings()).unwrap();
    let trap = step.instantiate().unwrap().process(&records(0).view()).unwrap_err();
    assert!(trap.reason.contains("called `wasi:sockets/tcp.touch`, but plugins have no sockets"), "{trap:?}");
    let unknown = greedy.replace("wasi:sockets/tcp@0.2.6", "wasi:keyvalue/store@0.2.0");
    check(&described(&unknown, "greedy"), &["wasi:keyvalue/store@0.2.0 (a key-value store)", "build it without"]);
    let preview_1 = with_prelude(
        "(import \"wasi_snapshot_preview1\" \"fd_unheard_of\" (func $write (param i32 i32 i32 i32) (result i32)))
         (func $process (type $process) (i32.const 0))",
    );
    check(&described(&preview_1, "batch"), &["wasi_snapshot_preview1.fd_unheard_of (files, environment"]);
}

/// Traps unless the time is after 2023, REGION is the only environment variable and begins with an `e`, and random
/// bytes are available.
const GRANTED: &str = r#"
    (import "wasi:clocks/wall-clock@0.2.6" "now" (func $now (param i32)))
    (import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))
    (import "wasi:cli/environment@0.2.6" "get-environment" (func $environment (param i32)))
    (func $process (type $process) (local $entry i32)
      (call $now (i32.const 1024))
      (if (i64.lt_u (i64.load (i32.const 1024)) (i64.const 1700000000)) (then unreachable))
      (call $environment (i32.const 1040))
      (if (i32.ne (i32.load (i32.const 1044)) (i32.const 1)) (then unreachable))
      (local.set $entry (i32.load (i32.const 1040)))
      (if (i32.ne (i32.load offset=4 (local.get $entry)) (i32.const 6)) (then unreachable))
      (if (i32.ne (i32.load8_u (i32.load offset=8 (local.get $entry))) (i32.const 101)) (then unreachable))
      (call $random (i64.const COUNT) (i32.const 1040))
      (if (i64.ne (i64.extend_i32_u (i32.load (i32.const 1044))) (i64.const COUNT)) (then unreachable))
      (call $outcome
        (call $array (local.get 4) (i32.const 0)) (local.get 4)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#;

#[test]
fn a_plugin_gets_what_its_step_allows_and_nothing_else() {
    let core = |count: &str| described(&with_prelude(&GRANTED.replace("COUNT", count)), "granted");
    let allow = Grants {
        clock: true,
        random: true,
        env: Some(vec![("REGION".into(), Secret("eu-1".into()))]),
        ..Grants::default()
    };
    for bytes in [core("8"), component(&core("8"))] {
        check(&bytes, &["wasi:clocks/wall-clock@0.2.6 (the time)", "clock = true", "random = true", "env = {"]);
        for (lacking, line) in [
            (Grants { clock: false, ..allow.clone() }, "clock = true"),
            (Grants { random: false, ..allow.clone() }, "random = true"),
            (Grants { env: None, ..allow.clone() }, "env = {"),
        ] {
            let refused = load(&bytes, Settings { allow: lacking, ..settings() }).unwrap_err().to_string();
            assert!(refused.contains(&format!("add to its step's `allow`: {line}")), "{refused}");
        }
        let step = load(&bytes, Settings { allow: allow.clone(), ..settings() }).unwrap();
        assert!([Grant::Clock, Grant::Random, Grant::Env].into_iter().all(|grant| step.uses(grant)));
        for step in [step.rehearsal(), step] {
            step.instantiate().unwrap().process(&records(0).view()).unwrap();
        }
    }
    let step = load(&core("65537"), Settings { allow, ..settings() }).unwrap();
    let failure = step.instantiate().unwrap().process(&records(0).view()).unwrap_err();
    assert_eq!(failure.kind, Kind::Trap);
    assert!(failure.reason.contains("65537 random bytes"), "{}", failure.reason);
}

#[test]
fn an_interface_with_other_types_is_refused() {
    let liar = wat::parse_str(
        "(component
           (component $handler)
           (instance $handler (instantiate $handler))
           (export \"wasmill:plugin/batch-handler@1.0.0\" (instance $handler)))",
    )
    .unwrap();
    check(&liar, &["compile: ", "  process: func(source: source,", "   wasmill:plugin/batch-handler@1.0.0\n"]);
}

#[test]
fn native_code_is_refused_without_reading_it() {
    let engine = wasmtime::Engine::default();
    let native = Component::from_binary(&engine, &component(&fixture("drop"))).unwrap().serialize().unwrap();
    check(&native, &["`.cwasm`", "never loaded"]);
}

#[test]
fn a_file_that_is_not_a_plugin_is_refused_with_what_it_is() {
    check(b"", &["nothing: it is empty"]);
    check(b"(component)", &["it begins with `(component)`"]);
    check(b"\x7f\x00\x01random", &["it begins with `\\x7f\\x00\\x01random`"]);
    check(&wat::parse_str("(module)").unwrap(), &["core module that exports no interface"]);
    let mut damaged = component(&fixture("drop"));
    damaged.truncate(damaged.len() / 2);
    check(&damaged, &["not valid WebAssembly"]);
    let lying = wat::parse_str("(module (func (export \"wasmill:plugin/batch-handler@1.0.0#process\")))").unwrap();
    check(&lying, &["can't be made into a component"]);
}

#[test]
fn a_missing_file_is_named() {
    let step = wasmill::plugin::Step::load(&crate::component::engine(), settings());
    let refusal = step.unwrap_err().to_string();
    assert!(refusal.starts_with("step `mask`: read unset: "), "{refusal}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any file is either described or refused: the host's parsers read it before any other check does.
    #[test]
    fn damaged_files_never_end_the_process(
        made in 0..4_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static FILES: std::sync::LazyLock<[Vec<u8>; 4]> = std::sync::LazyLock::new(|| {
            let core = fixture("talk");
            let [direct, adapted] = preview_1(true);
            [component(&core), core, direct, adapted]
        });
        let mut bytes = FILES[made].clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        drop(inspect(&bytes));
        drop(load(&bytes, settings()));
    }
}
