//! The shell: one thread owns the consumer, the partitions and the producer, and turns what happens into calls.
//!
//! ```text
//!  consumer --poll--> task.reader.open --seal--> task.runs.queue --dispatch--> executors
//!     ^                                                               | RunResult
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
mod executor;
mod flow;
mod group;
mod held;
mod intake;
mod io;
mod lag;
mod left;
mod limits;
mod monitor;
mod outgoing;
mod place;
mod places;
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
mod task;
mod timers;
mod undelivered;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use dry::DryRun;
pub use dry::StepTrace;
pub use end::End;
pub use reconfigure::Change;
pub use reconfigure::Changer;
pub use reconfigure::Reply;
pub use status::Status;

use crate::kafka;
use crate::kafka::lookup::Answer;
use crate::kafka::producer::ProducerReport;
use crate::metrics::Metrics;
use crate::partition::Policy;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::AssignmentIds;
use crate::sink::DeadLetters;
use crate::sink::Routes;
use executor::RunResult;
use intake::Amount;
use io::First;
use shell::Shell;
use shutdown::Ended;

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

impl Settings {
    /// What may be in flight.
    fn max_in_flight(&self) -> Amount {
        Amount { records: self.max_in_flight_records, bytes: self.max_in_flight_bytes }
    }
}

/// Everything that can happen to a worker besides what its consumer's poll brings.
enum Event {
    /// Records come back from an executor.
    Ran(RunResult),
    /// The producer with this number has something to say.
    Report { producer: u32, report: ProducerReport },
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
        shell.io.events = events;
        let run = move || {
            let mut shell = shell;
            loop {
                let ended = std::panic::catch_unwind(AssertUnwindSafe(|| shell.run()));
                let Ended { end, deadline, .. } = ended.unwrap_or_else(|_| Ended {
                    end: End::Bug("the worker's thread panicked; see the log".into()),
                    committed: String::new(),
                    deadline: clock::now(),
                });
                let next = shell.take_next(&end);
                shutdown::let_go(shell, shutdown::letting_go(clock::now(), deadline));
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
