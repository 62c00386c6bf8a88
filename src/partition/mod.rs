//! PURE. One partition's path from fetched to committed.
//!
//! [`PartitionState::handle`] takes one [`Event`] and returns what the worker has to do about it. Three values decide: the *ledger*, which
//! records are done and up to where; the *strand*, which may run now; the *breaker*, whether too many were given up. They have no clock,
//! thread, Kafka or WebAssembly, and hold no records: those are the worker's, found by their [`Seq`]. Invariants: `invariant.rs`.
//!
//! ```text
//!            Received          Ran             Delivered
//!  (start) ---------> queued ------> produced ----------> settled --> Store(low)
//!                        ^  |
//!                 RunAgain  | retry: the record and all of its strand behind it wait
//!                        +--+
//!  a record that can't be helped is given up (a dead letter or nothing takes its place) or stops the pipeline
//!  Drain: queued records are given back; when the rest is settled, the deadline passes or Release comes: Released
//!  Rewind: everything unsettled is forgotten; late results carry the number of an older assignment and change nothing
//! ```

mod breaker;
mod event;
mod invariant;
mod ledger;
mod outcomes;
mod policy;
mod strand;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

pub use breaker::BreakerTripped;
pub use breaker::Flood;
pub use event::Action;
pub use event::Event;
pub use ledger::Settled;
pub use policy::OnFailure;
pub use policy::Policy;
pub use policy::Retries;

use crate::failure::Failure;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use breaker::Breaker;
use ledger::Boundary;
use ledger::Ledger;
use strand::RetryTimer;
use strand::Strand;

/// A partition that is assigned to this worker.
#[derive(Clone, Debug)]
pub struct PartitionState {
    policy: Policy,
    ledger: Ledger,
    strand: Strand,
    breaker: Breaker,
    /// Records of an assignment are numbered below this.
    numbers: u64,
    /// The records of which the broker refused an output, by offset, and why: their turn comes again, and then they are given up.
    refused: BTreeMap<i64, Failure>,
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
    Stopped {
        /// Whether it drained already: then it is not read again.
        drains: bool,
    },
    /// The drain is over.
    Released {
        /// Whether everything that was out was settled by then.
        settled: bool,
    },
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

impl PartitionState {
    /// A partition that was just assigned, to be read from `start`. An offset that is not yet committed (`commit_start`) is
    /// stored with the first event, so that a start at the end of the topic holds after a crash.
    #[must_use]
    pub fn new(policy: Policy, assignment: AssignmentId, start: Offset, commit_start: bool) -> PartitionState {
        PartitionState {
            policy,
            ledger: Ledger::new(assignment, start, !commit_start),
            strand: Strand::new(Seq::first_of(assignment)),
            breaker: Breaker::new(policy.rejects_max),
            numbers: Seq::END,
            refused: BTreeMap::new(),
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
        self.ledger.assignment()
    }

    /// The run of what is handed out now.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.strand.run()
    }

    /// Records received and not settled.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ledger.in_flight()
    }

