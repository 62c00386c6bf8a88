//! The plugins that come with wasmill. A step names one with `use = "std:NAME"`.
//!
//! A build with the feature `std-plugins` embeds them. Any other build looks for them in `plugins/` beside its program,
//! and in the build directory of a checkout.

use std::env;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// The prefix of their names.
pub const SCHEME: &str = "std:";

/// Their names, each with a short description.
pub const ALL: [(&str, &str); 3] = [
    ("jq", "runs a jq program on each record"),
    ("mask", "hides fields of JSON objects"),
    ("route", "sends records to outputs by a field of theirs"),
];

/// The name of a bundled plugin from a step's `use`; `None` for a file.
#[must_use]
pub fn name(component: &Path) -> Option<&str> {
    component.to_str()?.strip_prefix(SCHEME)
}

/// Whether the plugin of this name is available.
#[must_use]
pub fn is_there(name: &str) -> bool {
    embedded(name).is_some() || places(name).iter().any(|path| path.is_file())
}

/// The bytes of the plugin of this name.
///
/// # Errors
/// If no plugin has this name, or this build neither embeds nor finds it.
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

/// The message for a plugin that isn't available.
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

/// The paths to look at.
fn places(name: &str) -> Vec<PathBuf> {
    let Ok(program) = env::current_exe() else { return Vec::new() };
    let file = format!("{name}.wasm");
    let beside = program.parent().map(|folder| folder.join("plugins").join(&file));
    // The programs of a checkout are `target/debug/wasmill`, and tests in `target/debug/deps/`.
    let checkout = program.ancestors().find(|folder| folder.ends_with("target")).and_then(Path::parent);
    let built = checkout.map(|root| root.join("plugins/target/wasm").join(&file));
    beside.into_iter().chain(built).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        assert_eq!(name(Path::new("std:jq")), Some("jq"));
        assert_eq!(name(Path::new("plugins/jq.wasm")), None);
        let refused = read("jk").unwrap_err().to_string();
        assert!(refused.contains("`std:jq`, `std:mask`, `std:route`"), "{refused}");
        assert!(!is_there("jk"));
    }
}
