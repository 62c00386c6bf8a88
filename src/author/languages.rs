//! The files of a new plugin in each language but Rust: its template, and the SDK that it is built with.
//!
//! Both are embedded in this program, so they match it, and only the tools have to be downloaded. `NAME` in a template is replaced by the
//! plugin's name.

/// A language in which `wasmill new plugin` makes a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Rust
    Rust,
    /// JavaScript, for QuickJS
    Js,
    /// TypeScript, for QuickJS
    Ts,
    /// Python
    Python,
    /// C
    C,
    /// Go
    Go,
}

/// The files of a language.
pub(super) struct Files {
    /// Those of the template.
    pub(super) own: &'static [(&'static str, &'static str)],
    /// Those of the SDK, in the folder `sdk`.
    pub(super) sdk: &'static [(&'static str, &'static str)],
}

impl Language {
    /// The file that is the plugin.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Language::Rust => "src/lib.rs",
            Language::Js => "src/plugin.js",
            Language::Ts => "src/plugin.ts",
            Language::Python => "plugin.py",
            Language::C => "plugin.c",
            Language::Go => "plugin.go",
        }
    }

    /// The commands that install the tools which build the plugin, where they are installed into its folder.
    #[must_use]
    pub fn installs(self) -> &'static [&'static str] {
        match self {
            Language::Js | Language::Ts => &["npm install"],
            Language::Python => &["python3 -m venv .venv && . .venv/bin/activate", "pip install -r requirements.txt"],
            Language::Rust | Language::C | Language::Go => &[],
        }
    }

    /// Its files. `None` for Rust, which `scaffold` has.
    pub(super) fn files(self) -> Option<Files> {
        let (own, sdk): (&[_], &[_]) = match self {
            Language::Rust => return None,
            Language::Js => (&JS, &SDK_JS),
            Language::Ts => (&TS, &SDK_JS),
            Language::Python => (&PYTHON, &SDK_PYTHON),
            Language::C => (&C, &SDK_C),
            Language::Go => (&GO, &SDK_GO),
        };
        Some(Files { own, sdk })
    }
}

/// A plugin in JavaScript.
const JS: [(&str, &str); 10] = [
    (".gitignore", include_str!("../../templates/js/gitignore")),
    ("README.md", include_str!("../../templates/js/README.md")),
    ("input.ndjson", include_str!("../../templates/rust/input.ndjson")),
    ("package.json", include_str!("../../templates/js/package.json")),
    ("pipeline.test.toml", include_str!("../../templates/rust/pipeline.test.toml")),
    ("pipeline.toml", include_str!("../../templates/rust/pipeline.toml")),
    ("plugin.toml", include_str!("../../templates/js/plugin.toml")),
    ("settings.schema.json", include_str!("../../templates/rust/settings.schema.json")),
    ("src/plugin.js", include_str!("../../templates/js/src/plugin.js")),
    ("test/plugin.test.js", include_str!("../../templates/js/test/plugin.test.js")),
];

/// A plugin in TypeScript.
const TS: [(&str, &str); 11] = [
    (".gitignore", include_str!("../../templates/ts/gitignore")),
    ("README.md", include_str!("../../templates/ts/README.md")),
    ("input.ndjson", include_str!("../../templates/rust/input.ndjson")),
    ("package.json", include_str!("../../templates/ts/package.json")),
    ("pipeline.test.toml", include_str!("../../templates/rust/pipeline.test.toml")),
    ("pipeline.toml", include_str!("../../templates/rust/pipeline.toml")),
    ("plugin.toml", include_str!("../../templates/ts/plugin.toml")),
    ("settings.schema.json", include_str!("../../templates/rust/settings.schema.json")),
    ("src/plugin.ts", include_str!("../../templates/ts/src/plugin.ts")),
    ("test/plugin.test.js", include_str!("../../templates/ts/test/plugin.test.js")),
    ("tsconfig.json", include_str!("../../templates/ts/tsconfig.json")),
];

/// A plugin in Python.
const PYTHON: [(&str, &str); 11] = [
    (".gitignore", include_str!("../../templates/python/gitignore")),
    ("README.md", include_str!("../../templates/python/README.md")),
    ("input.ndjson", include_str!("../../templates/rust/input.ndjson")),
    ("pipeline.test.toml", include_str!("../../templates/rust/pipeline.test.toml")),
    ("pipeline.toml", include_str!("../../templates/rust/pipeline.toml")),
    ("plugin.py", include_str!("../../templates/python/plugin.py")),
    ("plugin.toml", include_str!("../../templates/python/plugin.toml")),
    ("pytest.ini", include_str!("../../templates/python/pytest.ini")),
    ("requirements.txt", include_str!("../../sdk/python/requirements.txt")),
    ("settings.schema.json", include_str!("../../templates/rust/settings.schema.json")),
    ("tests/test_plugin.py", include_str!("../../templates/python/tests/test_plugin.py")),
];

