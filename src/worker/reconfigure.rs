//! Applies new settings while the pipeline runs.
//!
//! Settings that the consumer doesn't use are changed in place: no record is handed out until every record that was handed out is
//! acknowledged; then executors, producer and settings are replaced, without leaving the group. Settings of the consumer need a
//! new one: this worker finishes, commits and leaves the group, and a worker with the new settings, prepared before, takes over.
//! Invariant: if the new settings can't be prepared, the worker continues with the old ones.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::End;
use super::Settings;
use super::Shell;
use super::clock;
use super::first_instances::FirstInstances;
use super::io;
use super::io::First;
use super::reconfiguring::Asked;
use super::reconfiguring::Kept;
use super::reconfiguring::Reconfiguring;
use super::shutdown::let_go;
use super::transaction::Transaction;
use crate::kafka::limits::Batching;
use crate::kafka::settings::Input;
use crate::metrics::State;
use crate::partition;

/// New settings for a worker.
pub struct Change {
    /// The new settings. Without `anew` the connection and the input stay as they are.
    pub settings: Settings,
    /// The executors, with the instances that were made already.
    pub instances: FirstInstances,
    /// Whether a new consumer is needed.
    pub anew: bool,
}

/// Receives the result of a change.
pub type Reply = mpsc::Sender<Result<(), String>>;

/// Applies a change to a worker. The result is sent to the reply; nothing is sent if the worker has ended.
pub type Changer = Arc<dyn Fn(Change, Reply) + Send + Sync>;

/// A pending change.
#[derive(Default)]
pub(super) struct Reconfigure {
    state: Reconfiguring,
    /// A change that waits for nothing to be in flight, and its reply.
    kept: Option<(Change, Reply)>,
    /// The worker that takes over when this one has left the group, and the reply.
    pub(super) next: Option<(Box<Shell>, Reply)>,
}

impl Reconfigure {
    /// Whether no record is handed out, because a change waits for nothing to be in flight.
    pub(super) fn holds(&self) -> bool {
        self.state.waits()
    }
}

impl Shell {
    pub(super) fn begin_change(&mut self, now: Instant, change: Change, reply: Reply) {
        // A reply fails to send if its receiver is gone, which does not matter.
        match self.reconfigure.state.ask(now, self.session.is_ending(), change.anew) {
            Asked::Refuse(why) => drop(reply.send(Err(why.to_owned()))),
            Asked::Keep => self.reconfigure.kept = Some((change, reply)),
            Asked::Replace => match self.make_next(change) {
                Ok(next) => {
                    let member = |input: &Input| (input.group.clone(), input.instance_id.clone());
                    if member(&next.settings.kafka.input) != member(&self.settings.kafka.input) {
                        self.io.consumer.leave_for_good();
                    }
                    self.reconfigure.next = Some((Box::new(next), reply));
                    self.close(now, End::Drained);
                }
                Err(why) => drop(reply.send(Err(why))),
            },
        }
    }

    /// Makes the worker with the new settings, which takes over when this one has ended.
    fn make_next(&self, Change { settings, instances, anew: _ }: Change) -> Result<Shell, String> {
        let first = First {
            assignments: self.flow.assignments(),
            producer: self.io.producer_number + 1,
            lookup: self.io.lookup_number + 1,
            reason: io::RELOAD,
        };
        let (metrics, status) = (Arc::clone(&self.monitor.metrics), Arc::clone(&self.monitor.status));
        Shell::new(settings, self.io.number, instances, metrics, status, self.io.mailbox.clone(), first)
    }

    /// Applies or refuses the waiting change when it is time.
    pub(super) fn go_on_changing(&mut self, now: Instant) {
        if !self.reconfigure.holds() {
            return;
        }
        let is_quiet = self.session.is_member()
            && self.flow.is_quiet()
            // Acknowledged outputs in a transaction would be lost with their producer.
            && !self.delivery.transaction().is_some_and(Transaction::is_open)
            && self.io.producer.as_ref().is_some_and(|producer| producer.unreported() == 0);
        let Some(answer) = self.reconfigure.state.tick(now, self.session.is_ending(), is_quiet) else { return };
        let Some((change, reply)) = self.reconfigure.kept.take() else { return };
        let result = match answer {
            Kept::Refuse(why) => Err(why),
            Kept::Apply => self.change(now, change),
        };
        // The receiver may be gone, see `begin_change`.
        let _ = reply.send(result);
    }

