//! The table against a simple one: maps of all cells as of now, the last cut and the last commit, under random operations.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::input::OwnedKey;
use super::random::Random;
use crate::state::Changes;
use crate::state::Fold;
use crate::state::KeyHash;
use crate::state::NO_VALUE;
use crate::state::ScanPosition;
use crate::state::UNCHANGED;
use crate::state::table::Progress;
use crate::state::table::Table;

type Cells = BTreeMap<(i64, OwnedKey), Option<Vec<u8>>>;

#[derive(Default)]
struct Simple {
    now: Cells,
    /// As of the last cut.
    cut: Cells,
    committed: Cells,
    /// What the open cycle changed, and what the sealed one did.
    changed: [BTreeSet<(i64, OwnedKey)>; 2],
    /// Recorded cells that the open cycle dropped, and those that the sealed one did.
    dropped: [BTreeSet<(i64, OwnedKey)>; 2],
    is_sealed: bool,
}

#[test]
fn the_table_equals_a_simple_one() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let (mut table, mut simple, mut first_slice) = (Table::default(), Simple::default(), 0);
        for step in 0..150 {
            match random.below(16) {
                0 if !simple.is_sealed => cut(&mut table, &mut simple),
                1 | 2 if simple.is_sealed => commit(&mut random, &mut table, &mut simple),
                3 if random.once_in(4) => undo(&mut table, &mut simple, &mut first_slice),
                4 if random.once_in(2) => {
                    first_slice += 1;
                    drop_before(&mut table, &mut simple, first_slice);
                }
                _ => call(&mut random, &mut table, &mut simple, first_slice),
            }
            compare(&mut random, &table, &simple, &format!("seed {seed}, step {step}"));
        }
    }
}

/// Changes cells of one slot.
fn call(random: &mut Random, table: &mut Table, simple: &mut Simple, first_slice: i64) {
    let own: OwnedKey = if random.once_in(8) { None } else { Some(key(random)) };
    let slot = KeyHash::of(own.as_deref()).slot();
    let mut records: Vec<(i64, OwnedKey)> = vec![(first_slice, own)];
    for _ in 0..40 {
        let other = Some(key(random));
        if KeyHash::of(other.as_deref()).slot() == slot {
            records.push((first_slice + random.within(0, 2), other));
        }
    }
    let folds = records.iter().map(|(slice, key)| Fold {
        offset: 1,
        slice: *slice,
        key: key.as_deref(),
        hash: KeyHash::of(key.as_deref()),
    });
    let call = table.fetch(slot, 0, folds);
    let mut distinct = Vec::new();
    for record in &records {
        if !distinct.contains(record) {
            distinct.push(record.clone());
        }
    }
    let index: Vec<usize> = call.index.iter().map(|&cell| usize::try_from(cell).unwrap()).collect();
    assert_eq!(index, records.iter().map(|r| distinct.iter().position(|d| d == r).unwrap()).collect::<Vec<_>>());
    let (mut rest, mut lengths, mut data) = (&*call.data, Vec::new(), Vec::new());
    for (record, &length) in distinct.iter().zip(&call.lengths) {
        let cell = usize::try_from(length).ok().map(|length| rest.split_off(..length).unwrap().to_vec());
        assert_eq!(cell, simple.now.get(record).cloned().flatten());
        let change = match random.below(6) {
            0 => None,
            1 => Some(None),
            2 => Some(Some(vec![b'l'; random.below(300)])),
            _ => Some(Some(format!("cell-{}", random.below(10_000)).into_bytes())),
        };
        lengths.push(match &change {
            None => UNCHANGED,
            Some(None) => NO_VALUE,
            Some(Some(cell)) => i32::try_from(cell.len()).unwrap(),
        });
        if let Some(cell) = change {
            data.extend(cell.iter().flatten());
            simple.now.insert(record.clone(), cell);
            simple.changed[0].insert(record.clone());
        }
    }
    let wrong = [data.clone(), vec![0]].concat();
    assert!(table.apply(&call, Changes { lengths: &lengths, data: &wrong }, 1_000).is_err());
    table.apply(&call, Changes { lengths: &lengths, data: &data }, 1_000).unwrap();
}

