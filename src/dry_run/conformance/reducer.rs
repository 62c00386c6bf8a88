//! Checks whether a plugin with state keeps the contract: its keys, its cells, their merging and its windows.
//!
//! The host cuts batches freely, keeps the cells of a window in slices, and merges them in any grouping. So cells must be the same
//! bytes however the records are cut into calls, and what `emit` says of a window must be the same however its cells were merged.
//! Merged cells are compared by what `emit` says of them, because an encoding may depend on the order of merging.

use std::collections::BTreeMap;
use std::ops::Range;

use super::BATCHES;
use super::Became;
use super::Call;
use super::Violation;
use super::again;
use super::alone;
use super::calls;
use super::calls::Added;
use super::calls::Cell;
use super::calls::Keyed;
use super::calls::WINDOW;
use super::calls::add_alone;
use super::each;
use super::in_calls_of;
use super::memory;
use super::shown;
use super::told;
use crate::batch::Batch;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::plugin::World;
use crate::record::TopicPartition;

/// The number of cells that the records share, if the plugin finds no keys.
const SHARED_CELLS: usize = 5;
/// How often each record comes if the plugin finds the keys, so that cells have several records.
const REPEATS: usize = 3;

/// Records, each with the number of its cell.
struct Feed {
    batch: Batch,
    names: Vec<String>,
    cells: Vec<usize>,
    /// The key of each cell.
    keys: Vec<Option<Vec<u8>>>,
}

/// Adds the findings about a plugin that starts.
pub(super) fn examine(step: &Step, batch: &Batch, names: &[String], findings: &mut Vec<Violation>) {
    let feed = match step.world() {
        World::ReduceBy => keyed(step, batch, names, findings),
        World::Reduce | World::TransformBatch | World::Transform | World::Several | World::Other => {
            Some(Feed::shared(batch, names))
        }
    };
    let Some(feed) = feed else { return };
    let Some(added) = adding(step, &feed, findings) else { return };
    if added.iter().all(|added| added.cell.is_none()) {
        let result = Err(format!(
            "none of {} records became a cell, so nothing else can be checked: give records that it takes with `--records`",
            added.len()
        ));
        findings.push(Violation::of("a record changes its cell", result));
        return;
    }
    let windows = Windows::of_records(&feed, &added);
    let is_shown = showing(step, &windows, findings);
    let is_merged = merging(step, &windows, findings);
    if is_shown && is_merged {
        let [associative, whole] = parts(step, &feed);
        findings.push(Violation::of("merging is associative", associative));
        findings.push(Violation::of("merged parts are shown as all of their records are", whole));
    }
    let most = |items: usize| items.min(BATCHES[BATCHES.len() - 1]);
    let repeated = |instance: &mut Instance, size| {
        each(most(feed.batch.len()), size, |range| add_alone(instance, &feed.batch, range).map(drop))?;
        each(most(windows.pairs()), size, |range| windows.merge(instance, range).map(drop))?;
        each(most(windows.len()), size, |range| windows.emit(instance, range, true).map(drop))
    };
    findings.push(memory(step, repeated));
}

