//! What an access to a cell costs, and a million of them in memory: `cargo test --release state::tests::bench -- --ignored --nocapture`.

use crate::state::Changes;
use crate::state::Delivery;
use crate::state::Fold;
use crate::state::KeyHash;
use crate::state::Restore;
use crate::state::SLOTS;
use crate::state::Settings;
use crate::state::Window;
use crate::state::WindowedPartition;

/// The time that this thread has run: the machine may be busy with other things.
#[derive(Clone, Copy)]
struct CpuTime(u128);

impl CpuTime {
    fn now() -> CpuTime {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        CpuTime(times.split(' ').next().unwrap().parse().unwrap())
    }

    fn elapsed_ns(self) -> u128 {
        CpuTime::now().0 - self.0
    }
}

const BATCH: usize = 128;
const CELL: [u8; 16] = [7; 16];

/// Keys in a random order, by slot, as records of a batch hold them: one after another.
struct Keys {
    by_slot: Vec<Vec<[u8; 12]>>,
}

impl Keys {
    fn new(keys: usize) -> Keys {
        let mut by_slot = vec![Vec::new(); SLOTS];
        for draw in 0..keys.max(200_000) {
            // A full cycle through the keys, far apart.
            let mut key = *b"key-00000000";
            let number = format!("{:08}", draw * 611_953 % keys);
            key[4..].copy_from_slice(number.as_bytes());
            by_slot[KeyHash::of(Some(&key)).slot().index()].push(key);
        }
        Keys { by_slot }
    }

    /// Folds a record of each draw, in batches. Returns how many there were.
    fn fold_all(&self, state: &mut WindowedPartition, offset: &mut i64) -> usize {
        let mut records = 0;
        for batches in 0.. {
            let mut is_done = true;
            for keys in self.by_slot.iter().filter_map(|keys| keys.chunks(BATCH).nth(batches)) {
                is_done = false;
                let slot = KeyHash::of(Some(&keys[0])).slot();
                *offset += 1;
                let first = *offset;
                let folds = keys.iter().map(|key| {
                    let key = Some(key.as_slice());
                    Fold { offset: first, slice: 0, key, hash: KeyHash::of(key) }
                });
                let call = state.fetch(slot, folds);
                let lengths = vec![16; call.lengths.len()];
                let data = CELL.repeat(lengths.len());
                state.apply(&call, Changes { lengths: &lengths, data: &data }).unwrap();
                records += keys.len();
            }
            if is_done {
                return records;
            }
        }
        records
    }
}

fn cycle(state: &mut WindowedPartition, offset: i64) -> usize {
    state.advance(offset + 1);
    state.settle(offset + 1);
    let mut bytes = 0;
    assert!(state.cut());
    state.write(usize::MAX, |record| bytes += record.key.len() + record.value.map_or(0, <[u8]>::len));
    state.acknowledge();
    bytes
}

#[test]
#[ignore = "a benchmark"]
#[expect(clippy::print_stderr, reason = "a benchmark prints")]
fn access_and_memory() {
    let window = Window::tumbling(60_000, 0).unwrap();
    let settings = Settings { window, delivery: Delivery::ExactlyOnce, cell_max: 65_536, version: 1 };
    for count in [64, 100_000, 1_000_000] {
        let keys = Keys::new(count);
        let (mut state, mut offset) = (WindowedPartition::new(settings, 0, 0), 0);
        let began = CpuTime::now();
        let records = keys.fold_all(&mut state, &mut offset);
        let inserted = began.elapsed_ns() / records as u128;
        let before_commit = state.memory();
        cycle(&mut state, offset);
        let committed = state.memory();
        let (mut folded, mut first, mut written, mut most) = (u128::MAX, u128::MAX, u128::MAX, 0);
        for _ in 0..12 {
            // The first change in a cycle is logged, the later ones aren't.
            let began = CpuTime::now();
            keys.fold_all(&mut state, &mut offset);
            first = first.min(began.elapsed_ns() / records as u128);
            let began = CpuTime::now();
            keys.fold_all(&mut state, &mut offset);
            folded = folded.min(began.elapsed_ns() / records as u128);
            most = most.max(state.memory());
            let began = CpuTime::now();
            cycle(&mut state, offset);
            written = written.min(began.elapsed_ns() / state.cells() as u128);
        }
        eprintln!(
            "{count} keys: insert {inserted} ns, read-modify-write {first} ns the first time in a cycle and {folded} ns later, \
             cut, encode and commit {written} ns a cell; {} MiB committed, {} MiB with a cycle that added all of them, {} MiB with one \
             that changed all of them",
            committed >> 20,
            before_commit >> 20,
            most >> 20,
        );
        restore(settings, &mut state, &keys, offset);
        show(&mut state, offset);
    }
}

#[expect(clippy::print_stderr, reason = "a benchmark prints")]
fn restore(settings: Settings, state: &mut WindowedPartition, keys: &Keys, mut offset: i64) {
    keys.fold_all(state, &mut offset);
    state.advance(offset + 1);
    state.settle(offset + 1);
    assert!(state.cut());
    let mut changelog = Vec::new();
    state.write(usize::MAX, |record| changelog.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec))));
    state.acknowledge();
    let began = CpuTime::now();
    let mut restore = Restore::new(settings);
    for (key, value) in &changelog {
        restore.read(key, value.as_deref()).unwrap();
    }
    let state = restore.finish(Some(offset + 1), 0, 0).unwrap();
    let took = began.elapsed_ns() / changelog.len() as u128;
    eprintln!("  restore {took} ns a record, {} MiB", state.memory() >> 20);
}

#[expect(clippy::print_stderr, reason = "a benchmark prints")]
fn show(state: &mut WindowedPartition, offset: i64) {
    assert!(state.close_idle(120_000, true), "at {offset}");
    let (mut keys, began) = (0, CpuTime::now());
    while let Some(batch) = state.next_windows(BATCH) {
        keys += batch.keys.len();
        state.take_back_windows(batch.id);
    }
    eprintln!("  show {} ns a key", began.elapsed_ns() / keys as u128);
}
