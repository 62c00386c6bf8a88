//! What the plugin of the benchmarks does, as native closures that return owned outputs.
//!
//! They may do all that a plugin may: any number of outputs for a record, each with a port, a partition and a timestamp, or a
//! failure. This file knows nothing of wasmill, so that another profile can build it for comparison.

use serde_json::Value;

/// The value number `n`: 100 bytes of JSON. A blank may end it: its byte is even, and the filter lets those records through.
pub(crate) fn document(n: usize) -> String {
    let end = if n.is_multiple_of(2) { " " } else { "" };
    let with = |note: &str| {
        let id = 100_000 + n;
        format!(
            r#"{{"id":{id},"email":"someone@example.org","phone":"+1 555 0100","total":12.5,"note":"{note}"}}{end}"#
        )
    };
    with(&"x".repeat(100 - with("").len()))
}

/// A record as a closure gets it.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Names and values.
    pub(crate) headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// An output that a closure made.
pub(crate) struct Output {
    pub(crate) port: u32,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A record's transformation: its outputs, or why it is rejected.
pub(crate) type Closure = fn(Input<'_>) -> Result<Vec<Output>, String>;

pub(crate) fn copy(input: Input<'_>) -> Result<Vec<Output>, String> {
    Ok(vec![with_value(input, input.value.map(<[u8]>::to_vec))])
}

pub(crate) fn filter(input: Input<'_>) -> Result<Vec<Output>, String> {
    if input.value.and_then(<[u8]>::last).is_some_and(|byte| byte % 2 == 0) { copy(input) } else { Ok(Vec::new()) }
}

pub(crate) fn json(input: Input<'_>) -> Result<Vec<Output>, String> {
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
