//! Single cases of the partition's state.

use std::time::Duration;
use std::time::Instant;

use super::ALLOWED;
use super::RETRIES;
use super::id;
use super::model::Fails;
use super::policy;
use super::state;
use super::world::World;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::partition::Action;
use crate::partition::BreakerTripped;
use crate::partition::Event;
use crate::partition::Flood;
use crate::partition::OnFailure;
use crate::partition::PartitionState;
use crate::partition::Policy;
use crate::partition::Retries;
use crate::partition::Rule;
use crate::partition::ledger::Fate;
use crate::partition::ledger::Ledger;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::Seqs;

/// Two outputs of a record may be refused: it gets one dead letter all the same.
#[test]
fn a_record_has_one_dead_letter() {
    let mut ledger = Ledger::new(id(0), Offset(0), true);
    let seq = Seq::first_of(id(0));
    ledger.receive(&[0], -1);
    let seqs = Seqs::consecutive(seq, 1);
    ledger.run(seqs);
    ledger.produce(seqs, &[2], &[]);
    assert!(ledger.give_up(seq, Fate::DeadLettered, 1));
    assert!(!ledger.give_up(seq, Fate::DeadLettered, 1));
    assert_eq!(ledger.low(), Offset(0), "its dead letter is not acknowledged");
    ledger.acknowledge(seq, seq);
    assert_eq!((ledger.low(), ledger.take_settled().dead_lettered), (Offset(1), 1));
}

/// The producer may have to be replaced by one that takes larger records, and that rewinds the partition after the stop was
/// returned and before the worker has acted on it.
#[test]
fn a_partition_rewound_before_its_stop_is_handled_stops_at_that_record_again() {
    let mut world = World::new(OnFailure::Stop, &[1, 1], &[false, false]);
    let fail = |state: &mut PartitionState, now| {
        let first = Seq::first_of(state.assignment());
        let _ = state.handle(now, Event::Received { offsets: &[3, 4], leader_epoch: 1, strands: &[] });
        let seqs = Seqs::consecutive(first, 2);
        let _ = state.handle(now, Event::Dispatched { strand: 0, seqs });
        let failure = Failure::new(Kind::Reject, None, "planned");
        let event = Event::Ran { strand: 0, run: 0, seqs, outputs: &[1], failed: &[], failure: Some(&failure) };
        state.handle(now, event).collect::<Vec<_>>()
    };
    let stops = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Stop { offset: 4, .. }));
    assert!(stops(&fail(&mut world.state, world.now)));
    let actions: Vec<Action> = world.state.handle(world.now, Event::Rewind { assignment: id(1) }).collect();
    assert!(actions.contains(&Action::Seek { offset: Offset(3) }), "{actions:?}");
    assert!(world.state.may_receive() && world.state.stops_at().is_none());
    assert!(stops(&fail(&mut world.state, world.now)));
}

#[test]
fn a_start_that_is_not_committed_is_stored_at_once() {
    let mut world = World::new(OnFailure::Stop, &[], &[]);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Tick).collect();
    assert_eq!(actions, [Action::Store { offset: Offset(3), leader_epoch: -1, counts: String::new() }]);
    assert_eq!(world.state.handle(world.now, Event::Tick).count(), 0);
}

#[test]
fn a_restart_where_the_group_has_no_offset_stores_the_start_again() {
    let mut world = World::new(OnFailure::Stop, &[], &[]);
    world.tell(Event::Tick, &[]);
    for is_committed in [true, false] {
        let event = Event::Restart { assignment: id(1), offset: Offset(3), is_committed };
        let actions: Vec<Action> = world.state.handle(world.now, event).collect();
        let mut expected = vec![Action::DropQueue { from: None }, Action::Seek { offset: Offset(3) }];
        if !is_committed {
            expected.push(Action::Store { offset: Offset(3), leader_epoch: -1, counts: String::new() });
        }
        assert_eq!(actions, expected);
    }
}

#[test]
fn control_markers_are_passed_only_with_nothing_in_flight() {
    let mut world = World::new(OnFailure::Stop, &[1, 1], &[false, false]);
    world.tell(Event::Tick, &[]);
    world.receive(1);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Position { position: Offset(9) }).collect();
    assert_eq!(actions, [], "a record is on its way below the position");
    world.dispatch(1);
    world.give_back(1, Fails::No, 0);
    world.acknowledge(0);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Position { position: Offset(9) }).collect();
    assert_eq!(actions, [Action::Store { offset: Offset(9), leader_epoch: 1, counts: String::new() }]);
}

