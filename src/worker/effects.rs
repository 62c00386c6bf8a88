//! What a chain of steps made of some records: outputs that keep the record that caused them.
//!
//! A [`Layer`] is what one step got and what it returned. Outputs are never copied on their way: they refer to the layer's
//! input, which is the batch itself for the first step. [`Cursor`] walks the outputs of all layers record by record, so that in
//! every output topic the outputs of a record come before those of the next one, whichever steps made them.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::Batch;
use crate::batch::Outputs;
use crate::record::OutRecord;
use crate::sink::Destination;
use crate::sink::Routes;

/// What the steps made of a run of records.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) layers: Vec<Layer>,
    /// Records whose outputs are not to be sent, ascending.
    given_up: Vec<usize>,
}

/// One step's part.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) step: usize,
    /// The digest of the component that it ran.
    pub(super) digest: Arc<str>,
    /// What the step got; `None` for the first one, which gets the records themselves.
    pub(super) input: Option<Batch>,
    /// For each record of `input`, the record that caused it, counted from the start of the run.
    pub(super) roots: Vec<u32>,
    /// The step's calls: which part of its input each got, and what it returned.
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

/// A place in the effects: the next output of each layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    at: Vec<(usize, usize)>,
}

/// One output to be sent.
pub(super) struct Output<'a> {
    /// The record that caused it, counted from the start of the run.
    pub(super) root: usize,
    /// The output, by its place in the file.
    pub(super) output: usize,
    /// The step that made it.
    pub(super) step: usize,
    /// The digest of the component that it ran.
    pub(super) digest: &'a Arc<str>,
    pub(super) record: OutRecord<'a>,
    pub(super) layer: usize,
}

impl Cursor {
    /// The next output that leads to a topic, of a record below `limit`. `batch` and `start` are the records of the run. It comes
    /// again until [`Cursor::advance`].
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
        let record = match &layer.input {
            Some(input) => outputs.resolve(index, input, range.start),
            None => outputs.resolve(index, batch, start + range.start),
        };
        Some(Output { root, output, step: layer.step, digest: &layer.digest, record, layer: number })
    }

    /// Goes on behind the next output of this layer.
    pub(super) fn advance(&mut self, layer: usize) {
        self.at[layer].1 += 1;
    }
}

/// Moves on to the layer's next output that leads to a topic; its record and topic.
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
    /// Takes back the outputs of a record that are not sent yet.
    pub(super) fn give_up(&mut self, record: usize) {
        if let Err(place) = self.given_up.binary_search(&record) {
            self.given_up.insert(place, record);
        }
    }

    /// What the steps wrote and what went on between them, with a bound for the lengths that the broker counts.
    pub(super) fn own_bytes_max(&self) -> usize {
        let layer = |layer: &Layer| {
            let between = layer.input.as_ref().map_or(0, |input| input.bytes() + 5 * input.view().layout.len());
            between + layer.calls.iter().map(|(_, outputs)| outputs.own_bytes_max()).sum::<usize>()
        };
        self.layers.iter().map(layer).sum()
    }

    /// For each of the first `records` records, the number of its outputs that lead to a topic.
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
