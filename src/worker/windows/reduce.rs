//! The executor's part of a plugin with windows: it folds records into cells, merges the cells of a window, and asks for its outputs.
//!
//! A call that fails as a whole is repeated record by record, or window by window, to find the one that is the cause; that one is run once
//! more in a fresh instance before it is taken for it. Nothing here is kept but by the worker.

use std::borrow::Cow;
use std::ops::Range;

use super::cells::WorkingCells;
use crate::batch::Batch;
use crate::batch::Outputs;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure::Failure;
use crate::partition::Policy;
use crate::plugin::Cells;
use crate::plugin::ClosedWindows;
use crate::record::AssignmentId;
use crate::record::TopicPartition;
use crate::sink::Routes;
use crate::state::Key;
use crate::state::WindowBatch;
use crate::worker::chain::Chain;
use crate::worker::chain::Counted;
use crate::worker::executor::RunResult;
use crate::worker::link::Link;
use crate::worker::link::alone;
use crate::worker::link::fails_alone;
use crate::worker::tapping;

/// What an executor is to do for a partition of a step with windows. It carries a number by which the partition knows its answer.
#[derive(Debug)]
pub(in crate::worker) enum Order {
    Add(Box<AddOrder>),
    Emit(Box<EmitOrder>),
}

/// The answer.
#[derive(Debug)]
pub(in crate::worker) enum Reduced {
    Added(Box<Added>),
    Emitted(Box<Emitted>),
}

/// The number of an order: the partition's number for outputs, and how many orders it gave before.
pub(super) type Ticket = (AssignmentId, u64);

/// Records to be folded.
#[derive(Debug)]
pub(in crate::worker) struct AddOrder {
    pub(super) ticket: Ticket,
    pub(super) ran: Box<RunResult>,
    /// The records, by their entries in the run, in order.
    pub(super) kept: Vec<usize>,
    /// Each record's cell.
    pub(super) index: Vec<u32>,
    pub(super) cells: WorkingCells,
}

/// Records that were folded.
#[derive(Debug)]
pub(in crate::worker) struct Added {
    pub(super) order: AddOrder,
    /// The records that failed while those after them continue, by their place among those of the order, in order.
    pub(super) failed: Vec<(usize, Failure)>,
    /// The record that ended it, and why. Then the cells mean nothing.
    pub(super) stopped: Option<(usize, Failure)>,
    pub(super) counted: Counted,
}

/// Closed windows whose outputs are wanted.
#[derive(Debug)]
pub(in crate::worker) struct EmitOrder {
    pub(super) ticket: Ticket,
    pub(super) source: TopicPartition,
    pub(super) batch: WindowBatch,
}

/// The outputs of windows.
#[derive(Debug)]
pub(in crate::worker) struct Emitted {
    pub(super) order: EmitOrder,
    /// The windows of each call, and their outputs.
    pub(super) outputs: Vec<(Batch, Outputs)>,
    pub(super) failed: Vec<(FailedWindow, Failure)>,
    pub(super) counted: Counted,
}

/// A window of a key that has no result.
#[derive(Debug)]
pub(super) struct FailedWindow {
    pub(super) key: Option<Vec<u8>>,
    pub(super) cell: Vec<u8>,
}

impl Chain {
    /// Carries out an order. `None` if the step with windows runs no plugin, which is a bug.
    pub(in crate::worker) fn reduce(&mut self, order: Order) -> Option<Reduced> {
        Some(match order {
            Order::Add(order) => Reduced::Added(Box::new(self.add(*order)?)),
            Order::Emit(order) => Reduced::Emitted(Box::new(self.emit(*order)?)),
        })
    }

