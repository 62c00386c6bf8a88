//! Hands outputs to the producer.
//!
//! A full producer is not an error: the run waits in the backlog, in order, and nothing more is read until the backlog is empty.

use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::dead_letters::PendingDeadLetter;
use super::delivery::Consequence;
use super::denied::Denied;
use super::denied::DeniedCopy;
use super::exactly_once::Entry;
use super::executor::RunResult;
use super::outgoing::Check;
use super::outgoing::Outgoing;
use super::outgoing::Rules;
use super::outgoing::Unsendable;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure;
use crate::failure::Failure;
use crate::kafka::producer::Sample;
use crate::kafka::producer::SendError;
use crate::kafka::producer::Tag;
use crate::kafka::producer::TagKind;
use crate::kafka::settings::Partition;
use crate::partition;
use crate::partition::Action;
use crate::record::Seq;
use crate::sink::size;

/// What became of a run.
enum Sending {
    /// Nothing of it is left to send.
    Done,
    /// The rest may not be sent yet; other runs may.
    Later,
    /// Nothing can be sent now.
    Stuck,
}

/// The result of sending a run's outputs.
enum Sent {
    All,
    /// The producer has no room.
    Full,
    /// The producer refused an output.
    Failed(Box<Unsent>),
}

/// An output that the producer refused.
struct Unsent {
    /// The record, counted from the start of the run.
    root: usize,
    output: usize,
    failure: Failure,
    /// A copy of the output, if an operator must act before its topic takes anything.
    sample: Option<Sample>,
    /// The output's size.
    bytes: usize,
}

impl Shell {
    /// Hands the outputs of `ran`'s records below `upto` to the producer, and then the dead letters of the failed ones among
    /// them.
    pub(super) fn begin_sending(
        &mut self,
        now: Instant,
        upto: Seq,
        dead_letters: Vec<PendingDeadLetter>,
        ran: &mut Option<RunResult>,
    ) {
        let Some(whole) = ran else { return };
        let records = whole.seqs().below(upto);
        let mut outgoing = Outgoing::new(whole, records, dead_letters);
        // Such as records that were filtered or folded: in the backlog they would keep their batch while a transaction is committed.
        if outgoing.is_empty(&self.settings.routes) {
            return;
        }
        if self.flow.backlog.is_empty() {
            match self.send(now, &mut outgoing) {
                Sending::Done => return,
                Sending::Later => {}
                Sending::Stuck => self.flow.is_stuck = true,
            }
        }
        self.flow.backlog.push_back(outgoing);
    }

    /// Continues with the runs that the producer had no room for. `true` if one was finished.
    pub(super) fn send_backlog(&mut self, now: Instant) -> bool {
        let mut busy = false;
        self.flow.is_stuck = false;
        let mut waiting = std::mem::take(&mut self.flow.backlog);
        while let Some(mut outgoing) = waiting.pop_front() {
            match self.send(now, &mut outgoing) {
                Sending::Done => {
                    busy = true;
                    self.flow.recycle(outgoing.batch);
                }
                // The runs after it may have records whose turn it is. Those of the same strand have not.
                Sending::Later => self.flow.backlog.push_back(outgoing),
                Sending::Stuck => {
                    self.flow.is_stuck = true;
                    self.flow.backlog.push_back(outgoing);
                    self.flow.backlog.append(&mut waiting);
                }
            }
        }
        busy
    }

