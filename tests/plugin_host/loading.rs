//! What is refused before any of its code runs, and what `inspect` says of a file.

use proptest::prelude::*;
use wasmill::plugin::Form;
use wasmill::plugin::World;
use wasmill::plugin::inspect;
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
        assert_eq!(inspection.contract.as_deref(), Some("0.1.0"));
        assert_eq!((inspection.bytes, &*inspection.digest), (bytes.len() as u64, &**step.digest()));
        assert_eq!(inspection.digest.len(), 64);
        let log = inspection.imports.iter().find(|import| import.name == "wasmill:plugin/log@0.1.0").unwrap();
        assert_eq!((log.touches, log.granted), ("lines in the log", true));
        assert!(inspection.imports.iter().all(|import| import.granted), "{:?}", inspection.imports);
        assert!(form == Form::CoreModule || inspection.producers.iter().any(|(name, _)| name == "wit-component"));
    }
}

#[test]
fn any_patch_of_the_contract_runs_and_another_track_does_not() {
    let talk = with_prelude(&text("talk"));
    let step = load(&of_version(&talk, "batch", "0.1.7"), settings()).unwrap();
    step.instantiate().unwrap().process(&records(0).view()).unwrap();
    check(
        &of_version(&talk, "batch", "0.2.0"),
        &["found `wasmill:plugin/batch-handler@0.2.0`, expected `wasmill:plugin/batch-handler@0.1`", "another version"],
    );
}

#[test]
fn a_component_of_another_world_is_refused_with_both_side_by_side() {
    let typed = "(module
        (memory (export \"memory\") 1)
        (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export \"wasmill:plugin/handler@0.1.0#init\") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export \"wasmill:plugin/handler@0.1.0#process\") (param i32 i32 i32 i32 i32) (result i32) unreachable))";
    let typed = described(typed, "typed");
    assert_eq!(inspect(&typed).unwrap().world, World::Transform);
    check(&typed, &["found `wasmill:plugin/handler@0.1.0`", "expected `wasmill:plugin/batch-handler@0.1`"]);
    let nothing = wat::parse_str("(component)").unwrap();
    check(&nothing, &["found none", "expected `wasmill:plugin/batch-handler@0.1`"]);
}

#[test]
fn every_import_that_was_not_granted_is_named() {
    let greedy = with_prelude(
        "(import \"wasi:filesystem/types@0.2.6\" \"touch\" (func $files))
         (import \"wasi:sockets/tcp@0.2.6\" \"touch\" (func $network))
         (func $process (type $process) (call $files) (call $network) (i32.const 0))",
    );
    check(
        &described(&greedy, "greedy"),
        &["wasi:filesystem/types@0.2.6 (files)", "wasi:sockets/tcp@0.2.6 (the network)"],
    );
    let preview_1 = with_prelude(
        "(import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
         (func $process (type $process) (i32.const 0))",
    );
    check(&described(&preview_1, "batch"), &["wasi_snapshot_preview1.fd_write (files, environment"]);
}

#[test]
fn an_interface_with_other_types_is_refused() {
    let liar = wat::parse_str(
        "(component
           (component $handler)
           (instance $handler (instantiate $handler))
           (export \"wasmill:plugin/batch-handler@0.1.0\" (instance $handler)))",
    )
    .unwrap();
    check(&liar, &["compile: "]);
}

#[test]
fn native_code_is_refused_unread() {
    let engine = wasmtime::Engine::default();
    let native = Component::from_binary(&engine, &component(&fixture("drop"))).unwrap().serialize().unwrap();
    check(&native, &["`.cwasm`", "never loaded"]);
}

#[test]
fn what_is_not_a_plugin_is_refused_with_what_it_is() {
    check(b"", &["nothing: it is empty"]);
    check(b"(component)", &["it begins with `(component)`"]);
    check(b"\x7f\x00\x01random", &["it begins with `\\x7f\\x00\\x01random`"]);
    check(&wat::parse_str("(module)").unwrap(), &["core module that exports no interface"]);
    let mut damaged = component(&fixture("drop"));
    damaged.truncate(damaged.len() / 2);
    check(&damaged, &["not valid WebAssembly"]);
    let lying = wat::parse_str("(module (func (export \"wasmill:plugin/batch-handler@0.1.0#process\")))").unwrap();
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

    /// Whatever a file holds, it is described or refused: the host's parsers see it before any other guard does.
    #[test]
    fn damaged_files_never_end_the_process(
        made in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static FILES: std::sync::LazyLock<[Vec<u8>; 2]> = std::sync::LazyLock::new(|| {
            let core = fixture("talk");
            [component(&core), core]
        });
        let mut bytes = FILES[usize::from(made)].clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        drop(inspect(&bytes));
        drop(load(&bytes, settings()));
    }
}
