//! PURE. How a pipeline ends, and the message it ends with.
//!
//! What a message says about delivered records and committed offsets is read from the partition's state once nothing more can be
//! done for it. It prints a command that moves the group only if every record below the new offset was delivered.

use std::sync::Arc;

use crate::failure::Failure;
use crate::kafka::Commands;
use crate::kafka::command;
use crate::kafka::lookup::Other;
use crate::partition::BreakerTripped;
use crate::partition::Flood;
use crate::record::Offset;
use crate::record::RecordId;
use crate::record::TopicPartition;

/// How a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It shut down cleanly: no record will be repeated.
    Drained,
    /// A record or the state of the cluster stopped it.
    Stopped(String),
    /// The same, for a reason that is about one record or partition.
    StoppedAt(String, RecordPlace),
    /// It was shutting down, but not everything was delivered and committed in time: records may be repeated.
    DeadlinePassed(String),
    /// The configuration file or a topic is wrong.
    Invalid(String),
    /// A bug in wasmill.
    Bug(String),
}

/// The record or partition that a message is about, which log lines have as fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The step that failed, if one did.
    pub step: Option<Arc<str>>,
    /// The partition of the input.
    pub partition: TopicPartition,
    /// The record's offset, or that from which the partition can't be read.
    pub offset: i64,
}

/// A record that stopped the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoppedAt {
    at: RecordPlace,
    /// What happened: the rest of the message's first line, after the record's topic, partition and offset.
    what: String,
    /// Whether the message offers a command that skips the record.
    may_be_left_out: bool,
}

/// The record at which a pipeline has stopped, or that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAt {
    /// The record.
    pub place: RecordId,
    /// Whether leaving it out lets the pipeline go on: not if too many others failed.
    pub may_be_left_out: bool,
}

/// How far a partition's records got, read when nothing more can be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Every record below it is settled.
    pub(super) low: Offset,
    /// Every record below it is committed, as the broker confirmed.
    pub(super) committed: Offset,
    /// Above every record that had an output or a dead letter handed to the producer.
    pub(super) handed: Offset,
}

/// Why a worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// An end that is not about one record or partition.
    End(End),
    /// This record stopped the pipeline.
    Record(StoppedAt),
    /// The position in this partition is no longer in the log.
    Gap(TopicPartition, Gap),
    /// The topic of this partition was created again.
    Recreated(TopicPartition, Other),
}

impl Cause {
    /// Whether this cause replaces an earlier one in the message: a failure replaces a requested shutdown, and the lower of two
    /// records of one partition replaces the higher one.
    pub(super) fn outweighs(&self, before: &Cause) -> bool {
        match (before, self) {
            (Cause::End(End::Drained), _) => true,
            (Cause::Record(before), Cause::Record(other)) => other.comes_before(before),
            (Cause::Record(_) | Cause::End(_) | Cause::Gap(..) | Cause::Recreated(..), _) => false,
        }
    }
}

impl StoppedAt {
    /// The record failed, and the policy is to stop.
    pub(super) fn record(partition: TopicPartition, offset: i64, tries: u32, failure: &Failure) -> StoppedAt {
        let tried = match (failure.kind.spoils_instance(), tries) {
            // The executor runs a record that broke the plugin once more, alone and in a fresh instance, before it reports the
            // failure.
            (true, _) => "run again alone, with the same result".to_owned(),
            (false, 1) => "tried once".to_owned(),
            (false, tries) => format!("tried {tries} times"),
        };
        let what = format!(" ({tried}): {failure}{}", trace(failure));
        let at = RecordPlace { step: failure.step.clone(), partition, offset };
        StoppedAt { at, what, may_be_left_out: true }
    }

    /// The message while the record holds the pipeline.
    pub(super) fn held(&self, pipeline: &str) -> String {
        let StoppedAt { at: RecordPlace { partition, offset, .. }, what, .. } = self;
        let skip = command::skip(pipeline, partition, Offset(*offset));
        let TopicPartition { topic, partition } = partition;
        format!(
            "topic {topic}, partition {partition}, offset {offset}{what}\nway out: fix the plugin, the file or what the record needs, and \
             reload with `kill -HUP`: it goes on with this record; or leave it out: {skip}"
        )
    }

    /// Too many records of the partition broke the plugin or were rejected.
    pub(super) fn tripped(
        partition: TopicPartition,
        offset: i64,
        trip: BreakerTripped,
        failure: &Failure,
    ) -> StoppedAt {
        let BreakerTripped { flood, failed, records, allowed } = trip;
        let why = match flood {
            Flood::Faults => format!(
                "the plugin broke on {failed} of the last {records} records: stopped after {allowed}, so that a broken plugin \
                 doesn't fail a whole topic"
            ),
            Flood::Rejects => format!(
                "the plugin rejected {failed} of the last {records} records, where `on_error.max_reject_share` allows {allowed} of {}",
                BreakerTripped::WINDOW
            ),
        };
        let what = format!(": {why}; the last failure: {failure}{}", trace(failure));
        let at = RecordPlace { step: failure.step.clone(), partition, offset };
        StoppedAt { at, what, may_be_left_out: false }
    }

