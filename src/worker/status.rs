//! What a worker shows to others while it runs. Written by the worker alone; readers never wait for it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use super::clock;
use crate::metrics::State;

/// A worker that shows no sign of life for so long is not alive.
const BEAT_MS_MAX: i64 = 10_000;
/// Brokers that answer nothing for so long are as good as gone.
const ANSWER_MS_MAX: i64 = 15_000;

/// See the head of the file.
#[derive(Debug)]
pub struct Status {
    beat: AtomicI64,
    threads_alive: AtomicBool,
    joined: AtomicBool,
    answered: AtomicI64,
    /// Why a broker can't be talked to, and when that was seen. Locked as `state` is.
    trouble: Mutex<Option<(i64, String)>>,
    /// Locked for a copy by the worker when it changes and by probes when they read; never with another lock.
    state: Mutex<(State, String)>,
}

impl Default for Status {
    fn default() -> Status {
        Status {
            beat: AtomicI64::new(clock::unix_ms()),
            threads_alive: AtomicBool::new(true),
            joined: AtomicBool::new(false),
            answered: AtomicI64::new(clock::unix_ms()),
            trouble: Mutex::new(None),
            state: Mutex::new((State::Starting, "connecting".into())),
        }
    }
}

impl Status {
    /// Whether the worker moves and its threads are there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.threads_alive.load(Ordering::Relaxed) && clock::unix_ms() - self.beat.load(Ordering::Relaxed) < BEAT_MS_MAX
    }

    /// Whether the group was joined.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// Whether brokers have answered lately.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        clock::unix_ms() - self.answered.load(Ordering::Relaxed) < ANSWER_MS_MAX
    }

    /// What the pipeline is doing, and why.
    #[must_use]
    pub fn state(&self) -> (State, String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a broker can't be talked to, unless one has answered since.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let (seen, text) = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        (seen >= self.answered.load(Ordering::Relaxed)).then_some(text)
    }

    pub(super) fn set_trouble(&self, text: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock::unix_ms(), text));
    }

    pub(super) fn beat(&self, threads_alive: bool) {
        self.beat.store(clock::unix_ms(), Ordering::Relaxed);
        self.threads_alive.store(threads_alive, Ordering::Relaxed);
    }

    pub(super) fn set_joined(&self, joined: bool) {
        self.joined.store(joined, Ordering::Relaxed);
    }

    /// A broker answered so long ago.
    pub(super) fn answered(&self, ago_ms: i64) {
        self.answered.fetch_max(clock::unix_ms() - ago_ms, Ordering::Relaxed);
    }

    pub(super) fn set_state(&self, state: State, why: impl Into<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (state, why.into());
    }
}
