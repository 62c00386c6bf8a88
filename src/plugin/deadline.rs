//! Deadlines of calls: the clock, the thread that looks at it, and the two ways in which a guest is stopped.
//!
//! A component is stopped by wasmtime's epoch. A core module looks at a flag instead, which costs it less (see `checks.rs`): a
//! memory without a page that gets one. That can't be taken back, so its instance is at its end, as after any deadline.
//! Invariant: the thread runs while any [`Clock`] exists, as every step holds one, so a guest that never returns is always
//! stopped.

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

use crate::plugin::checks;

/// How far past its deadline a guest can get: how often the thread looks.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// A clock: coarse, free to read, and never set back.
#[derive(Clone)]
pub(super) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    /// The time since the clock was made, in units of [`TICK`].
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ticks until a call that may take `timeout` is stopped: one more than it has, as the current one is partly over.
fn ticks_in(timeout: Duration) -> u64 {
    let ticks = timeout.as_nanos().div_ceil(TICK.as_nanos());
    // It is added to the current tick: half the range can't overflow.
    u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2) + 1
}

/// What stops the calls of one instance.
pub(super) enum Deadline {
    /// Ticks that a call has, which are epochs.
    Epoch(u64),
    /// The same, and what the guest looks at.
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

    /// A call begins.
    pub(super) fn begin<T>(&self, store: &mut Store<T>) {
        match self {
            Deadline::Epoch(ticks) => store.set_epoch_deadline(*ticks),
            Deadline::Flag { ticks, clock, flag } => flag.due.store(clock.now() + ticks, Ordering::Relaxed),
        }
    }

    /// It has ended. Whether it was stopped, or should have been: then nothing in the instance may be called again.
    pub(super) fn end(&self) -> bool {
        match self {
            // It tells by a trap of its own.
            Deadline::Epoch(_) => false,
            Deadline::Flag { flag, .. } => flag.due.swap(NEVER, Ordering::Relaxed) == PASSED,
        }
    }
}

/// No call is running.
const NEVER: u64 = u64::MAX;
/// The call was stopped.
const PASSED: u64 = u64::MAX - 1;

/// What one instance of a core module looks at.
pub(super) struct Flag {
    memory: SharedMemory,
    /// The tick at which the running call is to be stopped. Written by the thread that calls, and once by the clock's, when
    /// it has come: whoever comes first decides whether the call was in time.
    due: AtomicU64,
}

impl Flag {
    fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Flag> {
        let memory = SharedMemory::new(engine, MemoryType::shared(0, checks::FLAG_PAGES_MAX))?;
        Ok(Flag { memory, due: AtomicU64::new(NEVER) })
    }

    /// To be imported as [`checks::FLAG`].
    pub(super) fn memory(&self) -> SharedMemory {
        self.memory.clone()
    }

    fn look(&self, now: u64) {
        match self.due.load(Ordering::Relaxed) {
            NEVER => {}
            // The page could not be had the last time.
            PASSED if self.memory.size() == 0 => drop(self.memory.grow(checks::FLAG_PAGES_MAX.into())),
            PASSED => {}
            due if now < due => {}
            due => {
                let is_mine = self.due.compare_exchange(due, PASSED, Ordering::Relaxed, Ordering::Relaxed).is_ok();
                if is_mine && let Err(error) = self.memory.grow(checks::FLAG_PAGES_MAX.into()) {
                    tracing::warn!("a plugin past its deadline can't be stopped yet, retrying: {error:#}");
                }
            }
        }
    }
}

/// The clock of an engine and its thread, which ends when this is dropped.
pub(super) struct Clock {
    ticks: Ticks,
    /// Locked by the thread at each tick, and to add one; never across a guest's code.
    flags: Arc<Mutex<Vec<Weak<Flag>>>>,
    /// Set once, by `drop`; the thread alone waits for it.
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    /// Moves the epoch of `components`.
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

    /// A flag that the thread looks after until it is dropped.
    ///
    /// # Errors
    /// If there are no addresses for it.
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
            // It can't panic, and there would be nobody left to tell.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::program::Engines;

    #[test]
    fn a_deadline_is_never_before_its_timeout() {
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
