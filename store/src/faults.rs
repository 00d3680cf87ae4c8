//! Makes a bucket as slow and as unreliable as wanted, the same way for the same seed.
//!
//! What can go wrong can be changed while it runs, through [`Faults`], a handle that the test keeps.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::{
    port::{
        DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
        UnfinishedUpload, Upload,
    },
    runtime::{Ports, Rand},
};

/// How long a request takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Latency {
    /// No time.
    #[default]
    None,
    /// Always the same.
    Fixed(Duration),
    /// Log-normal, as buckets are: half of the requests take less than `p50`, one in a hundred more
    /// than `p99`.
    LogNormal {
        /// The median.
        p50: Duration,
        /// The 99th percentile.
        p99: Duration,
    },
}

impl Latency {
    /// Draws one.
    #[must_use]
    pub fn draw(&self, rand: &dyn Rand) -> Duration {
        match *self {
            Self::None => Duration::ZERO,
            Self::Fixed(duration) => duration,
            Self::LogNormal { p50, .. } if p50.is_zero() => p50,
            Self::LogNormal { p50, p99 } => {
                // The 99th percentile of the standard normal distribution.
                const Z99: f64 = 2.326_347_874_040_841;
                let sigma = (p99.as_secs_f64() / p50.as_secs_f64()).ln() / Z99;
                let seconds = p50.as_secs_f64() * (sigma * normal(rand)).exp();
                // An hour is forever.
                Duration::try_from_secs_f64(seconds.min(3600.0)).unwrap_or(p50)
            }
        }
    }
}

/// A number in (0, 1).
fn unit(rand: &dyn Rand) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    let numerator = (rand.next_u64() >> 11) as f64 + 0.5;
    #[allow(clippy::cast_precision_loss, reason = "a power of two")]
    let denominator = (1_u64 << 53) as f64;
    numerator / denominator
}

/// A number from the standard normal distribution (Box and Muller, 1958).
fn normal(rand: &dyn Rand) -> f64 {
    let radius = (-2.0 * unit(rand).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rand)).cos()
}

/// What goes wrong, and how slow things are. Chances are between 0 and 1, of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// Nothing gets through: every request fails without effect.
    pub outage: bool,
    /// Time that a put takes.
    pub put_latency: Latency,
    /// Time that a read (get, range, head) takes.
    pub get_latency: Latency,
    /// Chance of a failure before any effect, of every kind of request.
    pub error: f64,
    /// Chance of a 503 `SlowDown`, of every kind of request; without effect.
    pub slow_down: f64,
    /// Chance that a put or delete takes effect and its answer is lost.
    pub lost_response: f64,
    /// Chance that a put is reported failed now and takes effect later, after another draw of
    /// `put_latency` and `late_by`.
    pub late_effect: f64,
    /// See `late_effect`.
    pub late_by: Duration,
    /// Chance that a put or a read hangs for `stall_for` before it goes on as usual.
    pub stall: f64,
    /// See `stall`.
    pub stall_for: Duration,
    /// Chance that a read returns only a part of the bytes, without saying so.
    pub truncated: f64,
    /// Chance that one bit of what a read returns is wrong.
    pub bit_flip: f64,
}

/// How often each thing was made to go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Requests in all.
    pub requests: u64,
    /// Failures without effect, outages included.
    pub errors: u64,
    /// 503 answers.
    pub slow_downs: u64,
    /// Effects whose answer was lost.
    pub lost_responses: u64,
    /// Effects that came late.
    pub late_effects: u64,
    /// Requests that hung.
    pub stalls: u64,
    /// Truncated reads.
    pub truncated: u64,
    /// Flipped bits.
    pub bit_flips: u64,
}

/// Handle on what goes wrong; clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<Mutex<(FaultPlan, FaultCounts)>>,
}

impl Faults {
    /// A handle with this plan.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        let faults = Self::default();
        faults.set(plan);
        faults
    }

    /// Changes the plan, for requests that begin later.
    pub fn set(&self, plan: FaultPlan) {
        self.shared.lock().0 = plan;
    }

    /// Changes parts of the plan.
    pub fn change(&self, change: impl FnOnce(&mut FaultPlan)) {
        change(&mut self.shared.lock().0);
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> FaultPlan {
        self.shared.lock().0
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.shared.lock().1
    }

    fn count(&self, count: impl FnOnce(&mut FaultCounts)) {
        count(&mut self.shared.lock().1);
    }
}

