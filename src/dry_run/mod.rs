//! Runs a pipeline's steps without Kafka: for a person at a terminal, for test cases, and before a swap.
//!
//! The chain is the worker's own, so the results are those of a running pipeline. Only the time stands still, unless the outputs are
//! sent. Nothing is produced here and nothing committed.

pub mod cases;
pub mod conformance;
mod json;
pub mod line;
pub mod lines;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::batch::Batch;
use crate::config;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::plugin::Step;
use crate::record::Header;
use crate::record::TopicPartition;
use crate::sink::Destination;
use crate::sink::Routes;
use crate::worker::DryRun;
use crate::worker::StepTrace;
use line::FeedHeaders;
use line::FeedRecord;

/// The steps of a pipeline, or one of them, ready for records.
pub struct Steps {
    dry: DryRun,
    routes: Routes,
    batch: Batch,
    names: Vec<Arc<str>>,
    /// Name and topic of each output.
    outputs: Vec<(Arc<str>, String)>,
    metrics: Arc<Metrics>,
}

/// The result of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reaction {
    /// Its outputs, in order.
    pub outputs: Vec<Made>,
    /// What each step did, one line per step, for people.
    pub trace: String,
}

/// An output of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The output's name in the file.
    pub output: Arc<str>,
    /// Its topic.
    pub topic: String,
    /// The partition, if the plugin chose one.
    pub partition: Option<i32>,
    /// Milliseconds since 1970-01-01 UTC; `None` is the time of producing.
    pub timestamp: Option<i64>,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// In order; names may repeat.
    pub headers: FeedHeaders,
}

/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

impl Steps {
    /// Creates an instance of each step, or only of the step `only`.
    ///
    /// # Errors
    /// If there is no such step, or a plugin can't be started. The message is for people.
    pub fn new(config: &config::Pipeline, steps: &[Step], only: Option<&str>) -> Result<Steps, String> {
        Steps::of(config, steps, only, Step::rehearsal)
    }

    /// Creates an instance of each step for records whose outputs are sent: time and random numbers are real.
    ///
    /// # Errors
    /// If a plugin can't be started. The message is for people.
    pub fn live(config: &config::Pipeline, steps: &[Step]) -> Result<Steps, String> {
        Steps::of(config, steps, None, Step::clone)
    }

    fn of(
        config: &config::Pipeline,
        steps: &[Step],
        only: Option<&str>,
        ready_step: impl Fn(&Step) -> Step,
    ) -> Result<Steps, String> {
        if let Some(windowed) = config.windowed.as_ref().filter(|_| only.is_none()) {
            return Err(format!(
                "step `{}` has windows, and only `wasmill run` computes them so far; `--step NAME` runs a step before it",
                windowed.name
            ));
        }
        let chosen: Vec<&Step> =
            steps.iter().filter(|step| only.is_none_or(|only| *step.settings().name == *only)).collect();
        if let (true, Some(only)) = (chosen.is_empty(), only) {
            let names: Vec<&str> = steps.iter().map(|step| &*step.settings().name).collect();
            return Err(format!("there is no step `{only}`: there are {}", names.join(", ")));
        }
        let names: Vec<Arc<str>> = chosen.iter().map(|step| Arc::clone(&step.settings().name)).collect();
        let labels: Vec<&str> = names.iter().map(|name| &**name).collect();
        let metrics = Metrics::new(&config.name, &labels, &[]);
        let mut ready = Vec::with_capacity(chosen.len());
        for step in chosen {
            let failed = |failure: Failure| {
                let mut report = config.report();
                config.add_unstarted(&step.settings().name, &failure.reason, &mut report);
                format!("{report}{}", failure.backtrace).trim_end().to_owned()
            };
            let step = ready_step(step);
            let made = step.instantiate().map_err(failed)?;
            ready.push((step, made));
        }
        let routes = config.routes.for_steps(ready.len());
        let topic = config.kafka.input.topics.first().map_or("", |topic| topic.as_str());
        let source = TopicPartition { topic: topic.into(), partition: 0 };
        let outputs = config.kafka.outputs.iter();
        Ok(Steps {
            dry: DryRun::new(ready, routes.clone(), &metrics),
            routes,
            batch: Batch::new(source),
            names,
            outputs: outputs.map(|output| (Arc::clone(&output.name), output.topic.clone())).collect(),
            metrics,
        })
    }

