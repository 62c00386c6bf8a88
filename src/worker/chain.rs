//! The steps of a pipeline, run one after the other on a range of records.
//!
//! A chain is one unit: a record's effects over all steps are kept or dropped together. The verdicts cover a prefix of the
//! records, up to the first one that failed in any step. If the policy continues after failed records, a rejected one does not
//! end the prefix and is only marked in it. The chain does not decide what to do about a failure.

use std::ops::Range;
use std::sync::Arc;

use super::Replacement;
use super::clock;
use super::effects::Effects;
use super::effects::Layer;
use super::link::Link;
use super::link::fails_alone;
use super::step_metrics::StepMetrics;
use super::tapping;
use super::traced::StepTimes;
use super::windows::Folds;
use super::windows::Reducer;
use super::windows::WindowedStep;
use crate::aggregate::FoundFields;
use crate::batch::Batch;
use crate::batch::View;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::partition::Policy;
use crate::plugin;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::sink::Destination;
use crate::sink::Routes;
use crate::tap::Taps;
use crate::trace::SpanTimes;

/// The most records in one call if the first step is no plugin.
const RECORDS_WITHOUT_PLUGIN: usize = 1024;

/// One executor's instances of all steps.
pub(super) struct Chain {
    links: Vec<Link>,
    /// The last step, if it has windows.
    windowed: Option<Arc<WindowedStep>>,
    /// Its plugin, if it runs one.
    reducer: Option<Link>,
    routes: Routes,
    /// Tells whether a rejected record is dead-lettered or skipped while the records after it continue.
    policy: Policy,
    /// When each step began and ended in the last run, if that is asked for.
    times: Option<Vec<StepTimes>>,
    taps: Taps,
}

/// The result of running a range of records.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// How many records, from the first on, were processed.
    pub(super) done: usize,
    /// Those of them that were rejected, ascending, and why.
    pub(super) failed: Vec<(usize, Failure)>,
    /// The effects of these records. Layers may also hold effects of records after them.
    pub(super) effects: Effects,
    /// Why the record after them failed, if it did.
    pub(super) failure: Option<Failure>,
}

impl Verdicts {
    /// A record failed: it is marked if it fails `alone`, else the prefix ends before it.
    fn fail(&mut self, record: usize, failure: Failure, alone: bool) {
        if record >= self.done {
            return;
        }
        let place = self.failed.partition_point(|(other, _)| *other < record);
        if !alone {
            self.done = record;
            self.failure = Some(failure);
            self.failed.truncate(place);
        } else if !self.has_failed(record) {
            self.failed.insert(place, (record, failure));
        }
    }

    fn has_failed(&self, record: usize) -> bool {
        !self.failed.is_empty() && self.failed.binary_search_by_key(&record, |(other, _)| *other).is_ok()
    }
}

impl Chain {
    pub(super) fn new(
        links: Vec<(Step, Option<Instance>, StepMetrics)>,
        windowed: Option<Arc<WindowedStep>>,
        routes: Routes,
        policy: Policy,
        taps: Taps,
    ) -> Chain {
        let mut links: Vec<Link> =
            links.into_iter().map(|(step, instance, meter)| Link::new(step, instance, meter)).collect();
        let has_reducer = windowed.as_ref().is_some_and(|step| matches!(step.reducer, Reducer::Plugin { .. }));
        let reducer = if has_reducer { links.pop() } else { None };
        Chain { links, windowed, reducer, routes, policy, times: None, taps }
    }

    /// Whether a record that fails in this way is dead-lettered or skipped while the records after it continue.
    pub(super) fn gives_up(&self, failure: &Failure) -> bool {
        self.policy.gives_up(failure)
    }

    /// What is done about failed records.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the steps of the next run are timed.
    pub(super) fn time(&mut self, is_timed: bool) {
        if self.times.is_some() != is_timed {
            self.times = is_timed.then(Vec::new);
        }
    }

