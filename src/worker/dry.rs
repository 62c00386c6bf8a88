//! Runs records without Kafka: through the same chain as an executor's, one record at a time.

use std::ops::Range;
use std::sync::Arc;

use super::chain::Chain;
use super::chain::Verdicts;
use super::effects::Cursor;
use super::step_metrics::StepMetrics;
use crate::batch::Batch;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::metrics::Metrics;
use crate::partition::Policy;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::OutRecord;
use crate::sink::Routes;

/// See the head of the file.
pub struct DryRun {
    chain: Chain,
    routes: Routes,
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
}

impl DryRun {
    /// Takes one instance of each step. Their metrics go to `metrics`.
    #[must_use]
    pub fn new(steps: Vec<(Step, Instance)>, routes: Routes, metrics: &Arc<Metrics>) -> DryRun {
        let links = steps.into_iter().map(|(step, instance)| {
            let mut meter = StepMetrics::new(metrics, &step.settings().name);
            meter.started("start", instance.memory_bytes());
            (step, instance, meter)
        });
        DryRun { chain: Chain::new(links.collect(), None, routes.clone(), Policy::default()), routes }
    }

    /// Runs record `index` of a batch. `output` gets each output to a topic with the output's index in the file, in order.
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
        let verdicts = match self.chain.run(batch, one.clone()) {
            Err(failure) if failure.kind != Kind::Error => self.chain.run(batch, one),
            other => other,
        };
        let Verdicts { effects, failure, .. } = verdicts?;
        drop(self.chain.take_counted());
        if let Some(failure) = failure {
            return Err(failure);
        }
        let mut cursor = Cursor::default();
        while let Some(made) = cursor.peek(&effects, &self.routes, batch, index, 1) {
            output(made.output, &made.record);
            cursor.advance(made.layer);
        }
        let stages = effects.layers.iter().map(|layer| StepTrace {
            step: layer.step,
            records: layer.input.as_ref().map_or(1, Batch::len),
            ports: layer.calls.iter().flat_map(|(_, outputs)| (0..outputs.len()).map(|at| outputs.port(at))).collect(),
        });
        Ok(stages.collect())
    }
}