/// A plugin in C.
const C: [(&str, &str); 9] = [
    (".gitignore", include_str!("../../templates/c/gitignore")),
    ("README.md", include_str!("../../templates/c/README.md")),
    ("input.ndjson", include_str!("../../templates/rust/input.ndjson")),
    ("pipeline.test.toml", include_str!("../../templates/c/pipeline.test.toml")),
    ("pipeline.toml", include_str!("../../templates/rust/pipeline.toml")),
    ("plugin.c", include_str!("../../templates/c/plugin.c")),
    ("plugin.toml", include_str!("../../templates/c/plugin.toml")),
    ("plugin_test.c", include_str!("../../templates/c/plugin_test.c")),
    ("settings.schema.json", include_str!("../../templates/rust/settings.schema.json")),
];

/// A plugin in Go.
const GO: [(&str, &str); 10] = [
    (".gitignore", include_str!("../../templates/go/gitignore")),
    ("README.md", include_str!("../../templates/go/README.md")),
    ("go.mod", include_str!("../../templates/go/go.mod")),
    ("input.ndjson", include_str!("../../templates/rust/input.ndjson")),
    ("pipeline.test.toml", include_str!("../../templates/rust/pipeline.test.toml")),
    ("pipeline.toml", include_str!("../../templates/rust/pipeline.toml")),
    ("plugin.go", include_str!("../../templates/go/plugin.go")),
    ("plugin.toml", include_str!("../../templates/go/plugin.toml")),
    ("plugin_test.go", include_str!("../../templates/go/plugin_test.go")),
    ("settings.schema.json", include_str!("../../templates/rust/settings.schema.json")),
];

/// The SDK for JavaScript and TypeScript.
const SDK_JS: [(&str, &str); 18] = [
    ("README.md", include_str!("../../sdk/js/README.md")),
    ("console.js", include_str!("../../sdk/js/console.js")),
    ("failures.js", include_str!("../../sdk/js/failures.js")),
    ("host-node.js", include_str!("../../sdk/js/host-node.js")),
    ("host.js", include_str!("../../sdk/js/host.js")),
    ("index.d.ts", include_str!("../../sdk/js/index.d.ts")),
    ("index.js", include_str!("../../sdk/js/index.js")),
    ("json.js", include_str!("../../sdk/js/json.js")),
    ("metrics.js", include_str!("../../sdk/js/metrics.js")),
    ("out.js", include_str!("../../sdk/js/out.js")),
    ("package.json", include_str!("../../sdk/js/package.json")),
    ("raw-json.js", include_str!("../../sdk/js/raw-json.js")),
    ("record.js", include_str!("../../sdk/js/record.js")),
    ("testing.d.ts", include_str!("../../sdk/js/testing.d.ts")),
    ("testing.js", include_str!("../../sdk/js/testing.js")),
    ("text.js", include_str!("../../sdk/js/text.js")),
    ("wit/deps/wasmill/plugin.wit", include_str!("../../sdk/js/wit/deps/wasmill/plugin.wit")),
    ("wit/world.wit", include_str!("../../sdk/js/wit/world.wit")),
];

/// The SDK for Python.
const SDK_PYTHON: [(&str, &str); 16] = [
    ("wasmill/__init__.py", include_str!("../../sdk/python/wasmill/__init__.py")),
    ("wasmill/_columns.py", include_str!("../../sdk/python/wasmill/_columns.py")),
    ("wasmill/_failures.py", include_str!("../../sdk/python/wasmill/_failures.py")),
    ("wasmill/_host.py", include_str!("../../sdk/python/wasmill/_host.py")),
    ("wasmill/_json.py", include_str!("../../sdk/python/wasmill/_json.py")),
    ("wasmill/_metrics.py", include_str!("../../sdk/python/wasmill/_metrics.py")),
    ("wasmill/_plugin.py", include_str!("../../sdk/python/wasmill/_plugin.py")),
    ("wasmill/componentize-py.toml", include_str!("../../sdk/python/wasmill/componentize-py.toml")),
    ("wasmill/http.py", include_str!("../../sdk/python/wasmill/http.py")),
    ("wasmill/py.typed", include_str!("../../sdk/python/wasmill/py.typed")),
    ("wasmill/testing.py", include_str!("../../sdk/python/wasmill/testing.py")),
    ("wasmill/wit/deps/clocks/clocks.wit", include_str!("../../sdk/python/wasmill/wit/deps/clocks/clocks.wit")),
    ("wasmill/wit/deps/http/http.wit", include_str!("../../sdk/python/wasmill/wit/deps/http/http.wit")),
    ("wasmill/wit/deps/io/io.wit", include_str!("../../sdk/python/wasmill/wit/deps/io/io.wit")),
    ("wasmill/wit/deps/wasmill/plugin.wit", include_str!("../../sdk/python/wasmill/wit/deps/wasmill/plugin.wit")),
    ("wasmill/wit/world.wit", include_str!("../../sdk/python/wasmill/wit/world.wit")),
];

