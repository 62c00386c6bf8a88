//! Carries out what windowed steps need: results are sent, cycles are cut and written with their transaction, states are restored.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::Windows;
use super::emit::NextResult;
use super::restore;
use super::restore::Restored;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::kafka::consumer::Position;
use crate::kafka::producer::SendError;
use crate::kafka::producer::Tag;
use crate::kafka::producer::TagKind;
use crate::kafka::settings::Partition;
use crate::record::Offset;
use crate::record::OutRecord;
use crate::record::Seq;
use crate::record::TopicPartition;
use crate::sink::Destination;
use crate::sink::size;
use crate::state::CONTROL_KEY;
use crate::worker::Event;
use crate::worker::Shell;
use crate::worker::clock;
use crate::worker::end::End;
use crate::worker::named_topics::TopicLook;
use crate::worker::tapping;
use crate::worker::task::PartitionTask;
use crate::worker::transaction::Takes;
use crate::worker::transaction::Transaction;

/// The most results of a partition that are sent between two looks at the inbox.
const RESULTS_MAX: usize = 512;

impl Shell {
    /// Sends results of closed windows, and goes on with what waited for a cut. `false` if there was nothing to do.
    pub(in crate::worker) fn go_on_with_windows(&mut self, now: Instant) -> bool {
        if self.settings.windowed.is_none() {
            return false;
        }
        let mut busy = false;
        for index in 0..self.flow.tasks.len() {
            while let Some(ran) = self.flow.tasks[index].windows.as_mut().and_then(|windows| windows.take_held()) {
                busy = true;
                self.take_run(now, ran);
            }
            let task = &mut self.flow.tasks[index];
            let low = task.state.low();
            if let Some(windows) = task.cycle_mut() {
                windows.settle(low);
                windows.tick(now);
            }
        }
        busy | self.show_windows(now)
    }

    fn show_windows(&mut self, now: Instant) -> bool {
        if self.delivery.holds(now) || self.flow.is_backed_up() {
            return false;
        }
        let may_begin = match self.delivery.transaction().map(Transaction::takes) {
            // What a held record waits for may take long.
            None | Some(Takes::Produced) => !self.reconfigure.holds() && !self.blocked.holds(),
            Some(Takes::Rest) => false,
            Some(Takes::Nothing) => return false,
        };
        // A batch that is sent in part has to be finished: the transaction waits for it.
        let mut busy = false;
        for index in 0..self.flow.tasks.len() {
            let task = &self.flow.tasks[index];
            let Some(windows) = &task.windows else { continue };
            let has_results = windows.is_showing() || may_begin && task.state.may_receive() && windows.has_results();
            if task.position.is_gone()
                || windows.is_flushing()
                || !has_results
                || self.flow.bytes_out >= self.settings.max_in_flight_bytes
            {
                continue;
            }
            let task = &mut self.flow.tasks[index];
            let executor = task.executor;
            if let Some(order) = task.windows.as_mut().and_then(|windows| windows.next_order(&task.partition)) {
                self.order(now, executor, order);
                busy = true;
                continue;
            }
            if self.delivery.transaction().is_some_and(Transaction::is_to_begin) && !self.begin_transaction(now) {
                return true;
            }
            match self.send_results(now, index) {
                Ok(is_busy) => busy |= is_busy,
                Err(Unsent::Stopped(why)) => {
                    self.close_at(now, index, why);
                    return true;
                }
                Err(Unsent::TooLarge { bytes, why }) => {
                    if !self.make_room(now, bytes) {
                        self.close_at(now, index, why);
                    }
                    return true;
                }
            }
        }
        busy
    }

