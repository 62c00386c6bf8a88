//! The shell: one thread owns the consumer, the partitions and the producer, and turns what happens into calls.
//!
//! ```text
//!  consumer --poll--> lane.open --seal--> lane.queue --dispatch--> executors
//!     ^                                                               | Ran
//!     | store, seek, pause                                            v
//!     +------- actions <------- PartitionState <------- inbox <-------+
//!                  | Send                                 ^
//!                  v                                      | Report
//!              producer ----> Kafka ---> librdkafka's thread (delivered), delivery thread (else)
//! ```
//!
//! The worker is the only caller of the consumer and the only one that produces. It never blocks: with work in flight it waits on
//! its inbox for a millisecond at most, and with nothing in flight in the consumer's poll. It decides nothing about a record: that is
//! `partition`'s. The inbox is bounded by what is in flight: every message in it stands for records or outputs that are
//! counted there.

mod ages;
mod apart;
mod blocked;
mod chain;
mod changing;
pub mod clock;
mod closing;
mod cycle;
mod dry;
mod effects;
mod end;
mod executor;
mod group;
mod halt;
mod lane;
mod letters;
mod limits;
mod meter;
mod places;
mod reading;
mod sending;
mod session;
mod status;
mod timers;
mod undelivered;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

pub use changing::Change;
pub use changing::Changer;
pub use changing::Reply;
pub use dry::Dry;
pub use dry::Stage;
pub use end::End;
use end::StoppedAt;
pub use status::Status;

use crate::batch::Batch;
use crate::kafka;
use crate::kafka::Consumer;
use crate::kafka::Lookup;
use crate::kafka::Producer;
use crate::kafka::limits::Batching;
use crate::kafka::limits::TopicLimits;
use crate::kafka::lookup::Answer;
use crate::kafka::lookup::RangeOf;
use crate::kafka::producer::Report;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::partition;
use crate::partition::Action;
use crate::partition::Policy;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::AssignmentIds;
use crate::record::Seq;
use crate::sink::DeadLetters;
use crate::sink::Routes;
use apart::Apart;
use blocked::Blocked;
use chain::Chain;
use changing::Changing;
use closing::Closing;
use closing::Ended;
use executor::Executors;
use executor::Ran;
use halt::Denied;
use lane::Lane;
use lane::Waiting;
use letters::Hopeless;
use letters::Letter;
use letters::Letters;
use limits::Asking;
use meter::Meter;
use places::Held;
use reading::Reading;
use sending::Sending;
use session::Session;
use timers::Timers;

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The connection, the input and the outputs.
    pub kafka: kafka::Settings,
    /// What becomes of records that fail.
    pub policy: Policy,
    /// The steps' names.
    pub steps: Vec<Arc<str>>,
    /// Where the steps' ports lead.
    pub routes: Routes,
    /// What dead letters say.
    pub dead_letters: DeadLetters,
    /// Records in flight at most.
    pub max_in_flight_records: usize,
    /// Bytes in flight at most: inputs, and outputs that are not acknowledged.
    pub max_in_flight_bytes: usize,
    /// The longest time that a revoke waits for what is in flight.
    pub drain_timeout: Duration,
    /// The longest time that an end waits for what is in flight.
    pub shutdown_timeout: Duration,
}

/// Everything that can happen to a worker besides what its consumer's poll brings.
enum Event {
    /// Records come back from an executor.
    Ran(Ran),
    /// The producer with this number has something to say.
    Report { producer: u32, report: Report },
    /// The lookup with this number answers the question with this number.
    Answer { lookup: u32, question: u64, answer: Answer },
    /// Steps are swapped, with what each executor gets.
    Swap(Vec<Vec<Replacement>>),
    /// Other settings are to be taken over; what came of it is sent to `reply`.
    Change { change: Box<Change>, reply: Reply },
    /// The pipeline shall end.
    Drain,
}

/// Another version of a step, ready for one executor.
#[derive(Debug)]
pub struct Replacement {
    /// The step's number.
    pub number: usize,
    /// What it will be.
    pub step: Step,
    /// The executor's instance of it.
    pub instance: Instance,
}

/// Puts other versions of steps in place: for each executor those that it gets, between two of its calls.
pub type Swapper = Arc<dyn Fn(Vec<Vec<Replacement>>) + Send + Sync>;

/// A worker that runs.
pub struct Worker {
    inbox: mpsc::Sender<Event>,
    status: Arc<Status>,
    thread: Option<JoinHandle<End>>,
}

