//! Why a record is rejected, and why a cell can't be read.
//!
//! It only names the errors. A [`Reject`] is about one record and goes to the step's policy; a [`CorruptCell`] is about stored state,
//! so no policy for records may handle it.

use std::fmt;

/// A record that the step can't use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// A short and stable code, of `[a-z0-9-]`.
    pub code: &'static str,
    /// For people: a lowercase fragment without a full stop.
    pub reason: String,
}

impl Reject {
    pub(super) fn new(code: &'static str, reason: String) -> Reject {
        Reject { code, reason }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Reject {}

/// A cell that this version of wasmill didn't write with these functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptCell {
    /// What is wrong with it: a lowercase fragment.
    pub what: &'static str,
}

impl CorruptCell {
    pub(super) const fn new(what: &'static str) -> CorruptCell {
        CorruptCell { what }
    }
}

impl fmt::Display for CorruptCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored accumulator is corrupt: {}", self.what)
    }
}

impl std::error::Error for CorruptCell {}

/// Why a record couldn't be folded into a cell, or two cells couldn't be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoldError {
    /// The record can't be used, or a result has no room. The cell is as it was before.
    Reject(Reject),
    /// The cell can't be read.
    Corrupt(CorruptCell),
}

impl fmt::Display for FoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldError::Reject(reject) => reject.fmt(f),
            FoldError::Corrupt(corrupt) => corrupt.fmt(f),
        }
    }
}

impl std::error::Error for FoldError {}

impl From<Reject> for FoldError {
    fn from(reject: Reject) -> FoldError {
        FoldError::Reject(reject)
    }
}

impl From<CorruptCell> for FoldError {
    fn from(corrupt: CorruptCell) -> FoldError {
        FoldError::Corrupt(corrupt)
    }
}
