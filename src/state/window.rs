//! PURE. A window's definition, and how windows divide into slices.
//!
//! A window is `size` long and one ends every `every` milliseconds, at multiples of `every`. A record belongs to `size / every` windows
//! but is folded once, into its *slice*: the part of width `every` that its time falls in. A window's result is the merge of its slices.
//! This file knows no records and no clock. Invariant: for a time that [`Window::slice_of`] accepts, no sum in this module overflows.

use std::ops::RangeInclusive;

use thiserror::Error;

/// Event times that are accepted, in milliseconds since 1970-01-01 UTC: 142 million years around it.
pub const TIMES: RangeInclusive<i64> = -(1 << 62)..=1 << 62;
/// The greatest size, lateness, idle time or time ahead, in milliseconds: 17,000 years.
pub const SPAN_MAX: i64 = 1 << 49;
/// The most windows that a record may belong to.
pub const OVERLAP_MAX: i64 = 10_000;

/// See the head of the file. All fields are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    size: i64,
    every: i64,
    lateness: i64,
    idle: Option<i64>,
    max_ahead: i64,
}

/// Why a window can't be defined like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WindowError {
    /// `size`, `every`, `lateness`, `idle` or `max_ahead` is out of range.
    #[error("`{0}` is out of range")]
    Range(&'static str),
    /// Windows would not consist of whole slices.
    #[error("`size` is not a multiple of `every`")]
    Uneven,
    /// More windows overlap than [`OVERLAP_MAX`].
    #[error("a record would belong to more than {OVERLAP_MAX} windows")]
    Overlap,
}

impl Window {
    /// Windows that don't overlap: each begins where the one before ends. They wait `lateness` ms for records that are out of order, close
    /// after 10 seconds without records, and reject records from more than 10 minutes ahead of the clock.
    ///
    /// # Errors
    ///
    /// A value is out of range.
    pub fn tumbling(size: i64, lateness: i64) -> Result<Window, WindowError> {
        Window::hopping(size, size, lateness)
    }

    /// The same for windows that overlap: one ends every `every` ms.
    ///
    /// # Errors
    ///
    /// A value is out of range, or `every` doesn't divide `size`.
    pub fn hopping(size: i64, every: i64, lateness: i64) -> Result<Window, WindowError> {
        let window = Window { size, every, lateness, idle: Some(10_000), max_ahead: 600_000 };
        for (name, value, min) in [("size", size, 1), ("every", every, 1), ("lateness", lateness, 0)] {
            in_range(name, value, min)?;
        }
        if size % every != 0 {
            return Err(WindowError::Uneven);
        }
        if size / every > OVERLAP_MAX {
            return Err(WindowError::Overlap);
        }
        Ok(window)
    }

    /// Closes windows after this many ms without records; `None` never does.
    ///
    /// # Errors
    ///
    /// The value is out of range.
    pub fn with_idle(self, idle: Option<i64>) -> Result<Window, WindowError> {
        idle.map_or(Ok(()), |idle| in_range("idle", idle, 1))?;
        Ok(Window { idle, ..self })
    }

    /// Rejects records from more than this many ms ahead of the clock.
    ///
    /// # Errors
    ///
    /// The value is out of range.
    pub fn with_max_ahead(self, max_ahead: i64) -> Result<Window, WindowError> {
        in_range("max_ahead", max_ahead, 0)?;
        Ok(Window { max_ahead, ..self })
    }

    /// How long a window is, in ms.
    #[must_use]
    pub fn size(&self) -> i64 {
        self.size
    }

    /// The width of a slice, and the time between the ends of two windows, in ms.
    #[must_use]
    pub fn every(&self) -> i64 {
        self.every
    }

    /// How far the watermark is behind the greatest time, in ms.
    #[must_use]
    pub fn lateness(&self) -> i64 {
        self.lateness
    }

    /// After how many ms without records the clock closes windows.
    #[must_use]
    pub fn idle(&self) -> Option<i64> {
        self.idle
    }

    /// How far ahead of the clock a record's time may be, in ms.
    #[must_use]
    pub fn max_ahead(&self) -> i64 {
        self.max_ahead
    }