    /// The number that the next received record gets.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.ledger.next()
    }

    /// Everything below is settled.
    #[must_use]
    pub fn low(&self) -> Offset {
        self.ledger.low()
    }

    /// Everything below is committed, as the broker confirmed; `None` if nothing is.
    #[must_use]
    pub fn committed(&self) -> Option<Offset> {
        self.ledger.committed()
    }

    /// The offset of a record in flight.
    #[must_use]
    pub fn offset_of(&self, seq: Seq) -> Option<i64> {
        self.ledger.offset_of(seq)
    }

    /// The first record that is not settled.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.ledger.settled_prefix()
    }

    /// The lowest record that failed for good: nothing of it or of those above it is sent any more.
    #[must_use]
    pub fn stops_at(&self) -> Option<Seq> {
        self.ledger.ceiling()
    }

    /// Whether each record that was handed to the producer is settled: nothing of it is at a broker or on the way there.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.ledger.is_acknowledged()
    }

    /// Whether an output was handed over of which nothing was reported: of any record, be it one above that which stopped the partition.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.ledger.is_out()
    }

    /// Whether everything that was handed out is settled, up to the record that stopped the partition if one did. Once the drain is over it is
    /// what that came to.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Released { settled } => settled,
            Phase::Running | Phase::Draining { .. } | Phase::Stopped { .. } => {
                self.ledger.is_idle() && self.ledger.is_acknowledged()
            }
        }
    }

    /// Whether its drain is over.
    fn is_released(&self) -> bool {
        matches!(self.phase, Phase::Released { .. })
    }

    /// What was settled since the last call, for metrics.
    pub fn take_settled(&mut self) -> Settled {
        self.ledger.take_settled()
    }

    /// Until when the partition waits for a retry.
    #[must_use]
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.strand.waits_until(now)
    }

    /// The record that is tried again and has no outcome yet, if there is one: whether it waits now or runs.
    #[must_use]
    pub fn retried(&self) -> Option<Retried<'_>> {
        let RetryTimer { tries, since, failure, .. } = self.strand.retried()?;
        let offset = self.ledger.offset_of(self.strand.due())?;
        (self.phase == Phase::Running).then_some(Retried { offset, tries: *tries, since: *since, failure })
    }

    /// Whether records that begin with `first` may be handed to an executor: nothing waits, and those before them are handed
    /// out. After a failure, what was handed out behind it may still be on its way back.
    #[must_use]
    pub fn may_dispatch(&self, now: Instant, first: Seq) -> bool {
        self.phase == Phase::Running && !self.is_due_to_rewind() && self.strand.may_run(now, first)
    }

    /// Whether records may still be received.
    #[must_use]
    pub fn may_receive(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Takes one event; the actions are to be executed in order. One that carries the number of another assignment changes nothing.
    pub fn handle(&mut self, now: Instant, event: Event<'_>) -> impl Iterator<Item = Action> + use<> {
        let mut actions = Vec::new();
        let is_forced = matches!(event, Event::Release);
        if event.assignment().is_some_and(|assignment| assignment != self.assignment()) {
            return actions.into_iter();
        }
        match event {
            Event::Received { offsets, leader_epoch } => {
                if self.phase == Phase::Running {
                    self.ledger.receive(offsets, leader_epoch);
                }
            }
            Event::Dispatched { records } => {
                let first = self.strand.hand_out(records);
                self.ledger.run(first, records);
            }
            Event::Ran { run, first, outputs, failed, failure, returned } => {
                self.ran(now, run, first, outputs, failed, failure, returned, &mut actions);
                self.ledger.requeue(first, returned);
            }
            Event::Delivered { first, last } => {
                if !self.is_released() {
                    self.ledger.acknowledge(first, last);
                }
            }
            Event::Unsendable { seq, unsent, failure } => {
                if !self.is_released() {
                    self.unsendable(seq, unsent, failure, &mut actions);
                }
            }
            Event::Refused { seq, failure } => {
                if !self.is_released() {
                    self.refused(seq, failure);
                }
            }
            Event::Undelivered { seq } => {
                if !self.is_released() {
                    self.ledger.miss(seq);
                }
            }
            Event::Unrecoverable { seq, failure } => {
                if !self.is_released() {
                    self.stop(seq, failure, &mut actions);
                }
            }
            Event::Position { position } => self.ledger.advance_position(position),
            Event::Committed { offset } => self.ledger.confirm(offset),
            Event::Drain { deadline } => self.drain(deadline, &mut actions),
            Event::Release => self.drain(now, &mut actions),
            Event::Policy(policy) => {
                self.policy = policy;
                self.breaker.allow_rejects(policy.rejects_max);
            }
            Event::Rewind { assignment } => self.rewind(assignment, &mut actions),
            Event::Tick => {
                // What drains is not sent again: what is above a record that stopped it needn't be waited for.
                let is_reported = match self.phase {
                    Phase::Draining { .. } => self.ledger.is_reported(),
                    Phase::Running | Phase::Stopped { .. } => !self.ledger.is_out(),
                    Phase::Released { .. } => false,
                };
                if self.is_due_to_rewind() && is_reported {
                    actions.push(Action::Rewind);
                }
            }
        }
        self.store(&mut actions);
        self.release(now, is_forced, &mut actions);
        debug_assert_eq!(invariant::broken(self), None);
        actions.into_iter()
    }

    /// Whether records that come back in this run are taken as they are: else they are run again.
    #[must_use]
    pub fn takes(&self, run: u32, first: Seq) -> bool {
        !(self.is_due_to_rewind() || matches!(self.phase, Phase::Stopped { .. } | Phase::Released { .. }))
            && self.strand.takes(run, first)
    }

    fn drain(&mut self, deadline: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => actions.push(Action::DropQueue),
            // A stopped partition drains as well: what it sent below the record is still to be acknowledged. What an
            // executor still holds of it is not waited for, as nothing at or above the record is sent.
            Phase::Stopped { .. } => {
                self.ledger.leave_running();
                self.strand.run_again();
            }
            Phase::Draining { .. } | Phase::Released { .. } => return,
        }
        self.phase = Phase::Draining { deadline };
    }

    fn rewind(&mut self, assignment: AssignmentId, actions: &mut Vec<Action>) {
        self.breaker.rewind(self.unsettled());
        let offset = self.ledger.abort(assignment);
        self.strand = Strand::new(self.ledger.next());
        actions.push(Action::DropQueue);
        match self.phase {
            // A record that stopped it comes again, and stops it then. An end has it drain, so here nobody knows yet that it stopped.
            Phase::Running | Phase::Stopped { drains: false } => {
                self.phase = Phase::Running;
                actions.push(Action::Seek { offset });
            }
            // There is no time to do it again: what was not acknowledged is repeated by whoever reads it next.
            Phase::Draining { .. } | Phase::Stopped { drains: true } => {
                self.phase = Phase::Released { settled: false };
                actions.push(Action::Released { settled: false });
            }
            Phase::Released { .. } => {}
        }
    }

    /// Records that have their outcome and aren't settled.
    fn unsettled(&self) -> u64 {
        self.ledger.produced_prefix().n() - self.ledger.settled_prefix().n()
    }

    /// Whether what is not settled is to be read again. Nothing is handed out or sent then, and it is done when something was reported of all that
    /// was sent: earlier, what is still on its way would be sent twice.
    fn is_due_to_rewind(&self) -> bool {
        self.ledger.is_missing() || self.is_out_of_numbers()
    }

    /// Whether the numbers of this assignment come to their end. Far from it nothing may be in flight, so that nothing is repeated.
    fn is_out_of_numbers(&self) -> bool {
        let next = self.ledger.next().n();
        let is_empty = self.ledger.in_flight() == 0;
        self.phase == Phase::Running
            && (next >= self.numbers - self.numbers / 8 || (next >= self.numbers / 2 && is_empty))
    }

    fn store(&mut self, actions: &mut Vec<Action>) {
        if self.is_released() {
            return;
        }
        if let Some(Boundary { offset, leader_epoch }) = self.ledger.cut() {
            if !self.refused.is_empty() {
                self.refused = self.refused.split_off(&offset.0);
            }
            let counts = self.breaker.text(self.unsettled());
            actions.push(Action::Store { offset, leader_epoch, counts });
        }
    }

    fn release(&mut self, now: Instant, is_forced: bool, actions: &mut Vec<Action>) {
        let Phase::Draining { deadline } = self.phase else { return };
        let settled = self.is_settled();
        if settled || is_forced || now >= deadline {
            self.phase = Phase::Released { settled };
            actions.push(Action::Released { settled });
        }
    }
}

/// The longest wait for which a partition is merely not handed out; for longer ones its fetching is paused, which throws its
/// prefetched records away.
pub const WAIT_WITHOUT_PAUSE: Duration = Duration::from_secs(1);
