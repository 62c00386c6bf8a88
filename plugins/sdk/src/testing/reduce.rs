//! Runs a plugin with keyed state natively: windows are opened, merged and closed as in the host, through the same columns.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::Failure;
use crate::Instance;
use crate::KeyBy;
use crate::Reduce;
use crate::bindings::keyer::exports::wasmill::plugin::keyer::Extracted;
use crate::bindings::reducer::exports::wasmill::plugin::reducer::Windows;
use crate::bindings::reducer::wasmill::plugin::cells::Cells;
use crate::bindings::reducer::wasmill::plugin::cells::Changes;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::emitter::SAME;
use crate::log::Level;
use crate::record::take;

use super::CAPTURED;
use super::Input;
use super::Tested;
use super::batch;
use super::field;
use super::from_contract;
use super::read;
use super::source;

/// The number of records of a call, unless the test chooses another.
const PER_CALL: usize = 128;

/// `None` is the null key.
type Key = Option<Vec<u8>>;
/// What finds keys and times, for plugins that do.
type Keys<R> = fn(&Instance<R>, &Batch) -> Result<Extracted, String>;

/// A plugin with keyed state under test.
///
/// Records wait until there are enough for a call, or until something asks for results. Time stands still until
/// [`advance_to`](ReduceHarness::advance_to): there is no `lateness` here. As in the host, a record belongs to the slice of time that
/// its window's `every` cuts, and a window is merged from its slices when it is shown. A failed record is not retried.
///
/// ```
/// use std::time::Duration;
///
/// use wasmill_sdk::testing::Input;
/// use wasmill_sdk::testing::ReduceHarness;
/// # use wasmill_sdk::{Emitter, Record, Reduce, Verdict, Window, reject};
/// # struct Count;
/// # impl Reduce for Count {
/// #     type Acc = u64;
/// #     fn init(_: &str, _: &[String]) -> Result<Self, String> { Ok(Count) }
/// #     fn add(&mut self, count: &mut u64, record: Record<'_>) -> Verdict {
/// #         *count += 1;
/// #         if record.value.is_none() { Err(reject("no-value", "it is a tombstone")) } else { Ok(()) }
/// #     }
/// #     fn merge(&mut self, count: &mut u64, later: u64) { *count += later; }
/// #     fn emit(&mut self, _: Window<'_>, count: &u64, out: &mut Emitter<'_>) -> Verdict {
/// #         out.output(0).value(Some(count.to_string().as_bytes()));
/// #         Ok(())
/// #     }
/// # }
///
/// // Windows of ten seconds, one every five seconds.
/// let (size, every) = (Duration::from_secs(10), Duration::from_secs(5));
/// let mut count = ReduceHarness::<Count>::new("{}", &["main"], size, every)?;
/// count.push(Input::value("a").key("k").timestamp(7_000));
/// count.push(Input::value("b").key("k").timestamp(12_000));
/// count.push(Input::tombstone().key("k").timestamp(13_000));
/// assert_eq!(count.failures()[0].1.to_string(), "reject (no-value): it is a tombstone");
///
/// let windows = count.close_all()?;
/// let text = |n: usize| String::from_utf8(windows[n].outputs.clone().unwrap()[0].value.clone().unwrap()).unwrap();
/// assert_eq!((windows[0].start, windows[0].end, text(0)), (0, 10_000, "1".to_owned()));
/// assert_eq!((windows[1].start, windows[1].end, text(1)), (5_000, 15_000, "2".to_owned()));
/// assert_eq!((windows[2].start, windows[2].end, text(2)), (10_000, 20_000, "1".to_owned()));
///
/// count.push(Input::value("c").key("k").timestamp(12_000));
/// assert_eq!(count.late(), 1);
/// # Ok::<(), String>(())
/// ```
pub struct ReduceHarness<R> {
    plugin: Instance<R>,
    keys: Option<Keys<R>>,
    /// The length of a window, and from one window to the next, in milliseconds.
    size: i64,
    every: i64,
    per_call: usize,
    waiting: Vec<(i64, Input)>,
    /// The cells by the start of their slice and their key.
    cells: BTreeMap<(i64, Key), Vec<u8>>,
    /// Windows that end here or before are closed.
    watermark: i64,
    late: u64,
    dropped: u64,
    failures: Vec<(i64, Failure)>,
    next_offset: i64,
}

/// A window of one key that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The first millisecond of the window.
    pub start: i64,
    /// The first millisecond after it.
    pub end: i64,
    /// What the plugin emitted, or why it failed.
    pub outputs: Tested,
}

/// A record of which the place is known.
struct Placed {
    offset: i64,
    input: Input,
    slice: i64,
    key: Key,
}

