//! PURE. How a worker ends: it drains, commits and leaves the group, always by its deadline.

use std::time::Duration;
use std::time::Instant;

use super::Action;
use super::Cause;
use super::Ending;
use super::Session;
use super::Stage;
use super::Step;
use super::Unanswered;
use crate::record::TopicPartition;

/// The longest time for leaving the group, within the deadline. Leaving only makes the other members' rebalance faster.
const LEAVING_MAX: Duration = Duration::from_secs(3);
/// The time for leaving the group when the deadline has passed.
pub(in crate::worker) const LEAVING_LATE: Duration = Duration::from_millis(300);

impl Session {
    /// Starts the shutdown. A later cause changes only the message, and only if it outweighs the first one.
    pub(super) fn end(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        let deadline = match &mut self.ending {
            Some(ending) => {
                if cause.outweighs(&ending.cause) {
                    ending.cause = cause;
                }
                ending.deadline
            }
            None => {
                let deadline = now + self.settings.shutdown_timeout;
                self.ending = Some(Ending { cause, deadline, step: Step::Draining });
                actions.push(Action::Ending);
                deadline
            }
        };
        // Draining partitions get the action again: one that stopped at a record in the meantime still has to drain what is below
        // the record.
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        let partitions = self.drain(&all);
        actions.push(Action::Drain { partitions, deadline });
    }

    pub(super) fn go_on_ending(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(&Ending { deadline, step, .. }) = self.ending.as_ref() else { return };
        let is_late = now >= deadline;
        match step {
            Step::Draining => {
                let out = self.out(self.partitions.keys());
                if !out.is_empty() && !is_late {
                    return;
                }
                self.release(out, actions);
                if self.is_joining() {
                    self.leave(now, deadline, actions);
                } else if self.cycle.begin(now) {
                    self.set_step(Step::Committing);
                    actions.push(Action::Commit);
                } else if is_late {
                    self.leave(now, deadline, actions);
                }
            }
            Step::Committing => {
                if is_late || !self.cycle.is_under_way() {
                    self.leave(now, deadline, actions);
                }
            }
            Step::Leaving { until } => {
                if now >= until {
                    self.set_step(Step::Ended);
                }
            }
            Step::Ended => {}
        }
    }

    pub(super) fn set_step(&mut self, step: Step) {
        if let Some(ending) = &mut self.ending {
            ending.step = step;
        }
    }

    pub(super) fn leave(&mut self, now: Instant, deadline: Instant, actions: &mut Vec<Action>) {
        let unanswered = match std::mem::replace(&mut self.stage, Stage::Member) {
            Stage::Starting => Some(Unanswered::Assignment),
            Stage::Revoking { partitions, .. } => Some(Unanswered::Revocation(self.remove(&partitions))),
            Stage::Joining | Stage::Member => None,
        };
        actions.push(Action::Leave { unanswered });
        self.set_step(Step::Leaving { until: deadline.min(now + LEAVING_MAX).max(now + LEAVING_LATE) });
    }
}
