//! The worker's part of a plugin with windows: it gives orders to executors and takes their answers.
//!
//! A partition has one order of each kind out. While records are being folded, later runs wait (`Windows::hold`). An answer that comes
//! after a rewind is ignored: its number isn't the one that is waited for.

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use super::Windows;
use super::cells::WorkingCells;
use super::emit::Showing;
use super::emit::next_batch;
use super::fold;
use super::fold::Folding;
use super::fold::Judgement;
use super::reduce::AddOrder;
use super::reduce::Added;
use super::reduce::EmitOrder;
use super::reduce::Emitted;
use super::reduce::FailedWindow;
use super::reduce::Order;
use super::reduce::Reduced;
use super::reduce::Ticket;
use super::step::Reducer;
use crate::batch::Batch;
use crate::batch::Outputs;
use crate::failure::Failure;
use crate::journal;
use crate::journal::BuriedRecord;
use crate::partition::OnFailure;
use crate::partition::Policy;
use crate::record::Header;
use crate::record::TopicPartition;
use crate::sink::DeadLetter;
use crate::sink::GivenUp;
use crate::sink::WINDOW;
use crate::sink::size;
use crate::state::Call;
use crate::state::Changes;
use crate::state::Slot;
use crate::worker::Shell;
use crate::worker::chain;
use crate::worker::clock;
use crate::worker::end::End;
use crate::worker::executor::RunResult;

/// The orders of a partition that are out.
#[derive(Debug, Default)]
pub(super) struct Orders {
    adding: Option<Adding>,
    emitting: Option<Ticket>,
    /// How many were given.
    given: u64,
}

/// Records that are being folded.
#[derive(Debug)]
struct Adding {
    ticket: Ticket,
    calls: Vec<Call>,
    judgement: Judgement,
}

impl Orders {
    /// Forgets the orders that are out.
    pub(super) fn forget(&mut self) {
        (self.adding, self.emitting) = (None, None);
    }

    /// Whether results of windows are being made.
    pub(super) fn is_emitting(&self) -> bool {
        self.emitting.is_some()
    }

    /// Whether records are being folded.
    pub(super) fn is_adding(&self) -> bool {
        self.adding.is_some()
    }
}

impl Windows {
    fn ticket(&mut self) -> Ticket {
        self.orders.given += 1;
        (self.outputs, self.orders.given)
    }

    /// Asks a plugin to fold records, if there are any.
    pub(super) fn ask(&mut self, ran: Box<RunResult>, judgement: Judgement) -> Folding {
        let ticket = self.ticket();
        let Some(state) = self.state.as_mut().filter(|_| !judgement.kept.is_empty()) else {
            return fold::finish(&self.step, ran, &judgement);
        };
        let folds = &ran.effects.folds;
        let (mut cells, mut calls) = (WorkingCells::default(), Vec::new());
        let mut index = vec![0; judgement.kept.len()];
        for (slot, places) in Slot::all().zip(judgement.by_slot(folds)) {
            if places.is_empty() {
                continue;
            }
            let records = places.iter().map(|&place| fold::fold_of(folds, &ran, judgement.kept[place]));
            let call = state.fetch(slot, records);
            let first = u32::try_from(cells.len()).unwrap_or(u32::MAX);
            for (&place, &cell) in places.iter().zip(&call.index) {
                index[place] = first + cell;
            }
            let mut data = &*call.data;
            for &length in &call.lengths {
                cells.push(usize::try_from(length).ok().and_then(|length| data.split_off(..length)));
            }
            calls.push(call);
        }
        let kept = judgement.kept.iter().map(|&(at, _)| at).collect();
        self.orders.adding = Some(Adding { ticket, calls, judgement });
        Folding::Ask(Box::new(AddOrder { ticket, ran, kept, index, cells }))
    }

