//! Lines in the log that would be many.

use std::time::Duration;

use aquifer_store::Monotonic;
use parking_lot::Mutex;

/// At most one line in this time.
const INTERVAL: Duration = Duration::from_secs(5);

/// Lets a line through at most every five seconds.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    state: Mutex<(Option<Monotonic>, u64)>,
}

impl LogLimit {
    /// Whether to write a line now: how many were left out since the last one.
    pub(super) fn admit(&self, now: Monotonic) -> Option<u64> {
        let mut state = self.state.lock();
        if state.0.is_some_and(|at| now.since(at) < INTERVAL) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_left_out_and_counted() {
        let log = LogLimit::default();
        let at = |s| Monotonic(Duration::from_secs(s));
        let admitted = [0, 1, 4, 5, 6, 11].map(|s| log.admit(at(s)));
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
