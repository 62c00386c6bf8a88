//! PURE. What to do with records that an executor returned, or that had an output refused by a broker: they are sent, retried,
//! dead-lettered or skipped, or they stop the pipeline.
//!
//! The strand knows which record is next, the breaker whether one more may fail permanently, and the ledger records the outcome.

use std::borrow::Cow;
use std::time::Instant;

use super::Action;
use super::BreakerTripped;
use super::OnFailure;
use super::PartitionState;
use super::Phase;
use super::ledger::Fate;
use crate::failure::Failure;
use crate::record::Seq;
use crate::record::Seqs;

/// The verdict on a record that failed permanently.
#[derive(Clone, Copy, Debug)]
enum Judged {
    GiveUp(Fate),
    Stop,
    BreakerTripped(BreakerTripped),
}

/// Records of a strand that an executor returned; see [`Event::Ran`](super::Event::Ran).
#[derive(Clone, Copy)]
pub(super) struct Ran<'a> {
    pub(super) strand: u16,
    pub(super) run: u32,
    pub(super) seqs: Seqs<'a>,
    pub(super) outputs: &'a [u32],
    pub(super) failed: &'a [(usize, Failure)],
    pub(super) failure: Option<&'a Failure>,
}

impl PartitionState {
    pub(super) fn ran(&mut self, now: Instant, ran: Ran<'_>, actions: &mut Vec<Action>) {
        let Ran { strand, run, seqs, failed, failure, .. } = ran;
        if self.is_released() {
            return;
        }
        if !self.takes(strand, run, seqs.first()) {
            actions.push(Action::Requeue { from: seqs.first() });
            return;
        }
        // Nothing at or above the record that stopped the partition counts.
        let below = self.stops_at().map_or(seqs.len(), |stop| seqs.below(stop));
        let outputs = &ran.outputs[..ran.outputs.len().min(below)];
        let failed = self.with_refused(seqs, outputs.len(), failed);
        let (done, worst) = self.give_up_among(strand, seqs, outputs, &failed, actions);
        let end = seqs.at(done);
        if done > 0 {
            actions.push(Action::Send { upto: end });
        }
        if let Some((verdict, failure)) = worst {
            self.end_at(end, verdict, failure, actions);
            return;
        }
        let Some(failure) = failure.filter(|_| done < below) else {
            if outputs.len() < seqs.len() {
                // The executor returned records without running them: it returns the rest of this run too.
                self.strand_mut(strand).run_again();
                actions.push(Action::Requeue { from: end });
            }
            return;
        };
        let rule = self.policy.rule(failure);
        match self.strand_mut(strand).retry(rule, now, failure) {
            Some((attempt, at)) => actions.push(Action::RunAgain { from: end, attempt, at }),
            None => self.give_up_next(strand, end, failure, actions),
        }
    }

