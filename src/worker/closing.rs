//! The end of a worker: drained, committed, left. Each stage has the same deadline.
//!
//! Nothing new is taken. What is at the executors and at the broker is finished; records that only waited are let go, and are
//! read by whoever comes next. Then offsets are committed, and the group is left. How it ended is told from what was settled and
//! committed by then, see `end`.

use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end::End;
use super::end::Left;
use super::end::StoppedAt;
use super::group::Group;
use super::timers::Began;
use crate::kafka::Commands;
use crate::metrics::State;
use crate::partition;
use crate::record::Offset;
use crate::record::TopicPartition;

/// A worker that ends.
pub(super) struct Closing {
    cause: Cause,
    deadline: Instant,
    stage: Stage,
    /// What became of the partition at whose record it stops, and where all partitions were left, once the group is being left.
    left: Option<Left>,
    partitions: Vec<LeftAt>,
}

/// Where a partition was left.
struct LeftAt {
    partition: TopicPartition,
    /// Everything below is settled.
    low: Offset,
    /// Everything below is committed; `None` if nothing is.
    committed: Option<Offset>,
}

/// Why a worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// For this reason.
    End(End),
    /// At this record.
    Record(StoppedAt),
}

/// How a worker ended.
pub(super) struct Ended {
    pub(super) end: End,
    /// What was committed, for the log.
    pub(super) committed: String,
    /// Nothing that is left to do may take longer.
    pub(super) deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Draining,
    Committing,
    Leaving { until: Instant },
}

/// Leaving the group may take so long, within the deadline: it only makes the others' rebalance faster.
const LEAVING_MAX: Duration = Duration::from_secs(3);
/// What is left for leaving when the deadline has passed.
const LEAVING_LATE: Duration = Duration::from_millis(300);

/// Whether the group is being left: a revoke is then answered at once.
pub(super) fn is_leaving(closing: &Closing) -> bool {
    matches!(closing.stage, Stage::Leaving { .. })
}

/// Whether offsets are still committed as always: the last commit is not under way yet.
pub(super) fn is_draining(closing: &Closing) -> bool {
    closing.stage == Stage::Draining
}

/// Destroying clients takes a moment, or as long as silent brokers hold back what was asked of them: then it isn't waited for.
const LETTING_GO_MAX: Duration = Duration::from_secs(2);
/// What is left for that when the deadline has passed, and so was the time for leaving.
const LETTING_GO_LATE: Duration = Duration::from_millis(600);

/// How long the clients of a worker with this deadline may take to be destroyed.
pub(super) fn letting_go(now: Instant, deadline: Instant) -> Duration {
    LETTING_GO_MAX.min((deadline + LETTING_GO_LATE).saturating_duration_since(now))
}

/// Drops something that may take long on a thread of its own, and waits for that no longer than this.
pub(super) fn let_go(what: impl Send + 'static, at_most: Duration) {
    let (over, wait) = mpsc::channel::<()>();
    let reaper = std::thread::Builder::new().name("reaper".into()).spawn(move || {
        drop(what);
        drop(over);
    });
    match reaper {
        // Ends with the other end of the channel, or by time.
        Ok(_) => drop(wait.recv_timeout(at_most)),
        Err(error) => tracing::error!("failed to start a thread that drops clients and executors: {error}"),
    }
}

impl Cause {
    /// Whether this is told in the place of what came before: a failure outweighs a wish, and of two records of a partition the lower
    /// one is told.
    fn outweighs(&self, before: &Cause) -> bool {
        match (before, self) {
            (Cause::End(End::Drained), _) => true,
            (Cause::Record(before), Cause::Record(other)) => other.comes_before(before),
            (Cause::Record(_), Cause::End(_)) | (Cause::End(_), _) => false,
        }
    }
}

impl Shell {
    /// Begins to end, for the reason in `end`. A second reason changes nothing, but that a failure outweighs a wish.
    pub(super) fn close(&mut self, now: Instant, end: End) {
        self.close_for(now, Cause::End(end));
    }

    /// Begins to end at a record.
    pub(super) fn stop_at(&mut self, now: Instant, stopped: StoppedAt) {
        self.metrics.records_processed.with_label_values(&["failed"]).inc();
        self.close_for(now, Cause::Record(stopped));
    }

