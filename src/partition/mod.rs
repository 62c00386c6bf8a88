//! PURE. One partition's path from fetched to committed.
//!
//! [`PartitionState::handle`] takes one [`Event`] and returns the [`Action`]s that the worker has to carry out. Three values
//! decide: the *ledger*, which records are done and up to where; the *strands*, which may run now; the *breaker*, whether too many
//! failed permanently. They have no clock, thread, Kafka or WebAssembly, and hold no records: the worker does, and finds them by
//! their [`Seq`]. Invariants: `invariant.rs`.
//!
//! ```text
//!            Received          Ran             Delivered
//!  (start) ---------> queued ------> produced ----------> settled --> Store(low)
//!                        ^  |
//!                 RunAgain  | retry: the record and all later records of its strand wait
//!                        +--+
//!  a record that fails permanently is dead-lettered or skipped, or it stops the pipeline
//!  Drain: records that wait behind all that were handed out are dropped; Released when the rest is settled, the deadline passes or
//!  Release arrives
//!  Rewind: unsettled records are forgotten; late results carry an older assignment id and change nothing
//! ```

mod breaker;
mod event;
mod invariant;
mod ledger;
mod numbers;
mod order;
mod outcomes;
mod policy;
mod strand;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

pub use breaker::BreakerTripped;
pub use breaker::Flood;
pub use event::Action;
pub use event::Event;
pub use ledger::Settled;
pub use order::Order;
pub use policy::OnFailure;
pub use policy::Policy;
pub use policy::Retries;
pub use policy::Rule;

use crate::failure::Failure;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use breaker::Breaker;
use ledger::Boundary;
use ledger::Ledger;
use outcomes::Ran;
use strand::RetryTimer;
use strand::Strand;

/// A partition that is assigned to this worker.
#[derive(Clone, Debug)]
pub struct PartitionState {
    policy: Policy,
    ledger: Ledger,
    /// At least one.
    strands: Vec<Strand>,
    breaker: Breaker,
    /// Every record that was handed out is below.
    handed: Seq,
    /// Once the partition drains or has stopped: records from here on are not handed out any more.
    upto: Option<Seq>,
    /// The upper bound of record numbers in an assignment.
    numbers: u64,
    /// Records that had an output refused by the broker, by offset, and why. They are read again, and fail permanently when their
    /// turn comes.
    refused: BTreeMap<i64, Failure>,
    /// Records, by offset, that are skipped if they fail permanently, whatever the policy says.
    left_out: BTreeSet<i64>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// No record is handed out any more; those that are out may finish until the deadline.
    Draining {
        deadline: Instant,
    },
    /// A record failed permanently: nothing at or above it is sent.
    Stopped,
    /// The drain is over.
    Released {
        /// Whether every record that was out had settled by then.
        settled: bool,
    },
}

/// A record that is being retried, while those after it wait.
#[derive(Clone, Copy, Debug)]
pub struct Retried<'a> {
    /// The record's offset.
    pub offset: i64,
    /// How often it was tried.
    pub tries: u32,
    /// When it failed for the first time.
    pub since: Instant,
    /// Why it failed the last time.
    pub failure: &'a Failure,
}

impl PartitionState {
    /// A partition that was just assigned, to be read from `start`. With `commit_start` the offset is stored with the first
    /// event, so that a start at the end of the topic survives a crash.
    #[must_use]
    pub fn new(policy: Policy, assignment: AssignmentId, start: Offset, commit_start: bool) -> PartitionState {
        PartitionState {
            breaker: Breaker::new(policy.rejects_max),
            policy,
            ledger: Ledger::new(assignment, start, !commit_start),
            strands: vec![Strand::new(assignment)],
            handed: Seq::first_of(assignment),
            upto: None,
            numbers: Seq::END,
            refused: BTreeMap::new(),
            left_out: BTreeSet::new(),
            phase: Phase::Running,
        }
    }

    /// Restores the breaker's counts: the text that an [`Action::Store`] of this start offset carried.
    #[must_use]
    pub fn with_counts(mut self, counts: &str) -> PartitionState {
        self.breaker.read(counts);
        self
    }

    /// Has the records run in this many strands, at least one. Not to be called once records were received.
    #[must_use]
    pub fn with_strands(mut self, strands: usize) -> PartitionState {
        self.strands = vec![Strand::new(self.assignment()); strands.max(1)];
        self
    }

    /// Skips these records, by offset, if they fail permanently, as [`Event::LeaveOut`] does.
    #[must_use]
    pub fn with_left_out(mut self, offsets: BTreeSet<i64>) -> PartitionState {
        self.left_out = offsets;
        self
    }

    /// The assignment in which records are handed out and sent now.
    #[must_use]
    pub fn assignment(&self) -> AssignmentId {
        self.ledger.assignment()
    }

    /// The run in which records of a strand are handed out now.
    #[must_use]
    pub fn run(&self, strand: u16) -> u32 {
        self.strand(strand).run()
    }