    /// The record, and whether leaving it out lets the pipeline go on.
    pub(super) fn record_at(&self) -> RecordAt {
        let place = RecordId { partition: self.at.partition.clone(), offset: self.at.offset };
        RecordAt { place, may_be_left_out: self.may_be_left_out }
    }

    /// Where the record is.
    pub(super) fn at(&self) -> &RecordPlace {
        &self.at
    }

    /// Whether this record is the lower one of the same partition, and so the one to report.
    pub(super) fn comes_before(&self, other: &StoppedAt) -> bool {
        self.at.partition == other.at.partition && self.at.offset < other.at.offset
    }

    /// The whole message. `left` is `None` if the partition was revoked before the end.
    pub(super) fn message(&self, left: Option<Left>, group: &str, commands: &Commands) -> String {
        let StoppedAt { at: RecordPlace { partition, offset, .. }, what, may_be_left_out } = self;
        let TopicPartition { topic, partition: number } = partition;
        let first = format!("stopped at topic {topic}, partition {number}, offset {offset}{what}");
        let again =
            "ways out: fix the plugin, or what the record needs, and start again: it continues with this record";
        match left {
            None => format!(
                "{first}\nthe group took the partition away before the end: records that were not committed are repeated by \
                 the partition's next member"
            ),
            Some(Left { low, committed, .. }) if low.0 < *offset => format!(
                "{first}\nrecords from offset {low} on are not all delivered; the group's offset is {committed}, and the next \
                 start continues there, below this record\n\
                 ways out: start again; do not move the group's offset: that would lose the records from {low} on"
            ),
            Some(Left { low, committed, handed }) => {
                let below = if committed >= low {
                    "everything below this record is delivered and committed".to_owned()
                } else {
                    format!(
                        "everything below this record is delivered, but the commit of offset {low} was not acknowledged: records \
                         from offset {committed} on may be repeated"
                    )
                };
                let above = if handed.0 <= *offset {
                    "nothing at or above it is delivered".to_owned()
                } else {
                    format!(
                        "outputs of this record and of those up to offset {} may be delivered, and are repeated after the \
                         next start",
                        handed.0 - 1
                    )
                };
                let leave_out = if *may_be_left_out {
                    format!("; or leave the record out, {}", commands.leave_out(group, partition, Offset(*offset)))
                } else {
                    String::new()
                };
                format!("{first}\n{below}; {above}\n{again}{leave_out}")
            }
        }
    }
}

fn trace(failure: &Failure) -> String {
    if failure.backtrace.is_empty() { String::new() } else { format!("\n{}", failure.backtrace) }
}

/// The message for a topic that was deleted and created again.
pub(super) fn recreated(partition: &TopicPartition, other: &Other, group: &str, commands: &Commands) -> String {
    let (TopicPartition { topic, partition: number }, Other { was, is, committed }) = (partition, other);
    format!(
        "topic {topic} was deleted and created again: the group stands at offset {committed} of partition {number} of the topic with the \
         id {was}, and the topic with this name has the id {is} now\n\
         ways out: set `on_recreate = \"beginning\"` in [input], which reads the new topic from its beginning and counts \
         that; or move the group yourself, while the pipeline is down: {}",
        commands.move_group_to_beginning(group, topic)
    )
}

/// A position that is no longer in the log, and the range of offsets that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) position: Offset,
    pub(super) oldest: Offset,
    pub(super) end: Offset,
    /// Whether the consumer saw that the log was truncated below the position.
    pub(super) is_cut: bool,
}