    fn add(&mut self, order: AddOrder) -> Option<Added> {
        let policy = self.policy().clone();
        let input = order.input();
        let AddOrder { ticket, ran, kept, index, cells } = order;
        let link = self.reducer()?;
        let most = link.batch_records();
        let mut adder = Adder { link, policy: &policy, input: &input, index: &index, cells, failed: Vec::new() };
        let (mut stopped, mut at) = (None, 0);
        while at < kept.len() && stopped.is_none() {
            let range = at..kept.len().min(at + most);
            at = range.end;
            stopped = adder.add(range.clone()).unwrap_or_else(|_| adder.isolate(range));
        }
        failpoint::pass(Point::AfterGuest);
        let Adder { cells, failed, .. } = adder;
        for (place, failure) in failed.iter().chain(&stopped) {
            tapping::failed(self.taps(), input.source(), &input.record(*place), failure);
        }
        let counted = self.take_counted();
        let counted = if stopped.is_none() { counted } else { Vec::new() };
        Some(Added { order: AddOrder { ticket, ran, kept, index, cells }, failed, stopped, counted })
    }

    fn emit(&mut self, order: EmitOrder) -> Option<Emitted> {
        let (routes, step) = (self.routes().clone(), self.last_step());
        let link = self.reducer()?;
        let keys: Vec<(Key<'_>, Vec<&[u8]>)> = order.batch.iter().collect();
        let routes = (&routes, step);
        let mut emitter = Emitter { link, routes, order: &order, outputs: Vec::new(), failed: Vec::new() };
        if emitter.emit(&keys).is_err() {
            for one in &keys {
                if let Err(failure) = alone(|| emitter.emit(std::slice::from_ref(one))) {
                    let cell = one.1.first().map_or_else(Vec::new, |cell| cell.to_vec());
                    emitter.failed.push((FailedWindow { key: one.0.map(<[u8]>::to_vec), cell }, failure));
                }
            }
        }
        failpoint::pass(Point::AfterGuest);
        let Emitter { outputs, failed, .. } = emitter;
        for (window, failure) in &failed {
            tapping::failed_window(self.taps(), &order.source, window.key.as_deref(), failure);
        }
        let counted = self.take_counted();
        Some(Emitted { order, outputs, failed, counted })
    }
}

impl AddOrder {
    /// The records.
    fn input(&self) -> Batch {
        let mut input = Batch::new(self.ran.batch.source().clone());
        let Some(layer) = self.ran.effects.layers.last() else { return input };
        let view = layer.input.as_ref().map_or_else(|| self.ran.batch.slice(self.ran.range.clone()), Batch::view);
        for &entry in &self.kept {
            let place = self.ran.effects.folds.place(entry);
            let record = view.record(place);
            input.push_columns(
                view.offsets[place],
                view.timestamps[place],
                view.attempts[place],
                record.key,
                record.value,
                record.headers,
            );
        }
        input
    }
}

/// Folds the records of an order, call by call.
struct Adder<'a> {
    link: &'a mut Link,
    policy: &'a Policy,
    input: &'a Batch,
    index: &'a [u32],
    cells: WorkingCells,
    failed: Vec<(usize, Failure)>,
}

impl Adder<'_> {
    /// Folds records by one call. Returns the one that ends the order, if there is one; the cells mean nothing then.
    fn add(&mut self, range: Range<usize>) -> Result<Option<(usize, Failure)>, Failure> {
        let call = self.cells.for_call(&self.index[range.clone()]);
        let view = self.input.slice(range.clone());
        let folded = self.link.call(view.len(), |instance| instance.add(&view, call.columns()))?;
        for failed in folded.failed {
            let ends = !fails_alone(self.policy, &failed.failure);
            let failed = (range.start + failed.index, self.link.failed(failed.failure));
            if ends {
                return Ok(Some(failed));
            }
            self.failed.push(failed);
        }
        self.cells.take(&call, &folded.changed);
        Ok(None)
    }

    /// Folds records one by one, after a call with all of them failed.
    fn isolate(&mut self, range: Range<usize>) -> Option<(usize, Failure)> {
        for one in range {
            match alone(|| self.add(one..one + 1)) {
                Ok(None) => {}
                Ok(Some(stopped)) => return Some(stopped),
                Err(failure) if self.policy.gives_up(&failure) => self.failed.push((one, failure)),
                Err(failure) => return Some((one, failure)),
            }
        }
        None
    }
}

