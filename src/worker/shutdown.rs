//! Shutting a worker down, beyond what `session` decides: leaving the group, recording where partitions were left, and the final
//! message.
//!
//! The message is made from what was settled and committed when the group was left, see `end`.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end::Cause;
use super::end::End;
use super::end::RecordPlace;
use super::end::StoppedAt;
use super::left;
use super::left::LeftAt;
use super::session;
use super::session::Unanswered;
use crate::kafka::Commands;
use crate::metrics::State;
use crate::telemetry;

/// How a worker ended.
pub(super) struct Ended {
    pub(super) end: End,
    /// What was committed, as text for the log.
    pub(super) committed: String,
    /// The deadline for everything that is left to do.
    pub(super) deadline: Instant,
}

/// The longest wait for clients to be destroyed. It usually takes a moment, but unanswered requests to a silent broker can delay
/// it.
const LETTING_GO_MAX: Duration = Duration::from_secs(2);
/// The same when the deadline has passed, and the time for leaving the group with it.
const LETTING_GO_LATE: Duration = Duration::from_millis(600);

/// How long to wait for the clients of a worker with this deadline to be destroyed.
pub(super) fn letting_go(now: Instant, deadline: Instant) -> Duration {
    LETTING_GO_MAX.min((deadline + LETTING_GO_LATE).saturating_duration_since(now))
}

/// Drops a value whose drop may take long on a thread of its own, and waits for that up to `at_most`.
pub(super) fn let_go(what: impl Send + 'static, at_most: Duration) {
    let (over, wait) = mpsc::channel::<()>();
    let reaper = telemetry::spawn("reaper", move || {
        drop(what);
        drop(over);
    });
    match reaper {
        // Returns when the other end of the channel is dropped, or after `at_most`.
        Ok(_) => drop(wait.recv_timeout(at_most)),
        Err(error) => tracing::error!("failed to start a thread that drops clients and executors: {error}"),
    }
}

impl Shell {
    /// Starts the shutdown, for the reason in `end`.
    pub(super) fn close(&mut self, now: Instant, end: End) {
        self.tell_session(now, session::Event::End(Cause::End(end)));
    }

    /// Starts the shutdown because of something that is wrong with a task's partition.
    pub(super) fn close_at(&mut self, now: Instant, index: usize, why: String) {
        let task = &self.flow.tasks[index];
        let step = self.settings.windowed.as_ref().map(|step| Arc::clone(&step.name));
        let place = RecordPlace { step, partition: task.partition.clone(), offset: task.state.low().0 };
        self.close(now, End::StoppedAt(why, place));
    }

    /// Starts the shutdown because of a record.
    pub(super) fn stop_at(&mut self, now: Instant, stopped: StoppedAt) {
        self.monitor.metrics.records_processed.with_label_values(&["failed"]).inc();
        self.tell_session(now, session::Event::End(Cause::Record(stopped)));
    }

    /// Logs that the shutdown starts, and why.
    pub(super) fn say_ending(&mut self) {
        let why = match self.session.cause() {
            None => return,
            Some(Cause::End(End::Drained)) if self.reconfigure.next.is_some() => {
                "another consumer takes over".to_owned()
            }
            Some(Cause::End(End::Drained)) => "shutting down".to_owned(),
            Some(Cause::End(_) | Cause::Gap(..) | Cause::Recreated(..)) => "stopped by a failure".to_owned(),
            Some(Cause::Record(stopped)) => {
                format!("stopping at {} offset {}", stopped.at().partition, stopped.at().offset)
            }
        };
        let at = match self.session.cause() {
            Some(Cause::Record(stopped)) => Some(stopped.at()),
            Some(Cause::End(_) | Cause::Gap(..) | Cause::Recreated(..)) | None => None,
        };
        let (topic, partition) = at.map(|at| (&*at.partition.topic, at.partition.partition)).unzip();
        let (step, offset) = (at.and_then(|at| at.step.as_deref()), at.map(|at| at.offset));
        tracing::info!(step, topic, partition, offset, "{why}; finishing what is in flight");
        self.monitor.set_state(State::Draining, why);
    }

    /// Leaves the group.
    pub(super) fn leave(&mut self, unanswered: Option<Unanswered>) {
        self.note_what_is_left();
        // As in `give_back`: outputs that are still at the producer must not arrive after those of the partition's next owner.
        let is_out = self.flow.tasks.iter().any(|task| task.state.is_out() || !task.state.is_settled());
        if let Some(producer) = self.io.producer.as_ref().filter(|_| is_out) {
            producer.abandon();
            self.flow.forget_outputs();
        }
        let answered = match unanswered {
            None => Ok(()),
            Some(Unanswered::Assignment) => self.io.consumer.assign(&[]),
            // Not `give_back`: the tasks are still needed for the final message.
            Some(Unanswered::Revocation(partitions)) => self.io.consumer.unassign(&partitions),
        };
        if let Err(reason) = answered {
            tracing::debug!("failed to answer a rebalance: {reason}");
        }
        self.io.consumer.close();
    }

    /// Records where partitions were left before they are given back, for the final message of a shutdown.
    pub(super) fn note_what_is_left(&mut self) {
        if !self.session.is_ending() {
            return;
        }
        for task in &self.flow.tasks {
            let left = LeftAt {
                partition: task.partition.clone(),
                low: task.state.low(),
                committed: task.state.committed(),
                stands: task.lag.committed(),
                handed: task.offsets.handed,
                is_settled: task.state.is_settled(),
                is_unconfirmed: task.position.is_unconfirmed(),
            };
            self.flow.left.retain(|known| known.partition != left.partition);
            self.flow.left.push(left);
        }
    }

    /// How the worker ended.
    pub(super) fn outcome(&mut self, now: Instant) -> Ended {
        let left = std::mem::take(&mut self.flow.left);
        let cause = self.session.cause().cloned().unwrap_or(Cause::End(End::Drained));
        if let Cause::Record(stopped) = &cause {
            self.monitor.status.set_stopped_at(Some(stopped.record_at()));
        }
        let deadline = self.session.deadline().unwrap_or(now);
        let kafka = &self.settings.kafka;
        let end =
            left::outcome(cause, &left, self.settings.timeouts.shutdown, &kafka.input.group, &Commands::of(kafka));
        Ended { end, committed: left::in_words(&left), deadline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::clock;
    use crate::worker::session::LEAVING_LATE;

    #[test]
    fn destroying_clients_ends_soon_after_the_deadline() {
        let now = clock::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(letting_go(now, at(25)), LETTING_GO_MAX);
        assert_eq!(letting_go(at(25), at(25)), LETTING_GO_LATE);
        assert_eq!(letting_go(at(25) + LEAVING_LATE, at(25)) + LEAVING_LATE, LETTING_GO_LATE);
        assert_eq!(letting_go(at(30), at(25)), Duration::ZERO);
    }
}
