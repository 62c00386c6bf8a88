//! PURE. What the worker asks about a cycle that is being cut, and takes back of what it judged.

use super::window::Window;
use super::windowed::WindowedPartition;

impl WindowedPartition {
    /// The step's windows.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Whether a cycle is being cut: nothing behind its boundary may be folded before it is.
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        self.cycles.boundary().is_some()
    }

    /// The offset at which a cycle is being cut.
    #[must_use]
    pub fn boundary(&self) -> Option<i64> {
        self.cycles.boundary()
    }

    /// Forgets that records from this source offset on were judged. None of them is folded.
    pub fn take_back_from(&mut self, offset: i64) {
        self.time.take_back_from(offset);
    }
}
