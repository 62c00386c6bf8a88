//! The end of a worker, as far as it is more than `session` decides: leaving the group, what is noted of the partitions, and what is said.
//!
//! How it ended is told from what was settled and committed by then, see `end`.

use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end;
use super::end::Cause;
use super::end::End;
use super::end::Left;
use super::end::StoppedAt;
use super::session;
use super::session::Unanswered;
use crate::kafka::Commands;
use crate::metrics::State;
use crate::record::Offset;
use crate::record::TopicPartition;

/// What is noted of a worker that ends, for what is said of it then.
#[derive(Default)]
pub(super) struct Closing {
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

/// How a worker ended.
pub(super) struct Ended {
    pub(super) end: End,
    /// What was committed, for the log.
    pub(super) committed: String,
    /// Nothing that is left to do may take longer.
    pub(super) deadline: Instant,
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

impl Shell {
    /// Begins to end, for the reason in `end`.
    pub(super) fn close(&mut self, now: Instant, end: End) {
        self.tell_session(now, session::Event::End(Cause::End(end)));
    }

    /// Begins to end at a record.
    pub(super) fn stop_at(&mut self, now: Instant, stopped: StoppedAt) {
        self.metrics.records_processed.with_label_values(&["failed"]).inc();
        self.tell_session(now, session::Event::End(Cause::Record(stopped)));
    }

    /// Says that it begins to end, and why.
    pub(super) fn say_ending(&mut self) {
        let why = match self.session.cause() {
            None => return,
            Some(Cause::End(End::Drained)) if self.next.is_some() => "another consumer takes over".to_owned(),
            Some(Cause::End(End::Drained)) => "shutting down".to_owned(),
            Some(Cause::End(_) | Cause::Gap(..) | Cause::Recreated(..)) => "stopped by a failure".to_owned(),
            Some(Cause::Record(stopped)) => format!("stopping at {}", stopped.place()),
        };
        tracing::info!("{why}; finishing what is in flight");
        self.set_state(State::Draining, why);
    }

    /// Leaves the group.
    pub(super) fn leave(&mut self, unanswered: Option<Unanswered>) {
        self.note_what_is_left();
        if let Some(producer) = self.producer.as_ref().filter(|_| !self.timers.unsettled.is_empty()) {
            // As in `give_back`.
            producer.abandon();
        }
        let answered = match unanswered {
            None => Ok(()),
            Some(Unanswered::Assignment) => self.consumer.assign(&[]),
            // Not `give_back`: how the lanes ended is still to be looked at.
            Some(Unanswered::Revocation(partitions)) => self.consumer.unassign(&partitions),
        };
        if let Err(reason) = answered {
            tracing::debug!("failed to answer a rebalance: {reason}");
        }
        self.consumer.close();
    }

    /// Partitions are about to be given back: while the worker ends, what became of them is remembered for what is said then.
    pub(super) fn note_what_is_left(&mut self) {
        let Some(cause) = self.session.cause() else { return };
        let closing = &mut self.closing;
        for lane in &self.lanes {
            let (partition, low) = (&lane.partition, lane.state.low());
            if let Cause::Record(stopped) = cause
                && stopped.partition() == partition
            {
                closing.left = Some(Left { low, committed: lane.ages.committed(), handed: lane.handed });
            }
            closing.partitions.retain(|left| left.partition != *partition);
            closing.partitions.push(LeftAt { partition: partition.clone(), low, committed: lane.state.committed() });
        }
    }

    /// How it ended. A wish to end was fulfilled only if nothing is repeated.
    pub(super) fn outcome(&mut self, now: Instant) -> Ended {
        let Closing { left, partitions } = std::mem::take(&mut self.closing);
        let cause = self.session.cause().cloned().unwrap_or(Cause::End(End::Drained));
        let deadline = self.session.deadline().unwrap_or(now);
        let unsettled: Vec<String> = self
            .timers
            .unsettled
            .iter()
            .map(|(partition, offset)| format!("{partition} from offset {offset}"))
            .collect();
        let kafka = &self.settings.kafka;
        let end = match cause {
            Cause::Record(stopped) => End::Stopped(stopped.message(left, &kafka.input.group, &Commands::of(kafka))),
            Cause::Gap(partition, gap) => {
                End::Stopped(end::gap(&partition, gap, &kafka.input.group, &Commands::of(kafka)))
            }
            Cause::Recreated(partition, other) => {
                End::Stopped(end::recreated(&partition, &other, &kafka.input.group, &Commands::of(kafka)))
            }
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
    use crate::worker::clock;
    use crate::worker::session::LEAVING_LATE;

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
