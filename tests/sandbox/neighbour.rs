//! A plugin that behaves, called all the time beside those that don't: how long its calls take.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::component;
use crate::support;
use crate::support::clock::Watch;
use crate::trial;
use crate::trial::Bounds;

/// A call is due this often.
const EVERY: Duration = Duration::from_millis(2);
const BOUNDS: Bounds = Bounds { call: Duration::from_secs(60), compile: Duration::from_secs(60) };

/// The neighbour's thread.
pub(crate) struct Neighbour {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    times: Mutex<Vec<Time>>,
}

/// What a call took, from when it was due until it returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    whole: Duration,
    /// Without the time for which its thread could run and had no core: other processes have those.
    own: Duration,
}

/// What calls took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latencies {
    calls: usize,
    p50: Duration,
    pub(crate) p99: Duration,
    longest: Duration,
    /// The longest of their own times.
    pub(crate) longest_own: Duration,
}

impl Neighbour {
    /// Starts it. It calls a core module and a component in turn, each of which has to return every record.
    pub(crate) fn start() -> Neighbour {
        let shared = Arc::new(Shared::default());
        let mut instances = component::forms(&component::fixture("identity"))
            .map(|bytes| trial::load(&bytes, BOUNDS).unwrap().instantiate().unwrap());
        let theirs = Arc::clone(&shared);
        let work = move || {
            let batch = trial::records();
            for turn in 0_usize.. {
                if theirs.is_over.load(Ordering::Relaxed) {
                    break;
                }
                let (due, waited) = (Watch::start(), support::waited_for_a_core());
                thread::sleep(EVERY);
                let outcome = instances[turn % 2].process(&batch.view()).unwrap();
                assert_eq!((outcome.outputs.len(), outcome.failed.len()), (3, 0));
                let whole = due.elapsed().saturating_sub(EVERY);
                let own = whole.saturating_sub(support::waited_for_a_core().saturating_sub(waited));
                theirs.times.lock().unwrap().push(Time { whole, own });
            }
        };
        Neighbour { shared, thread: Some(thread::spawn(work)) }
    }

    /// The calls since the last time.
    pub(crate) fn take(&self) -> Vec<Time> {
        std::mem::take(&mut self.shared.times.lock().unwrap())
    }

    /// The calls of this time, while nothing else happens.
    pub(crate) fn watch(&self, time: Duration) -> Vec<Time> {
        drop(self.take());
        thread::sleep(time);
        self.take()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the neighbour failed");
        }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latencies { calls, p50, p99, longest, longest_own } = self;
        write!(f, "p50 {p50:?}, p99 {p99:?}, longest {longest:?}, {longest_own:?} with a core, of {calls} calls")
    }
}

impl Latencies {
    pub(crate) fn of(times: &[Time]) -> Latencies {
        let mut whole: Vec<Duration> = times.iter().map(|time| time.whole).collect();
        whole.sort_unstable();
        let at = |share: usize| whole.get(whole.len() * share / 100).copied().unwrap_or_default();
        Latencies {
            calls: times.len(),
            p50: at(50),
            p99: at(99),
            longest: whole.last().copied().unwrap_or_default(),
            longest_own: times.iter().map(|time| time.own).max().unwrap_or_default(),
        }
    }
}