    /// Runs a record. `offset` is the offset that the plugins see.
    ///
    /// # Errors
    /// Why the record failed.
    pub fn run(&mut self, offset: i64, record: &FeedRecord) -> Result<Reaction, Failure> {
        let source = self.batch.source().clone();
        self.run_from(&source, offset, 0, record)
    }

    /// Like [`Steps::run`], for a record of this partition that was tried so often before.
    ///
    /// # Errors
    /// Why the record failed.
    pub fn run_from(
        &mut self,
        source: &TopicPartition,
        offset: i64,
        attempt: u32,
        record: &FeedRecord,
    ) -> Result<Reaction, Failure> {
        self.batch.reset(source.clone());
        let headers = record.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() });
        let timestamp = record.timestamp.unwrap_or(NO_TIMESTAMP);
        self.batch.push(offset, timestamp, attempt, record.key.as_deref(), record.value.as_deref(), headers);
        let before: Vec<f64> = self.names.iter().map(|name| self.seconds(name)).collect();
        let mut outputs = Vec::new();
        let stages = self.dry.run(&self.batch, 0, |place, made| {
            let (output, topic) = &self.outputs[place];
            let headers = made.headers.iter().map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)));
            outputs.push(Made {
                output: Arc::clone(output),
                topic: topic.clone(),
                partition: made.partition,
                timestamp: (made.timestamp != NO_TIMESTAMP).then_some(made.timestamp),
                key: made.key.map(<[u8]>::to_vec),
                value: made.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            });
        })?;
        let trace = self.trace(&stages, &before);
        Ok(Reaction { outputs, trace })
    }

    /// The total time of a step's calls so far, in seconds.
    fn seconds(&self, name: &str) -> f64 {
        self.metrics.step_duration_seconds.with_label_values(&[name]).get_sample_sum()
    }

    fn trace(&self, stages: &[StepTrace], before: &[f64]) -> String {
        let mut text = String::new();
        for stage in stages {
            let name = &self.names[stage.step];
            let took = Duration::from_secs_f64((self.seconds(name) - before[stage.step]).max(0.0));
            let memory = self.metrics.plugin_memory_bytes.with_label_values(&[&**name]).get();
            let mut led: Vec<String> = stage.ports.iter().map(|&port| self.destination(stage.step, port)).collect();
            if led.is_empty() {
                led.push("nothing".into());
            }
            let (records, kib) = (stage.records, memory / 1024);
            // Writing to a String can't fail.
            let _ = writeln!(text, "  {name}: {records} in, {took:.1?}, {kib} KiB -> {}", led.join(", "));
        }
        text
    }

    fn destination(&self, step: usize, port: u32) -> String {
        match self.routes.destination(step, port) {
            Destination::NextStep => "the next step".into(),
            Destination::Output(output) => format!("`{}`", self.outputs[output].0),
        }
    }
}

impl Made {
    /// The output as one line of JSON without its line end; it can be fed again as a record.
    #[must_use]
    pub fn line(&self) -> String {
        let header = |(name, value): &line::OwnedHeader| json!([line::json(Some(name)), line::json(value.as_deref())]);
        let headers: Vec<Value> = self.headers.iter().map(header).collect();
        let mut record = json!({
            "output": &*self.output,
            "topic": self.topic,
            "key": line::json(self.key.as_deref()),
            "value": line::json(self.value.as_deref()),
            "headers": headers,
            "timestamp": self.timestamp,
        });
        if let (Some(partition), Some(fields)) = (self.partition, record.as_object_mut()) {
            fields.insert("partition".into(), partition.into());
        }
        record.to_string()
    }
}
