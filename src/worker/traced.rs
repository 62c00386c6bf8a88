//! The traces of a run: what an executor notes about the records that are recorded, and the spans that the worker makes of it.
//!
//! A run without such a record has no [`RunTrace`], and costs one branch. The executor writes the contexts of outputs into copies of
//! their headers, so that the outputs' sizes are known before any is sent. The worker knows what became of a run, and so it makes the spans.
//! Outputs of a run that is not taken are never sent, and so no context of it leaves the process.

use std::ops::Range;
use std::sync::Arc;

use super::Shell;
use super::chain::Verdicts;
use super::clock;
use super::executor::RunResult;
use crate::batch::Batch;
use crate::failure::Failure;
use crate::partition::Action;
use crate::record::Headers;
use crate::sink::Destination;
use crate::sink::Routes;
use crate::trace::SampledRecord;
use crate::trace::SentOutput;
use crate::trace::SpanContext;
use crate::trace::SpanTimes;
use crate::trace::TraceSpan;
use crate::trace::Tracer;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct RunTrace {
    /// The recorded records, ascending.
    records: Vec<TracedRecord>,
    times: SpanTimes,
    steps: Vec<TracedStep>,
    /// The outputs of the recorded records, ascending.
    outputs: Vec<TracedOutput>,
}

#[derive(Debug)]
struct TracedRecord {
    /// The record, counted from the start of the run.
    root: usize,
    sampled: SampledRecord,
}

/// A step's part of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepTimes {
    pub(super) step: usize,
    /// How many records it got.
    pub(super) records: usize,
    pub(super) times: SpanTimes,
}

#[derive(Debug)]
struct TracedStep {
    step: StepTimes,
    /// The records that reached it, ascending; `None`: all of the run.
    roots: Option<Vec<u32>>,
}

/// An output with its own context.
#[derive(Debug)]
struct TracedOutput {
    /// Its layer, the call of the layer, and its number in what the call returned.
    at: (usize, usize, usize),
    root: usize,
    context: SpanContext,
    lengths: Vec<i32>,
    data: Vec<u8>,
}

/// The trace of one output.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputTrace<'a> {
    run: &'a RunTrace,
    output: &'a TracedOutput,
}

impl RunTrace {
    /// Looks for records that are recorded; `None` if there are none.
    pub(super) fn begin(tracer: &Tracer, batch: &Batch, records: Range<usize>) -> Option<Box<RunTrace>> {
        let ids = tracer.partition(batch.source());
        let start = records.start;
        let sampled = records.filter_map(|place| {
            let record = batch.record(place);
            let sampled = tracer.sample(ids, record.offset, record.headers)?;
            Some(TracedRecord { root: place - start, sampled })
        });
        let records: Vec<TracedRecord> = sampled.collect();
        let times = SpanTimes { began_ns: clock::unix_ns(), ended_ns: 0 };
        (!records.is_empty()).then(|| Box::new(RunTrace { records, times, steps: Vec::new(), outputs: Vec::new() }))
    }

    /// The run is over: keeps the records that it decided about, and gives each of their outputs a context. `start` is where the run
    /// begins in the batch.
    pub(super) fn end(
        &mut self,
        tracer: &Tracer,
        steps: Vec<StepTimes>,
        verdicts: &Verdicts,
        routes: &Routes,
        (batch, start): (&Batch, usize),
    ) {
        self.times.ended_ns = clock::unix_ns();
        let decided = verdicts.done + usize::from(verdicts.failure.is_some());
        self.records.retain(|record| record.root < decided);
        let layers = &verdicts.effects.layers;
        let reached = |number: usize| {
            let layer = layers.get(number).filter(|layer| layer.input.is_some());
            layer.map(|layer| layer.roots.clone())
        };
        self.steps = (0..).zip(steps).map(|(number, step)| TracedStep { step, roots: reached(number) }).collect();
        for (number, layer) in layers.iter().enumerate() {
            for (call, (range, outputs)) in layer.calls.iter().enumerate() {
                for index in 0..outputs.len() {
                    let root = layer.root_of(range.start + outputs.parent(index));
                    let Some(record) = self.record(root) else { continue };
                    let Destination::Output(_) = routes.destination(layer.step, outputs.port(index)) else { continue };
                    let context = tracer.below(&record.sampled.context);
                    let headers = match &layer.input {
                        Some(input) => outputs.resolve(index, input, range.start).headers,
                        None => outputs.resolve(index, batch, start + range.start).headers,
                    };
                    let (lengths, data) = context.written_into(headers);
                    self.outputs.push(TracedOutput { at: (number, call, index), root, context, lengths, data });
                }
            }
        }
    }