impl<R: Reduce> ReduceHarness<R> {
    /// Creates the plugin with these settings (a JSON object) and ports, for windows of the length `size`, of which one begins at each
    /// multiple of `every`; if the two are equal, windows don't overlap. A record's key is its own key, and its time is its timestamp.
    /// Clears what earlier plugins on this thread logged and counted.
    ///
    /// # Errors
    /// The error that the plugin's `init` returns.
    ///
    /// # Panics
    /// If `every` is shorter than a millisecond, or doesn't divide `size`.
    pub fn new(settings: &str, ports: &[&str], size: Duration, every: Duration) -> Result<ReduceHarness<R>, String> {
        ReduceHarness::with(settings, ports, size, every, None)
    }

    fn with(
        settings: &str,
        ports: &[&str],
        size: Duration,
        every: Duration,
        keys: Option<Keys<R>>,
    ) -> Result<ReduceHarness<R>, String> {
        CAPTURED.take();
        let plugin = Instance::new();
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        plugin.init(|| R::init(settings, &ports))?;
        let [size, every] =
            [size, every].map(|length| i64::try_from(length.as_millis()).expect("a window is shorter than that"));
        assert!(every > 0 && size > 0 && size % every == 0, "`every` ({every} ms) must divide `size` ({size} ms)");
        Ok(ReduceHarness {
            plugin,
            keys,
            size,
            every,
            per_call: PER_CALL,
            waiting: Vec::new(),
            cells: BTreeMap::new(),
            watermark: i64::MIN,
            late: 0,
            dropped: 0,
            failures: Vec::new(),
            next_offset: 0,
        })
    }

