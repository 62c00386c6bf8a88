//! PURE. The session's events and actions.

use std::time::Duration;
use std::time::Instant;

use super::Cause;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::StartOf;
use crate::kafka::membership::Refusal;
use crate::kafka::settings::OnRecreate;
use crate::record::TopicPartition;

/// The session's settings.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Settings {
    /// The longest time that a revoke waits for records in flight, and then again for its commit.
    pub(in crate::worker) drain_timeout: Duration,
    /// The longest time that a shutdown waits for records in flight.
    pub(in crate::worker) shutdown_timeout: Duration,
    /// What to do about an offset that was committed in an earlier topic of the same name.
    pub(in crate::worker) on_recreate: OnRecreate,
    /// The interval between commits.
    pub(in crate::worker) commit_every: Duration,
}

/// An event.
#[derive(Debug)]
pub(in crate::worker) enum Event {
    /// Every topic that the pipeline names exists.
    TopicsFound,
    /// The group assigned partitions to this worker.
    Assigned(Vec<TopicPartition>),
    /// The lookup thread answered where partitions start.
    Starts {
        /// The question's number.
        question: u64,
        /// The known starts.
        starts: Vec<StartOf>,
        /// The partitions without a known start, and why.
        unknown: Vec<(TopicPartition, String)>,
    },
    /// The group refuses this member; the text is the error message. librdkafka keeps trying to join.
    Refused(Refusal, String),
    /// The group revokes partitions.
    Revoked {
        partitions: Vec<TopicPartition>,
        /// Whether they were lost: other members may have them already.
        is_lost: bool,
    },
    /// A partition's drain is over.
    Released(TopicPartition),
    /// A commit is due before the interval has passed: the open transaction is large, or records wait for a cycle of a step with windows.
    CommitDue,
    /// A transaction is open, and there is nothing more to read: it may be committed before the interval has passed.
    CaughtUp,
    /// The commit was answered, or could not be sent.
    CommitEnded,
    /// The worker has to end, for this reason.
    End(Cause),
    /// The group was left.
    Left,
    /// Time has passed.
    Tick,
}

/// What the worker has to do, in this order.
#[derive(Debug)]
pub(in crate::worker) enum Action {
    /// Join the group.
    Subscribe,
    /// Ask where these partitions start.
    AskStarts { question: u64, partitions: Vec<TopicPartition> },
    /// Start these partitions.
    Start(Vec<StartOf>),
    /// A rebalance was answered: the worker is a member.
    Joined,
    /// Finish what is in flight of these partitions by the deadline, and report each as released.
    Drain { partitions: Vec<TopicPartition>, deadline: Instant },
    /// End the drain of these partitions.
    Release(Vec<TopicPartition>),
    /// Commit the offsets of settled records, and report when the commit ended.
    Commit,
    /// Give back these partitions, which had started, and answer the rebalance that revokes them.
    GiveBack(Vec<TopicPartition>),
    /// Leave the group. Answer the `unanswered` rebalance first.
    Leave { unanswered: Option<Unanswered> },
    /// Report that the shutdown has begun.
    Ending,
    /// A partition belongs to another topic than the one that was committed, and is read from its beginning: report it.
    Recreated(TopicPartition, Other),
    /// Report that the group refuses this member.
    SayRefused(String),
    /// Ask which protocol the other members use.
    AskProtocol,
}

/// A rebalance that is not answered yet while the group is being left.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::worker) enum Unanswered {
    /// An assignment: start none of it.
    Assignment,
    /// A revocation: these partitions had started and are given back.
    Revocation(Vec<TopicPartition>),
}
