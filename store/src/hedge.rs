//! Sends a second request where the first is slow: buckets have a long tail, and a second try is most
//! often quicker than the rest of the first (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! A request is slow once it takes longer than 95 of 100 did lately, by this process's own measurement.
//! Metrics: `aquifer_store_hedges_total{operation,outcome}` (won, lost, or denied by the budget),
//! `aquifer_store_hedge_delay_seconds{operation}`.

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use self::digest::LatencyDigest;
use crate::{
    keys,
    port::{
        DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
        UnfinishedUpload, Upload,
    },
    retry::is_ours,
    runtime::{Monotonic, Ports},
};

mod digest;
#[cfg(test)]
mod tests;

/// When a second request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    /// Never before this time. The default, 10 ms, is what the quickest buckets take anyway.
    pub delay_min: Duration,
    /// Always by this time, also while nothing is known yet. The default, 500 ms, is twice what one in a
    /// hundred PUTs takes on S3 Standard, and leaves the writer, who gives a PUT a second before it
    /// takes another key, time to see it work.
    pub delay_max: Duration,
    /// Second requests per 100 first ones. The default, 5, is what the 95th percentile asks for: a
    /// bucket that turns slow as a whole is not sent twice the requests.
    pub percent_max: u32,
    /// Second requests that may be saved up. The default is 20.
    pub burst: u32,
}

impl Default for HedgePolicy {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(10),
            delay_max: Duration::from_millis(500),
            percent_max: 5,
            burst: 20,
        }
    }
}

/// Hedges the store below it: GETs, and PUTs of [`PutMode::Create`], whose repetition cannot take anything
/// back. It belongs below the retries: each try is hedged.
#[derive(Debug)]
pub struct HedgingStore {
    inner: Arc<dyn ObjectStore>,
    ports: Ports,
    policy: HedgePolicy,
    shared: Mutex<Shared>,
}

/// Sizes take their time: up to 64 KiB, 1 MiB, 4 MiB, and larger ones.
const CLASS_BYTES: [u64; 3] = [64 << 10, 1 << 20, 4 << 20];
const CLASSES: usize = CLASS_BYTES.len() + 1;

#[derive(Debug, Default)]
struct Shared {
    puts: [LatencyDigest; CLASSES],
    ranges: [LatencyDigest; CLASSES],
    /// GETs of whole objects, whose size is not known before.
    gets: LatencyDigest,
    /// Second requests that may be sent, in hundredths.
    budget: u64,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Put(usize),
    GetRange(usize),
    Get,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::GetRange(_) => "get_range",
            Self::Get => "get",
        }
    }
}

fn class(bytes: u64) -> usize {
    CLASS_BYTES.iter().filter(|most| bytes > **most).count()
}

impl Shared {
    fn digest(&mut self, operation: Operation) -> &mut LatencyDigest {
        match operation {
            Operation::Put(class) => &mut self.puts[class],
            Operation::GetRange(class) => &mut self.ranges[class],
            Operation::Get => &mut self.gets,
        }
    }
}

/// What an error of one of two requests means while the other is under way.
enum Meaning<T, E> {
    /// It settles the matter.
    Settled(Result<T, E>),
    /// The other one decides.
    Open(E),
}

