//! The cycle of a partition whose transaction failed, beside one whose transaction is the next one.

use std::sync::Arc;

use super::Reducer;
use super::Windows;
use super::shell::position_of_cycle;
use super::step::WindowedStep;
use crate::aggregate::Extraction;
use crate::aggregate::Functions;
use crate::aggregate::KeySelector;
use crate::aggregate::TimeSelector;
use crate::partition::PartitionState;
use crate::partition::Policy;
use crate::record::AssignmentIds;
use crate::record::Offset;
use crate::record::TopicPartition;
use crate::state;
use crate::state::Arrival;
use crate::state::Changes;
use crate::state::Delivery;
use crate::state::Fold;
use crate::state::Judged;
use crate::state::KeyHash;
use crate::state::Window;
use crate::state::WindowedPartition;
use crate::worker::clock;
use crate::worker::position::PositionState;
use crate::worker::task::PartitionTask;

/// A task of this partition at offset 0, with an empty table.
fn task(partition: i32) -> PartitionTask {
    let window = Window::tumbling(10, 0).unwrap();
    let state = state::Settings { window, delivery: Delivery::ExactlyOnce, cell_max: 100, version: 1, is_early: false };
    let step = WindowedStep {
        name: "count".into(),
        number: 0,
        state,
        extraction: Extraction::new(KeySelector::Record, TimeSelector::Record, &[]),
        reducer: Reducer::Functions(Functions::parse([("n", "count")]).unwrap()),
        late: None,
        early: None,
        memory_bytes: usize::MAX,
    };
    let mut ids = AssignmentIds::default();
    let [own, outputs] = [0, 1].map(|_| ids.issue(|_| false));
    let mut windows = Windows::new(Arc::new(step), outputs);
    windows.restored(WindowedPartition::new(state, 0, 0));
    let own = PartitionState::new(Policy::default(), own, Offset(0), false);
    let partition = TopicPartition { topic: "t".into(), partition };
    let mut task = PartitionTask::new(clock::now(), partition, own, 0, Offset(0));
    task.windows = Some(Box::new(windows));
    task
}

/// Folds the record at this offset, and cuts the cycle behind it.
fn fold_and_cut(task: &mut PartitionTask, offset: i64) {
    let windows = task.windows.as_mut().unwrap();
    let state = windows.state.as_mut().unwrap();
    let (key, hash) = (Some(&b"k"[..]), KeyHash::of(Some(b"k")));
    let judged = state.judge(&Arrival { offset, time: Some(1), key, hash }, 0);
    assert_eq!(judged, Judged::Fold { slice: 0 });
    let call = state.fetch(hash.slot(), [Fold { offset, slice: 0, key, hash }].into_iter());
    state.apply(&call, Changes { lengths: &[1], data: b"1" }).unwrap();
    windows.settle(Offset(offset + 1));
    assert_eq!(windows.cut(Offset(offset + 1)), Some(Offset(offset + 1)));
}

/// The offset that the next transaction commits for a task.
fn committed(task: &PartitionTask) -> Option<Offset> {
    position_of_cycle(task).map(|position| position.offset)
}

/// The records of the cycle were in the transaction that failed. If the next one committed its offset, they would be lost.
#[test]
fn the_cycle_of_a_failed_transaction_is_in_no_later_one() {
    for group_stands_at in [None, Some(Offset(0))] {
        let [mut failed, mut other] = [0, 1].map(task);
        for task in [&mut failed, &mut other] {
            fold_and_cut(task, 0);
            assert_eq!(committed(task), Some(Offset(1)));
        }
        failed.position.unconfirm();
        assert_eq!((committed(&failed), committed(&other)), (None, Some(Offset(1))));
        assert!(failed.cycle_mut().is_none(), "the commit of the other one doesn't end its phase");
        assert!(failed.windows.as_mut().unwrap().confirm(group_stands_at, 0), "its table goes back");
        failed.position = PositionState::Known;
        assert_eq!(committed(&failed), None, "nothing is folded yet");
        // The record is read again: it is folded once more, and its cycle is in the transaction after that.
        fold_and_cut(&mut failed, 0);
        assert_eq!(committed(&failed), Some(Offset(1)));
    }
}

/// The records of its partition are gone, or it isn't known how far it was committed: nothing is committed before that is known.
#[test]
fn a_partition_without_a_position_commits_no_cycle() {
    let mut task = task(0);
    fold_and_cut(&mut task, 0);
    task.position.lose(false);
    assert!(committed(&task).is_none() && task.cycle().is_none());
}