    /// A plugin has folded records. `None` if that isn't waited for.
    ///
    /// # Errors
    /// The cells don't fit, which is a bug: nothing more may be folded.
    pub(super) fn added(&mut self, added: Added, policy: &Policy) -> Result<Option<Folding>, String> {
        let Added { order, failed, stopped, .. } = added;
        let adding = self.orders.adding.take_if(|adding| adding.ticket == order.ticket);
        let (Some(Adding { calls, mut judgement, .. }), Some(state)) = (adding, self.state.as_mut()) else {
            return Ok(None);
        };
        let AddOrder { mut ran, kept, cells, .. } = order;
        let folds = std::mem::take(&mut ran.effects.folds);
        let is_again = stopped.is_some() || failed.iter().any(|&(place, _)| judgement.has_more(&folds, kept[place]));
        if is_again {
            calls.iter().for_each(|call| state.give_back(call));
        } else {
            let mut first = 0;
            for call in &calls {
                let (mut lengths, mut data) = (Vec::with_capacity(call.lengths.len()), Vec::new());
                for cell in first..first + call.lengths.len() {
                    let (length, bytes) = cells.change(cell);
                    lengths.push(length);
                    data.extend_from_slice(bytes);
                }
                first += call.lengths.len();
                fold::apply(state, call, Changes { lengths: &lengths, data: &data })?;
            }
        }
        for (place, failure) in failed.into_iter().chain(stopped) {
            judgement.fail(state, &folds, &mut ran, kept[place], failure, policy);
        }
        ran.effects.folds = folds;
        // Without the records that failed.
        Ok(Some(if is_again { self.ask(ran, judgement) } else { fold::finish(&self.step, ran, &judgement) }))
    }

    /// The next windows for a plugin, if it may get some.
    pub(super) fn next_order(&mut self, source: &TopicPartition) -> Option<Order> {
        let is_plugin = matches!(self.step.reducer, Reducer::Plugin { .. });
        if !is_plugin || self.orders.is_emitting() || self.showing.is_some() {
            return None;
        }
        let batch = next_batch(self.state.as_mut())?;
        let ticket = self.ticket();
        self.orders.emitting = Some(ticket);
        Some(Order::Emit(Box::new(EmitOrder { ticket, source: source.clone(), batch })))
    }

    /// A plugin has made the outputs of windows. Returns what [`Windows::show`] does.
    pub(super) fn emitted(
        &mut self,
        order: &EmitOrder,
        outputs: Vec<(Batch, Outputs)>,
        dead_letters: Vec<DeadLetter>,
    ) -> bool {
        self.orders.emitting = None;
        self.show(Showing::emitted(&order.batch, outputs, dead_letters))
    }
}

impl Shell {
    /// Gives an executor an order.
    pub(in crate::worker) fn order(&mut self, now: Instant, executor: usize, order: Order) {
        if !self.io.executors.reduce(executor, order) {
            self.close(now, End::Bug(format!("executor {executor} ended unexpectedly; see the panic in the log")));
        }
    }

    /// An executor has carried out an order.
    pub(in crate::worker) fn on_reduced(&mut self, now: Instant, executor: usize, reduced: Reduced) {
        self.io.executors.returned(executor);
        match reduced {
            Reduced::Added(added) => self.on_added(now, executor, *added),
            Reduced::Emitted(emitted) => self.on_emitted(now, *emitted),
        }
    }

    fn on_added(&mut self, now: Instant, executor: usize, added: Added) {
        // A partition that was read again has another number.
        let Some(index) = self.flow.task_of(added.order.ran.first) else { return };
        let Some(windows) = &mut self.flow.tasks[index].windows else { return };
        let counted = added.counted.clone();
        match windows.added(added, &self.settings.policy) {
            Err(why) => self.close_at(now, index, why),
            Ok(None) => {}
            Ok(Some(Folding::Ask(order))) => self.order(now, executor, Order::Add(order)),
            Ok(Some(Folding::Folded(ran, not_folded))) => {
                chain::tell(&counted, &self.monitor.metrics);
                self.monitor.count_not_folded(windows.step(), not_folded);
                self.on_folded(now, index, ran);
            }
        }
    }

