//! Named threads that run guests: records of a batch in, what became of them out.
//!
//! An executor owns its instances and its tasks: all records of a task come to the same executor, one job after the other, so their
//! order holds. It knows faults and how to find the record that causes one; what becomes of that record is decided elsewhere.
//! Between two calls it looks whether the task was cancelled, and then gives back what it has not run.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::Replacement;
use super::chain::Chain;
use super::chain::Counted;
use super::chain::Verdicts;
use super::effects::Effects;
use crate::batch::Batch;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::record::AssignmentId;
use crate::record::Seq;
use crate::sink::Routes;

/// What an executor is asked to do, one after the other.
enum Order {
    Run(Job),
    /// From here on the steps of these numbers are others.
    Swap(Vec<Replacement>),
}

/// Records to be run.
#[derive(Debug)]
pub(super) struct Job {
    /// Which run of the assignment it belongs to: after a failure, what was handed out behind it is of no use.
    pub(super) run: u32,
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    pub(super) range: Range<usize>,
    /// Set when nothing more of the task is to be run.
    pub(super) cancel: Arc<AtomicBool>,
}

/// Records that come back.
#[derive(Debug)]
pub(super) struct RunResult {
    pub(super) run: u32,
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    /// All records that come back with this, run or not.
    pub(super) range: Range<usize>,
    /// For each record that is done, the number of its outputs.
    pub(super) outputs: Vec<u32>,
    /// Those among them that failed for good, ascending, and why; only where they are given up alone.
    pub(super) failed: Vec<(usize, Failure)>,
    pub(super) effects: Effects,
    /// What the plugins counted, to be told if the run counts.
    pub(super) counted: Counted,
    /// Why the record behind these failed.
    pub(super) failure: Option<Failure>,
    /// Whether these are the last of their job.
    pub(super) last: bool,
}

/// The executors of a worker.
pub(super) struct Executors {
    threads: Vec<Thread>,
}

/// One executor's thread; both are `None` only while they are dropped.
struct Thread {
    orders: Option<mpsc::Sender<Order>>,
    handle: Option<JoinHandle<()>>,
}

impl Executors {
    /// Starts a thread for each chain. `ran` is called on it.
    pub(super) fn start(
        chains: Vec<Chain>,
        routes: &Routes,
        worker: usize,
        ran: &(impl Fn(RunResult) + Clone + Send + 'static),
    ) -> std::io::Result<Executors> {
        let mut threads = Vec::new();
        for (number, chain) in chains.into_iter().enumerate() {
            let (sender, orders) = mpsc::channel();
            let executor = Executor { chain, routes: routes.clone(), failed: HashMap::new(), ran: ran.clone() };
            let thread = std::thread::Builder::new()
                .name(format!("executor-{worker}-{number}"))
                .spawn(move || executor.run(&orders))?;
            threads.push(Thread { orders: Some(sender), handle: Some(thread) });
        }
        Ok(Executors { threads })
    }

    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Hands a job to an executor. `false` if its thread is gone, which is a bug of ours.
    pub(super) fn dispatch(&self, executor: usize, job: Job) -> bool {
        self.order(executor, Order::Run(job))
    }

    /// Gives each executor other versions of some steps. What was handed out before still runs on the old ones.
    pub(super) fn swap(&self, replacements: Vec<Vec<Replacement>>) {
        debug_assert_eq!(replacements.len(), self.threads.len(), "some for each executor");
        for (executor, steps) in replacements.into_iter().enumerate().take(self.threads.len()) {
            // An executor that is gone is found by the next job.
            self.order(executor, Order::Swap(steps));
        }
    }

    fn order(&self, executor: usize, order: Order) -> bool {
        self.threads[executor].orders.as_ref().is_some_and(|orders| orders.send(order).is_ok())
    }

    /// Whether every thread is alive.
    pub(super) fn are_alive(&self) -> bool {
        self.threads.iter().all(|thread| thread.handle.as_ref().is_some_and(|handle| !handle.is_finished()))
    }
}

impl Drop for Executors {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            thread.orders = None;
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                let _ = handle.join();
            }
        }
    }
}

