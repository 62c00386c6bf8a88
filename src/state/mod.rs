//! PURE. Keyed state of steps with windows: cells, event time, and the protocol that keeps both exact through crashes.
//!
//! There is one [`WindowedPartition`] for each partition of such a step. It has no clock, thread or Kafka: the worker hands it records,
//! results and acknowledgements, and writes what it is told to. Files in the order in which a record meets them:
//!
//! ```text
//! window, time -> windowed { slot -> cells -> table -> slice -> shelf { undo, heap } } -> show, early -> cycle { changelog } -> restore
//! ```
//!
//! Invariant, checked by the model in `tests/`: after any crashes, the result of every window equals that of a batch over the whole input.

mod cells;
mod changelog;
mod cycle;
mod early;
mod heap;
mod query;
mod restore;
mod shelf;
mod show;
mod slice;
mod slot;
mod table;
mod time;
mod undo;
mod window;
mod windowed;

#[cfg(test)]
mod tests;

pub use cells::Call;
pub use cells::Changes;
pub use cells::Fold;
pub use cells::Malformed;
pub use cells::NO_VALUE;
pub use cells::UNCHANGED;
pub use changelog::CONTROL_KEY;
pub use changelog::CellValue;
pub use changelog::Control;
pub use changelog::DecodeError;
pub use changelog::RecordKey;
pub use changelog::decode_key;
pub use cycle::ChangelogRecord;
pub use cycle::Phase;
pub use cycle::Rewind;
pub use query::CommittedCell;
pub use query::ScanLimit;
pub use restore::Restore;
pub use restore::RestoreError;
pub use show::BatchId;
pub use show::Cursor;
pub use show::Partly;
pub use show::WindowBatch;
pub use slot::Key;
pub use slot::KeyHash;
pub use slot::SLOTS;
pub use slot::Slot;
pub use table::ScanPosition;
pub use time::NO_TIME;
pub use time::Reading;
pub use window::OVERLAP_MAX;
pub use window::SPAN_MAX;
pub use window::TIMES;
pub use window::Window;
pub use window::WindowError;
pub use windowed::Arrival;
pub use windowed::Delivery;
pub use windowed::Judged;
pub use windowed::Settings;
pub use windowed::WindowedPartition;
