//! What stands in records and nowhere else: no log, page or header of ours may repeat it.
//!
//! Feeds have it in keys and values, and tests put it into the records that they write. Every process under test is looked through when
//! it goes away, and so is every header that wasmill adds to a dead letter, so a new test needs to do nothing but write it. A plugin may
//! say of a record what it likes; the tests' plugins don't repeat what it stands in.

/// A part of records' keys, values, names of headers and their values. `Oracle.java` has it, too.
pub(crate) const CANARY: &str = "qanary5e1f";

/// Looks through what a process wrote or answered.
///
/// # Panics
/// If a byte of a record is in it.
pub(crate) fn absent(what: &str, text: &str) {
    let found = text.lines().find(|line| line.to_ascii_lowercase().contains(CANARY));
    assert!(found.is_none(), "{what} shows a record: {}", found.unwrap_or_default());
}

/// Looks through a header's value if it is one that wasmill adds to dead letters.
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
