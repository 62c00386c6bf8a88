//! What the lookup thread answers.

use std::sync::Arc;

use super::consumer::Position;
use super::limits::TopicLimits;
use super::members::GroupMembers;
use super::offset_metadata::TopicId;
use crate::failure::Failure;
use crate::record::Offset;
use crate::record::TopicPartition;

/// One answer.
#[derive(Debug)]
pub enum Answer {
    /// The topics that the pipeline names and the cluster lacks, each with a message. Empty if all exist.
    Topics {
        /// One message per missing topic.
        missing: Vec<String>,
        /// The limits of the topics that are written, if none is missing.
        limits: TopicLimits,
    },
    /// The cluster has everything that the pipeline names.
    Probed {
        /// As in [`Answer::Topics`].
        limits: TopicLimits,
    },
    /// The limits of the topics that are written; `None` if no broker answered.
    Limits(Option<TopicLimits>),
    /// Topics that records name: each that was answered for, and why nothing can be written there, if that is so.
    Named(Vec<(Arc<str>, Option<Failure>)>),
    /// The topic of an output doesn't exist.
    NoOutput {
        /// The output, counted as in the file, with the dead letters after the last one.
        output: usize,
        /// The failure of everything that goes there.
        failure: Failure,
    },
    /// An operator must act. The question is asked again every 10 s.
    Denied {
        /// What is missing, and the command that fixes it.
        reason: String,
    },
    /// Where partitions start. The committed positions come first, the others in a second answer.
    Starts {
        /// The partitions with a known start.
        starts: Vec<StartOf>,
        /// The partitions without an answer, each with the reason.
        unknown: Vec<(TopicPartition, String)>,
    },
    /// The group's committed offsets, as far as the coordinator answered; `None` if a partition has none.
    Committed(Vec<(TopicPartition, Option<Offset>)>),
    /// The offset ranges of partitions whose positions no longer exist, as far as brokers answered.
    Ranges(Vec<RangeOf>),
    /// The end offsets of partitions, as far as brokers answered: after the last record, even one of an open transaction.
    Ends(Vec<(TopicPartition, Offset)>),
    /// The protocol with which the group's members share partitions, if it has members.
    Protocol(Option<String>),
    /// The members of the group; or why the coordinator doesn't tell them.
    Members(Result<GroupMembers, String>),
    /// The current state of topics.
    Watched(Vec<Watched>),
    /// No broker has answered yet, with the reason. The question is still being asked.
    Waiting {
        /// librdkafka's error message.
        reason: String,
    },
}

/// Where one partition starts.
#[derive(Clone, Debug)]
pub struct StartOf {
    /// The position to read from.
    pub position: Position,
    /// Whether the group has committed it.
    pub committed: bool,
    /// The topic's current id, if brokers report it.
    pub topic: Option<TopicId>,
    /// An offset that was committed for an earlier topic of the same name.
    pub other: Option<Other>,
}

/// An offset that was committed for a topic that has been deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// The id of the deleted topic.
    pub was: TopicId,
    /// The id of the topic that has the name now.
    pub is: TopicId,
    /// The offset.
    pub committed: Offset,
}

/// The offsets that a partition holds.
#[derive(Clone, Debug)]
pub struct RangeOf {
    /// The partition.
    pub partition: TopicPartition,
    /// The topic's current id, if brokers report it.
    pub topic: Option<TopicId>,
    /// The offset of the oldest record.
    pub oldest: Offset,
    /// The offset after the newest record.
    pub end: Offset,
}

/// The current state of an input topic.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The topic.
    pub topic: Arc<str>,
    /// Its id, if brokers report it.
    pub id: Option<TopicId>,
    /// The partitions without a leader.
    pub leaderless: Vec<i32>,
}
