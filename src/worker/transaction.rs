//! PURE. The transaction of a worker that delivers exactly once: when outputs may be sent, and when they count.
//!
//! ```text
//!   Starting --ready--> Idle --begin--> Open --close--> Closing --commit--> Committing --committed--> Idle
//!      ^                                                                         |
//!      +------------- failed, in any state: the next producer starts ------------+
//! ```
//!
//! A close that is asked for while it starts waits for the producer's id: offsets of a start may have to be committed.
//!
//! Outputs and dead letters enter the transaction only if all records before theirs in the partition have an outcome. While it
//! closes, no further record enters it, and what belongs to records below the last one that did is finished. So the offsets are those
//! of exactly the records whose outputs are in it.

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    /// The producer has no id yet. `is_closing` tells whether there are offsets to commit as soon as it has one.
    Starting { is_closing: bool },
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
            Transaction::Starting { .. } | Transaction::Committing => Takes::Nothing,
        }
    }

    /// Whether outputs that are sent now would be in no transaction.
    pub(super) fn is_to_begin(self) -> bool {
        matches!(self, Transaction::Idle | Transaction::Closing { is_begun: false })
    }

    /// Whether the producer has a transaction that isn't committed.
    pub(super) fn is_open(self) -> bool {
        !matches!(self, Transaction::Starting { .. } | Transaction::Idle | Transaction::Closing { is_begun: false })
    }

    /// Whether the producer has no id yet.
    pub(super) fn is_starting(self) -> bool {
        matches!(self, Transaction::Starting { .. })
    }

    /// The producer has its id.
    pub(super) fn ready(&mut self) {
        match *self {
            Transaction::Starting { is_closing: true } => *self = Transaction::Closing { is_begun: false },
            Transaction::Starting { is_closing: false } => *self = Transaction::Idle,
            Transaction::Idle | Transaction::Open | Transaction::Closing { .. } | Transaction::Committing => {}
        }
    }

    /// The producer began a transaction.
    pub(super) fn begun(&mut self) {
        *self = match *self {
            Transaction::Idle | Transaction::Open => Transaction::Open,
            Transaction::Closing { .. } => Transaction::Closing { is_begun: true },
            other @ (Transaction::Starting { .. } | Transaction::Committing) => other,
        };
    }

    /// Closes the transaction, so that it can be committed. `false` if there is nothing to commit: nothing was sent by a producer
    /// without an id, and there are no offsets either.
    pub(super) fn close(&mut self, has_offsets: bool) -> bool {
        match *self {
            Transaction::Starting { is_closing: false } if !has_offsets => return false,
            Transaction::Starting { .. } => *self = Transaction::Starting { is_closing: true },
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

    /// Nothing of it is to be committed any more, and the producer is to be replaced.
    pub(super) fn fail(&mut self) {
        *self = Transaction::Starting { is_closing: false };
    }

    /// The next producer starts. What was to be committed with nothing sent is committed as soon as it has its id.
    pub(super) fn restart(&mut self) {
        match *self {
            Transaction::Starting { .. } => {}
            Transaction::Closing { is_begun: false } => *self = Transaction::Starting { is_closing: true },
            Transaction::Idle | Transaction::Open | Transaction::Closing { .. } | Transaction::Committing => {
                self.fail()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Produce(usize),
        /// The number of outputs that the producer has room for.
        Send(usize),
        Acknowledge(usize),
        Close,
        Commit,
        /// The brokers' answer to the producer's first order, or to the commit.
        Answer,
        Fail,
        /// The next producer starts.
        Start,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1_usize..5).prop_map(Step::Produce),
            8 => (1_usize..9).prop_map(Step::Send),
            8 => (1_usize..9).prop_map(Step::Acknowledge),
            3 => Just(Step::Close),
            4 => Just(Step::Commit),
            6 => Just(Step::Answer),
            1 => Just(Step::Fail),
            1 => Just(Step::Start),
        ]
    }

    /// A partition whose records have two outputs each, and a broker.
    #[derive(Default)]
    struct World {
        /// Every record below has an outcome.
        produced: usize,
        /// Outputs that were sent and acknowledged, in order: record `n` has the outputs `2 * n` and `2 * n + 1`.
        sent: usize,
        acknowledged: usize,
        /// Where the group stands.
        group: usize,
        /// Outputs of the transaction that isn't committed, and of all that are.
        open: Vec<usize>,
        committed: Vec<usize>,
        /// Whether the offset where the partition starts was committed.
        has_start: bool,
        /// Whether a commit was asked for that has not ended.
        is_awaited: bool,
    }

    impl World {
        fn carry_out(&mut self, transaction: &mut Transaction, step: Step) {
            match step {
                Step::Produce(records) => self.produced += records,
                Step::Send(room) => {
                    // Above every record with an output in the transaction.
                    let handed = self.sent.div_ceil(2);
                    let below = match transaction.takes() {
                        Takes::Nothing => 0,
                        Takes::Rest => handed,
                        Takes::Produced => self.produced,
                    };
                    for output in self.sent..(2 * below).min(self.sent + room).max(self.sent) {
                        if transaction.is_to_begin() {
                            assert!(self.open.is_empty(), "an output of an earlier transaction");
                            transaction.begun();
                        }
                        assert!(transaction.is_open(), "an output outside of a transaction");
                        self.open.push(output);
                        self.sent += 1;
                    }
                }
                Step::Acknowledge(outputs) => self.acknowledged = (self.acknowledged + outputs).min(self.sent),
                Step::Close => self.is_awaited = transaction.close(!self.has_start),
                // The rule of `go_on_committing`.
                Step::Commit => {
                    let (low, handed) = (self.acknowledged / 2, self.sent.div_ceil(2));
                    if matches!(transaction, Transaction::Closing { .. }) && low >= handed {
                        assert!(self.open.iter().all(|output| output / 2 < low), "an output above the offset");
                        transaction.commits();
                    }
                }
                Step::Answer if *transaction == Transaction::Committing => {
                    self.committed.append(&mut self.open);
                    self.group = self.acknowledged / 2;
                    (self.has_start, self.is_awaited) = (true, false);
                    transaction.committed();
                }
                Step::Answer => transaction.ready(),
                Step::Start if transaction.is_open() => {}
                Step::Start => transaction.restart(),
                Step::Fail => {
                    transaction.fail();
                    (self.open, self.is_awaited) = (Vec::new(), false);
                    (self.produced, self.sent, self.acknowledged) = (self.group, 2 * self.group, 2 * self.group);
                    transaction.restart();
                }
            }
            assert!(self.open.is_empty() || transaction.is_open(), "outputs and no transaction");
            let is_going = match transaction {
                Transaction::Starting { is_closing } => *is_closing,
                Transaction::Closing { .. } | Transaction::Committing => true,
                Transaction::Idle | Transaction::Open => false,
            };
            assert_eq!(self.is_awaited, is_going, "a commit that never ends, or that was not asked for");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_committed_with_an_offset_is_every_output_below_it_once(steps in prop::collection::vec(step(), 0..80)) {
            let (mut world, mut transaction) = (World::default(), Transaction::Starting { is_closing: false });
            for step in steps {
                world.carry_out(&mut transaction, step);
                let below: Vec<usize> = (0..2 * world.group).collect();
                prop_assert_eq!(&world.committed, &below);
            }
            for _ in 0..4 {
                for step in [Step::Answer, Step::Send(999), Step::Acknowledge(999), Step::Close, Step::Commit, Step::Answer] {
                    world.carry_out(&mut transaction, step);
                }
            }
            prop_assert_eq!((world.group, world.has_start), (world.produced, true), "everything is committed");
        }
    }
}
