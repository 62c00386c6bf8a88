//! A text that is contained in records and nowhere else: no log, page or header of wasmill may repeat it.
//!
//! Feeds contain it in keys and values, and tests put it into the records that they write. The output of every process under test is
//! searched for it when the process is dropped, and so is every header that wasmill adds to a dead letter. So a new test only has to
//! write it. A plugin may quote records; the tests' plugins don't quote the parts with the canary.

/// A part of records' keys, values, header names and header values. `Oracle.java` contains it, too.
pub(crate) const CANARY: &str = "qanary5e1f";

/// Checks that the output of a process doesn't contain the canary.
///
/// # Panics
/// If it does.
pub(crate) fn absent(what: &str, text: &str) {
    let found = text.lines().find(|line| line.to_ascii_lowercase().contains(CANARY));
    assert!(found.is_none(), "{what} shows a record: {}", found.unwrap_or_default());
}

/// Checks a header's value, if the header is one that wasmill adds to dead letters.
///
/// # Panics
/// As [`absent`].
pub(crate) fn absent_from_ours(name: &[u8], value: Option<&[u8]>) {
    let is_ours =
        ["__streams.errors.", "__connect.errors.", "wasmill-"].iter().any(|own| name.starts_with(own.as_bytes()));
    if is_ours {
        absent(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value.unwrap_or_default()));
    }
}
