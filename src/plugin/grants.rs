//! What a step may give its plugin besides log and metrics: nothing, unless its `allow` says so.
//!
//! Pure, over names. Each grant is a set of WASI's interfaces; `host/wasi.rs` is what stands behind them.

use crate::secret::Secret;

/// Something that a step's `allow` can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// The time: of the wall, and how much has passed.
    Clock,
    /// Random numbers.
    Random,
    /// Environment variables, those that `allow` lists.
    Env,
}

impl Grant {
    /// The interfaces that each stands for, without their version, which is any of 0.2.
    const INTERFACES: [(&str, Grant); 6] = [
        ("wasi:clocks/wall-clock", Grant::Clock),
        ("wasi:clocks/monotonic-clock", Grant::Clock),
        ("wasi:random/random", Grant::Random),
        ("wasi:random/insecure", Grant::Random),
        ("wasi:random/insecure-seed", Grant::Random),
        ("wasi:cli/environment", Grant::Env),
    ];

    /// What an import needs, if it can be given at all.
    pub(super) fn of(interface: &str, version: &str) -> Option<Grant> {
        let (_, grant) = Grant::INTERFACES.iter().find(|(known, _)| *known == interface)?;
        // `0.2.0-rc-...` were other interfaces.
        let patch = version.strip_prefix("0.2.")?;
        patch.bytes().all(|digit| digit.is_ascii_digit()).then_some(*grant)
    }

    /// Its key in a step's `allow`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Grant::Clock => "clock",
            Grant::Random => "random",
            Grant::Env => "env",
        }
    }

    /// The line in a step's `allow` that gives it.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Grant::Clock => "clock = true",
            Grant::Random => "random = true",
            Grant::Env => "env = { NAME = \"value\" }",
        }
    }
}

/// What a step's plugin was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Whether it may know the time.
    pub clock: bool,
    /// Whether it gets random numbers.
    pub random: bool,
    /// The environment variables that it sees, none of which are the process's own; `None` if it may not ask.
    pub env: Option<Vec<(String, Secret)>>,
}

impl Grants {
    /// All that a step could give, with an empty environment: for who asks what a plugin is like, not what it may do.
    #[must_use]
    pub fn all() -> Grants {
        Grants { clock: true, random: true, env: Some(Vec::new()) }
    }

    /// Whether something was given.
    #[must_use]
    pub fn has(&self, grant: Grant) -> bool {
        match grant {
            Grant::Clock => self.clock,
            Grant::Random => self.random,
            Grant::Env => self.env.is_some(),
        }
    }

    /// Everything that was given.
    pub fn iter(&self) -> impl Iterator<Item = Grant> {
        [Grant::Clock, Grant::Random, Grant::Env].into_iter().filter(|grant| self.has(*grant))
    }
}
