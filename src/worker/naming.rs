//! Has the topics that records name looked at before anything is sent there; `named_topics` decides.

use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::outgoing::Naming;
use super::outgoing::Outgoing;
use super::outgoing::Unsendable;
use crate::failure::Class;
use crate::failure::Failure;
use crate::kafka;
use crate::kafka::producer::Produced;

impl Shell {
    /// Whether the topics that a run names are known. Those that can't be written fail their records. `None` while a broker has to
    /// answer; `Some(false)` if the run is read again.
    pub(super) fn check_names(&mut self, now: Instant, index: usize, outgoing: &mut Outgoing) -> Option<bool> {
        let (settings, named) = (&self.settings, &mut self.delivery.named);
        // All are looked at where one may be left out; each gets its own verdict.
        let leaves_out = self.flow.tasks[index].state.leaves_out();
        let continues = |failure: &Failure| leaves_out || settings.policy.rule(failure).then.continues();
        let look = |output: usize, topic: &Arc<str>| named.look(now, output, topic);
        match outgoing.name((&settings.routes, &settings.steps), continues, look) {
            Naming::Known(unsendable) => {
                for Unsendable { root, output, failure } in unsendable {
                    if outgoing.holds(root) && !self.on_unsendable(now, index, outgoing, root, output, &failure) {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Naming::Unknown => {
                self.ask_named();
                None
            }
        }
    }

    /// Asks about the topics of which nothing is known, unless a question is pending.
    pub(super) fn ask_named(&mut self) {
        if let Some(topics) = self.delivery.named.question() {
            self.io.lookup.ask_named(topics);
        }
    }

    /// A broker has answered for topics that records name.
    pub(super) fn on_named(&mut self, now: Instant, answers: Vec<(Arc<str>, Option<Failure>)>) {
        let is_gone = self.delivery.named.answer(now, answers);
        // In a transaction an output to a topic that is gone is neither delivered nor refused.
        if is_gone && self.delivery.transaction().is_some() {
            self.recover_producer(now, "a topic that records name is gone");
        }
        self.ask_named();
    }

    /// Gives the producer the topics that records name.
    ///
    /// # Errors
    /// librdkafka's error message.
    pub(super) fn show_named(&mut self) -> Result<(), String> {
        match &mut self.io.producer {
            Some(producer) => producer.add_named(&self.settings.kafka, self.delivery.named.numbered()),
            None => Ok(()),
        }
    }

    /// Counts what was delivered to topics that records name. `produced` has all outputs before them.
    pub(super) fn count_named(&self, produced: &[Produced]) {
        for (place, took) in produced.iter().enumerate().skip(self.settings.kafka.written().count()) {
            if let Some((output, topic)) = self.written(place) {
                self.monitor.count_named(&output.name, topic, *took);
            }
        }
    }

    /// The index that the producer has for an output to a topic that a record named.
    pub(super) fn place_of(&self, output: usize, topic: Option<&Arc<str>>) -> usize {
        let Some(topic) = topic else { return output };
        // A name without a number would be a bug: the producer refuses what it doesn't know.
        let number = self.delivery.named.number(output, topic);
        number.map_or(usize::MAX, |number| self.settings.kafka.written().count() + number)
    }

    /// The output and the topic of an index of the producer's.
    pub(super) fn written(&self, place: usize) -> Option<(&kafka::settings::Output, &str)> {
        let kafka = &self.settings.kafka;
        let number = place.checked_sub(kafka.written().count());
        match number {
            None => kafka.written().nth(place).map(|output| (output, output.topic_name())),
            Some(number) => {
                let (output, topic) = self.delivery.named.numbered().get(number)?;
                Some((kafka.outputs.get(*output)?, topic))
            }
        }
    }

    /// The failure of an output to this index of the producer's: a topic that a record named and that can't be written is no matter
    /// of the pipeline.
    pub(super) fn judged(&mut self, place: usize, failure: Failure) -> Failure {
        let kafka = &self.settings.kafka;
        let Some(number) = place.checked_sub(kafka.written().count()) else { return failure };
        if failure.kind.class() != Class::Halt {
            return failure;
        }
        let topic = self.delivery.named.numbered().get(number).map_or("", |(_, topic)| topic);
        let failure = kafka::of_named(failure, topic, kafka);
        if failure.kind.class() != Class::Halt {
            self.delivery.named.doubt(number);
        }
        failure
    }
}
