//! The session against a naive group, over random schedules.
//!
//! The group is a client that asks for one answer to each rebalance and notices a second one; partitions are lanes that drain when they
//! are told to, or never; questions are answered late, in part, twice or never, and so are commits. Whatever comes in whatever order, a
//! worker that is to end does so by its deadline, and one that isn't reads every partition that it was given.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::kafka::consumer::Position;
use crate::record::Offset;
use crate::worker::clock;
use crate::worker::end::End;

const DRAIN: Duration = Duration::from_millis(700);
const SHUTDOWN: Duration = Duration::from_millis(1500);
const TICK: Duration = Duration::from_millis(50);
const PARTITIONS: i32 = 6;

/// One step of a schedule. Numbers are taken modulo what there is; the bits of a mask are partitions.
#[derive(Clone, Debug)]
enum Step {
    Found,
    Assign(u8),
    Revoke(u8),
    Lose(u8),
    /// A question is answered: these partitions are known, the others have no answer.
    Answer(usize, u8),
    /// The same answer may come once more.
    AnswerTwice(usize, u8),
    /// A lane that drains is done.
    Drained(usize),
    CommitEnded,
    /// The pipeline is to end: as somebody asks for it, or by a failure.
    End(bool),
    /// The client goes on with leaving.
    Leaving,
    /// So many ticks go by.
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
        1 => any::<bool>().prop_map(Step::End),
        3 => Just(Step::Leaving),
        8 => (1_u32..30).prop_map(Step::Wait),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Rebalance {
    Assign(BTreeSet<TopicPartition>),
    Revoke { partitions: BTreeSet<TopicPartition>, is_lost: bool, since: Instant },
}

/// What becomes of a partition that is read.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// Since when it drains, and by when that is over at the latest.
    drains: Option<Instant>,
    is_released: bool,
    /// A commit began after that.
    is_committed: bool,
}

struct World {
    session: Session,
    now: Instant,
    is_subscribed: bool,
    /// What the group gave to this worker.
    assigned: BTreeSet<TopicPartition>,
    /// The rebalance that waits for its answer.
    rebalance: Option<Rebalance>,
    /// How often each partition was given to this worker: the answer to a question of an earlier stay is of no use.
    stays: BTreeMap<TopicPartition, i64>,
    questions: Vec<(u64, Vec<StartOf>)>,
    lanes: BTreeMap<TopicPartition, Lane>,
    is_committing: bool,
    is_leaving: bool,
    has_ended: bool,
    /// When it was first asked to end.
    asked: Option<Instant>,
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: number }
}

fn chosen(mask: u8, among: impl Fn(&TopicPartition) -> bool) -> BTreeSet<TopicPartition> {
    (0..PARTITIONS).filter(|number| mask >> number & 1 == 1).map(partition).filter(among).collect()
}

fn start_of(partition: &TopicPartition, stay: i64, other: Option<Other>) -> StartOf {
    let position =
        Position { partition: partition.clone(), offset: Offset(stay), leader_epoch: -1, note: Arc::default() };
    StartOf { position, committed: true, topic: None, other }
}

fn settings() -> Settings {
    Settings {
        drain_timeout: DRAIN,
        shutdown_timeout: SHUTDOWN,
        on_recreate: OnRecreate::Stop,
        commit_every: Duration::from_millis(300),
    }
}

impl World {
    fn new() -> World {
        let now = clock::now();
        World {
            session: Session::new(now, settings()),
            now,
            is_subscribed: false,
            assigned: BTreeSet::new(),
            rebalance: None,
            stays: BTreeMap::new(),
            questions: Vec::new(),
            lanes: BTreeMap::new(),
            is_committing: false,
            is_leaving: false,
            has_ended: false,
            asked: None,
        }
    }

    fn tell(&mut self, event: Event) {
        let mut todo = self.session.handle(self.now, event);
        while !todo.is_empty() {
            let action = todo.remove(0);
            for event in self.carry_out(action) {
                todo.extend(self.session.handle(self.now, event));
            }
        }
    }

