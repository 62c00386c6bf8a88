//! Traces of records: which are recorded, the spans about them, and their way to a collector.
//!
//! One tracer for the process, which knows whose spans they are by the pipeline of the thread. Without one, nothing is done for a record. It
//! decides about a record by its headers and its place alone. Invariant: nothing waits for the collector, except for the end of the process,
//! and that for a bounded time. Only `export.rs` knows OpenTelemetry's crates; without the feature `otel` it is left out, and nothing is traced.

#![cfg_attr(not(feature = "otel"), expect(dead_code, reason = "no exporter takes the spans"))]

mod context;
#[cfg(feature = "otel")]
mod export;
mod ids;
mod names;
mod queue;
mod sampler;
mod settings;
mod span;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

pub use context::SpanContext;
pub use ids::PartitionIds;
pub use settings::TraceSettings;
pub use settings::is_endpoint;
pub use span::SampledRecord;
pub use span::SentOutput;
pub use span::SpanTimes;
pub use span::TraceSpan;

use crate::failure::Failure;
use crate::record::Headers;
use crate::record::Record;
use crate::record::TopicPartition;
use crate::telemetry;
use ids::TraceIds;
use queue::SpanQueue;
use sampler::Sampler;
use span::Owner;

/// How long the end of the process waits for the collector.
const END_MAX: Duration = Duration::from_secs(2);

/// The tracer of the process.
static OF_PROCESS: OnceLock<Tracing> = OnceLock::new();

/// Whether this program can trace records.
pub const IS_THERE: bool = cfg!(feature = "otel");

/// What the tracers of all pipelines share.
#[derive(Clone, Debug)]
struct Tracing {
    sampler: Sampler,
    ids: Arc<TraceIds>,
    queue: Arc<SpanQueue>,
}

/// Traces the records of one pipeline.
#[derive(Clone, Debug)]
pub struct Tracer {
    shared: Tracing,
    owner: Owner,
}

/// Sends the spans of the process until it is dropped. Then it sends the rest, for two seconds at most.
#[derive(Debug)]
pub struct Traces(Arc<SpanQueue>);

impl Drop for Traces {
    fn drop(&mut self) {
        self.0.end(END_MAX);
    }
}

/// Begins to trace the records of this process.
///
/// # Errors
/// Why they can't be traced, and what to do.
#[cfg(feature = "otel")]
pub fn start(settings: &TraceSettings) -> Result<Traces, String> {
    let exporter = export::Exporter::new(&settings.endpoint, settings.timeout)?;
    let ids = TraceIds::new().map_err(|error| format!("the system has no random numbers: {error}"))?;
    let queue = Arc::new(SpanQueue::new(settings.queue));
    let taken = Arc::clone(&queue);
    telemetry::spawn("traces", move || exporter.run(&taken))
        .map_err(|error| format!("failed to start a thread: {error}"))?;
    // A process traces once. Only a test that runs two commands in one process has another one.
    let _ = OF_PROCESS.set(Tracing { sampler: settings.sampler, ids: Arc::new(ids), queue: Arc::clone(&queue) });
    Ok(Traces(queue))
}

/// Begins to trace the records of this process.
///
/// # Errors
/// That this program can't.
#[cfg(not(feature = "otel"))]
pub fn start(_: &TraceSettings) -> Result<Traces, String> {
    Err("this program was built without the feature `otel`: leave the endpoint out, or build it with the feature"
        .to_owned())
}

/// The spans that the collector took, and those that were dropped, since the start of the process.
#[must_use]
pub fn span_counts() -> (u64, u64) {
    OF_PROCESS.get().map_or((0, 0), |tracing| tracing.queue.counts())
}

impl Tracer {
    /// The tracer of this thread's pipeline, which reads with this group. `None` if records are not traced.
    #[must_use]
    pub fn of_pipeline(group: &str) -> Option<Tracer> {
        let shared = OF_PROCESS.get()?.clone();
        let pipeline = telemetry::pipeline_of_thread().unwrap_or_default();
        Some(Tracer { shared, owner: Owner { pipeline, group: group.into() } })
    }

    /// What [`Tracer::sample`] needs to know about a partition.
    #[must_use]
    pub fn partition(&self, source: &TopicPartition) -> PartitionIds {
        self.shared.ids.of(source)
    }

    /// The contexts of a record that is recorded; `None` for any other one.
    #[must_use]
    pub fn sample(&self, partition: PartitionIds, offset: i64, headers: Headers<'_>) -> Option<SampledRecord> {
        let sender = SpanContext::of(headers);
        let trace = || sender.as_ref().map_or_else(|| partition.trace(offset), |sender| sender.trace);
        if !self.shared.sampler.records(sender.as_ref().map(SpanContext::is_sampled), trace) {
            return None;
        }
        let span = self.shared.ids.span();
        Some(match sender {
            Some(sender) => SampledRecord { context: sender.child(span), sender: Some(sender.span) },
            None => SampledRecord { context: SpanContext::first(partition.trace(offset), span), sender: None },
        })
    }

    /// The context of another span below this one.
    #[must_use]
    pub fn below(&self, context: &SpanContext) -> SpanContext {
        context.child(self.shared.ids.span())
    }

    /// The span of a record.
    #[must_use]
    pub fn record_span(
        &self,
        sampled: &SampledRecord,
        source: &TopicPartition,
        record: &Record<'_>,
        times: SpanTimes,
        ended: (&'static str, Option<&Failure>),
    ) -> TraceSpan {
        self.owner.record(sampled, source, record, times, ended)
    }

    /// The span of a step that the record went through, in calls of this many records.
    #[must_use]
    pub fn step_span(
        &self,
        sampled: &SampledRecord,
        step: &Arc<str>,
        records: usize,
        times: SpanTimes,
        failure: Option<&Failure>,
    ) -> TraceSpan {
        let parent = &sampled.context;
        self.owner.step((self.below(parent), parent.span), step, records, times, failure)
    }

    /// The span of an output, whose headers have this context.
    #[must_use]
    pub fn output_span(
        &self,
        sampled: &SampledRecord,
        context: &SpanContext,
        output: SentOutput<'_>,
        times: SpanTimes,
        failure: Option<&Failure>,
    ) -> TraceSpan {
        self.owner.output((context.clone(), sampled.context.span), output, times, failure)
    }

    /// Hands spans to the exporter, or drops and counts them if too many wait.
    pub fn put(&self, spans: Vec<TraceSpan>) {
        self.shared.queue.put(spans);
    }
}
