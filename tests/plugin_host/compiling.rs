//! Components are compiled in a child process with limits, and the result is cached and verified.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use wasmill::plugin::Cache;
use wasmill::plugin::CompileLimits;
use wasmill::plugin::Compiler;
use wasmill::plugin::Engine;
use wasmill::plugin::LoadError;
use wasmill::plugin::Settings;
use wasmill::plugin::Step;

use crate::component::fixture;
use crate::component::settings;
use crate::component::text;
use crate::records;

const COMPILER: &str = env!("CARGO_BIN_EXE_wasmill");
/// A program that compiles nothing.
const NOBODY: &str = "/bin/false";

/// Loads a file with these bytes, with an engine of its own.
fn load(bytes: &[u8], program: &str, limits: CompileLimits, cache: Option<&Cache>) -> Result<Step, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("plugin.wasm");
    fs::write(&wasm, bytes).unwrap();
    let compiler = Compiler::Child { program: program.into(), limits, cache: cache.cloned() };
    Step::load(&Engine::new(compiler).unwrap(), Settings { wasm, ..settings() })
}

fn runs(step: &Step) {
    let outcome = step.instantiate().unwrap().process(&records(0).view()).unwrap();
    assert_eq!(outcome.outputs.len(), 3);
}

fn kept(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn compiled_components_are_cached_and_damaged_files_are_recompiled() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("made/by/it")).unwrap();
    let bytes = fixture("identity");
    let load_of = |bytes: &[u8], program| load(bytes, program, CompileLimits::default(), Some(&cache));
    let load = |program| load_of(&bytes, program);
    assert!(load(NOBODY).unwrap_err().to_string().contains("compile: "));
    runs(&load(COMPILER).unwrap());
    let [file] = &kept(&folder.path().join("made/by/it"))[..] else { panic!("one file, and nothing half written") };
    runs(&load(NOBODY).unwrap());

    let whole = fs::read(file).unwrap();
    let half = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[half] ^= 1;
    for damaged in [&flipped[..], &whole[..half], &[]] {
        fs::write(file, damaged).unwrap();
        assert!(load(NOBODY).is_err(), "damaged code was loaded");
        runs(&load(COMPILER).unwrap());
        assert_eq!(fs::read(file).unwrap().len(), whole.len());
    }
    // Another component has another cache entry.
    load_of(&fixture("forward"), NOBODY).unwrap_err();
}

/// Code is kept by the component's digest: under the name of another one it would run as if that one had been verified.
#[test]
fn compiled_components_that_were_exchanged_are_recompiled() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    let of = |name, program| load(&fixture(name), program, CompileLimits::default(), Some(&cache));
    runs(&of("identity", COMPILER).unwrap());
    of("drop", COMPILER).unwrap();
    let files = kept(&folder.path().join("cache"));
    let [one, two] = &files[..] else { panic!("one file for each") };
    let [first, second] = [one, two].map(|path| fs::read(path).unwrap());
    fs::write(one, &second).unwrap();
    fs::write(two, &first).unwrap();
    for name in ["identity", "drop"] {
        assert!(of(name, NOBODY).is_err(), "code of another component was loaded");
    }
    runs(&of("identity", COMPILER).unwrap());
    let dropped = of("drop", COMPILER).unwrap().instantiate().unwrap().process(&records(0).view()).unwrap();
    assert!(dropped.outputs.is_empty());
}

#[test]
fn a_folder_that_others_may_enter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Cache::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("chmod 700"), "{refused}");
}

#[test]
fn a_component_that_takes_too_much_time_or_memory_is_stopped_with_its_reason() {
    let mut many = text("identity");
    for number in 0..30_000 {
        write!(many, "(func (param i32) (result i32) local.get 0 i32.const {number} i32.add)").unwrap();
    }
    let bomb = crate::component::batch(&many);
    let quick = CompileLimits { time: Duration::from_millis(50), ..CompileLimits::default() };
    let late = load(&bomb, COMPILER, quick, None).unwrap_err().to_string();
    assert!(late.contains("longer than 50ms") && late.contains("make it smaller"), "{late}");
    let small = CompileLimits { memory_bytes: 128 << 20, ..CompileLimits::default() };
    let large = load(&bomb, COMPILER, small, None).unwrap_err().to_string();
    assert!(large.contains("more than 128.0 MiB of memory") && large.contains("make it smaller"), "{large}");
    runs(&load(&bomb, COMPILER, CompileLimits::default(), None).unwrap());
}

#[test]
fn a_compile_error_has_the_compilers_message() {
    let missing =
        load(&fixture("identity"), "/nowhere/wasmill", CompileLimits::default(), None).unwrap_err().to_string();
    assert!(missing.contains("start the compiler, /nowhere/wasmill"), "{missing}");
}