    /// The start of the slice that a time falls in; `None` if the time is outside [`TIMES`].
    #[must_use]
    pub fn slice_of(&self, time: i64) -> Option<i64> {
        TIMES.contains(&time).then(|| self.floor(time))
    }

    /// Whether a slice may start here.
    #[must_use]
    pub fn is_slice(&self, start: i64) -> bool {
        // The first slice of all may start before the first time.
        start.checked_add(self.every).is_some_and(|end| end > *TIMES.start())
            && start <= *TIMES.end()
            && start.rem_euclid(self.every) == 0
    }

    /// The end of the first window that contains the slice. The slice takes no record once this window has closed, so its cells are final
    /// when the window's result is computed.
    #[must_use]
    pub fn first_end(&self, slice: i64) -> i64 {
        slice.saturating_add(self.every)
    }

    /// The end of the last window that contains the slice. Its cells are not needed any more once this window's results are out.
    #[must_use]
    pub fn last_end(&self, slice: i64) -> i64 {
        slice.saturating_add(self.size)
    }

    /// The starts of the slices of the window that ends here.
    #[must_use]
    pub fn slices(&self, end: i64) -> RangeInclusive<i64> {
        self.start(end)..=end.saturating_sub(self.every)
    }

    /// Where the window starts that ends here.
    #[must_use]
    pub fn start(&self, end: i64) -> i64 {
        end.saturating_sub(self.size)
    }

    /// The last end of a window at or before this time.
    #[must_use]
    pub fn floor(&self, time: i64) -> i64 {
        time.saturating_sub(time.rem_euclid(self.every))
    }
}

fn in_range(name: &'static str, value: i64, min: i64) -> Result<(), WindowError> {
    if (min..=SPAN_MAX).contains(&value) { Ok(()) } else { Err(WindowError::Range(name)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_that_cannot_be_are_refused() {
        assert_eq!(Window::hopping(60, 25, 0), Err(WindowError::Uneven));
        assert_eq!(Window::hopping(20_000, 1, 0), Err(WindowError::Overlap));
        assert_eq!(Window::tumbling(0, 0), Err(WindowError::Range("size")));
        assert_eq!(Window::hopping(60, 0, 0), Err(WindowError::Range("every")));
        assert_eq!(Window::tumbling(60, -1), Err(WindowError::Range("lateness")));
        assert_eq!(Window::tumbling(i64::MAX, 0), Err(WindowError::Range("size")));
        let window = Window::tumbling(60, 0).unwrap();
        assert_eq!(window.with_idle(Some(0)), Err(WindowError::Range("idle")));
        assert_eq!(window.with_max_ahead(i64::MIN), Err(WindowError::Range("max_ahead")));
        assert_eq!(window.with_idle(None).unwrap().idle(), None);
    }

    #[test]
    fn negative_times_fall_into_the_slice_before() {
        let window = Window::hopping(30, 10, 0).unwrap();
        assert_eq!([-11, -10, -1, 0, 9, 10].map(|time| window.slice_of(time).unwrap()), [-20, -10, -10, 0, 0, 10]);
        assert_eq!((window.first_end(-10), window.last_end(-10), window.slices(20)), (0, 20, -10..=10));
        assert_eq!([i64::MIN, i64::MAX].map(|time| window.slice_of(time)), [None, None]);
    }

    proptest! {
        #[test]
        fn a_time_is_in_its_slice_and_the_slice_in_its_windows(
            time in prop_oneof![any::<i64>(), -100_i64..100], every in 1_i64..=1 << 36, overlap in 1_i64..=1000,
        ) {
            let window = Window::hopping(every * overlap, every, 0).unwrap();
            let Some(slice) = window.slice_of(time) else { return Ok(()) };
            prop_assert!(window.is_slice(slice) && (slice..window.first_end(slice)).contains(&time));
            prop_assert_eq!(*window.slices(window.first_end(slice)).end(), slice);
            prop_assert_eq!(*window.slices(window.last_end(slice)).start(), slice);
        }
    }
}