    fn record(&self, root: usize) -> Option<&TracedRecord> {
        self.records.binary_search_by_key(&root, |record| record.root).ok().map(|at| &self.records[at])
    }

    /// The trace of an output, see [`TracedOutput::at`].
    pub(super) fn output(&self, at: (usize, usize, usize)) -> Option<OutputTrace<'_>> {
        let found = self.outputs.binary_search_by_key(&at, |output| output.at).ok()?;
        Some(OutputTrace { run: self, output: &self.outputs[found] })
    }

    /// An upper bound for the bytes of the outputs' headers, as the broker counts them.
    pub(super) fn own_bytes_max(&self) -> usize {
        self.outputs.iter().map(|output| output.data.len() + 5 * output.lengths.len()).sum()
    }

    /// The span of an output of this record that was refused, if the record is recorded.
    pub(super) fn refused(
        &self,
        tracer: &Tracer,
        root: usize,
        sent: SentOutput<'_>,
        failure: &Failure,
    ) -> Option<TraceSpan> {
        let TracedRecord { sampled, .. } = self.record(root)?;
        let times = SpanTimes { began_ns: self.times.ended_ns, ended_ns: clock::unix_ns() };
        Some(tracer.output_span(sampled, &tracer.below(&sampled.context), sent, times, Some(failure)))
    }

    /// The spans of the recorded records, and of the steps that each went through. `ended` tells what became of a record.
    fn spans<'f>(
        &self,
        tracer: &Tracer,
        names: &[Arc<str>],
        (batch, start): (&Batch, usize),
        ended: impl Fn(usize) -> (&'static str, Option<&'f Failure>),
    ) -> Vec<TraceSpan> {
        let mut spans = Vec::with_capacity(self.records.len() * (1 + self.steps.len()));
        for TracedRecord { root, sampled } in &self.records {
            let (outcome, failure) = ended(*root);
            let record = batch.record(start + root);
            spans.push(tracer.record_span(sampled, batch.source(), &record, self.times, (outcome, failure)));
            for TracedStep { step: StepTimes { step, records, times }, roots } in &self.steps {
                let has_reached =
                    |roots: &Vec<u32>| u32::try_from(*root).is_ok_and(|root| roots.binary_search(&root).is_ok());
                let (true, Some(name)) = (roots.as_ref().is_none_or(has_reached), names.get(*step)) else { continue };
                let failure = failure.filter(|failure| failure.step.as_ref() == Some(name));
                spans.push(tracer.step_span(sampled, name, *records, *times, failure));
            }
        }
        spans
    }
}

impl<'a> OutputTrace<'a> {
    /// The output's headers, with its context.
    pub(super) fn headers(self) -> Headers<'a> {
        Headers::new(&self.output.lengths, &self.output.data)
    }

    /// The span of the output, which was just handed to the producer, or refused.
    pub(super) fn span(self, tracer: &Tracer, sent: SentOutput<'_>) -> Option<TraceSpan> {
        let TracedRecord { sampled, .. } = self.run.record(self.output.root)?;
        let times = SpanTimes { began_ns: self.run.times.ended_ns, ended_ns: clock::unix_ns() };
        Some(tracer.output_span(sampled, &self.output.context, sent, times, None))
    }
}

impl Shell {
    /// Records what became of the records of a run; `actions` is `None` if the run was not taken.
    pub(super) fn trace_run(&self, ran: &RunResult, actions: Option<&[Action]>) {
        let (Some(tracer), Some(trace)) = (&self.monitor.tracer, &ran.effects.trace) else { return };
        let spans = trace
            .spans(tracer, &self.settings.steps, (&ran.batch, ran.range.start), |root| outcome(ran, actions, root));
        tracer.put(spans);
    }

