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
//!  Revoke, Drain: waiting records are given back; when the rest is settled or the deadline passes: Released
//!  Rewind, Lost: everything unsettled is forgotten; late results carry an old epoch and change nothing
//! ```

mod invariant;
mod policy;
mod retry;
mod watermark;

#[cfg(test)]
mod tests;

use std::time::Duration;
use std::time::Instant;

pub use policy::Policy;
pub use policy::Retries;
pub use policy::Then;
pub use watermark::Settled;

use crate::failure::Class;
use crate::failure::Failure;
use crate::record::Epoch;
use crate::record::Offset;
use crate::record::Seq;
use retry::Verdict;
use retry::Waiting;
use watermark::Watermark;

/// A partition that is assigned to this worker.
#[derive(Clone, Debug)]
pub struct PartitionState {
    policy: Policy,
    epoch: Epoch,
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
        /// The epoch and the run in which they were handed out.
        epoch: Epoch,
        /// See `epoch`.
        run: u32,
        /// The first of them.
        first: Seq,
        /// For each record that succeeded, in order, the number of its outputs.
        outputs: &'a [u32],
        /// The failure of the record behind these, if it failed.
        failure: Option<&'a Failure>,
        /// How many records come back with this event, run or not.
        returned: usize,
    },
    /// The broker acknowledged one output of each record from `first` to `last`.
    Delivered {
        /// The epoch in which they were sent.
        epoch: Epoch,
        /// The first of them.
        first: Seq,
        /// The last of them.
        last: Seq,
    },
    /// The broker refuses an output of a record.
    Refused {
        /// The epoch in which it was sent.
        epoch: Epoch,
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
    /// Outputs may be missing for a reason that is not a record's: everything unsettled is read again.
    Rewind,
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
    /// Store this offset; it is committed with the next commit.
    Store {
        /// Everything below is settled.
        offset: Offset,
        /// The leader epoch of the last settled record, -1 if unknown.
        leader_epoch: i32,
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
    /// Drop the records that wait: nothing is handed out any more.
    DropQueue,
    /// Read again from here, as the next epoch.
    Seek {
        /// The new epoch.
        epoch: Epoch,
        /// The first record to read.
        offset: Offset,
    },
    /// The drain is over.
    Released {
        /// Whether everything that was out is settled; otherwise it is going to be repeated.
        settled: bool,
    },
}

impl PartitionState {
    /// A partition that was just assigned, to be read from `start`. An offset that is not yet committed (`commit_start`) is
    /// stored with the first event, so that a start at the end of the topic holds after a crash.
    #[must_use]
    pub fn new(policy: Policy, epoch: Epoch, start: Offset, commit_start: bool) -> PartitionState {
        PartitionState {
            policy,
            epoch,
            run: 0,
            watermark: Watermark::new(start),
            stored: (!commit_start).then_some(start),
            waiting: None,
            next_run: Seq(0),
            running: 0,
            stopped_at: None,
            phase: Phase::Running,
        }
    }

    /// The epoch of what is handed out and sent now.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
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

    /// What was settled since the last call, for metrics.
    pub fn take_settled(&mut self) -> Settled {
        self.watermark.take_settled()
    }

    /// Until when the partition waits for a retry.
    #[must_use]
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.waiting.map(|waiting| waiting.until()).filter(|&until| until > now)
    }

    /// Whether records that begin with `first` may be handed to an executor: nothing waits, and those before them are handed
    /// out. After a failure, what was handed out behind it may still be on its way back.
    #[must_use]
    pub fn may_dispatch(&self, now: Instant, first: Seq) -> bool {
        self.phase == Phase::Running && self.waits_until(now).is_none() && first == self.next_run
    }

    /// Whether records may still be received.
    #[must_use]
    pub fn may_receive(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Takes one event; the actions are to be executed in order.
    pub fn handle(&mut self, now: Instant, event: Event<'_>) -> impl Iterator<Item = Action> + use<> {
        let mut actions = Vec::new();
        match event {
            Event::Received { offsets, leader_epoch } => {
                if self.phase == Phase::Running {
                    self.watermark.receive(offsets, leader_epoch);
                }
            }
            Event::Dispatched { records } => {
                self.running += records;
                self.next_run = self.next_run.plus(records as u64);
            }
            Event::Ran { epoch, run, first, outputs, failure, returned } => {
                if epoch == self.epoch {
                    self.running = self.running.saturating_sub(returned);
                    self.ran(now, run, first, outputs, failure, returned, &mut actions);
                }
            }
            Event::Delivered { epoch, first, last } => {
                if epoch == self.epoch && self.phase != Phase::Released {
                    self.watermark.acknowledge(first, last);
                }
            }
            Event::Refused { epoch, seq, failure } => {
                if epoch == self.epoch && self.phase != Phase::Released {
                    self.stop(seq, failure, &mut actions);
                }
            }
            Event::Position { position } => self.watermark.advance_position(position),
            Event::Drain { deadline } => self.drain(deadline, &mut actions),
            Event::Rewind => self.rewind(&mut actions),
            Event::Tick => {}
        }
        self.store(&mut actions);
        self.release(now, &mut actions);
        debug_assert_eq!(invariant::broken(self), None);
        actions.into_iter()
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn ran(
        &mut self,
        now: Instant,
        run: u32,
        first: Seq,
        outputs: &[u32],
        failure: Option<&Failure>,
        returned: usize,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.phase, Phase::Stopped | Phase::Released) {
            return;
        }
        if run != self.run || first != self.watermark.sent() {
            actions.push(Action::Requeue { from: first });
            return;
        }
        self.watermark.send(outputs);
        let end = self.watermark.sent();
        if !outputs.is_empty() {
            actions.push(Action::Send { upto: end });
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
            Class::Retry => match retry::again(&self.policy, now, end, failure.delay, self.waiting) {
                Verdict::Again(waiting, attempt) => {
                    self.waiting = Some(waiting);
                    self.run_again_from(end);
                    actions.push(Action::RunAgain { from: end, attempt, at: waiting.until() });
                }
                Verdict::Spent => self.stop(end, failure, actions),
            },
            Class::Reject | Class::Fault | Class::Refused | Class::Halt | Class::Infrastructure => {
                self.stop(end, failure, actions);
            }
        }
    }

    /// What was handed out of this record and behind it is of no use.
    fn run_again_from(&mut self, seq: Seq) {
        self.run += 1;
        self.next_run = seq;
    }

    /// The policy for a record that can't be helped.
    fn stop(&mut self, seq: Seq, failure: &Failure, actions: &mut Vec<Action>) {
        match self.policy.then {
            Then::Stop => {
                let offset = self.watermark.offset_of(seq).unwrap_or_else(|| self.watermark.low().0);
                let tries = retry::tries(seq, self.waiting) + 1;
                self.stopped_at = Some(self.stopped_at.map_or(seq, |at| at.min(seq)));
                if self.phase != Phase::Stopped {
                    self.phase = Phase::Stopped;
                    actions.push(Action::DropQueue);
                    actions.push(Action::Stop { offset, tries, failure: failure.clone() });
                }
            }
        }
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

    fn rewind(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Released) {
            return;
        }
        let low = self.watermark.low();
        let settled = self.watermark.take_settled();
        self.epoch = Epoch(self.epoch.0 + 1);
        self.run = 0;
        self.next_run = Seq(0);
        self.running = 0;
        self.waiting = None;
        self.watermark = Watermark::new(low);
        self.watermark.restore_settled(settled);
        self.stopped_at = self.stopped_at.map(|_| Seq(0));
        actions.push(Action::DropQueue);
        match self.phase {
            Phase::Running => actions.push(Action::Seek { epoch: self.epoch, offset: low }),
            // There is no time to do it again: what was not acknowledged is repeated by whoever reads it next.
            Phase::Draining { .. } => {
                self.phase = Phase::Released;
                actions.push(Action::Released { settled: false });
            }
            Phase::Stopped | Phase::Released => {}
        }
    }

    fn store(&mut self, actions: &mut Vec<Action>) {
        let low = self.watermark.low();
        if self.phase != Phase::Released && self.stored.is_none_or(|stored| stored < low) {
            self.stored = Some(low);
            actions.push(Action::Store { offset: low, leader_epoch: self.watermark.leader_epoch() });
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
