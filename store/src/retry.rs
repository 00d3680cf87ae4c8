//! Tries again what may work the next time, within a deadline.

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tracing::debug;

use crate::{
    keys,
    port::{
        DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
        UnfinishedUpload, Upload,
    },
    runtime::{Monotonic, Ports},
};

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After this long no further try begins, and the one under way is given up. The default, 20 s, leaves a
    /// produce request (answered at 25 s at the latest) time for an answer.
    pub deadline: Duration,
    /// After this long a try is given up (its effect is unknown then). The default, 10 s, is what 8 MiB take
    /// at under 1 MiB/s.
    pub try_timeout: Duration,
    /// Mean pause after the first failure; doubles with each one. The default, 50 ms, is about what a request
    /// takes anyway.
    pub first_pause: Duration,
    /// Longest pause; the default is 3 s.
    pub pause_max: Duration,
    /// Pauses are this many times longer where the store asked for fewer requests; the default is 5.
    pub slow_down_factor: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(20),
            try_timeout: Duration::from_secs(10),
            first_pause: Duration::from_millis(50),
            pause_max: Duration::from_secs(3),
            slow_down_factor: 5,
        }
    }
}

/// Retries on the store below it.
///
/// A put that may have happened is done again with the same content. Where such a repeated
/// [`PutMode::Create`] finds the key taken, the object there is compared with the payload: equal bytes
/// mean that the earlier try had worked.
#[derive(Debug)]
pub struct RetryingStore {
    inner: Arc<dyn ObjectStore>,
    tries: Tries,
}

/// How requests of one store are tried again.
#[derive(Clone, Debug)]
struct Tries {
    ports: Ports,
    policy: RetryPolicy,
}

/// What a failed try means for the next one.
struct Failure<E> {
    error: E,
    again: bool,
    slow_down: bool,
}

impl<E> Failure<E> {
    fn last(error: E) -> Self {
        Self {
            error,
            again: false,
            slow_down: false,
        }
    }
}

impl From<GetError> for Failure<GetError> {
    fn from(error: GetError) -> Self {
        let (again, slow_down) = match &error {
            GetError::Failed { slow_down, .. } => (true, *slow_down),
            GetError::NotFound { .. } | GetError::Refused { .. } => (false, false),
        };
        Self {
            error,
            again,
            slow_down,
        }
    }
}

impl From<PutError> for Failure<PutError> {
    fn from(error: PutError) -> Self {
        let (again, slow_down) = match &error {
            PutError::Failed { slow_down, .. } => (true, *slow_down),
            PutError::Exists { .. } | PutError::Refused { .. } => (false, false),
        };
        Self {
            error,
            again,
            slow_down,
        }
    }
}

impl RetryingStore {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, ports: Ports, policy: RetryPolicy) -> Self {
        Self {
            inner,
            tries: Tries { ports, policy },
        }
    }
}

impl Tries {
    /// Runs `attempt` (which is told its number, from 0) until it succeeds, fails for good, or the
    /// deadline is over. `timed_out` makes the error of a try that was given up.
    async fn run<T, E, F>(
        &self,
        mut attempt: impl FnMut(u32) -> F,
        timed_out: impl Fn(Duration) -> Failure<E>,
    ) -> Result<T, E>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, Failure<E>>>,
    {
        let deadline = self.ports.clock.now().plus(self.policy.deadline);
        for number in 0.. {
            let left = deadline.since(self.ports.clock.now());
            let limit = self.policy.try_timeout.min(left);
            let failure = match self.ports.timeout(limit, attempt(number)).await {
                Some(Ok(value)) => return Ok(value),
                Some(Err(failure)) => failure,
                None => timed_out(limit),
            };
            let Some(pause) = self.pause(&failure, number, deadline) else {
                return Err(failure.error);
            };
            debug!(error = %failure.error, number, ?pause, "request to the bucket is tried again");
            metrics::counter!("aquifer_store_retries_total").increment(1);
            self.ports.sleep(pause).await;
        }
        unreachable!("the loop over all numbers ends by a return")
    }

    /// How long to wait before the next try; None = there is no next one. Half of it is random, so that
    /// clients that failed together do not come back together.
    fn pause<E>(&self, failure: &Failure<E>, number: u32, deadline: Monotonic) -> Option<Duration> {
        if !failure.again {
            return None;
        }
        let policy = &self.policy;
        let factor = if failure.slow_down {
            policy.slow_down_factor.max(1)
        } else {
            1
        };
        let longest = policy
            .first_pause
            .saturating_mul(2_u32.saturating_pow(number))
            .saturating_mul(factor)
            .min(policy.pause_max);
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let jitter = self.ports.rand.next_u64() % (nanos / 2 + 1);
        let pause = Duration::from_nanos(nanos - jitter);
        (self.ports.clock.now().plus(pause) < deadline).then_some(pause)
    }

    /// The same for what a put's errors are told of.
    async fn run_put<T, F>(&self, key: &str, mut attempt: impl FnMut() -> F) -> Result<T, PutError>
    where
        F: Future<Output = Result<T, PutError>>,
    {
        self.run(
            |_| {
                let attempt = attempt();
                async { attempt.await.map_err(Failure::from) }
            },
            |after| put_timed_out(key, after),
        )
        .await
    }
}

