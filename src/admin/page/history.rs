//! What pipelines did in the last 15 minutes: a sample every ten seconds, for rates and for the small curve of the lag.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::admin::board::Served;
use crate::admin::view::Summary;

/// The interval between samples.
pub(in crate::admin) const EVERY: Duration = Duration::from_secs(10);
/// How many samples are kept.
const SAMPLES_MAX: usize = 90;
/// The size of the curve in pixels.
const WIDTH: usize = 90;
const HEIGHT: f64 = 20.0;

/// The samples of all pipelines, by name. Locked to add some, and for a look at those of one.
#[derive(Debug, Default)]
pub(in crate::admin) struct History(Mutex<BTreeMap<Arc<str>, VecDeque<Sample>>>);

/// A pipeline at one time.
#[derive(Clone, Copy, Debug)]
pub(in crate::admin) struct Sample {
    at: Instant,
    lag: u64,
    consumed: u64,
    produced: u64,
    failed: u64,
}

/// Records in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) consumed: f64,
    pub(super) produced: f64,
    /// Dead-lettered or left out.
    pub(super) failed: f64,
}

impl Sample {
    fn of(at: Instant, summary: &Summary) -> Sample {
        let records = &summary.records;
        let failed = records.dead_lettered + records.skipped;
        Sample { at, lag: summary.lag.records, consumed: records.consumed, produced: records.produced, failed }
    }
}

impl History {
    /// Takes a sample of each pipeline, and forgets those that are gone.
    pub(in crate::admin) fn sample(&self, at: Instant, pipelines: &[(Arc<Served>, Summary)]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| pipelines.iter().any(|(served, _)| served.name == *name));
        for (served, summary) in pipelines {
            let samples = all.entry(Arc::clone(&served.name)).or_default();
            samples.push_back(Sample::of(at, summary));
            if samples.len() > SAMPLES_MAX {
                samples.pop_front();
            }
        }
    }

    /// The rates since the last sample but one, and the curve of the lag.
    pub(super) fn of(&self, now: Instant, summary: &Summary) -> (Rates, String) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: Vec<Sample> = all.get(&*summary.name).into_iter().flatten().copied().collect();
        drop(all);
        let current = Sample::of(now, summary);
        let before =
            samples.len().checked_sub(2).or_else(|| samples.len().checked_sub(1)).and_then(|at| samples.get(at));
        let rates = before.map_or_else(Rates::default, |before| rates(*before, current));
        let lags: Vec<u64> = samples.iter().map(|sample| sample.lag).chain([current.lag]).collect();
        (rates, curve(&lags))
    }
}

fn rates(before: Sample, now: Sample) -> Rates {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
    let rate = |before: u64, now: u64| {
        let count = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        if seconds > 0.0 { f64::from(count) / seconds } else { 0.0 }
    };
    Rates {
        consumed: rate(before.consumed, now.consumed),
        produced: rate(before.produced, now.produced),
        failed: rate(before.failed, now.failed),
    }
}

/// A small curve as SVG: the newest value is at the right, the largest one at the top.
fn curve(lags: &[u64]) -> String {
    let most = lags.iter().copied().max().unwrap_or(0).max(1);
    let mut points = String::new();
    for (at, lag) in lags.iter().rev().take(WIDTH).enumerate() {
        let share = f64::from(u32::try_from(u128::from(*lag) * 1000 / u128::from(most)).unwrap_or(1000)) / 1000.0;
        // A String takes any text.
        let _ = write!(points, "{},{:.1} ", WIDTH - 1 - at, (HEIGHT - 2.0).mul_add(-share, HEIGHT - 1.0));
    }
    format!(
        "<svg role=\"img\" aria-label=\"lag of the last 15 minutes, at most {most}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 \
         {WIDTH} {HEIGHT}\"><polyline points=\"{}\"/></svg>",
        points.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_time_between_and_a_counter_that_began_anew_is_no_rate() {
        let at = Instant::now();
        let sample = |seconds, consumed| Sample {
            at: at + Duration::from_secs(seconds),
            lag: 0,
            consumed,
            produced: consumed / 2,
            failed: consumed / 10,
        };
        assert_eq!(rates(sample(0, 100), sample(20, 300)), Rates { consumed: 10.0, produced: 5.0, failed: 1.0 });
        assert_eq!(rates(sample(0, 300), sample(20, 100)), Rates::default());
        assert_eq!(rates(sample(0, 300), sample(0, 400)), Rates::default());
    }

    #[test]
    fn a_curve_has_its_newest_value_at_the_right_and_its_largest_at_the_top() {
        let curve = curve(&[0, 50, 100]);
        assert!(curve.contains("points=\"89,1.0 88,10.0 87,19.0\"") && curve.contains("at most 100"), "{curve}");
        assert!(super::curve(&[u64::MAX, 0]).contains("89,19.0 88,1.0"));
        assert_eq!(super::curve(&vec![1; 500]).matches(',').count(), WIDTH + 1, "with one in its label");
    }
}
