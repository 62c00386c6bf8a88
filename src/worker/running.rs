//! Hands records to executors and handles what they return.

use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::blocked;
use super::chain;
use super::clock;
use super::dead_letters::PendingDeadLetter;
use super::dead_letters::Unrecoverable;
use super::end::End;
use super::executor;
use super::executor::RunResult;
use super::lanes;
use super::lanes::QueuedRun;
use super::windows::Folding;
use super::windows::Order;
use crate::partition;
use crate::partition::Action;
use crate::record::Seq;

impl Shell {
    /// Hands waiting records to the executors.
    pub(super) fn dispatch(&mut self, now: Instant) -> bool {
        self.tell_blocked(now, blocked::Event::Tick);
        if self.delivery.holds(now) || self.reconfigure.holds() || self.blocked.holds() {
            return false;
        }
        let mut busy = false;
        for index in 0..self.flow.tasks.len() {
            let task = &self.flow.tasks[index];
            let may_read = !self.intake.pauses() && !task.state.waits(now) && task.is_restored();
            if self.flow.tasks[index].reader.paused && may_read {
                self.flow.tasks[index].reader.paused = false;
                self.io.consumer.resume(&self.flow.tasks[index].partition);
            }
            for strand in 0..self.flow.tasks[index].lanes.len() {
                let strand = u16::try_from(strand).unwrap_or(u16::MAX);
                while self.hand_out(now, index, strand) {
                    busy = true;
                }
            }
        }
        busy
    }

    /// Hands the next waiting records of a strand to an executor. `false` if there are none, or they may not run yet.
    fn hand_out(&mut self, now: Instant, index: usize, strand: u16) -> bool {
        if self.flow.tasks[index].lanes.is_busy(strand) || !self.flow.tasks[index].is_restored() {
            return false;
        }
        if self.flow.tasks[index].lanes.front(strand).is_none() {
            self.seal(now, index, strand);
        }
        let task = &self.flow.tasks[index];
        let Some(waiting) = task.lanes.front(strand) else { return false };
        if !task.state.may_dispatch(now, strand, waiting.first) || !self.may_send(now, index, waiting) {
            return false;
        }
        let executor = if task.lanes.is_one() { task.executor } else { self.io.executors.quietest() };
        let task = &mut self.flow.tasks[index];
        let Some(QueuedRun { first, batch, range }) = task.lanes.take(strand) else { return false };
        let run = task.state.run(strand);
        let cancel = Arc::clone(&task.lanes.cancel);
        let request =
            executor::RunRequest { strand, run, first, batch: Arc::clone(&batch), range: range.clone(), cancel };
        self.tell(now, index, partition::Event::Dispatched { strand, seqs: batch.seqs(first, range) });
        // What the executor returns is the only one then, and can be recycled.
        drop(batch);
        let is_alive = self.io.executors.dispatch(executor, request);
        if !is_alive {
            self.close(now, End::Bug(format!("executor {executor} ended unexpectedly; see the panic in the log")));
        }
        is_alive
    }

    /// Whether refused batches allow handing out these records of a task.
    fn may_send(&self, now: Instant, index: usize, waiting: &QueuedRun) -> bool {
        let task = &self.flow.tasks[index];
        let offset = waiting.batch.record(waiting.range.start).offset;
        let someone_waits = || self.flow.tasks.iter().any(|task| task.state.retrying(now) > 0);
        self.delivery.takes(&task.partition, offset, self.intake.is_at_bound(), someone_waits)
    }

    /// An executor returned records.
    pub(super) fn on_ran(&mut self, now: Instant, ran: Box<RunResult>) {
        let index = self.flow.task_of(ran.first);
        let windows = index.and_then(|index| self.flow.tasks[index].windows.as_mut());
        match windows.filter(|windows| windows.holds()) {
            Some(windows) => windows.hold(ran),
            None => self.take_run(now, ran),
        }
    }

    /// Takes records that an executor returned.
    pub(super) fn take_run(&mut self, now: Instant, mut ran: Box<RunResult>) {
        if ran.last {
            self.io.executors.returned(ran.executor);
        }
        let Some(index) = self.flow.task_of(ran.first) else {
            // The partition was revoked, lost or rewound meanwhile.
            self.trace_run(&ran, None);
            self.flow.recycle(ran.batch);
            return;
        };
        let task = &mut self.flow.tasks[index];
        task.lanes.bytes = task.lanes.bytes.saturating_sub(lanes::bytes_of(&ran.batch, &ran.range));
        if ran.last {
            task.lanes.ended(ran.strand);
        }
        if task.state.takes(ran.strand, ran.run, ran.first) {
            chain::tell(&ran.counted, &self.monitor.metrics);
            if let Some(windows) = &mut task.windows {
                let executor = ran.executor;
                match windows.fold(ran, &self.settings.policy, clock::unix_ms()) {
                    Ok(Folding::Folded(folded, not_folded)) => {
                        self.monitor.count_not_folded(windows.step(), not_folded);
                        ran = folded;
                    }
                    Ok(Folding::Ask(order)) => return self.order(now, executor, Order::Add(order)),
                    Err(why) => return self.close_at(now, index, why),
                }
            }
        }
        self.on_folded(now, index, ran);
    }

