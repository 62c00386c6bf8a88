//! Single cases: what a record, a window, a cut and a restore do.

use crate::state::Arrival;
use crate::state::Call;
use crate::state::CellValue;
use crate::state::Changes;
use crate::state::Control;
use crate::state::Delivery;
use crate::state::Fold;
use crate::state::Judged;
use crate::state::KeyHash;
use crate::state::Phase;
use crate::state::RecordKey;
use crate::state::Restore;
use crate::state::RestoreError;
use crate::state::Rewind;
use crate::state::ScanLimit;
use crate::state::ScanPosition;
use crate::state::Settings;
use crate::state::Window;
use crate::state::WindowedPartition;
use crate::state::decode_key;

/// Records of the changelog.
type Changelog = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn settings(window: Window, delivery: Delivery) -> Settings {
    Settings { window, delivery, cell_max: 100, version: 1, is_early: false }
}

fn tumbling(delivery: Delivery) -> WindowedPartition {
    let window = Window::tumbling(10, 2).unwrap().with_idle(Some(50)).unwrap();
    WindowedPartition::new(settings(window, delivery), 0, 0)
}

fn judge(state: &mut WindowedPartition, offset: i64, time: Option<i64>, key: &[u8]) -> Judged {
    let verdict = state.judge(&Arrival { offset, time, key: Some(key), hash: KeyHash::of(Some(key)) }, 0);
    state.advance(offset + 1);
    verdict
}

fn fetch(state: &mut WindowedPartition, offset: i64, slice: i64, key: &[u8]) -> Call {
    let hash = KeyHash::of(Some(key));
    state.fetch(hash.slot(), [Fold { offset, slice, key: Some(key), hash }].into_iter())
}

/// Judges a record and sets its cell to its key. It is settled.
fn put(state: &mut WindowedPartition, offset: i64, time: i64, key: &[u8]) {
    let Judged::Fold { slice } = judge(state, offset, Some(time), key) else { panic!("{offset} is not in time") };
    let call = fetch(state, offset, slice, key);
    let length = i32::try_from(key.len()).unwrap();
    state.apply(&call, Changes { lengths: &[length], data: key }).unwrap();
    state.settle(offset + 1);
}

/// Shows what is due: each key with its cells, by window.
fn show(state: &mut WindowedPartition) -> Vec<(i64, i64, String)> {
    let mut shown = Vec::new();
    while let Some(batch) = state.next_windows(2) {
        shown.extend(batch.iter().map(|(key, cells)| {
            assert!(cells.iter().all(|cell| Some(*cell) == key));
            (batch.start, batch.end, format!("{}*{}", key.unwrap().escape_ascii(), cells.len()))
        }));
        state.take_back_windows(batch.id);
    }
    shown.sort();
    shown
}

/// Makes everything durable. Returns what was written.
fn cycle(state: &mut WindowedPartition) -> Changelog {
    let mut changelog = Changelog::new();
    assert!(state.cut_behind(i64::MIN));
    while state.phase().is_some() {
        while !state.write(8, |record| changelog.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec)))) {}
        state.acknowledge();
    }
    changelog
}

fn control(changelog: &Changelog) -> Control {
    let mut controls = changelog.iter().filter(|(key, _)| decode_key(key).unwrap() == RecordKey::Control);
    Control::decode(controls.next_back().unwrap().1.as_ref().unwrap()).unwrap()
}

#[test]
fn a_record_is_judged_by_the_watermark_before_it() {
    let mut state = tumbling(Delivery::AtLeastOnce);
    assert_eq!(judge(&mut state, 0, Some(8), b"k"), Judged::Fold { slice: 0 });
    assert_eq!(judge(&mut state, 1, Some(12), b"k"), Judged::Fold { slice: 10 });
    assert_eq!(judge(&mut state, 2, Some(9), b"k"), Judged::Late);
    assert_eq!(judge(&mut state, 3, Some(600_001), b"k"), Judged::Future);
    assert_eq!(judge(&mut state, 4, None, b"k"), Judged::Untimed);
    assert_eq!(judge(&mut state, 5, Some(i64::MIN), b"k"), Judged::Untimed);
    assert_eq!(judge(&mut state, 6, Some(i64::MAX), b"k"), Judged::Untimed);
    assert_eq!(judge(&mut state, 7, Some(-(1 << 62)), b"k"), Judged::Late);
    assert_eq!((state.reading().greatest, state.reading().watermark), (12, 10));
}

