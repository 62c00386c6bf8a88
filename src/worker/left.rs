//! PURE. Where a worker left its partitions when it ended, and the final messages made from that.

use std::time::Duration;

use super::end;
use super::end::Cause;
use super::end::End;
use super::end::Left;
use super::end::RecordPlace;
use crate::kafka::Commands;
use crate::record::Offset;
use crate::record::TopicPartition;

/// How far a partition had got when the worker left it.
#[derive(Clone, Debug)]
pub(super) struct LeftAt {
    pub(super) partition: TopicPartition,
    /// Every record below is settled.
    pub(super) low: Offset,
    /// Every record below is committed; `None` if nothing is.
    pub(super) committed: Option<Offset>,
    /// The group's offset: what is committed, or where the partition began.
    pub(super) stands: Offset,
    /// Above every record that had an output or a dead letter handed to the producer.
    pub(super) handed: Offset,
    /// Whether every record that was handed to an executor is settled.
    pub(super) is_settled: bool,
    /// Whether its last transaction failed, so that the group has not told yet where the partition stands. What the transaction had is
    /// not visible, or is committed with its offsets: nothing is repeated.
    pub(super) is_unconfirmed: bool,
}

/// How a worker ended, by its cause and by how far its partitions got. A requested shutdown counts as clean only if no record
/// will be repeated.
pub(super) fn outcome(cause: Cause, left: &[LeftAt], timeout: Duration, group: &str, commands: &Commands) -> End {
    match cause {
        Cause::Record(stopped) => {
            let left = left.iter().find(|left| left.partition == stopped.at().partition);
            let left = left.map(|&LeftAt { low, stands, handed, .. }| Left { low, committed: stands, handed });
            End::StoppedAt(stopped.message(left, group, commands), stopped.at().clone())
        }
        Cause::Gap(partition, gap) => {
            let message = end::gap(&partition, gap, group, commands);
            End::StoppedAt(message, RecordPlace { step: None, partition, offset: gap.position.0 })
        }
        Cause::Recreated(partition, other) => {
            let message = end::recreated(&partition, &other, group, commands);
            End::StoppedAt(message, RecordPlace { step: None, partition, offset: other.committed.0 })
        }
        Cause::End(End::Drained) => match (in_flight(left), not_committed(left)) {
            (Some(repeated), _) => End::DeadlinePassed(format!(
                "the deadline of {timeout:?} passed, or the group gave partitions to others, with records in flight, which will be repeated: \
                 {repeated}"
            )),
            (None, Some(repeated)) => End::DeadlinePassed(format!(
                "everything was delivered, but not all of it is committed, as a commit failed or was not acknowledged: records may be \
                 repeated: {repeated}"
            )),
            (None, None) => End::Drained,
        },
        Cause::End(end) => end,
    }
}

/// The most partitions that a line lists.
const NAMED_MAX: usize = 8;

/// What was committed, as text for the log.
pub(super) fn in_words(partitions: &[LeftAt]) -> String {
    if partitions.is_empty() {
        return "no partition was assigned".to_owned();
    }
    let text = |LeftAt { partition, committed, is_unconfirmed, .. }: &LeftAt| match committed {
        _ if *is_unconfirmed => format!("{partition} at the group's offset, as its last transaction failed"),
        Some(offset) => format!("{partition} at {offset}"),
        None => format!("nothing of {partition}"),
    };
    format!("committed {}", named(partitions.iter().map(text)))
}

/// The partitions with records in flight and the offsets they are repeated from; `None` if there are none.
fn in_flight(left: &[LeftAt]) -> Option<String> {
    // The next owner starts at the group's offset.
    let text = |LeftAt { partition, stands, .. }: &LeftAt| format!("{partition} from offset {stands}");
    let texts = left.iter().filter(|left| !left.is_settled && !left.is_unconfirmed).map(text);
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// The partitions with settled records that are not committed, and the offsets they may be repeated from; `None` if there are
/// none.
fn not_committed(partitions: &[LeftAt]) -> Option<String> {
    let known = partitions.iter().filter(|left| !left.is_unconfirmed);
    let mut repeated = known.filter_map(|LeftAt { partition, low, committed, .. }| match committed {
        Some(committed) if committed >= low => None,
        Some(committed) => Some(format!("{partition} from offset {committed}")),
        None => Some(format!("{partition}, of which nothing is committed")),
    });
    let first = repeated.next()?;
    Some(named(std::iter::once(first).chain(repeated)))
}

fn named(all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    all.truncate(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("{}{more}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: i32, committed: Option<Offset>) -> LeftAt {
        let partition = TopicPartition { topic: "t".into(), partition: number };
        LeftAt {
            partition,
            low: Offset(7),
            committed,
            stands: committed.unwrap_or(Offset(0)),
            handed: Offset(7),
            is_settled: true,
            is_unconfirmed: false,
        }
    }

    #[test]
    fn a_shutdown_is_clean_only_if_nothing_is_repeated() {
        let ended = |left: &[LeftAt]| {
            outcome(Cause::End(End::Drained), left, Duration::from_secs(25), "g", &Commands::plain("a:9092"))
        };
        assert_eq!(ended(&[]), End::Drained);
        assert_eq!(ended(&[at(0, Some(Offset(7)))]), End::Drained);
        let End::DeadlinePassed(why) = ended(&[at(0, Some(Offset(6)))]) else { panic!("it is repeated") };
        assert!(
            why.starts_with("everything was delivered, but") && why.ends_with("repeated: t/0 from offset 6"),
            "{why}"
        );
        let in_flight = LeftAt { is_settled: false, ..at(1, Some(Offset(7))) };
        let End::DeadlinePassed(why) = ended(&[at(0, Some(Offset(6))), in_flight]) else { panic!("it is repeated") };
        assert!(why.contains("25s passed") && why.ends_with("will be repeated: t/1 from offset 7"), "{why}");
        // Exactly once, a failed transaction leaves nothing that could be repeated.
        let unconfirmed = LeftAt { is_settled: false, is_unconfirmed: true, ..at(1, Some(Offset(6))) };
        assert_eq!(ended(&[at(0, Some(Offset(7))), unconfirmed.clone()]), End::Drained);
        assert_eq!(
            in_words(&[at(0, Some(Offset(7))), unconfirmed]),
            "committed t/0 at 7, t/1 at the group's offset, as its last transaction failed"
        );
        let bug = || End::Bug("b".to_owned());
        let left = [at(0, None)];
        assert_eq!(outcome(Cause::End(bug()), &left, Duration::ZERO, "g", &Commands::plain("a:9092")), bug());
    }

    #[test]
    fn the_last_line_names_what_was_committed() {
        assert_eq!(in_words(&[]), "no partition was assigned");
        let both = [at(0, Some(Offset(5))), at(1, Some(Offset(7)))];
        assert_eq!(in_words(&both), "committed t/0 at 5, t/1 at 7");
        assert_eq!(not_committed(&both).as_deref(), Some("t/0 from offset 5"));
        assert_eq!(not_committed(&both[1..]), None);
        // The partition had no committed offset, and the commit of its start failed.
        assert_eq!(in_words(&[at(2, None)]), "committed nothing of t/2");
        assert_eq!(not_committed(&[at(2, None)]).as_deref(), Some("t/2, of which nothing is committed"));
        let many: Vec<_> = (0..10).map(|number| at(number, Some(Offset(1)))).collect();
        assert!(in_words(&many).ends_with("t/7 at 1, and 2 more"));
    }
}
