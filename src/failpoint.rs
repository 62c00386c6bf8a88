//! Places where a test makes this process die, or a thread panic, in the middle of a record's path.
//!
//! Without the feature `failpoints` a [`pass`] is an empty function. With it, `WASMILL_FAILPOINT` names what happens, as
//! `after-store=abort@40`: at the 40th passing of that point the process aborts, or with `panic` the thread that passes panics. A
//! module of our own instead of the crate `fail`: that one has no abort, and needs a macro at every point and a set-up at the start.

#[cfg(not(feature = "failpoints"))]
use std::time::Duration;

/// A step of a record's path that was just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A record was polled. On the worker's thread.
    AfterPoll,
    /// A plugin returned from its records. On an executor's thread.
    AfterGuest,
    /// An output was handed to the producer. On the worker's thread.
    AfterEnqueue,
    /// The broker acknowledged outputs, which the worker doesn't know yet. On librdkafka's thread.
    InDelivery,
    /// The worker took note of acknowledged outputs.
    AfterAck,
    /// Offsets were stored for the next commit. On the worker's thread.
    AfterStore,
    /// A commit was handed to the client. On the worker's thread.
    CommitSent,
    /// A commit was answered. On the worker's thread.
    CommitAcked,
    /// Partitions are about to be given back. On the worker's thread.
    InRevoke,
    /// Partitions were taken over. On the worker's thread.
    AfterAssign,
    /// A changed file was read, and its steps are about to be loaded. On the thread that reloads.
    InReload,
}

/// This point was reached.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_point: Point) {}

/// How long something is waited for that takes seconds or minutes: in a test, `WASMILL_HASTE` divides it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
#[must_use]
pub fn hasten(wait: Duration) -> Duration {
    wait
}

#[cfg(feature = "failpoints")]
pub use armed::hasten;
#[cfg(feature = "failpoints")]
pub use armed::pass;

#[cfg(feature = "failpoints")]
mod armed {
    use std::env;
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::Point;

    const NAMES: [(&str, Point); 11] = [
        ("after-poll", Point::AfterPoll),
        ("after-guest", Point::AfterGuest),
        ("after-enqueue", Point::AfterEnqueue),
        ("in-delivery", Point::InDelivery),
        ("after-ack", Point::AfterAck),
        ("after-store", Point::AfterStore),
        ("commit-sent", Point::CommitSent),
        ("commit-acked", Point::CommitAcked),
        ("in-revoke", Point::InRevoke),
        ("after-assign", Point::AfterAssign),
        ("in-reload", Point::InReload),
    ];

    #[derive(Debug)]
    struct Armed {
        point: Point,
        panics: bool,
        at: u64,
        passed: AtomicU64,
    }

    /// This point was reached.
    ///
    /// # Panics
    /// If it was told to, or was told something that it doesn't understand.
    pub fn pass(point: Point) {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| {
            let told = env::var("WASMILL_FAILPOINT").ok()?;
            Some(parse(&told).unwrap_or_else(|| panic!("WASMILL_FAILPOINT={told:?} is not `POINT=abort|panic@NUMBER`")))
        });
        let Some(armed) = armed.as_ref().filter(|armed| armed.point == point) else { return };
        if armed.passed.fetch_add(1, Ordering::Relaxed) + 1 != armed.at {
            return;
        }
        if armed.panics {
            panic!("told to panic at {point:?}");
        }
        std::process::abort();
    }

    /// How long something is waited for that takes seconds or minutes: `WASMILL_HASTE` divides it.
    #[must_use]
    pub fn hasten(wait: Duration) -> Duration {
        static HASTE: OnceLock<u32> = OnceLock::new();
        let told = || env::var("WASMILL_HASTE").ok().and_then(|told| told.parse().ok());
        wait / (*HASTE.get_or_init(|| told().unwrap_or(1))).max(1)
    }

    fn parse(told: &str) -> Option<Armed> {
        let (name, rest) = told.split_once('=')?;
        let (what, at) = rest.split_once('@')?;
        let &(_, point) = NAMES.iter().find(|(known, _)| *known == name)?;
        let panics = match what {
            "panic" => true,
            "abort" => false,
            _ => return None,
        };
        Some(Armed { point, panics, at: at.parse().ok()?, passed: AtomicU64::new(0) })
    }
}