impl HedgingStore {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, ports: Ports, policy: HedgePolicy) -> Self {
        let shared = Shared {
            budget: u64::from(policy.burst) * 100,
            ..Shared::default()
        };
        Self {
            inner,
            ports,
            policy,
            shared: Mutex::new(shared),
        }
    }

    /// Counts a first request; says when the second one is due.
    fn begin(&self, operation: Operation) -> Duration {
        let mut shared = self.shared.lock();
        let most = u64::from(self.policy.burst) * 100;
        shared.budget = (shared.budget + u64::from(self.policy.percent_max)).min(most);
        let measured = shared.digest(operation).percentile_95();
        let delay = measured.unwrap_or(self.policy.delay_max);
        delay.clamp(self.policy.delay_min, self.policy.delay_max)
    }

    /// Takes the right to a second request.
    fn may_hedge(&self) -> bool {
        let mut shared = self.shared.lock();
        match shared.budget.checked_sub(100) {
            Some(left) => {
                shared.budget = left;
                true
            }
            None => false,
        }
    }

    fn count(operation: Operation, outcome: &'static str) {
        metrics::counter!("aquifer_store_hedges_total", "operation" => operation.name(), "outcome" => outcome)
            .increment(1);
    }

    /// Sends a request, and a second one where the first is slow. The first good answer counts; an error of
    /// one is left to `judge`, and if both failed, what `both` makes of the two errors is the result.
    async fn hedged<T, E, F, J>(
        &self,
        operation: Operation,
        mut send: impl FnMut() -> F,
        mut judge: impl FnMut(E) -> J,
        both: impl FnOnce(E, E) -> E,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        J: Future<Output = Meaning<T, E>>,
    {
        let delay = self.begin(operation);
        metrics::gauge!("aquifer_store_hedge_delay_seconds", "operation" => operation.name())
            .set(delay.as_secs_f64());
        let mut measured = Measured {
            store: self,
            operation,
            begun: self.ports.clock.now(),
            counts: true,
        };
        let mut first = std::pin::pin!(send());
        if let Some(outcome) = self.ports.timeout(delay, &mut first).await {
            measured.counts = outcome.is_ok();
            return outcome;
        }
        if !self.may_hedge() {
            Self::count(operation, "denied");
            return first.await;
        }
        let mut second = std::pin::pin!(send());
        let (outcome, second_won) = tokio::select! {
            biased;
            outcome = &mut first => (outcome, false),
            outcome = &mut second => (outcome, true),
        };
        Self::count(operation, if second_won { "won" } else { "lost" });
        let one = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => match judge(error).await {
                Meaning::Settled(result) => return result,
                Meaning::Open(error) => error,
            },
        };
        let outcome = if second_won {
            first.await
        } else {
            second.await
        };
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => match judge(error).await {
                Meaning::Settled(result) => result,
                Meaning::Open(other) => Err(both(one, other)),
            },
        }
    }

    async fn hedged_get<F>(
        &self,
        operation: Operation,
        send: impl FnMut() -> F,
    ) -> Result<Bytes, GetError>
    where
        F: Future<Output = Result<Bytes, GetError>>,
    {
        let judge = |error| async move {
            match error {
                GetError::NotFound { .. } => Meaning::Settled(Err(error)),
                GetError::Refused { .. } | GetError::Failed { .. } => Meaning::Open(error),
            }
        };
        // What may work the next time says more.
        let both = |one: GetError, other| match one {
            GetError::Failed { .. } => one,
            GetError::NotFound { .. } | GetError::Refused { .. } => other,
        };
        self.hedged(operation, send, judge, both).await
    }
}

/// Measures the first request; one that was given up took at least as long as it was waited for.
struct Measured<'a> {
    store: &'a HedgingStore,
    operation: Operation,
    begun: Monotonic,
    /// Errors that come quickly say nothing of latency.
    counts: bool,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        if self.counts {
            let took = self.store.ports.clock.now().since(self.begun);
            let mut shared = self.store.shared.lock();
            shared.digest(self.operation).add(took);
        }
    }
}

#[async_trait]
impl ObjectStore for HedgingStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        if mode != PutMode::Create {
            return self.inner.put(key, payload, mode).await;
        }
        let judge = |error| async {
            match error {
                // The other one of the two may have put it there.
                PutError::Exists { .. } => match is_ours(&*self.inner, key, &payload).await {
                    Ok(true) => Meaning::Settled(Ok(())),
                    Ok(false) => Meaning::Settled(Err(error)),
                    Err(looked) => Meaning::Open(PutError::Failed {
                        key: key.to_owned(),
                        reason: looked.to_string(),
                        slow_down: false,
                    }),
                },
                PutError::Refused { .. } | PutError::Failed { .. } => Meaning::Open(error),
            }
        };
        // "It may have happened" must not be lost.
        let both = |one: PutError, other| match one {
            PutError::Failed { .. } => one,
            PutError::Exists { .. } | PutError::Refused { .. } => other,
        };
        let operation = Operation::Put(class(keys::payload_bytes(&payload)));
        let send = || self.inner.put(key, payload.clone(), mode);
        self.hedged(operation, send, judge, both).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let operation = Operation::GetRange(class(range.end.saturating_sub(range.start)));
        self.hedged_get(operation, || self.inner.get_range(key, range.clone()))
            .await
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        self.hedged_get(Operation::Get, || self.inner.get(key))
            .await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        self.inner.head(key).await
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
