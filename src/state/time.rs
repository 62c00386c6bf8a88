//! PURE. Event time of one partition, record by record in the order of offsets.
//!
//! The watermark is the greatest time of all earlier records less the lateness: no record before it is expected. A record is judged by
//! the watermark before it, so that a replay judges it alike, whatever the batches. The clock moves the watermark only where no record
//! comes, and rejects records from the future: at least once, a record that is just too far ahead may be accepted when it is read again
//! after a crash. What windows hold, and which of them were shown, others know. Invariant: the watermark never moves back, except to an
//! earlier offset by [`EventTime::rewind`] or [`EventTime::take_back_from`].

use std::collections::VecDeque;

use super::window::Window;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct EventTime {
    window: Window,
    /// Every record below was judged.
    position: i64,
    /// As of the position.
    reading: Reading,
    /// What records at or above `low` changed: what the time was after each of them.
    changes: VecDeque<(i64, Reading)>,
    /// The time after all records below `low`.
    low: Reading,
    /// When the last record arrived, by the clock.
    last_arrival: i64,
}

/// The event time of a partition at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The greatest time of a record; [`NO_TIME`] if there was none.
    pub greatest: i64,
    /// No record before this time is expected; [`NO_TIME`] if nothing is known.
    pub watermark: i64,
}

/// A watermark, or a greatest time, before any record.
pub const NO_TIME: i64 = i64::MIN;

/// What a record's time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// It is in time for the slice that starts here.
    InTime(i64),
    /// A window that it belongs to has closed.
    Late,
    /// It is too far ahead of the clock. The watermark doesn't move.
    Future,
    /// It has no time, or none that a window can have.
    Untimed,
}

impl Reading {
    /// Before any record.
    pub const START: Reading = Reading { greatest: NO_TIME, watermark: NO_TIME };
}

impl EventTime {
    /// The time of a partition that is read from `position`, where it was `reading`.
    pub(super) fn new(window: Window, position: i64, reading: Reading, now: i64) -> EventTime {
        EventTime { window, position, reading, changes: VecDeque::new(), low: reading, last_arrival: now }
    }

    /// Judges the next record. Records come in the order of their offsets.
    pub(super) fn judge(&mut self, offset: i64, time: Option<i64>, now: i64) -> Timing {
        debug_assert!(offset >= self.position.saturating_sub(1), "records are judged in order");
        self.position = self.position.max(offset.saturating_add(1));
        self.last_arrival = now;
        let Some((time, slice)) = time.and_then(|time| Some((time, self.window.slice_of(time)?))) else {
            return Timing::Untimed;
        };
        if time > now.saturating_add(self.window.max_ahead()) {
            return Timing::Future;
        }
        let timing = if self.is_closed(slice) { Timing::Late } else { Timing::InTime(slice) };
        if time > self.reading.greatest {
            let watermark = self.reading.watermark.max(time - self.window.lateness());
            self.reading = Reading { greatest: time, watermark };
            self.changes.push_back((offset, self.reading));
        }
        timing
    }

    /// Records from this offset on are judged again.
    pub(super) fn take_back_from(&mut self, offset: i64) {
        let reading = self.at(offset);
        while self.changes.pop_back_if(|(changed, _)| *changed >= offset).is_some() {}
        (self.position, self.reading) = (self.position.min(offset), reading);
    }

    /// There are no records below this position that were not judged.
    pub(super) fn advance(&mut self, position: i64) {
        self.position = self.position.max(position);
    }

    /// Every record below `low` is settled.
    pub(super) fn settle(&mut self, low: i64) {
        while let Some((_, reading)) = self.changes.pop_front_if(|(offset, _)| *offset < low) {
            self.low = reading;
        }
    }

    /// Moves the watermark to the end of the last window that the clock closes, if there is one. The caller knows that the log was read to
    /// its end and that every record is settled. `last_end` is the end of the last window up to a time that has something to show.
    pub(super) fn close_idle(&mut self, now: i64, last_end: impl FnOnce(i64) -> Option<i64>) -> bool {
        let is_idle = self.window.idle().is_some_and(|idle| now.saturating_sub(self.last_arrival) >= idle);
        let limit = now.saturating_sub(self.window.lateness());
        let end = Some(limit).filter(|_| is_idle && self.changes.is_empty()).and_then(last_end);
        let Some(end) = end.filter(|&end| end > self.reading.watermark) else { return false };
        debug_assert!(end <= limit, "the clock closes no window before its time");
        self.reading.watermark = end;
        self.low = self.reading;
        true
    }

    /// Goes back to an earlier position, where the time was `reading`.
    pub(super) fn rewind(&mut self, position: i64, reading: Reading, now: i64) {
        *self = EventTime::new(self.window, position, reading, now);
    }

    /// Every record below was judged.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// The time after all records that were judged.
    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    /// The time after all records below `low`: what windows are shown by.
    pub(super) fn low(&self) -> Reading {
        self.low
    }

    /// The time after all records below an offset, which is not below `low`.
    pub(super) fn at(&self, offset: i64) -> Reading {
        let below = self.changes.partition_point(|(changed, _)| *changed < offset);
        below.checked_sub(1).map_or(self.low, |last| self.changes[last].1)
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.changes.capacity() * size_of::<(i64, Reading)>()
    }

    /// Whether a window that contains the slice has closed.
    fn is_closed(&self, slice: i64) -> bool {
        self.window.first_end(slice) <= self.reading.watermark
    }
}
