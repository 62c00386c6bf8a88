//! Questions about the state of the step with windows: how they reach the worker, and what the cells of an answer mean.
//!
//! The worker copies cells; merging and reading them is done here, on the thread of who asked. What that may cost is bounded, and an
//! answer says if something was left out.

use crate::aggregate;
use crate::aggregate::FoldError;
use crate::aggregate::Functions;
use crate::plugin::Step;
use crate::state::Window;
use crate::worker::KeyCells;
use crate::worker::ListedCell;
use crate::worker::Reducer;
use crate::worker::StateQuestion;
use crate::worker::StateReply;
use crate::worker::WindowedStep;

use super::Handle;
use super::plugin_cells::PluginCells;

/// The most windows of a key in an answer.
const WINDOWS_MAX: usize = 1_000;
/// The most merges of cells for an answer.
const MERGES_MAX: usize = 100_000;
/// An answer has no further window when its cells have this many bytes.
const BYTES_MAX: usize = 8 << 20;

/// A window of a key, or a slice of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateWindow {
    /// Where it starts, in JSON.
    pub from: String,
    /// Where it ends, in JSON.
    pub to: String,
    /// The fields of the result that it would have now, as a JSON object.
    pub value: String,
    /// Its cell.
    pub cell: Vec<u8>,
}

/// The open windows of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenWindows {
    /// The windows, in order.
    pub windows: Vec<StateWindow>,
    /// Whether later windows were left out, because there are too many.
    pub is_cut: bool,
}

/// How the cells of a step are read.
#[derive(Clone, Debug)]
pub struct CellReader {
    window: Window,
    computes: CellMeaning,
}

#[derive(Clone, Debug)]
enum CellMeaning {
    Functions(Functions),
    Plugin(PluginCells),
}

impl Handle {
    /// Asks about the committed state; see [`crate::worker::StateAsker`].
    pub fn ask_state(&self, question: StateQuestion, reply: StateReply) {
        (self.asker)(question, reply);
    }

    /// The step with windows, and how its cells are read; `None` if there is no such step.
    #[must_use]
    pub fn windowed(&self) -> Option<&(String, CellReader)> {
        self.windowed.as_deref()
    }
}

impl Handle {
    /// Reads cells with the step with windows, if it is among these, which run from now on.
    pub(super) fn read_cells_with<'a>(&self, mut steps: impl Iterator<Item = &'a Step>) {
        if let Some((name, CellReader { computes: CellMeaning::Plugin(plugin), .. })) = self.windowed.as_deref()
            && let Some(step) = steps.find(|step| *step.settings().name == **name)
        {
            plugin.swap(step.clone());
        }
    }
}

/// What [`Handle::windowed`] returns.
pub(super) fn reader(windowed: &WindowedStep, last: Option<&Step>) -> Option<(String, CellReader)> {
    let computes = match &windowed.reducer {
        Reducer::Functions(functions) => CellMeaning::Functions(functions.clone()),
        Reducer::Plugin { .. } => CellMeaning::Plugin(PluginCells::new(last?.clone())),
    };
    Some((windowed.name.to_string(), CellReader { window: windowed.state.window, computes }))
}

impl CellReader {
    /// The windows of the key with this name that are not shown yet.
    ///
    /// # Errors
    /// A cell can't be read.
    pub fn windows(&self, name: Option<&[u8]>, key: &KeyCells) -> Result<OpenWindows, String> {
        let mut open = OpenWindows { windows: Vec::new(), is_cut: key.is_cut };
        let (mut merges, mut bytes) = (0, 0);
        let every = self.window.every();
        // Slices behind the last one that was copied are not known.
        let known = key.cells.last().filter(|_| key.is_cut).map(|(slice, _)| slice.saturating_add(every));
        let mut last = key.shown;
        let mut oldest = 0;
        for (slice, _) in &key.cells {
            let mut end = self.window.first_end(*slice).max(last.saturating_add(every));
            while end <= self.window.last_end(*slice) {
                let start = self.window.start(end);
                while key.cells.get(oldest).is_some_and(|(slice, _)| *slice < start) {
                    oldest += 1;
                }
                let cells = key.cells.iter().skip(oldest).take_while(|(slice, _)| *slice < end);
                let cells: Vec<&[u8]> = cells.map(|(_, cell)| &**cell).collect();
                merges += cells.len();
                let is_full = open.windows.len() == WINDOWS_MAX || merges > MERGES_MAX || bytes >= BYTES_MAX;
                if is_full || known.is_some_and(|known| end > known) {
                    open.is_cut = true;
                    return Ok(open);
                }
                let cell = self.merged(&cells)?;
                bytes += cell.len();
                open.windows.push(self.read(name, start, end, cell)?);
                last = end;
                end = end.saturating_add(every);
            }
        }
        Ok(open)
    }

