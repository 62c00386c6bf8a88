//! Suppressed log lines that would go uncounted because their source has gone silent, such as a plugin that stopped logging.
//!
//! A source of suppressed lines registers once. The thread that writes log lines calls it each second, and once more at the end; a
//! process without that thread never calls it. What it logs is about the pipeline for which it registered. This file decides nothing.
//! Invariant: the lock isn't held during such a call, since the source logs.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use super::pipeline;

/// A source that suppresses log lines.
pub trait KeepsBack: Send + Sync {
    /// Logs how many lines were suppressed, if their interval is over, or at the `end` of the process.
    fn count_out(&self, end: bool);
}

/// A source, and its pipeline if the process runs several.
type Source = (Option<Arc<str>>, Weak<dyn KeepsBack>);

/// The registered sources. Locked only to copy the list or to add to it.
static ALL: Mutex<Vec<Source>> = Mutex::new(Vec::new());

/// Registers a source until it is dropped.
pub fn ask_now_and_then(one: Weak<dyn KeepsBack>) {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, one)| one.strong_count() > 0);
    all.push((pipeline::of_thread(), one));
}

/// Calls all sources.
pub(super) fn count_out(end: bool) {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let there: Vec<_> = all.iter().filter_map(|(of, one)| Some((of.clone(), one.upgrade()?))).collect();
    drop(all);
    there.into_iter().for_each(|(of, one)| pipeline::within(of, || one.count_out(end)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes for which pipeline it logs.
    #[derive(Default)]
    struct Noting(Mutex<Option<Arc<str>>>);

    impl KeepsBack for Noting {
        fn count_out(&self, _end: bool) {
            *self.0.lock().unwrap() = pipeline::of_thread();
        }
    }

    #[test]
    fn a_source_logs_for_the_pipeline_for_which_it_registered() {
        let source: Arc<Noting> = Arc::default();
        let weak: Weak<dyn KeepsBack> = Arc::downgrade(&(Arc::clone(&source) as Arc<dyn KeepsBack>));
        pipeline::in_pipeline("orders".into(), || ask_now_and_then(weak));
        count_out(true);
        assert_eq!(source.0.lock().unwrap().as_deref(), Some("orders"));
    }
}
