//! The plugins that come with wasmill: a step names one by `use = "std:NAME"`.
//!
//! A build with the feature `std-plugins` has them inside. Another looks for them beside its program: in `plugins/`, and where a checkout builds them.

use std::env;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// What the name of one begins with.
pub const SCHEME: &str = "std:";

/// Their names, and what each does in a few words.
pub const ALL: [(&str, &str); 3] = [
    ("jq", "runs a jq program on each record"),
    ("mask", "hides fields of JSON objects"),
    ("route", "sends records to outputs by a field of theirs"),
];

/// The name behind the scheme of what a step uses; `None` for a file.
#[must_use]
pub fn name(component: &Path) -> Option<&str> {
    component.to_str()?.strip_prefix(SCHEME)
}

/// Whether it can be read here.
#[must_use]
pub fn is_there(name: &str) -> bool {
    embedded(name).is_some() || places(name).iter().any(|path| path.is_file())
}

/// What it holds.
///
/// # Errors
/// That there is none of this name, or none in this build and beside it.
pub(in crate::plugin) fn read(name: &str) -> io::Result<Vec<u8>> {
    if !ALL.iter().any(|(known, _)| *known == name) {
        let known: Vec<String> = ALL.iter().map(|(known, _)| format!("`{SCHEME}{known}`")).collect();
        let message = format!("no plugin of this name comes with wasmill: there are {}", known.join(", "));
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    if let Some(bytes) = embedded(name) {
        return Ok(bytes.to_vec());
    }
    let places = places(name);
    match places.iter().find(|path| path.is_file()) {
        Some(path) => super::file::read(path),
        None => Err(io::Error::new(io::ErrorKind::NotFound, missing(name))),
    }
}

/// Why it can't be read here, where it can't.
#[must_use]
pub fn missing(name: &str) -> String {
    let places: Vec<String> = places(name).iter().map(|path| path.display().to_string()).collect();
    format!(
        "this build has no plugins inside, and there is none at {}; build them with `cargo xtask plugins`, or use a release",
        places.join(" or ")
    )
}

#[cfg(feature = "std-plugins")]
fn embedded(name: &str) -> Option<&'static [u8]> {
    match name {
        "jq" => Some(include_bytes!("../../plugins/target/wasm/jq.wasm")),
        "mask" => Some(include_bytes!("../../plugins/target/wasm/mask.wasm")),
        "route" => Some(include_bytes!("../../plugins/target/wasm/route.wasm")),
        _ => None,
    }
}

#[cfg(not(feature = "std-plugins"))]
fn embedded(_: &str) -> Option<&'static [u8]> {
    None
}

/// Where it may lie beside this program.
fn places(name: &str) -> Vec<PathBuf> {
    let Ok(program) = env::current_exe() else { return Vec::new() };
    let file = format!("{name}.wasm");
    let beside = program.parent().map(|folder| folder.join("plugins").join(&file));
    // A checkout's `target/debug/wasmill`, and its tests in `target/debug/deps/`.
    let checkout = program.ancestors().find(|folder| folder.ends_with("target")).and_then(Path::parent);
    let built = checkout.map(|root| root.join("plugins/target/wasm").join(&file));
    beside.into_iter().chain(built).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_or_refused_with_those_that_are() {
        assert_eq!(name(Path::new("std:jq")), Some("jq"));
        assert_eq!(name(Path::new("plugins/jq.wasm")), None);
        let refused = read("jk").unwrap_err().to_string();
        assert!(refused.contains("`std:jq`, `std:mask`, `std:route`"), "{refused}");
        assert!(!is_there("jk"));
    }
}
