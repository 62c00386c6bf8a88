//! PURE. How long to wait before a failed pipeline is started again.

use std::time::Duration;

use crate::config::Restart;

/// The waits before a pipeline is started again.
#[derive(Debug)]
pub(super) struct Waits {
    restart: Restart,
    next: Duration,
}

impl Waits {
    pub(super) fn new(restart: Restart) -> Waits {
        Waits { restart, next: restart.from }
    }

    /// The wait after it ran for this long: twice the last one, and the first one again if it ran for longer than the longest wait.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        let wait = if ran > self.restart.to { self.restart.from } else { self.next };
        self.next = (wait * 2).min(self.restart.to);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_before_a_start_doubles_up_to_the_longest_and_begins_anew_after_a_long_run() {
        let [from, to] = [10, 35].map(Duration::from_secs);
        let mut waits = Waits::new(Restart { from, to });
        let ran = [0, 1, 35, 2, 36, 0].map(|ran| waits.after(Duration::from_secs(ran)).as_secs());
        assert_eq!(ran, [10, 20, 35, 35, 10, 20]);
    }
}
