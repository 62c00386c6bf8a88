//! The end of a worker: drained, committed, left. Each stage has the same deadline.
//!
//! Nothing new is taken. What is at the executors and at the broker is finished; records that only waited are let go, and are
//! read by whoever comes next. Then offsets are committed, and the group is left.

use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end::End;
use super::group::Group;
use crate::metrics::State;
use crate::partition;

/// A worker that ends.
pub(super) struct Closing {
    end: End,
    deadline: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Draining,
    Committing,
    Leaving { until: Instant },
}

/// Leaving the group may take so long, within the deadline: it only makes the others' rebalance faster.
const LEAVING_MAX: Duration = Duration::from_secs(3);
/// What is left for leaving when the deadline has passed.
const LEAVING_LATE: Duration = Duration::from_millis(300);

/// Whether the group is being left: a revoke is then answered at once.
pub(super) fn is_leaving(closing: &Closing) -> bool {
    matches!(closing.stage, Stage::Leaving { .. })
}

/// Destroying clients takes a moment, or as long as silent brokers hold back what was asked of them: then it isn't waited for.
const LETTING_GO_MAX: Duration = Duration::from_secs(2);

/// Drops all that a worker had, which has ended: offsets are committed and the group was left, or there was no time for it.
pub(super) fn let_go(shell: Shell) {
    let (over, wait) = mpsc::channel::<()>();
    let reaper = std::thread::Builder::new().name("reaper".into()).spawn(move || {
        drop(shell);
        drop(over);
    });
    match reaper {
        // Ends with the other end of the channel, or by time.
        Ok(_) => drop(wait.recv_timeout(LETTING_GO_MAX)),
        Err(error) => tracing::error!("failed to start a thread that drops the clients: {error}"),
    }
}

impl Shell {
    /// Begins to end, for the reason in `end`. A second reason changes nothing, but that a failure outweighs a wish.
    pub(super) fn close(&mut self, now: Instant, end: End) {
        let deadline = match &mut self.closing {
            Some(closing) => {
                if closing.end == End::Drained {
                    closing.end = end;
                }
                closing.deadline
            }
            None => {
                let why = if end == End::Drained { "told to end" } else { "stopped by a failure" };
                tracing::info!("{why}; finishing what is in flight");
                let deadline = now + self.settings.shutdown_timeout;
                self.closing = Some(Closing { end, deadline, stage: Stage::Draining });
                self.set_state(State::Draining, why);
                deadline
            }
        };
        self.tell_all(now, &partition::Event::Drain { deadline });
    }

    /// Goes on to the end; how it ended, once it has.
    pub(super) fn go_on_closing(&mut self, now: Instant) -> Option<End> {
        let Closing { deadline, stage, .. } = self.closing.as_ref()?;
        let (deadline, stage) = (*deadline, *stage);
        match stage {
            Stage::Draining => {
                if self.lanes.iter().any(|lane| lane.released.is_none()) {
                    return None;
                }
                self.store_offsets();
                let stage = if matches!(self.group, Group::Outside) {
                    self.leave(now, deadline)
                } else if self.begin_commit(now) {
                    Stage::Committing
                } else {
                    self.leave(now, deadline)
                };
                self.set_stage(stage);
            }
            Stage::Committing => {
                if self.commit_ended(now) || now >= deadline {
                    let stage = self.leave(now, deadline);
                    self.set_stage(stage);
                }
            }
            Stage::Leaving { until } => {
                if self.consumer.is_closed() || now >= until {
                    return self.closing.take().map(|closing| self.outcome(closing.end));
                }
            }
        }
        None
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(closing) = &mut self.closing {
            closing.stage = stage;
        }
    }

    fn leave(&mut self, now: Instant, deadline: Instant) -> Stage {
        match std::mem::replace(&mut self.group, Group::Member) {
            Group::Revoking { partitions, .. } => {
                // Not `give_back`: how the lanes ended is still to be looked at.
                if let Err(reason) = self.consumer.unassign(&partitions) {
                    tracing::debug!("failed to give partitions back: {reason}");
                }
            }
            Group::Starting(_) => {
                if let Err(reason) = self.consumer.assign(&[]) {
                    tracing::debug!("failed to answer an assignment: {reason}");
                }
            }
            Group::Outside | Group::Member => {}
        }
        self.consumer.close();
        Stage::Leaving { until: deadline.min(now + LEAVING_MAX).max(now + LEAVING_LATE) }
    }

    /// A wish to end was fulfilled only if nothing is repeated.
    fn outcome(&self, end: End) -> End {
        let unsettled: Vec<String> = self
            .timers
            .unsettled
            .iter()
            .map(|(partition, offset)| format!("{partition} from offset {offset}"))
            .collect();
        match end {
            End::Drained if !unsettled.is_empty() => End::DeadlinePassed(format!(
                "the deadline of {:?} passed, or the group gave partitions to others, with records in flight, which will be repeated: {}",
                self.settings.shutdown_timeout,
                unsettled.join(", ")
            )),
            End::Drained if self.timers.commit_failed => End::DeadlinePassed(
                "everything was delivered, but the last commit was not acknowledged: records may be repeated".into(),
            ),
            End::Drained | End::Stopped(_) | End::DeadlinePassed(_) | End::Invalid(_) | End::Bug(_) => end,
        }
    }
}
