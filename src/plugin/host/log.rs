//! The interface `log`: writes a guest's lines to the host's log.
//!
//! A long line is truncated and its control characters are escaped. A step that writes too many lines in a second loses
//! some; after that second their count is logged, even if the step writes nothing more. Lines are kept if the call then
//! traps, since they explain the trap. The last line, if it is an error, is kept for the failure.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::plugin::contract::Level;
use crate::plugin::deadline::TICK;
use crate::plugin::deadline::Ticks;
use crate::plugin::host::Host;
use crate::telemetry;
use crate::telemetry::KeepsBack;

/// A longer line is truncated.
pub(super) const LINE_BYTES_MAX: usize = 1024;
/// What is looked at of a line, however long it is: a guest can't be stopped while the host reads its line.
const READ_BYTES_MAX: usize = 16 << 10;
/// Of what a call prints to stderr, this many lines are kept for its failure: the first ones, and the last ones.
const KEPT_FIRST: usize = 4;
const KEPT_LINES: usize = 12;
/// Of a longer one, the beginning.
const KEPT_BYTES_MAX: usize = 240;
/// A step writes at most this many lines in each [`WINDOW`], over all its instances.
const LINES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// The plugin that an instance runs, which its log lines name.
#[derive(Debug)]
pub(in crate::plugin) struct PluginName {
    pub(in crate::plugin) name: String,
    /// Empty if the plugin states none.
    pub(in crate::plugin) version: String,
}

impl PluginName {
    /// The version as a field: there is no field without one.
    fn version(&self) -> Option<&str> {
        (!self.version.is_empty()).then_some(&*self.version)
    }
}

/// Limits the lines of a step. Shared by all of its instances.
pub(in crate::plugin) struct LogGate {
    step: Arc<str>,
    clock: Ticks,
    /// Locked by an executor while its guest writes a line; never while guest code runs or another lock is held.
    window: Mutex<Window>,
    /// Lines written by guests, by level, since they were last taken.
    counts: [AtomicU64; 5],
}

/// Lines that were suppressed, and the plugin whose line was the first of them.
#[derive(Debug, Default)]
struct Suppressed {
    lines: u64,
    plugin: Option<Arc<PluginName>>,
}

#[derive(Default)]
struct Window {
    since: u64,
    lines: u32,
    suppressed: u64,
    /// The plugin whose line was the first to be suppressed.
    plugin: Option<Arc<PluginName>>,
}

impl Window {
    /// Counts a line, and returns whether it may be written.
    fn admit(&mut self, plugin: &Arc<PluginName>) -> bool {
        let passes = self.lines < LINES_MAX;
        if passes {
            self.lines += 1;
        } else {
            self.suppressed += 1;
            if self.suppressed == 1 {
                self.plugin = Some(Arc::clone(plugin));
            }
        }
        passes
    }

    /// If the window has ended at `now`, in ticks, starts another one and returns the suppressed lines. Call
    /// it before [`Window::admit`], and periodically.
    fn over(&mut self, now: u64) -> Suppressed {
        let length = WINDOW.as_nanos().div_ceil(TICK.as_nanos());
        if u128::from(now.saturating_sub(self.since)) < length {
            return Suppressed::default();
        }
        (self.since, self.lines) = (now, 0);
        self.take_suppressed()
    }

    fn take_suppressed(&mut self) -> Suppressed {
        Suppressed { lines: std::mem::take(&mut self.suppressed), plugin: self.plugin.take() }
    }
}

impl LogGate {
    pub(in crate::plugin) fn new(step: Arc<str>, clock: Ticks) -> Arc<LogGate> {
        let gate = LogGate { step, clock, window: Mutex::new(Window::default()), counts: Default::default() };
        let gate = Arc::new(gate);
        let weak = Arc::downgrade(&gate);
        telemetry::ask_now_and_then(weak);
        gate
    }

    /// Counts a line, and returns whether it may be written.
    fn admit(&self, plugin: &Arc<PluginName>) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = window.over(self.clock.now());
        let passes = window.admit(plugin);
        drop(window);
        self.say(&suppressed);
        passes
    }

    fn say(&self, suppressed: &Suppressed) {
        if suppressed.lines > 0 {
            let (step, of, lines) = (&*self.step, suppressed.plugin.as_deref(), suppressed.lines);
            let (plugin, version) = (of.map(|of| &*of.name), of.and_then(PluginName::version));
            tracing::warn!(target: "plugin", step, plugin, version, "{lines} lines of this plugin's log were suppressed: more than {LINES_MAX} a second");
        }
    }

    /// The lines since the last call, including suppressed ones, `trace` first.
    pub(in crate::plugin) fn take_counts(&self) -> [u64; 5] {
        // Most calls log nothing, and a load is cheaper than a swap.
        self.counts.each_ref().map(|count| match count.load(Ordering::Relaxed) {
            0 => 0,
            _ => count.swap(0, Ordering::Relaxed),
        })
    }
}

impl KeepsBack for LogGate {
    fn count_out(&self, end: bool) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = if end { window.take_suppressed() } else { window.over(self.clock.now()) };
        drop(window);
        self.say(&suppressed);
    }
}