    /// Takes the times of the steps of the last run.
    pub(super) fn take_times(&mut self) -> Vec<StepTimes> {
        self.times.take().unwrap_or_default()
    }

    /// Where records can be watched as they pass.
    pub(super) fn taps(&self) -> &Taps {
        &self.taps
    }

    /// The number of the last step.
    pub(super) fn last_step(&self) -> usize {
        (self.links.len() + usize::from(self.windowed.is_some())).saturating_sub(1)
    }

    /// Where the steps' ports lead.
    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The plugin of the step with windows.
    pub(super) fn reducer(&mut self) -> Option<&mut Link> {
        self.reducer.as_mut()
    }

    /// The most records in one call of the first step.
    pub(super) fn batch_records(&self) -> usize {
        self.links.first().or(self.reducer.as_ref()).map_or(RECORDS_WITHOUT_PLUGIN, Link::batch_records)
    }

    /// Runs all steps on a range of a batch.
    ///
    /// # Errors
    /// A fault of one of the calls. Its instance is discarded if the fault left it unusable.
    pub(super) fn run(&mut self, batch: &Batch, records: Range<usize>) -> Result<Verdicts, Failure> {
        let verdicts = self.run_all(batch, records);
        if verdicts.is_err() {
            // Metrics that earlier steps recorded in this run are dropped with it.
            self.take_counted();
        }
        verdicts
    }

    fn run_all(&mut self, batch: &Batch, records: Range<usize>) -> Result<Verdicts, Failure> {
        let mut verdicts = Verdicts { done: records.len(), ..Verdicts::default() };
        // A record that may have caused a fault is run twice.
        self.times.iter_mut().for_each(Vec::clear);
        for (step, link) in self.links.iter_mut().enumerate() {
            let (input, roots) = match verdicts.effects.layers.last() {
                None => (None, Vec::new()),
                Some(before) => {
                    let source = before.input.as_ref().map_or_else(|| batch.slice(records.clone()), Batch::view);
                    let (input, roots) = next_input(&self.routes, before, &source, &verdicts);
                    if input.is_empty() {
                        break;
                    }
                    (Some(input), roots)
                }
            };
            let digest = Arc::clone(link.step().digest());
            let mut layer = Layer { step, digest, input, roots, calls: Vec::new() };
            let timer = self.times.is_some().then(clock::unix_ns);
            let failed = link.run(&mut layer, batch, &records, (&self.routes, &self.policy), &self.taps);
            if let (Some(times), Some(began_ns)) = (&mut self.times, timer) {
                let records = layer.input.as_ref().map_or_else(|| records.len(), Batch::len);
                times.push(StepTimes { step, records, times: SpanTimes { began_ns, ended_ns: clock::unix_ns() } });
            }
            for (root, failure) in failed? {
                let alone = fails_alone(&self.policy, &failure);
                verdicts.fail(root, failure, alone);
            }
            if self.taps.are_open() {
                let input = layer.input.as_ref().map_or_else(|| batch.slice(records.clone()), Batch::view);
                tapping::outputs(&self.taps, &link.step().settings().name, &layer, &input, &self.routes);
            }
            verdicts.effects.layers.push(layer);
        }
        if let Some(step) = self.windowed.clone() {
            let (timer, count) = (self.times.is_some().then(clock::unix_ns), records.len());
            let folded = self.fold(&step, batch, records, &mut verdicts);
            if let (Some(times), Some(began_ns)) = (&mut self.times, timer) {
                let times_of = SpanTimes { began_ns, ended_ns: clock::unix_ns() };
                times.push(StepTimes { step: step.number, records: count, times: times_of });
            }
            folded?;
        }
        Ok(verdicts)
    }