    /// A cell of a list: its slice, which is a window if windows don't overlap.
    ///
    /// # Errors
    /// The cell can't be read.
    pub fn slice(&self, listed: ListedCell) -> Result<StateWindow, String> {
        let end = listed.slice.saturating_add(self.window.every());
        self.read(listed.key.as_deref(), listed.slice, end, listed.cell)
    }

    fn read(&self, key: Option<&[u8]>, from_ms: i64, to_ms: i64, cell: Vec<u8>) -> Result<StateWindow, String> {
        let value = match &self.computes {
            CellMeaning::Functions(functions) => functions.value(&cell).map_err(|error| error.to_string())?,
            CellMeaning::Plugin(plugin) => plugin.value(key, from_ms, to_ms, &cell)?,
        };
        let (from, to) = (aggregate::json_time(from_ms), aggregate::json_time(to_ms));
        Ok(StateWindow { from, to, value, cell })
    }

    fn merged(&self, cells: &[&[u8]]) -> Result<Vec<u8>, String> {
        let functions = match &self.computes {
            CellMeaning::Functions(functions) => functions,
            CellMeaning::Plugin(plugin) => return plugin.merge(cells),
        };
        let Some((first, rest)) = cells.split_first() else { return Err("a window without cells".to_owned()) };
        let (mut merged, mut next) = (first.to_vec(), Vec::new());
        for cell in rest {
            next.clear();
            functions.merge(&merged, cell, &mut next).map_err(|error: FoldError| error.to_string())?;
            std::mem::swap(&mut merged, &mut next);
        }
        Ok(merged)
    }
}

/// A key in JSON: a text, `{"base64":".."}` if it isn't UTF-8, or null.
#[must_use]
pub fn json_key(key: Option<&[u8]>) -> String {
    aggregate::json_key(key)
}

/// A time in JSON. `time_ms` is in milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn json_time(time_ms: i64) -> String {
    aggregate::json_time(time_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::AppliedUpTo;

    fn reader(window: Window) -> CellReader {
        CellReader { window, computes: CellMeaning::Functions(Functions::parse([("n", "count")]).unwrap()) }
    }

    /// The windows of a key with this number of records in each slice. The cell of a count is its version and the count.
    fn windows(reader: &CellReader, shown: i64, records: &[(i64, u8)], is_cut: bool) -> (Vec<String>, bool) {
        let cells = records.iter().map(|&(slice, count)| (slice, vec![1, count])).collect();
        let at = AppliedUpTo { partition: 0, applied: 0, watermark: None };
        let open = reader.windows(None, &KeyCells { at, shown, cells, is_cut }).unwrap();
        let seconds = |time: &str| time[19..24].trim_end_matches('Z').to_owned();
        let shown = open.windows.iter().map(|w| format!("{}-{} {}", seconds(&w.from), seconds(&w.to), w.value));
        (shown.collect(), open.is_cut)
    }

    #[test]
    fn a_tumbling_window_is_its_slice() {
        let reader = reader(Window::tumbling(1_000, 0).unwrap());
        let (found, is_cut) = windows(&reader, i64::MIN, &[(0, 1), (2_000, 2)], false);
        assert_eq!(found, [r#"0.000-1.000 {"n":1}"#, r#"2.000-3.000 {"n":2}"#]);
        assert!(!is_cut);
        let (found, _) = windows(&reader, 1_000, &[(0, 1), (2_000, 2)], false);
        assert_eq!(found.len(), 1, "what is shown is not open");
    }

    #[test]
    fn an_overlapping_window_merges_its_slices_and_each_open_one_is_there_once() {
        let reader = reader(Window::hopping(3_000, 1_000, 0).unwrap());
        let cells = [(2_000, 1), (3_000, 10), (6_000, 100)];
        let (found, _) = windows(&reader, 3_000, &cells, false);
        let expected = [
            r#"1.000-4.000 {"n":11}"#,
            r#"2.000-5.000 {"n":11}"#,
            r#"3.000-6.000 {"n":10}"#,
            r#"4.000-7.000 {"n":100}"#,
            r#"5.000-8.000 {"n":100}"#,
            r#"6.000-9.000 {"n":100}"#,
        ];
        assert_eq!(found, expected);
        // Windows that end behind the last known slice may have more.
        let (found, is_cut) = windows(&reader, 3_000, &cells[..2], true);
        assert_eq!((found, is_cut), (vec![expected[0].to_owned()], true));
    }
}
