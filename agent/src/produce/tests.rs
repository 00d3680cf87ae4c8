//! The produce path on the fake metadata service and a bucket that does what a test tells it.

mod turns;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    codec::Codec,
    ids::{Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId},
};
use aquifer_metadata_api::{
    commit::Rejection,
    fake::{FAKE_START_UNIX_MILLIS, Fake},
    register::{AgentAddress, RegisterRequest},
};
use aquifer_store::{
    DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, Ports, PutError, PutMode,
    memory::MemoryStore,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    settings::{Compute, FlushSettings},
    *,
};
use crate::connection::ConnectionId;

/// What the next PUT does.
#[derive(Clone, Copy, Debug)]
enum Step {
    After(u64),
    FailAfter(u64),
    Never,
}

/// A bucket whose PUTs follow a script; beyond its end they take no time.
#[derive(Debug)]
struct ScriptedStore {
    inner: MemoryStore,
    ports: Ports,
    script: Mutex<VecDeque<Step>>,
    keys: Mutex<Vec<String>>,
}

impl ScriptedStore {
    fn puts(&self) -> usize {
        self.keys.lock().len()
    }
}

#[async_trait]
impl ObjectStore for ScriptedStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        self.keys.lock().push(key.to_owned());
        let step = self.script.lock().pop_front().unwrap_or(Step::After(0));
        match step {
            Step::After(ms) => self.ports.sleep(Duration::from_millis(ms)).await,
            Step::Never => std::future::pending().await,
            Step::FailAfter(ms) => {
                self.ports.sleep(Duration::from_millis(ms)).await;
                return Err(PutError::Failed {
                    key: key.to_owned(),
                    reason: "scripted".to_owned(),
                    slow_down: false,
                });
            }
        }
        self.inner.put(key, payload, mode).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
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
    fake: Arc<Fake>,
    store: Arc<ScriptedStore>,
    produce: Arc<ProducePath>,
    session: Arc<AgentSession>,
    ports: Ports,
    topic: TopicId,
    uploads: Arc<AtomicU64>,
}

impl Bed {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ProduceSettings)) -> Self {
        let ports = Ports::simulated(1, FAKE_START_UNIX_MILLIS);
        let fake = Fake::new();
        let topic = fake.create_topic("t", 4, &[]);
        let store = Arc::new(ScriptedStore {
            inner: MemoryStore::new(),
            ports: ports.clone(),
            script: Mutex::default(),
            keys: Mutex::default(),
        });
        let metadata: Arc<dyn Metadata> = fake.clone();
        let request = RegisterRequest {
            previous_slot: None,
            agent: AgentAddress {
                host: "a".to_owned(),
                port: 1,
                node_ids: 1,
                zone: String::new(),
                peer: String::new(),
            },
            seen: None,
        };
        let session = AgentSession::register(metadata.clone(), ports.clone(), request)
            .await
            .unwrap();
        let mut settings = ProduceSettings {
            flush: Some(FlushSettings::unpriced()),
            compute: Compute::Inline,
            ..ProduceSettings::default()
        };
        change(&mut settings);
        let epoch = session.registration().upload_epoch;
        let uploads = Arc::new(AtomicU64::new(0));
        let counter = uploads.clone();
        let produce = ProducePath::start(ProduceParts {
            ports: ports.clone(),
            metadata,
            store: store.clone(),
            session: session.clone(),
            epoch: Arc::new(move || epoch),
            on_upload: Arc::new(move |_, runs, _| {
                counter.fetch_add(u64::try_from(runs.len()).unwrap(), Ordering::Relaxed);
            }),
            settings,
        });
        Self {
            fake,
            store,
            produce,
            session,
            ports,
            topic,
            uploads,
        }
    }

    fn script(&self, steps: &[Step]) {
        self.store.script.lock().extend(steps);
    }

    async fn send(
        &self,
        connection: &Arc<ConnectionHandle>,
        partition: i32,
        batch: RecordBatch,
    ) -> Pending {
        let deadline = self.ports.clock.now().plus(Duration::from_secs(25));
        let partition = PartitionId::new(self.topic, PartitionIndex(partition));
        let batches = vec![ProduceBatch { partition, batch }];
        self.produce.accept(connection, batches, deadline).await
    }

    /// Sends a request and waits until it is surely in a flush of its own.
    async fn send_alone(
        &self,
        connection: &Arc<ConnectionHandle>,
        partition: i32,
        batch: RecordBatch,
    ) -> Pending {
        let pending = self.send(connection, partition, batch).await;
        self.ports.sleep(Duration::from_millis(6)).await;
        pending
    }

    fn end(&self, partition: i32) -> i64 {
        self.fake
            .watermarks(self.topic, partition)
            .unwrap()
            .high_watermark
            .0
    }

    fn now_ms(&self) -> u128 {
        self.ports.clock.now().0.as_millis()
    }
}