impl Worker {
    /// Starts the worker number `number`, with one executor for each set of instances. Each set holds one instance of each
    /// step, in order.
    ///
    /// # Errors
    /// What librdkafka says of a setting it refuses, or that a thread can't be started: a fragment.
    pub fn start(
        settings: Settings,
        number: usize,
        instances: Vec<Vec<(Step, Instance)>>,
        metrics: Arc<Metrics>,
    ) -> Result<Worker, String> {
        let (inbox, events) = mpsc::channel();
        let status = Arc::new(Status::default());
        let first = First { assignments: AssignmentIds::default(), producer: 0, lookup: 0, reason: "start" };
        let mut shell = Shell::new(settings, number, instances, metrics, Arc::clone(&status), inbox.clone(), first)?;
        shell.events = events;
        let run = move || {
            let mut shell = shell;
            loop {
                let ended = std::panic::catch_unwind(AssertUnwindSafe(|| shell.run()));
                let Ended { end, deadline, .. } = ended.unwrap_or_else(|_| Ended {
                    end: End::Bug("the worker's thread panicked; the log holds the place".into()),
                    committed: String::new(),
                    deadline: clock::now(),
                });
                let next = shell.take_next(&end);
                closing::let_go(shell, closing::letting_go(clock::now(), deadline));
                match next {
                    Some(next) => shell = *next,
                    None => return end,
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(run)
            .map_err(|error| format!("failed to start the worker's thread: {error}"))?;
        Ok(Worker { inbox, status, thread: Some(thread) })
    }

    /// A function that asks it to finish what is in flight, commit, leave the group and end.
    #[must_use]
    pub fn drainer(&self) -> Arc<dyn Fn() + Send + Sync> {
        let inbox = self.inbox.clone();
        // It has ended already if this fails.
        Arc::new(move || drop(inbox.send(Event::Drain)))
    }

    /// A function that puts other versions of steps in place. Records are run by the old ones or by the new ones, whole batches at a
    /// time, and none waits.
    #[must_use]
    pub fn swapper(&self) -> Swapper {
        let inbox = self.inbox.clone();
        // It has ended already if this fails.
        Arc::new(move |replacements| drop(inbox.send(Event::Swap(replacements))))
    }

    /// A function that has it take over other settings, see [`Change`].
    #[must_use]
    pub fn changer(&self) -> Changer {
        let inbox = self.inbox.clone();
        // If it has ended already, the reply is dropped with the event.
        Arc::new(move |change, reply| drop(inbox.send(Event::Change { change: Box::new(change), reply })))
    }

    /// What it shows of itself.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Waits until it ended. A second call says that it was drained.
    pub fn wait(&mut self) -> End {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| End::Bug("the worker's thread panicked".into())),
            None => End::Drained,
        }
    }
}

/// Where the numbers of a worker's parts begin, so that nothing of what came before is taken for theirs, and why instances were made.
struct First {
    assignments: AssignmentIds,
    producer: u32,
    lookup: u32,
    reason: &'static str,
}

/// The first step; all executors have the same ones.
fn first_step(instances: &[Vec<(Step, Instance)>]) -> Option<Step> {
    instances.iter().flatten().map(|(step, _)| step.clone()).next()
}

/// The steps of each executor, with their meters.
fn chains(
    settings: &Settings,
    instances: Vec<Vec<(Step, Instance)>>,
    metrics: &Arc<Metrics>,
    reason: &'static str,
) -> Vec<Chain> {
    let chain = |steps: Vec<(Step, Instance)>| {
        let links = steps.into_iter().map(|(step, instance)| {
            let mut meter = Meter::new(metrics, &step.settings().name);
            meter.started(reason, instance.memory_bytes());
            (step, instance, meter)
        });
        Chain::new(links.collect(), settings.routes.clone(), settings.policy.goes_on())
    };
    instances.into_iter().map(chain).collect()
}

fn start_executors(
    settings: &Settings,
    chains: Vec<Chain>,
    worker: usize,
    inbox: &mpsc::Sender<Event>,
) -> Result<Executors, String> {
    let inbox = inbox.clone();
    // The worker is gone only when the process ends.
    let ran = move |ran| drop(inbox.send(Event::Ran(ran)));
    Executors::start(chains, &settings.routes, worker, &ran)
        .map_err(|error| format!("failed to start an executor: {error}"))
}

fn start_producer(
    settings: &Settings,
    worker: usize,
    number: u32,
    limits: &TopicLimits,
    batching: Batching,
    inbox: &mpsc::Sender<Event>,
) -> Result<Producer, String> {
    let inbox = inbox.clone();
    // The queue may hold the outputs of everything in flight, and those of records that become many.
    let queue_bytes = settings.max_in_flight_bytes.saturating_mul(2);
    Producer::start(&settings.kafka, worker, queue_bytes, limits, batching, move |report| {
        drop(inbox.send(Event::Report { producer: number, report }));
    })
}

/// What is known of the topics that are written before anyone was asked.
fn unlimited(settings: &Settings) -> TopicLimits {
    TopicLimits { bytes: vec![None; settings.kafka.written().count()], ..TopicLimits::default() }
}

/// The worker's own state. Its parts are in the files that act on them.
struct Shell {
    number: usize,
    settings: Settings,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    inbox: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    // Before the consumer: it holds a share of the client.
    lookup: Lookup,
    /// Which of the workers that share an inbox, one after the other, this is: answers for one before it are of no use.
    lookup_number: u32,
    consumer: Consumer,
    executors: Executors,
    /// `None` only while it is made anew.
    producer: Option<Producer>,
    /// How often the producer was made anew: reports of an older one are of no use.
    producer_number: u32,
    /// What the topics that are written take.
    limits: TopicLimits,
    asking: Asking,
    /// The records of refused batches, while they are sent each alone.
    apart: Option<Apart>,
    /// Until when a quiet moment is waited for in which the producer becomes another one.
    renewing: Option<Instant>,
    /// What a person must mend, if anything.
    blocked: Blocked,
    /// The output that was denied.
    denied: Option<Denied>,
    /// After a delivery failure nothing is handed out before this, and how long the wait was.
    hold: Option<(Instant, Duration)>,
    lanes: Vec<Lane>,
    assignments: AssignmentIds,
    /// Empty batches with their memory.
    spare: Vec<Batch>,
    /// Outcomes whose outputs the producer has no room for yet, in order.
    backlog: VecDeque<Sending>,
    /// Dead letters that the producer has no room for yet, in order.
    letters: Letters,
    /// Bytes of outputs that are not acknowledged.
    bytes_out: usize,
    reading: Reading,
    timers: Timers,
    /// The first step, in the version that runs: how many records a call of it gets. Its deadlines are those of all.
    first_step: Option<Step>,
    session: Session,
    /// What the session asked for and was not carried out yet.
    todo: VecDeque<session::Action>,
    has_ended: bool,
    /// Whether the group doesn't take this member.
    refused: bool,
    /// Partitions that are held back.
    held: Held,
    /// What there is of partitions whose positions were gone, until a commit has its answer.
    ranges: Vec<(u64, Vec<RangeOf>)>,
    /// When it was last asked what the topics are that are read.
    watched: Option<Instant>,
    closing: Closing,
    /// Other settings that wait for a quiet moment.
    changing: Option<Changing>,
    /// The worker that begins when this one has left the group, and who waits to hear of it.
    next: Option<(Box<Shell>, Reply)>,
}

/// With something in flight, the longest wait for the inbox.
const WAIT: Duration = Duration::from_millis(1);
/// The same when everything in flight waits for a retry.
const WAIT_FOR_RETRY: Duration = Duration::from_millis(10);
/// With nothing in flight, the longest wait in the consumer's poll.
const IDLE_POLL_MS: i32 = 100;

impl Shell {
    /// A worker with its clients and executors, before it runs. It needs its inbox's other end yet.
    fn new(
        settings: Settings,
        number: usize,
        instances: Vec<Vec<(Step, Instance)>>,
        metrics: Arc<Metrics>,
        status: Arc<Status>,
        inbox: mpsc::Sender<Event>,
        first: First,
    ) -> Result<Shell, String> {
        let first_step = first_step(&instances);
        let chains = chains(&settings, instances, &metrics, first.reason);
        let executors = start_executors(&settings, chains, number, &inbox)?;
        let consumer = Consumer::new(&settings.kafka, number)?;
        let answer = {
            let inbox = inbox.clone();
            let lookup = first.lookup;
            move |question, answer| drop(inbox.send(Event::Answer { lookup, question, answer }))
        };
        let lookup = Lookup::start(&consumer, &settings.kafka, number, answer)
            .map_err(|error| format!("failed to start the lookup thread: {error}"))?;
        // The topics' own limits come with the first answer.
        let limits = unlimited(&settings);
        let producer = start_producer(&settings, number, first.producer, &limits, Batching::Full, &inbox)?;
        let (_, events) = mpsc::channel();
        let session = session::Settings {
            drain_timeout: settings.drain_timeout,
            shutdown_timeout: settings.shutdown_timeout,
            on_recreate: settings.kafka.input.on_recreate,
            commit_every: settings.kafka.commit_every,
        };
        Ok(Shell {
            session: Session::new(clock::now(), session),
            number,
            reading: Reading::new(),
            timers: Timers::new(clock::now(), &metrics),
            first_step,
            settings,
            metrics,
            status,
            inbox,
            events,
            lookup,
            lookup_number: first.lookup,
            consumer,
            executors,
            producer: Some(producer),
            producer_number: first.producer,
            limits,
            asking: Asking::new(clock::now()),
            apart: None,
            renewing: None,
            hold: None,
            blocked: Blocked::default(),
            denied: None,
            lanes: Vec::new(),
            assignments: first.assignments,
            spare: Vec::new(),
            backlog: VecDeque::new(),
            letters: Letters::default(),
            bytes_out: 0,
            todo: VecDeque::new(),
            has_ended: false,
            refused: false,
            held: Held::default(),
            ranges: Vec::new(),
            watched: None,
            closing: Closing::default(),
            changing: None,
            next: None,
        })
    }