    /// An output as its span names it, with the topic that its plugin has named, if any. `partition` is -1 if the partitioner chooses.
    pub(super) fn sent_output<'a>(
        &'a self,
        output: usize,
        named: Option<&'a str>,
        partition: i32,
    ) -> Option<SentOutput<'a>> {
        let written = self.settings.kafka.outputs.get(output)?;
        Some(SentOutput {
            name: &written.name,
            topic: named.or(written.topic.as_deref()).unwrap_or_default(),
            partition: (partition >= 0).then_some(partition),
        })
    }
}

/// What became of a record in a run, in the words of the metric `records_processed_total`, and why it failed.
fn outcome<'r>(ran: &'r RunResult, actions: Option<&[Action]>, root: usize) -> (&'static str, Option<&'r Failure>) {
    let marked = ran.failed.iter().find(|(record, _)| *record == root).map(|(_, failure)| failure);
    let failure = marked.or_else(|| ran.failure.as_ref().filter(|_| root == ran.outputs.len()));
    let (actions, failure) = match (actions, failure) {
        (None, failure) => return ("discarded", failure),
        (Some(_), None) if ran.outputs.get(root).is_some_and(|outputs| *outputs > 0) => return ("emitted", None),
        (Some(_), None) => return ("filtered", None),
        (Some(actions), Some(failure)) => (actions, failure),
    };
    let of = ran.seqs().at(root);
    let what = |action: &Action| match action {
        Action::DeadLetter { seq, .. } if *seq == of => Some("dead_lettered"),
        Action::Skip { seq, .. } if *seq == of => Some("skipped"),
        Action::RunAgain { from, .. } if *from == of => Some("retried"),
        Action::DeadLetter { .. }
        | Action::Skip { .. }
        | Action::RunAgain { .. }
        | Action::Send { .. }
        | Action::Requeue { .. }
        | Action::Store { .. }
        | Action::Stop { .. }
        | Action::Hold { .. }
        | Action::BreakerTripped { .. }
        | Action::DropQueue { .. }
        | Action::Rewind
        | Action::Seek { .. }
        | Action::Released { .. } => None,
    };
    (actions.iter().find_map(what).unwrap_or("failed"), Some(failure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::record::AssignmentIds;
    use crate::record::Seq;
    use crate::record::TopicPartition;
    use crate::worker::effects::Effects;

    #[test]
    fn a_record_has_the_outcome_of_its_run_and_none_if_the_run_was_not_taken() {
        let mut batch = Batch::new(TopicPartition { topic: "in".into(), partition: 0 });
        (0..4).for_each(|offset| batch.push(offset, 1, 0, None, None, std::iter::empty()));
        let first = Seq::first_of(AssignmentIds::default().issue(|_| false));
        let [rejected, wanted] =
            [Kind::Reject, Kind::Retry].map(|kind| Failure::new(kind, Some("one".into()), kind.label()));
        let ran = RunResult {
            executor: 0,
            strand: 0,
            run: 0,
            first,
            range: 0..4,
            batch: Arc::new(batch),
            outputs: vec![2, 0, 0],
            failed: vec![(2, rejected.clone())],
            effects: Effects::default(),
            counted: Vec::new(),
            failure: Some(wanted.clone()),
            last: true,
        };
        let actions = [
            Action::DeadLetter { seq: first.plus(2), tries: 1, failure: rejected.clone() },
            Action::RunAgain { from: first.plus(3), attempt: 1, at: clock::now() },
        ];
        let of = |actions: Option<&[Action]>| [0, 1, 2, 3].map(|root| outcome(&ran, actions, root));
        let (rejected, wanted) = (Some(&rejected), Some(&wanted));
        let expected = [("emitted", None), ("filtered", None), ("dead_lettered", rejected), ("retried", wanted)];
        assert_eq!(of(Some(&actions)), expected);
        assert_eq!(of(Some(&[]))[2..], [("failed", rejected), ("failed", wanted)]);
        assert_eq!(of(None).map(|(outcome, _)| outcome), ["discarded"; 4]);
    }
}
