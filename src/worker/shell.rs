//! The worker's loop: events in, actions out. The values it holds decide about records, partitions, the group and the shutdown.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Event;
use super::Settings;
use super::blocked;
use super::blocked::Blocked;
use super::clock;
use super::delivery::Delivery;
use super::end::End;
use super::end::RecordPlace;
use super::end::StoppedAt;
use super::executor::Returned;
use super::first_instances::FirstInstances;
use super::flow::Flow;
use super::intake::Intake;
use super::io;
use super::io::First;
use super::io::Io;
use super::mailbox::Mailbox;
use super::monitor::Monitor;
use super::positions::Positions;
use super::reconfigure::Reconfigure;
use super::session;
use super::session::Session;
use super::shutdown::Ended;
use super::status::Status;
use super::task::PartitionTask;
use super::timers::Timers;
use super::transaction::Transaction;
use crate::kafka::settings::Guarantee;
use crate::metrics::Metrics;
use crate::partition;
use crate::partition::Action;
use crate::record::TopicPartition;
use crate::trace::Tracer;

/// The worker's state: the values that decide, and the parts that carry out their actions. Methods are in the file named after
/// their part.
pub(super) struct Shell {
    pub(super) settings: Settings,
    pub(super) monitor: Monitor,
    pub(super) io: Io,
    pub(super) flow: Flow,
    pub(super) session: Session,
    /// The session's actions that are not carried out yet.
    pub(super) todo: VecDeque<session::Action>,
    pub(super) intake: Intake,
    pub(super) delivery: Delivery,
    /// The problem that needs an operator, if there is one.
    pub(super) blocked: Blocked,
    pub(super) positions: Positions,
    pub(super) reconfigure: Reconfigure,
    pub(super) timers: Timers,
}

/// The longest wait for the inbox with something in flight.
const WAIT: Duration = Duration::from_millis(1);
/// The same when everything in flight is waiting for a retry.
const WAIT_FOR_RETRY: Duration = Duration::from_millis(10);
/// The longest wait in the consumer's poll with nothing in flight.
const IDLE_POLL_MS: i32 = 100;
/// The same with nothing to do at all: what comes from the client or from outside ends the wait.
const REST_MS: i32 = 1000;

impl Shell {
    /// A worker with its clients and executors that is not running yet. The caller must set `io.events` to the inbox's receiver.
    pub(super) fn new(
        settings: Settings,
        number: usize,
        instances: FirstInstances,
        metrics: Arc<Metrics>,
        status: Arc<Status>,
        mailbox: Mailbox,
        first: First,
    ) -> Result<Shell, String> {
        let io = Io::start(&settings, number, instances, &metrics, mailbox, &first)?;
        let now = clock::now();
        let session = session::Settings {
            drain_timeout: settings.timeouts.drain,
            shutdown_timeout: settings.timeouts.shutdown,
            on_recreate: settings.kafka.input.on_recreate,
            commit_every: settings.kafka.commit_every,
        };
        let tracer = Tracer::of_pipeline(&settings.kafka.input.group);
        Ok(Shell {
            delivery: Delivery::new(now, io::unlimited(&settings), settings.kafka.delivery != Guarantee::AtLeastOnce)
                .with_named(settings.kafka.named_topics_max()),
            settings,
            io,
            flow: Flow::new(first.assignments, &metrics.memory),
            monitor: Monitor::new(metrics, status, tracer),
            session: Session::new(now, session),
            todo: VecDeque::new(),
            intake: Intake::new(),
            blocked: Blocked::default(),
            positions: Positions::default(),
            reconfigure: Reconfigure::default(),
            timers: Timers::new(now),
        })
    }