    fn run(&mut self) -> Ended {
        self.lookup.ask_topics();
        loop {
            let now = clock::now();
            // Rebalances first: what the client is told about other partitions while one waits would be taken for the answer.
            let mut busy = self.read_events(now);
            busy |= self.drain_inbox(now);
            self.carry_out(now);
            self.take_commit(now);
            busy |= self.send_backlog(now);
            busy |= self.send_letters(now);
            self.carry_out(now);
            busy |= self.read_records(now);
            // A rebalance may have stood among the records.
            busy |= self.read_events(now);
            busy |= self.dispatch(now);
            self.tick(now);
            self.go_on_sending(now);
            self.go_on_changing(now);
            self.carry_out(now);
            if self.has_ended {
                let ended = self.outcome(now);
                self.count_finished(now);
                self.timers.count_all_out(now);
                let state = if matches!(ended.end, End::Drained) { State::Stopped } else { State::Failed };
                self.set_state(state, ended.committed.clone());
                return ended;
            }
            if !busy {
                self.wait(now);
            }
        }
    }

    fn drain_inbox(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Ok(event) = self.events.try_recv() {
            busy = true;
            self.on_event(now, event);
        }
        busy
    }

    fn wait(&mut self, now: Instant) {
        let in_flight: usize = self.lanes.iter().map(Lane::in_flight).sum();
        let at_work = self.lanes.iter().any(|lane| lane.jobs > 0) || !self.backlog.is_empty() || self.bytes_out > 0;
        if in_flight == 0 && !at_work && !self.session.is_ending() && self.session.is_member() {
            if let Some(woken) = self.consumer.wait(IDLE_POLL_MS) {
                self.on_woken(now, woken);
            }
            return;
        }
        let waits = !at_work && self.lanes.iter().any(|lane| lane.state.waits_until(now).is_some());
        if let Ok(event) = self.events.recv_timeout(if waits { WAIT_FOR_RETRY } else { WAIT }) {
            self.on_event(clock::now(), event);
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Ran(ran) => self.on_ran(now, ran),
            Event::Report { producer, report } if producer == self.producer_number => self.on_report(now, report),
            Event::Report { .. } => {}
            Event::Answer { lookup, question, answer } if lookup == self.lookup_number => {
                self.on_answer(now, question, answer);
            }
            Event::Answer { .. } => {}
            Event::Swap(replacements) => {
                // The old version's code is let go with its last instance.
                if let Some(first) = replacements.iter().flatten().find(|replacement| replacement.number == 0) {
                    self.first_step = Some(first.step.clone());
                }
                self.executors.swap(replacements);
            }
            Event::Change { change, reply } => self.begin_change(now, *change, reply),
            Event::Drain => {
                // Whoever wants it to end wants no other one to begin.
                self.next = None;
                self.close(now, End::Drained);
            }
        }
    }