    fn change(&mut self, now: Instant, change: Change) -> Result<(), String> {
        let Change { mut settings, instances, anew: _ } = change;
        let written = (settings.kafka.outputs, settings.kafka.dead_letter);
        settings.kafka = self.settings.kafka.clone();
        (settings.kafka.outputs, settings.kafka.dead_letter) = written;
        let before = (&self.settings.kafka.outputs, &self.settings.kafka.dead_letter);
        let writes_other = before != (&settings.kafka.outputs, &settings.kafka.dead_letter)
            || settings.max_in_flight_bytes != self.settings.max_in_flight_bytes;

        // A failure in these calls leaves everything as it is.
        let first_step = io::first_step(&instances);
        let FirstInstances { of_executors, used } = instances;
        let chains = io::chains(&settings, of_executors, &self.monitor.metrics, "reload");
        let executors = io::start_executors(&settings, chains, used, self.io.number, &self.io.mailbox)?;
        let producer = writes_other
            .then(|| {
                let number = self.io.producer_number + 1;
                io::start_producer(
                    &settings,
                    self.io.number,
                    number,
                    &io::unlimited(&settings),
                    Batching::Full,
                    &self.io.mailbox,
                )
            })
            .transpose()?;

        self.session.set_timeouts(settings.timeouts.drain, settings.timeouts.shutdown);
        self.settings = settings;
        self.io.first_step = first_step;
        // An executor may still be running records from before a rewind: dropping it must not block the worker.
        let_go(std::mem::replace(&mut self.io.executors, executors), Duration::ZERO);
        for (index, task) in self.flow.tasks.iter_mut().enumerate() {
            task.executor = index % self.io.executors.len().max(1);
        }
        if let Some(producer) = producer {
            self.io.drop_producer();
            self.io.producer = Some(producer);
            self.delivery.begin_anew(io::unlimited(&self.settings), self.settings.kafka.named_topics_max());
            self.io.lookup.change(self.settings.kafka.clone());
            // The limits of the new topics arrive with the answer.
            self.io.lookup.ask_probe(self.flow.partitions(), None);
        }
        self.tell_all(now, &partition::Event::Policy(self.settings.policy.clone()));
        Ok(())
    }

    /// Returns the worker that takes over from this one, which ended as `end` says.
    pub(super) fn take_next(&mut self, end: &End) -> Option<Box<Shell>> {
        let (mut next, reply) = self.reconfigure.next.take()?;
        match end {
            End::Drained => {}
            // Some records will be repeated. The new settings still apply.
            End::DeadlinePassed(why) => tracing::warn!("{why}"),
            End::Stopped(_) | End::StoppedAt(..) | End::Invalid(_) | End::Bug(_) => {
                let _ = reply.send(Err("the pipeline has ended".to_owned()));
                return None;
            }
        }
        for task in &self.flow.tasks {
            self.monitor.metrics.remove_lag(&task.partition.topic, task.partition.partition);
            self.monitor.metrics.remove_lag_seconds(&task.partition.topic);
        }
        self.monitor.metrics.assigned_partitions.set(0);
        std::mem::swap(&mut next.io.events, &mut self.io.events);
        debug_assert!(next.session.is_joining(), "it has not begun");
        next.flow.continue_behind(self.flow.assignments());
        if next.io.producer_number <= self.io.producer_number {
            // The old worker replaced its producer while it finished: the new one needs a higher number, so that it ignores the
            // old one's reports.
            next.io.producer_number = self.io.producer_number;
            next.io.drop_producer();
            next.make_producer(clock::now());
        }
        next.flow.left_out = std::mem::take(&mut self.flow.left_out);
        self.monitor.status.set_stopped_at(None);
        self.monitor.status.set_committed(None);
        next.intake.set_paused(self.intake.is_paused());
        next.monitor.set_paused(self.intake.is_paused());
        self.monitor.status.set_joined(false);
        self.monitor.set_state(State::Starting, "restarting with other settings");
        let _ = reply.send(Ok(()));
        Some(next)
    }
}
