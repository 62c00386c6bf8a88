//! What WASI gives a guest: clocks, random numbers, and an environment of its own, as far as its step grants them.
//!
//! A guest whose step doesn't grant them may ask nevertheless, as the runtimes of some languages do: it gets a fixed time, a
//! fixed sequence of numbers and an empty environment. `wasi_linker.rs` and `preview1.rs` have the functions. Invariant: the
//! result of a call is bounded, and no call waits.

use std::fmt;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::rand::GetRandomFlags;
use rustix::rand::getrandom;

use crate::plugin::grants::Grants;
use crate::secret::Secret;

/// The most random bytes that one call returns.
pub(super) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// The reported resolution of the clocks; the host's own are finer.
pub(super) const RESOLUTION: Duration = Duration::from_micros(1);

/// The fixed time of a rehearsal: 2026-01-01T00:00:00Z.
const REHEARSED: Duration = Duration::from_secs(1_767_225_600);

/// The data behind the grants of one instance.
pub(in crate::plugin) struct WasiState {
    env: Vec<(String, Secret)>,
    clock: ClockSource,
    random: RandomSource,
}

enum ClockSource {
    /// The host's own clocks. The monotonic clock starts with the instance.
    Real { born: Instant },
    /// The same time for every instance.
    Rehearsed,
    /// Not granted: always 1970. The monotonic clock counts its readings, so that code that waits for time to pass ends.
    Fixed { readings: u32 },
}

enum RandomSource {
    /// The host's own random numbers.
    Kernel,
    /// The same sequence for every instance: in a rehearsal, and for hash tables where random numbers aren't granted.
    Sequence(u64),
}

impl WasiState {
    pub(in crate::plugin) fn new(grants: &Grants, rehearsal: bool) -> WasiState {
        let clock = match (grants.clock, rehearsal) {
            (false, _) => ClockSource::Fixed { readings: 0 },
            (true, true) => ClockSource::Rehearsed,
            (true, false) => ClockSource::Real { born: instant() },
        };
        let random = if grants.random && !rehearsal { RandomSource::Kernel } else { RandomSource::Sequence(0) };
        WasiState { env: grants.env.clone().unwrap_or_default(), clock, random }
    }

    /// The environment variables.
    pub(super) fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().map(|(name, value)| (&**name, &*value.0))
    }

    /// The time since 1970.
    pub(super) fn now(&self) -> Duration {
        match self.clock {
            ClockSource::Real { .. } => since_1970(),
            ClockSource::Rehearsed => REHEARSED,
            ClockSource::Fixed { .. } => Duration::ZERO,
        }
    }

    /// The time since the instance was created.
    pub(super) fn elapsed(&mut self) -> Duration {
        match &mut self.clock {
            ClockSource::Real { born } => instant().saturating_duration_since(*born),
            ClockSource::Rehearsed => Duration::ZERO,
            ClockSource::Fixed { readings } => {
                *readings = readings.saturating_add(1);
                RESOLUTION * *readings
            }
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        match &mut self.random {
            RandomSource::Kernel => from_kernel(bytes),
            RandomSource::Sequence(state) => {
                for part in bytes.chunks_mut(size_of::<u64>()) {
                    part.copy_from_slice(&split_mix(state).to_le_bytes()[..part.len()]);
                }
                Ok(())
            }
        }
    }

    pub(super) fn random_u64(&mut self) -> wasmtime::Result<u64> {
        let mut bytes = [0; size_of::<u64>()];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if count > RANDOM_BYTES_MAX {
            let text = format!("asked for {count} random bytes at once, where {RANDOM_BYTES_MAX} is the most");
            return Err(Refused::because(text));
        }
        let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// A call that the host refused, which traps in the guest.
#[derive(Debug)]
pub(in crate::plugin) struct Refused(String);

impl Refused {
    pub(super) fn because(text: String) -> wasmtime::Error {
        Refused(text).into()
    }

    /// The guest ended itself. No process ends: the call does, and its instance.
    pub(super) fn exited(code: u32) -> wasmtime::Error {
        Refused::because(format!("ended itself with the exit code {code}"))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the plugin asks for the host's clock")]
fn instant() -> Instant {
    Instant::now()
}

/// A clock before 1970 returns 1970.
#[expect(clippy::disallowed_methods, reason = "the plugin asks for the host's clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Fills the slice from the kernel, which may return fewer bytes than asked for.
fn from_kernel(bytes: &mut [u8]) -> wasmtime::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Refused::because(format!("the host has no random numbers: {error}"))),
        }
    }
    Ok(())
}

/// The next number of SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_grants_the_time_stands_still_and_waiting_ends() {
        let mut given = WasiState::new(&Grants::default(), false);
        let mut again = WasiState::new(&Grants::default(), false);
        assert_eq!((given.now(), given.elapsed()), (Duration::ZERO, RESOLUTION));
        assert_eq!((given.now(), given.elapsed()), (Duration::ZERO, RESOLUTION * 2));
        assert_eq!(given.random_bytes(100).unwrap(), again.random_bytes(100).unwrap());
        assert_eq!(given.env().count(), 0);
    }

    #[test]
    fn random_bytes_are_bounded_filled_and_the_same_in_every_rehearsal() {
        for rehearsal in [false, true] {
            let mut given = WasiState::new(&Grants::all(), rehearsal);
            let mut again = WasiState::new(&Grants::all(), rehearsal);
            assert_eq!(given.random_bytes(0).unwrap(), b"");
            let many = given.random_bytes(RANDOM_BYTES_MAX).unwrap();
            assert_eq!(many.len() as u64, RANDOM_BYTES_MAX);
            assert!(many.chunks(64).all(|part| part.iter().any(|byte| *byte != 0)));
            assert_eq!(again.random_bytes(RANDOM_BYTES_MAX).unwrap() == many, rehearsal);
            let refused = given.random_bytes(RANDOM_BYTES_MAX + 1).unwrap_err().to_string();
            assert!(refused.contains("65537"), "{refused}");
        }
    }
}