#[test]
fn a_retried_record_is_reported_until_it_has_an_outcome() {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    let start = Instant::now();
    let general = Rule { retries: Retries::Forever, ..Rule::default() };
    let policy = Policy { general, ..Policy::default() };
    let mut state = PartitionState::new(policy, id(0), Offset(100), false);
    let failure = Failure::new(Kind::Retry, None, "told to wait");
    let _ = state.handle(start, Event::Received { offsets: &[100, 105, 106], leader_epoch: 0, strands: &[] });
    let ran = |state: &mut PartitionState, at: u64, first: usize, outputs: &[u32], failure: Option<&Failure>| {
        let returned = 3 - first;
        let now = start + Duration::from_secs(at);
        let run = state.run(0);
        let seqs = Seqs::consecutive(Seq::first_of(id(0)).plus(first), returned);
        let _ = state.handle(now, Event::Dispatched { strand: 0, seqs });
        let _ = state.handle(now, Event::Ran { strand: 0, run, seqs, outputs, failed: &[], failure });
    };
    assert!(state.retried().is_none());
    for tries in 1..=3 {
        let (first, outputs): (usize, &[u32]) = if tries == 1 { (0, &[1]) } else { (1, &[]) };
        ran(&mut state, 10 * tries, first, outputs, Some(&failure));
        let named = state.retried().expect("it is tried again");
        assert_eq!((named.offset, u64::from(named.tries), named.failure), (105, tries, &failure));
        assert_eq!(named.since, start + Duration::from_secs(10), "since it failed for the first time");
    }
    ran(&mut state, 60, 1, &[1, 1], None);
    assert!(state.retried().is_none());
}

#[test]
fn retries_are_spent_and_then_the_policy_decides() {
    let mut world = World::new(OnFailure::Stop, &[1, 1], &[false, false]);
    world.receive(2);
    for _ in 0..RETRIES {
        world.dispatch(2);
        world.give_back(0, Fails::Retry, 0);
        assert_eq!(world.stopped, None);
        world.now += Duration::from_secs(11);
    }
    world.dispatch(2);
    world.give_back(0, Fails::Retry, 0);
    assert_eq!(world.stopped, Some(world.log[0].offset));
    assert_eq!(
        world.committed,
        Offset(world.log[0].offset),
        "nothing is below the record, nothing above it is committed"
    );
}

#[test]
fn records_after_one_whose_retries_are_spent_follow_it() {
    let mut world = World::new(OnFailure::DeadLetter, &[1, 1, 1], &[false; 3]);
    world.receive(3);
    world.dispatch(3);
    world.give_back(1, Fails::No, 0);
    for _ in 0..=RETRIES {
        world.give_back(0, Fails::Retry, 0);
        world.now += Duration::from_secs(11);
        if world.letters.is_empty() {
            world.dispatch(2);
        }
    }
    assert_eq!(world.letters, [1], "the first went through, the second is given up");
    // The third record was returned with it, and is next.
    assert_eq!(world.queue.iter().map(|&(_, record)| record).collect::<Vec<_>>(), [2]);
    world.finish();
    assert_eq!(world.first_sent, [0, 1, 2]);
    assert_eq!((world.given_up, world.state.in_flight()), (vec![false, true, false], 0));
}

#[test]
fn successful_records_push_faults_out_of_the_breakers_window() {
    let mut world = World::new(OnFailure::Skip, &[1; 40], &[false; 40]);
    for _ in 0..4 {
        // The breaker allows two faults in eight records: the first of the two calls has both.
        for among in [0b1010, 0] {
            world.receive(4);
            world.dispatch(4);
            world.give_back(4, Fails::No, among);
        }
    }
    assert_eq!((world.stopped, world.faults()), (None, ALLOWED));
}

#[test]
fn more_rejects_than_their_share_stop_it_and_a_restart_stops_at_the_next() {
    let mut world = World::new(OnFailure::Skip, &[1; 40], &[false; 40]);
    let allow = Policy { rejects_max: Some(2), ..policy(OnFailure::Skip) };
    world.tell(Event::Policy(allow.clone()), &[]);
    world.receive(3);
    world.dispatch(3);
    // The rejects are at even indices.
    world.give_back(3, Fails::No, 0b101);
    assert_eq!((world.committed, &*world.counts), (Offset(5), "1..1"), "the output in between is under way");
    world.acknowledge(0);
    assert_eq!((world.committed, &*world.counts), (Offset(7), "3..5"));
    world.state = PartitionState::new(allow, id(7), world.committed, false).with_counts(&world.counts);
    let offsets = [world.log[3].offset];
    world.tell(Event::Received { offsets: &offsets, leader_epoch: 1, strands: &[] }, &[]);
    let seqs = Seqs::consecutive(Seq::first_of(id(7)), 1);
    world.tell(Event::Dispatched { strand: 0, seqs }, &[]);
    let reject = Failure::new(Kind::Error, None, "an error for one record is a reject");
    let failed = [(0, reject.clone())];
    let event = Event::Ran { strand: 0, run: 0, seqs, outputs: &[0], failed: &failed, failure: None };
    let actions: Vec<Action> = world.state.handle(world.now, event).collect();
    let trip = BreakerTripped { flood: Flood::Rejects, failed: 3, records: 4, allowed: 2 };
    let drop = Action::DropQueue { from: Some(seqs.first()) };
    assert_eq!(actions, [drop, Action::BreakerTripped { offset: offsets[0], trip, failure: reject }]);
}

