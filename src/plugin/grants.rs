//! The grants of a step: what its plugin may use besides log and metrics. By default nothing; `allow` adds to it.
//!
//! Pure, over names. Each grant is a set of WASI interfaces, which `host/wasi_linker.rs` implements.

use std::path::PathBuf;

use crate::plugin::network::HttpGrant;
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
    /// HTTP requests to the servers that `allow` lists.
    Http,
    /// The folders that `allow` lists, to read.
    Files,
}

impl Grant {
    /// The interfaces of each grant, without their version, which may be any 0.2.
    const INTERFACES: [(&str, Grant); 10] = [
        ("wasi:clocks/wall-clock", Grant::Clock),
        ("wasi:clocks/monotonic-clock", Grant::Clock),
        ("wasi:random/random", Grant::Random),
        ("wasi:random/insecure", Grant::Random),
        ("wasi:random/insecure-seed", Grant::Random),
        ("wasi:cli/environment", Grant::Env),
        ("wasi:http/types", Grant::Http),
        ("wasi:http/outgoing-handler", Grant::Http),
        ("wasi:filesystem/types", Grant::Files),
        ("wasi:filesystem/preopens", Grant::Files),
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
            Grant::Http => "http",
            Grant::Files => "files",
        }
    }

    /// The line in a step's `allow` that grants it.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Grant::Clock => "clock = true",
            Grant::Random => "random = true",
            Grant::Env => "env = { NAME = \"value\" }",
            Grant::Http => "http = [\"https://host\"]",
            Grant::Files => "files = [\"/a/folder:ro\"]",
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
    /// The servers that it may send HTTP requests to; `None` if to none.
    pub http: Option<HttpGrant>,
    /// The folders whose files it may read, by absolute paths, which are also those that the plugin sees.
    pub files: Vec<PathBuf>,
}

impl Grants {
    /// All grants, with an empty environment: for inspecting a plugin, not for running it.
    #[must_use]
    pub fn all() -> Grants {
        Grants { clock: true, random: true, env: Some(Vec::new()), http: Some(HttpGrant::nowhere()), files: Vec::new() }
    }

    /// Whether this is granted.
    #[must_use]
    pub fn has(&self, grant: Grant) -> bool {
        match grant {
            Grant::Clock => self.clock,
            Grant::Random => self.random,
            Grant::Env => self.env.is_some(),
            Grant::Http => self.http.is_some(),
            Grant::Files => !self.files.is_empty(),
        }
    }

    /// All grants given.
    pub fn iter(&self) -> impl Iterator<Item = Grant> {
        let all = [Grant::Clock, Grant::Random, Grant::Env, Grant::Http, Grant::Files];
        all.into_iter().filter(|grant| self.has(*grant))
    }

    /// Whether its plugin may wait for something outside of itself.
    pub(super) fn may_wait(&self) -> bool {
        self.http.is_some() || !self.files.is_empty()
    }
}
