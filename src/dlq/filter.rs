//! PURE. Which dead letters are wanted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use super::Letter;
use super::REPLAYS_MAX;

/// Conditions that a dead letter must all meet. The names are short because filters are committed with the progress of replays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// It failed at this time or later, in milliseconds since 1970-01-01 UTC.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// It failed before this time.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The code of its failure.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The step that failed.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Its key.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none", with = "as_base64")]
    pub key: Option<Vec<u8>>,
    /// Also those that were replayed [`REPLAYS_MAX`] times.
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Filter {
    /// Whether a dead letter meets the conditions.
    #[must_use]
    pub fn takes(&self, letter: &Letter) -> bool {
        self.describes(letter) && !self.is_exhausted(letter)
    }

    /// Whether it meets them, however often it was replayed.
    #[must_use]
    pub fn describes(&self, letter: &Letter) -> bool {
        let failure = &letter.failure;
        self.since.is_none_or(|since| letter.at_ms >= since)
            && self.until.is_none_or(|until| letter.at_ms < until)
            && self.code.as_ref().is_none_or(|code| *code == failure.code)
            && self.step.as_ref().is_none_or(|step| *step == failure.step)
            && self.key.as_ref().is_none_or(|key| letter.record.key.as_ref() == Some(key))
    }

    /// Whether it was replayed too often already.
    #[must_use]
    pub fn is_exhausted(&self, letter: &Letter) -> bool {
        !self.force && letter.failure.replays >= REPLAYS_MAX
    }
}

mod as_base64 {
    use super::*;

    pub(super) fn serialize<S: Serializer>(key: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        key.as_ref().map(|key| STANDARD.encode(key)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| STANDARD.decode(text)).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::letter;

    #[test]
    fn every_condition_must_be_met() {
        let mut letter = letter(0, 50);
        letter.record.key = Some(b"\xff".to_vec());
        let whole = Filter {
            since: Some(50),
            until: Some(51),
            code: Some("bad-json".into()),
            step: Some("mask".into()),
            key: Some(b"\xff".to_vec()),
            force: false,
        };
        assert!(whole.takes(&letter) && Filter::default().takes(&letter));
        for other in [
            Filter { since: Some(51), ..whole.clone() },
            Filter { until: Some(50), ..whole.clone() },
            Filter { code: Some("trap".into()), ..whole.clone() },
            Filter { step: Some(String::new()), ..whole.clone() },
            Filter { key: Some(Vec::new()), ..whole.clone() },
        ] {
            assert!(!other.takes(&letter), "{other:?}");
        }
        letter.failure.replays = REPLAYS_MAX;
        assert!(!whole.takes(&letter) && whole.describes(&letter));
        assert!(Filter { force: true, ..whole.clone() }.takes(&letter));
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), whole);
        assert_eq!(serde_json::to_string(&Filter::default()).unwrap(), "{}");
    }
}
