//! Carries out being blocked, which `blocked` decides: the log line, the status, and the copy of the denied output.

use std::time::Instant;

use super::Shell;
use super::blocked::Action;
use super::blocked::Event;
use super::blocked::RETRY_EVERY;
use super::monitor::RUNNING;
use super::task::PartitionTask;
use crate::failpoint;
use crate::failure::Class;
use crate::failure::Failure;
use crate::kafka::Commands;
use crate::kafka::consumer::ClientError;
use crate::kafka::producer::Sample;
use crate::kafka::producer::SendError;
use crate::metrics::State;
use crate::partition;
use crate::record::RecordId;
use crate::record::TopicPartition;

/// An output that was denied.
pub(super) struct Denied {
    /// Its output, counted as in the file, with the dead letters after the last one.
    pub(super) output: usize,
    /// A copy of it; none with transactions.
    pub(super) copy: Option<DeniedCopy>,
}

/// A copy of an output that was denied.
pub(super) struct DeniedCopy {
    pub(super) sample: Sample,
    /// The input partition of its record.
    pub(super) partition: TopicPartition,
    /// The offset of its record.
    pub(super) offset: i64,
}

impl Shell {
    /// An output was denied: no record is handed out until the cluster has what is missing.
    pub(super) fn halt(&mut self, now: Instant, why: String, denied: Option<Denied>) {
        if denied.is_some() {
            self.flow.denied = denied;
        }
        self.tell_blocked(now, Event::OutputDenied(why));
    }

    /// The input was denied: the pipeline isn't ready until the cluster has what is missing.
    pub(super) fn halt_input(&mut self, now: Instant, error: &ClientError) {
        let commands = Commands::of(&self.settings.kafka);
        let command = match &error.partition {
            Some((topic, _)) => commands.remedy(&error.name, "input", topic),
            None => commands.remedy_input(&error.name, &self.settings.kafka.input),
        };
        self.tell_blocked(now, Event::InputDenied(format!("{}; {command}", error.text)));
    }

    /// An operator says to leave a record out if it fails for good. What it holds goes on.
    pub(super) fn leave_out(&mut self, now: Instant, place: RecordId) {
        let RecordId { partition, offset } = &place;
        tracing::warn!(
            topic = &*partition.topic,
            partition = partition.partition,
            offset,
            "an operator has said to leave a record out: it is tried once more, and skipped if it fails"
        );
        if let Some(index) = self.flow.tasks.iter().position(|task| task.partition == *partition) {
            self.tell(now, index, partition::Event::LeaveOut { offset: *offset });
        }
        self.flow.left_out.add(place);
        self.tell_blocked(now, Event::ToldToGoOn);
    }

    /// Gives an event to `Blocked` and carries out its actions.
    pub(super) fn tell_blocked(&mut self, now: Instant, event: Event) {
        for action in self.blocked.handle(now, failpoint::hasten(RETRY_EVERY), event) {
            match action {
                // Logged with the record's place, where that is known.
                Action::Say(_) if self.blocked.is_held() => {}
                Action::Say(why) => tracing::error!("halted, retrying every 10 s: {why}"),
                Action::Show(why) => {
                    if !self.session.is_ending() {
                        self.monitor.set_state(State::Halted, why);
                    }
                }
                Action::Ask => self.ask_probe(),
                Action::Try => {
                    let outcome = self.try_again(now);
                    return outcome.into_iter().for_each(|event| self.tell_blocked(now, event));
                }
                Action::ReadAgain => self.rewind_all(now),
                Action::Over => {
                    self.flow.denied = None;
                    self.monitor.status.set_stopped_at(None);
                    tracing::info!("the halt is over, processing resumes");
                    if !self.session.is_ending() {
                        self.monitor.set_state(State::Running, RUNNING);
                    }
                }
            }
        }
    }

    /// Sends the copy of the denied output, unless its partition went to another member in the meantime: then new records show
    /// whether outputs are taken. Returns the result if it is known at once.
    ///
    /// With transactions a copy that is accepted would be an output. There a producer that gets its id has to do.
    fn try_again(&mut self, now: Instant) -> Option<Event> {
        if self.delivery.transaction().is_some() {
            if self.io.producer.is_some() {
                return Some(Event::NothingToTry);
            }
            if !self.io.is_clear() {
                return Some(Event::NoRoom);
            }
            self.start_producer(now);
            return None;
        }
        let tasks = &self.flow.tasks;
        let is_ours = |copy: &&DeniedCopy| {
            tasks.iter().any(|task| task.partition == copy.partition && task.state.low().0 <= copy.offset)
        };
        let copy = self.flow.denied.as_ref().and_then(|denied| denied.copy.as_ref()).filter(is_ours);
        let (Some(DeniedCopy { sample, .. }), Some(producer)) = (copy, &self.io.producer) else {
            return Some(Event::NothingToTry);
        };
        match producer.send_sample(sample) {
            Ok(()) => {
                self.flow.bytes_out += sample.bytes();
                None
            }
            Err(SendError::Full) => Some(Event::NoRoom),
            Err(SendError::Failed(failure)) => {
                let output = sample.output();
                self.on_sample_failed(now, output, &failure);
                None
            }
        }
    }

    /// The copy of the denied output failed when it was sent.
    pub(super) fn on_sample_failed(&mut self, now: Instant, output: usize, failure: &Failure) {
        let event = if failure.kind.class() == Class::Halt {
            Event::OutputDenied(self.denied(output, failure))
        } else {
            Event::Taken
        };
        self.tell_blocked(now, event);
    }

    /// The message for a delivery to `topic` that the cluster denies, with the command that helps.
    pub(super) fn denied_delivery(&self, role: &str, topic: &str, failure: &Failure) -> String {
        let command = Commands::of(&self.settings.kafka).remedy(&failure.code, role, topic);
        format!("{}; {command}", failure.reason)
    }

    fn ask_probe(&self) {
        let partitions: Vec<TopicPartition> =
            self.flow.tasks.iter().map(|task: &PartitionTask| task.partition.clone()).collect();
        let denied = self.flow.denied.as_ref();
        let written = denied.and_then(|denied| self.written(denied.output));
        self.io.lookup.ask_probe(partitions, written.map(|(_, topic)| topic.to_owned()));
    }
}