struct Executor<R> {
    chain: Chain,
    routes: Routes,
    /// The run of each assignment in which a record failed: what else was handed out in it goes back as it is.
    failed: HashMap<AssignmentId, u32>,
    ran: R,
}

impl<R: Fn(RunResult)> Executor<R> {
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        // On Linux it is the thread that is nice, and not the process.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!("failed to lower an executor thread's priority: {error}");
        }
        while let Ok(order) = orders.recv() {
            let job = match order {
                Order::Run(job) => job,
                Order::Swap(steps) => {
                    self.chain.swap(steps);
                    continue;
                }
            };
            let key = job.first.assignment();
            match self.failed.get(&key) {
                Some(&run) if run == job.run => self.give_back(job),
                _ => {
                    self.failed.remove(&key);
                    self.run_job(job);
                }
            }
            // Assignments come and go; the map holds only those that failed last.
            if self.failed.len() > ASSIGNMENTS_REMEMBERED {
                self.failed.clear();
            }
        }
    }

    fn run_job(&mut self, mut job: Job) {
        while !job.range.is_empty() {
            if job.cancel.load(Ordering::Relaxed) {
                self.give_back(job);
                return;
            }
            let chunk = job.range.start..job.range.end.min(job.range.start + self.chain.batch_records());
            let records = chunk.len();
            match self.chain.run(&job.batch, chunk) {
                Ok(verdicts) => {
                    if self.answer(&mut job, verdicts, records) {
                        return;
                    }
                }
                Err(_) => {
                    if self.isolate(&mut job, records) {
                        return;
                    }
                }
            }
        }
    }

    /// Runs the next records one by one, to find the one that a call broke on. `true` when the job is over.
    fn isolate(&mut self, job: &mut Job, records: usize) -> bool {
        for _ in 0..records {
            if job.cancel.load(Ordering::Relaxed) {
                return false;
            }
            let one = job.range.start..job.range.start + 1;
            let result = match self.chain.run(&job.batch, one.clone()) {
                // The plugin's own word about this record: asking again changes nothing.
                Err(failure) if failure.kind == Kind::Error => Err(failure),
                // Once more alone, in a fresh instance, before it is called the culprit.
                Err(_) => self.chain.run(&job.batch, one),
                Ok(verdicts) => Ok(verdicts),
            };
            let verdicts = result.unwrap_or_else(|failure| {
                let effects = Effects::default();
                if self.chain.continues() {
                    Verdicts { done: 1, failed: vec![(0, failure)], effects, failure: None }
                } else {
                    Verdicts { done: 0, failed: Vec::new(), effects, failure: Some(failure) }
                }
            });
            if self.answer(job, verdicts, 1) {
                return true;
            }
        }
        false
    }

    /// Sends what became of the next `records` records. `true` when the job is over.
    fn answer(&mut self, job: &mut Job, verdicts: Verdicts, records: usize) -> bool {
        let Verdicts { done, failed, effects, failure } = verdicts;
        failpoint::pass(Point::AfterGuest);
        let counted = self.chain.take_counted();
        if failure.is_some() {
            self.failed.insert(job.first.assignment(), job.run);
        }
        let returned = if failure.is_some() { job.range.len() } else { records };
        let range = job.range.start..job.range.start + returned;
        job.range.start += returned;
        let first = job.first;
        job.first = first.plus(returned);
        let last = job.range.is_empty();
        let outputs = effects.counts(done, &self.routes);
        (self.ran)(RunResult {
            run: job.run,
            first,
            batch: Arc::clone(&job.batch),
            range,
            outputs,
            failed,
            effects,
            counted,
            failure,
            last,
        });
        last
    }

    fn give_back(&mut self, job: Job) {
        let Job { run, first, batch, range, .. } = job;
        let (outputs, effects) = (Vec::new(), Effects::default());
        let (failed, counted) = (Vec::new(), Vec::new());
        let failure = None;
        (self.ran)(RunResult { run, first, batch, range, outputs, failed, effects, counted, failure, last: true });
    }
}

/// How far executors give way. Where there are more threads than cores, the worker and the client's threads have little to do at
/// a time, and what they have grows cold in the machine's caches while they wait: 4 % of a drain's rate on two cores.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// See [`Executor::failed`].
const ASSIGNMENTS_REMEMBERED: usize = 1024;
