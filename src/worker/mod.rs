//! The worker: one thread owns the consumer, the partitions' state and the producer, and carries out what the values that decide
//! return.
//!
//! ```text
//!  consumer --poll--> task.reader.open --seal--> task.lanes --dispatch--> executors
//!     ^                                                               | RunResult
//!     | store, seek, pause                                            v
//!     +------- actions <------- PartitionState <------- inbox <-------+
//!                  | Send                                 ^
//!                  v                                      | Report
//!              producer ----> Kafka ---> librdkafka's thread (delivered), delivery thread (else)
//! ```
//!
//! The worker is the only caller of the consumer, and the only one that produces. It does not block on Kafka or a plugin: with
//! work in flight it waits on its inbox for at most 10 ms, and with nothing in flight in the consumer's poll, for a second at most if
//! there is nothing to commit either; what comes from outside wakes it.
//! `partition` decides about records. The inbox is bounded by what is in flight: every message in it stands for records or
//! outputs that are counted there.

mod apart;
mod blocked;
mod chain;
pub mod clock;
mod commits;
mod cycle;
mod dead_letters;
mod delivered;
mod delivery;
mod denied;
mod dry;
mod effects;
mod end;
mod exactly_once;
mod executor;
mod first_instances;
mod flow;
mod group;
mod held;
mod intake;
mod io;
mod lag;
mod lanes;
mod left;
mod left_out;
mod limits;
mod link;
mod mailbox;
mod monitor;
mod named_topics;
mod naming;
mod niceness;
mod outgoing;
mod position;
mod positions;
mod priority;
mod rate;
mod reader;
mod reading;
mod reconfigure;
mod reconfiguring;
mod rewinding;
mod running;
mod sending;
mod session;
mod shell;
mod shutdown;
mod status;
mod step_metrics;
mod tapping;
mod task;
mod timers;
mod traced;
mod transaction;
mod undelivered;
mod windows;

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use dry::DryRun;
pub use dry::StepTrace;
pub use end::End;
pub use end::RecordAt;
pub use end::RecordPlace;
pub use first_instances::FirstInstances;
pub use first_instances::UsedExecutors;
pub use niceness::OfDefault;
pub use niceness::niceness;
pub use reconfigure::Change;
pub use reconfigure::Changer;
pub use reconfigure::Reply;
pub use status::LastFailure;
pub use status::PartitionStatus;
pub use status::Status;
pub use status::WindowedStatus;
pub use windows::AppliedUpTo;
pub use windows::KeyCells;
pub use windows::ListPosition;
pub use windows::ListedCell;
pub use windows::Reducer;
pub use windows::StateAnswer;
pub use windows::StateQuestion;
pub use windows::StateReply;
pub use windows::WantedState;
pub use windows::WindowedStep;

use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka;
use crate::kafka::lookup::Answer;
pub use crate::kafka::members::GroupMember;
use crate::kafka::producer::ProducerReport;
use crate::metrics::Metrics;
use crate::partition::Order;
use crate::partition::Policy;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::AssignmentIds;
use crate::record::RecordId;
use crate::sink::DeadLetters;
use crate::sink::Routes;
use crate::telemetry;
use executor::Returned;
use intake::Amount;
use io::First;
use mailbox::Mailbox;
use shell::Shell;
use shutdown::Ended;
use windows::AskedState;
use windows::Restored;

/// A worker's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The connection, the input and the outputs.
    pub kafka: kafka::Settings,
    /// What to do about failed records.
    pub policy: Policy,
    /// Which order is kept.
    pub order: Order,
    /// The steps' names.
    pub steps: Vec<Arc<str>>,
    /// The last step, if it has windows.
    pub windowed: Option<Arc<WindowedStep>>,
    /// Where the steps' ports lead.
    pub routes: Routes,
    /// How dead letters are written.
    pub dead_letters: DeadLetters,
    /// The most records in flight.
    pub max_in_flight_records: usize,
    /// The most bytes in flight: inputs, and outputs that are not acknowledged.
    pub max_in_flight_bytes: usize,
    /// How many records are read in a second, at most.
    pub records_per_second: Option<NonZeroU32>,
    /// How long to wait for records in flight.
    pub timeouts: Timeouts,
    /// The niceness of the executors.
    pub niceness: i32,
}

/// The longest times to wait for records in flight.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Of a revoke.
    pub drain: Duration,
    /// Of a shutdown.
    pub shutdown: Duration,
}

impl Settings {
    /// The bound on what is in flight.
    fn max_in_flight(&self) -> Amount {
        Amount { records: self.max_in_flight_records, bytes: self.max_in_flight_bytes }
    }
}

/// A message in the worker's inbox. Rebalances and client errors come from the consumer's poll instead.
enum Event {
    /// An executor returned records, or carried out an order.
    Returned(Returned),
    /// A report of the producer with this number.
    Report { producer: u32, report: ProducerReport },
    /// The lookup thread with this number answered the question with this number.
    Answer { lookup: u32, question: u64, answer: Answer },
    /// Swap steps: the replacements of each executor.
    Swap(Vec<Vec<Replacement>>),
    /// Apply new settings, and send the result to `reply`.
    Change { change: Box<Change>, reply: Reply },
    /// The state of a partition was restored.
    Restored(Restored),
    /// Somebody asks about the committed state.
    Asked(Box<AskedState>),
    /// An operator says that a held record may be tried again.
    GoOn,
    /// An operator says to leave a record out if it fails for good.
    LeaveOut(RecordId),
    /// An operator pauses reading, or lets it go on.
    Pause(bool),
    /// Shut down cleanly.
    Drain { for_good: bool },
}

