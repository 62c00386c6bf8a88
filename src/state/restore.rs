//! PURE. Brings a partition's state back from its changelog.
//!
//! The worker reads the changelog from its start to its end and hands every record over, then compares what the control record says with
//! the group's committed offset. A later record of a key replaces an earlier one. Cells of windows that were shown are ignored, as the
//! control record says, and their tombstones are written again in the first cycle. Invariant: any prefix of what a partition wrote, with
//! any records removed that a later one replaces, is restored to a state that leads to the same results.

use thiserror::Error;

use super::changelog::CellValue;
use super::changelog::Control;
use super::changelog::DecodeError;
use super::changelog::RecordKey;
use super::changelog::decode_key;
use super::cycle::Committed;
use super::slot::SLOTS;
use super::table::Table;
use super::windowed::Delivery;
use super::windowed::Settings;
use super::windowed::WindowedPartition;

/// See the head of the file.
#[derive(Clone, Debug)]
pub struct Restore {
    settings: Settings,
    table: Table,
    control: Option<Control>,
}

/// Why a changelog can't be restored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// A record can't be decoded.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// The changelog was written with other windows.
    #[error(
        "the changelog holds windows of {was_size} ms every {was_every} ms, and the step has {size} ms every {every} ms"
    )]
    OtherWindow {
        /// The size in the changelog, in ms.
        was_size: i64,
        /// The slice width in the changelog, in ms.
        was_every: i64,
        /// The step's size, in ms.
        size: i64,
        /// The step's slice width, in ms.
        every: i64,
    },
    /// A cell belongs to a slice that doesn't exist.
    #[error("the changelog holds a cell of a slice at {0} ms, where none starts")]
    NoSlice(i64),
    /// The group's offset and the changelog don't belong together: one of them was reset, or the changelog lost records.
    #[error("the changelog is applied up to offset {applied}, but the group's committed offset is {}", or_none(*.committed))]
    Offsets {
        /// The applied offset.
        applied: i64,
        /// The committed offset.
        committed: Option<i64>,
    },
}

impl Restore {
    /// Begins with nothing restored.
    #[must_use]
    pub fn new(settings: Settings) -> Restore {
        Restore { settings, table: Table::default(), control: None }
    }

    /// Takes the next record of the changelog.
    ///
    /// # Errors
    ///
    /// The record isn't of this step, or unknown to this version of wasmill.
    pub fn read(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        let window = &self.settings.window;
        match decode_key(key)? {
            RecordKey::Control => {
                let control = value.map(Control::decode).transpose()?;
                if let Some(&Control { size: was_size, every: was_every, .. }) = control.as_ref()
                    && (was_size, was_every) != (window.size(), window.every())
                {
                    let (size, every) = (window.size(), window.every());
                    return Err(RestoreError::OtherWindow { was_size, was_every, size, every });
                }
                self.control = control;
            }
            RecordKey::Cell { slice, key } => {
                if !window.is_slice(slice) {
                    return Err(RestoreError::NoSlice(slice));
                }
                let cell = value.map(CellValue::decode).transpose()?;
                self.table.restore(slice, key, cell.map(|CellValue { upto, cell }| (upto, cell)));
            }
        }
        Ok(())
    }

    /// The number of cells so far.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.table.cells()
    }

    /// Memory in use, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory()
    }

    /// The last control record. `None`: the changelog is empty, or its first cycle was not finished.
    #[must_use]
    pub fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }

    /// The changelog was read to its end. `committed` is the group's offset, `start` where reading begins if there is no control record.
    /// The partition is read from [`WindowedPartition::applied`]. `now` is in ms.
    ///
    /// # Errors
    ///
    /// The group's offset doesn't fit the control record.
    pub fn finish(mut self, committed: Option<i64>, start: i64, now: i64) -> Result<WindowedPartition, RestoreError> {
        let state = match self.control {
            None => Committed::start(start),
            Some(Control { applied, reading, shown, versions, .. }) => {
                let fits = match self.settings.delivery {
                    // The control record is written before the offset is committed.
                    Delivery::AtLeastOnce => committed.is_none_or(|committed| committed <= applied),
                    Delivery::ExactlyOnce => committed == Some(applied),
                };
                if !fits {
                    return Err(RestoreError::Offsets { applied, committed });
                }
                Committed { applied, reading, shown, folded: [i64::MIN; SLOTS], versions }
            }
        };
        let window = self.settings.window;
        self.table.drop_slices(false, |slice| window.last_end(slice) <= state.shown.end);
        Ok(WindowedPartition::resume(self.settings, self.table, state, now))
    }
}

fn or_none(offset: Option<i64>) -> String {
    offset.map_or_else(|| "unset".to_owned(), |offset| offset.to_string())
}
