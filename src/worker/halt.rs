//! Halts: what can't be helped by waiting alone, but by a person, and then goes on by itself.
//!
//! A topic that is gone, or a permission that was taken away. Nothing is handed out meanwhile, the pipeline is not ready and
//! says why, once, with the command that mends it. Every ten seconds it is tried again: first the cluster is asked, then one
//! round of records shows whether they are taken.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::lane::Lane;
use crate::failure::Failure;
use crate::kafka::Commands;
use crate::kafka::consumer::ClientError;
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The cluster is being asked.
    Asking,
    /// It has what was missing: when the time has come, records go on.
    Answered,
    /// Records go on, and none was delivered yet.
    Trying,
}

/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(10);

impl Shell {
    /// An output is denied: nothing is handed out until the cluster has what is missing.
    pub(super) fn halt(&mut self, now: Instant, why: String) {
        self.begin_halt(now, why, true);
    }

    /// The input is denied: the pipeline isn't ready until the cluster has what is missing.
    pub(super) fn halt_input(&mut self, now: Instant, error: &ClientError) {
        let (role, name) = match &error.partition {
            Some((topic, _)) => ("input", topic.clone()),
            None if error.name.contains("GROUP") => ("group", self.settings.kafka.input.group.clone()),
            None => ("input", self.settings.kafka.input.topics.join(",")),
        };
        let command = Commands::of(&self.settings.kafka).remedy(&error.name, role, &name);
        self.begin_halt(now, format!("{}; {command}", error.text), false);
    }

    fn begin_halt(&mut self, now: Instant, why: String, holds: bool) {
        let holds = holds || self.halt.as_ref().is_some_and(|halt| halt.holds);
        if self.halt.as_ref().is_none_or(|halt| halt.why != why) {
            tracing::error!("halted, and tried again every 10 s: {why}");
        }
        let asks = self.halt.as_ref().is_none_or(|halt| halt.stage != Stage::Asking);
        if self.closing.is_none() {
            self.set_state(State::Halted, why.clone());
        }
        self.halt = Some(Halt { why, until: now + RETRY_EVERY, stage: Stage::Asking, holds });
        if asks {
            self.ask_probe();
        }
    }

    /// The cluster still lacks something.
    pub(super) fn on_denied(&mut self, now: Instant, why: String) {
        match &mut self.halt {
            // What was said of it when it began is still so; it goes on as soon as the cluster has it.
            Some(halt) => halt.until = now,
            None => self.begin_halt(now, why, false),
        }
    }

    /// The cluster has everything that the pipeline names, as far as it tells.
    pub(super) fn on_probed(&mut self) {
        if let Some(halt) = &mut self.halt
            && halt.stage == Stage::Asking
        {
            halt.stage = if halt.holds { Stage::Answered } else { Stage::Trying };
            let holds = halt.holds;
            self.end_halt(!holds);
        }
    }

    /// Whether records may be handed out; begins to try when the time has come.
    pub(super) fn may_go_on(&mut self, now: Instant) -> bool {
        match &mut self.halt {
            None => true,
            Some(halt) => {
                if halt.stage == Stage::Answered && now >= halt.until {
                    halt.stage = Stage::Trying;
                }
                halt.stage == Stage::Trying || !halt.holds
            }
        }
    }

    /// The halt is over when something was delivered, or when nothing is left to deliver.
    pub(super) fn end_halt(&mut self, delivered: bool) {
        let is_trying = self.halt.as_ref().is_some_and(|halt| halt.stage == Stage::Trying);
        let is_idle = || self.lanes.iter().all(|lane| lane.in_flight() == 0) && self.backlog.is_empty();
        if is_trying && (delivered || is_idle()) {
            self.halt = None;
            tracing::info!("the halt is over, records go on");
            if self.closing.is_none() {
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
        self.lookup.ask_probe(partitions);
    }
}
