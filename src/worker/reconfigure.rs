//! Taking over other settings while the pipeline runs.
//!
//! What the consumer has no part in is changed in place: nothing is handed out until all that was handed out is done and
//! acknowledged, then executors, producer and settings are others from one record to the next, and the group isn't left. What the
//! consumer is made of needs another one: this worker finishes, commits and leaves, and one with the new settings, made before, begins
//! in its place. Invariant: whatever can't be made ready, the worker goes on as it was.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::End;
use super::Settings;
use super::Shell;
use super::clock;
use super::io;
use super::io::First;
use super::reconfiguring::Asked;
use super::reconfiguring::Kept;
use super::reconfiguring::Reconfiguring;
use super::shutdown::let_go;
use crate::kafka::limits::Batching;
use crate::metrics::State;
use crate::partition;
use crate::plugin::Instance;
use crate::plugin::Step;

/// Other settings for a worker.
pub struct Change {
    /// What it needs to know from then on. Without `anew` the connection and the input stay as they are.
    pub settings: Settings,
    /// For each executor, an instance of each step.
    pub instances: Vec<Vec<(Step, Instance)>>,
    /// Whether the consumer is made anew.
    pub anew: bool,
}

/// Where what came of a change is sent.
pub type Reply = mpsc::Sender<Result<(), String>>;

/// Has a worker take over a change; what came of it is sent, and nothing if the worker has ended.
pub type Changer = Arc<dyn Fn(Change, Reply) + Send + Sync>;

/// A change on its way.
#[derive(Default)]
pub(super) struct Reconfigure {
    state: Reconfiguring,
    /// A change that waits for a quiet moment, and who waits to hear of it.
    kept: Option<(Change, Reply)>,
    /// The worker that begins when this one has left the group, and who waits to hear of it.
    pub(super) next: Option<(Box<Shell>, Reply)>,
}

impl Reconfigure {
    /// Whether nothing is handed out, as a quiet moment is waited for.
    pub(super) fn holds(&self) -> bool {
        self.state.waits()
    }
}

impl Shell {
    pub(super) fn begin_change(&mut self, now: Instant, change: Change, reply: Reply) {
        // Who asked may have gone: then nobody needs to hear of it.
        match self.reconfigure.state.ask(now, self.session.is_ending(), change.anew) {
            Asked::Refuse(why) => drop(reply.send(Err(why.to_owned()))),
            Asked::Keep => self.reconfigure.kept = Some((change, reply)),
            Asked::Replace => match self.make_next(change) {
                Ok(next) => {
                    self.reconfigure.next = Some((Box::new(next), reply));
                    self.close(now, End::Drained);
                }
                Err(why) => drop(reply.send(Err(why))),
            },
        }
    }

    /// The worker with other settings that begins when this one has ended.
    fn make_next(&self, Change { settings, instances, anew: _ }: Change) -> Result<Shell, String> {
        let first = First {
            assignments: self.flow.assignments(),
            producer: self.io.producer_number + 1,
            lookup: self.io.lookup_number + 1,
            reason: "reload",
        };
        let (metrics, status) = (Arc::clone(&self.monitor.metrics), Arc::clone(&self.monitor.status));
        Shell::new(settings, self.io.number, instances, metrics, status, self.io.inbox.clone(), first)
    }

    /// Makes the change when the moment is there.
    pub(super) fn go_on_changing(&mut self, now: Instant) {
        if !self.reconfigure.holds() {
            return;
        }
        let is_quiet = self.session.is_member()
            && self.flow.is_quiet()
            && self.io.producer.as_ref().is_some_and(|producer| producer.unreported() == 0);
        let Some(answer) = self.reconfigure.state.tick(now, self.session.is_ending(), is_quiet) else { return };
        let Some((change, reply)) = self.reconfigure.kept.take() else { return };
        let result = match answer {
            Kept::Refuse(why) => Err(why),
            Kept::Apply => self.change(now, change),
        };
        // As above.
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

        // From here to the first line that changes something, each failure leaves all as it is.
        let first_step = io::first_step(&instances);
        let chains = io::chains(&settings, instances, &self.monitor.metrics, "reload");
        let executors = io::start_executors(&settings, chains, self.io.number, &self.io.inbox)?;
        let producer = writes_other
            .then(|| {
                let number = self.io.producer_number + 1;
                io::start_producer(
                    &settings,
                    self.io.number,
                    number,
                    &io::unlimited(&settings),
                    Batching::Full,
                    &self.io.inbox,
                )
            })
            .transpose()?;

        self.session.set_timeouts(settings.drain_timeout, settings.shutdown_timeout);
        self.settings = settings;
        self.io.first_step = first_step;
        // A guest may still run what was handed out before a rewind: nobody waits for it here.
        let_go(std::mem::replace(&mut self.io.executors, executors), Duration::ZERO);
        for (index, task) in self.flow.tasks.iter_mut().enumerate() {
            task.executor = index % self.io.executors.len().max(1);
        }
        if let Some(producer) = producer {
            self.io.drop_producer();
            self.io.producer = Some(producer);
            self.delivery.begin_anew(io::unlimited(&self.settings));
            self.io.lookup.change(self.settings.kafka.clone());
            // What the new topics take comes with the answer.
            self.io.lookup.ask_probe(self.flow.partitions(), None);
        }
        self.tell_all(now, &partition::Event::Policy(self.settings.policy));
        Ok(())
    }

    /// The worker that begins in the place of this one, which has ended so.
    pub(super) fn take_next(&mut self, end: &End) -> Option<Box<Shell>> {
        let (mut next, reply) = self.reconfigure.next.take()?;
        match end {
            End::Drained => {}
            // It was repeated rather than waited for; the new settings count all the same.
            End::DeadlinePassed(why) => tracing::warn!("{why}"),
            End::Stopped(_) | End::Invalid(_) | End::Bug(_) => {
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
            // This one's producer was made anew while it finished: reports of it must not be taken for those of the next.
            next.io.producer_number = self.io.producer_number;
            next.io.drop_producer();
            next.make_producer(clock::now());
        }
        self.monitor.status.set_joined(false);
        self.monitor.set_state(State::Starting, "restarting with other settings");
        let _ = reply.send(Ok(()));
        Some(next)
    }
}