    fn on_emitted(&mut self, now: Instant, emitted: Emitted) {
        let Emitted { order, outputs, failed, counted } = emitted;
        let is_it = |windows: &Windows| windows.orders.emitting == Some(order.ticket);
        let waits = self.flow.tasks.iter().position(|task| task.windows.as_deref().is_some_and(is_it));
        let Some(index) = waits else { return };
        chain::tell(&counted, &self.monitor.metrics);
        let mut dead_letters = Vec::new();
        for (window, failure) in failed {
            match self.give_up_window(now, index, &order, &window, &failure) {
                Ok(dead_letter) => dead_letters.extend(dead_letter),
                Err(why) => return self.close_at(now, index, why),
            }
        }
        if let Some(windows) = &mut self.flow.tasks[index].windows
            && windows.emitted(&order, outputs, dead_letters)
        {
            self.monitor.metrics.windows_closed.with_label_values(&[windows.step()]).inc();
        }
    }

    /// Does what the policy says about a window without a result. A retry would change nothing: the same cell leads to the same result.
    ///
    /// # Errors
    /// The pipeline has to stop.
    fn give_up_window(
        &mut self,
        now: Instant,
        index: usize,
        order: &EmitOrder,
        window: &FailedWindow,
        failure: &Failure,
    ) -> Result<Option<DeadLetter>, String> {
        let EmitOrder { source, batch, .. } = order;
        let (start, end) = (batch.start, batch.end);
        let name = order.name(window);
        match self.settings.policy.rule(failure).then {
            OnFailure::Stop | OnFailure::Hold => {
                Err(format!("{name} has no result: {failure}; nothing is lost, and a restart asks for it again"))
            }
            OnFailure::Skip => {
                self.say_given_up(now, &name, failure, "skipped");
                Ok(None)
            }
            OnFailure::DeadLetter => {
                self.say_given_up(now, &name, failure, "written to the dead-letter topic");
                let step = failure.step.as_deref().unwrap_or_default();
                self.monitor.metrics.dead_letters.with_label_values(&[step, failure.kind.label()]).inc();
                let offset = self.flow.tasks[index].state.low().0;
                let reason = journal::cut(format!("{name}: {}", failure.reason), journal::REASON_BYTES_MAX).into();
                self.monitor.metrics.journal.buried(vec![BuriedRecord {
                    at_ms: clock::unix_ms(),
                    partition: source.clone(),
                    offset,
                    step: step.into(),
                    kind: failure.kind,
                    reason,
                }]);
                let mut record = Batch::new(source.clone());
                let times = [start.to_string(), end.to_string()];
                let headers = WINDOW.iter().zip(&times);
                let headers =
                    headers.map(|(name, time)| Header { name: name.as_bytes(), value: Some(time.as_bytes()) });
                record.push(offset, batch.end - 1, 0, window.key.as_deref(), Some(&window.cell), headers);
                let record = record.record(0);
                let at_ms = clock::unix_ms();
                let given_up = GivenUp { source, failure, tries: 1, at_ms, replays: 0, is_retimed: false };
                let dead_letters = &self.settings.dead_letters;
                let limit = self.dead_letter_bytes().unwrap_or(size::ASSUMED);
                let written = dead_letters.write(&record, given_up, |dead_letter| size::fits(dead_letter, limit));
                Ok(Some(written.unwrap_or_else(|| dead_letters.least(&record, given_up))))
            }
        }
    }

    fn say_given_up(&mut self, now: Instant, name: &Name<'_>, failure: &Failure, what: &str) {
        if self.monitor.may_log(now, "a window has no result") {
            let TopicPartition { topic, partition } = name.source;
            let step = failure.step.as_deref();
            tracing::error!(step, topic = &**topic, partition, "{name} has no result, {what}: {failure}");
        }
    }
}

impl EmitOrder {
    /// Names one of its windows.
    pub(super) fn name<'a>(&'a self, window: &'a FailedWindow) -> Name<'a> {
        let (start, end) = (self.batch.start, self.batch.end);
        Name { source: &self.source, start, end, key: window.key.as_deref() }
    }
}

/// Names a window in messages.
pub(super) struct Name<'a> {
    source: &'a TopicPartition,
    start: i64,
    end: i64,
    key: Option<&'a [u8]>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { source, start, end, key } = self;
        let key = key.map_or(Cow::Borrowed("null"), String::from_utf8_lossy);
        write!(f, "{source}: the window from {start} to {end} ms of key {}", key.escape_debug())
    }
}
