//! Runs a pipeline's steps without Kafka: for a person at a terminal, for test cases, and before a swap.
//!
//! The chain and the windows are the worker's own, so the results are those of a running pipeline. Only the time stands still, unless the
//! outputs are sent. Nothing is produced here and nothing committed.

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
use crate::pipeline::windowed;
use crate::plugin::Step;
use crate::record::Header;
use crate::record::OutRecord;
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
    /// Name and topic of each output; the topic is empty if records have to name one.
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

/// What windows that have closed have become.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closed {
    /// Their results, in order.
    pub outputs: Vec<Made>,
    /// Those without a result, and why, for people.
    pub failed: Vec<String>,
}

/// An output of a record or of a window.
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
    /// Creates an instance of each step, or only of the step `only`. A step with windows begins without state.
    ///
    /// # Errors
    /// If there is no such step, or a plugin can't be started. The message is for people.
    pub fn new(config: &config::Pipeline, steps: &[Step], only: Option<&str>) -> Result<Steps, String> {
        Steps::of(config, steps, only, Step::rehearsal)
    }

    /// Creates an instance of each step for records whose outputs are sent: time and random numbers are real. The pipeline has no windows.
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
        let is_chosen = |name: &str| only.is_none_or(|only| name == only);
        let chosen: Vec<&Step> = steps.iter().filter(|step| is_chosen(&step.settings().name)).collect();
        let native = config.native().map(|native| &native.name);
        let all = || steps.iter().map(|step| &step.settings().name).chain(native);
        let names: Vec<Arc<str>> = all().filter(|name| is_chosen(name)).cloned().collect();
        if let (true, Some(only)) = (names.is_empty(), only) {
            let names: Vec<&str> = all().map(|name| &**name).collect();
            return Err(format!("there is no step `{only}`: there are {}", names.join(", ")));
        }
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
        let routes = config.routes.for_steps(names.len());
        let windowed = config.windowed.clone().filter(|windowed| is_chosen(&windowed.name));
        let windowed = windowed.map(|windowed| {
            let number = names.len() - 1;
            let windowed = config::Windowed { number, ..windowed };
            windowed::step(windowed, &config.kafka.delivery, &routes, steps.last())
        });
        let topic = config.kafka.input.topics.first().map_or("", |topic| topic.as_str());
        let source = TopicPartition { topic: topic.into(), partition: 0 };
        let outputs = config.kafka.outputs.iter();
        Ok(Steps {
            dry: DryRun::new(ready, windowed, &source, routes.clone(), &metrics),
            routes,
            batch: Batch::new(source),
            names,
            outputs: outputs.map(|output| (Arc::clone(&output.name), output.topic_name().to_owned())).collect(),
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
            outputs.push(Made::of(&self.outputs[place], made));
        })?;
        let trace = self.trace(&stages, &before);
        Ok(Reaction { outputs, trace })
    }

    /// The results of windows that the last record has closed. With windows it is called after each record, whether or not the record
    /// failed.
    pub fn closed(&mut self) -> Closed {
        let mut outputs = Vec::new();
        let failed = self.dry.show(|place, made| outputs.push(Made::of(&self.outputs[place], made)));
        Closed { outputs, failed }
    }

    /// The results of the remaining windows: the input has ended, and windows close as they do for a quiet partition. With
    /// `idle = "never"` none does.
    pub fn end(&mut self) -> Closed {
        self.dry.end();
        self.closed()
    }

    /// The number of windows that hold records and have no result yet.
    #[must_use]
    pub fn open_windows(&self) -> usize {
        self.dry.open_windows()
    }

    /// The clock by which a record is too far ahead for windows, in milliseconds since 1970-01-01 UTC. Without it, no record is: the clock
    /// is the greatest time of the records so far.
    pub fn set_clock(&mut self, now_ms: i64) {
        self.dry.set_clock(now_ms);
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
            let led = self.led(stage);
            let (records, kib) = (stage.records, memory / 1024);
            // A step without a plugin has neither.
            let cost = if memory == 0 { String::new() } else { format!(", {took:.1?}, {kib} KiB") };
            // Writing to a String can't fail.
            let _ = writeln!(text, "  {name}: {records} in{cost} -> {led}");
        }
        text
    }

    /// Where the records of a step went.
    fn led(&self, stage: &StepTrace) -> String {
        let StepTrace { step, ports, folded, late, .. } = stage;
        let mut led: Vec<String> = ports.iter().map(|&port| self.destination(*step, port)).collect();
        if *folded > 0 {
            led.push("its windows".into());
        }
        if *late > 0 {
            led.push(format!("no window: {late} late"));
        }
        if led.is_empty() { "nothing".into() } else { led.join(", ") }
    }

    fn destination(&self, step: usize, port: u32) -> String {
        match self.routes.destination(step, port) {
            Destination::NextStep => "the next step".into(),
            Destination::Output(output) => format!("`{}`", self.outputs[output].0),
        }
    }
}

impl Made {
    /// An output to the output with this name and topic, unless its record names another topic.
    fn of((output, topic): &(Arc<str>, String), made: &OutRecord<'_>) -> Made {
        let headers = made.headers.iter().map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)));
        Made {
            output: Arc::clone(output),
            topic: made.topic.map_or_else(|| topic.clone(), |topic| topic.to_string()),
            partition: made.partition,
            timestamp: (made.timestamp != NO_TIMESTAMP).then_some(made.timestamp),
            key: made.key.map(<[u8]>::to_vec),
            value: made.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }

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