/// The message for a position that is no longer in the log.
pub(super) fn gap(partition: &TopicPartition, gap: Gap, group: &str, commands: &Commands) -> String {
    let (TopicPartition { topic, partition: number }, Gap { position, oldest, end, is_cut }) = (partition, gap);
    let command = commands.move_group(group, partition, oldest);
    if is_cut || end < position {
        return format!(
            "topic {topic}, partition {number}: all below offset {position} is settled, but the log was cut off below it and ends at \
             {end} now: the leader lacked records that were read, or a new topic has the same name\n\
             ways out: set `on_gap = \"continue\"` in [input], which reads the partition again from its oldest record, at {oldest}; or \
             move the group yourself, while the pipeline is down: {command}"
        );
    }
    format!(
        "topic {topic}, partition {number}: the group stands at offset {position}, but the oldest record is at {oldest}: retention, or a \
         new topic of the same name, has removed what is between\n\
         ways out: set `on_gap = \"continue\"` in [input], which continues at {oldest} and counts what was missed; or move the group \
         yourself, while the pipeline is down: {command}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    const COMMAND: &str =
        "kafka-consumer-groups.sh --bootstrap-server a:9092 --group g --topic t:1 --reset-offsets --to-offset 8";

    fn partition() -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: 1 }
    }

    fn message(low: i64, committed: i64, handed: i64) -> String {
        let failure = Failure::new(Kind::Reject, None, "no".to_owned());
        let left = Left { low: Offset(low), committed: Offset(committed), handed: Offset(handed) };
        let commands = Commands::plain("a:9092");
        StoppedAt::record(partition(), 7, 1, &failure).message(Some(left), "g", &commands)
    }

    #[test]
    fn the_message_says_what_was_delivered_and_committed() {
        let all = message(7, 7, 7);
        assert!(all.contains("everything below this record is delivered and committed; nothing at or above"), "{all}");
        assert!(all.contains(COMMAND), "{all}");

        let sent_above = message(7, 7, 10);
        assert!(sent_above.contains("up to offset 9 may be delivered"), "{sent_above}");
        assert!(!sent_above.contains("nothing at or above"), "{sent_above}");

        let uncommitted = message(7, 3, 7);
        assert!(uncommitted.contains("is delivered, but the commit of offset 7 was not acknowledged"), "{uncommitted}");
        assert!(uncommitted.contains("records from offset 3 on"), "{uncommitted}");
        assert!(!uncommitted.contains("delivered and committed"), "{uncommitted}");
    }

    #[test]
    fn a_process_that_stays_is_given_an_order_and_the_group_is_moved_when_it_is_down() {
        const SKIP: &str = "wasmill skip orders --topic t --partition 1 --offset 7";
        let stopped = StoppedAt::record(partition(), 7, 1, &Failure::new(Kind::Reject, None, "no".to_owned()));
        let left = Left { low: Offset(7), committed: Offset(7), handed: Offset(7) };
        let commands = Commands::plain("a:9092");
        let alone = stopped.message(Some(left), "g", &commands);
        assert!(!alone.contains("wasmill skip") && alone.contains(&format!("is down: {COMMAND}")), "{alone}");
        let text = stopped.message(Some(left), "g", &commands.in_process("orders"));
        assert!(
            text.contains(&format!(
                "or leave the record out, while the process runs: {SKIP}; or while it is down: {COMMAND}"
            )),
            "{text}"
        );
        assert!(stopped.held("orders").ends_with(&format!("or leave it out: {SKIP}")));
    }

    #[test]
    fn no_command_skips_a_record_that_was_not_delivered() {
        for (low, committed) in [(6, 6), (6, 2), (0, 0)] {
            let text = message(low, committed, 9);
            assert!(!text.contains("--to-offset") && !text.contains("delivered and committed"), "{text}");
            assert!(text.contains(&format!("from offset {low} on are not all delivered")), "{text}");
            assert!(text.contains(&format!("the group's offset is {committed}")), "{text}");
        }
        let failure = Failure::new(Kind::Reject, None, "no".to_owned());
        let commands = Commands::plain("a:9092");
        let text = StoppedAt::record(partition(), 7, 1, &failure).message(None, "g", &commands);
        assert!(!text.contains("--to-offset") && text.contains("took the partition away"), "{text}");
    }

    #[test]
    fn a_tripped_breaker_offers_no_command_that_skips_a_record() {
        let failure = Failure::new(Kind::Trap, None, "unreachable".to_owned());
        let left = Left { low: Offset(7), committed: Offset(7), handed: Offset(7) };
        let stopped = StoppedAt::tripped(
            partition(),
            7,
            BreakerTripped { flood: Flood::Faults, failed: 41, records: 41, allowed: 40 },
            &failure,
        );
        let text = stopped.message(Some(left), "g", &Commands::plain("a:9092"));
        assert!(text.contains("delivered and committed") && !text.contains("--to-offset"), "{text}");
    }

    #[test]
    fn the_lower_record_of_a_partition_is_reported() {
        let failure = Failure::new(Kind::Reject, None, "no".to_owned());
        let at = |number, offset| {
            let partition = TopicPartition { topic: "t".into(), partition: number };
            StoppedAt::record(partition, offset, 1, &failure)
        };
        assert!(at(1, 4).comes_before(&at(1, 7)) && !at(1, 7).comes_before(&at(1, 4)));
        assert!(!at(0, 4).comes_before(&at(1, 7)));
    }

    fn record(number: i32, offset: i64) -> Cause {
        let partition = TopicPartition { topic: "t".into(), partition: number };
        Cause::Record(StoppedAt::record(partition, offset, 1, &Failure::new(Kind::Reject, None, "no")))
    }

    #[test]
    fn a_failure_outweighs_a_shutdown_and_the_first_failure_a_later_one() {
        let drained = || Cause::End(End::Drained);
        let bug = || Cause::End(End::Bug("b".into()));
        assert!(bug().outweighs(&drained()) && record(0, 7).outweighs(&drained()));
        assert!(!drained().outweighs(&bug()) && !drained().outweighs(&record(0, 7)));
        assert!(!bug().outweighs(&record(0, 7)) && !record(0, 7).outweighs(&bug()));
        assert!(record(0, 3).outweighs(&record(0, 7)) && !record(0, 7).outweighs(&record(0, 3)));
        assert!(!record(1, 3).outweighs(&record(0, 7)), "of two partitions the first is told");
    }
}
