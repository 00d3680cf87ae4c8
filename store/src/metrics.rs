//! Counts and times every request to the bucket.
//!
//! Metrics: `aquifer_store_requests_total{operation,outcome}`, `aquifer_store_request_seconds{operation}`,
//! `aquifer_store_bytes_total{operation}` (payload written or read), `aquifer_store_requests_in_flight`.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::{counter, gauge, histogram};

use crate::{
    keys,
    port::{
        DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
        UnfinishedUpload, Upload,
    },
    runtime::{Clock, Monotonic},
};

/// Measures the store below it. It belongs below the retries, so that each try is counted.
#[derive(Debug)]
pub struct MeasuredStore {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
}

impl MeasuredStore {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock }
    }

    fn begin(&self, operation: &'static str) -> Request<'_> {
        Request::begin(operation, &*self.clock)
    }
}

/// One request; counted when it is dropped, so that one that its caller gave up shows as well.
struct Request<'a> {
    operation: &'static str,
    outcome: &'static str,
    bytes: u64,
    begun: Monotonic,
    clock: &'a dyn Clock,
}

impl<'a> Request<'a> {
    fn begin(operation: &'static str, clock: &'a dyn Clock) -> Self {
        gauge!("aquifer_store_requests_in_flight").increment(1.0);
        Self {
            operation,
            outcome: "abandoned",
            bytes: 0,
            begun: clock.now(),
            clock,
        }
    }

    fn end(mut self, outcome: &'static str, bytes: u64) {
        self.outcome = outcome;
        self.bytes = bytes;
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let took = self.clock.now().since(self.begun);
        gauge!("aquifer_store_requests_in_flight").decrement(1.0);
        counter!("aquifer_store_requests_total", "operation" => self.operation, "outcome" => self.outcome)
            .increment(1);
        histogram!("aquifer_store_request_seconds", "operation" => self.operation)
            .record(took.as_secs_f64());
        if self.bytes > 0 {
            counter!("aquifer_store_bytes_total", "operation" => self.operation)
                .increment(self.bytes);
        }
    }
}

fn put_outcome<T>(result: &Result<T, PutError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(PutError::Exists { .. }) => "exists",
        Err(PutError::Refused { .. }) => "refused",
        Err(PutError::Failed {
            slow_down: true, ..
        }) => "slow_down",
        Err(PutError::Failed { .. }) => "failed",
    }
}

fn get_outcome<T>(result: &Result<T, GetError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(GetError::NotFound { .. }) => "not_found",
        Err(GetError::Refused { .. }) => "refused",
        Err(GetError::Failed {
            slow_down: true, ..
        }) => "slow_down",
        Err(GetError::Failed { .. }) => "failed",
    }
}

fn read_bytes(result: &Result<Bytes, GetError>) -> u64 {
    let length = result.as_ref().map_or(0, Bytes::len);
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[async_trait]
impl ObjectStore for MeasuredStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        let bytes = keys::payload_bytes(&payload);
        let request = self.begin("put");
        let result = self.inner.put(key, payload, mode).await;
        request.end(put_outcome(&result), if result.is_ok() { bytes } else { 0 });
        result
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let request = self.begin("get_range");
        let result = self.inner.get_range(key, range).await;
        request.end(get_outcome(&result), read_bytes(&result));
        result
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        let request = self.begin("get");
        let result = self.inner.get(key).await;
        request.end(get_outcome(&result), read_bytes(&result));
        result
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        let request = self.begin("head");
        let result = self.inner.head(key).await;
        request.end(get_outcome(&result), 0);
        result
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        let request = self.begin("delete");
        let result = self.inner.delete(keys).await;
        request.end(if result.is_ok() { "ok" } else { "failed" }, 0);
        result
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        let request = self.begin("list");
        let result = self.inner.list(prefix, after, limit).await;
        request.end(if result.is_ok() { "ok" } else { "failed" }, 0);
        result
    }

    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        let request = self.begin("begin_upload");
        let result = self.inner.begin_upload(key).await;
        request.end(put_outcome(&result), 0);
        Ok(Box::new(MeasuredUpload {
            inner: result?,
            clock: Arc::clone(&self.clock),
        }))
    }

    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        let request = self.begin("list_uploads");
        let result = self.inner.unfinished_uploads(prefix, after, limit).await;
        request.end(if result.is_ok() { "ok" } else { "failed" }, 0);
        result
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        let request = self.begin("abort_upload");
        let result = self.inner.abort_upload(upload).await;
        request.end(if result.is_ok() { "ok" } else { "failed" }, 0);
        result
    }

    fn priced_per_request(&self) -> bool {
        self.inner.priced_per_request()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[derive(Debug)]
struct MeasuredUpload {
    inner: Box<dyn Upload>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Upload for MeasuredUpload {
    async fn part(&self, number: u32, payload: Payload) -> Result<(), PutError> {
        let bytes = keys::payload_bytes(&payload);
        let request = Request::begin("part", &*self.clock);
        let result = self.inner.part(number, payload).await;
        request.end(put_outcome(&result), if result.is_ok() { bytes } else { 0 });
        result
    }

    async fn finish(&self, parts: u32, bytes: u64) -> Result<(), PutError> {
        let request = Request::begin("finish_upload", &*self.clock);
        let result = self.inner.finish(parts, bytes).await;
        request.end(put_outcome(&result), 0);
        result
    }

    async fn abort(&self) -> Result<(), PutError> {
        let request = Request::begin("abort_upload", &*self.clock);
        let result = self.inner.abort().await;
        request.end(put_outcome(&result), 0);
        result
    }
}
