//! What is done about windowed steps once in a while: quiet partitions are found and closed by the clock, and the tables are measured.

use std::time::Duration;
use std::time::Instant;

use prometheus::IntGauge;

use crate::record::Offset;
use crate::worker::Shell;
use crate::worker::clock;
use crate::worker::end::End;
use crate::worker::task::PartitionTask;

impl Shell {
    /// Asks where quiet partitions end, so that the clock may close their windows.
    pub(in crate::worker) fn ask_quiet(&self) {
        if self.settings.windowed.as_ref().is_none_or(|step| step.state.window.idle().is_none()) {
            return;
        }
        let is_quiet = |task: &&PartitionTask| {
            task.in_flight() == 0 && task.windows.as_ref().is_some_and(|windows| windows.cells() > 0)
        };
        let quiet: Vec<_> = self.flow.tasks.iter().filter(is_quiet).map(|task| task.partition.clone()).collect();
        if !quiet.is_empty() {
            self.io.lookup.ask_ends(quiet);
        }
    }

    /// The broker told where a partition ends: the clock may close windows if everything up to there is settled.
    pub(in crate::worker) fn on_end(&mut self, now: Instant, index: usize, end: Offset) {
        let is_blocked = self.blocked.holds() || self.delivery.holds(now) || self.reconfigure.holds();
        let task = &mut self.flow.tasks[index];
        let low = task.state.low();
        let is_caught_up = !is_blocked
            && low >= end
            && task.in_flight() == 0
            && task.state.may_receive()
            && !task.position.is_gone()
            && !task.reader.paused;
        if let Some(windows) = task.windows.as_mut().filter(|_| is_caught_up) {
            windows.settle(low);
            if windows.close_idle(clock::unix_ms()) {
                self.monitor.metrics.idle_advances.with_label_values(&[windows.step()]).inc();
            }
        }
    }

    /// Sets the gauges of the tables, and stops the pipeline if they have outgrown their memory.
    pub(in crate::worker) fn watch_tables(&mut self, now: Instant) {
        self.show_windowed();
        let Some(step) = &self.settings.windowed else { return };
        let tables = || self.flow.tasks.iter().filter_map(|task| task.windows.as_ref());
        let used: usize = tables().map(|windows| windows.memory()).sum();
        let cells: usize = tables().map(|windows| windows.cells()).sum();
        let metrics = &self.monitor.metrics;
        set(&metrics.state_cells.with_label_values(&[&step.name]), cells);
        set(&metrics.state_bytes.with_label_values(&[&step.name]), used);
        set(&metrics.windows_open.with_label_values(&[&step.name]), tables().map(|windows| windows.open()).sum());
        set(
            &metrics.restoring_partitions.with_label_values(&[&step.name]),
            tables().filter(|windows| !windows.is_ready()).count(),
        );
        let now_ms = clock::unix_ms();
        let lag = tables().filter_map(|windows| Some(now_ms.saturating_sub(windows.watermark()?))).max();
        let seconds = lag.map_or(0.0, |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64());
        metrics.watermark_lag_seconds.with_label_values(&[&step.name]).set(seconds);
        let held = &mut self.flow.held.state;
        let has_grown = used as u64 > held.bytes();
        held.set(used as u64);
        let budget = held.budget();
        let is_refused = has_grown && budget.is_exceeded();
        let why = if used > step.memory_bytes {
            format!(
                "step `{}`: its state has outgrown `state.memory`: {} of {} MiB, in {cells} cells of {} partitions\nways out: raise \
                 `state.memory`; make `window.size` or `window.lateness` smaller; or start more copies, which share the partitions. \
                 Nothing is lost: a restart goes on where this process was",
                step.name,
                used >> 20,
                step.memory_bytes >> 20,
                self.flow.tasks.len()
            )
        } else if is_refused {
            format!(
                "step `{}`: its state has grown, and the pipelines of this process have more than `[limits] memory` in wasmill.toml: {}\nways \
                 out: raise that limit; make `window.size` or `window.lateness` smaller; or start more processes. Nothing is lost: a restart \
                 goes on where this process was",
                step.name,
                budget.holders().unwrap_or_default()
            )
        } else {
            return;
        };
        if !self.session.is_ending() {
            self.close(now, End::Stopped(why));
        }
    }
}

fn set(gauge: &IntGauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