    /// The records that an executor returned are in the tables, if there are any.
    pub(super) fn on_folded(&mut self, now: Instant, index: usize, mut ran: Box<RunResult>) {
        let task = &mut self.flow.tasks[index];
        let is_taken = ran.effects.trace.is_some() && task.state.takes(ran.strand, ran.run, ran.first);
        let event = partition::Event::Ran {
            strand: ran.strand,
            run: ran.run,
            seqs: ran.seqs(),
            outputs: &ran.outputs,
            failed: &ran.failed,
            failure: ran.failure.as_ref(),
        };
        let actions: Vec<Action> = task.state.handle(now, event).collect();
        self.trace_run(&ran, is_taken.then_some(&actions));
        let first = ran.first;
        let (dead_letters, unrecoverable) = self.give_up_among(now, index, &actions, &mut ran);
        // Nothing is sent at or above the first failed record whose dead letter doesn't fit its topic.
        let limit = unrecoverable.as_ref().map(|unrecoverable| unrecoverable.seq);
        let mut dead_letters = Some(dead_letters);
        let mut ran = Some(*ran);
        for action in actions {
            // Sending may rewind all tasks. The remaining actions are then about records that will be read again.
            if self.flow.task_of(first) != Some(index) {
                // Settled records stay settled.
                if matches!(action, Action::Store { .. }) {
                    self.act(now, index, action);
                }
                continue;
            }
            match action {
                Action::DeadLetter { .. } | Action::Skip { .. } => {}
                Action::Send { upto } => {
                    let upto = limit.map_or(upto, |limit| limit.min(upto));
                    self.begin_sending(now, upto, dead_letters.take().unwrap_or_default(), &mut ran);
                }
                Action::RunAgain { from, attempt, at } => {
                    self.monitor.metrics.retries.with_label_values(&["step"]).inc();
                    self.requeue(index, from, Some(attempt), ran.as_ref());
                    self.wait_for_retry(now, index, at);
                }
                Action::Requeue { from } => self.requeue(index, from, None, ran.as_ref()),
                other @ (Action::Store { .. }
                | Action::Stop { .. }
                | Action::Hold { .. }
                | Action::BreakerTripped { .. }
                | Action::DropQueue { .. }
                | Action::Rewind
                | Action::Seek { .. }
                | Action::Released { .. }) => self.act(now, index, other),
            }
        }
        let is_same = self.flow.task_of(first) == Some(index);
        if let Some(dead_letters) = dead_letters.filter(|dead_letters| is_same && !dead_letters.is_empty()) {
            self.begin_sending(now, first, dead_letters, &mut ran);
        }
        if let Some(unrecoverable) = unrecoverable {
            self.on_unrecoverable(now, &unrecoverable);
        }
        if let Some(ran) = ran {
            self.flow.recycle(ran.batch);
        }
    }

    /// Writes the dead letters of the failed records of `ran` and drops the outputs of failed records. Stops at the first record
    /// whose dead letter doesn't fit its topic and returns it: the pipeline stops there, so later records are left as they are.
    fn give_up_among(
        &mut self,
        now: Instant,
        index: usize,
        actions: &[Action],
        ran: &mut RunResult,
    ) -> (Vec<PendingDeadLetter>, Option<Box<Unrecoverable>>) {
        let mut dead_letters = Vec::new();
        for action in actions {
            let (Action::DeadLetter { seq, .. } | Action::Skip { seq, .. }) = action else { continue };
            let Some(record) = ran.seqs().place_of(*seq) else { continue };
            let place = ran.range.start + record;
            ran.effects.give_up(record);
            if let Action::DeadLetter { seq, tries, failure } = action {
                match self.write_dead_letter(now, index, (&ran.batch, place), (*seq, *tries), failure.clone()) {
                    Ok(dead_letter) => dead_letters.push(dead_letter),
                    Err(unrecoverable) => return (dead_letters, Some(unrecoverable)),
                }
            } else if let Action::Skip { tries, failure, .. } = action {
                let offset = ran.batch.record(place).offset;
                self.monitor.log_failure(now, &self.flow.tasks[index].partition, offset, *tries, failure, "skipped");
            }
        }
        (dead_letters, None)
    }

    /// Puts records of `ran` back into their task's queue.
    fn requeue(&mut self, index: usize, from: Seq, attempt: Option<u32>, ran: Option<&RunResult>) {
        let Some(ran) = ran else { return };
        let seqs = ran.seqs();
        let done = seqs.below(from);
        let range = ran.range.start + done..ran.range.end;
        if range.is_empty() {
            return;
        }
        let first = seqs.at(done);
        let mut batch = Arc::clone(&ran.batch);
        if let Some(attempt) = attempt {
            Arc::make_mut(&mut batch).set_attempt(range.start, attempt);
        }
        self.flow.tasks[index].requeue(ran.strand, QueuedRun { first, batch, range });
    }

    /// A record waits for a retry until `at`. For a long wait the partition's fetching is paused, if nothing else of it can run.
    fn wait_for_retry(&mut self, now: Instant, index: usize, at: Instant) {
        let task = &mut self.flow.tasks[index];
        if task.lanes.is_one()
            && !task.reader.paused
            && at.saturating_duration_since(now) > partition::WAIT_WITHOUT_PAUSE
        {
            task.reader.paused = true;
            self.io.consumer.pause(&task.partition);
        }
    }
}
