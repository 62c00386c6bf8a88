//! The grants of a step: what its plugin may use besides log and metrics. By default nothing; `allow` adds to it.
//!
//! Pure, over names. Each grant is a set of WASI interfaces, which `host/wasi_linker.rs` implements.

use crate::secret::Secret;

/// Something that a step's `allow` can grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// The wall clock and the monotonic clock.
    Clock,
    /// Random numbers.
    Random,
    /// The environment variables that `allow` lists.
    Env,
}

impl Grant {
    /// The interfaces of each grant, without their version, which may be any 0.2.
    const INTERFACES: [(&str, Grant); 6] = [
        ("wasi:clocks/wall-clock", Grant::Clock),
        ("wasi:clocks/monotonic-clock", Grant::Clock),
        ("wasi:random/random", Grant::Random),
        ("wasi:random/insecure", Grant::Random),
        ("wasi:random/insecure-seed", Grant::Random),
        ("wasi:cli/environment", Grant::Env),
    ];

    /// The grant that an import needs, if one exists.
    pub(super) fn of(interface: &str, version: &str) -> Option<Grant> {
        let (_, grant) = Grant::INTERFACES.iter().find(|(known, _)| *known == interface)?;
        is_final(version).then_some(*grant)
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

    /// The line in a step's `allow` that grants it.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Grant::Clock => "clock = true",
            Grant::Random => "random = true",
            Grant::Env => "env = { NAME = \"value\" }",
        }
    }
}

/// Whether a version of a WASI interface is a final one of 0.2: `0.2.0-rc-...` are other interfaces.
pub(super) fn is_final(version: &str) -> bool {
    version.strip_prefix("0.2.").is_some_and(|patch| patch.bytes().all(|digit| digit.is_ascii_digit()))
}

/// What a step's plugin is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Whether the plugin may read the clocks.
    pub clock: bool,
    /// Whether it gets random numbers.
    pub random: bool,
    /// The plugin's environment variables, none of which are the process's own; `None` if it may not ask.
    pub env: Option<Vec<(String, Secret)>>,
}

impl Grants {
    /// All grants, with an empty environment: for inspecting a plugin, not for running it.
    #[must_use]
    pub fn all() -> Grants {
        Grants { clock: true, random: true, env: Some(Vec::new()) }
    }

    /// Whether this is granted.
    #[must_use]
    pub fn has(&self, grant: Grant) -> bool {
        match grant {
            Grant::Clock => self.clock,
            Grant::Random => self.random,
            Grant::Env => self.env.is_some(),
        }
    }

    /// All grants given.
    pub fn iter(&self) -> impl Iterator<Item = Grant> {
        [Grant::Clock, Grant::Random, Grant::Env].into_iter().filter(|grant| self.has(*grant))
    }
}