impl RetryingStore {
    async fn get_tries<T, F>(
        &self,
        key: &str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, GetError>
    where
        F: Future<Output = Result<T, GetError>>,
    {
        self.tries
            .run(
                |_| {
                    let attempt = attempt();
                    async { attempt.await.map_err(Failure::from) }
                },
                |after| {
                    Failure::from(GetError::Failed {
                        key: key.to_owned(),
                        reason: no_answer(after),
                        slow_down: false,
                    })
                },
            )
            .await
    }

    async fn put_once(
        &self,
        key: &str,
        payload: Payload,
        mode: PutMode,
        in_doubt: bool,
    ) -> Result<(), Failure<PutError>> {
        let error = match self.inner.put(key, payload.clone(), mode).await {
            Ok(()) => return Ok(()),
            Err(error @ PutError::Exists { .. }) if in_doubt => error,
            Err(error) => return Err(error.into()),
        };
        match is_ours(&*self.inner, key, &payload).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::last(error)),
            // Gone again: somebody deleted it, so the next try may create it.
            Err(looked) => Err(PutError::Failed {
                key: key.to_owned(),
                reason: looked.to_string(),
                slow_down: matches!(
                    looked,
                    GetError::Failed {
                        slow_down: true,
                        ..
                    }
                ),
            }
            .into()),
        }
    }
}

/// What is under a key that was found taken: this payload, or something else?
pub(crate) async fn is_ours(
    store: &dyn ObjectStore,
    key: &str,
    payload: &Payload,
) -> Result<bool, GetError> {
    let meta = store.head(key).await?;
    if meta.bytes != keys::payload_bytes(payload) {
        return Ok(false);
    }
    let there = store.get(key).await?;
    let mut rest = &there[..];
    Ok(payload.iter().all(|piece| {
        let equal = rest.starts_with(piece);
        rest = &rest[piece.len().min(rest.len())..];
        equal
    }) && rest.is_empty())
}

fn put_timed_out(key: &str, after: Duration) -> Failure<PutError> {
    Failure::from(PutError::Failed {
        key: key.to_owned(),
        reason: no_answer(after),
        slow_down: false,
    })
}

fn no_answer(after: Duration) -> String {
    format!("no answer within {after:?}")
}

#[async_trait]
impl ObjectStore for RetryingStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        self.tries
            .run(
                |number| self.put_once(key, payload.clone(), mode, number > 0),
                |after| put_timed_out(key, after),
            )
            .await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        self.get_tries(key, || self.inner.get_range(key, range.clone()))
            .await
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        self.get_tries(key, || self.inner.get(key)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        self.get_tries(key, || self.inner.head(key)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        let left = parking_lot::Mutex::new(keys.to_vec());
        let failure = |error| Failure {
            error,
            again: true,
            slow_down: false,
        };
        self.tries
            .run(
                |_| {
                    let now = left.lock().clone();
                    let left = &left;
                    async move {
                        self.inner.delete(&now).await.map_err(|error| {
                            left.lock().clone_from(&error.keys);
                            failure(error)
                        })
                    }
                },
                |after| {
                    failure(DeleteError {
                        keys: left.lock().clone(),
                        reason: no_answer(after),
                    })
                },
            )
            .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        let failure = |error| Failure {
            error,
            again: true,
            slow_down: false,
        };
        self.tries
            .run(
                |_| async { self.inner.list(prefix, after, limit).await.map_err(failure) },
                |waited| {
                    failure(ListError {
                        prefix: prefix.to_owned(),
                        reason: no_answer(waited),
                    })
                },
            )
            .await
    }

    /// An upload whose beginning was not heard of stays, and is left to who looks for unfinished ones.
    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        let begin = || self.inner.begin_upload(key);
        let inner = self.tries.run_put(key, begin).await?;
        Ok(Box::new(RetryingUpload {
            inner,
            key: key.to_owned(),
            tries: self.tries.clone(),
        }))
    }

    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        let failure = |error| Failure {
            error,
            again: true,
            slow_down: false,
        };
        let list = |_| async {
            let listed = self.inner.unfinished_uploads(prefix, after, limit).await;
            listed.map_err(failure)
        };
        let timed_out = |waited| {
            failure(ListError {
                prefix: prefix.to_owned(),
                reason: no_answer(waited),
            })
        };
        self.tries.run(list, timed_out).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        let failure = |error| Failure {
            error,
            again: true,
            slow_down: false,
        };
        let abort = |_| async { self.inner.abort_upload(upload).await.map_err(failure) };
        let timed_out = |waited| {
            failure(DeleteError {
                keys: vec![upload.key.clone()],
                reason: no_answer(waited),
            })
        };
        self.tries.run(abort, timed_out).await
    }

    fn priced_per_request(&self) -> bool {
        self.inner.priced_per_request()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Retries on the upload below it; each part, and the end, may be done again.
#[derive(Debug)]
struct RetryingUpload {
    inner: Box<dyn Upload>,
    key: String,
    tries: Tries,
}

#[async_trait]
impl Upload for RetryingUpload {
    async fn part(&self, number: u32, payload: Payload) -> Result<(), PutError> {
        let attempt = || self.inner.part(number, payload.clone());
        self.tries.run_put(&self.key, attempt).await
    }

    async fn finish(&self, parts: u32, bytes: u64) -> Result<(), PutError> {
        let attempt = || self.inner.finish(parts, bytes);
        self.tries.run_put(&self.key, attempt).await
    }

    async fn abort(&self) -> Result<(), PutError> {
        self.tries.run_put(&self.key, || self.inner.abort()).await
    }
}

#[cfg(test)]
mod tests;