    fn close_for(&mut self, now: Instant, cause: Cause) {
        let deadline = match &mut self.closing {
            Some(closing) => {
                if cause.outweighs(&closing.cause) {
                    closing.cause = cause;
                }
                closing.deadline
            }
            None => {
                let why = match &cause {
                    Cause::End(End::Drained) if self.next.is_some() => "another consumer takes over".to_owned(),
                    Cause::End(End::Drained) => "shutting down".to_owned(),
                    Cause::End(_) => "stopped by a failure".to_owned(),
                    Cause::Record(stopped) => format!("stopping at {}", stopped.place()),
                };
                tracing::info!("{why}; finishing what is in flight");
                let deadline = now + self.settings.shutdown_timeout;
                self.closing =
                    Some(Closing { cause, deadline, stage: Stage::Draining, left: None, partitions: Vec::new() });
                self.set_state(State::Draining, why);
                deadline
            }
        };
        self.tell_all(now, &partition::Event::Drain { deadline });
    }

    /// Goes on to the end; how it ended, once it has.
    pub(super) fn go_on_closing(&mut self, now: Instant) -> Option<Ended> {
        let Closing { deadline, stage, .. } = self.closing.as_ref()?;
        let (deadline, stage) = (*deadline, *stage);
        let is_late = now >= deadline;
        match stage {
            Stage::Draining => {
                if is_late {
                    // Whatever a partition still waits for, it isn't waited for here.
                    self.tell_all(now, &partition::Event::Tick);
                    self.lanes.iter_mut().for_each(|lane| _ = lane.released.get_or_insert(false));
                } else if self.lanes.iter().any(|lane| lane.released.is_none()) {
                    return None;
                }
                self.store_offsets();
                let stage = match self.group {
                    Group::Outside => self.leave(now, deadline),
                    Group::Member | Group::Starting | Group::Revoking { .. } => match self.begin_commit(now) {
                        Began::Sent => Stage::Committing,
                        Began::Busy if !is_late => return None,
                        Began::Busy | Began::Refused => self.leave(now, deadline),
                    },
                };
                self.set_stage(stage);
            }
            Stage::Committing => {
                if self.commit_ended(now) || is_late {
                    let stage = self.leave(now, deadline);
                    self.set_stage(stage);
                }
            }
            Stage::Leaving { until } => {
                if self.consumer.is_closed() || now >= until {
                    return self.closing.take().map(|closing| self.outcome(closing));
                }
            }
        }
        None
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(closing) = &mut self.closing {
            closing.stage = stage;
        }
    }

    fn leave(&mut self, now: Instant, deadline: Instant) -> Stage {
        self.note_what_is_left();
        if let Some(producer) = self.producer.as_ref().filter(|_| !self.timers.unsettled.is_empty()) {
            // As in `give_back`.
            producer.abandon();
        }
        match std::mem::replace(&mut self.group, Group::Member) {
            Group::Revoking { mut partitions, .. } => {
                partitions.retain(|partition| self.lanes.iter().any(|lane| lane.partition == *partition));
                // Not `give_back`: how the lanes ended is still to be looked at.
                if let Err(reason) = self.consumer.unassign(&partitions) {
                    tracing::debug!("failed to give partitions back: {reason}");
                }
            }
            Group::Starting => {
                if let Err(reason) = self.consumer.assign(&[]) {
                    tracing::debug!("failed to answer an assignment: {reason}");
                }
            }
            Group::Outside | Group::Member => {}
        }
        self.consumer.close();
        Stage::Leaving { until: deadline.min(now + LEAVING_MAX).max(now + LEAVING_LATE) }
    }

    /// Partitions are about to be given back: while the worker ends, what became of them is remembered for what is said then.
    pub(super) fn note_what_is_left(&mut self) {
        let Some(closing) = &mut self.closing else { return };
        for lane in &self.lanes {
            let (partition, low) = (&lane.partition, lane.state.low());
            if let Cause::Record(stopped) = &closing.cause
                && stopped.partition() == partition
            {
                closing.left = Some(Left { low, committed: lane.ages.committed(), handed: lane.handed });
            }
            closing.partitions.retain(|left| left.partition != *partition);
            closing.partitions.push(LeftAt { partition: partition.clone(), low, committed: lane.committed() });
        }
    }

