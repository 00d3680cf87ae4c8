//! A bucket in memory that tells what was asked of it, and stops whoever asks at a place of the test's choice.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use aquifer_store::{
    DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode, Tasks,
    UnfinishedUpload, Upload, memory::MemoryStore,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What happens at a call.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// The node dies.
    Kill(Tasks),
    /// The call waits until it is let go.
    Wait(Arc<Notify>),
}

#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    stop: Option<(usize, Stop)>,
    is_stopped: bool,
    gets: BTreeMap<String, Vec<Range<u64>>>,
}

#[derive(Debug, Default)]
pub(super) struct Probe {
    inner: MemoryStore,
    seen: Mutex<Seen>,
}

impl Probe {
    /// Forgets what was asked, and stops whoever makes the call of this number (from 0).
    pub(super) fn watch(&self, stop: Option<(usize, Stop)>) {
        *self.seen.lock() = Seen {
            stop,
            ..Seen::default()
        };
    }

    /// Whether a call was stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.seen.lock().is_stopped
    }

    /// The ranges that were read of an object.
    pub(super) fn gets(&self, key: &str) -> Vec<Range<u64>> {
        self.seen.lock().gets.get(key).cloned().unwrap_or_default()
    }

    async fn call(&self) {
        let stop = {
            let mut seen = self.seen.lock();
            let number = seen.calls;
            seen.calls += 1;
            let stop = seen.stop.clone().filter(|(at, _)| *at == number);
            seen.is_stopped |= stop.is_some();
            stop
        };
        match stop {
            Some((_, Stop::Kill(tasks))) => {
                tasks.kill();
                std::future::pending::<()>().await;
            }
            Some((_, Stop::Wait(go))) => go.notified().await,
            None => {}
        }
    }
}

#[async_trait]
impl ObjectStore for Probe {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        self.call().await;
        self.inner.put(key, payload, mode).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        self.call().await;
        let bytes = self.inner.get_range(key, range.clone()).await?;
        let mut seen = self.seen.lock();
        seen.gets.entry(key.to_owned()).or_default().push(range);
        Ok(bytes)
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        self.inner.get(key).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        self.inner.head(key).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        self.call().await;
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
        self.call().await;
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
        false
    }

    fn describe(&self) -> String {
        "a probe".to_owned()
    }
}
