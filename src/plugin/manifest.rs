//! A plugin's manifest: the custom section `wasmill:manifest`, a JSON object.
//!
//! It is read without compiling or running anything, and its texts are not trusted. Unknown keys are ignored, because a
//! newer SDK may write them.

use serde::Deserialize;
use serde_json::Value;
use wasmparser::BinaryReaderError;
use wasmparser::Parser;
use wasmparser::Payload;

use crate::plugin::schema;
use crate::plugin::schema::Fault;

const SECTION: &str = "wasmill:manifest";
/// A larger manifest isn't read.
const BYTES_MAX: usize = 256 << 10;
/// A longer name or version is truncated: both are shown within a line, and the version is a metric's label.
const NAME_CHARS_MAX: usize = 64;
const DESCRIPTION_CHARS_MAX: usize = 1000;

/// A plugin's manifest. Everything except the name is optional.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub description: String,
    /// The ports that it writes to; `None` if they depend on its settings.
    pub ports: Option<Vec<String>>,
    /// The codes of its rejects; `None` if it doesn't list them.
    pub codes: Option<Vec<String>>,
    /// The JSON Schema of its settings.
    pub settings: Option<Value>,
    /// The versions of its state, if it keeps any.
    pub state: Option<StateVersions>,
}

/// The versions of a plugin's cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateVersions {
    /// The version that it writes, 1 to 255.
    pub version: u32,
    /// The versions that it reads, ascending. They contain `version`.
    pub reads: Vec<u32>,
}

#[derive(Deserialize)]
struct Raw {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    ports: Option<Vec<String>>,
    codes: Option<Vec<String>>,
    settings: Option<Value>,
    state: Option<Value>,
}

/// Why a manifest can't be used.
#[derive(Debug)]
pub(super) enum Unread {
    /// The file can't be parsed.
    File(BinaryReaderError),
    /// The manifest can't be parsed.
    Manifest(String),
}

impl Manifest {
    /// The manifest of a plugin's file. Tools that make components leave sections inside, so all levels are searched,
    /// and the outermost one counts.
    #[expect(clippy::wildcard_enum_match_arm, reason = "sections of the binary format, of which few matter")]
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Manifest>, Unread> {
        let mut depth = 0_usize;
        let mut found: Option<(usize, &[u8])> = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(Unread::File)?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section)
                    if section.name() == SECTION && found.is_none_or(|(outer, _)| depth < outer) =>
                {
                    found = Some((depth, section.data()));
                }
                _ => {}
            }
        }
        found.map(|(_, json)| Manifest::parse(json).map_err(Unread::Manifest)).transpose()
    }

    /// The faults in these settings, a JSON object. Empty if the manifest has no schema for settings.
    #[must_use]
    pub fn faults(&self, settings: &str) -> Vec<Fault> {
        let settings = serde_json::from_str(settings).unwrap_or(Value::Null);
        self.settings.as_ref().map_or_else(Vec::new, |schema| schema::faults(schema, &settings))
    }

    /// Keywords in the settings' schema that are not checked.
    #[must_use]
    pub fn unchecked(&self) -> Vec<String> {
        self.settings.as_ref().map_or_else(Vec::new, schema::unchecked)
    }

    fn parse(json: &[u8]) -> Result<Manifest, String> {
        if json.len() > BYTES_MAX {
            return Err(format!("it has {} bytes, and {BYTES_MAX} are allowed", json.len()));
        }
        let raw: Raw = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok(Manifest {
            name: shown(&raw.name, NAME_CHARS_MAX),
            version: shown(&raw.version, NAME_CHARS_MAX),
            description: shown(&raw.description, DESCRIPTION_CHARS_MAX),
            ports: raw.ports.map(|ports| ports.iter().map(|port| shown(port, NAME_CHARS_MAX)).collect()),
            codes: raw.codes.map(|codes| codes.iter().map(|code| shown(code, NAME_CHARS_MAX)).collect()),
            settings: raw.settings,
            state: raw.state.as_ref().map(StateVersions::checked).transpose()?,
        })
    }
}

