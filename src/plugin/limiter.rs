//! Limits the memory of one instance, over everything in its store.
//!
//! wasmtime's own limits apply to each memory separately: a thousand memories of 1 MiB would pass a limit of 64 MiB.
//! This limiter adds up the bytes of all memories and tables. It also remembers a refusal, so that the trap that
//! usually follows can be attributed to it. Invariant: the store has at most `bytes`, and `bytes` is at most
//! `bytes_max`.

use wasmtime::ResourceLimiter;

/// A component contains a few core modules, each with a memory and one or two tables. No guest language needs more.
pub(super) const MEMORIES_MAX: usize = 4;
pub(super) const TABLES_MAX: usize = 16;
pub(super) const INSTANCES_MAX: usize = 64;

/// The host's memory for one table entry.
const TABLE_ENTRY_BYTES: u64 = 8;

/// The memory of one store.
pub(super) struct Limiter {
    bytes: u64,
    bytes_max: u64,
    refused: bool,
}

impl Limiter {
    pub(super) fn new(bytes_max: u64) -> Limiter {
        Limiter { bytes: 0, bytes_max, refused: false }
    }

    /// The bytes of all memories and tables.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether memory was refused since the last call of [`Limiter::forget_refusal`].
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    pub(super) fn forget_refusal(&mut self) {
        self.refused = false;
    }

    /// Refuses growth beyond the maximum of the memory or table itself without counting it, so that nearly all counted
    /// growth succeeds.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit: u64) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let more = (desired.saturating_sub(current) as u64).saturating_mul(unit);
        match self.bytes.checked_add(more) {
            Some(bytes) if bytes <= self.bytes_max => {
                self.bytes = bytes;
                true
            }
            Some(_) | None => {
                self.refused = true;
                false
            }
        }
    }

    /// Growth failed inside wasmtime. Nothing is subtracted: for some kinds of memory wasmtime also reports requests
    /// that this limiter never saw, and a guest could alternate between the two to hide its real growth.
    fn fail(&mut self) {
        self.refused = true;
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, 1))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.fail();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, TABLE_ENTRY_BYTES))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.fail();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.memory_growing(0, 201, None).unwrap());
        assert!(limiter.refused());
        assert!(limiter.memory_growing(600, 800, None).unwrap());
        assert_eq!(limiter.bytes(), 1000);
    }

    #[test]
    fn a_failed_growth_that_was_never_counted_subtracts_nothing() {
        let mut limiter = Limiter::new(1000);
        for _ in 0..10 {
            limiter.memory_growing(0, 900, None).unwrap();
            limiter.memory_grow_failed(wasmtime::Error::msg("beyond 4 GiB")).unwrap();
        }
        assert_eq!(limiter.bytes(), 900);
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn growth_beyond_a_memorys_own_maximum_is_not_counted() {
        let mut limiter = Limiter::new(1000);
        assert!(!limiter.memory_growing(0, 900, Some(800)).unwrap());
        assert_eq!((limiter.bytes(), limiter.refused()), (0, false));
    }
}
