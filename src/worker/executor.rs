//! Executors: threads that run plugins. Records of a batch go in, and their outcomes come out.
//!
//! An executor owns its instances, and makes them when it first needs them. Requests of a strand go to the same executor one after the other, or one waits for the other, so
//! the strand's order is kept. An executor finds the record that causes a fault, but does not decide what to do about it. Between two calls it checks
//! whether the task was cancelled, and then returns the records that it has not run.

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
use super::first_instances::UsedExecutors;
use super::link::alone;
use super::priority::lower_priority;
use super::tapping;
use super::traced::RunTrace;
use super::windows;
use super::windows::Reduced;
use crate::batch::Batch;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure::Failure;
use crate::partition::Policy;
use crate::record::AssignmentId;
use crate::record::Seq;
use crate::record::Seqs;
use crate::sink::Routes;
use crate::telemetry;
use crate::trace::Tracer;

/// A message to an executor.
enum Order {
    Run(RunRequest),
    /// Fold records or show windows by a plugin.
    Reduce(windows::Order),
    /// Replace these steps from now on.
    Swap(Vec<Replacement>),
}

/// What an executor returns.
#[derive(Debug)]
pub(super) enum Returned {
    Ran(Box<RunResult>),
    /// With the executor's number.
    Reduced(usize, Reduced),
}

/// Records to be run.
#[derive(Debug)]
pub(super) struct RunRequest {
    pub(super) strand: u16,
    /// The run of the strand that the request belongs to. After a failure, what was handed out after the failed record in the
    /// same run is stale.
    pub(super) run: u32,
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    pub(super) range: Range<usize>,
    /// Set when no more records of the task are to be run.
    pub(super) cancel: Arc<AtomicBool>,
}

/// Records that an executor returns.
#[derive(Debug)]
pub(super) struct RunResult {
    /// The executor that returns them.
    pub(super) executor: usize,
    pub(super) strand: u16,
    pub(super) run: u32,
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    /// All records that are returned, run or not.
    pub(super) range: Range<usize>,
    /// The number of outputs of each processed record.
    pub(super) outputs: Vec<u32>,
    /// The processed records that failed, ascending, and why; only where the policy continues after failed records.
    pub(super) failed: Vec<(usize, Failure)>,
    pub(super) effects: Effects,
    /// The metrics that plugins recorded, which are kept only if the worker takes the run.
    pub(super) counted: Counted,
    /// Why the record after these failed, if it did.
    pub(super) failure: Option<Failure>,
    /// Whether these are the last of their request.
    pub(super) last: bool,
}

impl RunResult {
    /// The records that are returned.
    pub(super) fn seqs(&self) -> Seqs<'_> {
        self.batch.seqs(self.first, self.range.clone())
    }

    /// The offset of a record, counted from the first.
    pub(super) fn offset(&self, record: usize) -> i64 {
        self.batch.offsets()[self.range.start + record]
    }

    /// Whether a processed record has failed.
    pub(super) fn has_failed(&self, record: usize) -> bool {
        self.failed.binary_search_by_key(&record, |(other, _)| *other).is_ok()
    }

    /// A processed record has failed after all: it is marked if the policy continues after it, else the processed ones end before it.
    pub(super) fn fail(&mut self, record: usize, failure: Failure, policy: &Policy) {
        let Err(at) = self.failed.binary_search_by_key(&record, |(other, _)| *other) else { return };
        if policy.gives_up(&failure) {
            self.failed.insert(at, (record, failure));
        } else {
            self.failed.truncate(at);
            self.outputs.truncate(record);
            self.failure = Some(failure);
        }
    }
}

/// The executors of a worker.
pub(super) struct Executors {
    threads: Vec<Thread>,
    /// The number of requests that each has.
    loads: Vec<usize>,
    used: UsedExecutors,
}

/// One executor's thread; both are `None` only while they are dropped.
struct Thread {
    orders: Option<mpsc::Sender<Order>>,
    handle: Option<JoinHandle<()>>,
}

