//! On virtual time, over the fake of the metadata service (and once over the real one).

use aquifer_format::{
    ids::{
        CommitNumber, ObjectLevel, PartitionId, PartitionIndex, ProducerEpoch, ProducerId,
        Sequence, WriterSlot,
    },
    key::{marker_key, tips_prefix, witnesses_prefix},
};
use aquifer_metadata_api::{
    commit::{BatchOutcome, BatchSummary, Commit, CommitCall, Rejection, Run},
    fake::Fake,
    register::Registration,
};
use aquifer_store::memory::MemoryStore;
use uuid::Uuid;

use super::*;

mod agents;
mod wrong_metadata;

const KIB: u64 = 1_024;

struct Bed {
    fake: Arc<Fake>,
    memory: Arc<MemoryStore>,
    ports: Ports,
    topic: PartitionId,
}

impl Bed {
    fn new() -> Self {
        let fake = Fake::new();
        let topic = fake.create_topic("t", 1, &[]);
        Self {
            fake,
            memory: Arc::new(MemoryStore::new()),
            ports: Ports::simulated(1, 0),
            topic: PartitionId::new(topic, PartitionIndex(0)),
        }
    }

    fn sweeper(&self, settings: SweepSettings) -> Arc<Sweeper> {
        let metadata = Arc::clone(&self.fake) as Arc<dyn Metadata>;
        let store = Arc::clone(&self.memory) as Arc<dyn ObjectStore>;
        Sweeper::new(store, metadata, self.ports.clone(), settings)
    }

    async fn sweep(&self) -> Result<SweepState, SweepError> {
        self.sweeper(SweepSettings::default()).sweep().await
    }

    /// Uploads an object of 1 KiB.
    async fn upload(&self, id: &ObjectId) -> String {
        self.upload_of(self.fake.cluster(), id, KIB).await
    }

    async fn upload_of(&self, cluster: ClusterId, id: &ObjectId, bytes: u64) -> String {
        let key = object_key(cluster, id);
        let bytes = Bytes::from(vec![0; usize::try_from(bytes).unwrap()]);
        let put = self.memory.put(&key, vec![bytes], PutMode::Create).await;
        put.unwrap();
        key
    }

    /// Makes the leader know an object.
    fn commit(&self, id: ObjectId) {
        self.fake.append(id, vec![run(self.topic)]);
    }

    async fn keys(&self) -> Vec<String> {
        let listed = self.memory.list("", None, usize::MAX).await.unwrap();
        listed.into_iter().map(|meta| meta.key).collect()
    }
}

fn run(partition: PartitionId) -> Run {
    Run {
        partition,
        position: 8,
        stored_bytes: 132,
        batches: vec![BatchSummary {
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            first_sequence: Sequence::NONE,
            records: 1,
            bytes: 100,
            max_timestamp: 0,
        }],
    }
}

fn id(epoch: u32, unique: u64) -> ObjectId {
    ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(epoch),
        writer: WriterSlot(3),
        level: ObjectLevel::L0,
        unique,
    }
}