/// A new version of a step, ready for one executor.
#[derive(Debug)]
pub struct Replacement {
    /// The step's number.
    pub number: usize,
    /// The new version.
    pub step: Step,
    /// The executor's instance of the new version; `None` if it makes one when it needs it.
    pub instance: Option<Instance>,
}

/// Swaps steps: takes the replacements of each executor, which puts them in place between two of its calls.
pub type Swapper = Arc<dyn Fn(Vec<Vec<Replacement>>) + Send + Sync>;

/// What operators ask of a worker, from any thread. If the worker has ended, nothing happens.
#[derive(Clone)]
pub struct Operator(Mailbox);

/// Asks about the committed state of a step: the answer is passed to the reply on the worker's thread, soon, or never if the worker ends.
pub type StateAsker = Arc<dyn Fn(StateQuestion, StateReply) + Send + Sync>;

/// A running worker.
pub struct Worker {
    mailbox: Mailbox,
    status: Arc<Status>,
    thread: Option<JoinHandle<End>>,
}

impl Worker {
    /// Starts worker `number` with these executors.
    ///
    /// # Errors
    /// librdkafka's reason for refusing a setting, or why a thread can't be started: a fragment of a message.
    pub fn start(
        settings: Settings,
        number: usize,
        instances: FirstInstances,
        metrics: Arc<Metrics>,
    ) -> Result<Worker, String> {
        let (inbox, events) = mpsc::channel();
        let status = Arc::new(Status::default());
        let first = First { assignments: AssignmentIds::default(), producer: 0, lookup: 0, reason: "start" };
        let mailbox = Mailbox::new(inbox);
        let mut shell = Shell::new(settings, number, instances, metrics, Arc::clone(&status), mailbox.clone(), first)?;
        shell.io.events = events;
        let own = mailbox.clone();
        let run = move || {
            let mut shell = shell;
            loop {
                own.wake_by(Some(shell.io.consumer.waker()));
                let ended = std::panic::catch_unwind(AssertUnwindSafe(|| shell.run()));
                own.wake_by(None);
                let Ended { end, deadline, .. } = ended.unwrap_or_else(|_| Ended {
                    end: End::Bug("the worker's thread panicked; see the log".into()),
                    committed: String::new(),
                    deadline: clock::now(),
                });
                failpoint::pass(Point::WorkerEnded);
                let next = shell.take_next(&end);
                shutdown::let_go(shell, shutdown::letting_go(clock::now(), deadline));
                match next {
                    Some(next) => shell = *next,
                    None => return end,
                }
            }
        };
        let thread = telemetry::spawn(format!("worker-{number}"), run)
            .map_err(|error| format!("failed to start the worker's thread: {error}"))?;
        Ok(Worker { mailbox, status, thread: Some(thread) })
    }

    /// What operators ask of it.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator(self.mailbox.clone())
    }

    /// Returns a function that swaps steps. The swap does not pause processing, and each batch is run by the old versions or by
    /// the new ones.
    #[must_use]
    pub fn swapper(&self) -> Swapper {
        let mailbox = self.mailbox.clone();
        Arc::new(move |replacements| mailbox.send(Event::Swap(replacements)))
    }

    /// Returns a function that asks about the committed state of a step with windows.
    #[must_use]
    pub fn asker(&self) -> StateAsker {
        let mailbox = self.mailbox.clone();
        // If the worker has ended, the reply is dropped with the event.
        Arc::new(move |question, reply| mailbox.send(Event::Asked(Box::new(AskedState { question, reply }))))
    }

    /// Returns a function that applies new settings, see [`Change`].
    #[must_use]
    pub fn changer(&self) -> Changer {
        let mailbox = self.mailbox.clone();
        // If the worker has ended, the reply is dropped with the event.
        Arc::new(move |change, reply| mailbox.send(Event::Change { change: Box::new(change), reply }))
    }

    /// The worker's status, as probes read it.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Waits until the worker has ended. A second call returns [`End::Drained`].
    pub fn wait(&mut self) -> End {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| End::Bug("the worker's thread panicked".into())),
            None => End::Drained,
        }
    }
}

impl Operator {
    /// Shuts the worker down: it finishes the records in flight, commits and leaves the group.
    pub fn drain(&self) {
        self.0.send(Event::Drain { for_good: false });
    }

    /// The same, and its place in the group isn't kept, if it has an instance id: no member with that id is expected soon.
    pub fn drain_for_good(&self) {
        self.0.send(Event::Drain { for_good: true });
    }

    /// Makes the worker go on if a record holds it: the record is tried again.
    pub fn resume(&self) {
        self.0.send(Event::GoOn);
    }

    /// Pauses reading, or lets it go on. What is in flight is finished and committed, and the partitions are kept.
    pub fn pause(&self, is_paused: bool) {
        self.0.send(Event::Pause(is_paused));
    }

    /// Has a record tried once more if it holds the worker, and skipped if it fails for good. It stays so until the record is committed.
    pub fn leave_out(&self, record: RecordId) {
        self.0.send(Event::LeaveOut(record));
    }
}