impl Executors {
    /// Starts a thread for each chain, with this niceness. `returns` is called on that thread.
    pub(super) fn start(
        (chains, used): (Vec<Chain>, UsedExecutors),
        routes: &Routes,
        worker: usize,
        tracer: Option<&Tracer>,
        niceness: i32,
        returns: &(impl Fn(Returned) + Clone + Send + 'static),
    ) -> std::io::Result<Executors> {
        let mut threads = Vec::new();
        for (number, chain) in chains.into_iter().enumerate() {
            let (sender, orders) = mpsc::channel();
            let (routes, returns) = (routes.clone(), returns.clone());
            let tracer = tracer.cloned();
            let executor = Executor { number, chain, routes, tracer, failed: HashMap::new(), returns };
            let thread = telemetry::spawn(format!("executor-{worker}-{number}"), move || {
                lower_priority(niceness);
                executor.run(&orders);
            })?;
            threads.push(Thread { orders: Some(sender), handle: Some(thread) });
        }
        let loads = vec![0; threads.len()];
        Ok(Executors { threads, loads, used })
    }

    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Hands a request to an executor. `false` if its thread is gone, which is a bug.
    pub(super) fn dispatch(&mut self, executor: usize, request: RunRequest) -> bool {
        self.loads[executor] += 1;
        self.used.mark(executor);
        self.order(executor, Order::Run(request))
    }

    /// Gives an executor an order for a plugin with windows. `false` if its thread is gone, which is a bug.
    pub(super) fn reduce(&mut self, executor: usize, order: windows::Order) -> bool {
        self.loads[executor] += 1;
        self.used.mark(executor);
        self.order(executor, Order::Reduce(order))
    }

    /// An executor returned the last records of a request, or carried out an order.
    pub(super) fn returned(&mut self, executor: usize) {
        if let Some(load) = self.loads.get_mut(executor) {
            *load = load.saturating_sub(1);
        }
    }

    /// The executor with the fewest requests.
    pub(super) fn quietest(&self) -> usize {
        (0..self.loads.len()).min_by_key(|&executor| self.loads[executor]).unwrap_or(0)
    }

    /// Gives each executor new versions of some steps. Requests that were handed out before still run on the old ones.
    pub(super) fn swap(&self, replacements: Vec<Vec<Replacement>>) {
        debug_assert_eq!(replacements.len(), self.threads.len(), "some for each executor");
        for (executor, steps) in replacements.into_iter().enumerate().take(self.threads.len()) {
            // The next request detects an executor that is gone.
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
    number: usize,
    chain: Chain,
    routes: Routes,
    /// `None` if records are not traced.
    tracer: Option<Tracer>,
    /// The last run of each strand in which a record failed: other requests of that run are returned without being run.
    failed: HashMap<(AssignmentId, u16), u32>,
    returns: R,
}

impl<R: Fn(Returned)> Executor<R> {
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            let request = match order {
                Order::Run(request) => request,
                Order::Reduce(order) => {
                    let reduced = self.chain.reduce(order);
                    debug_assert!(reduced.is_some(), "an order for a plugin, and the step with windows runs none");
                    if let Some(reduced) = reduced {
                        (self.returns)(Returned::Reduced(self.number, reduced));
                    }
                    continue;
                }
                Order::Swap(steps) => {
                    self.chain.swap(steps);
                    continue;
                }
            };
            let key = (request.first.assignment(), request.strand);
            match self.failed.get(&key) {
                Some(&run) if run == request.run => self.give_back(request),
                _ => {
                    self.failed.remove(&key);
                    self.execute(request);
                }
            }
            // Assignments come and go, so old ones are forgotten. If a stale request is run after all, the worker ignores its
            // outcome.
            if self.failed.len() > STRANDS_REMEMBERED {
                self.failed.clear();
            }
        }
    }

    fn execute(&mut self, mut request: RunRequest) {
        while !request.range.is_empty() {
            if request.cancel.load(Ordering::Relaxed) {
                self.give_back(request);
                return;
            }
            let chunk = request.range.start..request.range.end.min(request.range.start + self.chain.batch_records());
            let records = chunk.len();
            let trace = self.begin_trace(&request.batch, &chunk);
            match self.chain.run(&request.batch, chunk) {
                Ok(mut verdicts) => {
                    self.end_trace(trace, &mut verdicts, &request);
                    if self.answer(&mut request, verdicts, records) {
                        return;
                    }
                }
                Err(_) => {
                    if self.isolate(&mut request, records) {
                        return;
                    }
                }
            }
        }
    }

    /// Runs the next records one by one, to find the one that caused a fault. `true` when the request is finished.
    fn isolate(&mut self, request: &mut RunRequest, records: usize) -> bool {
        for _ in 0..records {
            if request.cancel.load(Ordering::Relaxed) {
                return false;
            }
            let one = request.range.start..request.range.start + 1;
            let trace = self.begin_trace(&request.batch, &one);
            let result = alone(|| self.chain.run(&request.batch, one.clone()));
            let mut verdicts = result.unwrap_or_else(|failure| {
                if self.chain.gives_up(&failure) {
                    Verdicts { done: 1, failed: vec![(0, failure)], ..Verdicts::default() }
                } else {
                    Verdicts { failure: Some(failure), ..Verdicts::default() }
                }
            });
            self.end_trace(trace, &mut verdicts, request);
            if self.answer(request, verdicts, 1) {
                return true;
            }
        }
        false
    }

    /// Begins the trace of a run of these records, if any of them is recorded.
    fn begin_trace(&mut self, batch: &Batch, records: &Range<usize>) -> Option<Box<RunTrace>> {
        let trace = RunTrace::begin(self.tracer.as_ref()?, batch, records.clone());
        self.chain.time(trace.is_some());
        trace
    }

    /// Adds the trace to what the run of the request's next records has done.
    fn end_trace(&mut self, trace: Option<Box<RunTrace>>, verdicts: &mut Verdicts, request: &RunRequest) {
        if let (Some(mut trace), Some(tracer)) = (trace, &self.tracer) {
            let times = self.chain.take_times();
            trace.end(tracer, times, verdicts, &self.routes, (&request.batch, request.range.start));
            verdicts.effects.trace = Some(trace);
        }
    }

    /// Returns the outcomes of the next `records` records to the worker. `true` when the request is finished.
    fn answer(&mut self, request: &mut RunRequest, verdicts: Verdicts, records: usize) -> bool {
        self.show_failed(request, &verdicts);
        let Verdicts { done, failed, effects, failure } = verdicts;
        failpoint::pass(Point::AfterGuest);
        let counted = self.chain.take_counted();
        if failure.is_some() {
            self.failed.insert((request.first.assignment(), request.strand), request.run);
        }
        let returned = if failure.is_some() { request.range.len() } else { records };
        let range = request.range.start..request.range.start + returned;
        let first = request.first;
        request.first = request.batch.seqs(first, request.range.clone()).at(returned);
        request.range.start += returned;
        let last = request.range.is_empty();
        let outputs = effects.counts(done, &self.routes);
        (self.returns)(Returned::Ran(Box::new(RunResult {
            executor: self.number,
            strand: request.strand,
            run: request.run,
            first,
            batch: Arc::clone(&request.batch),
            range,
            outputs,
            failed,
            effects,
            counted,
            failure,
            last,
        })));
        last
    }

    /// Shows the failed ones of the next records to open taps.
    fn show_failed(&self, request: &RunRequest, Verdicts { done, failed, failure, .. }: &Verdicts) {
        for (root, failure) in
            failed.iter().map(|(root, failure)| (*root, failure)).chain(failure.iter().map(|failure| (*done, failure)))
        {
            let record = request.batch.record(request.range.start + root);
            tapping::failed(self.chain.taps(), request.batch.source(), &record, failure);
        }
    }

    fn give_back(&mut self, request: RunRequest) {
        let RunRequest { strand, run, first, batch, range, .. } = request;
        (self.returns)(Returned::Ran(Box::new(RunResult {
            executor: self.number,
            strand,
            run,
            first,
            batch,
            range,
            outputs: Vec::new(),
            failed: Vec::new(),
            effects: Effects::default(),
            counted: Vec::new(),
            failure: None,
            last: true,
        })));
    }
}

/// See [`Executor::failed`].
const STRANDS_REMEMBERED: usize = 1024;
