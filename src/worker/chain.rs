//! The steps of a pipeline, run one after the other over some records.
//!
//! A chain is one unit: a record's effects over all steps are kept or dropped together. Verdicts come back for a prefix: up to the
//! first record that failed, in whatever step; where rejected records are given up alone, they are only marked in it. What follows
//! from a failure is decided elsewhere.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Replacement;
use super::clock;
use super::effects::Effects;
use super::effects::Layer;
use super::step_metrics::StepMetrics;
use crate::batch::Batch;
use crate::batch::View;
use crate::failure::Class;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::outcome::Outcome;
use crate::plugin;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::sink::Destination;
use crate::sink::Routes;

/// One executor's instances of all steps.
pub(super) struct Chain {
    links: Vec<Link>,
    routes: Routes,
    /// Whether records that are rejected are given up, and those behind them go on.
    continues: bool,
}

struct Link {
    step: Step,
    /// `None` after a fault, until the next call.
    instance: Option<Instance>,
    meter: StepMetrics,
}

/// What came of some records.
#[derive(Debug)]
pub(super) struct Verdicts {
    /// How many records, from the first on, went through.
    pub(super) done: usize,
    /// Those among them that were rejected, ascending, and why.
    pub(super) failed: Vec<(usize, Failure)>,
    /// What they became, and maybe more behind them.
    pub(super) effects: Effects,
    /// Why the record behind them failed, if it did.
    pub(super) failure: Option<Failure>,
}

impl Verdicts {
    /// A record failed: it is given up alone, or it is where the prefix ends.
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
    /// Takes instances that were made while the pipeline started.
    pub(super) fn new(links: Vec<(Step, Instance, StepMetrics)>, routes: Routes, continues: bool) -> Chain {
        let links =
            links.into_iter().map(|(step, instance, meter)| Link { step, instance: Some(instance), meter }).collect();
        Chain { links, routes, continues }
    }

    /// Whether a record that can't be helped is given up alone.
    pub(super) fn continues(&self) -> bool {
        self.continues
    }

    /// The most records that one call of the first step gets.
    pub(super) fn batch_records(&self) -> usize {
        self.links.first().map_or(1, |link| link.step.settings().batch_records)
    }

    /// Runs all steps over records of a batch.
    ///
    /// # Errors
    /// A fault of one of the calls; its instance is gone if it was spoilt.
    pub(super) fn run(&mut self, batch: &Batch, records: Range<usize>) -> Result<Verdicts, Failure> {
        let verdicts = self.run_all(batch, records);
        if verdicts.is_err() {
            // What the steps before counted goes with the run.
            self.take_counted();
        }
        verdicts
    }

    fn run_all(&mut self, batch: &Batch, records: Range<usize>) -> Result<Verdicts, Failure> {
        let mut verdicts =
            Verdicts { done: records.len(), failed: Vec::new(), effects: Effects::default(), failure: None };
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
            let digest = Arc::clone(link.step.digest());
            let mut layer = Layer { step, digest, input, roots, calls: Vec::new() };
            for (root, failure) in link.run(&mut layer, batch, &records, self.continues)? {
                let alone = self.continues && failure.kind.class() == Class::Reject;
                verdicts.fail(root, failure, alone);
            }
            verdicts.effects.layers.push(layer);
        }
        Ok(verdicts)
    }

    /// From the next run on, these steps are others.
    pub(super) fn swap(&mut self, steps: Vec<Replacement>) {
        for Replacement { number, step, instance } in steps {
            let began = clock::now();
            let link = &mut self.links[number];
            let memory_bytes = instance.memory_bytes();
            link.step = step;
            let had_instance = link.instance.replace(instance).is_some();
            link.meter.swapped(had_instance, memory_bytes, clock::now() - began);
        }
    }

    /// What the plugins counted in the last run, for who decides whether its outcome is kept.
    pub(super) fn take_counted(&mut self) -> Counted {
        let mut counted = Vec::new();
        for link in &mut self.links {
            let effects = link.instance.as_mut().map(Instance::take_effects).unwrap_or_default();
            if !effects.is_empty() {
                counted.push((Arc::clone(&link.step.settings().name), effects));
            }
        }
        counted
    }
}

/// What plugins counted, with the names of their steps.
pub(super) type Counted = Vec<(Arc<str>, plugin::Effects)>;

/// Adds what was counted to the metrics, as the run's outcome is kept.
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

impl Link {
    /// Calls the step for all of the layer's input, or up to the first record that ends the run: one that is rejected does so unless
    /// the chain `continues`. The records that failed, in order, and why.
    fn run(
        &mut self,
        layer: &mut Layer,
        batch: &Batch,
        records: &Range<usize>,
        continues: bool,
    ) -> Result<Vec<(usize, Failure)>, Failure> {
        let mut all_failed = Vec::new();
        let total = layer.input.as_ref().map_or_else(|| records.len(), Batch::len);
        let most = self.step.settings().batch_records.max(1);
        let mut at = 0;
        while at < total {
            let range = at..total.min(at + most);
            at = range.end;
            let outcome = match &layer.input {
                Some(input) => self.call(&input.slice(range.clone()))?,
                None => self.call(&batch.slice(records.start + range.start..records.start + range.end))?,
            };
            let start = range.start;
            layer.calls.push((range, outcome.outputs));
            for failed in outcome.failed {
                let ends = !continues || failed.failure.kind.class() != Class::Reject;
                self.meter.failed(&failed.failure);
                all_failed.push((layer.root_of(start + failed.index), self.signed(failed.failure)));
                if ends {
                    return Ok(all_failed);
                }
            }
        }
        Ok(all_failed)
    }

    /// The failure with the component that it comes from.
    fn signed(&self, failure: Failure) -> Failure {
        Failure { digest: Some(Arc::clone(self.step.digest())), ..failure }
    }

    fn call(&mut self, input: &View<'_>) -> Result<Outcome, Failure> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => {
                let made = self.step.instantiate().map_err(|failure| self.signed(failure));
                let instance = made.inspect_err(|failure| self.meter.failed(failure))?;
                self.meter.instantiated();
                instance
            }
        };
        let began: Instant = clock::now();
        let result = instance.process(input).map_err(|failure| self.signed(failure));
        self.meter.called(input.len(), clock::now() - began, &result, instance.memory_bytes());
        self.meter.logged(self.step.take_logged());
        match &result {
            Err(failure) if failure.kind.spoils_instance() => {}
            Ok(_) | Err(_) => self.instance = Some(instance),
        }
        result
    }
}

/// The next step's input: what came out of port 0, each output with the offset of the record that caused it.
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
