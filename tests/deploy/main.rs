//! Checks of `deploy/` that need neither a container engine nor a cluster: schemas, names that have to agree, and metrics that exist.
//!
//! `schemas/README.md` says what the files are validated against. `cargo xtask test` has systemd look at its unit by itself.
#![expect(clippy::unwrap_used, reason = "tests")]

mod compose;
mod dashboard;
mod kubernetes;
mod running;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let file = root().join(path);
    fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display())).unwrap()
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).map_err(|error| format!("{path}: {error}")).unwrap()
}

fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).map_err(|error| format!("{path}: {error}")).unwrap()
}

fn toml(path: &str) -> Value {
    let table: toml::Table = read(path).parse().map_err(|error| format!("{path}: {error}")).unwrap();
    serde_json::to_value(table).unwrap()
}

/// What violates the schema.
fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string()).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The files below a folder, relative to the root, in order.
fn files(folder: &str) -> Vec<String> {
    let mut left = vec![PathBuf::from(folder)];
    let mut found = Vec::new();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                left.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// `wasmill check --offline` of a file or a folder.
fn check(what: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.args(["check", "--offline", "--deny-warnings"]).arg(what).envs(variables.iter().copied());
    command.env("NO_COLOR", "1").output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A plugin `mask` that lies in the repository.
const MASK: &str = "tests/plugins/kept/mask-1.0.0.wasm";