    pub(super) fn run(&mut self) -> Ended {
        self.io.lookup.ask_topics();
        loop {
            let now = clock::now();
            // Rebalances first: while one waits for its answer, the client would take an assign or unassign of other partitions
            // for that answer.
            let mut busy = self.read_events(now);
            busy |= self.drain_inbox(now);
            self.end_early(now);
            self.carry_out(now);
            self.take_commit(now);
            self.go_on_committing(now);
            self.go_on_with_cycles(now);
            busy |= self.send_backlog(now);
            busy |= self.go_on_with_windows(now);
            busy |= self.send_dead_letters(now);
            self.carry_out(now);
            busy |= self.read_records(now);
            // A rebalance may have been queued among the records.
            busy |= self.read_events(now);
            busy |= self.dispatch(now);
            self.tick(now);
            self.renew_producer(now);
            self.go_on_changing(now);
            self.carry_out(now);
            if self.session.has_ended() {
                let ended = self.outcome(now);
                self.count_finished(now);
                self.monitor.count_all_out(now);
                // It is draining until its clients are destroyed. Then its state and the reason for it are published together.
                self.monitor.status.set_committed(Some(ended.committed.clone()));
                return ended;
            }
            if !busy {
                self.wait(now);
            }
        }
    }

    fn drain_inbox(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Ok(event) = self.io.events.try_recv() {
            busy = true;
            self.on_event(now, event);
        }
        busy
    }

    fn wait(&mut self, now: Instant) {
        let in_flight: usize = self.flow.tasks.iter().map(PartitionTask::in_flight).sum();
        let at_work = self.flow.tasks.iter().any(|task| task.lanes.jobs > 0)
            || !self.flow.backlog.is_empty()
            || self.flow.bytes_out > 0;
        // The client's wait would bring a record.
        let may_read = !self.intake.rate.is_exhausted();
        // A worker that joins its group isn't in a hurry either: there may be many of them, and brokers that don't answer.
        let has_time = self.session.is_member() || self.session.is_joining();
        if in_flight == 0 && !at_work && !self.session.is_ending() && has_time && may_read {
            // A wake-up for it may have ended a poll before.
            if let Ok(event) = self.io.events.try_recv() {
                return self.on_event(now, event);
            }
            let most = if self.rests() { REST_MS } else { IDLE_POLL_MS };
            if let Some(woken) = self.io.consumer.wait(self.idle_ms(now, most)) {
                self.on_woken(now, woken);
            }
            return;
        }
        let waits = !at_work && (!may_read && in_flight == 0)
            || !at_work && self.flow.tasks.iter().any(|task| task.state.retrying(now) > 0);
        if let Ok(event) = self.io.events.recv_timeout(if waits { WAIT_FOR_RETRY } else { WAIT }) {
            self.on_event(clock::now(), event);
        }
    }

