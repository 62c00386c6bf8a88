//! PURE. One partition's path from fetched to committed.
//!
//! [`PartitionState::handle`] takes one [`Event`] and returns what the worker has to do about it. It owns which records are in
//! flight, which are settled, who waits for a retry, and what may be committed. It has no clock, thread, Kafka or WebAssembly,
//! and holds no records: those are the worker's, found by their [`Seq`]. Invariants: `invariant.rs`.
//!
//! ```text
//!            Received          Ran             Delivered
//!  (start) ---------> waiting -----> unsettled ---------> settled --> Store(low)
//!                        ^  |
//!                 RunAgain  | retry: the record and all behind it wait
//!                        +--+
//!  a record that can't be helped is given up (a dead letter or nothing takes its place) or stops the pipeline
//!  Revoke, Drain: waiting records are given back; when the rest is settled or the deadline passes: Released
//!  Rewind: everything unsettled is forgotten; late results carry the number of an older assignment and change nothing
//! ```

mod breaker;
mod invariant;
mod policy;
mod retry;
mod watermark;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

pub use breaker::Flood;
pub use breaker::Trip;
pub use policy::Policy;
pub use policy::Retries;
pub use policy::Then;
pub use watermark::Settled;

use crate::failure::Class;
use crate::failure::Failure;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use breaker::Breaker;
use retry::Verdict;
use retry::Waiting;
use watermark::Fate;
use watermark::Watermark;

/// A partition that is assigned to this worker.
#[derive(Clone, Debug)]
pub struct PartitionState {
    policy: Policy,
    /// The assignment of what is handed out and sent now.
    assignment: AssignmentId,
    /// Grows when records that were handed to an executor must run again: what it returns of the run before is stale.
    run: u32,
    watermark: Watermark,
    /// What the worker was last told to store.
    stored: Option<Offset>,
    waiting: Option<Waiting>,
    /// The next record to be handed to an executor.
    next_run: Seq,
    /// Records handed to an executor and not yet returned, of any run.
    running: usize,
    /// The lowest record that failed for good.
    stopped_at: Option<Seq>,
    breaker: Breaker,
    /// Records of an assignment are numbered below this.
    numbers: u64,
    /// The records of which the broker refused an output, by offset, and why: their turn comes again, and then they are given up.
    refused: BTreeMap<i64, Failure>,
    /// Whether an output will never be acknowledged.
    missing: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing is handed out any more; what is out may come back until the deadline.
    Draining {
        deadline: Instant,
    },
    /// A record failed for good: nothing at or above it is sent.
    Stopped,
    Released,
}

/// A record that is tried again, while those behind it wait.
#[derive(Clone, Copy, Debug)]
pub struct Retried<'a> {
    /// Where it stands.
    pub offset: i64,
    /// How often it was tried.
    pub tries: u32,
    /// When it failed for the first time.
    pub since: Instant,
    /// Why it failed the last time.
    pub failure: &'a Failure,
}

/// What follows from a record that can't be helped.
#[derive(Clone, Copy, Debug)]
enum Judged {
    GiveUp(Fate),
    Stop,
    Trip(Trip),
}

