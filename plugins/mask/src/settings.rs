//! Settings of the step: which fields are hidden, and how.

use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use wasmill_sdk::json::Paths;

use crate::hide::Hide;
use crate::hide::Key;

/// A hashed value that can be guessed reveals a short key: keys can be tried until the hash matches.
const KEY_LENGTH_LEAST: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "personal")]
    fields: Vec<Field>,
    #[serde(default)]
    mode: Mode,
    key: Option<RawKey>,
}

fn personal() -> Vec<Field> {
    ["email", "phone", "name"].map(|path| Field { path: path.to_owned(), mode: None }).into()
}

struct Field {
    path: String,
    mode: Option<Mode>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Stars,
    Hash,
    Drop,
    Last4,
}

struct RawKey(String);

impl<'de> Deserialize<'de> for RawKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RawKey, D::Error> {
        // serde's own message would show a key that is a number.
        String::deserialize(from).map(RawKey).map_err(|_| D::Error::custom("`key` is not a string"))
    }
}

/// The paths of the settings, and how each one's values are hidden.
///
/// # Errors
/// What is wrong with the settings. No message contains the key.
pub(crate) fn parse(settings: &str) -> Result<(Paths, Vec<Hide>), String> {
    let Settings { fields, mode, key } = serde_json::from_str(settings).map_err(|e| e.to_string())?;
    let paths = Paths::new(fields.iter().map(|field| &field.path)).map_err(|e| format!("`fields`: {e}"))?;
    let key = key.map(checked).transpose()?;
    let mut is_key_used = false;
    let mut hide = Vec::with_capacity(fields.len());
    for field in &fields {
        hide.push(match field.mode.unwrap_or(mode) {
            Mode::Stars => Hide::Stars,
            Mode::Hash => {
                is_key_used = true;
                let missing = || format!("`key` is missing: the mode of `{}` is `hash`, which needs one", field.path);
                Hide::Hash(key.clone().ok_or_else(missing)?)
            }
            Mode::Drop => Hide::Drop,
            Mode::Last4 => Hide::Last4,
        });
    }
    if key.is_some() && !is_key_used {
        return Err("`key` is set, but no field has the mode `hash`".to_owned());
    }
    Ok((paths, hide))
}

fn checked(RawKey(key): RawKey) -> Result<Rc<Key>, String> {
    if key.chars().count() < KEY_LENGTH_LEAST {
        return Err(format!("`key` has fewer than {KEY_LENGTH_LEAST} characters"));
    }
    Key::new(&key).map(Rc::new).map_err(|e| format!("`key`: {e}"))
}

/// Accepts a path, or a table with a path and a mode.
impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Field, D::Error> {
        struct OfTextOrTable;

        impl<'de> Visitor<'de> for OfTextOrTable {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table with `path` and `mode`")
            }

            fn visit_str<E>(self, path: &str) -> Result<Field, E> {
                Ok(Field { path: path.to_owned(), mode: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Table {
                    path: String,
                    mode: Option<Mode>,
                }

                let Table { path, mode } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Field { path, mode })
            }
        }

        from.deserialize_any(OfTextOrTable)
    }
}