/// The SDK for C.
const SDK_C: [(&str, &str); 3] = [
    ("wasmill.h", include_str!("../../sdk/c/wasmill.h")),
    ("wasmill_json.h", include_str!("../../sdk/c/wasmill_json.h")),
    ("wasmill_test.h", include_str!("../../sdk/c/wasmill_test.h")),
];

/// The SDK for Go.
const SDK_GO: [(&str, &str); 15] = [
    ("abi_wasip1.go", include_str!("../../sdk/go/abi_wasip1.go")),
    ("failure.go", include_str!("../../sdk/go/failure.go")),
    ("go.mod", include_str!("../../sdk/go/go.mod")),
    ("internal/columns/columns.go", include_str!("../../sdk/go/internal/columns/columns.go")),
    ("internal/host/host_other.go", include_str!("../../sdk/go/internal/host/host_other.go")),
    ("internal/host/host_wasip1.go", include_str!("../../sdk/go/internal/host/host_wasip1.go")),
    ("json.go", include_str!("../../sdk/go/json.go")),
    ("log.go", include_str!("../../sdk/go/log.go")),
    ("metrics.go", include_str!("../../sdk/go/metrics.go")),
    ("out.go", include_str!("../../sdk/go/out.go")),
    ("record.go", include_str!("../../sdk/go/record.go")),
    ("run.go", include_str!("../../sdk/go/run.go")),
    ("start_other.go", include_str!("../../sdk/go/start_other.go")),
    ("wasmill.go", include_str!("../../sdk/go/wasmill.go")),
    ("wasmilltest/wasmilltest.go", include_str!("../../sdk/go/wasmilltest/wasmilltest.go")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::path::PathBuf;

    use super::*;

    /// The files below a folder, as paths from it, without those that builds and tests leave.
    fn found(folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(below) = folders.pop() {
            for entry in std::fs::read_dir(folder.join(&below)).unwrap() {
                let entry = entry.unwrap();
                let path = below.join(entry.file_name());
                match entry.file_type().unwrap().is_dir() {
                    true if !["__pycache__", "node_modules", ".pytest_cache"]
                        .contains(&entry.file_name().to_str().unwrap()) =>
                    {
                        folders.push(path);
                    }
                    true => {}
                    false => {
                        found.insert(path.to_str().unwrap().to_owned());
                    }
                }
            }
        }
        found
    }

    #[test]
    fn the_whole_sdks_and_templates_are_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let names = |files: &[(&'static str, &str)]| files.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>();
        for (folder, files) in [("js", &JS[..]), ("ts", &TS), ("python", &PYTHON), ("c", &C), ("go", &GO)] {
            let names = names(files);
            for file in found(&root.join("templates").join(folder)) {
                let file = file.replace("gitignore", ".gitignore");
                assert!(names.contains(file.as_str()), "templates/{folder}/{file} is not embedded");
            }
        }
        for (folder, files) in [("js", &SDK_JS[..]), ("python", &SDK_PYTHON), ("c", &SDK_C), ("go", &SDK_GO)] {
            let names = names(files);
            let is_other = |file: &str| {
                file.starts_with("test/")
                    || file.starts_with("tests/")
                    || file.ends_with("_test.go")
                    || file.ends_with(".sh")
                    || (folder == "python" && !file.starts_with("wasmill/"))
            };
            for file in found(&root.join("sdk").join(folder)).iter().filter(|file| !is_other(file)) {
                assert!(names.contains(file.as_str()), "sdk/{folder}/{file} is not embedded");
            }
        }
    }
}
