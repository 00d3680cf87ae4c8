//! How long a client went without an acknowledgement.

#![allow(clippy::disallowed_methods, reason = "real clients run on real time")]

use std::{
    path::Path,
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
    /// The last acknowledgement before it, or the watch's begin.
    pub begin: Instant,
    /// How long it was.
    pub length: Duration,
}

/// Watches a file that grows with each acknowledgement, until its end or until it is dropped.
#[derive(Debug)]
pub struct GapWatch {
    stopping: Arc<AtomicBool>,
    watcher: Option<JoinHandle<Vec<Gap>>>,
}

impl GapWatch {
    /// Begins to watch: the client's own start is its first gap.
    #[must_use]
    pub fn start(acks: &Path) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, path) = (Arc::clone(&stopping), acks.to_owned());
        let watcher = std::thread::spawn(move || watch(&path, &stop));
        Self {
            stopping,
            watcher: Some(watcher),
        }
    }

    /// All that were seen, once the client has ended.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn end(mut self) -> Vec<Gap> {
        self.stop()
            .expect("it was not stopped before")
            .expect("watching does not panic")
    }

    fn stop(&mut self) -> Option<std::thread::Result<Vec<Gap>>> {
        self.stopping.store(true, Ordering::Release);
        self.watcher.take().map(JoinHandle::join)
    }
}

impl Drop for GapWatch {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// A file's growth, as far as it was looked at.
#[derive(Debug)]
struct Growth {
    bytes: u64,
    since: Instant,
    gaps: Vec<Gap>,
}

impl Growth {
    fn new(begin: Instant) -> Self {
        Self {
            bytes: 0,
            since: begin,
            gaps: Vec::new(),
        }
    }

    fn look(&mut self, now: Instant, bytes: u64) {
        if bytes <= self.bytes {
            return;
        }
        let (begin, length) = (self.since, now - self.since);
        if length >= GAP_MIN {
            self.gaps.push(Gap { begin, length });
        }
        (self.bytes, self.since) = (bytes, now);
    }
}

fn watch(path: &Path, stopping: &AtomicBool) -> Vec<Gap> {
    let mut growth = Growth::new(Instant::now());
    while !stopping.load(Ordering::Acquire) {
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        growth.look(Instant::now(), bytes);
        std::thread::sleep(LOOK);
    }
    growth.gaps
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

    #[test]
    fn regression_the_time_before_the_first_acknowledgement_is_a_gap() {
        let zero = Instant::now();
        let at = |millis| zero + Duration::from_millis(millis);
        let mut growth = Growth::new(zero);
        for (millis, bytes) in [(20, 0), (500, 0), (520, 9), (540, 18), (560, 18), (900, 27)] {
            growth.look(at(millis), bytes);
        }
        let found: Vec<_> = growth
            .gaps
            .iter()
            .map(|gap| (gap.begin, gap.begin + gap.length))
            .collect();
        assert_eq!(found, [(zero, at(520)), (at(540), at(900))]);
    }

    #[test]
    fn regression_a_watch_ends_when_it_is_dropped() {
        let watch = GapWatch::start(Path::new("/nowhere"));
        let stopping = Arc::clone(&watch.stopping);
        drop(watch);
        assert_eq!(Arc::strong_count(&stopping), 1, "its thread is gone");
    }
}
