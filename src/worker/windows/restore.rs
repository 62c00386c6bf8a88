//! Reads a partition's changelog and restores its tables, on a thread of its own, so that the other partitions go on.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::step::Reducer;
use super::step::WindowedStep;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka;
use crate::kafka::changelog;
use crate::kafka::changelog::ReadError;
use crate::kafka::changelog::ReadProgress;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::state::Control;
use crate::state::Restore;
use crate::state::WindowedPartition;
use crate::telemetry;
use crate::worker::clock;

/// The result of a restore.
pub(in crate::worker) struct Restored {
    /// The assignment of the partition.
    pub(in crate::worker) assignment: AssignmentId,
    /// The group's offset, if it has one.
    pub(in crate::worker) committed: Option<Offset>,
    /// How long it took, with all tries.
    pub(in crate::worker) took: Duration,
    /// The state, and how many records the changelog had; or what a person must do.
    pub(in crate::worker) result: Result<(Box<WindowedPartition>, u64), String>,
}

/// Why a partition could not be restored.
#[derive(Debug)]
enum RestoreFailure {
    /// The brokers didn't deliver it: it may work later.
    Again(String),
    /// A person must act.
    Stopped(String),
}

/// The wait between two tries, and how often it looks whether it is cancelled.
const AGAIN: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);

/// What to restore.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) kafka: kafka::Settings,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) assignment: AssignmentId,
    pub(super) step: Arc<WindowedStep>,
    /// The group's offset, if it has one.
    pub(super) committed: Option<Offset>,
    /// Where reading begins without a changelog.
    pub(super) start: Offset,
    /// Where the restore tells how far it is.
    pub(super) progress: Arc<ReadProgress>,
}

/// Restores a partition on a thread, which ends soon after `cancel` is set. `report` is called on it.
pub(super) fn start(
    task: Task,
    cancel: Arc<AtomicBool>,
    report: impl FnOnce(Restored) + Send + 'static,
) -> std::io::Result<()> {
    let name = format!("restore-{}", task.partition);
    let began = clock::now();
    let run = move || {
        let result = loop {
            match restore(&task, &cancel) {
                Ok(state) => break Ok(state),
                Err(RestoreFailure::Stopped(why)) => break Err(why),
                Err(RestoreFailure::Again(why)) => {
                    tracing::error!(
                        step = &*task.step.name,
                        topic = task.topic,
                        partition = task.partition,
                        "{why}: a state can't be restored yet, trying again in {AGAIN:?}"
                    );
                    if !waits(&cancel) {
                        return;
                    }
                }
            }
        };
        if !cancel.load(Ordering::Relaxed) {
            let Task { assignment, committed, .. } = task;
            let took = clock::now().saturating_duration_since(began);
            report(Restored { assignment, committed, took, result });
        }
    };
    telemetry::spawn(name, run).map(drop)
}

/// Waits before the next try. `false` if the restore is cancelled.
fn waits(cancel: &AtomicBool) -> bool {
    let until = clock::now() + AGAIN;
    while clock::now() < until && !cancel.load(Ordering::Relaxed) {
        std::thread::sleep(STEP);
    }
    !cancel.load(Ordering::Relaxed)
}

fn restore(task: &Task, cancel: &AtomicBool) -> Result<(Box<WindowedPartition>, u64), RestoreFailure> {
    let mut restore = Restore::new(task.step.state);
    let mut records = 0;
    let mut failed = None;
    let changelog = changelog::Changelog { topic: &task.topic, partition: task.partition };
    let read = changelog.read(&task.kafka, cancel, &task.progress, |key, value| {
        failpoint::pass(Point::InRestore);
        records += 1;
        match restore.read(key.unwrap_or_default(), value) {
            Ok(()) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    });
    let place = || format!("changelog {}/{}", task.topic, task.partition);
    if let Some(error) = failed {
        return Err(RestoreFailure::Stopped(format!("{}: {error}", place())));
    }
    read.map_err(|error| match error {
        ReadError::NoPartition(partitions) => RestoreFailure::Stopped(format!(
            "the changelog `{}` has {partitions} partitions, and the input has {} or more: state is kept by partition, and a key may have moved \
             to another one; read the input again from its beginning as another group, `input.group`",
            task.topic,
            i64::from(task.partition) + 1
        )),
        ReadError::Other(why) => RestoreFailure::Again(format!("{}: {why}", place())),
    })?;
    let foreign = |control: &Control| {
        let mut versions = control.versions.iter().map(|&(version, _)| version);
        versions.find(|&version| !task.step.reads(version))
    };
    if let Some(version) = restore.control().and_then(foreign) {
        let why = match &task.step.reducer {
            Reducer::Functions(_) => {
                "its cells were computed with other functions than the `settings` of the step have; go back to those \
                                      until all windows are shown"
                    .to_owned()
            }
            Reducer::Plugin { reads, .. } => format!(
                "its cells were written with version {version} of the plugin's state, and the component reads {reads:?}; go back to one that \
                 reads it, or build the plugin so that it does (`reads`)"
            ),
        };
        let others = "or read the input again as another group, `input.group`";
        return Err(RestoreFailure::Stopped(format!("{}: {why}, {others}", place())));
    }
    let committed = task.committed.map(|offset| offset.0);
    match restore.finish(committed, task.start.0, clock::unix_ms()) {
        Ok(state) => Ok((Box::new(state), records)),
        Err(error) => Err(RestoreFailure::Stopped(format!("{}: {error}", place()))),
    }
}
