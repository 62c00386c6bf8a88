//! The file as it is written: every key of this version, nothing decided yet.
//!
//! Plain structs that deny unknown fields, because any other serde shape loses the place of a mistake. Numbers with a
//! unit stay text here; `check` reads them. Never `flatten` (it accepts misspelt keys), `untagged` or `tag`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use toml::Spanned;

pub(super) type Text = Spanned<String>;
pub(super) type Number = Spanned<i64>;
pub(super) type Passed = BTreeMap<Spanned<String>, Scalar>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Pipeline {
    pub(super) name: Option<Text>,
    pub(super) delivery: Option<Text>,
    pub(super) order: Option<Text>,
    pub(super) shutdown_timeout: Option<Text>,
    pub(super) kafka: Option<Spanned<Kafka>>,
    pub(super) input: Option<Spanned<Input>>,
    #[serde(default)]
    pub(super) step: Vec<Spanned<Step>>,
    #[serde(default)]
    pub(super) output: BTreeMap<Spanned<String>, Spanned<Output>>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) on_error: OnError,
    #[serde(default)]
    pub(super) http: Http,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Kafka {
    pub(super) brokers: Option<Spanned<Vec<Text>>>,
    pub(super) client_id: Option<Text>,
    pub(super) tls: Option<Tls>,
    pub(super) sasl: Option<Spanned<Sasl>>,
    pub(super) insecure: Option<Spanned<bool>>,
    #[serde(default)]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct TlsFiles {
    pub(super) ca: Option<Text>,
    pub(super) cert: Option<Text>,
    pub(super) key: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Sasl {
    pub(super) mechanism: Option<Text>,
    pub(super) username: Option<Text>,
    pub(super) password: Option<Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Input {
    pub(super) topics: Option<Spanned<Vec<Text>>>,
    pub(super) group: Option<Text>,
    pub(super) instance_id: Option<Text>,
    pub(super) start: Option<Spanned<toml::Value>>,
    pub(super) on_gap: Option<Text>,
    pub(super) isolation: Option<Text>,
    pub(super) session_timeout: Option<Text>,
    pub(super) max_poll_interval: Option<Text>,
    #[serde(default)]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Step {
    pub(super) name: Option<Text>,
    pub(super) wasm: Option<Text>,
    pub(super) settings: Option<Spanned<toml::Table>>,
    pub(super) timeout: Option<Text>,
    pub(super) memory: Option<Spanned<Size>>,
    pub(super) batch: Option<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Output {
    pub(super) topic: Option<Text>,
    pub(super) partition: Option<Text>,
    pub(super) compression: Option<Text>,
    #[serde(default)]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Limits {
    pub(super) parallelism: Option<Number>,
    #[serde(default)]
    pub(super) max_in_flight: MaxInFlight,
    pub(super) commit_every: Option<Text>,
    pub(super) drain_timeout: Option<Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct MaxInFlight {
    pub(super) records: Option<Number>,
    pub(super) bytes: Option<Spanned<Size>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct OnError {
    pub(super) retries: Option<Spanned<Retries>>,
    #[serde(default)]
    pub(super) backoff: Backoff,
    pub(super) then: Option<Text>,
    pub(super) dead_letter: Option<Text>,
    pub(super) dialect: Option<Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Backoff {
    pub(super) from: Option<Text>,
    pub(super) to: Option<Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Http {
    pub(super) listen: Option<Text>,
}

/// `tls = true`, or the files.
pub(super) enum Tls {
    Switch(bool),
    Files(TlsFiles),
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tls, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Tls;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true` or a table with `ca`, `cert` and `key`")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Tls, E> {
                Ok(Tls::Switch(value))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tls, A::Error> {
                TlsFiles::deserialize(MapAccessDeserializer::new(map)).map(Tls::Files)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A number, or a word.
pub(super) enum Retries {
    Times(i64),
    Word(String),
}

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Retries, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Retries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or \"forever\"")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Retries, E> {
                Ok(Retries::Times(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Retries, E> {
                Ok(Retries::Word(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A number of bytes, or text such as "64 MiB".
pub(super) enum Size {
    Bytes(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64 MiB\"")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Size, E> {
                Ok(Size::Bytes(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Size, E> {
                Ok(Size::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A value for librdkafka, which takes all of them as text.
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, `true` or `false`")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
