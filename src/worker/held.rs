//! PURE. Partitions that are held back: which, why, and when they are logged.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use crate::record::TopicPartition;

/// A partition is named in the log after being held back this long, and then at this interval.
const NAME_AFTER: Duration = Duration::from_secs(3);
const NAME_AGAIN: Duration = Duration::from_secs(60);

/// Partitions that are held back, and when each was logged.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<TopicPartition, Hold>);

#[derive(Debug)]
struct Hold {
    why: String,
    since: Instant,
    named: Option<Instant>,
}

impl Held {
    /// Sets the partitions that are held back now, and why. Returns the lines to log, each with its partition.
    pub(super) fn update(
        &mut self,
        now: Instant,
        mut held: BTreeMap<TopicPartition, String>,
    ) -> Vec<(TopicPartition, String)> {
        let mut lines = Vec::new();
        self.0.retain(|partition, hold| {
            let continues = !held.contains_key(partition);
            if continues && hold.named.is_some() {
                lines.push((partition.clone(), format!("{partition} resumes")));
            }
            !continues
        });
        for (partition, hold) in &mut self.0 {
            if let Some(why) = held.remove(partition) {
                hold.why = why;
            }
        }
        let fresh = held.into_iter().map(|(partition, why)| (partition, Hold { why, since: now, named: None }));
        self.0.extend(fresh);
        for (partition, Hold { why, since, named }) in &mut self.0 {
            let age = now.saturating_duration_since(*since);
            let is_due = named.is_none_or(|at| now.saturating_duration_since(at) >= NAME_AGAIN);
            if age >= NAME_AFTER && is_due {
                *named = Some(now);
                let line = format!(
                    "{partition} has been held back for {} s, other partitions are processed: {why}",
                    age.as_secs()
                );
                lines.push((partition.clone(), line));
            }
        }
        lines
    }

    /// The partitions that were named in the log, for probes.
    pub(super) fn text(&self, now: Instant) -> Option<String> {
        let named = self.0.iter().filter(|(_, hold)| hold.named.is_some());
        let text = |(partition, Hold { why, since, .. }): (&TopicPartition, &Hold)| {
            format!("{partition} for {} s: {why}", now.saturating_duration_since(*since).as_secs())
        };
        let all: Vec<String> = named.map(text).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::clock;

    fn of(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    #[test]
    fn a_held_back_partition_is_named_after_three_seconds_each_minute_and_when_it_continues() {
        let start = clock::now();
        let held = |numbers: &[i32]| numbers.iter().map(|&number| (of(number), "no leader".to_owned())).collect();
        let mut all = Held::default();
        assert!(all.update(start, held(&[0, 1])).is_empty() && all.text(start).is_none());
        let later = start + NAME_AFTER;
        assert_eq!(
            all.update(later, held(&[1])),
            [(of(1), "t/1 has been held back for 3 s, other partitions are processed: no leader".to_owned())]
        );
        assert_eq!(all.text(later).as_deref(), Some("t/1 for 3 s: no leader"));
        assert!(all.update(later + NAME_AFTER, held(&[1])).is_empty());
        assert_eq!(all.update(later + NAME_AGAIN, held(&[1])).len(), 1);
        assert_eq!(all.update(later + NAME_AGAIN, held(&[])), [(of(1), "t/1 resumes".to_owned())]);
        assert!(all.text(later + NAME_AGAIN).is_none());
    }
}
