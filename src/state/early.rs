//! PURE. Results of open windows, which are shown before they close: which keys have changed since they were last shown.
//!
//! This is not part of what a restart brings back. After an abort or a restore every key of an open window counts as changed, so an early
//! result may come twice, and none that a reader waits for is missing. Invariant: a key whose cell changed is shown by a later pass, or its
//! window closes before.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::show::WindowBatch;
use super::slot::Key;
use super::slot::KeyHash;
use super::slot::Slot;
use super::table::Table;
use super::window::Window;

/// A key as it is kept here; `None` is null.
type OwnKey = Option<Box<[u8]>>;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Early {
    /// Slices with the keys whose cells have changed since the last pass.
    changed: BTreeSet<(i64, OwnKey)>,
    /// The bytes of these keys.
    bytes: usize,
    /// Whether every cell counts as changed.
    is_all: bool,
    /// What the present pass has still to show: keys by the ends of their windows.
    pass: BTreeMap<i64, BTreeSet<OwnKey>>,
}

impl Early {
    /// Every key counts as changed.
    pub(super) fn new() -> Early {
        Early { changed: BTreeSet::new(), bytes: 0, is_all: true, pass: BTreeMap::new() }
    }

    /// The cell of this key and slice has changed.
    pub(super) fn change(&mut self, slice: i64, key: Key<'_>) {
        if !self.is_all && self.changed.insert((slice, key.map(Box::from))) {
            self.bytes += key.map_or(0, <[u8]>::len);
        }
    }

    /// Begins a pass over what has changed in windows that end after `closed`, in ms.
    pub(super) fn begin(&mut self, table: &Table, window: &Window, closed: i64) {
        if std::mem::take(&mut self.is_all) {
            for slice in table.slices_from(i64::MIN) {
                for shelf in Slot::all().filter_map(|slot| table.shelf(slice, slot)) {
                    for entry in shelf.entries() {
                        let key = shelf.key(entry).map(Box::from);
                        enter(&mut self.pass, window, closed, slice, &key);
                    }
                }
            }
        }
        for (slice, key) in std::mem::take(&mut self.changed) {
            enter(&mut self.pass, window, closed, slice, &key);
        }
        self.bytes = 0;
    }

    /// Whether a pass has something to show.
    pub(super) fn is_passing(&self) -> bool {
        !self.pass.is_empty()
    }

    /// The next keys of the pass, of one window; `None` at its end. Windows that end at `closed` or before are left out, as their results
    /// are final.
    pub(super) fn next(&mut self, table: &Table, window: &Window, closed: i64, keys: usize) -> Option<WindowBatch> {
        loop {
            let mut first = self.pass.first_entry()?;
            let end = *first.key();
            if end <= closed {
                first.remove();
                continue;
            }
            let mut batch = WindowBatch::early(window.start(end), end);
            while batch.keys.len() < keys.max(1)
                && let Some(key) = first.get_mut().pop_first()
            {
                let slot = KeyHash::of(key.as_deref()).slot();
                let mut parts = 0;
                for slice in table.slices_from(*window.slices(end).start()).take_while(|&slice| slice < end) {
                    let shelf = table.shelf(slice, slot);
                    let cell =
                        shelf.and_then(|shelf| shelf.cell(shelf.find(KeyHash::of(key.as_deref()), key.as_deref())?));
                    parts += batch.add_cell(cell);
                }
                if parts > 0 {
                    batch.add_key(key.as_deref(), parts);
                }
            }
            if first.get().is_empty() {
                first.remove();
            }
            if !batch.keys.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let entry = size_of::<(i64, OwnKey)>();
        let passing: usize = self.pass.values().map(BTreeSet::len).sum();
        (self.changed.len() + passing) * 2 * entry + self.bytes
    }
}

fn enter(pass: &mut BTreeMap<i64, BTreeSet<OwnKey>>, window: &Window, closed: i64, slice: i64, key: &OwnKey) {
    let mut end = window.first_end(slice);
    while end <= window.last_end(slice) {
        if end > closed {
            pass.entry(end).or_default().insert(key.clone());
        }
        end += window.every();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Changes;
    use crate::state::Fold;

    fn fold(table: &mut Table, early: &mut Early, slice: i64, key: &'static [u8], cell: &[u8]) {
        let hash = KeyHash::of(Some(key));
        let record = Fold { offset: 0, slice, key: Some(key), hash };
        let call = table.fetch(hash.slot(), 0, std::iter::once(record));
        let lengths = [i32::try_from(cell.len()).unwrap()];
        table.apply(&call, Changes { lengths: &lengths, data: cell }, 100).unwrap();
        early.change(slice, Some(key));
    }

    fn shown(table: &Table, early: &mut Early, window: &Window, closed: i64) -> Vec<(i64, Vec<u8>, usize)> {
        early.begin(table, window, closed);
        let mut all = Vec::new();
        while let Some(batch) = early.next(table, window, closed, 1) {
            assert!(!batch.is_closed);
            all.extend(batch.iter().map(|(key, cells)| (batch.end, key.unwrap().to_vec(), cells.len())));
        }
        all
    }

    #[test]
    fn a_pass_shows_each_open_window_of_a_changed_key_once() {
        let window = Window::hopping(20, 10, 0).unwrap();
        let (mut table, mut early) = (Table::default(), Early::new());
        fold(&mut table, &mut early, 0, b"a", b"1");
        fold(&mut table, &mut early, 10, b"a", b"1");
        let a = || b"a".to_vec();
        assert_eq!(shown(&table, &mut early, &window, 0), [(10, a(), 1), (20, a(), 2), (30, a(), 1)]);
        assert_eq!(shown(&table, &mut early, &window, 0), [], "nothing has changed since");
        fold(&mut table, &mut early, 10, b"a", b"2");
        fold(&mut table, &mut early, 10, b"b", b"1");
        assert_eq!(shown(&table, &mut early, &window, 20), [(30, a(), 1), (30, b"b".to_vec(), 1)], "one has closed");
        early = Early::new();
        assert_eq!(shown(&table, &mut early, &window, 20).len(), 2, "what was shown may be lost");
    }

    #[test]
    fn a_window_that_closes_during_a_pass_is_not_shown_early() {
        let window = Window::tumbling(10, 0).unwrap();
        let (mut table, mut early) = (Table::default(), Early::new());
        for key in [&b"a"[..], b"b"] {
            fold(&mut table, &mut early, 0, key, b"1");
        }
        early.begin(&table, &window, 0);
        assert!(early.next(&table, &window, 0, 1).is_some() && early.is_passing());
        assert!(early.next(&table, &window, 10, 1).is_none() && !early.is_passing());
    }
}
