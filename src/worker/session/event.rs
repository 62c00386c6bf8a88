//! PURE. What happens to a worker, and what it has to do.

use std::time::Duration;
use std::time::Instant;

use super::Cause;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::StartOf;
use crate::kafka::membership::Refusal;
use crate::kafka::settings::OnRecreate;
use crate::record::TopicPartition;

/// What it needs to know.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Settings {
    /// The longest time that a revoke waits for what is in flight, and then for its commit.
    pub(in crate::worker) drain_timeout: Duration,
    /// The longest time that an end waits for what is in flight.
    pub(in crate::worker) shutdown_timeout: Duration,
    /// What becomes of an offset that was committed in another topic of the same name.
    pub(in crate::worker) on_recreate: OnRecreate,
    /// Between two commits.
    pub(in crate::worker) commit_every: Duration,
}

/// What happened.
#[derive(Debug)]
pub(in crate::worker) enum Event {
    /// Every topic that the pipeline names is there.
    TopicsFound,
    /// The group gives partitions to this worker.
    Assigned(Vec<TopicPartition>),
    /// Where partitions start.
    Starts {
        /// The question's number.
        question: u64,
        /// Those that are known.
        starts: Vec<StartOf>,
        /// Those that have no answer, and why.
        unknown: Vec<(TopicPartition, String)>,
    },
    /// The group doesn't take this member, and what is said of it. librdkafka tries again, for as long as it takes.
    Refused(Refusal, String),
    /// The group takes partitions from this worker.
    Revoked {
        partitions: Vec<TopicPartition>,
        /// Whether others may have them already.
        is_lost: bool,
    },
    /// A partition's drain is over.
    Released(TopicPartition),
    /// The commit has its answer, or was refused.
    CommitEnded,
    /// The pipeline is to end.
    End(Cause),
    /// The group was left.
    Left,
    /// Time has passed.
    Tick,
}

/// What the worker has to do, in order.
#[derive(Debug)]
pub(in crate::worker) enum Action {
    /// Join the group.
    Subscribe,
    /// Ask where these partitions start.
    AskStarts { question: u64, partitions: Vec<TopicPartition> },
    /// Take these partitions over.
    Start(Vec<StartOf>),
    /// A rebalance has its answer: the worker is a member.
    Joined,
    /// Finish what is in flight of these partitions by the deadline, and report each as released.
    Drain { partitions: Vec<TopicPartition>, deadline: Instant },
    /// Don't wait for these partitions any longer.
    Release(Vec<TopicPartition>),
    /// Commit what is settled, and report when that ended.
    Commit,
    /// Let go of these partitions, which had started, and answer the rebalance that takes them.
    GiveBack(Vec<TopicPartition>),
    /// Leave the group. A rebalance that is `unanswered` is answered first.
    Leave { unanswered: Option<Unanswered> },
    /// It begins to end.
    Ending,
    /// A partition belongs to another topic than the one that was committed, and is read from its beginning.
    Recreated(TopicPartition, Other),
    /// Say that the group doesn't take this member.
    SayRefused(String),
    /// Ask which protocol the other members use.
    AskProtocol,
}

/// A rebalance that waits for its answer while the group is being left.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::worker) enum Unanswered {
    /// None of it is taken.
    Assignment,
    /// These had started and are given back.
    Revocation(Vec<TopicPartition>),
}