/// Asks for the outputs of the windows of an order.
struct Emitter<'a> {
    link: &'a mut Link,
    /// And the step's number.
    routes: (&'a Routes, usize),
    order: &'a EmitOrder,
    outputs: Vec<(Batch, Outputs)>,
    failed: Vec<(FailedWindow, Failure)>,
}

impl Emitter<'_> {
    /// Merges the cells of these keys and asks for their outputs.
    fn emit(&mut self, keys: &[(Key<'_>, Vec<&[u8]>)]) -> Result<(), Failure> {
        let cells = self.merge(keys)?;
        let WindowBatch { start, end, .. } = self.order.batch;
        let mut keyed = Batch::new(self.order.source.clone());
        for ((key, _), cell) in keys.iter().zip(&cells) {
            if let Some(cell) = cell {
                let number = i64::try_from(keyed.len()).unwrap_or(i64::MAX);
                keyed.push(number, end.saturating_sub(1), 0, *key, Some(cell), std::iter::empty());
            }
        }
        if keyed.is_empty() {
            return Ok(());
        }
        let (starts, ends) = (vec![start; keyed.len()], vec![end; keyed.len()]);
        let closed =
            ClosedWindows { keyed: keyed.view(), starts: &starts, ends: &ends, closed: self.order.batch.is_closed };
        let outcome = self.link.call(keyed.len(), |instance| instance.emit(&closed))?;
        let (routes, step) = self.routes;
        if let Some((_, why)) = routes.refusals(step, &outcome.outputs).into_iter().next() {
            // All windows are asked for again, one by one, and counted then.
            drop(self.link.take_effects());
            return Err(self.link.failed(self.link.refused(why)));
        }
        self.link.put_out(outcome.outputs.len());
        for failed in outcome.failed {
            let window = keyed.record(failed.index);
            let cell = window.value.unwrap_or_default().to_vec();
            let window = FailedWindow { key: window.key.map(<[u8]>::to_vec), cell };
            self.failed.push((window, self.link.failed(failed.failure)));
        }
        self.outputs.push((keyed, outcome.outputs));
        Ok(())
    }

    /// Merges the cells of each key, in order of time. `None`: the plugin removed it.
    fn merge<'c>(&mut self, keys: &[(Key<'_>, Vec<&'c [u8]>)]) -> Result<Vec<Option<Cow<'c, [u8]>>>, Failure> {
        let mut merged: Vec<Option<Cow<'c, [u8]>>> =
            keys.iter().map(|(_, cells)| cells.first().map(|&cell| Cow::Borrowed(cell))).collect();
        let most = keys.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        for at in 1..most {
            let (mut which, mut lengths, mut data) = (Vec::new(), Vec::new(), Vec::new());
            for (number, (_, cells)) in keys.iter().enumerate() {
                let Some(&later) = cells.get(at) else { continue };
                let Some(earlier) = &merged[number] else {
                    merged[number] = Some(Cow::Borrowed(later));
                    continue;
                };
                which.push(number);
                for cell in [&**earlier, later] {
                    lengths.push(i32::try_from(cell.len()).unwrap_or(i32::MAX));
                    data.extend_from_slice(cell);
                }
            }
            if which.is_empty() {
                continue;
            }
            let pairs = Cells { index: &[], lengths: &lengths, data: &data };
            let changed = self.link.call(which.len(), |instance| instance.merge(pairs))?;
            for (&number, change) in which.iter().zip(changed.iter()) {
                if let Some(cell) = change {
                    merged[number] = cell.map(|cell| Cow::Owned(cell.to_vec()));
                }
            }
        }
        Ok(merged)
    }
}