/// Checks one function: each item in its own instance, and then in one instance, in calls of all sizes. Returns what the items became
/// alone, if everything holds.
fn function<T: PartialEq + std::fmt::Debug + Clone>(
    step: &Step,
    names: &[String],
    call: &Call<'_, T>,
    rules: [&'static str; 2],
    findings: &mut Vec<Violation>,
) -> Option<Vec<T>> {
    let first = alone(step, names, call);
    let expected = first.as_ref().ok().cloned();
    findings.push(Violation::of(rules[0], first.map(|_| ())));
    let expected = expected?;
    let sizes = BATCHES.iter().map(|&size| {
        in_calls_of(step, names, &expected, call, size).map_err(|why| format!("in calls of {size}: {why}"))
    });
    let result = std::iter::once_with(|| again(step, names, &expected, call)).chain(sizes).collect::<Result<(), _>>();
    let holds = result.is_ok();
    findings.push(Violation::of(rules[1], result));
    holds.then_some(expected)
}

/// Checks the keys. Returns the records that have one.
fn keyed(step: &Step, batch: &Batch, names: &[String], findings: &mut Vec<Violation>) -> Option<Feed> {
    let rules = [
        "any record gets a key, is dropped or failed, and breaks nothing",
        "a record gets the same key and time whatever came before, in calls of 1, 7 and 128",
    ];
    let found = function(step, names, &|instance, range| calls::keys(instance, batch, range), rules, findings)?;
    let feed = Feed::keyed(batch, names, &found);
    if feed.batch.is_empty() {
        let result = Err(format!(
            "it found no key for {} records, so nothing else can be checked: give records that it takes with `--records`",
            names.len()
        ));
        findings.push(Violation::of("a record gets a key", result));
        return None;
    }
    Some(feed)
}

impl Feed {
    /// All records, which share a few cells: a pipeline can give any of them the same key.
    fn shared(batch: &Batch, names: &[String]) -> Feed {
        let cells: Vec<usize> = (0..batch.len()).map(|index| index % SHARED_CELLS).collect();
        let keys = (0..SHARED_CELLS.min(batch.len())).map(|cell| batch.record(cell).key.map(<[u8]>::to_vec));
        Feed { batch: batch.clone(), names: names.to_vec(), cells, keys: keys.collect() }
    }

    /// The records that have keys, each several times.
    fn keyed(batch: &Batch, names: &[String], found: &[Keyed]) -> Feed {
        let empty = Batch::new(batch.source().clone());
        let mut feed = Feed { batch: empty, names: Vec::new(), cells: Vec::new(), keys: Vec::new() };
        let mut known: BTreeMap<&Option<Vec<u8>>, usize> = BTreeMap::new();
        for _ in 0..REPEATS {
            for (index, keyed) in found.iter().enumerate() {
                let Keyed::Key(key, _) = keyed else { continue };
                let cell = *known.entry(key).or_insert_with(|| {
                    feed.keys.push(key.clone());
                    feed.keys.len() - 1
                });
                let record = batch.record(index);
                let offset = i64::try_from(feed.names.len()).unwrap_or(i64::MAX);
                feed.batch.push_columns(offset, record.timestamp, 0, record.key, record.value, record.headers);
                feed.names.push(names[index].clone());
                feed.cells.push(cell);
            }
        }
        feed
    }
}

/// Checks how records are folded. Returns what each became with an empty cell.
fn adding(step: &Step, feed: &Feed, findings: &mut Vec<Violation>) -> Option<Vec<Added>> {
    let rules = [
        "any record is folded into its cell or failed, and breaks nothing",
        "a record becomes the same cell whatever came before, in calls of 1, 7 and 128",
    ];
    let call: &Call<'_, Added> = &|instance, range| add_alone(instance, &feed.batch, range);
    let added = function(step, &feed.names, call, rules, findings)?;
    let one_by_one = one_by_one(step, feed);
    let expected = one_by_one.as_ref().ok().cloned();
    findings.push(Violation::of("a failed record leaves its cell as it was", one_by_one.map(|_| ())));
    let expected = expected?;
    let sizes = BATCHES
        .iter()
        .map(|&size| in_shared_cells(step, feed, &expected, size).map_err(|why| format!("in calls of {size}: {why}")));
    let result = sizes.collect::<Result<(), _>>();
    let holds = result.is_ok();
    findings.push(Violation::of("records that share cells become the same in calls of 1, 7 and 128", result));
    holds.then_some(added)
}

/// Folds records into the cells that they share. An error about the whole call makes the host run each record alone.
fn fold(instance: &mut Instance, feed: &Feed, range: Range<usize>, cells: &mut [Cell]) -> Result<Vec<bool>, String> {
    let of = &feed.cells[range.clone()];
    match calls::add(instance, &feed.batch, range.clone(), of, cells) {
        Ok(folded) => {
            calls::apply(&folded.changed, &calls::distinct(of).0, cells);
            let mut failed = vec![false; range.len()];
            folded.failed.iter().for_each(|record| failed[record.index] = true);
            Ok(failed)
        }
        Err(failure) if failure.kind == Kind::Error && range.len() == 1 => Ok(vec![true]),
        Err(failure) if failure.kind == Kind::Error => {
            let each: Result<Vec<_>, _> =
                range.map(|index| fold(instance, feed, index..index + 1, &mut *cells)).collect();
            Ok(each?.concat())
        }
        Err(failure) => Err(told(&feed.names, range.start, &failure)),
    }
}

/// Folds the records one by one. Returns each record's cell after it, and whether it failed.
fn one_by_one(step: &Step, feed: &Feed) -> Result<Vec<(Cell, bool)>, String> {
    let mut instance = step.instantiate().map_err(|failure| failure.to_string())?;
    let mut cells = vec![None; feed.keys.len()];
    let mut expected = Vec::new();
    for (index, &cell) in feed.cells.iter().enumerate() {
        let before = cells[cell].clone();
        let failed = fold(&mut instance, feed, index..index + 1, &mut cells)?.contains(&true);
        if failed && cells[cell] != before {
            let (name, after) = (&feed.names[index], &cells[cell]);
            return Err(format!("{name}: it failed, and its cell was {} and is {}", shown(&before), shown(after)));
        }
        expected.push((cells[cell].clone(), failed));
    }
    Ok(expected)
}

fn in_shared_cells(step: &Step, feed: &Feed, expected: &[(Cell, bool)], size: usize) -> Result<(), String> {
    let mut instance = step.instantiate().map_err(|failure| failure.to_string())?;
    let mut cells = vec![None; feed.keys.len()];
    for start in (0..feed.cells.len()).step_by(size) {
        let range = start..feed.cells.len().min(start + size);
        let failed = fold(&mut instance, feed, range.clone(), &mut cells)?;
        let mut last = BTreeMap::new();
        for (index, failed) in range.zip(failed) {
            if failed != expected[index].1 {
                let (was, is) = if failed { ("didn't fail", "fails") } else { ("failed", "doesn't fail") };
                return Err(format!("{}: alone it {was}, and now it {is}", feed.names[index]));
            }
            last.insert(feed.cells[index], index);
        }
        for (cell, index) in last {
            let (before, after) = (&expected[index].0, &cells[cell]);
            if before != after {
                let (name, before, after) = (&feed.names[index], shown(before), shown(after));
                return Err(format!("{name}: after it the cell was {before} in calls of 1, and now it is {after}"));
            }
        }
    }
    Ok(())
}

/// Windows to be shown and cells to be merged: for each one a key and a cell.
#[derive(Default)]
struct Windows {
    names: Vec<String>,
    pair_names: Vec<String>,
    keys: Vec<Option<Vec<u8>>>,
    cells: Vec<Vec<u8>>,
}

impl Windows {
    /// A window for each record that became a cell.
    fn of_records(feed: &Feed, added: &[Added]) -> Windows {
        let mut windows = Windows::default();
        let mut records = Vec::new();
        for (index, added) in added.iter().enumerate() {
            let Some(cell) = &added.cell else { continue };
            records.push(&feed.names[index]);
            windows.keys.push(feed.keys[feed.cells[index]].clone());
            windows.cells.push(cell.clone());
        }
        windows.names = records.iter().map(|record| format!("the window of {record}")).collect();
        let pairs = records.windows(2);
        windows.pair_names = pairs.map(|pair| format!("the cells of {} and {}", pair[0], pair[1])).collect();
        windows
    }

    fn len(&self) -> usize {
        self.cells.len()
    }

    /// Each cell makes a pair with the next one.
    fn pairs(&self) -> usize {
        self.pair_names.len()
    }

    fn merge(&self, instance: &mut Instance, pairs: Range<usize>) -> Result<Vec<Cell>, Failure> {
        let pairs: Vec<_> = pairs.map(|pair| (self.cells[pair].clone(), self.cells[pair + 1].clone())).collect();
        calls::merge(instance, &pairs)
    }

    fn emit(&self, instance: &mut Instance, windows: Range<usize>, closed: bool) -> Result<Vec<Became>, Failure> {
        let mut batch = window_batch();
        for (number, index) in (0..).zip(windows) {
            let (key, cell) = (self.keys[index].as_deref(), &self.cells[index]);
            batch.push(number, WINDOW.1 - 1, 0, key, Some(cell), std::iter::empty());
        }
        calls::emit(instance, &batch, closed)
    }
}

/// Checks how windows are shown. Returns whether the rules hold.
fn showing(step: &Step, windows: &Windows, findings: &mut Vec<Violation>) -> bool {
    let early = [
        "any window is shown before it closes, and breaks nothing",
        "a window is shown the same whatever came before, in calls of 1, 7 and 128",
    ];
    let closed = [
        "any window is shown when it closes, and breaks nothing",
        "a closed window is shown the same whatever came before, in calls of 1, 7 and 128",
    ];
    let call = |is_closed| move |instance: &mut Instance, range| windows.emit(instance, range, is_closed);
    let early = function(step, &windows.names, &call(false), early, findings);
    let closed = function(step, &windows.names, &call(true), closed, findings);
    early.is_some() && closed.is_some()
}

/// Checks how pairs are merged. Returns whether the rules hold.
fn merging(step: &Step, windows: &Windows, findings: &mut Vec<Violation>) -> bool {
    let rules = [
        "any two cells are merged, and break nothing",
        "two cells become the same cell whatever came before, in calls of 1, 7 and 128",
    ];
    let call: &Call<'_, Cell> = &|instance, range| windows.merge(instance, range);
    function(step, &windows.pair_names, call, rules, findings).is_some()
}

/// What a cell is shown as, made of three parts of its records in four ways.
struct Grouped {
    /// `(a+b)+c`
    left: Option<Became>,
    /// `a+(b+c)`
    right: Option<Became>,
    /// `a+b`, and the records of `c` added to it.
    added: Option<Became>,
    /// All records added.
    all: Option<Became>,
}

/// Splits the records of each cell into three parts. The first result is whether the grouping of their merges matters, the second
/// whether the cell is shown as the one that all records made.
fn parts(step: &Step, feed: &Feed) -> [Result<(), String>; 2] {
    let (mut associative, mut whole) = (Ok(()), Ok(()));
    for cell in 0..feed.keys.len() {
        let records: Vec<usize> = (0..feed.cells.len()).filter(|&index| feed.cells[index] == cell).collect();
        let [first, _, _, ..] = records[..] else { continue };
        let name = format!("the cell of {} and {} more", feed.names[first], records.len() - 1);
        let Grouped { left, right, added, all } = match grouped(step, feed, &records) {
            Ok(grouped) => grouped,
            Err(why) => return [Err(format!("{name}: {why}")), Ok(())],
        };
        associative = associative.and_then(|()| alike(&name, ["(a+b)+c", "a+(b+c)"], [&left, &right]));
        whole = whole
            .and_then(|()| alike(&name, ["merged from three parts", "added in one"], [&left, &all]))
            .and_then(|()| alike(&name, ["merged and then added to", "added in one"], [&added, &all]));
    }
    [associative, whole]
}

fn grouped(step: &Step, feed: &Feed, records: &[usize]) -> Result<Grouped, String> {
    let mut instance = step.instantiate().map_err(|failure| failure.to_string())?;
    let (first, rest) = records.split_at(records.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    let a = folded(&mut instance, feed, first, None)?;
    let b = folded(&mut instance, feed, second, None)?;
    let c = folded(&mut instance, feed, third, None)?;
    let all = folded(&mut instance, feed, records, None)?;
    let merged = |instance: &mut Instance, one: &Cell, other: &Cell| match (one, other) {
        (Some(one), Some(other)) => {
            let merged = calls::merge(instance, &[(one.clone(), other.clone())]);
            merged.map(|merged| merged.into_iter().next().flatten()).map_err(|failure| failure.to_string())
        }
        (one, other) => Ok(one.clone().or_else(|| other.clone())),
    };
    let ab = merged(&mut instance, &a, &b)?;
    let bc = merged(&mut instance, &b, &c)?;
    let left = merged(&mut instance, &ab, &c)?;
    let right = merged(&mut instance, &a, &bc)?;
    let added = folded(&mut instance, feed, third, ab)?;
    let key = records.first().and_then(|&first| feed.keys[feed.cells[first]].as_deref());
    let mut seen = |cell| seen(&mut instance, key, cell);
    Ok(Grouped { left: seen(left)?, right: seen(right)?, added: seen(added)?, all: seen(all)? })
}

/// The cell that these records make of `cell`.
fn folded(instance: &mut Instance, feed: &Feed, records: &[usize], cell: Cell) -> Result<Cell, String> {
    let mut cells = vec![None; feed.keys.len()];
    let Some(&first) = records.first() else { return Ok(cell) };
    let number = feed.cells[first];
    cells[number] = cell;
    for &index in records {
        fold(instance, feed, index..index + 1, &mut cells)?;
    }
    Ok(cells[number].take())
}

/// What a cell's window is shown as; nothing without a cell.
fn seen(instance: &mut Instance, key: Option<&[u8]>, cell: Cell) -> Result<Option<Became>, String> {
    let Some(cell) = cell else { return Ok(None) };
    let mut batch = window_batch();
    batch.push(0, WINDOW.1 - 1, 0, key, Some(&cell), std::iter::empty());
    let became = calls::emit(instance, &batch, true).map_err(|failure| failure.to_string())?;
    Ok(became.into_iter().next())
}

fn window_batch() -> Batch {
    Batch::new(TopicPartition { topic: "conformance".into(), partition: 0 })
}

fn alike(name: &str, how: [&str; 2], shown_as: [&Option<Became>; 2]) -> Result<(), String> {
    if shown_as[0] == shown_as[1] {
        return Ok(());
    }
    let [one, other] = shown_as.map(shown);
    Err(format!("{name}: {} it is shown as {one}, and {} as {other}", how[0], how[1]))
}
