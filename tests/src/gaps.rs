//! How long a client went without an acknowledgement.

#![allow(clippy::disallowed_methods, reason = "real clients run on real time")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often a client's output is looked at: the precision of what is found.
const LOOK: Duration = Duration::from_millis(20);
/// Shorter times are the clients' own rhythm.
const GAP_MIN: Duration = Duration::from_millis(100);

/// A time without an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// The last acknowledgement before it.
    pub begin: Instant,
    /// How long it was.
    pub length: Duration,
}

/// Watches a file that grows with each acknowledgement.
#[derive(Debug)]
pub struct GapWatch {
    stopping: Arc<AtomicBool>,
    watcher: JoinHandle<Vec<Gap>>,
}

impl GapWatch {
    /// Begins to watch.
    #[must_use]
    pub fn start(acks: &Path) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, path) = (Arc::clone(&stopping), acks.to_owned());
        let watcher = std::thread::spawn(move || watch(&path, &stop));
        Self { stopping, watcher }
    }

    /// All that were seen, once the client has ended.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn end(self) -> Vec<Gap> {
        self.stopping.store(true, Ordering::Release);
        self.watcher.join().expect("watching does not panic")
    }
}

fn watch(path: &PathBuf, stopping: &AtomicBool) -> Vec<Gap> {
    let (mut length, mut grew, mut gaps) = (0, None, Vec::new());
    while !stopping.load(Ordering::Acquire) {
        let now = Instant::now();
        let current = std::fs::metadata(path).map_or(0, |file| file.len());
        if current > length {
            if let Some(begin) = grew.filter(|begin| now - *begin >= GAP_MIN) {
                let length = now - begin;
                gaps.push(Gap { begin, length });
            }
            length = current;
            grew = Some(now);
        }
        std::thread::sleep(LOOK);
    }
    gaps
}

/// The longest of some gaps.
#[must_use]
pub fn longest(gaps: &[Gap]) -> Duration {
    gaps.iter().map(|gap| gap.length).max().unwrap_or_default()
}

/// Whose fault a gap was: the first event that fell into it, or the last one before it.
#[must_use]
pub fn cause(gap: &Gap, events: &[Instant]) -> Option<usize> {
    let end = gap.begin + gap.length;
    let inside = events.iter().position(|at| (gap.begin..end).contains(at));
    inside.or_else(|| events.iter().rposition(|at| *at <= gap.begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_cause_that_fell_into_them() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let gap = |from, to| Gap {
            begin: at(from),
            length: at(to) - at(from),
        };
        let events = [at(10), at(20), at(22)];
        assert_eq!(cause(&gap(8, 12), &events), Some(0));
        assert_eq!(cause(&gap(12, 15), &events), Some(0));
        assert_eq!(cause(&gap(19, 30), &events), Some(1));
        assert_eq!(cause(&gap(1, 5), &events), None);
        assert_eq!(longest(&[gap(1, 2), gap(8, 12)]), Duration::from_secs(4));
    }
}