    /// Sends results of a partition while the producer has room. `false` if there were none, or no room.
    fn send_results(&mut self, now: Instant, index: usize) -> Result<bool, Unsent> {
        self.show_named().map_err(Unsent::Stopped)?;
        let Some(step) = &self.settings.windowed else { return Ok(false) };
        let Some(producer) = &self.io.producer else { return Ok(false) };
        let outputs = &self.settings.kafka.outputs;
        let task = &mut self.flow.tasks[index];
        let Some(windows) = &mut task.windows else { return Ok(false) };
        let (mut messages, mut bytes, mut closed) = (0, 0, 0);
        while messages < RESULTS_MAX {
            let result = windows
                .next_result()
                .map_err(|why| Unsent::Stopped(format!("step `{}`, {}: {why}", step.name, task.partition)))?;
            let Some((NextResult { record, is_dead }, seq)) = result else { break };
            let output = match self.settings.routes.destination(step.number, record.port) {
                _ if is_dead => outputs.len(),
                Destination::Output(output) => output,
                // It is the last step.
                Destination::NextStep => break,
            };
            let by_output = || match outputs.get(output).map(|output| output.partition) {
                Some(Partition::SameAsInput) => task.partition.partition,
                Some(Partition::ByKey) | None => -1,
            };
            let chosen = record.partition.unwrap_or_else(by_output);
            let named = |number| self.settings.kafka.written().count() + number;
            let looked = record.topic.map(|topic| (topic, self.delivery.named.look(now, output, topic)));
            let place = match looked {
                None => Some(output),
                Some((_, TopicLook::Unknown)) => None,
                Some((topic, TopicLook::Writable)) => self.delivery.named.number(output, topic).map(named),
                Some((_, TopicLook::Fails(failure))) => {
                    return Err(Unsent::Stopped(unsendable(&step.name, &task.partition, &record, &failure)));
                }
            };
            // The producer gets to know a new topic before the next results are sent.
            let Some(place) = place.filter(|&place| producer.knows(place)) else { break };
            let kind = if is_dead { TagKind::DeadLetter } else { TagKind::Output(place) };
            match producer.send(place, &record, chosen, Tag { kind, seq }) {
                Ok(()) => {
                    if !is_dead {
                        let name = self.settings.routes.name(output);
                        tapping::result(&self.monitor.metrics.taps, &step.name, &task.partition, &record, name);
                    }
                    messages += 1;
                    bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                    closed += u64::from(windows.sent());
                    failpoint::pass(Point::AfterEnqueue);
                }
                Err(SendError::Full) => break,
                Err(SendError::Failed(failure)) => {
                    let why = unsendable(&step.name, &task.partition, &record, &failure);
                    let bytes = size::batch_bytes(&record);
                    let is_too_large = failure.kind == Kind::TooLarge;
                    return Err(if is_too_large { Unsent::TooLarge { bytes, why } } else { Unsent::Stopped(why) });
                }
            }
        }
        self.flow.bytes_out += bytes;
        self.monitor.metrics.window_results.with_label_values(&[&step.name]).inc_by(messages as u64);
        self.monitor.metrics.windows_closed.with_label_values(&[&step.name]).inc_by(closed);
        self.enter(now, messages, bytes);
        self.ask_named();
        Ok(messages > 0)
    }

    /// The step's place for results that were not delivered, if this is the number of one.
    pub(in crate::worker) fn windows_of(&self, seq: Seq) -> Option<usize> {
        let is_it = |windows: &Windows| windows.outputs == seq.assignment();
        self.flow.tasks.iter().position(|task| task.windows.as_deref().is_some_and(is_it))
    }

    /// Cuts the cycles of all partitions. Returns whether a transaction has anything to commit.
    pub(in crate::worker) fn cut_windows(&mut self) -> bool {
        let mut any = false;
        for task in &mut self.flow.tasks {
            let (low, handed) = (task.state.low(), task.offsets.handed);
            let Some(windows) = task.cycle_mut() else { continue };
            windows.settle(low);
            any |= windows.cut(handed).is_some();
        }
        any
    }

    /// Whether every cycle that was to be cut is cut.
    pub(in crate::worker) fn are_windows_cut(&mut self) -> bool {
        self.cut_windows();
        !self.flow.tasks.iter().any(|task| task.cycle().is_some_and(Windows::is_cutting))
    }

    /// Whether a cycle waits for its commit.
    pub(in crate::worker) fn has_cut_windows(&self) -> bool {
        self.flow.tasks.iter().any(|task| task.cycle().is_some_and(|windows| windows.committing().is_some()))
    }