    /// The failed records, and those that had an output refused by the broker when they ran before.
    fn with_refused<'f>(
        &self,
        seqs: Seqs<'_>,
        count: usize,
        failed: &'f [(usize, Failure)],
    ) -> Cow<'f, [(usize, Failure)]> {
        if self.refused.is_empty() {
            return Cow::Borrowed(failed);
        }
        let found = (0..count).filter_map(|place| {
            let own = failed.iter().find(|(other, _)| *other == place).map(|(_, failure)| failure);
            let before = || self.refused.get(&self.ledger.offset_of(seqs.at(place))?);
            own.or_else(before).map(|failure| (place, failure.clone()))
        });
        Cow::Owned(found.collect())
    }

    /// Gives the next records their outcome. Those in `failed` are dead-lettered or skipped, up to one that stops the pipeline.
    /// Returns how many records have their outcome, and why the pipeline stops, if it does.
    fn give_up_among<'f>(
        &mut self,
        strand: u16,
        seqs: Seqs<'_>,
        outputs: &[u32],
        failed: &'f [(usize, Failure)],
        actions: &mut Vec<Action>,
    ) -> (usize, Option<(Judged, &'f Failure)>) {
        let mut fates = Vec::new();
        let mut at = 0;
        let mut worst = None;
        for (place, failure) in failed.iter().take_while(|(place, _)| *place < outputs.len()) {
            self.breaker.passed(place - at);
            at = *place;
            match self.judge(seqs.at(*place), failure) {
                Judged::GiveUp(fate) => {
                    fates.push((*place, fate));
                    actions.push(self.given_up(seqs.at(*place), fate, failure));
                }
                stops @ (Judged::Stop | Judged::BreakerTripped(_)) => {
                    worst = Some((stops, failure));
                    break;
                }
            }
            at += 1;
        }
        let done = if worst.is_some() { at } else { outputs.len() };
        self.breaker.passed(done - at);
        self.ledger.produce(seqs, &outputs[..done], &fates);
        self.strand_mut(strand).pass(done);
        (done, worst)
    }

    /// Dead-letters or skips the next record without an outcome. The run ends with it, and what was handed out after it runs
    /// again.
    fn give_up_next(&mut self, strand: u16, seq: Seq, failure: &Failure, actions: &mut Vec<Action>) {
        match self.judge(seq, failure) {
            Judged::GiveUp(fate) => {
                actions.push(self.given_up(seq, fate, failure));
                self.ledger.produce(Seqs::consecutive(seq, 1), &[0], &[(0, fate)]);
                self.strand_mut(strand).pass(1);
                self.strand_mut(strand).run_again();
                actions.push(Action::Requeue { from: seq.plus(1) });
            }
            stops @ (Judged::Stop | Judged::BreakerTripped(_)) => self.end_at(seq, stops, failure, actions),
        }
    }

    /// What is done about a record that failed permanently: what the policy says, unless an operator wants it skipped.
    fn then(&self, seq: Seq, failure: &Failure) -> OnFailure {
        if self.is_left_out(seq) { OnFailure::Skip } else { self.policy.rule(failure).then }
    }

    /// Whether processing continues after a record that fails permanently in this way.
    pub(crate) fn continues_after(&self, seq: Seq, failure: &Failure) -> bool {
        self.then(seq, failure).continues()
    }

    /// Whether an operator has said to skip some of its records.
    pub(crate) fn leaves_out(&self) -> bool {
        !self.left_out.is_empty()
    }

    /// Whether an operator has said to skip the record.
    fn is_left_out(&self, seq: Seq) -> bool {
        !self.left_out.is_empty() && self.ledger.offset_of(seq).is_some_and(|offset| self.left_out.contains(&offset))
    }

    /// Decides about the next record, which failed permanently, and counts it.
    fn judge(&mut self, seq: Seq, failure: &Failure) -> Judged {
        if self.is_left_out(seq) {
            return Judged::GiveUp(Fate::Skipped);
        }
        let fate = match self.policy.rule(failure).then {
            OnFailure::Stop | OnFailure::Hold => return Judged::Stop,
            OnFailure::DeadLetter => Fate::DeadLettered,
            OnFailure::Skip => Fate::Skipped,
        };
        match self.breaker.failed(failure.kind.class()) {
            Some(trip) => Judged::BreakerTripped(trip),
            None => Judged::GiveUp(fate),
        }
    }

    /// How often a record was tried before.
    fn tries(&self, seq: Seq) -> u32 {
        self.strands.iter().map(|strand| strand.tries(seq)).max().unwrap_or(0)
    }

    /// The action for a record that is dead-lettered or skipped.
    fn given_up(&self, seq: Seq, fate: Fate, failure: &Failure) -> Action {
        let tries = self.tries(seq) + 1;
        let failure = failure.clone();
        match fate {
            Fate::Skipped => Action::Skip { seq, tries, failure },
            Fate::DeadLettered | Fate::Emitted | Fate::Filtered => Action::DeadLetter { seq, tries, failure },
        }
    }

    /// An output of a record that has its outcome can't be sent.
    pub(super) fn unsendable(&mut self, seq: Seq, unsent: u32, failure: &Failure, actions: &mut Vec<Action>) {
        let then = self.then(seq, failure);
        let fate = match then {
            OnFailure::Stop | OnFailure::Hold => return self.stop(seq, failure, then, actions),
            OnFailure::DeadLetter => Fate::DeadLettered,
            OnFailure::Skip => Fate::Skipped,
        };
        if self.ledger.give_up(seq, fate, unsent) {
            actions.push(self.given_up(seq, fate, failure));
        }
    }

    /// The broker refused an output of a record. All unsettled records are read again. When it is this record's turn, everything
    /// below it has been sent, and the policy decides: it is dead-lettered or skipped, or it stops the pipeline.
    pub(super) fn refused(&mut self, seq: Seq, failure: &Failure) {
        if let Some(offset) = self.ledger.offset_of(seq) {
            self.refused.insert(offset, failure.clone());
            self.ledger.miss(seq);
        }
    }

    /// The pipeline stops at a record.
    fn end_at(&mut self, seq: Seq, why: Judged, failure: &Failure, actions: &mut Vec<Action>) {
        match why {
            Judged::BreakerTripped(trip) => {
                let offset = self.ledger.offset_of(seq).unwrap_or_else(|| self.ledger.low().0);
                if self.stop_at(seq, actions) {
                    actions.push(Action::BreakerTripped { offset, trip, failure: failure.clone() });
                }
            }
            Judged::Stop | Judged::GiveUp(_) => self.stop(seq, failure, self.policy.rule(failure).then, actions),
        }
    }

    /// A record stops the pipeline, or holds it. Results of this record and of those after it are ignored.
    pub(super) fn stop(&mut self, seq: Seq, failure: &Failure, then: OnFailure, actions: &mut Vec<Action>) {
        let offset = self.ledger.offset_of(seq).unwrap_or_else(|| self.ledger.low().0);
        let tries = self.tries(seq) + 1;
        if self.stop_at(seq, actions) {
            let failure = failure.clone();
            actions.push(match then {
                OnFailure::Hold => Action::Hold { offset, tries, failure },
                OnFailure::Stop | OnFailure::DeadLetter | OnFailure::Skip => Action::Stop { offset, tries, failure },
            });
        }
    }

    /// From now on nothing at or above this record is sent. `false` if the partition has already stopped at this record or a
    /// lower one.
    fn stop_at(&mut self, seq: Seq, actions: &mut Vec<Action>) -> bool {
        let is_lower = self.ledger.ceiling().is_none_or(|ceiling| seq < ceiling);
        if is_lower {
            self.ledger.limit(seq);
            self.strands.iter_mut().for_each(|strand| strand.end_before(seq));
            self.end_before(seq, actions);
        }
        match self.phase {
            // What an executor has at or above that record is not waited for, as nothing of it is sent.
            Phase::Draining { .. } => self.ledger.leave_running(),
            Phase::Running | Phase::Stopped | Phase::Released { .. } => self.phase = Phase::Stopped,
        }
        is_lower
    }
}
