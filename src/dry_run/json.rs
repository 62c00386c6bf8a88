//! Compares JSON by meaning, to the last digit: what a test case expects with the actual output.
//!
//! A number is a decimal number of any length, a name that occurs twice in an object counts twice, and the order of names doesn't
//! matter. It prints nothing. Invariant: two documents that are equal here differ only in white space, in the order of names, and in
//! how characters and exponents are written.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

/// Deeper documents are treated as text.
const DEPTH_MAX: usize = 128;

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    /// Sorted by name; members with the same name keep their order.
    Object(Vec<(String, Json)>),
}

/// A number as written, without digits that have no meaning: `digits` times ten to the power of `exponent`.
///
/// Most programs distinguish a whole number from one with a fraction or an exponent, so `1` isn't `1.0`; `1.0` is `1.00`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    is_negative: bool,
    is_whole: bool,
    digits: String,
    /// `None` if it doesn't fit; `digits` is then the whole text.
    exponent: Option<i64>,
}

/// The members of an object, in the order in which they are written.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl Json {
    /// The document in these bytes; `None` if they aren't JSON.
    pub(super) fn parse(bytes: &[u8]) -> Option<Json> {
        let raw: &RawValue = serde_json::from_slice(bytes).ok()?;
        Json::read(raw, DEPTH_MAX)
    }

    fn read(raw: &RawValue, left: usize) -> Option<Json> {
        let left = left.checked_sub(1)?;
        let text = raw.get();
        Some(match text.as_bytes().first()? {
            b'n' => Json::Null,
            b't' => Json::Bool(true),
            b'f' => Json::Bool(false),
            b'"' => Json::Text(serde_json::from_str(text).ok()?),
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Json::List(items.into_iter().map(|item| Json::read(item, left)).collect::<Option<_>>()?)
            }
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let read = |(name, value)| Some((name, Json::read(value, left)?));
                let mut members: Vec<(String, Json)> = members.into_iter().map(read).collect::<Option<_>>()?;
                members.sort_by(|a, b| a.0.cmp(&b.0));
                Json::Object(members)
            }
            _ => Json::Number(Number::parse(text)),
        })
    }

    /// A name that occurs twice in an object, anywhere in the document.
    pub(super) fn repeated(&self) -> Option<&str> {
        match self {
            Json::Object(members) => {
                let twice = members.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0.as_str());
                twice.or_else(|| members.iter().find_map(|(_, value)| value.repeated()))
            }
            Json::List(items) => items.iter().find_map(Json::repeated),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => None,
        }
    }
}

impl Number {
    /// Parses a JSON number.
    pub(super) fn parse(text: &str) -> Number {
        let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_whole = whole.len() == unsigned.len();
        let all = format!("{whole}{fraction}");
        let short = all.trim_end_matches('0');
        let digits = short.trim_start_matches('0');
        let moved = i64::try_from(all.len() - short.len()).ok().zip(i64::try_from(fraction.len()).ok());
        let exponent = power.trim_start_matches('+').parse::<i64>().ok();
        let exponent =
            exponent.zip(moved).and_then(|(power, (zeros, places))| power.checked_add(zeros)?.checked_sub(places));
        match exponent {
            Some(_) if digits.is_empty() => Number { is_negative, is_whole, digits: String::new(), exponent: Some(0) },
            Some(exponent) => Number { is_negative, is_whole, digits: digits.to_owned(), exponent: Some(exponent) },
            None => Number { is_negative, is_whole, digits: text.to_owned(), exponent: None },
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let read = |text: &str| Json::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        read(a) == read(b)
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        for (a, b) in [
            ("{\"a\":1,\"b\":[2]}", " { \"b\" : [2],\n\"a\" : 1 }"),
            ("0.10", "1e-1"),
            ("1.0", "0.1E+1"),
            ("100.0", "1e2"),
            ("-0.0", "-0e5"),
            ("\"\\u0041\\/\"", "\"A/\""),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn what_differs_in_the_last_digit_or_in_a_name_differs() {
        let long = "1".repeat(77);
        for (a, b) in [
            (format!("{{\"n\":{long}5}}"), format!("{{\"n\":{long}6}}")),
            ("0.100000000000000000000000000001".into(), "0.1".into()),
            ("9007199254740993".into(), "9007199254740992".into()),
            ("1".into(), "1.0".into()),
            ("0.0".into(), "-0.0".into()),
            ("1e400".into(), "1e401".into()),
            ("1e99999999999999999999".into(), "1e99999999999999999998".into()),
            ("{\"a\":1,\"a\":2}".into(), "{\"a\":2}".into()),
            ("{\"a\":1,\"a\":2}".into(), "{\"a\":2,\"a\":1}".into()),
            ("null".into(), "\"null\"".into()),
            ("[]".into(), "{}".into()),
        ] {
            assert!(!same(&a, &b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_json_and_what_is_too_deep_is_none() {
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        for text in ["", "{", "nul", "01", "\"\\ud800\"", "{\"a\":1}x", deep.as_str()] {
            assert_eq!(Json::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Json::parse(b"\"\xff\""), None);
    }

    #[test]
    fn a_repeated_name_is_found_anywhere() {
        let repeated = |text: &str| Json::parse(text.as_bytes()).and_then(|json| json.repeated().map(str::to_owned));
        assert_eq!(repeated("{\"x\":[{\"a\":1,\"b\":0,\"a\":1}]}").as_deref(), Some("a"));
        assert_eq!(repeated("{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":1}]}"), None);
    }
}
