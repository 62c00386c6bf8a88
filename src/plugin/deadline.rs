//! Deadlines of calls: the clock, its thread, and the two ways to stop a guest.
//!
//! wasmtime's epoch stops a component. A core module checks a flag instead, which costs less (see `checks.rs`): a
//! shared memory that has no page until the deadline, and one page afterwards. Memory can't shrink, so the instance
//! can't be used again, as after any deadline. Invariant: the thread runs as long as a [`Clock`] exists, and every step
//! holds one, so a guest that never returns is always stopped.
//!
//! While no guest runs there is no deadline, and the thread sleeps: two hundred wake-ups a second cost an idle process more than all of its
//! pipelines. The first call after that wakes it.

use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::MemoryType;
use wasmtime::SharedMemory;
use wasmtime::Store;

use crate::plugin::deadline_instrumentation;

/// The interval of the clock's thread, and so the longest time that a guest runs past its deadline.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// The clock sleeps when no guest has run for this many ticks: longer than what is measured with it after a call.
const LINGER: u32 = 250;
/// While it sleeps it ticks this often, as a sign of life.
const ASLEEP: Duration = Duration::from_secs(1);

/// A coarse clock that is cheap to read and never goes back. It runs while a guest runs, and for a while after that.
#[derive(Clone, Default)]
pub(super) struct Ticks(Arc<Pace>);

/// The clock, as calls and its thread share it.
#[derive(Default)]
struct Pace {
    ticks: AtomicU64,
    /// How many calls run.
    running: AtomicUsize,
    /// Whether the thread sleeps, or is about to. A call that begins counts itself and then looks here; the thread sets it and then
    /// looks for calls. So one of the two sees the other.
    is_asleep: AtomicBool,
    /// Whether the clock has been dropped. Locked by the thread except while it waits, and to wake it.
    is_stopped: Mutex<bool>,
    bell: Condvar,
}

impl Ticks {
    /// The time since the clock was created during which it ran, in units of [`TICK`].
    pub(super) fn now(&self) -> u64 {
        self.0.ticks.load(Ordering::Relaxed)
    }

    /// Has the clock run until the value is dropped.
    pub(super) fn keep(&self) -> KeptAwake {
        self.enter();
        KeptAwake(self.clone())
    }

