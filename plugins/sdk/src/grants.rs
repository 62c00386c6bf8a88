//! What a step's `allow` grants to a plugin: the time, random numbers, environment variables.
//!
//! A plugin that uses one of these runs only in a step that allows it; `wasmill inspect` prints what to allow. The host runs
//! records again after a fault or a crash, and then results that depend on the time or on random numbers differ. Outside of
//! WebAssembly, in `cargo test`, these functions use the operating system.

use std::time::Duration;

/// The time since 1970-01-01 UTC. Needs `allow = { clock = true }`.
#[must_use]
pub fn now() -> Duration {
    host::now()
}

/// The time since a moment before the instance was created. It never goes backwards. Needs `allow = { clock = true }`.
#[must_use]
pub fn elapsed() -> Duration {
    host::elapsed()
}

/// A cryptographically secure random number. Needs `allow = { random = true }`.
#[must_use]
pub fn random() -> u64 {
    host::random()
}

/// A variable of the environment that the step defines: `allow = { env = { REGION = "eu-1" } }`. The environment of the host
/// process is never visible.
#[must_use]
pub fn env(name: &str) -> Option<String> {
    host::env(name)
}

#[cfg(target_arch = "wasm32")]
mod host {
    use std::time::Duration;

    use crate::bindings::grants::wasi::cli::environment;
    use crate::bindings::grants::wasi::clocks::monotonic_clock;
    use crate::bindings::grants::wasi::clocks::wall_clock;
    use crate::bindings::grants::wasi::random::random;

    pub(super) fn now() -> Duration {
        let now = wall_clock::now();
        Duration::new(now.seconds, now.nanoseconds)
    }

    pub(super) fn elapsed() -> Duration {
        Duration::from_nanos(monotonic_clock::now())
    }

    pub(super) fn random() -> u64 {
        random::get_random_u64()
    }

    pub(super) fn env(name: &str) -> Option<String> {
        environment::get_environment().into_iter().find_map(|(known, value)| (known == name).then_some(value))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher as _;
    use std::sync::LazyLock;
    use std::time::Duration;
    use std::time::Instant;
    use std::time::SystemTime;
    use std::time::UNIX_EPOCH;

    pub(super) fn now() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    pub(super) fn elapsed() -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed()
    }

    /// Good enough for tests, the only use of this function.
    pub(super) fn random() -> u64 {
        RandomState::new().hash_one(0)
    }

    pub(super) fn env(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