/// What happened to a partition.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Records were received, in ascending order.
    Received {
        /// Their offsets.
        offsets: &'a [i64],
        /// The leader epoch under which they were fetched, -1 if unknown.
        leader_epoch: i32,
    },
    /// The next so many records were handed to an executor.
    Dispatched {
        /// How many.
        records: usize,
    },
    /// An executor returned records that it was handed.
    Ran {
        /// The run in which they were handed out.
        run: u32,
        /// The first of them.
        first: Seq,
        /// For each record that is done, in order, the number of its outputs.
        outputs: &'a [u32],
        /// Those among them that failed for good, by their places in `outputs`, ascending, and why: empty unless the policy
        /// [goes on](Policy::goes_on).
        failed: &'a [(usize, Failure)],
        /// The failure of the record behind these, if it failed.
        failure: Option<&'a Failure>,
        /// How many records come back with this event, run or not.
        returned: usize,
    },
    /// The broker acknowledged one output of each record from `first` to `last`.
    Delivered {
        /// The first of them.
        first: Seq,
        /// The last of them.
        last: Seq,
    },
    /// An output of a record can't be sent. The record is at hand.
    Unsendable {
        /// The record.
        seq: Seq,
        /// So many of its outputs were not sent, and won't be.
        unsent: u32,
        /// Why.
        failure: &'a Failure,
    },
    /// The broker refuses an output of a record. The record isn't at hand any more.
    Refused {
        /// The record.
        seq: Seq,
        /// Why.
        failure: &'a Failure,
    },
    /// An output was not delivered for a reason that is neither its record's nor the producer's.
    Undelivered {
        /// The record.
        seq: Seq,
    },
    /// A record can be neither processed nor given up.
    Hopeless {
        /// The record.
        seq: Seq,
        /// Why.
        failure: &'a Failure,
    },
    /// The consumer stands here, and holds no record that was not received.
    Position {
        /// Where.
        position: Offset,
    },
    /// The partition goes to another worker, or the pipeline ends: finish what is out by `deadline`.
    Drain {
        /// When the wait ends.
        deadline: Instant,
    },
    /// From here on this policy counts. Nothing is out: neither at an executor nor at the broker.
    Policy(Policy),
    /// Everything unsettled is read again: outputs may be missing for a reason that is not a record's, or it was asked for by
    /// [`Action::Rewind`].
    Rewind {
        /// From here on what carries another number changes nothing.
        assignment: AssignmentId,
    },
    /// Time has passed.
    Tick,
}

