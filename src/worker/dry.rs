//! Runs records without Kafka: through the same chain as an executor's, and into the same windows as the worker's, one record at a time.

use std::ops::Range;
use std::sync::Arc;

use super::chain::Chain;
use super::chain::Verdicts;
use super::effects::Cursor;
use super::effects::Effects;
use super::executor::RunResult;
use super::step_metrics::StepMetrics;
use super::windows::DryWindows;
use super::windows::NotFolded;
use super::windows::WindowedStep;
use crate::batch::Batch;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::metrics::Metrics;
use crate::partition::OnFailure;
use crate::partition::Policy;
use crate::partition::Retries;
use crate::partition::Rule;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::AssignmentIds;
use crate::record::OutRecord;
use crate::record::Seq;
use crate::record::TopicPartition;
use crate::sink::Destination;
use crate::sink::Routes;

/// See the head of the file.
pub struct DryRun {
    chain: Chain,
    routes: Routes,
    policy: Policy,
    /// The windows of the last step and its number, if it has windows.
    windows: Option<(usize, Box<DryWindows>)>,
}

/// What a step did with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTrace {
    /// The step's number.
    pub step: usize,
    /// The number of records in its input: the record, or the outputs of the step before.
    pub records: usize,
    /// The port of each of its outputs, in order.
    pub ports: Vec<u32>,
    /// How many of the records came into windows.
    pub folded: usize,
    /// How many of the records came too late for their windows.
    pub late: usize,
}

impl DryRun {
    /// Takes one instance of each step, and the step with windows if there is one, whose partition is `source`. Metrics go to `metrics`.
    #[must_use]
    pub fn new(
        steps: Vec<(Step, Instance)>,
        windowed: Option<WindowedStep>,
        source: &TopicPartition,
        routes: Routes,
        metrics: &Arc<Metrics>,
    ) -> DryRun {
        let links = steps.into_iter().map(|(step, instance)| {
            let mut meter = StepMetrics::new(metrics, &step.settings().name, "start");
            meter.instantiated(instance.memory_bytes());
            (step, Some(instance), meter)
        });
        // Records after one that failed are run: with windows, they are judged as they are after one that is skipped.
        let general = Rule { retries: Retries::Times(0), then: OnFailure::Skip, ..Rule::default() };
        let policy = if windowed.is_some() { Policy { general, ..Policy::default() } } else { Policy::default() };
        let of_chain = windowed.clone().map(Arc::new);
        let chain = Chain::new(links.collect(), of_chain, routes.clone(), policy.clone(), metrics.taps.clone());
        let windows = windowed.map(|step| (step.number, Box::new(DryWindows::new(step, source.clone()))));
        DryRun { chain, routes, policy, windows }
    }

    /// The time of the clock that judges whether a record is too far ahead, in ms since 1970-01-01 UTC. Otherwise it is the greatest time of
    /// the records so far.
    pub fn set_clock(&mut self, now: i64) {
        if let Some((_, windows)) = &mut self.windows {
            windows.set_clock(now);
        }
    }

    /// Runs record `index` of a batch. `output` gets each output to a topic with the output's index in the file, in order. With windows,
    /// records come in the order of their offsets, and [`DryRun::show`] is called after each.
    /// Returns what the steps did, in order.
    ///
    /// # Errors
    /// Why the record failed. As in a running pipeline, a fault counts only if it occurs again in a fresh instance.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn run(
        &mut self,
        batch: &Batch,
        index: usize,
        mut output: impl FnMut(usize, &OutRecord<'_>),
    ) -> Result<Vec<StepTrace>, Failure> {
        let one: Range<usize> = index..index + 1;
        if let Some((_, windows)) = &mut self.windows {
            windows.read(batch.offsets()[index]);
        }
        let verdicts = match self.chain.run(batch, one.clone()) {
            Err(failure) if failure.kind != Kind::Error => self.chain.run(batch, one),
            other => other,
        };
        let Verdicts { effects, failed, failure, .. } = verdicts?;
        drop(self.chain.take_counted());
        if let Some(failure) = failure.or_else(|| first_of(failed)) {
            return Err(failure);
        }
        let (effects, not_folded) = self.fold(batch, index, effects)?;
        let mut cursor = Cursor::default();
        while let Some(made) = cursor.peek(&effects, &self.routes, batch, index, 1) {
            output(made.output, &made.record);
            cursor.advance(made.layer);
        }
        Ok(self.trace(&effects, not_folded))
    }

    /// Folds what the record brings to the windows.
    fn fold(&mut self, batch: &Batch, index: usize, effects: Effects) -> Result<(Effects, NotFolded), Failure> {
        let Some((_, windows)) = &mut self.windows else { return Ok((effects, NotFolded::default())) };
        let ran = RunResult {
            executor: 0,
            strand: 0,
            run: 0,
            first: Seq::first_of(AssignmentIds::default().issue(|_| false)),
            batch: Arc::new(batch.clone()),
            range: index..index + 1,
            outputs: effects.counts(1, &self.routes),
            failed: Vec::new(),
            effects,
            counted: Vec::new(),
            failure: None,
            last: true,
        };
        let folded = windows.fold(&mut self.chain, Box::new(ran), &self.policy);
        let (ran, not_folded) = folded.map_err(|why| Failure::new(Kind::BadOutput, None, why))?;
        let RunResult { effects, failed, failure, .. } = *ran;
        match failure.or_else(|| first_of(failed)) {
            Some(failure) => Err(failure),
            None => Ok((effects, not_folded)),
        }
    }

    fn trace(&self, effects: &Effects, not_folded: NotFolded) -> Vec<StepTrace> {
        let windowed = self.windows.as_ref().map(|(step, _)| *step);
        let stages = effects.layers.iter().map(|layer| {
            let has_windows = windowed == Some(layer.step);
            let late = if has_windows { usize::try_from(not_folded.late).unwrap_or(usize::MAX) } else { 0 };
            let brought = if has_windows { effects.folds.records() } else { 0 };
            let ports = layer.calls.iter().flat_map(|(_, outputs)| (0..outputs.len()).map(|at| outputs.port(at)));
            StepTrace {
                step: layer.step,
                records: layer.input.as_ref().map_or(1, Batch::len),
                ports: ports.collect(),
                folded: brought.saturating_sub(late),
                late,
            }
        });
        stages.collect()
    }

    /// Passes the results of windows that have closed to `output`, with the output's index in the file, in order. Returns which windows have
    /// no result, and why.
    pub fn show(&mut self, mut output: impl FnMut(usize, &OutRecord<'_>)) -> Vec<String> {
        let Some((step, windows)) = &mut self.windows else { return Vec::new() };
        let without = windows.show(&mut self.chain, |record| match self.routes.destination(*step, record.port) {
            Destination::Output(place) => output(place, record),
            Destination::NextStep => debug_assert!(false, "a step with windows is the last one"),
        });
        drop(self.chain.take_counted());
        without
    }

    /// The input has ended: windows close as they do for a quiet partition, unless `idle = "never"`. [`DryRun::show`] has their results.
    pub fn end(&mut self) {
        if let Some((_, windows)) = &mut self.windows {
            windows.end();
        }
    }

    /// The number of windows that hold records and have no result yet.
    #[must_use]
    pub fn open_windows(&self) -> usize {
        self.windows.as_ref().map_or(0, |(_, windows)| windows.open())
    }
}

/// Why the first of the records failed.
fn first_of(failed: Vec<(usize, Failure)>) -> Option<Failure> {
    failed.into_iter().next().map(|(_, failure)| failure)
}
