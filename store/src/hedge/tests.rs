//! Hedging on virtual time, above a bucket that does what a test tells it.

use std::collections::VecDeque;

use super::*;
use crate::{
    faults::{FaultPlan, Faults, FaultyStore, Latency},
    memory::MemoryStore,
    retry::{RetryPolicy, RetryingStore},
};

/// What the next request does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Takes so many ms.
    After(u64),
    /// Takes effect at once, and its answer so many ms more.
    DoneAnsweredAfter(u64),
    FailAfter(u64),
    RefuseAfter(u64),
    Never,
}

#[derive(Debug)]
struct Scripted {
    inner: MemoryStore,
    ports: Ports,
    script: Mutex<VecDeque<Step>>,
    sent: Mutex<u64>,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Scripted {
    fn step(&self) -> Step {
        *self.sent.lock() += 1;
        self.script.lock().pop_front().unwrap_or(Step::After(20))
    }

    fn sent(&self) -> u64 {
        *self.sent.lock()
    }
}

#[async_trait]
impl ObjectStore for Scripted {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        let (key_text, reason) = (key.to_owned(), "scripted".to_owned());
        match self.step() {
            Step::After(n) => self.ports.sleep(ms(n)).await,
            Step::DoneAnsweredAfter(n) => {
                let result = self.inner.put(key, payload, mode).await;
                self.ports.sleep(ms(n)).await;
                return result;
            }
            Step::FailAfter(n) => {
                self.ports.sleep(ms(n)).await;
                return Err(PutError::Failed {
                    key: key_text,
                    reason,
                    slow_down: false,
                });
            }
            Step::RefuseAfter(n) => {
                self.ports.sleep(ms(n)).await;
                return Err(PutError::Refused {
                    key: key_text,
                    reason,
                });
            }
            Step::Never => std::future::pending().await,
        }
        self.inner.put(key, payload, mode).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        match self.step() {
            Step::After(n) | Step::DoneAnsweredAfter(n) => self.ports.sleep(ms(n)).await,
            Step::FailAfter(n) | Step::RefuseAfter(n) => {
                self.ports.sleep(ms(n)).await;
                return Err(GetError::Failed {
                    key: key.to_owned(),
                    reason: "scripted".to_owned(),
                    slow_down: false,
                });
            }
            Step::Never => std::future::pending().await,
        }
        self.inner.get_range(key, range).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        self.inner.get(key).await
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

    fn priced_per_request(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "scripted".to_owned()
    }
}

struct Bed {
    ports: Ports,
    scripted: Arc<Scripted>,
    store: HedgingStore,
}

impl Bed {
    fn new() -> Self {
        let ports = Ports::simulated(1, 0);
        let scripted = Arc::new(Scripted {
            inner: MemoryStore::new(),
            ports: ports.clone(),
            script: Mutex::default(),
            sent: Mutex::default(),
        });
        let inner = Arc::clone(&scripted) as Arc<dyn ObjectStore>;
        Self {
            store: HedgingStore::new(inner, ports.clone(), HedgePolicy::default()),
            ports,
            scripted,
        }
    }

    /// A bed that has seen puts and reads of 20 ms.
    async fn warm() -> Self {
        let bed = Self::new();
        for n in 0..40 {
            bed.put(&format!("warm{n}"), &[]).await.unwrap();
            bed.get("warm0", &[]).await.unwrap();
        }
        *bed.scripted.sent.lock() = 0;
        bed
    }

    async fn put(&self, key: &str, script: &[Step]) -> Result<(), PutError> {
        self.scripted.script.lock().extend(script);
        let payload = vec![Bytes::from_static(b"some"), Bytes::from_static(b"thing")];
        self.store.put(key, payload, PutMode::Create).await
    }

    async fn get(&self, key: &str, script: &[Step]) -> Result<Bytes, GetError> {
        self.scripted.script.lock().extend(script);
        self.store.get_range(key, 0..4).await
    }