/// What the worker has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hand the outputs of the records returned by this event to the producer, up to this one.
    Send {
        /// The first record whose outputs are not sent.
        upto: Seq,
    },
    /// Hold these records, of this event's batch and of what was queued behind it, for another run.
    RunAgain {
        /// The first of them.
        from: Seq,
        /// How often the first was tried before.
        attempt: u32,
        /// Not before this.
        at: Instant,
    },
    /// This event's records from `from` on come back to the queue as they are: their run ended before their turn.
    Requeue {
        /// The first of them.
        from: Seq,
    },
    /// Give up this record, which this event is about: drop its outputs and send a dead letter in their place.
    DeadLetter {
        /// The record.
        seq: Seq,
        /// How often its turn came.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Give up this record, which this event is about: drop its outputs.
    Skip {
        /// The record.
        seq: Seq,
        /// How often its turn came.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Store this offset; it is committed with the next commit.
    Store {
        /// Everything below is settled.
        offset: Offset,
        /// The leader epoch of the last settled record, -1 if unknown.
        leader_epoch: i32,
        /// What is to be known of the records below after a restart, see [`PartitionState::with_counts`]: a word, or empty.
        counts: String,
    },
    /// A record failed for good and the policy says stop: end the pipeline.
    Stop {
        /// The record.
        offset: i64,
        /// How often it was tried.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Too many records broke the guest or were rejected: end the pipeline instead of giving up one after the other.
    Trip {
        /// The record at which it stops.
        offset: i64,
        /// What the breaker saw.
        trip: Trip,
        /// Why the last one failed.
        failure: Failure,
    },
    /// Drop the records that wait: nothing is handed out any more.
    DropQueue,
    /// Answer by [`Event::Rewind`], with a number that nothing in flight has.
    Rewind,
    /// Read again from here.
    Seek {
        /// The first record to read.
        offset: Offset,
    },
    /// The drain is over.
    Released {
        /// Whether everything that was out is settled; otherwise it is going to be repeated.
        settled: bool,
    },
}

impl Event<'_> {
    /// The assignment that the event is about; `None` if it is about the partition as it is now.
    fn assignment(&self) -> Option<AssignmentId> {
        match self {
            Event::Ran { first, .. } | Event::Delivered { first, .. } => Some(first.assignment()),
            Event::Unsendable { seq, .. }
            | Event::Refused { seq, .. }
            | Event::Undelivered { seq }
            | Event::Hopeless { seq, .. } => Some(seq.assignment()),
            Event::Received { .. }
            | Event::Dispatched { .. }
            | Event::Position { .. }
            | Event::Drain { .. }
            | Event::Policy(_)
            | Event::Rewind { .. }
            | Event::Tick => None,
        }
    }
}

impl PartitionState {
    /// A partition that was just assigned, to be read from `start`. An offset that is not yet committed (`commit_start`) is
    /// stored with the first event, so that a start at the end of the topic holds after a crash.
    #[must_use]
    pub fn new(policy: Policy, assignment: AssignmentId, start: Offset, commit_start: bool) -> PartitionState {
        PartitionState {
            policy,
            assignment,
            run: 0,
            watermark: Watermark::new(assignment, start),
            stored: (!commit_start).then_some(start),
            waiting: None,
            next_run: Seq::first_of(assignment),
            running: 0,
            stopped_at: None,
            breaker: Breaker::new(policy.rejects_max),
            numbers: Seq::END,
            refused: BTreeMap::new(),
            missing: false,
            phase: Phase::Running,
        }
    }

    /// The same with what was counted before it was assigned: what came with a [`Action::Store`] of its start.
    #[must_use]
    pub fn with_counts(mut self, counts: &str) -> PartitionState {
        self.breaker.read(counts);
        self
    }

    /// The assignment of what is handed out and sent now.
    #[must_use]
    pub fn assignment(&self) -> AssignmentId {
        self.assignment
    }

    /// The run of what is handed out now.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Records received and not settled.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.watermark.in_flight()
    }

    /// The number that the next received record gets.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.watermark.next()
    }

    /// Everything below is settled.
    #[must_use]
    pub fn low(&self) -> Offset {
        self.watermark.low()
    }

    /// The offset of a record in flight.
    #[must_use]
    pub fn offset_of(&self, seq: Seq) -> Option<i64> {
        self.watermark.offset_of(seq)
    }

    /// The first record that is not settled.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.watermark.first()
    }

    /// The lowest record that failed for good: nothing of it or of those above it is sent any more.
    #[must_use]
    pub fn stops_at(&self) -> Option<Seq> {
        self.stopped_at
    }

    /// Whether each record that was handed to the producer is settled: nothing of it is at a broker or on the way there.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.watermark.is_acknowledged(None)
    }

    /// What was settled since the last call, for metrics.
    pub fn take_settled(&mut self) -> Settled {
        self.watermark.take_settled()
    }

    /// Until when the partition waits for a retry.
    #[must_use]
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.waiting.as_ref().map(Waiting::until).filter(|&until| until > now)
    }

    /// The record that is tried again and has no outcome yet, if there is one: whether it waits now or runs.
    #[must_use]
    pub fn retried(&self) -> Option<Retried<'_>> {
        let waiting = self.waiting.as_ref().filter(|waiting| waiting.seq == self.watermark.sent())?;
        let offset = self.watermark.offset_of(waiting.seq)?;
        let Waiting { tried, since, failure, .. } = waiting;
        (self.phase == Phase::Running).then_some(Retried { offset, tries: *tried, since: *since, failure })
    }

    /// Whether records that begin with `first` may be handed to an executor: nothing waits, and those before them are handed
    /// out. After a failure, what was handed out behind it may still be on its way back.
    #[must_use]
    pub fn may_dispatch(&self, now: Instant, first: Seq) -> bool {
        self.phase == Phase::Running
            && !self.is_due_to_rewind()
            && self.waits_until(now).is_none()
            && first == self.next_run
    }

    /// Whether records may still be received.
    #[must_use]
    pub fn may_receive(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Takes one event; the actions are to be executed in order. One that carries the number of another assignment changes nothing.
    pub fn handle(&mut self, now: Instant, event: Event<'_>) -> impl Iterator<Item = Action> + use<> {
        let mut actions = Vec::new();
        if event.assignment().is_some_and(|assignment| assignment != self.assignment) {
            return actions.into_iter();
        }
        match event {
            Event::Received { offsets, leader_epoch } => {
                if self.phase == Phase::Running {
                    self.watermark.receive(offsets, leader_epoch);
                }
            }
            Event::Dispatched { records } => {
                self.running += records;
                self.next_run = self.next_run.plus(records);
            }
            Event::Ran { run, first, outputs, failed, failure, returned } => {
                self.running = self.running.saturating_sub(returned);
                self.ran(now, run, first, outputs, failed, failure, returned, &mut actions);
            }
            Event::Delivered { first, last } => {
                if self.phase != Phase::Released {
                    self.watermark.acknowledge(first, last);
                }
            }
            Event::Unsendable { seq, unsent, failure } => {
                if self.phase != Phase::Released {
                    self.unsendable(seq, unsent, failure, &mut actions);
                }
            }
            Event::Refused { seq, failure } => {
                if self.phase != Phase::Released {
                    self.refused(seq, failure);
                }
            }
            Event::Undelivered { seq } => {
                if self.phase != Phase::Released {
                    self.watermark.miss(seq);
                    self.missing = true;
                }
            }
            Event::Hopeless { seq, failure } => {
                if self.phase != Phase::Released {
                    self.stop(seq, failure, &mut actions);
                }
            }
            Event::Position { position } => self.watermark.advance_position(position),
            Event::Drain { deadline } => self.drain(deadline, &mut actions),
            Event::Policy(policy) => {
                self.policy = policy;
                self.breaker.allow_rejects(policy.rejects_max);
            }
            Event::Rewind { assignment } => self.rewind(assignment, &mut actions),
            Event::Tick => {
                if self.phase != Phase::Released && self.is_due_to_rewind() && self.watermark.is_reported() {
                    actions.push(Action::Rewind);
                }
            }
        }
        self.store(&mut actions);
        self.release(now, &mut actions);
        debug_assert_eq!(invariant::broken(self), None);
        actions.into_iter()
    }

    /// Whether records that come back in this run are taken as they are: else they are run again.
    #[must_use]
    pub fn takes(&self, run: u32, first: Seq) -> bool {
        !(self.is_due_to_rewind() || matches!(self.phase, Phase::Stopped | Phase::Released))
            && (run, first) == (self.run, self.watermark.sent())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn ran(
        &mut self,
        now: Instant,
        run: u32,
        first: Seq,
        outputs: &[u32],
        failed: &[(usize, Failure)],
        failure: Option<&Failure>,
        returned: usize,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.phase, Phase::Stopped | Phase::Released) {
            return;
        }
        if !self.takes(run, first) {
            actions.push(Action::Requeue { from: first });
            return;
        }
        let failed = self.with_refused(first, outputs.len(), failed);
        let (done, worst) = self.give_up_among(first, outputs, &failed, actions);
        let end = self.watermark.sent();
        if done > 0 {
            actions.push(Action::Send { upto: end });
        }
        if let Some((verdict, failure)) = worst {
            self.end_at(end, verdict, failure, actions);
            return;
        }
        let Some(failure) = failure else {
            if outputs.len() < returned {
                // The executor gave up early: what it holds of this run comes back too.
                self.run_again_from(end);
                actions.push(Action::Requeue { from: end });
            }
            return;
        };
        match failure.kind.class() {
            Class::Retry => match retry::again(&self.policy, now, end, failure, self.waiting.as_ref()) {
                Verdict::Again(waiting, attempt) => {
                    actions.push(Action::RunAgain { from: end, attempt, at: waiting.until() });
                    self.waiting = Some(waiting);
                    self.run_again_from(end);
                }
                Verdict::Spent => self.give_up_next(end, failure, actions),
            },
            Class::Reject | Class::Fault | Class::Refused | Class::Again | Class::Halt | Class::Infrastructure => {
                self.give_up_next(end, failure, actions);
            }
        }
    }

    /// The records that failed, and those of which the broker refused an output when they ran before.
    fn with_refused<'f>(
        &self,
        first: Seq,
        count: usize,
        failed: &'f [(usize, Failure)],
    ) -> Cow<'f, [(usize, Failure)]> {
        if self.refused.is_empty() {
            return Cow::Borrowed(failed);
        }
        let found = (0..count).filter_map(|place| {
            let own = failed.iter().find(|(other, _)| *other == place).map(|(_, failure)| failure);
            let before = || self.refused.get(&self.watermark.offset_of(first.plus(place))?);
            own.or_else(before).map(|failure| (place, failure.clone()))
        });
        Cow::Owned(found.collect())
    }

    /// Gives the next records their outcome, and gives up those among them that failed, up to the one at which the pipeline stops:
    /// how many were done, and why it stops, if it does.
    fn give_up_among<'f>(
        &mut self,
        first: Seq,
        outputs: &[u32],
        failed: &'f [(usize, Failure)],
        actions: &mut Vec<Action>,
    ) -> (usize, Option<(Judged, &'f Failure)>) {
        let mut fates = Vec::new();
        let mut at = 0;
        let mut worst = None;
        for (place, failure) in failed {
            self.breaker.passed(place - at);
            at = *place;
            match self.judge(failure) {
                Judged::GiveUp(fate) => fates.push((*place, fate)),
                stops @ (Judged::Stop | Judged::Trip(_)) => {
                    worst = Some((stops, failure));
                    break;
                }
            }
            actions.push(self.given_up(first.plus(*place), failure));
            at += 1;
        }
        let done = if worst.is_some() { at } else { outputs.len() };
        self.breaker.passed(done - at);
        self.watermark.send(&outputs[..done], &fates);
        (done, worst)
    }

    /// Gives up the next record without an outcome; what was handed out behind it has ended with it and runs again.
    fn give_up_next(&mut self, seq: Seq, failure: &Failure, actions: &mut Vec<Action>) {
        match self.judge(failure) {
            Judged::GiveUp(fate) => {
                actions.push(self.given_up(seq, failure));
                self.watermark.send(&[0], &[(0, fate)]);
                self.run_again_from(seq.plus(1));
                actions.push(Action::Requeue { from: seq.plus(1) });
            }
            stops @ (Judged::Stop | Judged::Trip(_)) => self.end_at(seq, stops, failure, actions),
        }
    }

    /// What follows from a record that can't be helped, which is the next to be counted.
    fn judge(&mut self, failure: &Failure) -> Judged {
        let fate = match self.policy.then {
            Then::Stop => return Judged::Stop,
            Then::DeadLetter => Fate::DeadLettered,
            Then::Skip => Fate::Skipped,
        };
        match self.breaker.failed(failure.kind.class()) {
            Some(trip) => Judged::Trip(trip),
            None => Judged::GiveUp(fate),
        }
    }

    /// What the worker has to do about a record that is given up.
    fn given_up(&self, seq: Seq, failure: &Failure) -> Action {
        let tries = retry::tries(seq, self.waiting.as_ref()) + 1;
        let failure = failure.clone();
        match self.policy.then {
            Then::Skip => Action::Skip { seq, tries, failure },
            Then::DeadLetter | Then::Stop => Action::DeadLetter { seq, tries, failure },
        }
    }

    /// An output of a record that has its outcome can't be sent.
    fn unsendable(&mut self, seq: Seq, unsent: u32, failure: &Failure, actions: &mut Vec<Action>) {
        let fate = match self.policy.then {
            Then::Stop => return self.stop(seq, failure, actions),
            Then::DeadLetter => Fate::DeadLettered,
            Then::Skip => Fate::Skipped,
        };
        if self.watermark.give_up(seq, fate, unsent) {
            actions.push(self.given_up(seq, failure));
        }
    }

    /// The broker refused an output of a record: everything unsettled is read again, and then it is the record's turn to be given up, or
    /// to stop the pipeline, which has sent all that is below it by then.
    fn refused(&mut self, seq: Seq, failure: &Failure) {
        if let Some(offset) = self.watermark.offset_of(seq) {
            self.refused.insert(offset, failure.clone());
            self.watermark.miss(seq);
            self.missing = true;
        }
    }

    /// The pipeline ends at a record.
    fn end_at(&mut self, seq: Seq, why: Judged, failure: &Failure, actions: &mut Vec<Action>) {
        match why {
            Judged::Trip(trip) => {
                let offset = self.watermark.offset_of(seq).unwrap_or_else(|| self.watermark.low().0);
                if self.stop_at(seq, actions) {
                    actions.push(Action::Trip { offset, trip, failure: failure.clone() });
                }
            }
            Judged::Stop | Judged::GiveUp(_) => self.stop(seq, failure, actions),
        }
    }

    /// What was handed out of this record and behind it is of no use.
    fn run_again_from(&mut self, seq: Seq) {
        self.run += 1;
        self.next_run = seq;
    }

    /// A record ends the pipeline.
    fn stop(&mut self, seq: Seq, failure: &Failure, actions: &mut Vec<Action>) {
        let offset = self.watermark.offset_of(seq).unwrap_or_else(|| self.watermark.low().0);
        let tries = retry::tries(seq, self.waiting.as_ref()) + 1;
        if self.stop_at(seq, actions) {
            actions.push(Action::Stop { offset, tries, failure: failure.clone() });
        }
    }

    /// Nothing at or above this record is sent any more. `false` if that is so already.
    fn stop_at(&mut self, seq: Seq, actions: &mut Vec<Action>) -> bool {
        self.stopped_at = Some(self.stopped_at.map_or(seq, |at| at.min(seq)));
        if self.phase == Phase::Stopped {
            return false;
        }
        self.phase = Phase::Stopped;
        actions.push(Action::DropQueue);
        true
    }

    fn drain(&mut self, deadline: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => actions.push(Action::DropQueue),
            // A stopped partition drains as well: what it sent below the record is still to be acknowledged. What an
            // executor still holds of it is not waited for, as nothing at or above the record is sent.
            Phase::Stopped => {
                self.watermark.forget_unsent();
                self.running = 0;
                self.run += 1;
            }
            Phase::Draining { .. } | Phase::Released => return,
        }
        self.phase = Phase::Draining { deadline };
    }

    fn rewind(&mut self, assignment: AssignmentId, actions: &mut Vec<Action>) {
        let low = self.watermark.low();
        let settled = self.watermark.take_settled();
        self.missing = false;
        self.breaker.rewind(self.unsettled());
        self.assignment = assignment;
        self.run = 0;
        self.next_run = Seq::first_of(assignment);
        self.running = 0;
        self.waiting = None;
        self.watermark = Watermark::new(assignment, low);
        self.watermark.restore_settled(settled);
        self.stopped_at = None;
        actions.push(Action::DropQueue);
        match self.phase {
            // A record that stopped it comes again, and stops it then. An end has it drain, so here nobody knows yet that it stopped.
            Phase::Running | Phase::Stopped => {
                self.phase = Phase::Running;
                actions.push(Action::Seek { offset: low });
            }
            // There is no time to do it again: what was not acknowledged is repeated by whoever reads it next.
            Phase::Draining { .. } => {
                self.phase = Phase::Released;
                actions.push(Action::Released { settled: false });
            }
            Phase::Released => {}
        }
    }

    /// Records that have their outcome and aren't settled.
    fn unsettled(&self) -> u64 {
        self.watermark.sent().n() - self.watermark.first().n()
    }

    /// Whether what is not settled is to be read again. Nothing is handed out or sent then, and it is done when something was reported of all that
    /// was sent: earlier, what is still on its way would be sent twice.
    fn is_due_to_rewind(&self) -> bool {
        self.missing || self.is_out_of_numbers()
    }

    /// Whether the numbers of this assignment come to their end. Far from it nothing may be in flight, so that nothing is repeated.
    fn is_out_of_numbers(&self) -> bool {
        let next = self.watermark.next().n();
        let is_idle = self.watermark.in_flight() == 0 && self.running == 0;
        self.phase == Phase::Running
            && (next >= self.numbers - self.numbers / 8 || (next >= self.numbers / 2 && is_idle))
    }

    fn store(&mut self, actions: &mut Vec<Action>) {
        let low = self.watermark.low();
        if self.phase != Phase::Released && self.stored.is_none_or(|stored| stored < low) {
            self.stored = Some(low);
            if !self.refused.is_empty() {
                self.refused = self.refused.split_off(&low.0);
            }
            let counts = self.breaker.text(self.unsettled());
            actions.push(Action::Store { offset: low, leader_epoch: self.watermark.leader_epoch(), counts });
        }
    }

    fn release(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Draining { deadline } = self.phase else { return };
        let settled = self.running == 0 && self.watermark.is_acknowledged(self.stopped_at);
        if settled || now >= deadline {
            self.phase = Phase::Released;
            actions.push(Action::Released { settled });
        }
    }
}

/// The longest wait for which a partition is merely not handed out; for longer ones its fetching is paused, which throws its
/// prefetched records away.
pub const WAIT_WITHOUT_PAUSE: Duration = Duration::from_secs(1);
