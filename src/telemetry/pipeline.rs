//! The pipeline that a thread works for, which each of its log lines names.
//!
//! A process that runs one pipeline sets it once for all threads. One that runs several sets it where something is done for one of them, and every
//! thread that is started with [`spawn`] has the pipeline of the thread that starts it.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::thread;
use std::thread::JoinHandle;

/// The pipeline of all threads that have none of their own.
static OF_PROCESS: OnceLock<Arc<str>> = OnceLock::new();

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Names the only pipeline of the process in each log line from now on.
pub fn set_pipeline(name: &str) {
    // Later calls change nothing.
    let _ = OF_PROCESS.set(name.into());
}

/// Runs something for one of several pipelines, which the log lines of this thread name meanwhile, and those of threads that it starts.
pub fn in_pipeline<T>(name: Arc<str>, run: impl FnOnce() -> T) -> T {
    within(Some(name), run)
}

/// Runs something for this pipeline, or for none in particular.
pub(super) fn within<T>(pipeline: Option<Arc<str>>, run: impl FnOnce() -> T) -> T {
    let before = OF_THREAD.replace(pipeline);
    let done = run();
    OF_THREAD.set(before);
    done
}

/// Starts a thread that works for the same pipeline as this one.
///
/// # Errors
/// If the operating system has no more threads.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let pipeline = of_thread();
    thread::Builder::new().name(name.into()).spawn(move || within(pipeline, run))
}

/// The pipeline of this thread, if it is one of several.
pub(super) fn of_thread() -> Option<Arc<str>> {
    // There is none while the thread ends.
    OF_THREAD.try_with(|own| own.borrow().clone()).ok().flatten()
}

/// The pipeline that this thread works for.
#[must_use]
pub fn current() -> Option<Arc<str>> {
    of_thread().or_else(|| OF_PROCESS.get().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_works_for_the_pipeline_of_the_one_that_starts_it() {
        let of = |name: &'static str| {
            thread::spawn(move || {
                let inner = || spawn("inner", || current().map(|name| name.to_string())).unwrap().join().unwrap();
                let outer = in_pipeline(name.into(), || spawn("outer", inner).unwrap());
                assert_eq!(of_thread(), None);
                outer.join().unwrap()
            })
        };
        let [first, second] = [of("orders"), of("refunds")].map(|thread| thread.join().unwrap());
        assert_eq!((first.as_deref(), second.as_deref()), (Some("orders"), Some("refunds")));
        assert_eq!(of_thread(), None);
    }
}