    /// Sets how many records a call has; without it 128. The results must not depend on it.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn records_per_call(self, records: usize) -> ReduceHarness<R> {
        assert!(records > 0, "a call has at least one record");
        ReduceHarness { per_call: records, ..self }
    }

    /// Adds a record of partition 0 of the topic `test`, and returns its offset.
    ///
    /// # Panics
    /// If the plugin panics.
    pub fn push(&mut self, input: Input) -> i64 {
        let offset = self.next_offset;
        self.next_offset += 1;
        self.waiting.push((offset, input));
        if self.waiting.len() >= self.per_call {
            self.run();
        }
        offset
    }

    /// The records that failed so far: their offsets, and why. A record without a timestamp fails, as in the host.
    pub fn failures(&mut self) -> &[(i64, Failure)] {
        self.run();
        &self.failures
    }

    /// The number of records so far that came after a window of theirs had closed.
    pub fn late(&mut self) -> u64 {
        self.run();
        self.late
    }

    /// The number of records so far that [`KeyBy::key`] dropped.
    pub fn dropped(&mut self) -> u64 {
        self.run();
        self.dropped
    }

    /// Closes all windows that end at this time or before, and returns them by time and key.
    ///
    /// # Errors
    /// The error of a call of `merge` or `emit`, in which case nothing is closed.
    pub fn advance_to(&mut self, time: i64) -> Result<Vec<Shown>, String> {
        self.run();
        let shown = self.show(self.watermark, time, true)?;
        self.watermark = self.watermark.max(time);
        self.cells.retain(|(slice, _), _| slice.saturating_add(self.size) > self.watermark);
        Ok(shown)
    }

    /// Closes all windows, and returns them by time and key.
    ///
    /// # Errors
    /// As [`advance_to`](ReduceHarness::advance_to).
    pub fn close_all(&mut self) -> Result<Vec<Shown>, String> {
        self.run();
        let last = self.cells.keys().next_back().map(|(slice, _)| slice.saturating_add(self.size));
        last.map_or(Ok(Vec::new()), |end| self.advance_to(end))
    }

    /// Shows all open windows without closing them, and returns them by time and key.
    ///
    /// # Errors
    /// As [`advance_to`](ReduceHarness::advance_to).
    pub fn show_open(&mut self) -> Result<Vec<Shown>, String> {
        self.run();
        self.show(self.watermark, i64::MAX, false)
    }

    /// The stored bytes of the accumulator of a key, for the slice of time in which `time` is.
    pub fn cell(&mut self, key: Option<&[u8]>, time: i64) -> Option<&[u8]> {
        self.run();
        self.cells.get(&(self.slice(time), key.map(<[u8]>::to_vec))).map(Vec::as_slice)
    }

    /// Sets the stored bytes of such an accumulator: those of an older version of the plugin, to test [`Reduce::upgrade`].
    pub fn set_cell(&mut self, key: Option<&[u8]>, time: i64, cell: impl Into<Vec<u8>>) {
        self.run();
        self.cells.insert((self.slice(time), key.map(<[u8]>::to_vec)), cell.into());
    }

    /// What the plugin logged since it was created.
    #[must_use]
    pub fn logs(&self) -> Vec<(Level, String)> {
        CAPTURED.with_borrow(|captured| captured.logs.clone())
    }

    /// The sum that successful calls added to a counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        CAPTURED.with_borrow(|captured| captured.counters.get(name).copied().unwrap_or(0))
    }

    /// The values that were added to a histogram.
    #[must_use]
    pub fn observations(&self, name: &str) -> Vec<f64> {
        CAPTURED.with_borrow(|captured| captured.observations.get(name).cloned().unwrap_or_default())
    }

    fn slice(&self, time: i64) -> i64 {
        time.div_euclid(self.every) * self.every
    }

    /// Runs the records that wait.
    fn run(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        let placed = self.placed(waiting);
        if !placed.is_empty() {
            self.add(placed);
        }
        self.failures.sort_by_key(|(offset, _)| *offset);
    }

    /// The records with their places, without those that are late, dropped or failed.
    fn placed(&mut self, records: Vec<(i64, Input)>) -> Vec<Placed> {
        let mut placed = Vec::new();
        for (offset, input, key, time) in self.keyed(records) {
            let Some(time) = time else {
                self.failures.push((offset, crate::reject("no-time", "the record has no timestamp")));
                continue;
            };
            let slice = self.slice(time);
            if slice.saturating_add(self.every) <= self.watermark {
                self.late += 1;
            } else {
                placed.push(Placed { offset, input, slice, key });
            }
        }
        placed
    }

    /// The records with their keys and times, without those that the plugin drops or fails.
    fn keyed(&mut self, records: Vec<(i64, Input)>) -> Vec<(i64, Input, Key, Option<i64>)> {
        let own = |(offset, input): (i64, Input)| {
            let (key, time) = (input.key.clone(), input.timestamp);
            (offset, input, key, time)
        };
        let Some(keys) = self.keys else { return records.into_iter().map(own).collect() };
        match keys(&self.plugin, &batch(records.iter().map(|(offset, input)| (*offset, input)))) {
            Ok(extracted) => self.extracted(records, extracted),
            Err(reason) if records.len() == 1 => {
                self.failures.push((records[0].0, Failure::Error { reason }));
                Vec::new()
            }
            // The host runs the records of such a call one by one.
            Err(_) => records.into_iter().flat_map(|record| self.keyed(vec![record])).collect(),
        }
    }

    fn extracted(&mut self, records: Vec<(i64, Input)>, keys: Extracted) -> Vec<(i64, Input, Key, Option<i64>)> {
        let Extracted { lengths, data, times, failures } = keys;
        assert_eq!(lengths.len(), records.len(), "`keys` answers with one length for each record");
        let mut data = &data[..];
        let mut failures = failures.into_iter().peekable();
        let mut keyed = Vec::new();
        for (index, ((offset, input), length)) in records.into_iter().zip(lengths).enumerate() {
            if let Some(failed) = failures.next_if(|failed| failed.index as usize == index) {
                self.failures.push((offset, from_contract(failed.failure)));
            } else if length == SAME {
                self.dropped += 1;
            } else {
                let key = take(&mut data, length).map(<[u8]>::to_vec);
                let time = times.get(index).copied().filter(|time| *time >= 0).or(input.timestamp);
                keyed.push((offset, input, key, time));
            }
        }
        assert!(data.is_empty(), "`keys` answers with the bytes that the lengths name");
        keyed
    }

    /// Adds records in one call, or one by one if the call fails.
    fn add(&mut self, mut records: Vec<Placed>) {
        let mut places: Vec<(i64, Key)> = Vec::new();
        let mut cells = Cells { index: Vec::new(), lengths: Vec::new(), data: Vec::new() };
        for record in &records {
            let place = (record.slice, record.key.clone());
            let number = places.iter().position(|known| *known == place).unwrap_or_else(|| {
                cells.lengths.push(field(&mut cells.data, self.cells.get(&place).map(Vec::as_slice)));
                places.push(place);
                places.len() - 1
            });
            cells.index.push(u32::try_from(number).expect("a test has few cells"));
        }
        let records_of_call = batch(records.iter().map(|record| (record.offset, &record.input)));
        match self.plugin.add(&source(), &records_of_call, &cells) {
            Ok(folded) => {
                for failed in folded.failures {
                    let offset = records[failed.index as usize].offset;
                    self.failures.push((offset, from_contract(failed.failure)));
                }
                for (place, cell) in places.into_iter().zip(changed(&folded.changes)) {
                    cell.apply(&mut self.cells, place);
                }
            }
            Err(reason) if records.len() == 1 => self.failures.push((records[0].offset, Failure::Error { reason })),
            // The host runs the records of such a call one by one.
            Err(_) => records.drain(..).for_each(|record| self.add(vec![record])),
        }
    }

    /// Shows the windows that end after `after`, up to `until`.
    fn show(&self, after: i64, until: i64, closed: bool) -> Result<Vec<Shown>, String> {
        let (size, every) = (self.size, self.every);
        let slices: BTreeSet<i64> = self.cells.keys().map(|(slice, _)| *slice).collect();
        let of_slice = |slice: i64| (0..size / every).map(move |back| slice - back * every);
        let starts: BTreeSet<i64> = slices.into_iter().flat_map(of_slice).collect();
        let mut shown = Vec::new();
        for start in starts {
            let end = start + size;
            if end > after && end <= until {
                shown.extend(self.emit(start, end, closed)?);
            }
        }
        Ok(shown)
    }

    /// Shows the windows of one time, of all keys.
    fn emit(&self, start: i64, end: i64, closed: bool) -> Result<Vec<Shown>, String> {
        let windows = self.merged(start, end)?;
        let keys: Vec<Key> = windows.keys().cloned().collect();
        let of_window = |(key, value): (Key, Vec<u8>)| Input {
            key,
            value: Some(value),
            timestamp: Some(end - 1),
            ..Input::default()
        };
        let inputs: Vec<Input> = windows.into_iter().map(of_window).collect();
        let (starts, ends) = (vec![start; inputs.len()], vec![end; inputs.len()]);
        let outcome = self.plugin.emit(&Windows { keyed: batch((0..).zip(&inputs)), starts, ends, closed })?;
        let outputs = read(&inputs, outcome);
        Ok(keys.into_iter().zip(outputs).map(|(key, outputs)| Shown { key, start, end, outputs }).collect())
    }

    /// The cells of a window, merged from its slices by time.
    fn merged(&self, start: i64, end: i64) -> Result<BTreeMap<Key, Vec<u8>>, String> {
        let mut merged = BTreeMap::new();
        let mut at = start;
        while at < end {
            let slice = self.cells.range((at, None)..(at + self.every, None));
            let mut pairs = Cells { index: Vec::new(), lengths: Vec::new(), data: Vec::new() };
            let mut keys = Vec::new();
            for ((_, key), cell) in slice {
                let Some(earlier) = merged.get(key) else {
                    merged.insert(key.clone(), cell.clone());
                    continue;
                };
                for cell in [earlier, cell] {
                    pairs.lengths.push(field(&mut pairs.data, Some(cell)));
                }
                keys.push(key.clone());
            }
            if !keys.is_empty() {
                let changes = self.plugin.merge(&pairs)?;
                for (key, cell) in keys.into_iter().zip(changed(&changes)) {
                    cell.apply(&mut merged, key);
                }
            }
            at += self.every;
        }
        Ok(merged)
    }
}

