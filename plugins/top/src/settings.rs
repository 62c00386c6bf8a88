//! The settings, checked.

use serde::Deserialize;

/// The most items of a result.
const K_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The field whose values are counted, as a JSON pointer.
    pub(crate) field: String,
    /// The field with the number that a record counts for; without it that is 1.
    pub(crate) weight: Option<String>,
    /// How many items a result has at most.
    #[serde(default = "ten")]
    pub(crate) k: usize,
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_str(text).map_err(|e| e.to_string())?;
        for (name, pointer) in [("field", Some(&settings.field)), ("weight", settings.weight.as_ref())] {
            if let Some(pointer) = pointer.filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
                return Err(format!("`{name}` is {pointer:?}: write a JSON pointer, as in \"/{pointer}\""));
            }
        }
        if settings.k == 0 || settings.k > K_MAX {
            return Err(format!("`k` is {}: it is 1 to {K_MAX}", settings.k));
        }
        Ok(settings)
    }
}

fn ten() -> usize {
    10
}
