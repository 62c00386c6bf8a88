//! Memory that the pipelines of a process share: who holds how much of what, and how much all of them may hold together.
//!
//! What is in flight can't be refused, as it was read already, and state is measured once a second: both are only counted, and readers slow
//! down while little is left. Memory of plugins is refused when it would exceed the limit. What a value holds is given back when it is
//! dropped. Invariant: the total is the sum of what the accounts hold.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Records that were read, and outputs that are not acknowledged.
    InFlight,
    /// Memories and tables of plugins' instances.
    Plugins,
    /// Tables of steps with windows.
    State,
}

impl MemoryKind {
    /// All of them.
    pub const ALL: [MemoryKind; 3] = [MemoryKind::InFlight, MemoryKind::Plugins, MemoryKind::State];

    /// Its name in metrics and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            MemoryKind::InFlight => "in_flight",
            MemoryKind::Plugins => "plugins",
            MemoryKind::State => "state",
        }
    }

    fn index(self) -> usize {
        match self {
            MemoryKind::InFlight => 0,
            MemoryKind::Plugins => 1,
            MemoryKind::State => 2,
        }
    }
}

/// Bytes of each kind.
type Bytes = [AtomicU64; 3];

/// The memory of a process.
#[derive(Debug, Default)]
pub struct MemoryBudget {
    /// `None`: nothing is refused.
    limit: Option<u64>,
    total: AtomicU64,
    used: Bytes,
    /// Locked to add an account and to copy the list; no other lock is taken under it.
    accounts: Mutex<Vec<Weak<MemoryAccount>>>,
    /// When the holders were last named. Locked to read and set it.
    named: Mutex<Option<Instant>>,
}

/// The holders are named again after this time.
const NAME_AGAIN: Duration = Duration::from_secs(60);

/// The most pipelines that a message names.
const NAMED_MAX: usize = 10;

