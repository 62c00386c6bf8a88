//! Deadlines of calls: the clock, its thread, and the two ways to stop a guest.
//!
//! wasmtime's epoch stops a component. A core module checks a flag instead, which costs less (see `checks.rs`): a
//! shared memory that has no page until the deadline, and one page afterwards. Memory can't shrink, so the instance
//! can't be used again, as after any deadline. Invariant: the thread runs as long as a [`Clock`] exists, and every step
//! holds one, so a guest that never returns is always stopped.

use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
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

/// A coarse clock that is cheap to read and never goes back.
#[derive(Clone)]
pub(super) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    /// The time since the clock was created, in units of [`TICK`].
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
    Epoch(u64),
    /// The ticks that a call may take, with the flag that the guest checks.
    Flag { ticks: u64, clock: Ticks, flag: Arc<Flag> },
}

impl Deadline {
    /// For an instance of a component.
    pub(super) fn by_epoch(timeout: Duration) -> Deadline {
        Deadline::Epoch(ticks_in(timeout))
    }

    /// For an instance of a core module that has [`Flag::memory`].
    pub(super) fn by_flag(timeout: Duration, clock: &Clock, flag: Arc<Flag>) -> Deadline {
        Deadline::Flag { ticks: ticks_in(timeout), clock: clock.ticks(), flag }
    }

    /// Starts a call.
    pub(super) fn begin<T>(&self, store: &mut Store<T>) {
        match self {
            Deadline::Epoch(ticks) => store.set_epoch_deadline(*ticks),
            Deadline::Flag { ticks, clock, flag } => flag.due.store(clock.now() + ticks, Ordering::Relaxed),
        }
    }

    /// Ends the call. Returns whether it was stopped or should have been; nothing in the instance may be called again
    /// then.
    pub(super) fn end(&self) -> bool {
        match self {
            // wasmtime reports the deadline with a trap of its own.
            Deadline::Epoch(_) => false,
            Deadline::Flag { flag, .. } => flag.due.swap(NEVER, Ordering::Relaxed) == PASSED,
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
    /// Set once, by `drop`. Only the thread waits for it.
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    /// Starts the clock. It increments the epoch of `components`.
    pub(super) fn start(components: wasmtime::Engine) -> io::Result<Clock> {
        let ticks = Ticks(Arc::new(AtomicU64::new(0)));
        let flags = Arc::new(Mutex::new(Vec::<Weak<Flag>>::new()));
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = thread::Builder::new().name("deadlines".into()).spawn({
            let ticks = ticks.clone();
            let flags = Arc::clone(&flags);
            let stop = Arc::clone(&stop);
            move || {
                let (stopped, bell) = &*stop;
                let mut guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                while !*guard {
                    guard = bell.wait_timeout(guard, TICK).unwrap_or_else(PoisonError::into_inner).0;
                    let now = ticks.0.fetch_add(1, Ordering::Relaxed) + 1;
                    components.increment_epoch();
                    flags.lock().unwrap_or_else(PoisonError::into_inner).retain(|flag| {
                        let flag = flag.upgrade();
                        flag.inspect(|flag| flag.look(now)).is_some()
                    });
                }
            }
        })?;
        Ok(Clock { ticks, flags, stop, thread: Some(thread) })
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
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
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
        let clock = Ticks(Arc::new(AtomicU64::new(10)));
        let deadline = Deadline::Flag { ticks: 3, clock: clock.clone(), flag: Arc::clone(&flag) };
        let mut store = Store::new(&modules, ());
        flag.look(u64::MAX / 2);
        assert_eq!(flag.memory.size(), 0, "no call is running");
        deadline.begin(&mut store);
        flag.look(12);
        assert!(!deadline.end());
        flag.look(13);
        assert_eq!(flag.memory.size(), 0, "the call has ended");
        clock.0.store(20, Ordering::Relaxed);
        deadline.begin(&mut store);
        flag.look(23);
        flag.look(24);
        assert_eq!(flag.memory.size(), 1);
        assert!(deadline.end(), "whatever the call came to");
    }
}