    /// Whether there is nothing to commit or to wait for, with nothing in flight.
    fn rests(&self) -> bool {
        let rests = |task: &PartitionTask| {
            let is_read = !(task.position.is_gone() || task.position.is_unconfirmed());
            is_read && task.windows.is_none() && task.state.committed() == Some(task.state.low())
        };
        self.session.runs_all()
            && self.timers.committing.is_none()
            && self.delivery.transaction().is_none_or(|transaction| transaction == Transaction::Idle)
            && !self.blocked.is_blocked()
            && !self.reconfigure.holds()
            && self.positions.ranges.is_empty()
            && self.flow.tasks.iter().all(rests)
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Returned(Returned::Ran(ran)) => self.on_ran(now, ran),
            Event::Returned(Returned::Reduced(executor, reduced)) => self.on_reduced(now, executor, reduced),
            Event::Report { producer, report } if producer == self.io.producer_number => self.on_report(now, report),
            Event::Report { .. } => {}
            Event::Answer { lookup, question, answer } if lookup == self.io.lookup_number => {
                self.on_answer(now, question, answer);
            }
            Event::Answer { .. } => {}
            Event::Swap(replacements) => {
                // The old version's code is freed with its last instance.
                if let Some(first) = replacements.iter().flatten().find(|replacement| replacement.number == 0) {
                    self.io.first_step = Some(first.step.clone());
                }
                self.io.executors.swap(replacements);
            }
            Event::Change { change, reply } => self.begin_change(now, *change, reply),
            Event::Restored(restored) => self.on_restored(now, restored),
            Event::Asked(asked) => self.on_asked(now, *asked),
            Event::LeaveOut(place) => self.leave_out(now, place),
            Event::Pause(is_paused) => self.pause(is_paused),
            Event::GoOn => self.tell_blocked(now, blocked::Event::ToldToGoOn),
            Event::Drain { for_good } => {
                if for_good {
                    self.io.consumer.leave_for_good();
                }
                // Shutting down cancels a pending restart.
                self.reconfigure.next = None;
                self.close(now, End::Drained);
            }
        }
    }

    /// Carries out an action of a partition's state, except those about the records that an executor returned.
    pub(super) fn act(&mut self, now: Instant, index: usize, action: Action) {
        let task = &mut self.flow.tasks[index];
        match action {
            Action::Store { offset, leader_epoch, counts } => task.store(offset, leader_epoch, counts),
            Action::DropQueue { from } => task.drop_queue(from),
            Action::Released { settled } => {
                if !settled {
                    task.warn_of_repeats();
                }
                let released = session::Event::Released(task.partition.clone());
                self.tell_session(now, released);
            }
            Action::Stop { offset, tries, failure } => {
                let stopped = StoppedAt::record(task.partition.clone(), offset, tries, &failure);
                self.stop_at(now, stopped);
            }
            Action::Hold { offset, tries, failure } => {
                let held = StoppedAt::record(task.partition.clone(), offset, tries, &failure);
                self.monitor.metrics.records_processed.with_label_values(&["failed"]).inc();
                let why = held.held(&self.settings.dead_letters.pipeline);
                if !self.blocked.is_held() {
                    self.monitor.status.set_stopped_at(Some(held.record_at()));
                    let RecordPlace { step, partition: TopicPartition { topic, partition }, .. } = held.at();
                    tracing::error!(step = step.as_deref(), topic = &**topic, partition, offset, "held: {why}");
                }
                self.tell_blocked(now, blocked::Event::Held(why));
            }
            Action::BreakerTripped { offset, trip, failure } => {
                let stopped = StoppedAt::tripped(task.partition.clone(), offset, trip, &failure);
                self.stop_at(now, stopped);
            }
            Action::Rewind => {
                // Count settled records before their numbers change.
                if self.delivery.transaction().is_some() || task.windows.is_some() {
                    return self.rewind_all(now);
                }
                self.count_finished(now);
                self.rewind(now, index);
            }
            // Where the partition is read again, the group has to tell first.
            Action::Seek { .. } if task.position.is_unconfirmed() => {}
            Action::Seek { offset } => {
                task.reader.sought = Some(offset);
                let partition = task.partition.clone();
                if let Err(reason) = self.io.consumer.seek(&partition, offset) {
                    self.close(now, End::Bug(format!("failed to read {partition} again from {offset}: {reason}")));
                }
            }
            Action::Send { .. }
            | Action::RunAgain { .. }
            | Action::Requeue { .. }
            | Action::DeadLetter { .. }
            | Action::Skip { .. } => {
                debug_assert!(false, "belongs to an executor's records");
            }
        }
    }

    /// Gives an event to a task's state and carries out its actions.
    pub(super) fn tell(&mut self, now: Instant, index: usize, event: partition::Event<'_>) {
        let actions = self.flow.tasks[index].state.handle(now, event);
        for action in actions {
            self.act(now, index, action);
        }
    }

    pub(super) fn tell_all(&mut self, now: Instant, event: &partition::Event<'_>) {
        for index in 0..self.flow.tasks.len() {
            self.tell(now, index, event.clone());
        }
    }

    /// Counts the records that settled, and updates what is in flight.
    pub(super) fn count_finished(&mut self, now: Instant) {
        let in_flight = self.flow.amount();
        self.monitor.count_finished(now, in_flight, &mut self.flow.tasks);
    }
}
