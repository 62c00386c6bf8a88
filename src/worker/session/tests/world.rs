//! The naive group and its client, which carry out the session's actions.

use super::*;
use crate::kafka::membership::Refusal;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rebalance {
    Assign(BTreeSet<TopicPartition>),
    Revoke { partitions: BTreeSet<TopicPartition>, is_lost: bool, since: Instant },
}

/// A partition that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// The deadline of its drain, if it drains.
    pub(super) drains: Option<Instant>,
    is_released: bool,
    /// Whether a commit began after its release.
    is_committed: bool,
}

/// Whether the group was joined, whether it has ever accepted this member, and why it refuses it now.
#[derive(Default)]
pub(super) struct Membership {
    pub(super) is_subscribed: bool,
    has_joined: bool,
    refused: Option<Refusal>,
}

pub(super) struct World {
    pub(super) session: Session,
    pub(super) now: Instant,
    /// The assigned partitions.
    pub(super) assigned: BTreeSet<TopicPartition>,
    /// The unanswered rebalance.
    pub(super) rebalance: Option<Rebalance>,
    /// How often each partition was assigned: an answer about an earlier assignment must be ignored.
    pub(super) stays: BTreeMap<TopicPartition, i64>,
    pub(super) questions: Vec<(u64, Vec<StartOf>)>,
    pub(super) tasks: BTreeMap<TopicPartition, Reading>,
    pub(super) is_committing: bool,
    pub(super) is_leaving: bool,
    pub(super) has_ended: bool,
    pub(super) membership: Membership,
    /// When it first had to end.
    pub(super) asked: Option<Instant>,
}

pub(super) fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: number }
}

fn chosen(mask: u8, among: impl Fn(&TopicPartition) -> bool) -> BTreeSet<TopicPartition> {
    (0..PARTITIONS).filter(|number| mask >> number & 1 == 1).map(partition).filter(among).collect()
}

pub(super) fn start_of(partition: &TopicPartition, stay: i64, other: Option<Other>) -> StartOf {
    let position =
        Position { partition: partition.clone(), offset: Offset(stay), leader_epoch: -1, note: Arc::default() };
    StartOf { position, committed: true, topic: None, other }
}

pub(super) fn settings() -> Settings {
    Settings {
        drain_timeout: DRAIN,
        shutdown_timeout: SHUTDOWN,
        on_recreate: OnRecreate::Stop,
        commit_every: Duration::from_millis(300),
    }
}

impl World {
    pub(super) fn new() -> World {
        let now = clock::now();
        World {
            session: Session::new(now, settings()),
            now,
            assigned: BTreeSet::new(),
            rebalance: None,
            stays: BTreeMap::new(),
            questions: Vec::new(),
            tasks: BTreeMap::new(),
            is_committing: false,
            is_leaving: false,
            has_ended: false,
            membership: Membership::default(),
            asked: None,
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut todo = self.handle(event);
        while !todo.is_empty() {
            let action = todo.remove(0);
            for event in self.carry_out(action) {
                todo.extend(self.handle(event));
            }
        }
        self.has_ended = self.session.has_ended();
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let had_ended = self.session.has_ended();
        let actions = self.session.handle(self.now, event);
        assert!(!had_ended || actions.is_empty(), "{actions:?} after the end");
        actions
    }

    /// Carries out an action. Returns the events that follow at once.
    pub(super) fn carry_out(&mut self, action: Action) -> Vec<Event> {
        assert!(!self.has_ended, "{action:?} after the end");
        match action {
            Action::Subscribe => {
                assert!(!self.membership.is_subscribed && !self.is_leaving);
                self.membership.is_subscribed = true;
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
                    assert!(self.tasks.insert(partition, Reading::default()).is_none(), "it started twice");
                }
            }
            Action::Drain { partitions, deadline } => {
                for partition in partitions {
                    let task = self.tasks.get_mut(&partition).expect("what drains is read");
                    task.drains = Some(task.drains.map_or(deadline, |other| other.min(deadline)));
                }
            }
            Action::Release(partitions) => {
                for partition in partitions {
                    let task = self.tasks.get_mut(&partition).expect("what is released is read");
                    assert!(task.drains.is_some_and(|deadline| self.now >= deadline), "it had time to drain");
                    task.is_released = true;
                }
            }
            Action::Commit => {
                assert!(!std::mem::replace(&mut self.is_committing, true), "two commits at once");
                self.tasks.values_mut().for_each(|task| task.is_committed |= task.is_released);
            }
            Action::GiveBack(partitions) => {
                let Some(Rebalance::Revoke { partitions: revoked, is_lost, since }) = self.rebalance.take() else {
                    panic!("{partitions:?} were given back, and nobody asked");
                };
                let given: BTreeSet<TopicPartition> = partitions.into_iter().collect();
                let read: BTreeSet<TopicPartition> =
                    revoked.iter().filter(|partition| self.tasks.contains_key(partition)).cloned().collect();
                assert_eq!(given, read, "what was read is given back, and nothing else");
                for partition in &given {
                    let task = self.tasks.remove(partition).expect("it is read");
                    // Without a commit of its own only if the deadline passed while another commit was in flight.
                    let is_late = self.now >= since + DRAIN && self.is_committing;
                    assert!(
                        is_lost || self.is_leaving || (task.is_released && (task.is_committed || is_late)),
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
                        self.tasks.retain(|partition, _| !partitions.contains(partition));
                    }
                    (answer, rebalance) => panic!("{answer:?} is no answer to {rebalance:?}"),
                }
                let is_late = self.now >= self.asked.expect("it was asked to end") + SHUTDOWN;
                let is_done = self.tasks.values().all(|task| task.is_released);
                assert!(is_late || is_done, "it leaves while a partition drains");
            }
            Action::Joined => (self.membership.has_joined, self.membership.refused) = (true, None),
            Action::Ending => {}
            Action::SayRefused(_) => {
                assert!(self.asked.is_none() && self.membership.refused.is_some(), "nobody was refused")
            }
            Action::AskProtocol => assert_eq!(self.membership.refused, Some(Refusal::Protocol)),
            Action::Recreated(..) => panic!("no topic was created again"),
        }
        Vec::new()
    }

