//! A value that is never shown: what a file takes from `${...}`, or what may hold such a thing.
//!
//! Its `Debug` is stars and it has no `Display`, so a struct that holds one can be printed. Invariant: reading the text takes
//! the field's name, `.0`, and nothing here does it.

use std::fmt;

/// See the head of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_stars_in_whatever_holds_it() {
        assert_eq!(format!("{:?}", Some(Secret("canary".into()))), "Some(***)");
    }
}
