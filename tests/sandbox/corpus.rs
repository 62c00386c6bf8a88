//! The hostile plugins of `corpus/`, as text.
//!
//! A file begins with `;; expect: ENDING: what it does`; several endings are separated by `or`. Further lines that begin with `;;` may say
//! which form it has (`as`), and put code into the functions around a call (`in realloc`, `in post-return`). In a file,
//! `(;repeat N;) .. (;end;)` repeats what is between, where `(;i;)` is the number.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use wit_component::ComponentEncoder;

use crate::component;
use crate::support;

/// A file of the corpus.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The endings that it may have.
    pub(crate) expected: Vec<String>,
    /// The file, in the forms in which there is one: as a core module and as its component.
    pub(crate) forms: Vec<(&'static str, Vec<u8>)>,
}

/// The files of all of them, or of those with `WASMILL_CASE` in their names.
pub(crate) fn files() -> Vec<PathBuf> {
    let part = env::var("WASMILL_CASE").unwrap_or_default();
    let mut files = support::files(&support::root().join("tests/sandbox/corpus"), "wat");
    files.retain(|path| path.to_string_lossy().contains(&part));
    files
}

/// One of them, by its name.
pub(crate) fn named(name: &str) -> Case {
    case(&support::root().join("tests/sandbox/corpus").join(name).with_extension("wat"))
}

/// What is in a file.
pub(crate) fn case(path: &Path) -> Case {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let heads: Vec<(&str, &str)> = text.lines().map_while(|line| line.strip_prefix(";; ")?.split_once(": ")).collect();
    let head = |wanted: &str| heads.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
    let (expected, _) = head("expect").and_then(|told| told.split_once(": ")).expect("it says what to expect");
    let expected = expected.split(" or ").map(str::to_owned).collect();
    let text = repeated(&text);
    let around = |text: String| {
        let text = inserted(text, "  (local.get $at))\n(func $array", head("in realloc"));
        inserted(text, "  (global.set $next (i32.const 65536)))", head("in post-return"))
    };
    let with_prelude = |text: &str| around(component::with_prelude(&format!("{text}\n{}", rest(text))));
    let forms = match head("as").unwrap_or("plugin") {
        "file" => vec![("file", wat::parse_str(&text).unwrap())],
        // Its component has nothing to add, and takes long to make.
        "module" => vec![("module", component::described(&with_prelude(&text), "batch"))],
        "plugin" => both(component::described(&with_prelude(&text), "batch")),
        "naming" => both(component::of_version(&with_prelude(&text), "naming", "1.2.0")),
        "greedy" => both(component::described(&with_prelude(&text), "greedy")),
        "runtime" => encoded(&component::of_runtime(&with_prelude(&text)))
            .map(|bytes| ("component", bytes))
            .into_iter()
            .collect(),
        "component" => vec![("component", beside_a_plugin(&text))],
        other => panic!("{name}: no form is called `{other}`"),
    };
    Case { name, expected, forms }
}

/// Functions that a fixture needs and doesn't have: `$nothing`, which drops all records, and a `process` that does so.
fn rest(text: &str) -> String {
    let nothing = "(func $nothing (param i32) (result i32)
        (call $outcome (call $array (local.get 0) (i32.const 0)) (local.get 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))";
    let process = "(func $process (type $process) (call $nothing (local.get 4)))";
    format!("{nothing}\n{}", if text.contains("(func $process ") { "" } else { process })
}

fn inserted(text: String, before: &str, code: Option<&str>) -> String {
    let Some(code) = code else { return text };
    assert!(text.contains(before), "{before}");
    text.replace(before, &format!("  {code}\n{before}"))
}

/// A core module, and its component if it has one.
fn both(core: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let component = encoded(&core);
    let mut forms = vec![("module", core)];
    forms.extend(component.map(|bytes| ("component", bytes)));
    forms
}

fn encoded(core: &[u8]) -> Option<Vec<u8>> {
    ComponentEncoder::default().module(core).ok()?.encode().ok()
}

/// The component of a plugin that behaves, with more inside.
fn beside_a_plugin(text: &str) -> Vec<u8> {
    let plugin = wasmprinter::print_bytes(component::component(&component::fixture("identity"))).unwrap();
    let open = plugin.trim_end().strip_suffix(')').unwrap();
    wat::parse_str(format!("{open}\n{text}\n)")).unwrap()
}

/// The text with its repetitions written out.
fn repeated(text: &str) -> String {
    let Some((before, rest)) = text.split_once("(;repeat ") else { return text.to_owned() };
    let (count, rest) = rest.split_once(";)").unwrap();
    let (inside, after) = rest.split_once("(;end;)").unwrap();
    let mut written = before.to_owned();
    for number in 0..count.parse::<u32>().unwrap() {
        written.push_str(&inside.replace("(;i;)", &number.to_string()));
    }
    written + &repeated(after)
}