    /// Records come back from an executor.
    fn on_ran(&mut self, now: Instant, mut ran: Ran) {
        let Some(index) = self.lane_of(ran.first) else {
            // The partition was revoked, lost or rewound meanwhile.
            self.recycle(ran.batch);
            return;
        };
        let lane = &mut self.lanes[index];
        lane.bytes = lane.bytes.saturating_sub(lane::bytes_of(&ran.batch, &ran.range));
        if ran.last {
            lane.jobs = lane.jobs.saturating_sub(1);
        }
        if lane.state.takes(ran.run, ran.first) {
            chain::tell(&ran.counted, &self.metrics);
        }
        let event = partition::Event::Ran {
            run: ran.run,
            first: ran.first,
            outputs: &ran.outputs,
            failed: &ran.failed,
            failure: ran.failure.as_ref(),
            returned: ran.range.len(),
        };
        let actions: Vec<Action> = lane.state.handle(now, event).collect();
        let first = ran.first;
        let (letters, hopeless) = self.give_up_among(now, index, &actions, &mut ran);
        // At the first record that can be neither processed nor given up it stops: nothing from there on is sent.
        let limit = hopeless.as_ref().map(|hopeless| hopeless.seq);
        let mut letters = Some(letters);
        let mut ran = Some(ran);
        for action in actions {
            // To send may have all lanes read again. What follows is about records that come once more, then.
            if self.lane_of(first) != Some(index) {
                // What was settled stays so.
                if matches!(action, Action::Store { .. }) {
                    self.act(now, index, action);
                }
                continue;
            }
            match action {
                Action::DeadLetter { .. } | Action::Skip { .. } => {}
                Action::Send { upto } => {
                    let upto = limit.map_or(upto, |limit| limit.min(upto));
                    self.begin_sending(now, upto, letters.take().unwrap_or_default(), &mut ran);
                }
                Action::RunAgain { from, attempt, at } => {
                    self.metrics.retries.with_label_values(&["step"]).inc();
                    self.requeue(index, from, Some(attempt), ran.as_ref());
                    self.wait_for_retry(now, index, at);
                }
                Action::Requeue { from } => self.requeue(index, from, None, ran.as_ref()),
                other @ (Action::Store { .. }
                | Action::Stop { .. }
                | Action::Trip { .. }
                | Action::DropQueue
                | Action::Rewind
                | Action::Seek { .. }
                | Action::Released { .. }) => self.act(now, index, other),
            }
        }
        let is_same = self.lane_of(first) == Some(index);
        if let Some(letters) = letters.filter(|letters| is_same && !letters.is_empty()) {
            self.begin_sending(now, first, letters, &mut ran);
        }
        if let Some(hopeless) = hopeless {
            self.on_hopeless(now, &hopeless);
        }
        if let Some(ran) = ran {
            self.recycle(ran.batch);
        }
    }

