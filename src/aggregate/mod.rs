//! The windowed aggregate `std:aggregate`: which key, time and fields a record has, and what is counted and summed over them.
//!
//! An [`Extraction`] finds the key, the time and the fields of a record in one pass over its JSON. [`Functions`] folds the fields into
//! an accumulator, merges two accumulators, and writes the result of a window. An accumulator is a byte string, the *cell*, whose
//! encoding only this module knows. Pure: it knows no windows, no tables and no clock. Invariant: a cell is a function of the records
//! that were folded into it in order, whatever the grouping: folding them one by one or merging parts gives the same bytes.

mod bins;
mod decimal;
mod distinct;
mod edge;
mod emit;
mod encoding;
mod extraction;
mod field;
mod functions;
mod json;
mod number;
mod pointer;
mod quantile;
mod reject;
mod scan;
mod selector;
mod settings;
#[cfg(test)]
mod tests;

pub use emit::ResultWindow;
pub use emit::json_key;
pub use emit::json_time;
pub use extraction::Extraction;
pub use functions::CELL_BYTES_MAX;
pub use functions::Functions;
pub use pointer::Pointer;
pub use reject::CorruptCell;
pub use reject::FoldError;
pub use reject::Reject;
pub use scan::FoundFields;
pub use selector::KeySelector;
pub use selector::TimeField;
pub use selector::TimeSelector;
pub use selector::TimeUnit;
pub use settings::SettingError;
