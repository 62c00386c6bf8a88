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
use super::First;
use super::Settings;
use super::Shell;
use super::chains;
use super::clock;
use super::closing::let_go;
use super::first_step;
use super::start_executors;
use super::start_producer;
use super::unlimited;
use crate::kafka::limits::Batching;
use crate::metrics::State;
use crate::partition;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::TopicPartition;

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

/// A change that waits for a quiet moment.
pub(super) struct Changing {
    change: Change,
    reply: Reply,
    deadline: Instant,
}

/// A quiet moment comes when what is at the executors and at the broker is done: within a step's timeout, mostly. While a broker is
/// gone it doesn't, and then nothing is changed.
const QUIET_MAX: Duration = Duration::from_secs(10);

impl Shell {
    pub(super) fn begin_change(&mut self, now: Instant, change: Change, reply: Reply) {
        // Who asked may have gone: then nobody needs to hear of it.
        let refuse = |reply: mpsc::Sender<_>, why: &str| drop(reply.send(Err(why.to_owned())));
        if self.session.is_ending() {
            return refuse(reply, "the pipeline is about to end");
        }
        if self.changing.is_some() {
            return refuse(reply, "another change is under way");
        }
        if !change.anew {
            self.changing = Some(Changing { change, reply, deadline: now + QUIET_MAX });
            return;
        }
        let Change { settings, instances, anew: _ } = change;
        let first = First {
            assignments: self.assignments.clone(),
            producer: self.producer_number + 1,
            lookup: self.lookup_number + 1,
            reason: "reload",
        };
        let (metrics, status) = (Arc::clone(&self.metrics), Arc::clone(&self.status));
        match Shell::new(settings, self.number, instances, metrics, status, self.inbox.clone(), first) {
            Ok(next) => {
                self.next = Some((Box::new(next), reply));
                self.close(now, End::Drained);
            }
            Err(why) => refuse(reply, &why),
        }
    }

    /// Makes the change when the moment is there.
    pub(super) fn go_on_changing(&mut self, now: Instant) {
        let Some(changing) = &self.changing else { return };
        let late = now >= changing.deadline;
        let ends = self.session.is_ending();
        if !(late || ends || self.is_quiet()) {
            return;
        }
        let Some(Changing { change, reply, .. }) = self.changing.take() else { return };
        let result = if ends {
            Err("the pipeline is about to end".to_owned())
        } else if late {
            Err(format!("what was in flight was not done within {QUIET_MAX:?}; try again when brokers answer"))
        } else {
            self.change(now, change)
        };
        // See above.
        let _ = reply.send(result);
    }

    /// Nothing is at an executor, on its way there and back, or at a broker without an answer. Records may wait: for their turn, or
    /// for a retry.
    fn is_quiet(&self) -> bool {
        self.session.is_member()
            && self.lanes.iter().all(|lane| lane.jobs == 0)
            && self.backlog.is_empty()
            && self.letters.is_empty()
            && self.bytes_out == 0
            && self.producer.as_ref().is_some_and(|producer| producer.unreported() == 0)
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
        let first_step = first_step(&instances);
        let chains = chains(&settings, instances, &self.metrics, "reload");
        let executors = start_executors(&settings, chains, self.number, &self.inbox)?;
        let producer = writes_other
            .then(|| {
                let number = self.producer_number + 1;
                start_producer(&settings, self.number, number, &unlimited(&settings), Batching::Full, &self.inbox)
            })
            .transpose()?;

        self.session.set_timeouts(settings.drain_timeout, settings.shutdown_timeout);
        self.settings = settings;
        self.first_step = first_step;
        // A guest may still run what was handed out before a rewind: nobody waits for it here.
        let_go(std::mem::replace(&mut self.executors, executors), Duration::ZERO);
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.executor = index % self.executors.len().max(1);
        }
        if let Some(producer) = producer {
            self.drop_producer();
            self.producer = Some(producer);
            (self.apart, self.renewing) = (None, None);
            self.limits = unlimited(&self.settings);
            self.lookup.change(self.settings.kafka.clone());
            let partitions: Vec<TopicPartition> = self.lanes.iter().map(|lane| lane.partition.clone()).collect();
            // What the new topics take comes with the answer.
            self.lookup.ask_probe(partitions, None);
        }
        self.tell_all(now, &partition::Event::Policy(self.settings.policy));
        Ok(())
    }

    /// The worker that begins in the place of this one, which has ended so.
    pub(super) fn take_next(&mut self, end: &End) -> Option<Box<Shell>> {
        let (mut next, reply) = self.next.take()?;
        match end {
            End::Drained => {}
            // It was repeated rather than waited for; the new settings count all the same.
            End::DeadlinePassed(why) => tracing::warn!("{why}"),
            End::Stopped(_) | End::Invalid(_) | End::Bug(_) => {
                let _ = reply.send(Err("the pipeline has ended".to_owned()));
                return None;
            }
        }
        for lane in &self.lanes {
            self.metrics.remove_lag(&lane.partition.topic, lane.partition.partition);
            self.metrics.remove_lag_seconds(&lane.partition.topic);
        }
        self.metrics.assigned_partitions.set(0);
        std::mem::swap(&mut next.events, &mut self.events);
        debug_assert!(next.session.is_joining(), "it has not begun");
        next.assignments = self.assignments.clone();
        if next.producer_number <= self.producer_number {
            // This one's producer was made anew while it finished: reports of it must not be taken for those of the next.
            next.producer_number = self.producer_number;
            next.drop_producer();
            next.make_producer(clock::now());
        }
        self.status.set_joined(false);
        self.set_state(State::Starting, "beginning anew with other settings");
        let _ = reply.send(Ok(()));
        Some(next)
    }
}