#[test]
fn a_window_is_shown_once_all_earlier_records_are_settled() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    put(&mut state, 0, 1, b"a");
    let Judged::Fold { slice } = judge(&mut state, 1, Some(2), b"b") else { panic!() };
    put_unsettled(&mut state, 2, 12, b"c");
    state.settle(1);
    assert_eq!(show(&mut state), []);
    let call = fetch(&mut state, 1, slice, b"b");
    state.apply(&call, Changes { lengths: &[1], data: b"b" }).unwrap();
    state.settle(3);
    assert_eq!(state.open_windows(), 2);
    assert_eq!(show(&mut state), [(0, 10, "a*1".to_owned()), (0, 10, "b*1".to_owned())]);
    assert_eq!((state.cells(), state.open_windows()), (1, 1));
}

fn put_unsettled(state: &mut WindowedPartition, offset: i64, time: i64, key: &[u8]) {
    let Judged::Fold { slice } = judge(state, offset, Some(time), key) else { panic!() };
    let call = fetch(state, offset, slice, key);
    state.apply(&call, Changes { lengths: &[1], data: key }).unwrap();
}

#[test]
fn a_hopping_window_is_shown_from_its_slices() {
    let window = Window::hopping(20, 10, 0).unwrap();
    let mut state = WindowedPartition::new(settings(window, Delivery::ExactlyOnce), 0, 0);
    put(&mut state, 0, 3, b"a");
    put(&mut state, 1, 13, b"a");
    put(&mut state, 2, 14, b"b");
    put(&mut state, 3, 35, b"a");
    let shown: Vec<(i64, i64, String)> = show(&mut state);
    let expected = [(-10, 10, "a*1"), (0, 20, "a*2"), (0, 20, "b*1"), (10, 30, "a*1"), (10, 30, "b*1")];
    assert_eq!(shown, expected.map(|(start, end, shown)| (start, end, shown.to_owned())));
}

#[test]
fn the_clock_moves_the_watermark_only_for_a_window_that_it_closes() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    put(&mut state, 0, 1, b"a");
    assert!(!state.close_idle(49, true), "not idle for long enough");
    assert!(!state.close_idle(1_000, false), "not read to the end");
    assert!(state.close_idle(1_000, true));
    assert_eq!(state.reading().watermark, 10);
    assert!(!state.close_idle(1_000, true));
    assert_eq!(show(&mut state).len(), 1);
    assert!(!state.close_idle(2_000, true), "nothing is left to close");
}

#[test]
fn at_least_once_a_window_that_the_clock_closed_waits_for_the_control_record() {
    let mut state = tumbling(Delivery::AtLeastOnce);
    put(&mut state, 0, 1, b"a");
    assert!(state.close_idle(1_000, true));
    assert!(!state.may_judge() && state.needs_cut() && state.has_windows());
    assert_eq!(show(&mut state), []);
    assert_eq!(control(&cycle(&mut state)).reading.watermark, 10);
    assert!(state.may_judge() && !state.needs_cut());
    assert_eq!(show(&mut state).len(), 1);
}

#[test]
fn exactly_once_the_cut_waits_for_what_was_handed_out() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    put(&mut state, 0, 1, b"z");
    // Four keys of four slots.
    for (offset, key) in (1..).zip([b"a", b"e", b"c", b"d"]) {
        assert_eq!(judge(&mut state, offset, Some(1), key), Judged::Fold { slice: 0 });
    }
    let calls = [fetch(&mut state, 1, 0, b"a"), fetch(&mut state, 3, 0, b"c")];
    assert!(!state.cut_behind(i64::MIN), "two calls are out");
    let slot = |key: &[u8]| KeyHash::of(Some(key)).slot();
    assert!(state.may_fetch(slot(b"e"), 2) && !state.may_fetch(slot(b"d"), 4), "the boundary is 4");
    state.apply(&calls[0], Changes { lengths: &[1], data: b"a" }).unwrap();
    state.give_back(&calls[1]);
    state.settle(2);
    assert!(!state.cut_behind(i64::MIN));
    // The second call asks for a retry, which may take long: its record isn't below the next boundary.
    state.take_back_from(3);
    assert!(state.may_fetch(slot(b"d"), 4) && state.cut_behind(i64::MIN));
    assert_eq!(state.phase(), Some(Phase::Transaction(2)));
}