    /// Hands the changelog records of all cut cycles to the producer. `true` once it has all of them.
    pub(in crate::worker) fn write_changelogs(&mut self, now: Instant) -> bool {
        for index in 0..self.flow.tasks.len() {
            match self.write_changelog(index) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(reason) => {
                    self.recover_producer(now, &reason);
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn write_changelog(&mut self, index: usize) -> Result<bool, String> {
        let (Some(output), Some(producer)) = (self.settings.kafka.changelog_index(), &self.io.producer) else {
            return Ok(true);
        };
        let task = &mut self.flow.tasks[index];
        let partition = task.partition.partition;
        let Some(windows) = task.cycle_mut() else { return Ok(true) };
        let (mut bytes, mut records) = (0, 0);
        let result = loop {
            let Some((record, seq)) = windows.next_change() else { break Ok(true) };
            match producer.send(output, &record, partition, Tag { kind: TagKind::Output(output), seq }) {
                Ok(()) => {
                    bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                    records += 1;
                    let point = point_of(&record);
                    windows.change_sent();
                    failpoint::pass(point);
                }
                Err(SendError::Full) => break Ok(false),
                Err(SendError::Failed(failure)) => break Err(failure),
            }
        };
        self.monitor.metrics.changelog_records.with_label_values(&[windows.step()]).inc_by(records);
        self.flow.bytes_out += bytes;
        result.map_err(|failure| format!("the changelog of {}: {failure}", self.flow.tasks[index].partition))
    }

    /// The offsets that the cut cycles commit.
    pub(in crate::worker) fn window_positions(&self) -> Vec<Position> {
        self.flow.tasks.iter().filter_map(position_of_cycle).collect()
    }

    /// The transaction was committed.
    pub(in crate::worker) fn commit_windows(&mut self) {
        for task in &mut self.flow.tasks {
            if let Some(windows) = task.cycle_mut() {
                windows.phase_ended();
            }
        }
    }

    /// The group told where it stands after a transaction whose outcome was unknown. Restores the partition if its tables can't go back
    /// to that.
    pub(in crate::worker) fn confirm_windows(&mut self, now: Instant, index: usize, committed: Option<Offset>) {
        let task = &mut self.flow.tasks[index];
        let Some(windows) = &mut task.windows else { return };
        if !windows.confirm(committed, clock::unix_ms()) {
            self.restore_windows(now, index, committed);
        } else if committed.is_none() {
            let began = task.offsets.began;
            task.store_at(began);
        }
    }

    /// Restores the state of a partition from its changelog. Until then its records wait.
    pub(in crate::worker) fn restore_windows(&mut self, now: Instant, index: usize, committed: Option<Offset>) {
        let (Some(step), Some(changelog)) = (&self.settings.windowed, &self.settings.kafka.changelog) else { return };
        // The result of an earlier restore carries another number.
        let outputs = self.flow.new_assignment();
        let task = &mut self.flow.tasks[index];
        let Some(windows) = &mut task.windows else { return };
        let cancel = Arc::new(AtomicBool::new(false));
        let progress = windows.restore(outputs, Arc::clone(&cancel));
        if !task.reader.paused {
            task.reader.paused = true;
            self.io.consumer.pause(&task.partition);
        }
        let what = restore::Task {
            kafka: self.settings.kafka.clone(),
            topic: changelog.topic_name().to_owned(),
            partition: task.partition.partition,
            assignment: windows.outputs,
            step: Arc::clone(step),
            committed,
            start: task.offsets.began,
            progress,
        };
        let inbox = self.io.mailbox.inbox();
        // Sending fails only if the worker has ended.
        let report = move |restored| drop(inbox.send(Event::Restored(restored)));
        if let Err(error) = restore::start(what, cancel, report) {
            self.close(now, End::Bug(format!("failed to start a thread: {error}")));
        }
        self.show_windowed();
    }

    /// The state of a partition was restored.
    pub(in crate::worker) fn on_restored(&mut self, now: Instant, restored: Restored) {
        let Restored { assignment, committed, took, result } = restored;
        let Some(index) = self.windows_of(Seq::first_of(assignment)) else { return };
        let task = &mut self.flow.tasks[index];
        let Some(windows) = &mut task.windows else { return };
        match result {
            Ok((state, records)) => {
                tracing::info!(
                    step = windows.step(),
                    topic = &*task.partition.topic,
                    partition = task.partition.partition,
                    "{}: restored {} cells from {records} changelog records",
                    task.partition,
                    state.cells()
                );
                windows.restored(*state);
                let metrics = &self.monitor.metrics.restore_seconds;
                metrics.with_label_values(&[windows.step()]).observe(took.as_secs_f64());
                if committed.is_none() {
                    let low = task.state.low();
                    task.store_at(low);
                }
                self.show_windowed();
            }
            Err(why) => {
                let why = format!("{}: its state can't be restored: {why}", task.partition);
                self.close_at(now, index, why);
            }
        }
    }
}

/// The message about the result of a window that can't be sent.
fn unsendable(step: &str, partition: &TopicPartition, record: &OutRecord<'_>, failure: &Failure) -> String {
    let key = record.key.map_or(Cow::Borrowed("null"), String::from_utf8_lossy);
    let end = record.timestamp.saturating_add(1);
    format!(
        "step `{step}`, {partition}: the result of a window can't be sent, of key {key} and the window that ends at {end} ms: {failure}"
    )
}

/// The offset that a task's cut cycle commits.
pub(super) fn position_of_cycle(task: &PartitionTask) -> Option<Position> {
    let offset = task.cycle()?.committing()?;
    Some(task.position_at(offset))
}

fn point_of(record: &OutRecord<'_>) -> Point {
    match (record.key, record.value) {
        (_, None) => Point::TombstoneEnqueued,
        (Some(key), Some(_)) if key == CONTROL_KEY => Point::ControlEnqueued,
        (_, Some(_)) => Point::CellEnqueued,
    }
}

/// A result that was not sent.
enum Unsent {
    Stopped(String),
    TooLarge { bytes: usize, why: String },
}