    /// Carries out an action; what follows from it at once.
    fn carry_out(&mut self, action: Action) -> Vec<Event> {
        assert!(!self.has_ended, "{action:?} after the end");
        match action {
            Action::Subscribe => {
                assert!(!self.is_subscribed && !self.is_leaving);
                self.is_subscribed = true;
            }
            Action::AskStarts { question, partitions } => {
                assert!(partitions.iter().all(|partition| self.assigned.contains(partition)), "asked about others'");
                assert!(self.asked.is_none(), "asked where partitions start that nobody will read");
                let starts = partitions.iter().map(|partition| start_of(partition, self.stays[partition], None));
                self.questions.push((question, starts.collect()));
            }
            Action::Start(starts) => {
                for StartOf { position, .. } in &starts {
                    assert_eq!(position.offset.0, self.stays[&position.partition], "that is where it started before");
                }
                let started: Vec<TopicPartition> = starts.into_iter().map(|start| start.position.partition).collect();
                match self.rebalance.take() {
                    Some(Rebalance::Assign(_)) => {}
                    Some(other) => panic!("{started:?} would be taken for the answer to {other:?}"),
                    None => assert!(!started.is_empty(), "an assignment was answered twice"),
                }
                assert!(started.is_empty() || !self.session.is_ending(), "partitions start while it ends");
                for partition in started {
                    assert!(self.assigned.contains(&partition), "{partition} is not this worker's");
                    assert!(self.lanes.insert(partition, Lane::default()).is_none(), "it started twice");
                }
            }
            Action::Drain { partitions, deadline } => {
                for partition in partitions {
                    let lane = self.lanes.get_mut(&partition).expect("what drains is read");
                    lane.drains = Some(lane.drains.map_or(deadline, |other| other.min(deadline)));
                }
            }
            Action::Release(partitions) => {
                for partition in partitions {
                    let lane = self.lanes.get_mut(&partition).expect("what is released is read");
                    assert!(lane.drains.is_some_and(|deadline| self.now >= deadline), "it had time to drain");
                    lane.is_released = true;
                }
            }
            Action::Commit => {
                assert!(!std::mem::replace(&mut self.is_committing, true), "two commits at once");
                self.lanes.values_mut().for_each(|lane| lane.is_committed |= lane.is_released);
            }
            Action::GiveBack(partitions) => {
                let Some(Rebalance::Revoke { partitions: revoked, is_lost, since }) = self.rebalance.take() else {
                    panic!("{partitions:?} were given back, and nobody asked");
                };
                let given: BTreeSet<TopicPartition> = partitions.into_iter().collect();
                let read: BTreeSet<TopicPartition> =
                    revoked.iter().filter(|partition| self.lanes.contains_key(partition)).cloned().collect();
                assert_eq!(given, read, "what was read is given back, and nothing else");
                for partition in &given {
                    let lane = self.lanes.remove(partition).expect("it is read");
                    // The commit before it has no answer.
                    let is_late = self.now >= since + DRAIN && self.is_committing;
                    assert!(
                        is_lost || self.is_leaving || (lane.is_released && (lane.is_committed || is_late)),
                        "{partition} was given back before it was drained and committed"
                    );
                }
                self.assigned = &self.assigned - &revoked;
            }
            Action::Leave { unanswered } => {
                assert!(!std::mem::replace(&mut self.is_leaving, true), "it leaves twice");
                match (unanswered, self.rebalance.take()) {
                    (None, None) | (Some(Unanswered::Assignment), Some(Rebalance::Assign(_))) => {}
                    (Some(Unanswered::Revocation(_)), Some(Rebalance::Revoke { partitions, .. })) => {
                        self.assigned = &self.assigned - &partitions;
                        self.lanes.retain(|partition, _| !partitions.contains(partition));
                    }
                    (answer, rebalance) => panic!("{answer:?} is no answer to {rebalance:?}"),
                }
                let is_late = self.now >= self.asked.expect("it was asked to end") + SHUTDOWN;
                let is_done = self.lanes.values().all(|lane| lane.is_released);
                assert!(is_late || is_done, "it leaves while a partition drains");
            }
            Action::Ended => self.has_ended = true,
            Action::Joined | Action::Ending => {}
            Action::Recreated(..) => panic!("no topic was created again"),
        }
        Vec::new()
    }