fn done(state: Result<SweepState, SweepError>) -> SweepReport {
    match state.unwrap() {
        SweepState::Done(report) => report,
        state => panic!("{state:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn only_old_objects_that_nobody_committed_go() {
    let bed = Bed::new();
    // The fake begins at epoch 1; now it is 62, and objects of epoch 1 are 61 behind.
    bed.commit(id(1, 10));
    bed.upload(&id(1, 10)).await;
    let orphan = bed.upload(&id(1, 11)).await;
    bed.fake.advance_upload_epoch(61);
    bed.upload(&id(2, 12)).await;
    bed.upload(&id(62, 13)).await;
    let other = ClusterId(Uuid::from_u128(99));
    bed.upload_of(other, &id(1, 14), KIB).await;
    let elsewhere = ObjectId {
        incarnation: Incarnation(0),
        ..id(1, 15)
    };
    bed.upload(&elsewhere).await;
    let [tip, witness] = [tips_prefix, witnesses_prefix]
        .map(|prefix| format!("{}0000000001-x", prefix(bed.fake.cluster())));
    for foreign in [
        marker_key(),
        tip.as_str(),
        witness.as_str(),
        "logs/2024/01",
        "0000/x/0000000001/0000000001/l0-1-0",
    ] {
        let put = bed
            .memory
            .put(foreign, vec![Bytes::from_static(b"x")], PutMode::Create);
        put.await.unwrap();
    }
    let mut expected = bed.keys().await;
    expected.retain(|key| *key != orphan);
    let report = done(bed.sweep().await);
    assert_eq!(bed.keys().await, expected);
    assert_eq!(
        report,
        SweepReport {
            listed_objects: 4,
            listed_bytes: 4 * KIB,
            orphan_objects: 1,
            orphan_bytes: KIB,
            deleted_objects: 1,
            deleted_bytes: KIB,
            aborted_uploads: 0,
        }
    );
    // Released objects are metadata's own to delete.
    bed.fake.delete_topic(bed.topic.topic);
    assert_eq!(done(bed.sweep().await).orphan_objects, 0);
    assert_eq!(bed.keys().await, expected);
}

#[tokio::test(start_paused = true)]
async fn many_pages_are_swept_in_batches_and_gently() {
    let bed = Bed::new();
    for unique in 0..2_500 {
        bed.upload(&id(1, unique)).await;
        if unique % 5 == 0 {
            bed.commit(id(1, unique));
        }
    }
    bed.fake.advance_upload_epoch(100);
    let begun = bed.ports.clock.now();
    let report = done(bed.sweep().await);
    let took = bed.ports.clock.now().since(begun);
    assert_eq!(
        (report.listed_objects, report.deleted_objects),
        (2_500, 2_000)
    );
    assert_eq!(bed.keys().await.len(), 500);
    let rate = 2_000 / u64::from(SweepSettings::default().objects_per_second);
    assert!(took >= Duration::from_secs(rate), "{took:?}");

    // What one sweep does not remember is left to the next.
    for unique in 3_000..3_300 {
        bed.upload(&id(2, unique)).await;
    }
    let settings = SweepSettings {
        orphans_max: 200,
        ..SweepSettings::default()
    };
    let sweeper = bed.sweeper(settings);
    let report = done(sweeper.sweep().await);
    assert_eq!((report.orphan_objects, report.deleted_objects), (300, 200));
    assert_eq!(done(sweeper.sweep().await).deleted_objects, 100);
    assert_eq!(done(sweeper.sweep().await).deleted_objects, 0);
}

#[tokio::test(start_paused = true)]
async fn several_sweepers_do_no_harm() {
    let bed = Bed::new();
    for unique in 0..1_000 {
        bed.upload(&id(1, unique)).await;
        if unique % 2 == 0 {
            bed.commit(id(1, unique));
        }
    }
    bed.fake.advance_upload_epoch(61);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let sweeper = bed.sweeper(SweepSettings::default());
        tasks.spawn(async move { done(sweeper.sweep().await) });
    }
    while let Some(report) = tasks.join_next().await {
        report.unwrap();
    }
    assert_eq!(bed.keys().await.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_of_too_much_asks_first() {
    let bed = Bed::new();
    for unique in 0..100 {
        bed.upload(&id(1, unique)).await;
        if unique >= 10 {
            bed.commit(id(1, unique));
        }
    }
    bed.fake.advance_upload_epoch(61);
    let sweep = async |settings: SweepSettings| bed.sweeper(settings).sweep().await;
    // 10 of 100 KiB are orphans.
    let asking = |approved| SweepSettings {
        ask_bytes: 10 * KIB - 1,
        approval: Approval::of(approved),
        ..SweepSettings::default()
    };
    for approved in [0, 9] {
        let state = sweep(asking(approved)).await.unwrap();
        let SweepState::Refusing(report) = state else {
            panic!("{approved}: {state:?}");
        };
        assert_eq!((report.orphan_objects, report.deleted_objects), (10, 0));
        assert_eq!(bed.keys().await.len(), 100);
    }
    let report = done(sweep(asking(10)).await);
    assert_eq!(report.deleted_objects, 10);
}

#[tokio::test(start_paused = true)]
async fn regression_an_approval_is_for_the_sweep_that_asked_and_no_later_one() {
    let bed = Bed::new();
    bed.fake.advance_upload_epoch(61);
    let orphans = async |uniques: std::ops::Range<u64>| {
        for unique in uniques {
            bed.upload(&id(1, unique)).await;
        }
    };
    let asking = |approval: &Approval| SweepSettings {
        ask_bytes: KIB,
        orphans_max: 6,
        approval: approval.clone(),
        ..SweepSettings::default()
    };
    // As many sweeps and sweepers as it takes share it.
    let approval = Approval::of(10);
    orphans(0..10).await;
    for deleted in [6, 4] {
        let report = done(bed.sweeper(asking(&approval)).sweep().await);
        assert_eq!(report.deleted_objects, deleted);
    }
    orphans(10..15).await;
    let state = bed.sweeper(asking(&approval)).sweep().await.unwrap();
    assert!(matches!(state, SweepState::Refusing(_)), "{state:?}");

    // It is of no use for later if there is nothing that asks now.
    bed.sweep().await.unwrap();
    let approval = Approval::of(100);
    let sweeper = bed.sweeper(asking(&approval));
    assert_eq!(done(sweeper.sweep().await).orphan_objects, 0);
    orphans(15..20).await;
    let state = sweeper.sweep().await.unwrap();
    assert!(matches!(state, SweepState::Refusing(_)), "{state:?}");
    assert_eq!(bed.keys().await.len(), 5);
}

#[test]
fn the_rule_is_five_percent_and_a_gibibyte() {
    const GIB: u64 = 1 << 30;
    let bed = Bed::new();
    for (listed, orphans, asks) in [
        (100 * GIB, 5 * GIB, false),
        (100 * GIB, 5 * GIB + 1, true),
        (GIB, GIB, false),
        (GIB + 1, GIB + 1, true),
        (0, 0, false),
        (u64::MAX, u64::MAX, true),
    ] {
        let report = SweepReport {
            listed_bytes: listed,
            orphan_bytes: orphans,
            ..SweepReport::default()
        };
        let sweeper = bed.sweeper(SweepSettings::default());
        assert_eq!(sweeper.must_ask(&report), asks, "{orphans} of {listed}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_runs_by_itself_and_survives_a_leader_that_is_away() {
    let bed = Bed::new();
    bed.upload(&id(1, 1)).await;
    bed.fake.advance_upload_epoch(61);
    let sweeper = bed.sweeper(SweepSettings::default());
    let mut state = sweeper.state();
    bed.fake.set_unavailable(Some(false));
    sweeper.start();
    state.changed().await.unwrap();
    assert!(matches!(
        *state.borrow_and_update(),
        SweepState::Failed { .. }
    ));
    assert_eq!(bed.keys().await.len(), 1);
    bed.fake.set_unavailable(None);
    state.changed().await.unwrap();
    assert!(matches!(*state.borrow_and_update(), SweepState::Done(_)));
    assert_eq!(bed.keys().await.len(), 0);
    bed.ports.tasks.kill();
    bed.ports.tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn regression_a_sweep_that_did_not_see_the_bucket_is_repeated_within_a_minute() {
    let bed = Bed::new();
    let sweeper = bed.sweeper(SweepSettings::default());
    let mut state = sweeper.state();
    bed.fake.set_unavailable(Some(false));
    sweeper.start();
    state.changed().await.unwrap();
    bed.fake.set_unavailable(None);
    let failed = bed.ports.clock.now();
    state.changed().await.unwrap();
    let took = bed.ports.clock.now().since(failed);
    assert!(took <= UNSEEN_PAUSE_MAX, "{took:?}");
    // After one that saw all of it the next comes at its time.
    let finished = bed.ports.clock.now();
    state.changed().await.unwrap();
    let took = bed.ports.clock.now().since(finished);
    assert!(took >= SweepSettings::default().interval, "{took:?}");
    bed.ports.tasks.kill();
}

#[tokio::test(start_paused = true)]
async fn uploads_that_nobody_ended_are_aborted_at_the_age_of_orphans() {
    let bed = Bed::new();
    bed.fake.advance_upload_epoch(61);
    let cluster = bed.fake.cluster();
    let other = ClusterId(Uuid::from_u128(77));
    let earlier = ObjectId {
        incarnation: Incarnation(0),
        ..id(1, 4)
    };
    let mut uploads = Vec::new();
    for (key, stays) in [
        (object_key(cluster, &id(1, 1)), false),
        (object_key(cluster, &id(1, 2)), false),
        (object_key(cluster, &id(2, 3)), true),
        (object_key(cluster, &id(62, 3)), true),
        (object_key(cluster, &earlier), true),
        (object_key(other, &id(1, 5)), true),
        ("something/else".to_owned(), true),
    ] {
        let upload = bed.memory.begin_upload(&key).await.unwrap();
        upload
            .part(0, vec![Bytes::from_static(b"x")])
            .await
            .unwrap();
        uploads.push((key, stays, upload));
    }
    let report = done(bed.sweep().await);
    assert_eq!(report.aborted_uploads, 2);
    let left = bed.memory.unfinished_uploads("", None, 100).await.unwrap();
    for (key, stays, _) in &uploads {
        assert_eq!(left.iter().any(|u| u.key == *key), *stays, "{key}");
    }
    let (_, _, aborted) = &uploads[0];
    assert!(aborted.finish(1, 1).await.is_err());
    assert_eq!(done(bed.sweep().await).aborted_uploads, 0);
}