    pub(super) fn step(&mut self, step: &Step) {
        let is_free = self.membership.is_subscribed && self.rebalance.is_none() && !self.is_leaving;
        match step {
            Step::Found => {
                if !self.membership.is_subscribed {
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
            Step::TransactionFull => {
                if !self.has_ended {
                    self.tell(Event::CommitDue);
                }
            }
            Step::End(by_failure) => {
                if !self.has_ended {
                    self.asked.get_or_insert(self.now);
                    let end = if *by_failure { End::Bug("planned".into()) } else { End::Drained };
                    self.tell(Event::End(Cause::End(end)));
                }
            }
            Step::Refuse(which) if self.membership.is_subscribed && !self.is_leaving => self.refuse(*which),
            Step::Leaving => self.go_on_leaving(),
            Step::Wait(ticks) => (0..*ticks).for_each(|_| self.tick()),
            Step::Assign(_) | Step::Revoke(_) | Step::Lose(_) | Step::Refuse(_) => {}
        }
    }

    fn revoke(&mut self, mask: u8, is_lost: bool) {
        let partitions = chosen(mask, |partition| self.assigned.contains(partition));
        self.rebalance = Some(Rebalance::Revoke { partitions: partitions.clone(), is_lost, since: self.now });
        self.tell(Event::Revoked { partitions: partitions.into_iter().collect(), is_lost });
        assert!(!is_lost || self.rebalance.is_none(), "others may have them, and they are kept");
    }

    /// The tasks that still drain.
    fn draining(&self) -> Vec<TopicPartition> {
        let is_out = |(partition, task): (&TopicPartition, &Reading)| {
            (task.drains.is_some() && !task.is_released).then(|| partition.clone())
        };
        self.tasks.iter().filter_map(is_out).collect()
    }

    pub(super) fn answer(&mut self, question: u64, starts: Vec<StartOf>, mask: u8) {
        let (starts, unknown): (Vec<StartOf>, Vec<StartOf>) =
            starts.into_iter().partition(|start| mask >> start.position.partition.partition & 1 == 1);
        let unknown = unknown.into_iter().map(|start| (start.position.partition, "no leader".to_owned())).collect();
        self.tell(Event::Starts { question, starts, unknown });
    }

    pub(super) fn drained(&mut self, partition: TopicPartition) {
        if let Some(task) = self.tasks.get_mut(&partition) {
            task.is_released = true;
        }
        self.tell(Event::Released(partition));
    }

    /// The session remembers why it is refused, and ends for a mistake in its file if it was never accepted.
    fn refuse(&mut self, which: usize) {
        let all = [Refusal::SessionTimeout, Refusal::Protocol, Refusal::GroupName, Refusal::Full, Refusal::InstanceId];
        let refusal = all[which % all.len()];
        let was_ending = self.asked.is_some();
        if refusal.is_in_the_file() && !self.membership.has_joined {
            self.asked.get_or_insert(self.now);
        } else if !was_ending {
            self.membership.refused = Some(refusal);
        }
        self.tell(Event::Refused(refusal, "why".to_owned()));
        assert_eq!(self.session.is_ending(), self.asked.is_some());
        assert_eq!(self.session.is_refused(), self.membership.refused.is_some());
    }

    /// A client that leaves gets its partitions revoked first.
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

    pub(super) fn tick(&mut self) {
        self.now += TICK;
        if !self.has_ended {
            self.tell(Event::Tick);
        }
        if let Some(asked) = self.asked {
            let last = asked + SHUTDOWN + LEAVING_LATE + 2 * TICK;
            assert!(self.has_ended || self.now < last, "it is over its deadline");
        }
    }

    /// Answers everything from here on.
    pub(super) fn finish(&mut self) {
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
