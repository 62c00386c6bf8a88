//! Halts: what can't be helped by waiting alone, but by a person, and then goes on by itself.
//!
//! A topic that is gone, or a permission that was taken away. Nothing is handed out meanwhile, the pipeline is not ready and
//! says why, once, with the command that mends it. Every ten seconds it is tried again: first the cluster is asked, then a copy of the
//! output that was denied is sent. Only when that is taken the halt is over, so other outputs get what was in flight once more and not
//! once for each try.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::lane::Lane;
use crate::failpoint;
use crate::failure::Class;
use crate::failure::Failure;
use crate::kafka::Commands;
use crate::kafka::consumer::ClientError;
use crate::kafka::producer::Sample;
use crate::kafka::producer::SendError;
use crate::metrics::State;
use crate::record::TopicPartition;

/// What a pipeline halts for.
pub(super) struct Halt {
    why: String,
    /// Not before this.
    until: Instant,
    stage: Stage,
    /// Whether nothing is handed out meanwhile. What was read before the input was denied still goes out.
    holds: bool,
    denied: Option<Denied>,
}

/// An output that was denied.
pub(super) struct Denied {
    /// A copy of it.
    pub(super) sample: Sample,
    /// The partition of the record that it is of.
    pub(super) partition: TopicPartition,
    /// Where the record is.
    pub(super) offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The cluster is being asked.
    Asking,
    /// It has what was missing: when the time has come, it is tried.
    Answered,
    /// A copy of what was denied is on its way.
    Trying,
}

/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(10);

impl Shell {
    /// An output is denied: nothing is handed out until the cluster has what is missing.
    pub(super) fn halt(&mut self, now: Instant, why: String, denied: Option<Denied>) {
        self.begin_halt(now, why, true, denied);
    }

    /// The input is denied: the pipeline isn't ready until the cluster has what is missing.
    pub(super) fn halt_input(&mut self, now: Instant, error: &ClientError) {
        let commands = Commands::of(&self.settings.kafka);
        let command = match &error.partition {
            Some((topic, _)) => commands.remedy(&error.name, "input", topic),
            None => commands.remedy_input(&error.name, &self.settings.kafka.input),
        };
        self.begin_halt(now, format!("{}; {command}", error.text), false, None);
    }

    fn begin_halt(&mut self, now: Instant, why: String, holds: bool, denied: Option<Denied>) {
        let before = self.halt.take();
        let holds = holds || before.as_ref().is_some_and(|halt| halt.holds);
        if before.as_ref().is_none_or(|halt| halt.why != why) {
            tracing::error!("halted, and tried again every 10 s: {why}");
        }
        let asks = before.as_ref().is_none_or(|halt| halt.stage != Stage::Asking);
        let denied = denied.or_else(|| before?.denied);
        if !self.session.is_ending() {
            self.set_state(State::Halted, why.clone());
        }
        self.halt =
            Some(Halt { why, until: now + failpoint::hasten(RETRY_EVERY), stage: Stage::Asking, holds, denied });
        if asks {
            self.ask_probe();
        }
    }

    /// The cluster still lacks something.
    pub(super) fn on_denied(&mut self, now: Instant, why: String) {
        match &mut self.halt {
            // What was said of it when it began is still so; it goes on as soon as the cluster has it.
            Some(halt) => halt.until = now,
            None => self.begin_halt(now, why, false, None),
        }
    }

    /// The cluster has everything that the pipeline names, as far as it tells.
    pub(super) fn on_probed(&mut self) {
        if let Some(halt) = &mut self.halt
            && halt.stage == Stage::Asking
        {
            if halt.holds {
                halt.stage = Stage::Answered;
            } else {
                self.end_halt();
            }
        }
    }

    /// Whether records may be handed out. When the time has come, what was denied is tried.
    pub(super) fn may_go_on(&mut self, now: Instant) -> bool {
        let Some(halt) = &mut self.halt else { return true };
        if halt.stage == Stage::Answered && now >= halt.until {
            self.try_again(now);
        }
        match &self.halt {
            None => true,
            Some(halt) => !halt.holds,
        }
    }

    /// Sends what was denied. Where it isn't to be sent any more, as others have its partition or had it meanwhile, records show whether
    /// they are taken.
    fn try_again(&mut self, now: Instant) {
        let Some(halt) = &mut self.halt else { return };
        let lanes = &self.lanes;
        let is_ours = |denied: &&Denied| {
            lanes.iter().any(|lane| lane.partition == denied.partition && lane.state.low().0 <= denied.offset)
        };
        let (Some(Denied { sample, .. }), Some(producer)) = (halt.denied.as_ref().filter(is_ours), &self.producer)
        else {
            return self.end_halt();
        };
        match producer.send_sample(sample) {
            Ok(()) => {
                halt.stage = Stage::Trying;
                self.bytes_out += sample.bytes();
            }
            Err(SendError::Full) => {}
            Err(SendError::Failed(failure)) => {
                let output = sample.output();
                self.on_sample_failed(now, output, &failure);
            }
        }
    }

    /// The producer is another one: a sample that the one before had is sent again.
    pub(super) fn lose_sample(&mut self) {
        if let Some(halt) = self.halt.as_mut().filter(|halt| halt.stage == Stage::Trying) {
            halt.stage = Stage::Answered;
        }
    }

    /// What was denied wasn't taken either when it was tried again.
    pub(super) fn on_sample_failed(&mut self, now: Instant, output: usize, failure: &Failure) {
        if failure.kind.class() == Class::Halt {
            let why = self.denied(output, failure);
            self.begin_halt(now, why, true, None);
        } else {
            // That is the record's own matter, and shows again when its turn comes.
            self.end_halt();
        }
    }

    /// The halt is over.
    pub(super) fn end_halt(&mut self) {
        if self.halt.take().is_some() {
            tracing::info!("the halt is over, records go on");
            if !self.session.is_ending() {
                self.set_state(State::Running, "running");
            }
        }
    }

    /// Whether it is halted; then the state isn't changed by anything else.
    pub(super) fn is_halted(&self) -> bool {
        self.halt.is_some()
    }

    /// What a person has to do about a delivery to `topic` that the cluster denies.
    pub(super) fn denied_delivery(&self, role: &str, topic: &str, failure: &Failure) -> String {
        let command = Commands::of(&self.settings.kafka).remedy(&failure.code, role, topic);
        format!("{}; {command}", failure.reason)
    }

    fn ask_probe(&self) {
        let partitions: Vec<TopicPartition> = self.lanes.iter().map(|lane: &Lane| lane.partition.clone()).collect();
        let denied = self.halt.as_ref().and_then(|halt| halt.denied.as_ref());
        let written = denied.and_then(|denied| self.settings.kafka.written().nth(denied.sample.output()));
        self.lookup.ask_probe(partitions, written.map(|output| output.topic.clone()));
    }
}
