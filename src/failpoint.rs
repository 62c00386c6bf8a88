//! Points on a record's path where a test can abort this process or make a thread panic.
//!
//! Without the feature `failpoints`, [`pass`] is an empty function. With it, the environment variable `WASMILL_FAILPOINT` selects a
//! point and what happens there: `after-store=abort@40` aborts the process when that point is passed for the 40th time, `panic`
//! instead of `abort` makes the passing thread panic, and `after-guest=hold@3` holds the passing thread for 3 ms each time. The crate `fail` is not used because it can't abort, and because it needs a
//! macro at every point and a set-up at the start.

#[cfg(not(feature = "failpoints"))]
use std::time::Duration;

/// The step of a record's path that was just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A record was polled. On the worker's thread.
    AfterPoll,
    /// A plugin returned its results. On an executor's thread.
    AfterGuest,
    /// An output was handed to the producer. On the worker's thread.
    AfterEnqueue,
    /// The broker acknowledged outputs, and the worker doesn't know yet. On librdkafka's thread.
    InDelivery,
    /// The worker has processed acknowledgements. On the worker's thread.
    AfterAck,
    /// Offsets were stored for the next commit. On the worker's thread.
    AfterStore,
    /// A commit was handed to the client. On the worker's thread.
    CommitSent,
    /// A commit was answered. On the worker's thread.
    CommitAcked,
    /// A transaction was begun, and nothing is in it. On the worker's thread.
    TransactionBegun,
    /// A transaction's offsets and its end are about to be sent. On the worker's thread.
    TransactionEnds,
    /// The broker committed a transaction. On the worker's thread.
    TransactionCommitted,
    /// A changed cell was handed to the producer, for a changelog. On the worker's thread.
    CellEnqueued,
    /// The same for a control record.
    ControlEnqueued,
    /// The same for a tombstone.
    TombstoneEnqueued,
    /// All cells of a cycle are acknowledged, at least once. On the worker's thread.
    CellsAcked,
    /// The same for its control record.
    ControlAcked,
    /// The same for its tombstones.
    TombstonesAcked,
    /// Partitions are about to be unassigned. On the worker's thread.
    InRevoke,
    /// Partitions were assigned. On the worker's thread.
    AfterAssign,
    /// A record of a changelog was read. On the thread that restores the partition.
    InRestore,
    /// A changed file was read, and its steps are about to be loaded. On the reload thread.
    InReload,
    /// A worker has ended and its state says so, and its clients are about to be destroyed. On the worker's thread.
    WorkerEnded,
}

/// Marks that this point was reached.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_point: Point) {}

/// Shortens a wait of seconds or minutes in tests: `WASMILL_HASTE` divides it.
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

    const NAMES: [(&str, Point); 22] = [
        ("after-poll", Point::AfterPoll),
        ("after-guest", Point::AfterGuest),
        ("after-enqueue", Point::AfterEnqueue),
        ("in-delivery", Point::InDelivery),
        ("after-ack", Point::AfterAck),
        ("after-store", Point::AfterStore),
        ("commit-sent", Point::CommitSent),
        ("commit-acked", Point::CommitAcked),
        ("transaction-begun", Point::TransactionBegun),
        ("transaction-ends", Point::TransactionEnds),
        ("transaction-committed", Point::TransactionCommitted),
        ("cell-enqueued", Point::CellEnqueued),
        ("control-enqueued", Point::ControlEnqueued),
        ("tombstone-enqueued", Point::TombstoneEnqueued),
        ("cells-acked", Point::CellsAcked),
        ("control-acked", Point::ControlAcked),
        ("tombstones-acked", Point::TombstonesAcked),
        ("in-revoke", Point::InRevoke),
        ("after-assign", Point::AfterAssign),
        ("in-restore", Point::InRestore),
        ("in-reload", Point::InReload),
        ("worker-ended", Point::WorkerEnded),
    ];

    #[derive(Debug)]
    struct Armed {
        point: Point,
        what: What,
        /// The number of the pass, or milliseconds.
        at: u64,
        passed: AtomicU64,
    }

    #[derive(Clone, Copy, Debug)]
    enum What {
        Abort,
        Panic,
        Hold,
    }

    /// Marks that this point was reached.
    ///
    /// # Panics
    /// If `WASMILL_FAILPOINT` says so, or can't be parsed.
    pub fn pass(point: Point) {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| {
            let told = env::var("WASMILL_FAILPOINT").ok()?;
            Some(
                parse(&told)
                    .unwrap_or_else(|| panic!("WASMILL_FAILPOINT={told:?} is not `POINT=abort|panic|hold@NUMBER`")),
            )
        });
        let Some(armed) = armed.as_ref().filter(|armed| armed.point == point) else { return };
        let is_it = armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.at;
        match armed.what {
            What::Hold => std::thread::sleep(Duration::from_millis(armed.at)),
            What::Panic if is_it => panic!("told to panic at {point:?}"),
            What::Abort if is_it => std::process::abort(),
            What::Panic | What::Abort => {}
        }
    }

    /// Shortens a wait of seconds or minutes: `WASMILL_HASTE` divides it.
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
        let what = match what {
            "panic" => What::Panic,
            "abort" => What::Abort,
            "hold" => What::Hold,
            _ => return None,
        };
        Some(Armed { point, what, at: at.parse().ok()?, passed: AtomicU64::new(0) })
    }
}