#[test]
fn an_assignment_near_its_last_number_is_replaced_when_idle_or_at_the_latest_near_the_end() {
    let mut world = World::new(OnFailure::Stop, &[1; 39], &[false; 39]);
    world.receive(21);
    world.finish_in_flight();
    assert_eq!(world.state.next(), Seq::first_of(id(0)).plus(21), "it has numbers for long");
    world.receive(1);
    world.tell(Event::Tick, &[]);
    assert_eq!(world.state.assignment(), id(0), "a record is in flight");
    world.finish_in_flight();
    assert_eq!(world.state.next(), Seq::first_of(id(1)));
    assert_eq!(world.next, 22, "nothing is read twice");
    // From here on records are in flight all the time.
    let mut state = state(OnFailure::Stop, id(0), Offset(0), false, 1);
    let offsets: Vec<i64> = (0..39).collect();
    state.handle(world.now, Event::Received { offsets: &offsets[..38], leader_epoch: 1, strands: &[] }).for_each(drop);
    assert_eq!(state.handle(world.now, Event::Tick).count(), 0);
    state.handle(world.now, Event::Received { offsets: &offsets[38..], leader_epoch: 1, strands: &[] }).for_each(drop);
    let actions: Vec<Action> = state.handle(world.now, Event::Tick).collect();
    assert_eq!(actions, [Action::Rewind]);
    let actions: Vec<Action> = state.handle(world.now, Event::Rewind { assignment: id(1) }).collect();
    assert_eq!(actions, [Action::DropQueue { from: None }, Action::Seek { offset: Offset(0) }]);
    assert_eq!(state.next(), Seq::first_of(id(1)));
}

/// The policy is to stop, hold or write a dead letter, and an operator has named the record: it is skipped, and the others aren't.
#[test]
fn a_record_that_an_operator_leaves_out_is_skipped_if_it_fails_and_no_other_is() {
    let mut world = World::new(OnFailure::Stop, &[], &[]);
    for then in [OnFailure::Stop, OnFailure::Hold, OnFailure::DeadLetter] {
        world.state = PartitionState::new(policy(then), id(0), Offset(100), false);
        let (state, now) = (&mut world.state, world.now);
        let _ = state.handle(now, Event::LeaveOut { offset: 104 });
        let _ = state.handle(now, Event::Received { offsets: &[100, 104, 105], leader_epoch: 0, strands: &[] });
        let failure = Failure::new(Kind::Reject, None, "planned");
        let mut ran = |first: usize, outputs: &[u32]| {
            let run = state.run(0);
            let seqs = Seqs::consecutive(Seq::first_of(id(0)).plus(first), 3 - first);
            let _ = state.handle(now, Event::Dispatched { strand: 0, seqs });
            let event = Event::Ran { strand: 0, run, seqs, outputs, failed: &[], failure: Some(&failure) };
            state.handle(now, event).collect::<Vec<_>>()
        };
        let actions = ran(0, &[1]);
        let is_skip = |action: &Action| matches!(action, Action::Skip { seq, .. } if seq.n() == 1);
        assert!(actions.iter().any(is_skip), "{then:?}: {actions:?}");
        let actions = ran(2, &[]);
        let is_other = |action: &Action| match then {
            OnFailure::Stop => matches!(action, Action::Stop { offset: 105, .. }),
            OnFailure::Hold => matches!(action, Action::Hold { offset: 105, .. }),
            OnFailure::DeadLetter | OnFailure::Skip => matches!(action, Action::DeadLetter { seq, .. } if seq.n() == 2),
        };
        assert!(actions.iter().any(is_other), "{then:?}: {actions:?}");
    }
}

/// The topic doesn't take an output of the record that an operator has named: nothing of it is awaited, and there is no dead letter.
#[test]
fn a_record_that_an_operator_leaves_out_is_skipped_if_its_output_is_too_large() {
    for then in [OnFailure::Stop, OnFailure::Hold, OnFailure::DeadLetter] {
        let now = World::new(then, &[], &[]).now;
        let mut state = PartitionState::new(policy(then), id(0), Offset(100), false);
        let _ = state.handle(now, Event::LeaveOut { offset: 100 });
        let _ = state.handle(now, Event::Received { offsets: &[100], leader_epoch: 0, strands: &[] });
        let seqs = Seqs::consecutive(Seq::first_of(id(0)), 1);
        let _ = state.handle(now, Event::Dispatched { strand: 0, seqs });
        let run = state.run(0);
        let _ = state.handle(now, Event::Ran { strand: 0, run, seqs, outputs: &[1], failed: &[], failure: None });
        let failure = Failure::new(Kind::TooLarge, None, "planned");
        let actions: Vec<Action> =
            state.handle(now, Event::Unsendable { seq: seqs.first(), unsent: 1, failure: &failure }).collect();
        assert!(matches!(&actions[..], [Action::Skip { .. }, ..]), "{then:?}: {actions:?}");
        assert_eq!(state.low(), Offset(101), "{then:?}");
    }
}