    /// The number of strands.
    #[must_use]
    pub fn strands(&self) -> usize {
        self.strands.len()
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

    /// Every record below is settled.
    #[must_use]
    pub fn low(&self) -> Offset {
        self.ledger.low()
    }

    /// Every record below has an outcome.
    #[must_use]
    pub fn produced(&self) -> Offset {
        self.ledger.produced_offset()
    }

    /// How many records have an outcome while a record before them has none.
    #[must_use]
    pub fn behind_gap(&self) -> u64 {
        self.ledger.behind_gap()
    }

    /// Every record below is committed, as the broker confirmed; `None` if nothing is.
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

    /// The lowest record that stopped the partition: nothing at or above it is sent any more.
    #[must_use]
    pub fn stops_at(&self) -> Option<Seq> {
        self.ledger.ceiling()
    }

    /// Whether every record that was handed to the producer is settled: no output is at a broker or on the way there.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.ledger.is_acknowledged()
    }

    /// Whether an output is at the producer or a broker without a report yet, also of records above the one that stopped the
    /// partition.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.ledger.is_out()
    }

    /// Whether every record that was handed out is settled, up to the record that stopped the partition if one did. After the
    /// drain: whether it was so when the drain ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Released { settled } => settled,
            Phase::Running | Phase::Draining { .. } | Phase::Stopped => {
                let is_busy = self.upto.is_some() && self.strands.iter().any(Strand::is_busy);
                self.ledger.is_idle() && !is_busy && self.ledger.is_prefix_settled()
            }
        }
    }

    /// Whether the drain is over.
    fn is_released(&self) -> bool {
        matches!(self.phase, Phase::Released { .. })
    }

    /// The records settled since the last call, for metrics.
    pub fn take_settled(&mut self) -> Settled {
        self.ledger.take_settled()
    }

    /// How many strands wait for a retry.
    #[must_use]
    pub fn retrying(&self, now: Instant) -> usize {
        self.strands.iter().filter(|strand| strand.waits_until(now).is_some()).count()
    }

    /// Whether no record of the partition may be handed out because one waits for a retry.
    #[must_use]
    pub fn waits(&self, now: Instant) -> bool {
        self.strands.iter().all(|strand| strand.waits_until(now).is_some())
    }

    /// The record that is being retried, whether it waits or runs now. If there are several, the one that has failed the longest.
    #[must_use]
    pub fn retried(&self) -> Option<Retried<'_>> {
        let timer = self.strands.iter().filter_map(Strand::retried).min_by_key(|timer| timer.since)?;
        let RetryTimer { seq, tries, since, failure, .. } = timer;
        let offset = self.ledger.offset_of(*seq)?;
        (self.phase == Phase::Running).then_some(Retried { offset, tries: *tries, since: *since, failure })
    }

    /// Whether records of a strand from `first` on may be handed out: no retry is waiting, and all records of the strand before them
    /// are handed out. After a failure, records that were handed out after the failed one may not be returned yet.
    #[must_use]
    pub fn may_dispatch(&self, now: Instant, strand: u16, first: Seq) -> bool {
        self.takes_back(first) && !self.is_due_to_rewind() && self.strand(strand).may_run(now, first)
    }

    /// Whether a record that was not run will be handed out again.
    #[must_use]
    pub fn takes_back(&self, seq: Seq) -> bool {
        !self.is_released() && self.upto.is_none_or(|upto| seq < upto)
    }

    /// Records from here on are not handed out any more; `None` if all are.
    #[must_use]
    pub fn upto(&self) -> Option<Seq> {
        self.upto
    }

    fn strand(&self, strand: u16) -> &Strand {
        &self.strands[usize::from(strand) % self.strands.len()]
    }

    fn strand_mut(&mut self, strand: u16) -> &mut Strand {
        let strands = self.strands.len();
        &mut self.strands[usize::from(strand) % strands]
    }

    /// Whether records may still be received.
    #[must_use]
    pub fn may_receive(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Takes one event; the actions must be carried out in order. An event of another assignment changes nothing.
    pub fn handle(&mut self, now: Instant, event: Event<'_>) -> impl Iterator<Item = Action> + use<> {
        let mut actions = Vec::new();
        let is_forced = matches!(event, Event::Release);
        if event.assignment().is_some_and(|assignment| assignment != self.assignment()) {
            return actions.into_iter();
        }
        match event {
            Event::Received { offsets, leader_epoch, strands } => {
                if self.phase == Phase::Running {
                    self.receive(offsets, leader_epoch, strands);
                }
            }
            Event::Dispatched { strand, seqs } => {
                self.strand_mut(strand).hand_out(seqs.len());
                self.ledger.run(seqs);
                self.handed = self.handed.max(seqs.at(seqs.len()));
            }
            Event::Ran { strand, run, seqs, outputs, failed, failure } => {
                self.ran(now, Ran { strand, run, seqs, outputs, failed, failure }, &mut actions);
                self.ledger.requeue(seqs);
                if let Some(upto) = self.upto {
                    self.strand_mut(strand).forget_waiting(upto);
                }
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
                    self.stop(seq, failure, OnFailure::Stop, &mut actions);
                }
            }
            Event::LeaveOut { offset } => {
                self.left_out.insert(offset);
            }
            Event::Position { position } => self.ledger.advance_position(position),
            Event::Committed { offset } => {
                self.ledger.confirm(offset);
                self.left_out = self.left_out.split_off(&offset.0);
            }
            Event::Drain { deadline } => self.drain(deadline, &mut actions),
            Event::Release => self.drain(now, &mut actions),
            Event::Policy(policy) => {
                self.breaker.allow_rejects(policy.rejects_max);
                self.policy = policy;
            }
            Event::Rewind { assignment } => self.rewind(assignment, &mut actions),
            Event::Restart { assignment, offset, is_committed } => {
                self.restart(assignment, offset, is_committed, &mut actions);
            }
            Event::Tick => {
                // A draining partition is not read again, so reports for records above the one that stopped it needn't be waited
                // for.
                let is_reported = match self.phase {
                    Phase::Draining { .. } => self.ledger.is_reported(),
                    Phase::Running | Phase::Stopped => !self.ledger.is_out(),
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

    /// Whether a result of this run of a strand that begins with `first` is taken; otherwise its records run again.
    #[must_use]
    pub fn takes(&self, strand: u16, run: u32, first: Seq) -> bool {
        // Strands have forgotten what is at or above a record that stopped the partition.
        !(self.is_due_to_rewind() || self.is_released()) && self.strand(strand).takes(run, first)
    }

    fn receive(&mut self, offsets: &[i64], leader_epoch: i32, strands: &[u16]) {
        let n = self.ledger.next().n();
        self.ledger.receive(offsets, leader_epoch);
        if strands.is_empty() {
            self.strand_mut(0).receive(n, offsets.len() as u64);
        }
        for (n, &strand) in (n..).zip(strands) {
            self.strand_mut(strand).receive(n, 1);
        }
    }

    fn drain(&mut self, deadline: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => {
                // What was handed out may finish. With several strands that counts only if the records before it do, too.
                let upto = if self.strands.len() == 1 { self.ledger.produced_prefix() } else { self.handed };
                self.end_before(upto, actions);
            }
            // A stopped partition drains as well: what is below the record that stopped it is still to be finished. What an executor
            // has at or above that record is not waited for, as nothing of it is sent.
            Phase::Stopped => self.ledger.leave_running(),
            Phase::Draining { .. } | Phase::Released { .. } => return,
        }
        self.phase = Phase::Draining { deadline };
    }

    /// From now on no record from `upto` on is handed out.
    fn end_before(&mut self, upto: Seq, actions: &mut Vec<Action>) {
        let upto = self.upto.map_or(upto, |before| before.min(upto));
        self.upto = Some(upto);
        self.strands.iter_mut().for_each(|strand| strand.forget_waiting(upto));
        actions.push(Action::DropQueue { from: Some(upto) });
    }

    /// Begins as another assignment, with nothing in flight.
    fn begin_anew(&mut self, assignment: AssignmentId) {
        self.strands = vec![Strand::new(assignment); self.strands.len()];
        self.handed = Seq::first_of(assignment);
    }

    fn rewind(&mut self, assignment: AssignmentId, actions: &mut Vec<Action>) {
        self.breaker.rewind(self.ledger.outcomes());
        let offset = self.ledger.abort(assignment);
        self.begin_anew(assignment);
        actions.push(Action::DropQueue { from: None });
        match self.phase {
            // The record that stopped the partition is read again and stops it again. The worker has not acted on the stop yet:
            // its shutdown would have made the partition drain.
            Phase::Running | Phase::Stopped => {
                (self.phase, self.upto) = (Phase::Running, None);
                actions.push(Action::Seek { offset });
            }
            // A draining partition has no time to read records again: the next owner repeats what was not acknowledged.
            Phase::Draining { .. } => {
                self.phase = Phase::Released { settled: false };
                actions.push(Action::Released { settled: false });
            }
            Phase::Released { .. } => {}
        }
    }

    fn restart(&mut self, assignment: AssignmentId, offset: Offset, is_committed: bool, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Draining { .. } | Phase::Released { .. }) {
            return;
        }
        self.breaker.rewind(self.ledger.outcomes() + self.ledger.uncommitted());
        self.ledger.restart(assignment, offset, is_committed);
        self.begin_anew(assignment);
        (self.phase, self.upto) = (Phase::Running, None);
        actions.extend([Action::DropQueue { from: None }, Action::Seek { offset }]);
    }

    /// Whether unsettled records have to be read again. Until then nothing is handed out or sent, and the rewind waits for a
    /// report of every output that was sent: earlier, outputs that are still in flight would be sent twice.
    fn is_due_to_rewind(&self) -> bool {
        self.ledger.is_missing() || self.is_out_of_numbers()
    }

    /// Whether the assignment is running out of record numbers. With numbers left, the rewind waits until nothing is in flight,
    /// so that nothing is repeated.
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
            let counts = self.breaker.text(self.ledger.outcomes());
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

/// The longest wait for which fetching continues. For longer waits the partition is paused, which discards its prefetched
/// records.
pub const WAIT_WITHOUT_PAUSE: Duration = Duration::from_secs(1);