fn connection(id: u64) -> Arc<ConnectionHandle> {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    Arc::new(ConnectionHandle::new(ConnectionId(id), peer))
}

fn builder(records: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Codec::None);
    for n in 0..records {
        builder.append(FAKE_START_UNIX_MILLIS + n, None, Some(b"value"), &[]);
    }
    builder
}

fn plain(records: i64) -> RecordBatch {
    builder(records).build().unwrap()
}

fn idempotent(sequence: i32, records: i64) -> RecordBatch {
    builder(records)
        .producer(ProducerId(7), ProducerEpoch(0), Sequence(sequence))
        .build()
        .unwrap()
}

/// The base offset that a request of one batch got.
fn offset(result: Result<Vec<BatchResult>, SessionEnded>) -> i64 {
    match result.unwrap()[..] {
        [BatchResult::Placed(placement)] => placement.base_offset.0,
        ref other => panic!("not placed: {other:?}"),
    }
}

fn only(result: Result<Vec<BatchResult>, SessionEnded>) -> BatchResult {
    let results = result.unwrap();
    assert_eq!(results.len(), 1);
    results[0]
}

#[tokio::test(start_paused = true)]
async fn a_lone_request_waits_for_the_quiet_time_and_the_put_only() {
    let bed = Bed::new().await;
    bed.script(&[Step::After(10)]);
    let began = bed.now_ms();
    let pending = bed.send(&connection(1), 0, plain(3)).await;
    assert_eq!(offset(pending.await), 0);
    let took = bed.now_ms() - began;
    assert!((12..16).contains(&took), "{took} ms");
    assert_eq!(bed.end(0), 3);
    assert_eq!(
        bed.uploads.load(Ordering::Relaxed),
        1,
        "the cache got the run"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_share_an_object() {
    let bed = Bed::new().await;
    let mut pending = Vec::new();
    for n in 0..3 {
        pending.push(bed.send(&connection(n), 0, plain(1)).await);
        pending.push(bed.send(&connection(n), 1, plain(1)).await);
    }
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(offset(pending.await), i64::try_from(at / 2).unwrap());
    }
    assert_eq!(bed.store.puts(), 1);
    assert_eq!(bed.store.inner.totals().0, 1);
}

#[tokio::test(start_paused = true)]
async fn flushes_of_one_connection_and_partition_are_committed_in_order() {
    let bed = Bed::new().await;
    bed.script(&[Step::After(100), Step::After(1), Step::After(1)]);
    let (one, two) = (connection(1), connection(2));
    let began = bed.now_ms();
    let slow = bed.send_alone(&one, 0, plain(5)).await;
    let behind = bed.send_alone(&one, 0, plain(1)).await;
    let other = bed.send_alone(&two, 0, plain(1)).await;
    assert_eq!(offset(other.await), 0, "another connection does not wait");
    assert!(bed.now_ms() - began < 50);
    assert_eq!(offset(slow.await), 1);
    assert_eq!(offset(behind.await), 6);
    assert_eq!(bed.store.puts(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_upload_fails_its_requests_and_those_behind_go_on() {
    let bed = Bed::new().await;
    bed.script(&[Step::FailAfter(1), Step::After(1)]);
    bed.script(&[Step::FailAfter(1); 3]);
    let one = connection(1);
    let failed = bed.send_alone(&one, 0, plain(5)).await;
    let behind = bed.send_alone(&one, 0, plain(1)).await;
    assert_eq!(only(failed.await), BatchResult::NotStored);
    assert_eq!(offset(behind.await), 0);
    assert_eq!(bed.store.puts(), 5, "one, and four tries of the other");
}

#[tokio::test(start_paused = true)]
async fn an_overdue_put_is_sent_again_under_another_key() {
    let bed = Bed::new().await;
    bed.script(&[Step::Never, Step::After(5)]);
    let pending = bed.send(&connection(1), 0, plain(1)).await;
    let began = bed.now_ms();
    assert_eq!(offset(pending.await), 0);
    let took = bed.now_ms() - began;
    assert!((1005..1020).contains(&took), "{took} ms");
    let keys = bed.store.keys.lock().clone();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_never_answers_fails_the_request_before_its_client_gives_up() {
    let bed = Bed::new().await;
    bed.script(&[Step::Never; 4]);
    let pending = bed.send(&connection(1), 0, plain(1)).await;
    assert_eq!(only(pending.await), BatchResult::NotStored);
    assert!(bed.now_ms() < 16_000, "{} ms", bed.now_ms());
    assert_eq!(bed.store.puts(), 4);
    assert_eq!(
        bed.produce.bytes_left(),
        256 * 1024 * 1024,
        "its bytes are given back"
    );
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_asked_for_again_and_nothing_is_appended_twice() {
    let bed = Bed::new().await;
    bed.fake.set_lose_answers(true);
    let one = connection(1);
    let mut pending = Vec::new();
    for _ in 0..3 {
        pending.push(bed.send_alone(&one, 0, plain(2)).await);
    }
    assert_eq!(bed.end(0), 6);
    bed.fake.set_lose_answers(false);
    bed.fake.break_commit_streams();
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(offset(pending.await), 2 * i64::try_from(at).unwrap());
    }
    assert_eq!(bed.end(0), 6);
    assert_eq!(offset(bed.send(&one, 0, plain(1)).await.await), 6);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_leader_stalls_requests_until_it_is_back() {
    let bed = Bed::new().await;
    bed.fake.set_unavailable(Some(true));
    let one = connection(1);
    let first = bed.send_alone(&one, 0, plain(1)).await;
    bed.ports.sleep(Duration::from_secs(10)).await;
    let second = bed.send_alone(&one, 0, plain(1)).await;
    bed.fake.set_unavailable(None);
    assert_eq!(offset(first.await), 0);
    assert_eq!(offset(second.await), 1);
    assert!(bed.now_ms() < 12_000);
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_closes_connections_with_unknown_outcomes_and_registers_anew() {
    let bed = Bed::new().await;
    let before = bed.session.registration();
    bed.fake.set_lose_answers(true);
    let (sent, waiting) = (connection(1), connection(2));
    let unknown = bed.send_alone(&sent, 0, plain(1)).await;
    bed.script(&[Step::After(500)]);
    let uploading = bed.send_alone(&waiting, 1, plain(1)).await;
    bed.fake.end_session(before.session);
    bed.fake.set_lose_answers(false);
    assert_eq!(unknown.await, Err(SessionEnded));
    assert!(sent.is_closed());
    assert_eq!(only(uploading.await), BatchResult::NotCommitted);
    assert!(!waiting.is_closed());
    assert_ne!(bed.session.registration().session, before.session);
    assert_eq!(offset(bed.send(&waiting, 1, plain(1)).await.await), 0);
    assert_eq!(bed.end(1), 1, "what was answered as not committed never is");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_filled_by_the_batch_that_comes_later() {
    let bed = Bed::new().await;
    let one = connection(1);
    assert_eq!(offset(bed.send(&one, 0, idempotent(0, 2)).await.await), 0);
    let later = bed.send_alone(&one, 0, idempotent(4, 2)).await;
    let filling = bed.send_alone(&one, 0, idempotent(2, 2)).await;
    assert_eq!(offset(filling.await), 2);
    assert_eq!(offset(later.await), 4);
    assert_eq!(
        offset(bed.send(&one, 0, idempotent(2, 2)).await.await),
        2,
        "a duplicate"
    );
    assert_eq!(bed.end(0), 6);
}

#[tokio::test(start_paused = true)]
async fn holds_end_at_once_when_the_whole_window_is_held() {
    let bed = Bed::new().await;
    let one = connection(1);
    assert_eq!(offset(bed.send(&one, 0, idempotent(0, 1)).await.await), 0);
    let began = bed.now_ms();
    let mut held = Vec::new();
    for n in 0..5 {
        held.push(bed.send(&one, 0, idempotent(2 + n, 1)).await);
    }
    for pending in held {
        let expected = BatchResult::Rejected(Rejection::OutOfOrderSequence);
        assert_eq!(only(pending.await), expected);
    }
    assert!(bed.now_ms() - began < 100, "{} ms", bed.now_ms() - began);
}

#[tokio::test(start_paused = true)]
async fn a_lone_hold_ends_after_two_seconds() {
    let bed = Bed::new().await;
    let one = connection(1);
    assert_eq!(offset(bed.send(&one, 0, idempotent(0, 1)).await.await), 0);
    let began = bed.now_ms();
    let held = bed.send(&one, 0, idempotent(2, 1)).await;
    let expected = BatchResult::Rejected(Rejection::OutOfOrderSequence);
    assert_eq!(only(held.await), expected);
    assert!((2_000..2_100).contains(&(bed.now_ms() - began)));
}

#[tokio::test(start_paused = true)]
async fn past_the_bound_on_bytes_requests_wait_for_room() {
    let bytes = u32::try_from(plain(1).bytes.len()).unwrap();
    let bed = Bed::with(|settings| settings.bytes_in_flight_max = 2 * bytes).await;
    bed.script(&[Step::After(300)]);
    let one = connection(1);
    let first = bed.send(&one, 0, plain(1)).await;
    let second = bed.send(&one, 0, plain(1)).await;
    let began = bed.now_ms();
    let third = bed.send(&connection(2), 1, plain(1)).await;
    assert!(
        (300..400).contains(&(bed.now_ms() - began)),
        "it waited for the upload"
    );
    assert_eq!(offset(first.await), 0);
    assert_eq!(offset(second.await), 1);
    assert_eq!(offset(third.await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_no_room_before_its_deadline_is_surely_not_stored() {
    let bed = Bed::with(|settings| settings.bytes_in_flight_max = 10).await;
    bed.script(&[Step::After(900)]);
    let one = connection(1);
    let first = bed.send(&one, 0, plain(1)).await;
    let deadline = bed.ports.clock.now().plus(Duration::from_millis(500));
    let partition = PartitionId::new(bed.topic, PartitionIndex(0));
    let batches = vec![ProduceBatch {
        partition,
        batch: plain(1),
    }];
    let late = bed.produce.accept(&one, batches, deadline).await;
    assert_eq!(only(late.await), BatchResult::NotStored);
    assert_eq!(
        offset(first.await),
        0,
        "one larger than the bound gets in alone"
    );
    assert_eq!(bed.end(0), 1);
}

#[tokio::test(start_paused = true)]
async fn an_overdue_request_is_answered_and_its_later_outcome_ignored() {
    let bed = Bed::new().await;
    bed.fake.set_answer_delay(Duration::from_secs(40));
    let one = connection(1);
    let pending = bed.send(&one, 0, plain(1)).await;
    assert_eq!(only(pending.await), BatchResult::TimedOut);
    assert!(
        (25_000..25_100).contains(&bed.now_ms()),
        "{} ms",
        bed.now_ms()
    );
    assert!(!one.is_closed());
    bed.fake.set_answer_delay(Duration::ZERO);
    bed.ports.sleep(Duration::from_secs(20)).await;
    assert_eq!(offset(bed.send(&one, 0, plain(1)).await.await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_is_sealed_at_once_and_uploads_run_in_parallel() {
    let bed = Bed::with(|settings| {
        settings.flush = Some(FlushSettings {
            bytes_max: 1,
            ..FlushSettings::unpriced()
        });
    })
    .await;
    bed.script(&[Step::After(100); 4]);
    let began = bed.now_ms();
    let mut pending = Vec::new();
    for n in 0..4 {
        pending.push(bed.send(&connection(n), 0, plain(1)).await);
    }
    let mut offsets = Vec::new();
    for pending in pending {
        offsets.push(offset(pending.await));
    }
    assert_eq!(offsets, [0, 1, 2, 3]);
    assert!((100..110).contains(&(bed.now_ms() - began)));
}

#[tokio::test(start_paused = true)]
async fn priced_stores_batch_for_longer_once_the_tokens_are_used_up() {
    let bed = Bed::with(|settings| settings.flush = None).await;
    let one = connection(1);
    for _ in 0..40 {
        let began = bed.now_ms();
        bed.send(&one, 0, plain(1)).await.await.unwrap();
        assert!(bed.now_ms() - began < 10);
    }
    let began = bed.now_ms();
    bed.send(&one, 0, plain(1)).await.await.unwrap();
    let took = bed.now_ms() - began;
    assert!((100..=251).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn log_append_time_and_log_start_come_from_the_leader() {
    let bed = Bed::new().await;
    let topic = bed
        .fake
        .create_topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let partition = PartitionId::new(topic, PartitionIndex(0));
    let deadline = bed.ports.clock.now().plus(Duration::from_secs(25));
    let one = connection(1);
    for expected in [0, 1] {
        let batches = vec![ProduceBatch {
            partition,
            batch: plain(1),
        }];
        let pending = bed.produce.accept(&one, batches, deadline).await;
        let BatchResult::Placed(placement) = only(pending.await) else {
            panic!("not placed");
        };
        assert_eq!(placement.base_offset, Offset(expected));
        assert!(
            placement
                .log_append_time
                .is_some_and(|at| at >= FAKE_START_UNIX_MILLIS)
        );
        assert_eq!(placement.log_start, Offset(expected));
        bed.fake.set_log_start(partition, Offset(1));
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_leader_is_away_requests_end_by_their_own_time_and_nothing_turns_visible_twice() {
    let bed = Bed::new().await;
    let (one, two) = (connection(1), connection(2));
    assert_eq!(offset(bed.send(&one, 0, idempotent(0, 1)).await.await), 0);
    bed.fake.set_unavailable(Some(true));
    let began = bed.now_ms();
    let long = bed.send_alone(&one, 0, idempotent(1, 1)).await;
    let partition = PartitionId::new(bed.topic, PartitionIndex(1));
    let batches = vec![ProduceBatch {
        partition,
        batch: idempotent(0, 1),
    }];
    let deadline = bed.ports.clock.now().plus(Duration::from_secs(7));
    let short = bed.produce.accept(&two, batches, deadline).await;
    assert_eq!(only(short.await), BatchResult::TimedOut);
    assert!((7_000..7_100).contains(&(bed.now_ms() - began)));
    assert_eq!(only(long.await), BatchResult::TimedOut);
    assert!((25_000..25_100).contains(&(bed.now_ms() - began)));
    // The client sends again what it has no answer for, while the first one still waits.
    let again = bed.send_alone(&one, 0, idempotent(1, 1)).await;
    assert_eq!(only(again.await), BatchResult::TimedOut);
    bed.ports.sleep(Duration::from_secs(70)).await;
    bed.fake.set_unavailable(None);
    let again = bed.send(&connection(3), 0, idempotent(1, 1)).await;
    assert_eq!(offset(again.await), 1);
    let again = bed.send(&connection(3), 1, idempotent(0, 1)).await;
    assert_eq!(offset(again.await), 0);
    assert_eq!((bed.end(0), bed.end(1)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn commits_in_doubt_are_sent_again_in_their_order_whenever_the_stream_breaks() {
    let bed = Bed::new().await;
    let one = connection(1);
    let mut pending = Vec::new();
    for n in 0..30 {
        pending.push(bed.send_alone(&one, 0, idempotent(n, 1)).await);
        match n % 5 {
            0 => bed.fake.set_lose_answers(true),
            2 => bed.fake.break_commit_streams(),
            3 => {
                bed.fake.set_lose_answers(false);
                bed.fake.set_unavailable(Some(n % 2 == 0));
            }
            4 => bed.fake.set_unavailable(None),
            _ => {}
        }
    }
    bed.fake.set_unavailable(None);
    bed.fake.set_lose_answers(false);
    bed.fake.break_commit_streams();
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(offset(pending.await), i64::try_from(at).unwrap());
    }
    assert_eq!(bed.end(0), 30);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_hangs_stalls_its_own_flush_for_a_second_and_nobody_else() {
    let bed = Bed::new().await;
    for hanging in [1, 2] {
        bed.script(&vec![Step::After(30_000); hanging]);
        let mut pending = Vec::new();
        let began = bed.now_ms();
        for n in 0..20 {
            pending.push(bed.send_alone(&connection(n), 0, plain(1)).await);
        }
        for (at, pending) in pending.into_iter().enumerate() {
            offset(pending.await);
            let took = bed.now_ms() - began;
            let most = if at < hanging { 1_150 } else { 1_250 };
            assert!(took < most, "request {at}: {took} ms");
        }
        bed.ports.sleep(Duration::from_secs(60)).await;
    }
}