    /// The dead letters of the records of `ran` that are given up, whose outputs are taken back; and the first record whose dead
    /// letter doesn't fit its topic. Those behind it are left alone, as it stops there.
    fn give_up_among(
        &mut self,
        now: Instant,
        index: usize,
        actions: &[Action],
        ran: &mut Ran,
    ) -> (Vec<Letter>, Option<Box<Hopeless>>) {
        let mut letters = Vec::new();
        for action in actions {
            let (Action::DeadLetter { seq, .. } | Action::Skip { seq, .. }) = action else { continue };
            let Some(record) = seq.since(ran.first) else { continue };
            let place = ran.range.start + record;
            ran.effects.give_up(record);
            if let Action::DeadLetter { seq, tries, failure } = action {
                match self.write_letter(now, index, (&ran.batch, place), (*seq, *tries), failure.clone()) {
                    Ok(letter) => letters.push(letter),
                    Err(hopeless) => return (letters, Some(hopeless)),
                }
            } else if let Action::Skip { tries, failure, .. } = action {
                self.say_given_up(now, index, ran.batch.record(place).offset, *tries, failure, "skipped");
            }
        }
        (letters, None)
    }

    /// Puts records of `ran` back into their lane's queue.
    fn requeue(&mut self, index: usize, from: Seq, attempt: Option<u32>, ran: Option<&Ran>) {
        let Some(ran) = ran else { return };
        let lane = &mut self.lanes[index];
        if !lane.state.may_receive() {
            return;
        }
        let done = from.since(ran.first).unwrap_or(0).min(ran.range.len());
        let range = ran.range.start + done..ran.range.end;
        if range.is_empty() {
            return;
        }
        let mut batch = Arc::clone(&ran.batch);
        if let Some(attempt) = attempt {
            Arc::make_mut(&mut batch).set_attempt(range.start, attempt);
        }
        lane.requeue(Waiting { first: ran.first.plus(done), batch, range });
    }