    /// Sends a run's outputs and dead letters.
    fn send(&mut self, now: Instant, outgoing: &mut Outgoing) -> Sending {
        let Some(index) = self.flow.task_in(outgoing.assignment()) else { return Sending::Done };
        // A record of this task may have stopped the pipeline while this run waited.
        if let Some(stop) = self.flow.tasks[index].state.stops_at() {
            outgoing.end_before(stop);
        }
        match self.enter_transaction(now, index, outgoing) {
            Entry::Open => {}
            Entry::Wait => return Sending::Later,
            Entry::Failed => return Sending::Done,
        }
        match self.check_names(now, index, outgoing) {
            Some(true) => {}
            Some(false) => return Sending::Done,
            None => return Sending::Stuck,
        }
        let rules = Rules {
            limits: self.delivery.limits(),
            told: self.delivery.told(),
            outputs: &self.settings.kafka.outputs,
            routes: &self.settings.routes,
            steps: &self.settings.steps,
            // All are looked at where one may be left out; each gets its own verdict.
            continues: self.settings.policy.rule_of(failure::Kind::TooLarge).then.continues()
                || self.flow.tasks[index].state.leaves_out(),
        };
        match outgoing.check(rules) {
            Check::Wait => {
                self.ask_limits_now_and_then(now, true);
                return Sending::Stuck;
            }
            Check::Ask => {
                self.ask_limits();
                return Sending::Stuck;
            }
            Check::Send(too_large) => {
                for Unsendable { root, output, failure } in too_large {
                    if outgoing.holds(root) && !self.on_unsendable(now, index, outgoing, root, output, &failure) {
                        return Sending::Done;
                    }
                }
            }
        }
        loop {
            match self.send_outputs(now, index, outgoing) {
                Sent::All => break,
                Sent::Full => return Sending::Stuck,
                Sent::Failed(unsent) => {
                    if !self.on_unsent(now, index, outgoing, *unsent) {
                        return Sending::Done;
                    }
                }
            }
        }
        for dead_letter in outgoing.take_dead_letters() {
            // From now on the dead letter belongs to the transaction, if there is one.
            if self.delivery.transaction().is_some()
                && let Some(offset) = self.flow.tasks[index].state.offset_of(dead_letter.seq)
            {
                self.flow.tasks[index].hand_over(offset);
            }
            self.flow.dead_letters.push(dead_letter);
        }
        let rest = if outgoing.is_held_back() { Sending::Later } else { Sending::Done };
        self.send_dead_letters(now);
        rest
    }

    /// Hands outputs to the producer until all are sent, or one is refused or has no room.
    fn send_outputs(&mut self, now: Instant, index: usize, outgoing: &mut Outgoing) -> Sent {
        let input_partition = self.flow.tasks[index].partition.partition;
        if outgoing.names_topics()
            && let Err(reason) = self.show_named()
        {
            let failure = Failure::new(failure::Kind::Broker, None, reason);
            let Some(output) = outgoing.peek(&self.settings.routes) else { return Sent::All };
            let (root, output, bytes) = (output.root, output.output, 0);
            return Sent::Failed(Box::new(Unsent { root, output, failure, sample: None, bytes }));
        }
        let Some(producer) = &self.io.producer else { return Sent::All };
        let batch = Arc::clone(&outgoing.batch);
        let seqs = outgoing.seqs_in(&batch);
        let mut last = None;
        let mut spans = Vec::new();
        let (mut messages, before) = (0, self.flow.bytes_out);
        let sent = loop {
            let Some(output) = outgoing.peek(&self.settings.routes) else { break Sent::All };
            let chosen =
                output.record.partition.unwrap_or_else(|| match self.settings.kafka.outputs[output.output].partition {
                    Partition::ByKey => -1,
                    Partition::SameAsInput => input_partition,
                });
            let place = self.place_of(output.output, output.record.topic);
            let tag = Tag { kind: TagKind::Output(place), seq: seqs.at(output.root) };
            match producer.send(place, &output.record, chosen, tag) {
                Ok(()) => {
                    if let (Some(trace), Some(tracer)) = (output.trace, &self.monitor.tracer) {
                        spans.extend(
                            self.sent_output(output.output, output.record.topic.map(AsRef::as_ref), chosen)
                                .and_then(|sent| trace.span(tracer, sent)),
                        );
                    }
                    let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                    self.flow.bytes_out += size(output.record.key) + size(output.record.value);
                    messages += 1;
                    last = Some(output.root);
                    let layer = output.layer;
                    outgoing.advance(layer);
                    failpoint::pass(Point::AfterEnqueue);
                }
                Err(SendError::Full) => break Sent::Full,
                Err(SendError::Failed(failure)) => {
                    let step = self.settings.steps.get(output.step).cloned();
                    let digest = Some(Arc::clone(output.digest));
                    let failure = self.judged(place, Failure { step, digest, ..failure });
                    let is_denied = Consequence::from(failure.kind.class()) == Consequence::Deny;
                    let sample = is_denied.then(|| Sample::new(place, chosen, &output.record));
                    let bytes = size::batch_bytes(&output.record);
                    break Sent::Failed(Box::new(Unsent { root: output.root, output: place, failure, sample, bytes }));
                }
            }
        };
        if let Some(tracer) = self.monitor.tracer.as_ref().filter(|_| !spans.is_empty()) {
            tracer.put(spans);
        }
        if let Some(root) = last {
            self.flow.tasks[index].hand_over(outgoing.offset(root));
        }
        self.enter(now, messages, self.flow.bytes_out - before);
        sent
    }

