//! PURE. The transaction of a worker that delivers exactly once: when outputs may be sent, and when they count.
//!
//! ```text
//!   Starting --ready--> Idle --begin--> Open --close--> Closing --commit--> Committing --committed--> Idle
//!      ^                                                                         |
//!      +------------- failed, in any state: the next producer starts ------------+
//! ```
//!
//! Outputs and dead letters enter the transaction only if all records before theirs in the partition have an outcome. While it
//! closes, no further record enters it, and what belongs to records below the last one that did is finished. So the offsets are those
//! of exactly the records whose outputs are in it.

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    /// The producer has no id yet.
    Starting,
    /// No transaction is open.
    Idle,
    /// Outputs may be sent.
    Open,
    /// What was sent is waited for. `is_begun` tells whether the producer has a transaction.
    Closing { is_begun: bool },
    /// Offsets and the end of the transaction are on their way.
    Committing,
}

/// Which outputs may enter a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// Those of records below the last one with an output in it.
    Rest,
    /// Those of records below which every record has an outcome.
    Produced,
}

impl Transaction {
    /// Which outputs may be sent now; outside of a transaction one has to be begun first.
    pub(super) fn takes(self) -> Takes {
        match self {
            Transaction::Idle | Transaction::Open => Takes::Produced,
            Transaction::Closing { .. } => Takes::Rest,
            Transaction::Starting | Transaction::Committing => Takes::Nothing,
        }
    }

    /// Whether outputs that are sent now would be in no transaction.
    pub(super) fn is_to_begin(self) -> bool {
        self == Transaction::Idle
    }

    /// Whether the producer has a transaction that isn't committed.
    pub(super) fn is_open(self) -> bool {
        !matches!(self, Transaction::Starting | Transaction::Idle | Transaction::Closing { is_begun: false })
    }

    /// The producer has its id.
    pub(super) fn ready(&mut self) {
        if *self == Transaction::Starting {
            *self = Transaction::Idle;
        }
    }

    /// The producer began a transaction.
    pub(super) fn begun(&mut self) {
        *self = match *self {
            Transaction::Idle | Transaction::Open => Transaction::Open,
            Transaction::Closing { .. } => Transaction::Closing { is_begun: true },
            other @ (Transaction::Starting | Transaction::Committing) => other,
        };
    }

    /// Closes the transaction, so that it can be committed. `false` if there can be nothing to commit: nothing was sent by a producer
    /// without an id.
    pub(super) fn close(&mut self) -> bool {
        match *self {
            Transaction::Starting => return false,
            Transaction::Idle => *self = Transaction::Closing { is_begun: false },
            Transaction::Open => *self = Transaction::Closing { is_begun: true },
            Transaction::Closing { .. } | Transaction::Committing => {}
        }
        true
    }

    /// The commit is on its way.
    pub(super) fn commits(&mut self) {
        *self = Transaction::Committing;
    }

    /// The transaction was committed, or there was nothing to commit.
    pub(super) fn committed(&mut self) {
        *self = Transaction::Idle;
    }

    /// The producer was replaced.
    pub(super) fn restart(&mut self) {
        *self = Transaction::Starting;
    }
}