impl MemoryBudget {
    /// A budget with this limit in bytes, or without one.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget { limit, ..MemoryBudget::default() })
    }

    /// Opens the account of a pipeline.
    #[must_use]
    pub fn account(self: &Arc<MemoryBudget>, pipeline: &str) -> Arc<MemoryAccount> {
        let account =
            Arc::new(MemoryAccount { budget: Arc::clone(self), pipeline: pipeline.into(), used: Bytes::default() });
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|account| account.strong_count() > 0);
        accounts.push(Arc::downgrade(&account));
        account
    }

    /// The most bytes of all pipelines together.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The bytes of all pipelines together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The bytes of one kind.
    #[must_use]
    pub fn used(&self, kind: MemoryKind) -> u64 {
        self.used[kind.index()].load(Ordering::Relaxed)
    }

    /// What doesn't fall while records are processed: plugins and state.
    fn lasting(&self) -> u64 {
        self.used(MemoryKind::Plugins).saturating_add(self.used(MemoryKind::State))
    }

    /// Whether state that grows has to stop its pipeline: what doesn't fall by itself has exceeded the limit.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.limit.is_some_and(|limit| self.lasting() > limit)
    }

    /// Whether readers have to slow down. `was_short` is the last answer: memory that is short once stays so until a fifth is free.
    #[must_use]
    pub fn is_short(&self, was_short: bool) -> bool {
        self.limit.is_some_and(|limit| self.total() > if was_short { low(limit) } else { high(limit) })
    }

    /// What holds the memory, if readers have to slow down because of what doesn't fall by itself. `None` if there is room, or will be.
    #[must_use]
    pub fn holders(&self) -> Option<String> {
        let limit = self.limit.filter(|limit| self.lasting() > low(*limit))?;
        Some(format!("{} of {} are held: {}", Mib(self.total()), Mib(limit), self.shares()))
    }

    /// The same, if it was not asked for in the last minute.
    pub fn holders_to_name(&self, now: Instant) -> Option<String> {
        let holders = self.holders()?;
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.is_some_and(|at| now.saturating_duration_since(at) < NAME_AGAIN) {
            return None;
        }
        *named = Some(now);
        Some(holders)
    }

    /// The pipelines that hold the most, and what.
    fn shares(&self) -> String {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut accounts: Vec<Arc<MemoryAccount>> = accounts.iter().filter_map(Weak::upgrade).collect();
        accounts.sort_by_key(|account| std::cmp::Reverse(account.total()));
        let share = |account: &Arc<MemoryAccount>| {
            let kinds = MemoryKind::ALL.iter().filter(|kind| account.used(**kind) > 0);
            let kinds: Vec<String> =
                kinds.map(|kind| format!("{} {}", kind.label(), Mib(account.used(*kind)))).collect();
            format!("`{}` ({})", account.pipeline, kinds.join(", "))
        };
        let holding = accounts.iter().filter(|account| account.total() > 0);
        let mut named: Vec<String> = holding.clone().take(NAMED_MAX).map(share).collect();
        let others = holding.count().saturating_sub(NAMED_MAX);
        if others > 0 {
            named.push(format!("{others} more"));
        }
        named.join(", ")
    }

    /// Takes bytes, unless the limit would be exceeded.
    fn try_take(&self, bytes: u64) -> bool {
        let limit = self.limit.unwrap_or(u64::MAX);
        let take = |total: u64| total.checked_add(bytes).filter(|total| *total <= limit);
        self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Readers slow down above nine tenths of the limit, so that plugins find room for a while.
fn high(limit: u64) -> u64 {
    limit - limit / 10
}

/// They go on at full speed below four fifths.
fn low(limit: u64) -> u64 {
    limit - limit / 5
}

/// What a pipeline holds.
#[derive(Debug)]
pub struct MemoryAccount {
    budget: Arc<MemoryBudget>,
    pipeline: Box<str>,
    used: Bytes,
}

impl Default for MemoryAccount {
    /// An account of a pipeline that has the process to itself.
    fn default() -> MemoryAccount {
        MemoryAccount { budget: MemoryBudget::new(None), pipeline: Box::default(), used: Bytes::default() }
    }
}

impl MemoryAccount {
    /// The memory of the process.
    #[must_use]
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// The bytes of one kind.
    #[must_use]
    pub fn used(&self, kind: MemoryKind) -> u64 {
        self.used[kind.index()].load(Ordering::Relaxed)
    }

    fn total(&self) -> u64 {
        MemoryKind::ALL.iter().map(|kind| self.used(*kind)).sum()
    }
}

/// Memory of one kind that somebody holds for a pipeline. Dropping it gives all of it back.
#[derive(Debug)]
pub struct HeldMemory {
    account: Arc<MemoryAccount>,
    kind: MemoryKind,
    bytes: u64,
}

impl HeldMemory {
    /// Nothing.
    #[must_use]
    pub fn new(account: &Arc<MemoryAccount>, kind: MemoryKind) -> HeldMemory {
        HeldMemory { account: Arc::clone(account), kind, bytes: 0 }
    }

    /// The bytes that are held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory of the process.
    #[must_use]
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.account.budget
    }

    /// Holds more. `false` if the limit of the process would be exceeded, and then nothing changes.
    pub fn try_grow(&mut self, more: u64) -> bool {
        if !self.account.budget.try_take(more) {
            return false;
        }
        self.count(more);
        true
    }

    /// Holds this much from now on, whether or not the limit of the process is exceeded.
    pub fn set(&mut self, bytes: u64) {
        if let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) {
            self.account.budget.total.fetch_add(more, Ordering::Relaxed);
            self.count(more);
        }
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.account.budget.total.fetch_sub(less, Ordering::Relaxed);
            for used in self.counters() {
                used.fetch_sub(less, Ordering::Relaxed);
            }
            self.bytes = bytes;
        }
    }

    /// Counts what was added to the total.
    fn count(&mut self, more: u64) {
        for used in self.counters() {
            used.fetch_add(more, Ordering::Relaxed);
        }
        self.bytes += more;
    }

    fn counters(&self) -> [&AtomicU64; 2] {
        let kind = self.kind.index();
        [&self.account.used[kind], &self.account.budget.used[kind]]
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes for messages, in MiB.
pub struct Mib(pub u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 10 << 20 => write!(f, "{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn held(account: &Arc<MemoryAccount>, kind: MemoryKind, bytes: u64) -> HeldMemory {
        let mut held = HeldMemory::new(account, kind);
        held.set(bytes);
        held
    }

    #[test]
    fn plugins_of_all_pipelines_share_one_limit_and_give_back_what_they_held() {
        let budget = MemoryBudget::new(Some(100));
        let [one, two] = ["one", "two"].map(|name| budget.account(name));
        let mut first = HeldMemory::new(&one, MemoryKind::Plugins);
        let mut second = HeldMemory::new(&two, MemoryKind::Plugins);
        assert!(first.try_grow(60) && second.try_grow(40));
        assert!(!second.try_grow(1) && !second.try_grow(u64::MAX));
        assert_eq!((first.bytes(), second.bytes(), budget.total()), (60, 40, 100));
        drop(first);
        assert!(second.try_grow(60));
        assert_eq!((budget.total(), budget.used(MemoryKind::Plugins), one.total(), two.total()), (100, 100, 0, 100));
        let mut free = HeldMemory::new(&Arc::default(), MemoryKind::Plugins);
        assert!(free.try_grow(1 << 50), "without a limit nothing is refused");
    }

    #[test]
    fn what_is_in_flight_is_never_refused_and_slows_readers_down_until_a_fifth_is_free() {
        let budget = MemoryBudget::new(Some(100));
        let account = budget.account("one");
        let mut records = HeldMemory::new(&account, MemoryKind::InFlight);
        let mut is_short = false;
        for (bytes, expected) in
            [(0, false), (90, false), (91, true), (300, true), (85, true), (81, true), (80, false), (90, false)]
        {
            records.set(bytes);
            is_short = budget.is_short(is_short);
            assert_eq!((is_short, budget.total()), (expected, bytes), "{bytes}");
            assert!(!budget.is_exceeded() && budget.holders().is_none(), "it falls by itself");
        }
        drop(records);
        assert_eq!(budget.total(), 0);
    }

    #[test]
    fn memory_that_does_not_fall_by_itself_is_named_with_its_holders_once_a_minute() {
        let budget = MemoryBudget::new(Some(100 * MIB));
        let [one, two] = ["one", "two"].map(|name| budget.account(name));
        let _records = held(&one, MemoryKind::InFlight, 5 * MIB);
        let mut state = held(&two, MemoryKind::State, 60 * MIB);
        let _plugins = held(&two, MemoryKind::Plugins, 25 * MIB + MIB / 2);
        let named = "90 MiB of 100 MiB are held: `two` (plugins 25 MiB, state 60 MiB), `one` (in_flight 5.0 MiB)";
        assert_eq!(budget.holders().as_deref(), Some(named));
        #[expect(clippy::disallowed_methods, reason = "a test of times")]
        let start = Instant::now();
        let named = |seconds| budget.holders_to_name(start + Duration::from_secs(seconds)).is_some();
        assert_eq!([0, 1, 59, 60, 61].map(named), [true, false, false, true, false]);
        assert!(!budget.is_exceeded());
        state.set(75 * MIB);
        assert!(budget.is_exceeded());
        state.set(0);
        assert_eq!(budget.holders(), None);
    }

    #[test]
    fn threads_that_grow_at_once_never_exceed_the_limit() {
        let budget = MemoryBudget::new(Some(1000));
        let grow = |number: u64| {
            let account = budget.account(&number.to_string());
            move || {
                for _ in 0..200 {
                    let mut held = HeldMemory::new(&account, MemoryKind::Plugins);
                    while held.try_grow(7 + number) {
                        assert!(account.budget().total() <= 1000);
                    }
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|number| thread::spawn(grow(number))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((budget.total(), budget.used(MemoryKind::Plugins)), (0, 0));
        assert_eq!(budget.shares(), "");
    }
}