    fn enter(&self) {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.is_asleep.load(Ordering::SeqCst) {
            // The thread waits by the time that the lock is free.
            drop(self.0.is_stopped.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.bell.notify_all();
        }
    }

    fn leave(&self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// Ticks until the clock is stopped. `tick` is called for each.
    fn run(&self, tick: impl Fn(u64)) {
        let pace = &*self.0;
        let mut idle = 0;
        let mut is_stopped = pace.is_stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_stopped {
            pace.is_asleep.store(idle >= LINGER, Ordering::SeqCst);
            let is_idle = pace.running.load(Ordering::SeqCst) == 0;
            idle = if is_idle { idle.saturating_add(1) } else { 0 };
            let wait = if is_idle && idle > LINGER { ASLEEP } else { TICK };
            is_stopped = pace.bell.wait_timeout(is_stopped, wait).unwrap_or_else(PoisonError::into_inner).0;
            tick(pace.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }
}

/// Keeps the clock running.
pub(super) struct KeptAwake(Ticks);

impl Drop for KeptAwake {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Ticks until a call with this timeout is stopped: one more than the timeout has, since the current tick is partly
/// over.
fn ticks_in(timeout: Duration) -> u64 {
    let ticks = timeout.as_nanos().div_ceil(TICK.as_nanos());
    // The result is added to the current tick. Half the range can't overflow.
    u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2) + 1
}

/// The deadline for the calls of one instance.
pub(super) enum Deadline {
    /// The ticks that a call may take, which are epochs.
    Epoch { ticks: u64, clock: Ticks },
    /// The ticks that a call may take, with the flag that the guest checks.
    Flag { ticks: u64, clock: Ticks, flag: Arc<Flag> },
}

impl Deadline {
    /// For an instance of a component.
    pub(super) fn by_epoch(timeout: Duration, clock: &Clock) -> Deadline {
        Deadline::Epoch { ticks: ticks_in(timeout), clock: clock.ticks() }
    }

    /// For an instance of a core module that has [`Flag::memory`].
    pub(super) fn by_flag(timeout: Duration, clock: &Clock, flag: Arc<Flag>) -> Deadline {
        Deadline::Flag { ticks: ticks_in(timeout), clock: clock.ticks(), flag }
    }

    /// The calls from now on have another timeout.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        match self {
            Deadline::Epoch { ticks, .. } | Deadline::Flag { ticks, .. } => *ticks = ticks_in(timeout),
        }
    }

    /// Starts a call.
    pub(super) fn begin<T>(&self, store: &mut Store<T>) {
        match self {
            Deadline::Epoch { ticks, clock } => {
                clock.enter();
                store.set_epoch_deadline(*ticks);
            }
            Deadline::Flag { ticks, clock, flag } => {
                clock.enter();
                flag.due.store(clock.now() + ticks, Ordering::Relaxed);
            }
        }
    }

    /// Ends the call. Returns whether it was stopped or should have been; nothing in the instance may be called again
    /// then.
    pub(super) fn end(&self) -> bool {
        match self {
            // wasmtime reports the deadline with a trap of its own.
            Deadline::Epoch { clock, .. } => {
                clock.leave();
                false
            }
            Deadline::Flag { clock, flag, .. } => {
                clock.leave();
                flag.due.swap(NEVER, Ordering::Relaxed) == PASSED
            }
        }
    }
}

/// No call is running.
const NEVER: u64 = u64::MAX;
/// The call was stopped.
const PASSED: u64 = u64::MAX - 1;

/// The flag of one instance of a core module.
pub(super) struct Flag {
    memory: SharedMemory,
    /// The tick at which the running call must be stopped. The calling thread writes it, and the clock's thread once
    /// that tick has come: the first of the two to write decides whether the call was in time.
    due: AtomicU64,
}

impl Flag {
    fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Flag> {
        let memory = SharedMemory::new(engine, MemoryType::shared(0, deadline_instrumentation::FLAG_PAGES_MAX))?;
        Ok(Flag { memory, due: AtomicU64::new(NEVER) })
    }

    /// The memory to import as [`deadline_instrumentation::FLAG`].
    pub(super) fn memory(&self) -> SharedMemory {
        self.memory.clone()
    }

    fn look(&self, now: u64) {
        match self.due.load(Ordering::Relaxed) {
            NEVER => {}
            // Growing the memory failed the last time.
            PASSED if self.memory.size() == 0 => {
                drop(self.memory.grow(deadline_instrumentation::FLAG_PAGES_MAX.into()))
            }
            PASSED => {}
            due if now < due => {}
            due => {
                let is_mine = self.due.compare_exchange(due, PASSED, Ordering::Relaxed, Ordering::Relaxed).is_ok();
                if is_mine && let Err(error) = self.memory.grow(deadline_instrumentation::FLAG_PAGES_MAX.into()) {
                    tracing::warn!("a plugin past its deadline can't be stopped yet, retrying: {error:#}");
                }
            }
        }
    }
}

/// The clock of an engine, and its thread, which ends when this is dropped.
pub(super) struct Clock {
    ticks: Ticks,
    /// Locked by the thread at each tick, and to add a flag; never while guest code runs.
    flags: Arc<Mutex<Vec<Weak<Flag>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    /// Starts the clock. It increments the epoch of `components`.
    pub(super) fn start(components: wasmtime::Engine) -> io::Result<Clock> {
        let ticks = Ticks::default();
        let flags = Arc::new(Mutex::new(Vec::<Weak<Flag>>::new()));
        let thread = thread::Builder::new().name("deadlines".into()).spawn({
            let ticks = ticks.clone();
            let flags = Arc::clone(&flags);
            move || {
                ticks.run(|now| {
                    components.increment_epoch();
                    flags.lock().unwrap_or_else(PoisonError::into_inner).retain(|flag| {
                        let flag = flag.upgrade();
                        flag.inspect(|flag| flag.look(now)).is_some()
                    });
                });
            }
        })?;
        Ok(Clock { ticks, flags, thread: Some(thread) })
    }

    pub(super) fn ticks(&self) -> Ticks {
        self.ticks.clone()
    }

    /// A flag that the thread checks until it is dropped.
    ///
    /// # Errors
    /// If there is no address space for it.
    pub(super) fn flag(&self, modules: &wasmtime::Engine) -> wasmtime::Result<Arc<Flag>> {
        let flag = Arc::new(Flag::new(modules)?);
        self.flags.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&flag));
        Ok(flag)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        *self.ticks.0.is_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ticks.0.bell.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread can't panic, and there is no one to report it to.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::program::Engines;

    #[test]
    fn a_deadline_is_never_earlier_than_the_timeout() {
        assert_eq!(ticks_in(Duration::ZERO), 1);
        assert_eq!(ticks_in(Duration::from_nanos(1)), 2);
        assert_eq!(ticks_in(TICK), 2);
        assert_eq!(ticks_in(TICK * 3 + Duration::from_nanos(1)), 5);
        assert_eq!(ticks_in(Duration::MAX), u64::MAX / 2 + 1);
    }

    #[test]
    fn a_call_that_ends_first_is_in_time_and_its_flag_stays_down() {
        let modules = Engines::new().unwrap().modules;
        let flag = Arc::new(Flag::new(&modules).unwrap());
        let clock = Ticks::default();
        clock.0.ticks.store(10, Ordering::Relaxed);
        let deadline = Deadline::Flag { ticks: 3, clock: clock.clone(), flag: Arc::clone(&flag) };
        let mut store = Store::new(&modules, ());
        flag.look(u64::MAX / 2);
        assert_eq!(flag.memory.size(), 0, "no call is running");
        deadline.begin(&mut store);
        flag.look(12);
        assert!(!deadline.end());
        flag.look(13);
        assert_eq!(flag.memory.size(), 0, "the call has ended");
        clock.0.ticks.store(20, Ordering::Relaxed);
        deadline.begin(&mut store);
        flag.look(23);
        flag.look(24);
        assert_eq!(flag.memory.size(), 1);
        assert!(deadline.end(), "whatever the call came to");
    }

    /// A clock that sleeps wakes for a call, and no deadline is nearer than it was.
    #[test]
    fn the_clock_sleeps_without_calls_and_a_call_wakes_it() {
        let components = Engines::new().unwrap().components;
        let clock = Clock::start(components.clone()).unwrap();
        let ticks = clock.ticks();
        let begins = |deadline: &Deadline| {
            let mut store = Store::new(&components, ());
            let before = ticks.now();
            deadline.begin(&mut store);
            before
        };
        let deadline = Deadline::by_epoch(Duration::from_secs(1), &clock);
        for _ in 0..2 {
            while !ticks.0.is_asleep.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let before = begins(&deadline);
            while ticks.now() < before + u64::from(LINGER) * 2 {
                assert!(ticks.0.running.load(Ordering::SeqCst) == 1);
                thread::yield_now();
            }
            assert!(!ticks.0.is_asleep.load(Ordering::SeqCst), "a call runs");
            assert!(!deadline.end());
        }
    }
}
