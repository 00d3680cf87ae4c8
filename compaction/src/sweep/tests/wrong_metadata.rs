//! A database that is empty, another cluster's, or behind the bucket must not cost an object, however long it
//! runs.

use aquifer_format::ids::{JournalSeq, LeaderTerm, SessionId};
use aquifer_metadata_api::{
    CommitChannel, WatchChannel,
    kafka::KafkaCall,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::RegisterRequest,
};
use aquifer_store::faults::{FaultPlan, Faults, FaultyStore};

use super::*;

/// A leader that only knows who it is and what time it is.
#[derive(Debug)]
struct Empty(Mutex<LiveObjects>);

impl Empty {
    fn new(cluster: ClusterId, incarnation: u32, epoch: u32) -> Arc<Self> {
        Arc::new(Self(Mutex::new(LiveObjects {
            cluster,
            incarnation: Incarnation(incarnation),
            upload_epoch: UploadEpoch(epoch),
            live: Vec::new(),
        })))
    }

    fn advance(&self, by: u32) {
        self.0.lock().upload_epoch.0 += by;
    }
}

fn away() -> MetadataError {
    MetadataError::Unavailable {
        reason: "it knows nothing".to_owned(),
        may_have_happened: false,
    }
}

#[async_trait::async_trait]
impl Metadata for Empty {
    async fn register(&self, _: RegisterRequest) -> Result<Registration, MetadataError> {
        Err(away())
    }

    async fn commits(&self, _: SessionId) -> Result<CommitChannel, MetadataError> {
        Err(away())
    }

    async fn locate(&self, _: LocateRequest) -> Result<LocateReply, MetadataError> {
        Err(away())
    }

    async fn offsets(&self, _: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        Err(away())
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        Err(away())
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        Ok(LiveObjects {
            live: vec![false; objects.len()],
            ..self.0.lock().clone()
        })
    }

    async fn watch(
        &self,
        _: SessionId,
        _: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        Err(away())
    }

    async fn kafka(&self, _: KafkaCall) -> Result<Bytes, MetadataError> {
        Err(away())
    }
}

/// A bucket of 200 committed objects of upload epochs up to 1,000.
async fn full() -> Bed {
    let bed = Bed::new();
    for unique in 0..200 {
        let epoch = 1_000 - u32::try_from(unique).unwrap() * 5;
        bed.upload(&id(epoch, unique)).await;
    }
    bed
}

fn sweeper(bed: &Bed, metadata: &Arc<Empty>, settings: SweepSettings) -> Arc<Sweeper> {
    Sweeper::new(
        Arc::clone(&bed.memory) as Arc<dyn ObjectStore>,
        Arc::clone(metadata) as Arc<dyn Metadata>,
        bed.ports.another_node(),
        settings,
    )
}

/// Sweeps by the clock for `hours`, with a new sweeper every hour, as after restarts.
async fn sweep_for(bed: &Bed, metadata: &Arc<Empty>, hours: u32) -> SweepState {
    let mut last = SweepState::Starting;
    for _ in 0..hours {
        let settings = SweepSettings {
            interval: Duration::from_secs(600),
            // The stop on large sweeps shall not be what saves the objects.
            ask_bytes: u64::MAX,
            ..SweepSettings::default()
        };
        let sweeper = sweeper(bed, metadata, settings);
        sweeper.start();
        let state = sweeper.state();
        for _ in 0..60 {
            bed.ports.sleep(Duration::from_secs(60)).await;
            metadata.advance(1);
        }
        last = state.borrow().clone();
        sweeper.ports.tasks.kill();
        sweeper.ports.tasks.wait().await;
    }
    last
}

/// Objects in the bucket, halts aside.
async fn objects(bed: &Bed) -> usize {
    let keys = bed.keys().await;
    let object = |key: &&String| parse_object_key(key).is_ok();
    keys.iter().filter(object).count()
}

#[tokio::test(start_paused = true)]
async fn metadata_behind_the_bucket_deletes_nothing_even_once_it_has_caught_up() {
    for epoch in [1, 500, 990, 997] {
        let bed = full().await;
        let metadata = Empty::new(bed.fake.cluster(), 1, epoch);
        let state = sweep_for(&bed, &metadata, 30).await;
        assert!(
            matches!(state, SweepState::Halted { .. }),
            "{epoch}: {state:?}"
        );
        let now = metadata.0.lock().upload_epoch.0;
        assert!(now > 1_100, "it has caught up: {now}");
        assert_eq!(objects(&bed).await, 200, "from epoch {epoch}");
    }
}