#[test]
fn an_abort_undoes_both_cycles_and_late_results_change_nothing() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    put(&mut state, 0, 1, b"a");
    cycle(&mut state);
    put(&mut state, 1, 2, b"b");
    assert!(state.cut_behind(i64::MIN));
    put(&mut state, 2, 15, b"c");
    assert_eq!(show(&mut state).len(), 2);
    let Judged::Fold { slice } = judge(&mut state, 3, Some(16), b"d") else { panic!() };
    let call = fetch(&mut state, 3, slice, b"d");
    assert_eq!(state.abort(0), Rewind::From(1));
    assert_eq!((state.cells(), state.reading().greatest, state.phase()), (1, 1, None));
    state.apply(&call, Changes { lengths: &[1], data: b"d" }).unwrap();
    assert_eq!(state.cells(), 1);
    put(&mut state, 1, 2, b"b");
    put(&mut state, 2, 15, b"c");
    assert_eq!(show(&mut state).len(), 2);
}

#[test]
fn a_window_is_continued_behind_the_last_key_that_was_shown() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    let keys: Vec<String> = (0..9).map(|key| format!("key-{key}")).collect();
    (0..).zip(&keys).for_each(|(offset, key)| put(&mut state, offset, 1, key.as_bytes()));
    put(&mut state, 9, 15, b"later");
    let first = state.next_windows(4).unwrap();
    assert!(!{ state.cut_behind(i64::MIN) }, "the batch is out");
    state.cancel_cut();
    state.take_back_windows(first.id);
    let changelog = cycle(&mut state);
    let mut shown: Vec<Vec<u8>> = first.iter().map(|(key, _)| key.unwrap().to_vec()).collect();
    assert_eq!(control(&changelog).shown.partly.unwrap().key.as_ref(), shown.last());
    let mut state = restore(settings(state.window, Delivery::ExactlyOnce), &changelog, Some(10)).unwrap();
    while let Some(batch) = state.next_windows(2) {
        shown.extend(batch.iter().map(|(key, _)| key.unwrap().to_vec()));
        state.take_back_windows(batch.id);
    }
    shown.sort();
    assert_eq!(shown, keys.iter().map(|key| key.clone().into_bytes()).collect::<Vec<_>>());
    let tombstones = cycle(&mut state).iter().filter(|(_, value)| value.is_none()).count();
    assert_eq!(tombstones, 9);
}

fn restore(
    settings: Settings,
    changelog: &Changelog,
    committed: Option<i64>,
) -> Result<WindowedPartition, RestoreError> {
    let mut restore = Restore::new(settings);
    for (key, value) in changelog {
        restore.read(key, value.as_deref())?;
    }
    restore.finish(committed, 0, 0)
}

#[test]
fn a_changelog_that_does_not_fit_is_refused() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    put(&mut state, 0, 1, b"a");
    let changelog = cycle(&mut state);
    let same = settings(state.window, Delivery::ExactlyOnce);
    for committed in [None, Some(0), Some(2)] {
        let error = RestoreError::Offsets { applied: 1, committed };
        assert_eq!(restore(same, &changelog, committed).unwrap_err(), error);
    }
    let other = settings(Window::tumbling(20, 2).unwrap(), Delivery::ExactlyOnce);
    let error = restore(other, &changelog, Some(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the changelog holds windows of 10 ms every 10 ms, and the step has 20 ms every 20 ms"
    );
    let at_least_once = settings(state.window, Delivery::AtLeastOnce);
    assert!([None, Some(0), Some(1)].iter().all(|committed| restore(at_least_once, &changelog, *committed).is_ok()));
    assert!(restore(at_least_once, &changelog, Some(2)).is_err());
    let mut odd = Vec::new();
    crate::state::changelog::encode_cell_key(7, None, &mut odd);
    assert_eq!(Restore::new(same).read(&odd, None), Err(RestoreError::NoSlice(7)));
    assert!(matches!(Restore::new(same).read(b"what", None), Err(RestoreError::Record(_))));
}