/// Those of a plugin that says nothing about them.
impl Default for StateVersions {
    fn default() -> StateVersions {
        StateVersions { version: 1, reads: vec![1] }
    }
}

impl StateVersions {
    fn checked(state: &Value) -> Result<StateVersions, String> {
        let shape = || r#"`state` is not as in `{"version":2,"reads":[1,2]}`"#.to_owned();
        let version = state.get("version").ok_or_else(shape)?;
        let reads = state.get("reads").and_then(Value::as_array).ok_or_else(shape)?;
        let version = state_version("state.version", version)?;
        let mut reads: Vec<u32> =
            reads.iter().map(|read| state_version("state.reads", read)).collect::<Result<_, _>>()?;
        reads.sort_unstable();
        reads.dedup();
        if !reads.contains(&version) {
            return Err(format!("`state.reads` lacks the version {version}, which `state.version` says it writes"));
        }
        Ok(StateVersions { version, reads })
    }
}

fn state_version(key: &str, version: &Value) -> Result<u32, String> {
    let number = version.as_u64().and_then(|version| u8::try_from(version).ok()).filter(|&version| version > 0);
    number.map(u32::from).ok_or_else(|| {
        let version = shown(&version.to_string(), NAME_CHARS_MAX);
        format!("`{key}` has the version {version}, where 1 to 255 are allowed")
    })
}

/// A text that is safe to show: truncated, and without control characters.
pub(super) fn shown(text: &str, chars: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_is_required_and_unknown_keys_are_ignored() {
        let manifest = Manifest::parse(br#"{"name":"mask\u001b[31m","other":[1]}"#).unwrap();
        assert_eq!(manifest, Manifest { name: "mask[31m".into(), ..Manifest::default() });
        let whole =
            br#"{"name":"mask","version":"1","description":"d","ports":["main","audit"],"settings":{"type":"object"}}"#;
        let manifest = Manifest::parse(whole).unwrap();
        assert_eq!(manifest.ports.unwrap(), ["main", "audit"]);
        assert!(manifest.settings.is_some());
        let manifest = Manifest::parse(br#"{"name":"top","state":{"version":2,"reads":[2,1,2]}}"#).unwrap();
        assert_eq!(manifest.state, Some(StateVersions { version: 2, reads: vec![1, 2] }));
    }

    #[test]
    fn invalid_manifests_are_refused_with_a_reason() {
        for (json, message) in [
            ("{}", "missing field `name`"),
            ("[1]", "invalid"),
            (r#"{"name":1}"#, "invalid type"),
            ("", "EOF"),
            (r#"{"name":"n","state":[1]}"#, "`state` is not as in"),
            (r#"{"name":"n","state":{"version":1}}"#, "`state` is not as in"),
            (r#"{"name":"n","state":{"version":1,"reads":1}}"#, "`state` is not as in"),
            (r#"{"name":"n","state":{"version":"1","reads":[1]}}"#, "`state.version` has the version \"1\", where"),
            (r#"{"name":"n","state":{"version":0,"reads":[0]}}"#, "`state.version` has the version 0, where 1 to 255"),
            (r#"{"name":"n","state":{"version":256,"reads":[1]}}"#, "`state.version` has the version 256"),
            (r#"{"name":"n","state":{"version":2,"reads":[2,-1]}}"#, "`state.reads` has the version -1"),
            (r#"{"name":"n","state":{"version":2,"reads":[1]}}"#, "`state.reads` lacks the version 2"),
            (&format!(r#"{{"name":"{}"}}"#, "x".repeat(BYTES_MAX)), "are allowed"),
        ] {
            let refusal = Manifest::parse(json.as_bytes()).unwrap_err();
            assert!(refusal.contains(message), "{refusal} lacks {message}");
        }
        assert!(Manifest::parse("[".repeat(10_000).as_bytes()).is_err(), "depth has a bound");
    }
}