#[tokio::test(start_paused = true)]
async fn regression_a_halt_that_cannot_be_written_is_not_forgotten() {
    let bed = full().await;
    let metadata = Empty::new(bed.fake.cluster(), 1, 990);
    // Puts fail: their effect comes long after the test.
    let faults = Faults::new(FaultPlan {
        late_effect: 1.0,
        late_by: Duration::from_secs(1_000_000),
        ..FaultPlan::default()
    });
    let memory = Arc::clone(&bed.memory) as Arc<dyn ObjectStore>;
    let failing = FaultyStore::new(memory, bed.ports.clone(), faults.clone());
    let stubborn = Sweeper::new(
        Arc::new(failing),
        Arc::clone(&metadata) as Arc<dyn Metadata>,
        bed.ports.another_node(),
        SweepSettings::default(),
    );
    let mut state = stubborn.state();
    stubborn.start();
    for _ in 0..4 {
        state.changed().await.unwrap();
        let now = state.borrow_and_update().clone();
        let SweepState::Failed { reason } = now else {
            panic!("{now:?}");
        };
        assert!(reason.contains("the leader is at 1, 990"), "{reason}");
        // From the first time on nothing in the bucket shows it any more.
        metadata.advance(1_000);
    }
    faults.set(FaultPlan::default());
    state.changed().await.unwrap();
    let now = state.borrow_and_update().clone();
    assert!(matches!(now, SweepState::Halted { .. }), "{now:?}");
    let other = sweeper(&bed, &metadata, SweepSettings::default());
    let halted = other.sweep().await;
    assert!(
        matches!(halted, Err(SweepError::Halted { .. })),
        "{halted:?}"
    );
    assert_eq!(objects(&bed).await, 200);
    stubborn.ports.tasks.kill();
}

#[tokio::test(start_paused = true)]
async fn another_cluster_or_incarnation_deletes_nothing() {
    let stranger = ClusterId(Uuid::from_u128(77));
    for (cluster, incarnation) in [(None, 2), (None, 0), (Some(stranger), 1)] {
        let bed = full().await;
        let cluster = cluster.unwrap_or(bed.fake.cluster());
        let metadata = Empty::new(cluster, incarnation, 5_000);
        sweep_for(&bed, &metadata, 5).await;
        assert_eq!(objects(&bed).await, 200, "{incarnation} of {cluster}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_halt_holds_for_its_incarnation_only() {
    let bed = full().await;
    let behind = Empty::new(bed.fake.cluster(), 1, 10);
    sweep_for(&bed, &behind, 1).await;
    // The loss was accepted: a new incarnation, whose own orphans are swept again.
    let accepted = Empty::new(bed.fake.cluster(), 2, 1_001);
    let orphan = ObjectId {
        incarnation: Incarnation(2),
        ..id(1_001, 5)
    };
    bed.upload(&orphan).await;
    assert_eq!(objects(&bed).await, 201);
    let state = sweep_for(&bed, &accepted, 2).await;
    assert!(matches!(state, SweepState::Done(_)), "{state:?}");
    assert_eq!(objects(&bed).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_leader_of_another_incarnation_in_the_middle_of_a_sweep_ends_it() {
    let bed = full().await;
    let metadata = Empty::new(bed.fake.cluster(), 1, 2_000);
    let settings = SweepSettings {
        batch_objects: 50,
        ..SweepSettings::default()
    };
    let sweeper = sweeper(&bed, &metadata, settings);
    let mut sweeping = tokio::task::JoinSet::new();
    sweeping.spawn(async move { sweeper.sweep().await });
    // Into the pause after the first batch.
    bed.ports.sleep(Duration::from_millis(500)).await;
    metadata.0.lock().incarnation = Incarnation(2);
    let ended = sweeping.join_next().await.unwrap().unwrap();
    assert!(matches!(ended, Err(SweepError::Identity)), "{ended:?}");
    assert_eq!(objects(&bed).await, 150, "nothing after the first batch");
}
