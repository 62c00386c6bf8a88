//! The tables alone, without Kafka: what an access to a cell costs, and a million cells in memory.
//!
//! One partition, and batches of records of one slot, as the worker has them. Times are CPU times of this thread: the machine may be busy with
//! other things.

use wasmill::state::Changes;
use wasmill::state::Delivery;
use wasmill::state::Fold;
use wasmill::state::KeyHash;
use wasmill::state::Restore;
use wasmill::state::SLOTS;
use wasmill::state::Settings;
use wasmill::state::Window;
use wasmill::state::WindowedPartition;

use crate::Size;
use crate::verdict;

/// The most time that an access may take, with this many keys.
const ACCESS_NS: u128 = 150;
const ACCESS_KEYS: usize = 100_000;
/// The most memory that this many keys may take.
const MEMORY_MIB: usize = 256;
const MEMORY_KEYS: usize = 1_000_000;

/// The records of a call: a batch of 128 records brings a slot 8 of them, and a batch of 2,048 brings 128.
const CALLS: [usize; 2] = [8, 128];
/// The keys that are shown at a time.
const SHOWN: usize = 128;
const CELL: [u8; 16] = [7; 16];
/// The number of measurements, whose mean counts: the kernel counts a thread's time in steps of some ms.
const TRIES: u32 = 12;

/// The time that this thread has run.
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

/// Keys in a random order, by slot, as records of a batch hold them: one after another.
struct Keys {
    by_slot: Vec<Vec<[u8; 12]>>,
    /// The records of a call.
    call: usize,
}

impl Keys {
    fn new(keys: usize, call: usize) -> Keys {
        let mut by_slot = vec![Vec::new(); SLOTS];
        for draw in 0..keys.max(200_000) {
            // A full cycle through the keys, far apart.
            let mut key = *b"key-00000000";
            let number = format!("{:08}", draw * 611_953 % keys);
            key[4..].copy_from_slice(number.as_bytes());
            by_slot[KeyHash::of(Some(&key)).slot().index()].push(key);
        }
        Keys { by_slot, call }
    }

    /// Folds a record of each draw, in batches. Returns how many there were.
    fn fold_all(&self, state: &mut WindowedPartition, offset: &mut i64) -> usize {
        let mut records = 0;
        for batch in 0.. {
            let mut is_done = true;
            for keys in self.by_slot.iter().filter_map(|keys| keys.chunks(self.call).nth(batch)) {
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
                break;
            }
        }
        records
    }
}

/// Prints what the tables cost.
pub(crate) fn run(size: Size) {
    println!("\nthe tables alone, cells of {} bytes; CPU time", CELL.len());
    for keys in [64, ACCESS_KEYS, size.restored.max(ACCESS_KEYS * 2)] {
        CALLS.iter().for_each(|&call| measure(keys, call));
    }
}

fn measure(count: usize, call: usize) {
    let window = Window::tumbling(60_000, 0).unwrap();
    let settings = Settings { window, delivery: Delivery::ExactlyOnce, cell_max: 65_536, version: 1, is_early: false };
    let keys = Keys::new(count, call);
    let (mut state, mut offset) = (WindowedPartition::new(settings, 0, 0), 0);
    let began = CpuTime::now();
    let records = keys.fold_all(&mut state, &mut offset);
    let inserted = began.elapsed_ns() / records as u128;
    let uncommitted = state.memory();
    commit(&mut state, offset);
    let committed = state.memory();
    let (mut first, mut later, mut written, mut most) = (0, 0, 0, 0);
    for _ in 0..TRIES {
        // The first change in a cycle is logged, the later ones aren't.
        let began = CpuTime::now();
        keys.fold_all(&mut state, &mut offset);
        first += began.elapsed_ns();
        let began = CpuTime::now();
        keys.fold_all(&mut state, &mut offset);
        later += began.elapsed_ns();
        most = most.max(state.memory());
        let began = CpuTime::now();
        commit(&mut state, offset);
        written += began.elapsed_ns();
    }
    let of = |sum: u128, each: usize| sum / u128::from(TRIES) / each as u128;
    let (first, later, written) = (of(first, records), of(later, records), of(written, state.cells()));
    let goal = |is_met| format!("  goal {ACCESS_NS} ns: {}", verdict(is_met));
    println!(
        "{count:>9} keys, {call:>3} records a call: a new cell {inserted} ns, a change {first} ns the first time in a transaction and \
         {later} ns later{}",
        if count == ACCESS_KEYS { goal(first.max(later) <= ACCESS_NS) } else { String::new() }
    );
    if count < ACCESS_KEYS {
        return;
    }
    let restored = restored(settings, &mut state, &keys, offset);
    let largest = most.max(uncommitted) >> 20;
    println!(
        "{:>16}cut, encode and commit {written} ns a cell; restore {restored} ns a record; results of a window {} ns a key",
        "",
        shown(&mut state)
    );
    println!(
        "{:>16}memory {} MiB committed, {} MiB with a transaction that added all, {} MiB with one that changed all{}",
        "",
        committed >> 20,
        uncommitted >> 20,
        most >> 20,
        if count == MEMORY_KEYS {
            format!("  goal {MEMORY_MIB} MiB: {}", verdict(largest < MEMORY_MIB))
        } else {
            String::new()
        }
    );
}

fn commit(state: &mut WindowedPartition, offset: i64) {
    state.advance(offset + 1);
    state.settle(offset + 1);
    assert!(state.cut_behind(i64::MIN));
    let mut bytes = 0;
    state.write(usize::MAX, |record| bytes += record.key.len() + record.value.map_or(0, <[u8]>::len));
    assert!(bytes > 0);
    state.acknowledge();
}

fn restored(settings: Settings, state: &mut WindowedPartition, keys: &Keys, mut offset: i64) -> u128 {
    keys.fold_all(state, &mut offset);
    state.advance(offset + 1);
    state.settle(offset + 1);
    assert!(state.cut_behind(i64::MIN));
    let mut changelog = Vec::new();
    state.write(usize::MAX, |record| changelog.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec))));
    state.acknowledge();
    let began = CpuTime::now();
    let mut restore = Restore::new(settings);
    for (key, value) in &changelog {
        restore.read(key, value.as_deref()).unwrap();
    }
    restore.finish(Some(offset + 1), 0, 0).unwrap();
    began.elapsed_ns() / changelog.len() as u128
}

fn shown(state: &mut WindowedPartition) -> u128 {
    assert!(state.close_idle(120_000, true));
    let (mut keys, began) = (0, CpuTime::now());
    while let Some(batch) = state.next_windows(SHOWN) {
        keys += batch.keys.len();
        state.take_back_windows(batch.id);
    }
    began.elapsed_ns() / keys as u128
}