    /// A wish to end was fulfilled only if nothing is repeated.
    fn outcome(&self, closing: Closing) -> Ended {
        let Closing { cause, deadline, left, partitions, .. } = closing;
        let unsettled: Vec<String> = self
            .timers
            .unsettled
            .iter()
            .map(|(partition, offset)| format!("{partition} from offset {offset}"))
            .collect();
        let kafka = &self.settings.kafka;
        let end = match cause {
            Cause::Record(stopped) => End::Stopped(stopped.message(left, &kafka.input.group, &Commands::of(kafka))),
            Cause::End(End::Drained) if !unsettled.is_empty() => End::DeadlinePassed(format!(
                "the deadline of {:?} passed, or the group gave partitions to others, with records in flight, which will be repeated: {}",
                self.settings.shutdown_timeout,
                unsettled.join(", ")
            )),
            Cause::End(End::Drained) => match not_committed(&partitions) {
                None => End::Drained,
                Some(repeated) => End::DeadlinePassed(format!(
                    "everything was delivered, but not all of it is committed, as a commit failed or was not acknowledged: records may be \
                     repeated: {repeated}"
                )),
            },
            Cause::End(end) => end,
        };
        Ended { end, committed: in_words(&partitions), deadline }
    }
}

/// Partitions that a line names one by one.
const NAMED_MAX: usize = 8;

/// What was committed, for a line of the log.
fn in_words(partitions: &[LeftAt]) -> String {
    if partitions.is_empty() {
        return "no partition was assigned".to_owned();
    }
    let text = |LeftAt { partition, committed, .. }: &LeftAt| match committed {
        Some(offset) => format!("{partition} at {offset}"),
        None => format!("nothing of {partition}"),
    };
    format!("committed {}", named(partitions.iter().map(text)))
}

/// From where on records that are settled may be repeated; `None` if they can't.
fn not_committed(partitions: &[LeftAt]) -> Option<String> {
    let mut repeated = partitions.iter().filter_map(|LeftAt { partition, low, committed }| match committed {
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
    use crate::failure::Failure;
    use crate::failure::Kind;
    use crate::worker::clock;

    fn record(number: i32, offset: i64) -> Cause {
        let partition = TopicPartition { topic: "t".into(), partition: number };
        Cause::Record(StoppedAt::record(partition, offset, 1, &Failure::new(Kind::Reject, None, "no")))
    }

    #[test]
    fn a_failure_outweighs_a_wish_and_the_first_failure_a_later_one() {
        let drained = || Cause::End(End::Drained);
        let bug = || Cause::End(End::Bug("b".into()));
        assert!(bug().outweighs(&drained()) && record(0, 7).outweighs(&drained()));
        assert!(!drained().outweighs(&bug()) && !drained().outweighs(&record(0, 7)));
        assert!(!bug().outweighs(&record(0, 7)) && !record(0, 7).outweighs(&bug()));
        assert!(record(0, 3).outweighs(&record(0, 7)) && !record(0, 7).outweighs(&record(0, 3)));
        assert!(!record(1, 3).outweighs(&record(0, 7)), "of two partitions the first is told");
    }

    #[test]
    fn letting_go_ends_soon_after_the_deadline() {
        let now = clock::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(letting_go(now, at(25)), LETTING_GO_MAX);
        assert_eq!(letting_go(at(25), at(25)), LETTING_GO_LATE);
        assert_eq!(letting_go(at(25) + LEAVING_LATE, at(25)) + LEAVING_LATE, LETTING_GO_LATE);
        assert_eq!(letting_go(at(30), at(25)), Duration::ZERO);
    }

    #[test]
    fn the_last_line_names_what_was_committed() {
        let at = |number, committed| LeftAt {
            partition: TopicPartition { topic: "t".into(), partition: number },
            low: Offset(7),
            committed,
        };
        assert_eq!(in_words(&[]), "no partition was assigned");
        let both = [at(0, Some(Offset(5))), at(1, Some(Offset(7)))];
        assert_eq!(in_words(&both), "committed t/0 at 5, t/1 at 7");
        assert_eq!(not_committed(&both).as_deref(), Some("t/0 from offset 5"));
        assert_eq!(not_committed(&both[1..]), None);
        // It began where nobody has committed, and the commit of that didn't come through.
        assert_eq!(in_words(&[at(2, None)]), "committed nothing of t/2");
        assert_eq!(not_committed(&[at(2, None)]).as_deref(), Some("t/2, of which nothing is committed"));
        let many: Vec<_> = (0..10).map(|number| at(number, Some(Offset(1)))).collect();
        assert!(in_words(&many).ends_with("t/7 at 1, and 2 more"));
    }
}
