//! The tool that made a plugin, for advice in its own words.
//!
//! Pure. Some tools leave their name in the file; others are known by a part of their runtime.

/// A tool that makes plugins from a language with a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// `componentize-qjs`: JavaScript, with QuickJS.
    QuickJs,
    /// `componentize-js`: JavaScript, with StarlingMonkey.
    StarlingMonkey,
    /// `componentize-py`: Python.
    Python,
    /// Go.
    Go,
}

/// What a file has that each tool made. The names are of modules and sections.
const MARKS: [(&str, Toolchain); 3] = [
    ("componentize_qjs_runtime", Toolchain::QuickJs),
    ("componentize_py_runtime", Toolchain::Python),
    ("go:buildid", Toolchain::Go),
];

impl Toolchain {
    /// The tool that made a file. `producers` are the tools that the file names.
    pub(super) fn of(bytes: &[u8], producers: &[(String, String)]) -> Option<Toolchain> {
        if producers.iter().any(|(tool, _)| tool.eq_ignore_ascii_case("ComponentizeJS")) {
            return Some(Toolchain::StarlingMonkey);
        }
        let has = |mark: &str| bytes.windows(mark.len()).any(|part| part == mark.as_bytes());
        MARKS.iter().find(|(mark, _)| has(mark)).map(|(_, toolchain)| *toolchain)
    }

    /// The options with which it makes a plugin that wasmill runs.
    fn options(self) -> &'static str {
        match self {
            Toolchain::QuickJs => {
                "`componentize-qjs --sync`, with `--stub-wasi` if it needs neither output nor the time"
            }
            Toolchain::StarlingMonkey => "`componentize-js -d http fetch-event`",
            Toolchain::Python => "`componentize-py componentize --stub-wasi`",
            Toolchain::Go => "`GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared`",
        }
    }
}

/// How to build a plugin without what is refused.
pub(super) fn advice(toolchain: Option<Toolchain>) -> String {
    match toolchain {
        Some(toolchain) => format!("build it without: {}", toolchain.options()),
        None => format!(
            "build it without (Rust: the target wasm32-unknown-unknown, JavaScript: {} or {}, Python: {}, Go: {})",
            "`componentize-qjs --sync --stub-wasi`",
            Toolchain::StarlingMonkey.options(),
            Toolchain::Python.options(),
            Toolchain::Go.options()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_known_by_its_name_or_by_its_runtime() {
        let made = |tool: &str| [(tool.to_owned(), "1".to_owned())];
        assert_eq!(Toolchain::of(b"", &made("ComponentizeJS")), Some(Toolchain::StarlingMonkey));
        assert_eq!(Toolchain::of(b"..libcomponentize_py_runtime.so", &made("wit-component")), Some(Toolchain::Python));
        assert_eq!(Toolchain::of(b"..", &made("rustc")), None);
        assert!(advice(Some(Toolchain::Python)).ends_with("`componentize-py componentize --stub-wasi`"));
        // `check` takes what follows the last `; ` for the advice.
        assert!(!advice(None).contains("; "));
    }
}