    /// The producer refused an output. `false` if the run is read again, and nothing more of it is sent.
    fn on_unsent(&mut self, now: Instant, index: usize, outgoing: &mut Outgoing, unsent: Unsent) -> bool {
        let Unsent { root, output, failure, sample, bytes } = unsent;
        if failure.kind == failure::Kind::TooLarge && self.make_room(now, bytes) {
            return false;
        }
        let Some(sample) = sample else { return self.on_unsendable(now, index, outgoing, root, output, &failure) };
        self.count_produce_error(output, &failure);
        let why = self.denied(output, &failure);
        let partition = self.flow.tasks[index].partition.clone();
        let copy = Some(DeniedCopy { sample, partition, offset: outgoing.offset(root) });
        self.rewind_all(now);
        self.halt(now, why, Some(Denied { output, copy }));
        false
    }

    /// An output of a record can't be sent. `false` if the run is read again, and nothing more of it is sent.
    pub(super) fn on_unsendable(
        &mut self,
        now: Instant,
        index: usize,
        outgoing: &mut Outgoing,
        root: usize,
        output: usize,
        failure: &Failure,
    ) -> bool {
        let seq = outgoing.seq(root);
        self.count_produce_error(output, failure);
        if let (Some(tracer), Some(sent)) = (&self.monitor.tracer, self.sent_output(output, None, -1)) {
            let span = outgoing.trace().and_then(|trace| trace.refused(tracer, root, sent, failure));
            tracer.put(span.into_iter().collect());
        }
        if Consequence::from(failure.kind.class()) != Consequence::Refuse {
            let task = &self.flow.tasks[index];
            let offset = task.state.offset_of(seq).unwrap_or_else(|| task.state.low().0);
            let partition = task.partition.clone();
            let reason = format!("an output of {partition} offset {offset}: {failure}");
            self.recover_from(now, (&partition, offset), &reason);
            return false;
        }
        if !self.flow.tasks[index].state.continues_after(seq, failure) {
            outgoing.end_before(seq);
            self.tell(now, index, partition::Event::Unsendable { seq, unsent: 0, failure });
            return true;
        }
        let unsent = outgoing.give_up(root, &self.settings.routes);
        let event = partition::Event::Unsendable { seq, unsent, failure };
        for action in self.flow.tasks[index].state.handle(now, event) {
            match action {
                Action::DeadLetter { seq, tries, failure } => {
                    let record = (&*outgoing.batch, outgoing.place(root));
                    match self.write_dead_letter(now, index, record, (seq, tries), failure) {
                        Ok(dead_letter) => outgoing.bury(dead_letter),
                        Err(unrecoverable) => {
                            outgoing.end_before(seq);
                            self.on_unrecoverable(now, &unrecoverable);
                        }
                    }
                }
                Action::Skip { tries, failure, .. } => {
                    let (partition, offset) = (&self.flow.tasks[index].partition, outgoing.offset(root));
                    self.monitor.log_failure(now, partition, offset, tries, &failure, "skipped");
                }
                other @ (Action::Send { .. }
                | Action::RunAgain { .. }
                | Action::Requeue { .. }
                | Action::Store { .. }
                | Action::Stop { .. }
                | Action::Hold { .. }
                | Action::BreakerTripped { .. }
                | Action::DropQueue { .. }
                | Action::Rewind
                | Action::Seek { .. }
                | Action::Released { .. }) => self.act(now, index, other),
            }
        }
        true
    }

    pub(super) fn count_produce_error(&self, output: usize, failure: &Failure) {
        let name = self.written(output).map_or("", |(output, _)| &*output.name);
        self.monitor.metrics.produce_errors.with_label_values(&[name, &failure.code]).inc();
    }
}
