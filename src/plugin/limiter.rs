//! Limits the memory of one instance, over everything in its store.
//!
//! wasmtime's own limits apply to each memory separately: a thousand memories of 1 MiB would pass a limit of 64 MiB.
//! This limiter adds up the bytes of all memories and tables, and takes them from the memory that all pipelines of the
//! process share. It also remembers a refusal, so that the trap that usually follows can be attributed to it. Invariant:
//! the store has at most the bytes that are held, and these are at most `bytes_max`.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::budget::HeldMemory;
use crate::budget::MemoryAccount;
use crate::budget::MemoryKind;

/// A component contains a few core modules, each with a memory and one or two tables. No guest language needs more.
pub(super) const MEMORIES_MAX: usize = 4;
pub(super) const TABLES_MAX: usize = 16;
pub(super) const INSTANCES_MAX: usize = 64;

/// The host's memory for one table entry.
const TABLE_ENTRY_BYTES: u64 = 8;

/// The memory of one store.
pub(super) struct Limiter {
    held: HeldMemory,
    bytes_max: u64,
    refused: Option<Refusal>,
}

/// Whose limit refused memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The store's own.
    Own,
    /// That of all pipelines together: the bytes that they have, and the limit.
    Process { total: u64, limit: u64 },
}

impl Limiter {
    /// A limiter of a store of this pipeline.
    pub(super) fn new(bytes_max: u64, account: &Arc<MemoryAccount>) -> Limiter {
        Limiter { held: HeldMemory::new(account, MemoryKind::Plugins), bytes_max, refused: None }
    }

    /// The bytes of all memories and tables.
    pub(super) fn bytes(&self) -> u64 {
        self.held.bytes()
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The last refusal since the last call of [`Limiter::forget_refusal`].
    pub(super) fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    pub(super) fn forget_refusal(&mut self) {
        self.refused = None;
    }

    /// Refuses growth beyond the maximum of the memory or table itself without counting it, so that nearly all counted
    /// growth succeeds.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit: u64) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let more = (desired.saturating_sub(current) as u64).saturating_mul(unit);
        if self.held.bytes().checked_add(more).is_none_or(|bytes| bytes > self.bytes_max) {
            self.refused = Some(Refusal::Own);
            return false;
        }
        let has_grown = self.held.try_grow(more);
        if !has_grown {
            let budget = self.held.budget();
            self.refused = Some(Refusal::Process { total: budget.total(), limit: budget.limit().unwrap_or(u64::MAX) });
        }
        has_grown
    }

    /// Growth failed inside wasmtime. Nothing is subtracted: for some kinds of memory wasmtime also reports requests
    /// that this limiter never saw, and a guest could alternate between the two to hide its real growth.
    fn fail(&mut self) {
        self.refused = Some(Refusal::Own);
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
    use crate::budget::MemoryBudget;

    fn limiter() -> Limiter {
        Limiter::new(1000, &Arc::default())
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert_eq!(limiter.refused(), None);
        assert!(!limiter.memory_growing(0, 201, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refusal::Own));
        assert!(limiter.memory_growing(600, 800, None).unwrap());
        assert_eq!(limiter.bytes(), 1000);
    }

    #[test]
    fn a_failed_growth_that_was_never_counted_subtracts_nothing() {
        let mut limiter = limiter();
        for _ in 0..10 {
            limiter.memory_growing(0, 900, None).unwrap();
            limiter.memory_grow_failed(wasmtime::Error::msg("beyond 4 GiB")).unwrap();
        }
        assert_eq!(limiter.bytes(), 900);
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn growth_beyond_a_memorys_own_maximum_is_not_counted() {
        let mut limiter = limiter();
        assert!(!limiter.memory_growing(0, 900, Some(800)).unwrap());
        assert_eq!((limiter.bytes(), limiter.refused()), (0, None));
    }

    #[test]
    fn what_the_process_refuses_is_not_counted_and_what_a_store_had_is_given_back() {
        let budget = MemoryBudget::new(Some(1000));
        let account = budget.account("orders");
        let mut one = Limiter::new(5000, &account);
        let mut two = Limiter::new(5000, &account);
        assert!(one.memory_growing(0, 700, None).unwrap() && two.memory_growing(0, 200, None).unwrap());
        assert!(!two.memory_growing(200, 301, None).unwrap());
        assert_eq!(two.refused(), Some(Refusal::Process { total: 900, limit: 1000 }));
        assert_eq!(two.bytes(), 200);
        assert!(!two.table_growing(0, 600, None).unwrap());
        two.forget_refusal();
        drop(one);
        assert!(two.memory_growing(200, 1000, None).unwrap());
        assert_eq!((two.refused(), budget.total()), (None, 1000));
        assert!(!two.memory_growing(1000, 5001, None).unwrap());
        assert_eq!(two.refused(), Some(Refusal::Own), "its own limit comes first");
    }
}
