//! The session against a naive group, over random schedules.
//!
//! The group is a client that expects one answer to each rebalance and notices a second one. Partitions are tasks that drain when
//! they have to, or never. Questions and commits are answered late, in part, twice or never. Whatever happens in whatever order,
//! a worker that has to end does so by its deadline, and one that doesn't reads every partition that it was assigned.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::kafka::consumer::Position;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::StartOf;
use crate::kafka::settings::OnRecreate;
use crate::record::Offset;
use crate::worker::clock;
use crate::worker::end::End;

mod world;

use world::World;
use world::partition;
use world::settings;
use world::start_of;

const DRAIN: Duration = Duration::from_millis(700);
const SHUTDOWN: Duration = Duration::from_millis(1500);
const TICK: Duration = Duration::from_millis(50);
const PARTITIONS: i32 = 6;

/// One step of a schedule. Numbers are taken modulo the number of candidates; the bits of a mask are partitions.
#[derive(Clone, Debug)]
enum Step {
    Found,
    Assign(u8),
    Revoke(u8),
    Lose(u8),
    /// A question is answered: the starts of these partitions are known, those of the others are not.
    Answer(usize, u8),
    /// The same, and the answer may arrive again.
    AnswerTwice(usize, u8),
    /// A draining task has finished.
    Drained(usize),
    CommitEnded,
    TransactionFull,
    /// The worker has to end: for a failure if `true`, else for a requested shutdown.
    End(bool),
    /// The group refuses this member, for one of all reasons.
    Refuse(usize),
    /// The client takes the next step of leaving.
    Leaving,
    /// This many ticks pass.
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Found),
        8 => any::<u8>().prop_map(Step::Assign),
        6 => any::<u8>().prop_map(Step::Revoke),
        1 => any::<u8>().prop_map(Step::Lose),
        10 => (0_usize..9, prop_oneof![2 => Just(255), 1 => any::<u8>()]).prop_map(|(which, mask)| Step::Answer(which, mask)),
        2 => (0_usize..9, any::<u8>()).prop_map(|(which, mask)| Step::AnswerTwice(which, mask)),
        10 => (0_usize..9).prop_map(Step::Drained),
        8 => Just(Step::CommitEnded),
        2 => Just(Step::TransactionFull),
        1 => any::<bool>().prop_map(Step::End),
        1 => (0_usize..5).prop_map(Step::Refuse),
        3 => Just(Step::Leaving),
        8 => (1_u32..30).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_worker_ends_by_its_deadline_or_reads_every_assigned_partition(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
        if world.asked.is_some() {
            prop_assert!(world.has_ended, "it never ended");
        } else {
            prop_assert_eq!(&world.rebalance, &None, "a rebalance waits for its answer");
            let read: BTreeSet<TopicPartition> = world.tasks.keys().cloned().collect();
            prop_assert_eq!(&read, &world.assigned, "a partition is not read");
            prop_assert!(world.tasks.values().all(|task| task.drains.is_none()), "a partition that stays is not read any more");
            prop_assert!(world.session.is_member());
        }
    }
}

#[test]
fn a_full_transaction_is_committed_before_the_interval_and_once() {
    let now = clock::now();
    let mut session = Session::new(now, settings());
    session.handle(now, Event::TopicsFound);
    session.handle(now, Event::Assigned(vec![partition(0)]));
    let starts = vec![start_of(&partition(0), 1, None)];
    session.handle(now, Event::Starts { question: 1, starts, unknown: Vec::new() });
    let mut commits = |event| session.handle(now, event).iter().filter(|a| matches!(a, Action::Commit)).count();
    assert_eq!([Event::Tick, Event::CommitDue, Event::CommitDue].map(&mut commits), [0, 1, 0]);
    assert_eq!([Event::CommitEnded, Event::CommitDue].map(&mut commits), [0, 1]);
}

#[test]
fn an_offset_of_a_deleted_topic_ends_the_worker_or_is_reported() {
    let id = |text: &str| text.parse().expect("an id");
    let other = Other { was: id("ASNFZ4mrze_-3LqYdlQyEA"), is: id("ASNFZ4mrze_-3LqYdlQyEQ"), committed: Offset(7) };
    for on_recreate in [OnRecreate::Stop, OnRecreate::Beginning] {
        let now = clock::now();
        let mut session = Session::new(now, Settings { on_recreate, ..settings() });
        session.handle(now, Event::TopicsFound);
        session.handle(now, Event::Assigned(vec![partition(0)]));
        let starts = vec![start_of(&partition(0), 1, Some(other))];
        let actions = session.handle(now, Event::Starts { question: 1, starts, unknown: Vec::new() });
        let is_told = actions.iter().any(|action| matches!(action, Action::Recreated(..)));
        let starts = actions.iter().any(|action| matches!(action, Action::Start(_)));
        match on_recreate {
            OnRecreate::Stop => assert!(matches!(session.cause(), Some(Cause::Recreated(..))) && !starts),
            OnRecreate::Beginning => assert!(is_told && starts && !session.is_ending()),
        }
    }
}

#[test]
fn partitions_without_a_start_are_asked_about_each_second_and_hold_up_no_other() {
    let now = clock::now();
    let mut session = Session::new(now, settings());
    session.handle(now, Event::TopicsFound);
    session.handle(now, Event::Assigned(vec![partition(0), partition(1)]));
    let unknown = vec![(partition(1), "no leader".to_owned())];
    session.handle(now, Event::Starts { question: 1, starts: vec![start_of(&partition(0), 1, None)], unknown });
    assert!(session.is_member());
    assert_eq!(session.unstarted().collect::<Vec<_>>(), [(&partition(1), Some("no leader"))]);
    let mut asked = Vec::new();
    for tick in 1..=25 {
        let now = now + TICK * tick;
        for action in session.handle(now, Event::Tick) {
            if let Action::AskStarts { question, partitions } = action {
                asked.push((tick, question, partitions));
            }
        }
    }
    assert_eq!(asked, [(20, 2, vec![partition(1)])], "and not again before that is answered");
}