    /// The lane's next record waits until `at`; for a long wait its fetching is paused.
    fn wait_for_retry(&mut self, now: Instant, index: usize, at: Instant) {
        let lane = &mut self.lanes[index];
        if !lane.paused && at.saturating_duration_since(now) > partition::WAIT_WITHOUT_PAUSE {
            lane.paused = true;
            self.consumer.pause(&lane.partition);
        }
    }

    /// Carries out what a partition's state asks for, besides what belongs to an executor's records.
    fn act(&mut self, now: Instant, index: usize, action: Action) {
        let lane = &mut self.lanes[index];
        match action {
            Action::Store { offset, leader_epoch, counts } => lane.store(offset, leader_epoch, counts),
            Action::DropQueue => lane.drop_queue(),
            Action::Released { settled } => {
                lane.released = Some(settled);
                let released = session::Event::Released(lane.partition.clone());
                self.tell_session(now, released);
            }
            Action::Stop { offset, tries, failure } => {
                let stopped = StoppedAt::record(lane.partition.clone(), offset, tries, &failure);
                self.stop_at(now, stopped);
            }
            Action::Trip { offset, trip, failure } => {
                let stopped = StoppedAt::tripped(lane.partition.clone(), offset, trip, &failure);
                self.stop_at(now, stopped);
            }
            Action::Rewind => {
                // What was settled is counted while it has its number.
                self.count_finished(now);
                self.rewind(now, index);
            }
            Action::Seek { offset } => {
                lane.sought = Some(offset);
                let partition = lane.partition.clone();
                if let Err(reason) = self.consumer.seek(&partition, offset) {
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

    /// Gives an event to a lane's state and carries out what it asks for.
    fn tell(&mut self, now: Instant, index: usize, event: partition::Event<'_>) {
        let actions = self.lanes[index].state.handle(now, event);
        for action in actions {
            self.act(now, index, action);
        }
    }

    fn tell_all(&mut self, now: Instant, event: &partition::Event<'_>) {
        for index in 0..self.lanes.len() {
            self.tell(now, index, event.clone());
        }
    }

    /// Hands waiting records to the executors.
    fn dispatch(&mut self, now: Instant) -> bool {
        self.tell_blocked(now, blocked::Event::Tick);
        let held_back = self.hold.is_some_and(|(until, _)| until > now);
        if held_back || self.changing.is_some() || self.renewing.is_some() || self.blocked.holds() {
            return false;
        }
        let mut busy = false;
        for index in 0..self.lanes.len() {
            let may_read = !self.reading.is_lasting() && self.lanes[index].state.waits_until(now).is_none();
            if self.lanes[index].paused && may_read {
                self.lanes[index].paused = false;
                self.consumer.resume(&self.lanes[index].partition);
            }
            while self.lanes[index].jobs < lane::JOBS_MAX {
                if self.lanes[index].queue.is_empty() {
                    self.seal(now, index);
                }
                if !self.may_send(now, index) {
                    break;
                }
                let lane = &mut self.lanes[index];
                if !lane.queue.front().is_some_and(|waiting| lane.state.may_dispatch(now, waiting.first)) {
                    break;
                }
                let Some(Waiting { first, batch, range, .. }) = lane.queue.pop_front() else { break };
                let records = range.len();
                let job =
                    executor::Job { run: lane.state.run(), first, batch, range, cancel: Arc::clone(&lane.cancel) };
                lane.jobs += 1;
                let executor = lane.executor;
                self.tell(now, index, partition::Event::Dispatched { records });
                if !self.executors.dispatch(executor, job) {
                    self.close(now, End::Bug(format!("executor {executor} is gone; the log holds the place")));
                    return true;
                }
                busy = true;
            }
        }
        busy
    }

    /// Keeps the memory of a batch that nothing refers to any more.
    fn recycle(&mut self, batch: Arc<Batch>) {
        if self.spare.len() < SPARE_MAX
            && let Ok(batch) = Arc::try_unwrap(batch)
        {
            self.spare.push(batch);
        }
    }

    fn set_state(&mut self, state: State, why: impl Into<String>) {
        self.metrics.set_state(state);
        self.status.set_state(state, why);
    }
}

/// Batches whose memory is kept.
const SPARE_MAX: usize = 64;
