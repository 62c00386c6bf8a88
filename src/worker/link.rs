//! One step of a chain: its plugin's instance, which is made for the first call and replaced after a fault.

use std::ops::Range;
use std::sync::Arc;

use super::Replacement;
use super::clock;
use super::effects::Layer;
use super::step_metrics::StepMetrics;
use super::tapping;
use crate::batch::Batch;
use crate::failure::Class;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::outcome::Failed;
use crate::partition::Policy;
use crate::plugin;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::sink::Routes;
use crate::tap::Taps;

/// See the head of the file.
pub(super) struct Link {
    step: Step,
    /// `None` before the first call and after a fault, until the next call creates one.
    instance: Option<Instance>,
    meter: StepMetrics,
}

/// Whether the records after this one continue in the same run.
pub(super) fn fails_alone(policy: &Policy, failure: &Failure) -> bool {
    // A topic that isn't allowed is a fault of one record, of which nothing has to be found out.
    let is_own = failure.kind.class() == Class::Reject || failure.kind == Kind::BadOutput;
    is_own && policy.gives_up(failure)
}

/// Runs one record that may have caused a fault, and runs it once more in a fresh instance before it is taken for the cause. What the plugin
/// returned as an error is final: running it again changes nothing.
pub(super) fn alone<T>(mut run: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    match run() {
        Err(failure) if failure.kind != Kind::Error => run(),
        result => result,
    }
}

impl Link {
    pub(super) fn new(step: Step, instance: Option<Instance>, meter: StepMetrics) -> Link {
        Link { step, instance, meter }
    }

    pub(super) fn step(&self) -> &Step {
        &self.step
    }

    /// The most records in one call.
    pub(super) fn batch_records(&self) -> usize {
        self.step.settings().batch_records.max(1)
    }

    /// Calls the step on the layer's input, up to the first record that ends the run. A rejected record ends it unless the policy is
    /// to go on without it. Taps see what goes in. Returns the failed records in order, and why they failed.
    pub(super) fn run(
        &mut self,
        layer: &mut Layer,
        batch: &Batch,
        records: &Range<usize>,
        (routes, policy): (&Routes, &Policy),
        taps: &Taps,
    ) -> Result<Vec<(usize, Failure)>, Failure> {
        let mut all_failed = Vec::new();
        let total = layer.input.as_ref().map_or_else(|| records.len(), Batch::len);
        let most = self.batch_records();
        let mut at = 0;
        while at < total {
            let range = at..total.min(at + most);
            at = range.end;
            let view = match &layer.input {
                Some(input) => input.slice(range.clone()),
                None => batch.slice(records.start + range.start..records.start + range.end),
            };
            tapping::input(taps, &self.step.settings().name, &view);
            let outcome = self.call(view.len(), |instance| instance.process(&view))?;
            self.meter.put_out(outcome.outputs.len());
            let start = range.start;
            let failed = self.with_refused(outcome.failed, routes.refusals(layer.step, &outcome.outputs));
            layer.calls.push((range, outcome.outputs));
            for failed in failed {
                let ends = !fails_alone(policy, &failed.failure);
                let failure = self.failed(failed.failure);
                all_failed.push((layer.root_of(start + failed.index), failure));
                if ends {
                    return Ok(all_failed);
                }
            }
        }
        Ok(all_failed)
    }

    /// Adds the records whose outputs may not go to the topics that they name.
    fn with_refused(&self, mut failed: Vec<Failed>, refusals: Vec<(usize, String)>) -> Vec<Failed> {
        if !refusals.is_empty() {
            failed.extend(refusals.into_iter().map(|(index, why)| Failed { index, failure: self.refused(why) }));
            failed.sort_by_key(|failed| failed.index);
        }
        failed
    }

    /// The failure of a record with an output that may not go to its topic.
    pub(super) fn refused(&self, why: String) -> Failure {
        Failure::new(Kind::BadOutput, Some(Arc::clone(&self.step.settings().name)), why)
    }

    /// Calls the plugin with this many records, in a new instance if there is none yet, or the last one is unusable after a fault.
    ///
    /// # Errors
    /// A failure of the call, or of making an instance.
    pub(super) fn call<T>(
        &mut self,
        records: usize,
        call: impl FnOnce(&mut Instance) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => {
                let made = self.step.instantiate().map_err(|failure| self.signed(failure));
                let instance = made.inspect_err(|failure| self.meter.failed(failure))?;
                self.meter.instantiated(instance.memory_bytes());
                instance
            }
        };
        let began = clock::now();
        let result = call(&mut instance).map_err(|failure| self.signed(failure));
        self.meter.called(records, clock::now() - began, result.as_ref().err(), instance.memory_bytes());
        self.meter.logged(self.step.take_logged());
        self.meter.requested(self.step.take_requests());
        match &result {
            Err(failure) if failure.kind.spoils_instance() => {}
            Ok(_) | Err(_) => self.instance = Some(instance),
        }
        result
    }

    /// Counts a failure of one record of a call, and adds the component that caused it.
    pub(super) fn failed(&self, failure: Failure) -> Failure {
        self.meter.failed(&failure);
        self.signed(failure)
    }

    fn signed(&self, failure: Failure) -> Failure {
        Failure { digest: Some(Arc::clone(self.step.digest())), ..failure }
    }

    /// Counts outputs.
    pub(super) fn put_out(&self, outputs: usize) {
        self.meter.put_out(outputs);
    }

    /// Replaces the plugin by another version. Without an instance of it, the next call creates one.
    pub(super) fn swap(&mut self, Replacement { step, instance, .. }: Replacement) {
        let began = clock::now();
        let memory_bytes = instance.as_ref().map(Instance::memory_bytes);
        self.step = step;
        self.instance = instance;
        self.meter.swapped(memory_bytes, clock::now() - began);
    }

    /// Takes the metrics that the plugin recorded since the last time.
    pub(super) fn take_effects(&mut self) -> plugin::Effects {
        self.instance.as_mut().map(Instance::take_effects).unwrap_or_default()
    }
}