fn key(random: &mut Random) -> Vec<u8> {
    let key = random.below(60);
    if key == 0 { Vec::new() } else { format!("key-{key}").into_bytes() }
}

fn drop_before(table: &mut Table, simple: &mut Simple, slice: i64) {
    table.drop_slices(true, |start| start < slice);
    let dropped: Vec<(i64, OwnedKey)> =
        simple.now.extract_if(.., |(own, _), _| *own < slice).map(|(id, _)| id).collect();
    // What the same cycle added is in no changelog.
    simple.dropped[0].extend(dropped.into_iter().filter(|id| simple.cut.contains_key(id)));
}

fn cut(table: &mut Table, simple: &mut Simple) {
    table.cut();
    simple.cut = simple.now.clone();
    simple.is_sealed = true;
    simple.changed.rotate_right(1);
    simple.dropped.rotate_right(1);
    simple.changed[0].clear();
    simple.dropped[0].clear();
}

/// Reads what is to be written, in pieces, and commits.
fn commit(random: &mut Random, table: &mut Table, simple: &mut Simple) {
    let (mut progress, mut written, mut is_last) = (Progress::default(), Cells::new(), false);
    while !is_last {
        let mut left = 1 + random.below(4);
        is_last = table.changed(&mut progress, |slice, slot, key, cell| {
            assert_eq!(KeyHash::of(key).slot(), slot);
            assert!(written.insert((slice, key.map(<[u8]>::to_vec)), cell.map(<[u8]>::to_vec)).is_none(), "once");
            left -= 1;
            left > 0
        });
    }
    let sealed = simple.changed[1].iter().filter_map(|id| Some((id.clone(), simple.cut.get(id)?.clone())));
    assert_eq!(written, sealed.collect());
    let is_early = random.once_in(2);
    if is_early {
        table.commit();
    }
    let (mut progress, mut removed, mut is_last) = (Progress::default(), BTreeSet::new(), false);
    while !is_last {
        let mut left = 1 + random.below(4);
        is_last = table.removed(&mut progress, |slice, key| {
            assert!(removed.insert((slice, key.map(<[u8]>::to_vec))), "once");
            left -= 1;
            left > 0
        });
    }
    assert_eq!(removed, simple.dropped[1]);
    if !is_early {
        table.commit();
    }
    table.release();
    simple.committed = simple.cut.clone();
    simple.is_sealed = false;
}

fn undo(table: &mut Table, simple: &mut Simple, first_slice: &mut i64) {
    table.undo();
    simple.now = simple.committed.clone();
    simple.cut = simple.committed.clone();
    (simple.changed, simple.dropped, simple.is_sealed) = (Default::default(), Default::default(), false);
    *first_slice = simple.now.keys().next().map_or(*first_slice, |(slice, _)| *slice);
}

fn compare(random: &mut Random, table: &Table, simple: &Simple, at: &str) {
    assert_eq!(table.cells(), simple.now.len(), "{at}");
    let committed = |key: &OwnedKey| -> Vec<(i64, Vec<u8>)> {
        let own = simple.committed.iter().filter(|((_, own), _)| own == key);
        own.filter_map(|((slice, _), cell)| Some((*slice, cell.clone()?))).collect()
    };
    let own = Some(key(random));
    let mut found: Vec<(i64, Vec<u8>)> =
        table.committed(own.as_deref(), usize::MAX).map(|(s, cell)| (s, cell.to_vec())).collect();
    found.sort();
    assert_eq!(found, committed(&own), "{at}");
    let (mut from, mut scanned) = (Some(ScanPosition::START), Cells::new());
    while let Some(position) = from {
        let mut left = 1 + random.below(30);
        from = table.visit_committed(position, |slice, key, cell| {
            if left == 0 {
                return false;
            }
            left -= 1;
            if let Some(cell) = cell {
                scanned.insert((slice, key.map(<[u8]>::to_vec)), Some(cell.to_vec()));
            }
            true
        });
    }
    let with_value = simple.committed.iter().filter(|(_, cell)| cell.is_some());
    assert_eq!(scanned, with_value.map(|(id, cell)| (id.clone(), cell.clone())).collect(), "{at}");
}