    /// How long something took, in ms.
    async fn timed<T>(&self, future: impl Future<Output = T>) -> (T, u128) {
        let began = self.ports.clock.now();
        let value = future.await;
        (value, self.ports.clock.now().since(began).as_millis())
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_put_gets_a_second_one_at_the_measured_percentile() {
    let bed = Bed::warm().await;
    let hang = bed.put("a", &[Step::Never, Step::After(20)]);
    let (result, took) = bed.timed(hang).await;
    result.unwrap();
    // the percentile of 20 ms is at most a quarter above it
    assert!((40..=46).contains(&took), "{took} ms");
    assert_eq!(bed.scripted.sent(), 2);
    assert_eq!(bed.store.get("a").await.unwrap(), "something");
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_in_time_is_sent_once() {
    let bed = Bed::warm().await;
    for n in 0..50 {
        bed.put(&format!("a{n}"), &[]).await.unwrap();
    }
    assert_eq!(bed.scripted.sent(), 50);
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_known_the_longest_delay_counts() {
    let bed = Bed::new();
    let (result, took) = bed.timed(bed.put("a", &[Step::Never])).await;
    result.unwrap();
    assert_eq!(took, 520);
}

#[tokio::test(start_paused = true)]
async fn a_first_put_that_worked_unheard_is_success_and_not_a_lost_race() {
    let bed = Bed::warm().await;
    let script = [Step::DoneAnsweredAfter(30_000), Step::After(1)];
    let (result, took) = bed.timed(bed.put("a", &script)).await;
    result.unwrap();
    assert!(took < 30, "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_object_is_no_success() {
    let bed = Bed::warm().await;
    let other = vec![Bytes::from_static(b"else")];
    let inner = &bed.scripted.inner;
    inner.put("a", other, PutMode::Create).await.unwrap();
    let result = bed.put("a", &[Step::After(100), Step::After(1)]).await;
    assert!(matches!(result, Err(PutError::Exists { .. })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_leaves_it_to_the_other_and_doubt_is_not_lost() {
    for (script, fails) in [
        ([Step::FailAfter(30), Step::After(20)], false),
        ([Step::After(40), Step::FailAfter(1)], false),
        ([Step::RefuseAfter(30), Step::After(20)], false),
        ([Step::FailAfter(30), Step::RefuseAfter(20)], true),
        ([Step::RefuseAfter(30), Step::FailAfter(20)], true),
    ] {
        let bed = Bed::warm().await;
        let result = bed.put("a", &script).await;
        match fails {
            false => result.unwrap(),
            true => assert!(matches!(result, Err(PutError::Failed { .. })), "{result:?}"),
        }
        assert_eq!(bed.scripted.sent(), 2);
    }
    let bed = Bed::warm().await;
    // an error in time is the retries' matter
    assert!(bed.put("d", &[Step::FailAfter(1)]).await.is_err());
    assert_eq!(bed.scripted.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_replaces_an_object_is_never_sent_twice() {
    let bed = Bed::warm().await;
    bed.scripted.script.lock().push_back(Step::After(5_000));
    let payload = vec![Bytes::from_static(b"x")];
    bed.store
        .put("marker", payload, PutMode::Overwrite)
        .await
        .unwrap();
    assert_eq!(bed.scripted.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_get_gets_a_second_one_and_the_first_good_answer_wins() {
    let bed = Bed::warm().await;
    let hang = bed.get("warm0", &[Step::Never, Step::After(20)]);
    let (bytes, took) = bed.timed(hang).await;
    assert_eq!(bytes.unwrap(), "some");
    assert!((40..=46).contains(&took), "{took} ms");
    let fails = [Step::After(60), Step::FailAfter(1)];
    assert_eq!(bed.get("warm0", &fails).await.unwrap(), "some");
    let missing = [Step::Never, Step::After(1)];
    let result = bed.get("nothing", &missing).await;
    assert!(matches!(result, Err(GetError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_slow_as_a_whole_gets_few_more_requests() {
    let bed = Bed::warm().await;
    for n in 0..1_000 {
        bed.put(&format!("a{n}"), &[Step::After(300), Step::After(300)])
            .await
            .unwrap();
        bed.scripted.script.lock().clear();
    }
    let extra = bed.scripted.sent() - 1_000;
    assert!(extra <= 50 + 20, "{extra} second requests");
}

#[tokio::test(start_paused = true)]
async fn with_the_retries_around_it_the_contract_holds_under_faults() {
    for seed in 0..20 {
        let ports = Ports::simulated(seed, 0);
        let faults = Faults::new(FaultPlan {
            put_latency: Latency::LogNormal {
                p50: ms(60),
                p99: ms(250),
            },
            get_latency: Latency::LogNormal {
                p50: ms(20),
                p99: ms(100),
            },
            stall: 0.05,
            stall_for: Duration::from_secs(30),
            lost_response: 0.05,
            error: 0.05,
            ..FaultPlan::default()
        });
        let memory = Arc::new(MemoryStore::new());
        let faulty = FaultyStore::new(memory.clone(), ports.clone(), faults.clone());
        let hedging = HedgingStore::new(Arc::new(faulty), ports.clone(), HedgePolicy::default());
        let patient = RetryPolicy {
            deadline: Duration::from_secs(300),
            ..RetryPolicy::default()
        };
        let store = RetryingStore::new(Arc::new(hedging), ports.clone(), patient);
        for n in 0..100 {
            let (key, payload) = (format!("k{n}"), vec![Bytes::from(format!("v{n}"))]);
            store.put(&key, payload, PutMode::Create).await.unwrap();
            assert_eq!(store.get(&key).await.unwrap(), format!("v{n}"));
            let other = vec![Bytes::from_static(b"other")];
            let again = store.put(&key, other, PutMode::Create).await;
            assert!(matches!(again, Err(PutError::Exists { .. })), "{again:?}");
        }
        assert!(faults.counts().stalls > 0);
    }
}
