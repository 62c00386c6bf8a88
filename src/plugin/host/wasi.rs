//! The WASI interfaces that a step may grant: clocks, random numbers, and an environment of its own.
//!
//! They are defined for every component, and `clock::admit` rejects one that imports what its step doesn't grant.
//! Invariant: the result of a call is bounded, and no call waits.

use std::fmt;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::rand::GetRandomFlags;
use rustix::rand::getrandom;
use wasmtime::StoreContextMut;
use wasmtime::component::ComponentType;
use wasmtime::component::Linker;
use wasmtime::component::Lower;

use crate::plugin::grants::Grants;
use crate::plugin::host::Host;
use crate::secret::Secret;

/// The most random bytes that one call returns.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// The reported resolution of the clocks; the host's own are finer.
const RESOLUTION: Duration = Duration::from_micros(1);

/// The fixed time of a rehearsal: 2026-01-01T00:00:00Z.
const REHEARSED: Duration = Duration::from_secs(1_767_225_600);

/// The data behind the grants of one instance.
pub(in crate::plugin) struct WasiState {
    env: Vec<(String, Secret)>,
    clock: ClockSource,
}

enum ClockSource {
    /// The host's own clocks and random numbers. The monotonic clock starts with the instance.
    Real { born: Instant },
    /// Fixed values, the same for every instance.
    Rehearsed { random: u64 },
}

impl WasiState {
    pub(in crate::plugin) fn new(grants: &Grants, rehearsal: bool) -> WasiState {
        let clock =
            if rehearsal { ClockSource::Rehearsed { random: 0 } } else { ClockSource::Real { born: instant() } };
        WasiState { env: grants.env.clone().unwrap_or_default(), clock }
    }

    /// The time since 1970.
    fn now(&self) -> Duration {
        match self.clock {
            ClockSource::Real { .. } => since_1970(),
            ClockSource::Rehearsed { .. } => REHEARSED,
        }
    }

    /// The time since the instance was created.
    fn elapsed(&self) -> Duration {
        match self.clock {
            ClockSource::Real { born } => instant().saturating_duration_since(born),
            ClockSource::Rehearsed { .. } => Duration::ZERO,
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        match &mut self.clock {
            ClockSource::Real { .. } => from_kernel(bytes),
            ClockSource::Rehearsed { random } => {
                for part in bytes.chunks_mut(size_of::<u64>()) {
                    part.copy_from_slice(&split_mix(random).to_le_bytes()[..part.len()]);
                }
                Ok(())
            }
        }
    }

    fn random_u64(&mut self) -> wasmtime::Result<u64> {
        let mut bytes = [0; size_of::<u64>()];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if count > RANDOM_BYTES_MAX {
            let text = format!("asked for {count} random bytes at once, where {RANDOM_BYTES_MAX} is the most");
            return Err(Refused(text).into());
        }
        let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// A call that the host refused, which traps in the guest.
#[derive(Debug)]
pub(in crate::plugin) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl From<Duration> for Datetime {
    fn from(time: Duration) -> Datetime {
        Datetime { seconds: time.as_secs(), nanoseconds: time.subsec_nanos() }
    }
}

type Context<'a> = StoreContextMut<'a, Host>;

/// Defines the interfaces for any version 0.2.
pub(in crate::plugin) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut wall = linker.instance("wasi:clocks/wall-clock@0.2.0")?;
    wall.func_wrap("now", |store: Context<'_>, (): ()| Ok((Datetime::from(store.data().given.now()),)))?;
    wall.func_wrap("resolution", |_: Context<'_>, (): ()| Ok((Datetime::from(RESOLUTION),)))?;
    let mut monotonic = linker.instance("wasi:clocks/monotonic-clock@0.2.0")?;
    monotonic.func_wrap("now", |store: Context<'_>, (): ()| Ok((nanoseconds(store.data().given.elapsed()),)))?;
    monotonic.func_wrap("resolution", |_: Context<'_>, (): ()| Ok((nanoseconds(RESOLUTION),)))?;

    let mut random = linker.instance("wasi:random/random@0.2.0")?;
    random.func_wrap("get-random-bytes", bytes)?;
    random.func_wrap("get-random-u64", number)?;
    let mut insecure = linker.instance("wasi:random/insecure@0.2.0")?;
    insecure.func_wrap("get-insecure-random-bytes", bytes)?;
    insecure.func_wrap("get-insecure-random-u64", number)?;
    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.0")?;
    seed.func_wrap("insecure-seed", |mut store: Context<'_>, (): ()| {
        let given = &mut store.data_mut().given;
        Ok(((given.random_u64()?, given.random_u64()?),))
    })?;

    let mut environment = linker.instance("wasi:cli/environment@0.2.0")?;
    environment.func_wrap("get-environment", |store: Context<'_>, (): ()| {
        let env = store.data().given.env.iter();
        Ok((env.map(|(name, value)| (name.clone(), value.0.clone())).collect::<Vec<_>>(),))
    })?;
    environment.func_wrap("get-arguments", |_: Context<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_: Context<'_>, (): ()| Ok((None::<String>,)))?;
    Ok(())
}

fn bytes(mut store: Context<'_>, (count,): (u64,)) -> wasmtime::Result<(Vec<u8>,)> {
    Ok((store.data_mut().given.random_bytes(count)?,))
}

fn number(mut store: Context<'_>, (): ()) -> wasmtime::Result<(u64,)> {
    Ok((store.data_mut().given.random_u64()?,))
}

fn nanoseconds(time: Duration) -> u64 {
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
            Err(error) => return Err(Refused(format!("the host has no random numbers: {error}")).into()),
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
