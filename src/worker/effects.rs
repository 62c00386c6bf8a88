//! The outputs that a chain of steps made of a run of records, each with the record that caused it.
//!
//! A [`Layer`] is one step's input and what it returned. Outputs are never copied between steps: they refer to the layer's input,
//! which is the batch itself for the first step. [`Cursor`] walks the outputs of all layers record by record, so that in every
//! output topic a record's outputs come before those of the next record, whichever steps made them.

use std::ops::Range;
use std::sync::Arc;

use super::traced::OutputTrace;
use super::traced::RunTrace;
use super::windows::Folds;
use crate::batch::Batch;
use crate::batch::Outputs;
use crate::record::OutRecord;
use crate::sink::Destination;
use crate::sink::Routes;

/// The outputs of a run of records.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) layers: Vec<Layer>,
    /// What the records bring to a step with windows.
    pub(super) folds: Folds,
    /// Records whose outputs are not to be sent, ascending.
    given_up: Vec<usize>,
    /// The traces of those records that are recorded, if any are.
    pub(super) trace: Option<Box<RunTrace>>,
}

/// One step's part.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) step: usize,
    /// The digest of the step's component.
    pub(super) digest: Arc<str>,
    /// The step's input; `None` for the first step, which gets the records themselves.
    pub(super) input: Option<Batch>,
    /// For each record of `input`, the record that caused it, counted from the start of the run.
    pub(super) roots: Vec<u32>,
    /// The step's calls: the part of the input that each got, and what it returned.
    pub(super) calls: Vec<(Range<usize>, Outputs)>,
}

impl Layer {
    /// The record that caused output `index` of call `call`, counted from the start of the run.
    fn root(&self, call: usize, index: usize) -> usize {
        let (range, outputs) = &self.calls[call];
        self.root_of(range.start + outputs.parent(index))
    }

    /// The record that caused record `place` of the input, counted from the start of the run.
    pub(super) fn root_of(&self, place: usize) -> usize {
        if self.input.is_some() { self.roots[place] as usize } else { place }
    }
}

/// A position in the effects: the next output of each layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    at: Vec<(usize, usize)>,
}

/// One output to be sent.
pub(super) struct Output<'a> {
    /// The record that caused it, counted from the start of the run.
    pub(super) root: usize,
    /// The output's index in the configuration file.
    pub(super) output: usize,
    /// The step that made it.
    pub(super) step: usize,
    /// The digest of the step's component.
    pub(super) digest: &'a Arc<str>,
    pub(super) record: OutRecord<'a>,
    pub(super) layer: usize,
    /// Its trace, if its record is recorded. Its headers have the context.
    pub(super) trace: Option<OutputTrace<'a>>,
}

impl Cursor {
    /// The next output to a topic of a record below `limit`. `batch` and `start` locate the records of the run. Returns the same
    /// output until [`Cursor::advance`].
    pub(super) fn peek<'a>(
        &mut self,
        effects: &'a Effects,
        routes: &Routes,
        batch: &'a Batch,
        start: usize,
        limit: usize,
    ) -> Option<Output<'a>> {
        self.at.resize(effects.layers.len(), (0, 0));
        let mut best: Option<(usize, usize, usize)> = None;
        for (number, layer) in effects.layers.iter().enumerate() {
            if let Some((root, output)) = skip_inner(layer, &mut self.at[number], routes, &effects.given_up)
                && root < limit
                && best.is_none_or(|(_, least, _)| root < least)
            {
                best = Some((number, root, output));
            }
        }
        let (number, root, output) = best?;
        let layer = &effects.layers[number];
        let (call, index) = self.at[number];
        let (range, outputs) = &layer.calls[call];
        let mut record = match &layer.input {
            Some(input) => outputs.resolve(index, input, range.start),
            None => outputs.resolve(index, batch, start + range.start),
        };
        let trace = effects.trace.as_ref().and_then(|trace| trace.output((number, call, index)));
        if let Some(trace) = trace {
            record.headers = trace.headers();
        }
        Some(Output { root, output, step: layer.step, digest: &layer.digest, record, layer: number, trace })
    }

    /// Moves past the next output of this layer.
    pub(super) fn advance(&mut self, layer: usize) {
        self.at[layer].1 += 1;
    }
}

/// Moves to the layer's next output to a topic; returns its record and topic.
fn skip_inner(layer: &Layer, at: &mut (usize, usize), routes: &Routes, given_up: &[usize]) -> Option<(usize, usize)> {
    loop {
        let (_, outputs) = layer.calls.get(at.0)?;
        if at.1 >= outputs.len() {
            *at = (at.0 + 1, 0);
            continue;
        }
        match routes.destination(layer.step, outputs.port(at.1)) {
            Destination::Output(output) => {
                let root = layer.root(at.0, at.1);
                if given_up.is_empty() || given_up.binary_search(&root).is_err() {
                    return Some((root, output));
                }
                at.1 += 1;
            }
            Destination::NextStep => at.1 += 1,
        }
    }
}

impl Effects {
    /// Drops the outputs of a record that are not sent yet.
    pub(super) fn give_up(&mut self, record: usize) {
        if let Err(place) = self.given_up.binary_search(&record) {
            self.given_up.insert(place, record);
        }
    }

    /// Whether an output names a topic.
    pub(super) fn name_topics(&self) -> bool {
        self.layers.iter().flat_map(|layer| &layer.calls).any(|(_, outputs)| !outputs.topics().of.is_empty())
    }

    /// The bytes that the steps wrote for topics and for later steps, with an upper bound for the lengths that the broker adds.
    pub(super) fn own_bytes_max(&self) -> usize {
        let layer = |layer: &Layer| {
            let between = layer.input.as_ref().map_or(0, |input| input.bytes() + 5 * input.view().layout.len());
            between + layer.calls.iter().map(|(_, outputs)| outputs.own_bytes_max()).sum::<usize>()
        };
        let traced = self.trace.as_ref().map_or(0, |trace| trace.own_bytes_max());
        self.layers.iter().map(layer).sum::<usize>() + traced
    }

    /// The number of outputs to topics, for each of the first `records` records.
    pub(super) fn counts(&self, records: usize, routes: &Routes) -> Vec<u32> {
        let mut counts = vec![0_u32; records];
        for layer in &self.layers {
            for (call, (_, outputs)) in layer.calls.iter().enumerate() {
                for index in 0..outputs.len() {
                    if let Destination::Output(_) = routes.destination(layer.step, outputs.port(index))
                        && let Some(count) = counts.get_mut(layer.root(call, index))
                    {
                        *count += 1;
                    }
                }
            }
        }
        counts
    }
}