    /// Takes out of the records what a step with windows needs.
    fn fold(
        &mut self,
        step: &WindowedStep,
        batch: &Batch,
        records: Range<usize>,
        verdicts: &mut Verdicts,
    ) -> Result<(), Failure> {
        let (input, roots) = match verdicts.effects.layers.last() {
            None => (None, Vec::new()),
            Some(before) => {
                let source = before.input.as_ref().map_or_else(|| batch.slice(records.clone()), Batch::view);
                let (input, roots) = next_input(&self.routes, before, &source, verdicts);
                (Some(input), roots)
            }
        };
        let digest = self.reducer.as_ref().map_or_else(Arc::default, |link| Arc::clone(link.step().digest()));
        let layer = Layer { step: step.number, digest, input, roots, calls: Vec::new() };
        let view = layer.input.as_ref().map_or_else(|| batch.slice(records), Batch::view);
        tapping::input(&self.taps, &step.name, &view);
        let mut folds = Folds::default();
        if let Some(link) = self.reducer.as_mut().filter(|_| step.finds_keys()) {
            for (root, failure) in folds.extract(step, link, &view, |place| layer.root_of(place))? {
                let alone = fails_alone(&self.policy, &failure);
                verdicts.fail(root, failure, alone);
            }
            verdicts.effects.folds = folds;
            verdicts.effects.layers.push(layer);
            return Ok(());
        }
        let mut found = FoundFields::default();
        for place in 0..view.len() {
            let root = layer.root_of(place);
            if root >= verdicts.done {
                break;
            }
            if verdicts.has_failed(root) {
                continue;
            }
            if let Err(failure) = folds.add(step, root, place, &view.record(place), &mut found) {
                let alone = fails_alone(&self.policy, &failure);
                verdicts.fail(root, failure, alone);
            }
        }
        verdicts.effects.folds = folds;
        verdicts.effects.layers.push(layer);
        Ok(())
    }

    /// Replaces steps from the next run on.
    pub(super) fn swap(&mut self, steps: Vec<Replacement>) {
        for replacement in steps {
            if let Some(link) = self.links.iter_mut().chain(&mut self.reducer).nth(replacement.number) {
                link.swap(replacement);
            }
        }
    }

    /// Takes the metrics that plugins recorded in the last run. The worker decides whether they are kept.
    pub(super) fn take_counted(&mut self) -> Counted {
        let mut counted = Vec::new();
        for link in self.links.iter_mut().chain(&mut self.reducer) {
            let effects = link.take_effects();
            if !effects.is_empty() {
                counted.push((Arc::clone(&link.step().settings().name), effects));
            }
        }
        counted
    }
}

/// Metrics that plugins recorded, with the names of their steps.
pub(super) type Counted = Vec<(Arc<str>, plugin::Effects)>;

/// Adds recorded values to the metrics, once the run's outcome is kept.
pub(super) fn tell(counted: &Counted, metrics: &Metrics) {
    for (step, effects) in counted {
        for (name, by) in &effects.counts {
            metrics.count(step, name, *by);
        }
        for (name, value) in &effects.observations {
            metrics.observe(step, name, *value);
        }
        if effects.dropped > 0 {
            metrics.drop_values(step, effects.dropped);
        }
    }
}

/// The next step's input: the outputs of port 0, each with the offset of the record that caused it.
fn next_input(routes: &Routes, before: &Layer, input: &View<'_>, verdicts: &Verdicts) -> (Batch, Vec<u32>) {
    let mut batch = Batch::new(input.source().clone());
    let mut roots = Vec::new();
    for (range, outputs) in &before.calls {
        for index in 0..outputs.len() {
            let place = range.start + outputs.parent(index);
            let root = before.root_of(place);
            if root >= verdicts.done
                || verdicts.has_failed(root)
                || routes.destination(before.step, outputs.port(index)) != Destination::NextStep
            {
                continue;
            }
            let record = input.resolve(outputs, index, range.start);
            batch.push_columns(
                input.offsets[place],
                record.timestamp,
                input.attempts[place],
                record.key,
                record.value,
                record.headers,
            );
            roots.push(u32::try_from(root).unwrap_or(u32::MAX));
        }
    }
    (batch, roots)
}