    fn step(&mut self, step: &Step) {
        let is_free = self.is_subscribed && self.rebalance.is_none() && !self.is_leaving;
        match step {
            Step::Found => {
                if !self.is_subscribed {
                    self.tell(Event::TopicsFound);
                }
            }
            Step::Assign(mask) if is_free => {
                let partitions = chosen(*mask, |partition| !self.assigned.contains(partition));
                self.assigned.extend(partitions.iter().cloned());
                partitions.iter().for_each(|partition| *self.stays.entry(partition.clone()).or_default() += 1);
                self.rebalance = Some(Rebalance::Assign(partitions.clone()));
                self.tell(Event::Assigned(partitions.into_iter().collect()));
            }
            Step::Revoke(mask) if is_free => self.revoke(*mask, false),
            Step::Lose(mask) if is_free => self.revoke(*mask, true),
            Step::Answer(which, mask) | Step::AnswerTwice(which, mask) => {
                if self.questions.is_empty() {
                    return;
                }
                let which = which % self.questions.len();
                let (question, starts) = self.questions[which].clone();
                if matches!(step, Step::Answer(..)) {
                    self.questions.remove(which);
                }
                self.answer(question, starts, *mask);
            }
            Step::Drained(which) => {
                let out = self.draining();
                if let Some(partition) = out.get(which % out.len().max(1)) {
                    self.drained(partition.clone());
                }
            }
            Step::CommitEnded => {
                if std::mem::take(&mut self.is_committing) {
                    self.tell(Event::CommitEnded);
                }
            }
            Step::End(by_failure) => {
                if !self.has_ended {
                    self.asked.get_or_insert(self.now);
                    let end = if *by_failure { End::Bug("planned".into()) } else { End::Drained };
                    self.tell(Event::End(Cause::End(end)));
                }
            }
            Step::Leaving => self.go_on_leaving(),
            Step::Wait(ticks) => (0..*ticks).for_each(|_| self.tick()),
            Step::Assign(_) | Step::Revoke(_) | Step::Lose(_) => {}
        }
    }

    fn revoke(&mut self, mask: u8, is_lost: bool) {
        let partitions = chosen(mask, |partition| self.assigned.contains(partition));
        self.rebalance = Some(Rebalance::Revoke { partitions: partitions.clone(), is_lost, since: self.now });
        self.tell(Event::Revoked { partitions: partitions.into_iter().collect(), is_lost });
        assert!(!is_lost || self.rebalance.is_none(), "others may have them, and they are kept");
    }

    /// The lanes whose drain isn't over.
    fn draining(&self) -> Vec<TopicPartition> {
        let is_out = |(partition, lane): (&TopicPartition, &Lane)| {
            (lane.drains.is_some() && !lane.is_released).then(|| partition.clone())
        };
        self.lanes.iter().filter_map(is_out).collect()
    }

    fn answer(&mut self, question: u64, starts: Vec<StartOf>, mask: u8) {
        let (starts, unknown): (Vec<StartOf>, Vec<StartOf>) =
            starts.into_iter().partition(|start| mask >> start.position.partition.partition & 1 == 1);
        let unknown = unknown.into_iter().map(|start| (start.position.partition, "no leader".to_owned())).collect();
        self.tell(Event::Starts { question, starts, unknown });
    }

    fn drained(&mut self, partition: TopicPartition) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.is_released = true;
        }
        self.tell(Event::Released(partition));
    }

    /// A client that leaves has its partitions taken first.
    fn go_on_leaving(&mut self) {
        if !self.is_leaving || self.has_ended {
            return;
        }
        if self.assigned.is_empty() {
            self.tell(Event::Left);
        } else {
            self.revoke(255, false);
        }
    }

    fn tick(&mut self) {
        self.now += TICK;
        if !self.has_ended {
            self.tell(Event::Tick);
        }
        if let Some(asked) = self.asked {
            let last = asked + SHUTDOWN + LEAVING_LATE + 2 * TICK;
            assert!(self.has_ended || self.now < last, "it is over its deadline");
        }
    }

    /// Everything is answered from here on.
    fn finish(&mut self) {
        self.step(&Step::Found);
        for _ in 0..60 {
            while let Some((question, starts)) = self.questions.pop() {
                self.answer(question, starts, 255);
            }
            let out = self.draining();
            out.into_iter().for_each(|partition| self.drained(partition));
            self.step(&Step::CommitEnded);
            self.go_on_leaving();
            self.tick();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_by_its_deadline_or_reads_every_partition_that_it_was_given(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
        if world.asked.is_some() {
            prop_assert!(world.has_ended, "it never ended");
        } else {
            prop_assert_eq!(&world.rebalance, &None, "a rebalance waits for its answer");
            let read: BTreeSet<TopicPartition> = world.lanes.keys().cloned().collect();
            prop_assert_eq!(&read, &world.assigned, "a partition is not read");
            prop_assert!(world.lanes.values().all(|lane| lane.drains.is_none()), "a partition that stays is not read any more");
            prop_assert!(world.session.is_member());
        }
    }
}

#[test]
fn an_offset_of_another_topic_of_the_same_name_ends_it_or_is_told() {
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
fn what_has_no_answer_is_asked_again_each_second_and_holds_up_no_other() {
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
