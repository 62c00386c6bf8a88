//! The states of a pipeline, as `wasmill_pipeline_state` shows them. Other modules decide which one applies.

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
