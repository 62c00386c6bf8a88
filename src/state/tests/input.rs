//! The input of a run of the model, and the result that a batch over all of it computes.

use std::collections::BTreeMap;

use super::random::Random;
use crate::state::NO_TIME;
use crate::state::Reading;
use crate::state::Window;

/// A key of the step.
pub(super) type OwnedKey = Option<Vec<u8>>;

/// A record of the source.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) offset: i64,
    /// When it was appended to the log, by the clock.
    pub(super) clock: i64,
    pub(super) time: Option<i64>,
    pub(super) key: OwnedKey,
    pub(super) kind: Kind,
}

/// What the plugin does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its number is appended to the cell.
    Append,
    /// The cell loses its value.
    Remove,
    /// It fails, and the cell stays as it was.
    Fail,
}

/// The final result of each window, by its end and key: the numbers of its records. Each record that is late or fails has an output of its
/// own, with [`NO_TIME`] as its end and its number as its key.
pub(super) type Results = BTreeMap<(i64, OwnedKey), Vec<u8>>;

/// The first offset of the log.
pub(super) const START: i64 = 3;
/// Records that are further ahead of the clock are rejected; those of the input are much further ahead, or much less.
const MAX_AHEAD: i64 = 500;
/// How far ahead of the clock rejected records are.
const FUTURE: i64 = 1_000_000;

/// Windows of any kind.
pub(super) fn random_window(random: &mut Random) -> Window {
    let every = random.pick(&[5, 10, 20]);
    let overlap = random.pick(&[1, 1, 1, 2, 3, 4]);
    let lateness = random.pick(&[0, 0, 4, 15, 30]);
    let window = Window::hopping(every * overlap, every, lateness).unwrap();
    window.with_idle(Some(random.within(5, 40))).unwrap().with_max_ahead(MAX_AHEAD).unwrap()
}

/// Records with disorder, late ones, quiet times, gaps between offsets and several records of one offset.
pub(super) fn random_log(random: &mut Random, lateness: i64) -> Vec<Input> {
    let records = random.within(5, 60);
    let keys = random.within(1, 12);
    let (mut offset, mut clock) = (START, random.pick(&[-300, 0, 1_000]));
    let mut log = Vec::<Input>::new();
    for _ in 0..records {
        let gap = if random.once_in(12) { random.within(20, 120) } else { random.within(0, 4) };
        // Records of one offset come from the same source record.
        clock += if log.last().is_some_and(|last| last.offset == offset) { 0 } else { gap };
        let time = match random.below(20) {
            0 => None,
            1 => Some(random.pick(&[clock + FUTURE, i64::MAX, i64::MIN])),
            2 | 3 => Some(clock - random.within(0, 200)),
            4 => Some(clock + random.within(0, 30)),
            _ => Some(clock - random.within(0, lateness)),
        };
        let key = match random.within(0, keys) {
            0 => None,
            1 => Some(Vec::new()),
            key => Some(format!("key-{key}").into_bytes()),
        };
        let kind = match random.below(12) {
            0 => Kind::Remove,
            1 => Kind::Fail,
            _ => Kind::Append,
        };
        log.push(Input { offset, clock, time, key, kind });
        offset += random.pick(&[0, 1, 1, 1, 1, 1, 1, 3]);
    }
    log
}

/// What the plugin makes of a cell.
pub(super) fn fold(cell: &mut Option<Vec<u8>>, number: usize, kind: Kind) {
    match kind {
        Kind::Append => cell.get_or_insert_default().extend(u16::try_from(number).unwrap().to_be_bytes()),
        Kind::Remove => *cell = None,
        Kind::Fail => {}
    }
}

/// The results of a batch. `controls`: the applied offset and the time of each durable control record. They say where the clock moved the
/// watermark; it may have done so only where the log had ended.
pub(super) fn reference(window: &Window, log: &[Input], controls: &[(i64, Reading)]) -> Results {
    let (size, every, lateness) = (window.size(), window.every(), window.lateness());
    let by_clock: Vec<(i64, i64)> = controls
        .iter()
        .map(|(applied, reading)| (*applied, reading.watermark))
        .filter(|&(applied, watermark)| {
            let next = log.iter().find(|record| record.offset >= applied);
            watermark != NO_TIME && next.is_none_or(|next| next.clock > watermark + lateness)
        })
        .collect();
    let mut watermark = NO_TIME;
    let mut cells: BTreeMap<(OwnedKey, i64), Option<Vec<u8>>> = BTreeMap::new();
    let mut results = Results::new();
    for (number, record) in log.iter().enumerate() {
        for &(_, moved) in by_clock.iter().filter(|(applied, _)| *applied <= record.offset) {
            watermark = watermark.max(moved);
        }
        let Some(time) = record.time.filter(|time| (-FUTURE..record.clock + MAX_AHEAD).contains(time)) else {
            continue;
        };
        let slice = time.div_euclid(every) * every;
        let is_late = slice + every <= watermark;
        if is_late || record.kind == Kind::Fail {
            results.insert((NO_TIME, Some(number.to_be_bytes().to_vec())), Vec::new());
        }
        if !is_late {
            fold(cells.entry((record.key.clone(), slice)).or_default(), number, record.kind);
        }
        watermark = watermark.max(time - lateness);
    }
    for ((key, slice), cell) in cells {
        let Some(cell) = cell else { continue };
        for end in (1..=size / every).map(|n| slice + n * every) {
            results.entry((end, key.clone())).or_default().extend(&cell);
        }
    }
    results
}