/// When the last instance of the step is gone, reports the rest. Commands without a pipeline don't poll the gate.
impl Drop for LogGate {
    fn drop(&mut self) {
        self.count_out(true);
    }
}

/// One instance's access to the gate.
pub(super) struct Log {
    gate: Arc<LogGate>,
    plugin: Arc<PluginName>,
    /// The last line of the running call, if it is an error, or what it printed to stderr: a guest that panics writes one
    /// before it traps.
    last_errors: Vec<String>,
}

impl Log {
    pub(super) fn new(gate: Arc<LogGate>, plugin: Arc<PluginName>) -> Log {
        Log { gate, plugin, last_errors: Vec::new() }
    }
}

impl Host {
    /// Starts another call.
    pub(in crate::plugin) fn forget_last_error(&mut self) {
        self.log.last_errors.clear();
    }

    /// The guest's last words in this call, truncated, in one line: its last line if that was an error, and what it printed
    /// to stderr.
    pub(in crate::plugin) fn last_error(&self) -> Option<String> {
        let said = self.log.last_errors.join("; ");
        (!said.is_empty()).then_some(said)
    }

    /// Writes a guest's line, if its step's gate admits it.
    pub(in crate::plugin) fn write_log(&mut self, level: Level, message: &str) {
        let message = &message[..message.floor_char_boundary(READ_BYTES_MAX)];
        self.log.last_errors.clear();
        if level == Level::Error {
            self.log.last_errors.push(in_one_line(message));
        }
        self.write_line(level, message);
    }

    /// Writes a line that a guest has printed. One of stderr is often one of several that belong together.
    pub(super) fn write_printed(&mut self, level: Level, line: &str) {
        if level == Level::Error {
            let kept = &mut self.log.last_errors;
            if kept.len() >= KEPT_LINES {
                kept.remove(KEPT_FIRST);
            }
            let line = line.trim();
            let cut = &line[..line.floor_char_boundary(KEPT_BYTES_MAX)];
            kept.push(if cut.len() < line.len() { in_one_line(&format!("{cut}...")) } else { in_one_line(cut) });
        }
        self.write_line(level, line);
    }

    pub(super) fn write_line(&mut self, level: Level, message: &str) {
        let gate = &*self.log.gate;
        let count = match level {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        gate.counts[count].fetch_add(1, Ordering::Relaxed);
        if !gate.admit(&self.log.plugin) {
            return;
        }
        let step = &*gate.step;
        let (plugin, version) = (&*self.log.plugin.name, self.log.plugin.version());
        let line = printable(message.chars(), message.len());
        match level {
            Level::Trace => tracing::trace!(target: "plugin", step, plugin, version, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", step, plugin, version, "{line}"),
            Level::Info => tracing::info!(target: "plugin", step, plugin, version, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", step, plugin, version, "{line}"),
            Level::Error => tracing::error!(target: "plugin", step, plugin, version, "{line}"),
        }
    }
}

/// A line for a reason.
fn in_one_line(message: &str) -> String {
    let line = message.trim().chars().map(|character| if character == '\n' { ' ' } else { character });
    printable(line, message.len())
}

/// Makes a line that can't move the cursor, end early or fill a disk.
fn printable(message: impl Iterator<Item = char>, bytes: usize) -> String {
    let mut line = String::with_capacity(bytes.min(LINE_BYTES_MAX));
    for character in message {
        let before = line.len();
        let written = if character.is_control() || is_direction(character) {
            write!(line, "{}", character.escape_default())
        } else {
            line.write_char(character)
        };
        if written.is_err() || line.len() > LINE_BYTES_MAX {
            line.truncate(before);
            line.push_str("...");
            break;
        }
    }
    line
}

/// Characters that change the direction of displayed text.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_escaped() {
        let printable = |message: &str| printable(message.chars(), message.len());
        assert_eq!(printable("a\nb\x1b[31m\u{202e}\u{e9}"), "a\\nb\\u{1b}[31m\\u{202e}\u{e9}");
        let long = printable(&"\u{e9}\n".repeat(LINE_BYTES_MAX));
        assert!(long.len() <= LINE_BYTES_MAX + 3 && long.ends_with("..."), "{long}");
    }

    #[test]
    fn a_flood_is_suppressed_and_counted() {
        let second = u64::try_from(WINDOW.as_nanos() / TICK.as_nanos()).unwrap();
        let mut window = Window { since: 3, ..Window::default() };
        let plugin = Arc::new(PluginName { name: "mask".to_owned(), version: String::new() });
        let passed = (0..1000).filter(|_| window.admit(&plugin)).count();
        assert_eq!(passed, 100);
        assert_eq!(window.over(2 + second).lines, 0, "more may come");
        let suppressed = window.over(3 + second);
        assert_eq!(suppressed.lines, 900, "though nothing more came");
        assert_eq!(suppressed.plugin.map(|plugin| plugin.name.clone()).as_deref(), Some("mask"));
        assert_eq!(window.over(3 + second).lines, 0);
        assert!(window.admit(&plugin));
    }
}