impl<R: KeyBy> ReduceHarness<R> {
    /// Like [`new`](ReduceHarness::new), for a plugin that finds keys and times itself.
    ///
    /// # Errors
    /// As [`new`](ReduceHarness::new).
    ///
    /// # Panics
    /// As [`new`](ReduceHarness::new).
    pub fn keyed_by(
        settings: &str,
        ports: &[&str],
        size: Duration,
        every: Duration,
    ) -> Result<ReduceHarness<R>, String> {
        ReduceHarness::with(settings, ports, size, every, Some(|plugin, batch| plugin.keys(batch)))
    }
}

impl<R> fmt::Debug for ReduceHarness<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReduceHarness")
            .field("next_offset", &self.next_offset)
            .field("cells", &self.cells.len())
            .finish_non_exhaustive()
    }
}

/// What became of a cell.
enum Changed<'a> {
    Same,
    Removed,
    New(&'a [u8]),
}

impl Changed<'_> {
    fn apply<K: Ord>(self, cells: &mut BTreeMap<K, Vec<u8>>, place: K) {
        match self {
            Changed::Same => {}
            Changed::Removed => {
                cells.remove(&place);
            }
            Changed::New(bytes) => {
                cells.insert(place, bytes.to_vec());
            }
        }
    }
}

/// The cells of a call's answer, as the host reads them.
fn changed(changes: &Changes) -> impl Iterator<Item = Changed<'_>> {
    let mut data = &changes.data[..];
    changes.lengths.iter().map(move |&length| match take(&mut data, length) {
        Some(bytes) => Changed::New(bytes),
        None if length == SAME => Changed::Same,
        None => Changed::Removed,
    })
}
