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
    /// The pipeline that wrote it; a dead letter that doesn't say so is everyone's.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
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
        self.is_of_pipeline(letter)
            && self.since.is_none_or(|since| letter.at_ms >= since)
            && self.until.is_none_or(|until| letter.at_ms < until)
            && self.code.as_ref().is_none_or(|code| *code == failure.code)
            && self.step.as_ref().is_none_or(|step| *step == failure.step)
            && self.key.as_ref().is_none_or(|key| letter.record.key.as_ref() == Some(key))
    }

    /// Whether the pipeline wrote it.
    #[must_use]
    pub fn is_of_pipeline(&self, letter: &Letter) -> bool {
        let wrote = letter.failure.pipeline.as_ref();
        self.pipeline.as_ref().is_none_or(|pipeline| wrote.is_none_or(|wrote| wrote == pipeline))
    }

    /// Whether it takes every dead letter that the other one takes.
    #[must_use]
    pub fn covers(&self, other: &Filter) -> bool {
        fn is_wider<T: PartialEq>(own: &Option<T>, other: &Option<T>) -> bool {
            own.is_none() || own == other
        }
        is_wider(&self.pipeline, &other.pipeline)
            && self.since.is_none_or(|since| other.since.is_some_and(|other| other >= since))
            && self.until.is_none_or(|until| other.until.is_some_and(|other| other <= until))
            && is_wider(&self.code, &other.code)
            && is_wider(&self.step, &other.step)
            && is_wider(&self.key, &other.key)
            && (self.force || !other.force)
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
    use proptest::prelude::*;

    use super::*;
    use crate::dlq::letter::tests::letter;

    #[test]
    fn every_condition_must_be_met() {
        let mut letter = letter(0, 50);
        letter.record.key = Some(b"\xff".to_vec());
        let whole = Filter {
            pipeline: Some("orders".into()),
            since: Some(50),
            until: Some(51),
            code: Some("bad-json".into()),
            step: Some("mask".into()),
            key: Some(b"\xff".to_vec()),
            force: false,
        };
        assert!(whole.takes(&letter) && Filter::default().takes(&letter));
        for other in [
            Filter { pipeline: Some("other".into()), ..whole.clone() },
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
        letter.failure.pipeline = None;
        assert!(whole.describes(&letter), "it may be of this pipeline");
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let text = || prop::option::of(prop::sample::select(vec!["a".to_owned(), "b".to_owned()]));
        let time = || prop::option::of(0_i64..3);
        (text(), text(), text(), time(), time(), any::<bool>()).prop_map(
            |(pipeline, code, step, since, until, force)| Filter {
                pipeline,
                code,
                step,
                since,
                until,
                force,
                key: None,
            },
        )
    }

    proptest! {
        #[test]
        fn a_filter_that_covers_another_one_takes_all_that_it_takes(one in filters(), other in filters()) {
            let mut missed = false;
            for (at_ms, pipeline, code, step, replays) in combinations(3, ["a", "b"]) {
                let mut letter = letter(0, at_ms);
                letter.failure.pipeline = Some(pipeline.into());
                (letter.failure.code, letter.failure.step) = (code.into(), step.into());
                letter.failure.replays = replays;
                missed |= other.takes(&letter) && !one.takes(&letter);
            }
            prop_assert!(!(one.covers(&other) && missed));
            let all = Filter { force: true, ..Filter::default() };
            prop_assert!(one.covers(&one) && all.covers(&one));
        }
    }

    /// All combinations.
    fn combinations(times: i64, names: [&'static str; 2]) -> Vec<(i64, &'static str, &'static str, &'static str, u32)> {
        let mut all = Vec::new();
        for at_ms in 0..times {
            for pipeline in names {
                for code in names {
                    for step in names {
                        all.extend([0, REPLAYS_MAX].map(|replays| (at_ms, pipeline, code, step, replays)));
                    }
                }
            }
        }
        all
    }
}
