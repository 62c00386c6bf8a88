//! The benchmark plugins' transformations as native closures that return owned outputs.
//!
//! They can do everything that a plugin can: return any number of outputs per record, each with a port, a partition and a
//! timestamp, or a failure. This crate doesn't depend on wasmill, and is built with cargo's default release profile; another
//! workspace builds it with its own profile.

use serde_json::Value;

/// The value number `n`: 100 bytes of JSON. Every second value ends in a space, which is an even byte, so the filter keeps these
/// records.
#[must_use]
pub fn document(n: usize) -> String {
    let end = if n.is_multiple_of(2) { " " } else { "" };
    let with = |note: &str| {
        let id = 100_000 + n;
        format!(
            r#"{{"id":{id},"email":"someone@example.org","phone":"+1 555 0100","total":12.5,"note":"{note}"}}{end}"#
        )
    };
    with(&"x".repeat(100 - with("").len()))
}

/// The input of a closure.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// Names and values.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// An output of a closure.
#[derive(Debug)]
pub struct Output {
    /// The index of the port, 0 for the default.
    pub port: u32,
    /// `None` if the partitioner chooses.
    pub partition: Option<i32>,
    /// `None` for that of the record.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The transformation of a record: its outputs, or why it is rejected.
pub type Closure = fn(Input<'_>) -> Result<Vec<Output>, String>;

/// Copies all bytes.
///
/// # Errors
/// None.
pub fn copy(input: Input<'_>) -> Result<Vec<Output>, String> {
    Ok(vec![with_value(input, input.value.map(<[u8]>::to_vec))])
}

/// Copies records whose values end in an even byte; others are dropped.
///
/// # Errors
/// None.
pub fn filter(input: Input<'_>) -> Result<Vec<Output>, String> {
    if input.value.and_then(<[u8]>::last).is_some_and(|byte| byte % 2 == 0) { copy(input) } else { Ok(Vec::new()) }
}

/// Parses the value, replaces the fields `email` and `phone`, and serializes it.
///
/// # Errors
/// If it isn't JSON.
pub fn json(input: Input<'_>) -> Result<Vec<Output>, String> {
    let Some(value) = input.value else { return copy(input) };
    let mut document: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    for field in ["email", "phone"] {
        if let Some(secret) = document.get_mut(field) {
            *secret = "***".into();
        }
    }
    let value = serde_json::to_vec(&document).map_err(|error| error.to_string())?;
    Ok(vec![with_value(input, Some(value))])
}

fn with_value(input: Input<'_>, value: Option<Vec<u8>>) -> Output {
    let headers = input.headers.iter().map(|&(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
    Output {
        port: 0,
        partition: None,
        timestamp: None,
        key: input.key.map(<[u8]>::to_vec),
        value,
        headers: headers.collect(),
    }
}