#[test]
fn a_cell_that_is_ahead_of_the_applied_offset_is_not_folded_again() {
    let mut state = tumbling(Delivery::AtLeastOnce);
    judge(&mut state, 0, Some(1), b"waits for a retry");
    put_unsettled(&mut state, 1, 2, b"a");
    judge(&mut state, 2, Some(2), b"late");
    // The record at 0 isn't settled, so that the boundary stays below it.
    assert!(state.cut_behind(i64::MIN));
    let mut cells = Changelog::new();
    state.acknowledge();
    state.write(usize::MAX, |record| cells.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec))));
    assert_eq!(CellValue::decode(cells[0].1.as_ref().unwrap()).unwrap(), CellValue { upto: 1, cell: Some(b"a") });
    let mut state = restore(settings(state.window, Delivery::AtLeastOnce), &cells, None).unwrap();
    assert_eq!(state.applied(), 0);
    assert_eq!(judge(&mut state, 0, Some(1), b"waits for a retry"), Judged::Fold { slice: 0 });
    assert_eq!(judge(&mut state, 1, Some(2), b"a"), Judged::Folded);
    assert_eq!(judge(&mut state, 2, Some(2), b"a"), Judged::Fold { slice: 0 });
}

#[test]
fn a_version_of_the_state_is_listed_as_long_as_a_slice_may_hold_it() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    put(&mut state, 0, 1, b"a");
    let changelog = cycle(&mut state);
    assert_eq!(control(&changelog).versions, [(1, 0)]);
    let newer = Settings { version: 2, ..settings(state.window, Delivery::ExactlyOnce) };
    let mut state = restore(newer, &changelog, Some(1)).unwrap();
    put(&mut state, 1, 15, b"a");
    assert_eq!(control(&cycle(&mut state)).versions, [(1, 0), (2, 10)]);
    show(&mut state);
    assert_eq!(control(&cycle(&mut state)).versions, [(2, 10)]);
}

#[test]
fn a_query_sees_committed_values_only() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    put(&mut state, 0, 1, b"apple");
    put(&mut state, 1, 1, b"apricot");
    assert_eq!(state.committed_cells(Some(b"apple"), usize::MAX).count(), 0);
    cycle(&mut state);
    put(&mut state, 2, 2, b"avocado");
    assert_eq!(state.committed_cells(Some(b"apple"), usize::MAX).map(|cell| cell.cell).collect::<Vec<_>>(), [b"apple"]);
    put(&mut state, 3, 15, b"banana");
    show(&mut state);
    let (mut found, mut from) = (Vec::new(), Some(ScanPosition::START));
    while let Some(position) = from {
        let limit = ScanLimit { cells: 1, visits: 10, bytes: usize::MAX };
        from = state.scan(position, b"ap", limit, |cell| found.push(cell.key.unwrap().to_vec()));
    }
    found.sort();
    assert_eq!(found, [b"apple".to_vec(), b"apricot".to_vec()], "their window is shown, but that is not durable");
    cycle(&mut state);
    assert_eq!(state.committed_cells(Some(b"apple"), usize::MAX).count(), 0);
    assert_eq!(state.committed_cells(Some(b"banana"), usize::MAX).count(), 1);
}

#[test]
fn memory_is_released_with_the_window() {
    let mut state = tumbling(Delivery::ExactlyOnce);
    let empty = state.memory();
    (0..2_000).for_each(|n| put(&mut state, n, 1, format!("key-{n}").as_bytes()));
    cycle(&mut state);
    assert!(state.memory() > empty + 2_000 * 30);
    put(&mut state, 2_000, 15, b"k");
    show(&mut state);
    cycle(&mut state);
    assert!(state.memory() < empty + 5_000, "{} bytes", state.memory());
}
