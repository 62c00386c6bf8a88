//! The states of a pipeline, as `wasmill_pipeline_state` shows them. Other modules decide which one applies.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::telemetry::unix_ms;

/// The state of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Loads plugins, connects and joins its group.
    Starting,
    /// No broker is reachable.
    Waiting,
    /// Records flow, or would if there were any.
    Running,
    /// An operator has paused it.
    Paused,
    /// A person must act: a permission or a topic is missing.
    Halted,
    /// Finishes what is in flight and takes nothing new.
    Draining,
    /// It stopped by itself.
    Failed,
    /// Shut down on request.
    Stopped,
}

/// The current state, and since when it is the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentState {
    /// The state.
    pub state: State,
    /// Since when, in ms since 1970-01-01 UTC.
    pub since_ms: i64,
}

/// Keeps the current state. Locked for a copy.
#[derive(Debug)]
pub(super) struct StateCell(Mutex<CurrentState>);

impl Default for StateCell {
    fn default() -> StateCell {
        StateCell(Mutex::new(CurrentState { state: State::Starting, since_ms: unix_ms() }))
    }
}

impl StateCell {
    pub(super) fn get(&self) -> CurrentState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the state. If it is the current one, the time since when stays.
    pub(super) fn set(&self, state: State) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if current.state != state {
            *current = CurrentState { state, since_ms: unix_ms() };
        }
    }
}

impl State {
    /// Every state, in the order of a pipeline's life.
    pub const ALL: [State; 8] = [
        State::Starting,
        State::Waiting,
        State::Running,
        State::Paused,
        State::Halted,
        State::Draining,
        State::Failed,
        State::Stopped,
    ];

    /// The value of the `state` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Waiting => "waiting",
            State::Running => "running",
            State::Paused => "paused",
            State::Halted => "halted",
            State::Draining => "draining",
            State::Failed => "failed",
            State::Stopped => "stopped",
        }
    }
}
