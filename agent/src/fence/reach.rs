//! Whether the bucket answers: a wrapper that watches what is asked of it, and a note of that.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use aquifer_store::{
    Clock, DeleteError, GetError, ListError, Monotonic, ObjectMeta, ObjectStore, Payload, PutError,
    PutMode, UnfinishedUpload, Upload,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

/// A request that is not answered after this long is worth a try of another one.
pub(super) const SUSPICIOUS: Duration = Duration::from_secs(1);

/// What is asked of the bucket: one may work where the other does not (rights, quotas).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Read,
}

/// Requests of one kind.
#[derive(Debug)]
struct Line {
    next: u64,
    in_flight: BTreeMap<u64, Monotonic>,
    /// When the first of those began that failed since the last answer.
    failed_since: Option<Monotonic>,
    answered_at: Monotonic,
}

impl Line {
    fn new(now: Monotonic) -> Self {
        Self {
            next: 0,
            in_flight: BTreeMap::new(),
            failed_since: None,
            answered_at: now,
        }
    }

    /// Since when nothing was answered though something was asked. Before the last answer all was well,
    /// whatever hangs since then.
    fn failing_since(&self) -> Option<Monotonic> {
        let oldest = self.in_flight.values().min();
        let first = self.failed_since.iter().chain(oldest).min();
        first.map(|at| (*at).max(self.answered_at))
    }

    fn answered(&mut self, now: Monotonic) {
        self.failed_since = None;
        self.answered_at = now;
    }

    fn failed(&mut self, began: Monotonic) {
        let since = began.max(self.answered_at);
        self.failed_since = Some(self.failed_since.map_or(since, |at| at.min(since)));
    }
}

/// What is known of the bucket.
#[derive(Debug)]
pub(super) struct Reach {
    lines: Mutex<[Line; 2]>,
    clock: Arc<dyn Clock>,
}

impl Reach {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let now = clock.now();
        Arc::new(Self {
            lines: Mutex::new([Line::new(now), Line::new(now)]),
            clock,
        })
    }

    fn line<T>(&self, kind: Kind, with: impl FnOnce(&mut Line) -> T) -> T {
        let mut lines = self.lines.lock();
        let [write, read] = &mut *lines;
        match kind {
            Kind::Write => with(write),
            Kind::Read => with(read),
        }
    }

    fn begin(&self, kind: Kind) -> Asked<'_> {
        let began = self.clock.now();
        let number = self.line(kind, |line| {
            line.next += 1;
            line.in_flight.insert(line.next, began);
            line.next
        });
        Asked {
            reach: self,
            kind,
            number,
            began,
            answered: false,
        }
    }

    /// Since when the bucket does not answer; None = it does. A request that was just sent says nothing
    /// yet.
    pub(super) fn failing_since(&self) -> Option<Monotonic> {
        let now = self.clock.now();
        [Kind::Write, Kind::Read]
            .into_iter()
            .filter_map(|kind| self.line(kind, |line| line.failing_since()))
            .filter(|since| now.since(*since) >= SUSPICIOUS)
            .min()
    }

    /// Whether requests of a kind are worth a try: they fail, or hang.
    pub(super) fn is_suspicious(&self, kind: Kind) -> bool {
        let now = self.clock.now();
        self.line(kind, |line| line.failing_since())
            .is_some_and(|since| now.since(since) >= SUSPICIOUS)
    }

    /// When the bucket answered last.
    pub(super) fn answered_at(&self) -> Monotonic {
        let answered = |kind| self.line(kind, |line| line.answered_at);
        answered(Kind::Write).max(answered(Kind::Read))
    }
}

/// A request under way. One that is dropped without an outcome was given up: it has failed.
struct Asked<'a> {
    reach: &'a Reach,
    kind: Kind,
    number: u64,
    began: Monotonic,
    answered: bool,
}

impl Asked<'_> {
    fn done(mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let now = self.reach.clock.now();
        self.reach.line(self.kind, |line| {
            line.in_flight.remove(&self.number);
            if self.answered {
                line.answered(now);
            } else {
                line.failed(self.began);
            }
        });
    }
}

/// The bucket, watched.
#[derive(Debug)]
pub(super) struct WatchedStore {
    inner: Arc<dyn ObjectStore>,
    reach: Arc<Reach>,
}

impl WatchedStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, reach: Arc<Reach>) -> Self {
        Self { inner, reach }
    }
}

fn is_answer<T>(result: &Result<T, GetError>) -> bool {
    matches!(result, Ok(_) | Err(GetError::NotFound { .. }))
}

#[async_trait]
impl ObjectStore for WatchedStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        let asked = self.reach.begin(Kind::Write);
        let result = self.inner.put(key, payload, mode).await;
        asked.done(matches!(result, Ok(()) | Err(PutError::Exists { .. })));
        result
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let asked = self.reach.begin(Kind::Read);
        let result = self.inner.get_range(key, range).await;
        asked.done(is_answer(&result));
        result
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        let asked = self.reach.begin(Kind::Read);
        let result = self.inner.get(key).await;
        asked.done(is_answer(&result));
        result
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        let asked = self.reach.begin(Kind::Read);
        let result = self.inner.head(key).await;
        asked.done(is_answer(&result));
        result
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        self.inner.delete(keys).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        self.inner.begin_upload(key).await
    }

    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        self.inner.unfinished_uploads(prefix, after, limit).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        self.inner.abort_upload(upload).await
    }

    fn priced_per_request(&self) -> bool {
        self.inner.priced_per_request()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use aquifer_store::Ports;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_first_request_after_the_last_answer() {
        let ports = Ports::simulated(1, 0);
        let reach = Reach::new(Arc::clone(&ports.clock));
        let seconds = |n| Monotonic(Duration::from_secs(n));
        let hangs = reach.begin(Kind::Write);
        ports.sleep(Duration::from_secs(5)).await;
        assert_eq!(reach.failing_since(), Some(seconds(0)));
        reach.begin(Kind::Write).done(true);
        ports.sleep(Duration::from_secs(2)).await;
        assert_eq!(
            reach.failing_since(),
            Some(seconds(5)),
            "nothing was answered since, though one hangs"
        );
        assert!(reach.is_suspicious(Kind::Write) && !reach.is_suspicious(Kind::Read));
        drop(hangs);
        reach.begin(Kind::Read).done(true);
        assert_eq!(
            reach.failing_since(),
            Some(seconds(5)),
            "reads say nothing of writes"
        );
        reach.begin(Kind::Write).done(true);
        assert_eq!(reach.failing_since(), None);
        reach.begin(Kind::Read).done(false);
        assert_eq!(reach.failing_since(), None, "one failure, just now");
        ports.sleep(Duration::from_secs(1)).await;
        assert_eq!(reach.failing_since(), Some(seconds(7)));
    }
}
