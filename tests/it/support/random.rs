//! Reproducible random numbers.

use std::env;

use crate::support::clock;
use crate::support::say;

/// A xorshift generator.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `WASMILL_SEED`, otherwise by the clock. Prints how to repeat the sequence.
    pub(crate) fn seeded(test: &str) -> Random {
        let given = env::var("WASMILL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(clock::unix_ms);
        say(&format!("{test}: WASMILL_SEED={seed}"));
        Random::from(seed)
    }

    /// Seeded by this number.
    pub(crate) fn from(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