/// A store with faults. It belongs directly above the real one. Its `ports` are the world's, not a
/// node's: what is under way in the network does not end with the node that sent it.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    ports: Ports,
    faults: Faults,
}

/// A failure without effect.
struct Refusal {
    reason: &'static str,
    slow_down: bool,
}

impl Refusal {
    fn put(self, key: &str) -> PutError {
        PutError::Failed {
            key: key.to_owned(),
            reason: self.reason.to_owned(),
            slow_down: self.slow_down,
        }
    }

    fn get(self, key: &str) -> GetError {
        GetError::Failed {
            key: key.to_owned(),
            reason: self.reason.to_owned(),
            slow_down: self.slow_down,
        }
    }
}

const LOST: Refusal = Refusal {
    reason: "injected: the answer was lost",
    slow_down: false,
};

impl FaultyStore {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, ports: Ports, faults: Faults) -> Self {
        Self {
            inner,
            ports,
            faults,
        }
    }

    /// True with this chance. A chance of 0 draws nothing, so that a fault that is switched off does not
    /// shift the randomness of the others.
    fn happens(&self, chance: f64) -> bool {
        chance > 0.0 && unit(&*self.ports.rand) < chance
    }

    /// The way there: latency, then maybe a failure before any effect.
    async fn begin(&self, latency: Latency, plan: &FaultPlan) -> Result<(), Refusal> {
        self.faults.count(|counts| counts.requests += 1);
        let wait = latency.draw(&*self.ports.rand);
        if !wait.is_zero() {
            self.ports.sleep(wait).await;
        }
        if self.happens(plan.stall) {
            self.faults.count(|counts| counts.stalls += 1);
            self.ports.sleep(plan.stall_for).await;
        }
        // Looked at after the latency, so that an outage stops what is under way.
        if self.faults.plan().outage || self.happens(plan.error) {
            self.faults.count(|counts| counts.errors += 1);
            return Err(Refusal {
                reason: "injected: connection reset",
                slow_down: false,
            });
        }
        if self.happens(plan.slow_down) {
            self.faults.count(|counts| counts.slow_downs += 1);
            return Err(Refusal {
                reason: "injected: 503 SlowDown",
                slow_down: true,
            });
        }
        Ok(())
    }

    /// Lets the put take effect later, and nobody hear of it.
    fn put_late(&self, key: &str, payload: Payload, mode: PutMode, plan: &FaultPlan) {
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        self.later(plan, async move { inner.put(&key, payload, mode).await });
    }

    /// Does something later, and nobody hears of it.
    fn later<T: Send + 'static>(
        &self,
        plan: &FaultPlan,
        effect: impl Future<Output = T> + Send + 'static,
    ) {
        self.faults.count(|counts| counts.late_effects += 1);
        let wait = plan.late_by + plan.put_latency.draw(&*self.ports.rand);
        let clock = Arc::clone(&self.ports.clock);
        self.ports.tasks.spawn(async move {
            clock.sleep_until(clock.now().plus(wait)).await;
            drop(effect.await);
        });
    }

    /// Does something that a put's errors are told of, and lets it go wrong. `effect` is made once.
    async fn write<T, F>(&self, key: &str, effect: F) -> Result<T, PutError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, PutError>> + Send + 'static,
    {
        let plan = self.faults.plan();
        self.begin(plan.put_latency, &plan)
            .await
            .map_err(|refusal| refusal.put(key))?;
        if self.happens(plan.late_effect) {
            self.later(&plan, effect);
            return Err(LOST.put(key));
        }
        let result = effect.await;
        if self.lose_response(&plan) {
            return Err(LOST.put(key));
        }
        result
    }

    fn lose_response(&self, plan: &FaultPlan) -> bool {
        let lost = self.happens(plan.lost_response);
        if lost {
            self.faults.count(|counts| counts.lost_responses += 1);
        }
        lost
    }

    /// Damages what was read, maybe.
    fn damage(&self, bytes: Bytes, plan: &FaultPlan) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let below = |limit: usize| {
            let limit = u64::try_from(limit).unwrap_or(u64::MAX);
            usize::try_from(self.ports.rand.next_u64() % limit).unwrap_or(0)
        };
        if self.happens(plan.truncated) {
            self.faults.count(|counts| counts.truncated += 1);
            return bytes.slice(..below(bytes.len()));
        }
        if self.happens(plan.bit_flip) {
            self.faults.count(|counts| counts.bit_flips += 1);
            let mut wrong = BytesMut::from(&bytes[..]);
            let at = below(wrong.len());
            wrong[at] ^= 1 << below(8);
            return wrong.freeze();
        }
        bytes
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        let plan = self.faults.plan();
        self.begin(plan.put_latency, &plan)
            .await
            .map_err(|refusal| refusal.put(key))?;
        if self.happens(plan.late_effect) {
            self.put_late(key, payload, mode, &plan);
            return Err(LOST.put(key));
        }
        let result = self.inner.put(key, payload, mode).await;
        if self.lose_response(&plan) {
            return Err(LOST.put(key));
        }
        result
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let plan = self.faults.plan();
        self.begin(plan.get_latency, &plan)
            .await
            .map_err(|refusal| refusal.get(key))?;
        let bytes = self.inner.get_range(key, range).await?;
        Ok(self.damage(bytes, &plan))
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        let plan = self.faults.plan();
        self.begin(plan.get_latency, &plan)
            .await
            .map_err(|refusal| refusal.get(key))?;
        let bytes = self.inner.get(key).await?;
        Ok(self.damage(bytes, &plan))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        let plan = self.faults.plan();
        self.begin(plan.get_latency, &plan)
            .await
            .map_err(|refusal| refusal.get(key))?;
        self.inner.head(key).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        let plan = self.faults.plan();
        let failed = |refusal: Refusal| DeleteError {
            keys: keys.to_vec(),
            reason: refusal.reason.to_owned(),
        };
        self.begin(plan.put_latency, &plan).await.map_err(failed)?;
        let result = self.inner.delete(keys).await;
        if self.lose_response(&plan) {
            return Err(failed(LOST));
        }
        result
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        let plan = self.faults.plan();
        self.begin(plan.get_latency, &plan)
            .await
            .map_err(|refusal| ListError {
                prefix: prefix.to_owned(),
                reason: refusal.reason.to_owned(),
            })?;
        self.inner.list(prefix, after, limit).await
    }

    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        let (inner, owned) = (Arc::clone(&self.inner), key.to_owned());
        let begin = async move { inner.begin_upload(&owned).await };
        let inner = self.write(key, begin).await?;
        Ok(Box::new(FaultyUpload {
            store: self.clone(),
            inner: inner.into(),
            key: key.to_owned(),
        }))
    }

    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        let plan = self.faults.plan();
        self.begin(plan.get_latency, &plan)
            .await
            .map_err(|refusal| ListError {
                prefix: prefix.to_owned(),
                reason: refusal.reason.to_owned(),
            })?;
        self.inner.unfinished_uploads(prefix, after, limit).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        let plan = self.faults.plan();
        let failed = |refusal: Refusal| DeleteError {
            keys: vec![upload.key.clone()],
            reason: refusal.reason.to_owned(),
        };
        self.begin(plan.put_latency, &plan).await.map_err(failed)?;
        let result = self.inner.abort_upload(upload).await;
        if self.lose_response(&plan) {
            return Err(failed(LOST));
        }
        result
    }

    fn priced_per_request(&self) -> bool {
        self.inner.priced_per_request()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// An upload with the faults of its store.
#[derive(Debug)]
struct FaultyUpload {
    store: FaultyStore,
    inner: Arc<dyn Upload>,
    key: String,
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn part(&self, number: u32, payload: Payload) -> Result<(), PutError> {
        let inner = Arc::clone(&self.inner);
        let part = async move { inner.part(number, payload).await };
        self.store.write(&self.key, part).await
    }

    async fn finish(&self, parts: u32, bytes: u64) -> Result<(), PutError> {
        let inner = Arc::clone(&self.inner);
        let finish = async move { inner.finish(parts, bytes).await };
        self.store.write(&self.key, finish).await
    }

    async fn abort(&self) -> Result<(), PutError> {
        let inner = Arc::clone(&self.inner);
        let abort = async move { inner.abort().await };
        self.store.write(&self.key, abort).await
    }
}

#[cfg(test)]
mod tests;
