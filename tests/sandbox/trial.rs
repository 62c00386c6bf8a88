//! One attempt at the host: a file is loaded, instantiated and called under small limits, and what came of it is measured.
//!
//! The file is compiled in a child process, as a service does it. Nothing here decides whether an ending is the right one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use wasmill::batch::Batch;
use wasmill::failure::Failure;
use wasmill::failure::Kind;
use wasmill::plugin::CallTimeouts;
use wasmill::plugin::Cells;
use wasmill::plugin::CompileLimits;
use wasmill::plugin::Compiler;
use wasmill::plugin::Engine;
use wasmill::plugin::Instance;
use wasmill::plugin::Settings;
use wasmill::plugin::Step;
use wasmill::plugin::World;
use wasmill::record::Header;
use wasmill::record::TopicPartition;

use crate::component;
use crate::support;
use crate::support::MIB;
use crate::support::clock::Watch;

/// The memory limit of an instance.
pub(crate) const MEMORY: u64 = 64 * MIB;
/// What the process may grow by besides that: what a call may return, which is read into lists that double as they grow, the native code,
/// and what reading and checking a file takes.
pub(crate) const SLACK: u64 = 192 * MIB;
/// How often an instance is called that is still usable.
const CALLS: usize = 2;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// It never ran.
    Refused,
    /// A call ended with this failure.
    Failed(Kind),
    /// All calls returned something valid, which may be failures of single records.
    Result,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Refused => "refused",
            Ending::Result => "result",
            Ending::Failed(Kind::BadOutput) => "bad-output",
            Ending::Failed(Kind::Error) => "error",
            Ending::Failed(Kind::Memory) => "memory",
            Ending::Failed(Kind::Timeout) => "timeout",
            Ending::Failed(Kind::Trap) => "trap",
            Ending::Failed(_) => "a failure that no step has",
        })
    }
}

/// The measured attempt.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) ending: Ending,
    /// Why, for people.
    pub(crate) reason: String,
    /// How much longer than its timeout the longest call took, without the time for which it had no core.
    pub(crate) late: Duration,
    /// How long it took until it was loaded or refused.
    pub(crate) loading: Duration,
    /// The peak of the process's memory, above what it had before.
    pub(crate) grown: u64,
}

/// How long calls and the compiler may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) call: Duration,
    pub(crate) compile: Duration,
}

/// Tries a file with these bytes.
pub(crate) fn attempt(bytes: &[u8], bounds: Bounds) -> Trial {
    support::forget_peak();
    let before = support::memory("VmRSS:");
    let watch = Watch::start();
    let loaded = load(bytes, bounds);
    let loading = watch.elapsed();
    let (ending, reason, late) = match loaded {
        Err(reason) => (Ending::Refused, reason, Duration::ZERO),
        Ok(step) => {
            let (result, late) = run(&step, bounds.call);
            match result {
                Ok(()) => (Ending::Result, String::new(), late),
                Err(failure) => (Ending::Failed(failure.kind), failure.to_string(), late),
            }
        }
    };
    let grown = support::memory("VmHWM:").saturating_sub(before);
    Trial { ending, reason, late, loading, grown }
}

/// Loads a file with these bytes.
pub(crate) fn load(bytes: &[u8], bounds: Bounds) -> Result<Step, String> {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("plugin.wasm");
    std::fs::write(&wasm, bytes).unwrap();
    Step::load(&engine(bounds.compile), Settings { wasm, ..settings(bounds.call) }).map_err(|error| error.to_string())
}

pub(crate) fn settings(call: Duration) -> Settings {
    Settings {
        timeout: CallTimeouts::from(call),
        memory_bytes: MEMORY,
        // The defaults of a pipeline's file.
        outputs_per_record: 10_000,
        output_bytes_per_record: 16 << 20,
        ..component::settings()
    }
}

/// An engine that compiles in child processes. There is one for each bound on the compiler's time.
fn engine(compile: Duration) -> Engine {
    static ENGINES: LazyLock<std::sync::Mutex<BTreeMap<Duration, Engine>>> = LazyLock::new(Default::default);
    let mut engines = ENGINES.lock().unwrap();
    let made = engines.entry(compile).or_insert_with(|| {
        let limits = CompileLimits { time: compile, ..CompileLimits::default() };
        let program = env!("CARGO_BIN_EXE_wasmill").into();
        Engine::new(Compiler::Child { program, limits, cache: None }).unwrap()
    });
    made.clone()
}

