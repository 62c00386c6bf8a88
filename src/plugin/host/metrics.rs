//! The interface `metrics`: a plugin's own counters and histograms.
//!
//! What a call counts is kept beside its outcome, as [`Effects`], and dropped with it: a call that traps or whose
//! outcome is rejected counts nothing. The number of names is bounded per step, only here, since every name becomes a
//! time series. Values with further names are counted under [`OTHER`], and the number of such values is counted as
//! well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The name for values whose own name is beyond [`NAMES_MAX`] or invalid.
const OTHER: &str = "other";
/// Distinct names per step.
const NAMES_MAX: usize = 50;
const NAME_BYTES_MAX: usize = 64;
/// Values that one call may observe. A plugin with more should aggregate them.
const OBSERVATIONS_MAX: usize = 10_000;

/// What a call counted besides its outcome. Applied if the outcome is kept, otherwise dropped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Amounts to add to the counters. Each name occurs once.
    pub counts: Vec<(Arc<str>, u64)>,
    /// Values for the histograms, all of them finite.
    pub observations: Vec<(Arc<str>, f64)>,
    /// Values that were counted under `other`, because their name is invalid or one too many, or not at all, because
    /// they are not finite or too many in one call.
    pub dropped: u64,
}

impl Effects {
    /// Whether the call counted nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.observations.is_empty() && self.dropped == 0
    }
}

/// The names that a step has used, in all its instances.
pub(in crate::plugin) struct Names {
    other: Arc<str>,
    /// Locked by an executor when its guest uses a name that is new to the instance; never while guest code runs or
    /// another lock is held.
    known: Mutex<BTreeSet<Arc<str>>>,
}

impl Names {
    pub(in crate::plugin) fn new() -> Names {
        Names { other: OTHER.into(), known: Mutex::new(BTreeSet::new()) }
    }

    fn admit(&self, name: &str) -> Arc<str> {
        if !is_name(name) {
            return Arc::clone(&self.other);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return Arc::clone(name);
        }
        if known.len() >= NAMES_MAX {
            return Arc::clone(&self.other);
        }
        let name: Arc<str> = name.into();
        known.insert(Arc::clone(&name));
        name
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// One instance's counters.
pub(in crate::plugin) struct Metrics {
    names: Arc<Names>,
    /// Names that this instance has used: at most [`NAMES_MAX`].
    seen: BTreeSet<Arc<str>>,
    effects: Effects,
}

impl Metrics {
    pub(super) fn new(names: Arc<Names>) -> Metrics {
        Metrics { names, seen: BTreeSet::new(), effects: Effects::default() }
    }

    /// Drops the counts that were not taken.
    pub(in crate::plugin) fn discard(&mut self) {
        self.effects.counts.clear();
        self.effects.observations.clear();
        self.effects.dropped = 0;
    }

    pub(in crate::plugin) fn take(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Adds to a counter.
    pub(in crate::plugin) fn count(&mut self, name: &str, by: u64) {
        let name = self.name(name);
        let counts = &mut self.effects.counts;
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count = count.saturating_add(by),
            None => counts.push((name, by)),
        }
    }

    /// Adds a value to a histogram.
    pub(in crate::plugin) fn observe(&mut self, name: &str, value: f64) {
        if !value.is_finite() || self.effects.observations.len() >= OBSERVATIONS_MAX {
            self.effects.dropped += 1;
            return;
        }
        let name = self.name(name);
        self.effects.observations.push((name, value));
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.seen.get(name) {
            return Arc::clone(name);
        }
        let admitted = self.names.admit(name);
        if *admitted == *name {
            self.seen.insert(Arc::clone(&admitted));
        } else {
            self.effects.dropped += 1;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_and_bad_names_share_one_series() {
        let names = Names::new();
        for n in 0..NAMES_MAX {
            assert_eq!(*names.admit(&format!("n{n}")), *format!("n{n}"));
        }
        assert_eq!(&*names.admit("n50"), OTHER);
        assert_eq!(&*names.admit("n49"), "n49");
        for bad in ["", "Bad", "a b", "a-b", "\u{e9}", &"x".repeat(65)] {
            assert_eq!(&*names.admit(bad), OTHER);
        }
    }

    #[test]
    fn values_without_a_name_of_their_own_are_counted() {
        let mut metrics = Metrics::new(Arc::new(Names::new()));
        for n in 0..NAMES_MAX + 5 {
            metrics.count(&format!("n{n}"), 2);
        }
        metrics.count("Bad name", 1);
        metrics.count(OTHER, 1);
        for value in [f64::NAN, f64::INFINITY, 4.0] {
            metrics.observe("n1", value);
        }
        let effects = metrics.take();
        let other = effects.counts.iter().find(|(name, _)| **name == *OTHER).unwrap();
        assert_eq!((effects.dropped, other.1), (5 + 1 + 2, 12));
        assert_eq!(effects.observations, [("n1".into(), 4.0)]);
    }
}
