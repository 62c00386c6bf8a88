//! The instances that a worker's executors begin with, and which executors have been given work.
//!
//! An executor makes its instances when it first needs them, so that executors without work take no memory. Those that are made before are
//! for the first executor, so that a plugin that can't be started is found out at once, and for executors that are at work when another
//! version takes over. Invariant: an executor that was used once stays so.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::plugin::Instance;
use crate::plugin::Step;

/// For each executor, all steps, with an instance of each if it was made already.
#[derive(Debug)]
pub struct FirstInstances {
    /// The executors in order.
    pub of_executors: Vec<Vec<(Step, Option<Instance>)>>,
    /// Which of them are used.
    pub used: UsedExecutors,
}

impl FirstInstances {
    /// Makes the instances of the first executor, and of those that `before` says are used.
    ///
    /// # Errors
    /// The first failure of `make`.
    pub fn make<E>(
        steps: &[Step],
        executors: usize,
        before: Option<&UsedExecutors>,
        make: impl Fn(&Step) -> Result<Instance, E>,
    ) -> Result<FirstInstances, E> {
        let of_executor = |number| {
            let is_needed = number == 0 || before.is_some_and(|before| before.is_used(number));
            let of_step = |step: &Step| Ok((step.clone(), is_needed.then(|| make(step)).transpose()?));
            steps.iter().map(of_step).collect::<Result<Vec<_>, E>>()
        };
        let of_executors = (0..executors).map(of_executor).collect::<Result<_, E>>()?;
        Ok(FirstInstances { of_executors, used: UsedExecutors::new(executors) })
    }
}

/// Which executors have been given work. Clones are about the same executors.
#[derive(Clone, Debug)]
pub struct UsedExecutors(Arc<[AtomicBool]>);

impl UsedExecutors {
    fn new(executors: usize) -> UsedExecutors {
        UsedExecutors((0..executors).map(|_| AtomicBool::new(false)).collect())
    }

    /// The number of executors.
    #[must_use]
    pub fn executors(&self) -> usize {
        self.0.len()
    }

    /// Whether this executor has been given work.
    #[must_use]
    pub fn is_used(&self, executor: usize) -> bool {
        self.0.get(executor).is_some_and(|is_used| is_used.load(Ordering::Relaxed))
    }

    /// This executor is given work.
    pub(super) fn mark(&self, executor: usize) {
        if let Some(is_used) = self.0.get(executor) {
            is_used.store(true, Ordering::Relaxed);
        }
    }
}