/// Instantiates the step and calls it. Also returns how much longer than its timeout the longest call took.
fn run(step: &Step, timeout: Duration) -> (Result<(), Failure>, Duration) {
    // Making an instance has a timeout, and its `init` another one.
    let (made, mut late) = timed(2 * timeout, || step.instantiate());
    let mut instance = match made {
        Ok(instance) => instance,
        Err(failure) => return (Err(failure), late),
    };
    for _ in 0..CALLS {
        let (called, this) = timed(timeout, || call(&mut instance, step.world()));
        late = late.max(this);
        // Effects are collected after each call, as an executor does it.
        drop(instance.take_effects());
        if let Err(failure) = called {
            return (Err(failure), late);
        }
    }
    drop(instance);
    (Ok(()), late)
}

/// Also returns how much longer than the timeout it took, without the time for which it had no core.
fn timed<T>(timeout: Duration, call: impl FnOnce() -> T) -> (T, Duration) {
    let (watch, waited) = (Watch::start(), support::waited_for_a_core());
    let returned = call();
    let took = watch.elapsed().saturating_sub(support::waited_for_a_core().saturating_sub(waited));
    (returned, took.saturating_sub(timeout))
}

/// Calls what a plugin of this world has, and drops what it returns.
fn call(instance: &mut Instance, world: World) -> Result<(), Failure> {
    let batch = records();
    match world {
        World::Transform | World::TransformBatch => instance.process(&batch.view()).map(drop),
        World::ReduceBy => instance.keys(&batch.view()).map(drop),
        World::Reduce => {
            let cells = Cells { index: &[0, 1, 0], lengths: &[-1, -1], data: &[] };
            instance.add(&batch.view(), cells).map(drop)
        }
        World::Several | World::Other => panic!("{world:?} is refused"),
    }
}

/// Three records: one with everything, a large one with a document, and a tombstone.
pub(crate) fn records() -> Batch {
    let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 0 });
    let headers = [Header { name: b"trace\xff", value: Some(b"1") }, Header { name: b"", value: None }];
    batch.push(5, 1000, 0, Some(b"k1"), Some(br#"{"email":"a@example.org","id":7}"#), headers.iter().copied());
    batch.push(7, -1, 2, None, Some(&vec![b'['; 100 << 10]), std::iter::empty());
    batch.push(8, 3, 0, Some(b""), None, std::iter::empty());
    batch
}

/// The figures of many trials.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    endings: BTreeMap<Ending, usize>,
    refusals: BTreeMap<String, usize>,
    trials: usize,
    late: Duration,
    grown: u64,
    loading: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, trial: &Trial) {
        self.trials += 1;
        *self.endings.entry(trial.ending).or_default() += 1;
        if trial.ending == Ending::Refused {
            let (_, why) = trial.reason.split_once("plugin.wasm: ").unwrap_or(("", &trial.reason));
            let why: String = why.chars().take_while(|c| !c.is_ascii_digit() && *c != '`').take(50).collect();
            *self.refusals.entry(why).or_default() += 1;
        }
        self.late = self.late.max(trial.late);
        self.grown = self.grown.max(trial.grown);
        self.loading = self.loading.max(trial.loading);
    }

    pub(crate) fn trials(&self) -> usize {
        self.trials
    }

    /// How many of them ran code of the file.
    pub(crate) fn ran(&self) -> usize {
        self.trials - self.endings.get(&Ending::Refused).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tried, {} of them ran:", self.trials, self.ran())?;
        for (ending, count) in &self.endings {
            write!(f, " {count} {ending},")?;
        }
        write!(
            f,
            " largest growth {} MiB, longest past its timeout {:?}, longest loading {:?}",
            self.grown / MIB,
            self.late,
            self.loading
        )?;
        let mut refusals: Vec<(&String, &usize)> = self.refusals.iter().collect();
        refusals.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (why, count) in refusals.into_iter().take(4) {
            write!(f, "\n    {count} refused: {why}")?;
        }
        Ok(())
    }
}
