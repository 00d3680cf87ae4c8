//! Sweeping beside agents that upload and commit, slowly.

use aquifer_format::ids::TopicId;
use aquifer_metadata::{Leader, LeaderSettings, journal::memory::MemoryJournal};
use aquifer_metadata_api::{
    CommitChannel,
    register::{AgentAddress, RegisterRequest},
};
use proptest::prelude::*;

use super::*;

/// An agent with an open stream, which keeps its session alive.
struct Agent {
    registration: Registration,
    channel: CommitChannel,
    next: u64,
}

impl Agent {
    async fn new(metadata: &dyn Metadata) -> Self {
        let request = RegisterRequest {
            previous_slot: None,
            seen: None,
            agent: AgentAddress {
                host: "127.0.0.1".to_owned(),
                port: 9092,
                node_ids: 1,
                zone: String::new(),
                peer: String::new(),
            },
        };
        let registration = metadata.register(request).await.unwrap();
        let channel = metadata.commits(registration.session).await.unwrap();
        Self {
            registration,
            channel,
            next: 1,
        }
    }

    /// An object whose upload begins at `epoch`.
    fn object(&self, epoch: UploadEpoch, unique: u64) -> ObjectId {
        ObjectId {
            incarnation: self.registration.incarnation,
            upload_epoch: epoch,
            writer: self.registration.slot,
            level: ObjectLevel::L0,
            unique,
        }
    }

    async fn commit(&mut self, object: ObjectId, partition: PartitionId) -> BatchOutcome {
        let number = CommitNumber(self.next);
        self.next += 1;
        let commit = Commit {
            number,
            answered_through: CommitNumber(number.0 - 1),
            object,
            object_bytes: KIB,
            locations: vec![0],
            runs: vec![run(partition)],
        };
        let call = CommitCall::Commit(commit);
        self.channel.calls.send(call).await.unwrap();
        let answer = self.channel.answers.recv().await.unwrap().unwrap();
        assert_eq!(answer.number, number);
        answer.outcomes[0].1
    }
}

/// One upload: how long until the next one begins, and how long until its own commit is sent, in upload
/// epochs.
type Step = (u32, u32);

/// Runs an agent that takes as long as `steps` say, with a sweep in every epoch; says how many commits were
/// accepted and how many objects were swept.
async fn uploads_beside_sweeps(steps: Vec<Step>) -> (u64, u64) {
    let bed = Bed::new();
    let mut agent = Agent::new(&*bed.fake).await;
    let mut waiting: Vec<(u32, ObjectId)> = Vec::new();
    let mut kept = Vec::new();
    let (mut accepted, mut swept) = (0, 0);
    let mut steps = steps.into_iter().zip(0..).peekable();
    let (mut now, mut next_at) = (1, 1);
    while steps.peek().is_some() || !waiting.is_empty() {
        while let Some(((gap, pause), unique)) = steps.next_if(|_| next_at <= now) {
            let object = agent.object(UploadEpoch(now), unique);
            bed.upload(&object).await;
            waiting.push((now + pause, object));
            next_at = now + gap;
        }
        let (due, later) = waiting.into_iter().partition(|(at, _)| *at <= now);
        waiting = later;
        let due: Vec<(u32, ObjectId)> = due;
        for (_, object) in due {
            let age = now - object.upload_epoch.0;
            match agent.commit(object, bed.topic).await {
                BatchOutcome::Appended(_) => {
                    assert!(age <= 10, "accepted at an age of {age}");
                    accepted += 1;
                    kept.push(object_key(bed.fake.cluster(), &object));
                }
                outcome => {
                    assert_eq!(outcome, BatchOutcome::Rejected(Rejection::TooOld));
                    assert!(age > 10, "refused at an age of {age}");
                }
            }
        }
        swept += done(bed.sweep().await).deleted_objects;
        let there = bed.keys().await;
        let lost: Vec<_> = kept.iter().filter(|key| !there.contains(key)).collect();
        assert!(lost.is_empty(), "committed and swept: {lost:?}");
        for (_, object) in &waiting {
            if now - object.upload_epoch.0 <= 60 {
                let key = object_key(bed.fake.cluster(), object);
                assert!(there.contains(&key), "in flight and swept: {key}");
            }
        }
        now += 1;
        bed.fake.advance_upload_epoch(1);
    }
    (accepted, swept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_agents_do_no_committed_object_and_no_upload_in_flight_is_swept(
        steps in proptest::collection::vec(
            (0u32..30, prop_oneof![0u32..12, 8u32..14, 55u32..80]),
            1..25,
        )
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(uploads_beside_sweeps(steps));
    }
}

#[tokio::test(start_paused = true)]
async fn late_and_lost_uploads_are_told_apart() {
    let counts = uploads_beside_sweeps(vec![(5, 10), (5, 11), (5, 200), (0, 0)]).await;
    // The commit at 11 was refused, but it made the object known: its bytes are metadata's to delete.
    assert_eq!(counts, (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_agent_paused_past_the_limit_cannot_commit_a_swept_object() {
    let ports = Ports::simulated(3, 1_700_000_000_000);
    let journal = Arc::new(MemoryJournal::new(Arc::clone(&ports.clock)));
    let leader = Leader::start(journal, ports.clone(), LeaderSettings::default()).await;
    let leader = leader.unwrap();
    let metadata: Arc<dyn Metadata> = leader.metadata();
    let told = metadata.live_objects(Vec::new()).await.unwrap();
    let mut agent = Agent::new(&*metadata).await;
    let object = agent.object(agent.registration.upload_epoch, 7);
    let memory = Arc::new(MemoryStore::new());
    let key = object_key(told.cluster, &object);
    let payload = vec![Bytes::from_static(b"x")];
    memory.put(&key, payload, PutMode::Create).await.unwrap();
    let sweeper = Sweeper::new(
        Arc::clone(&memory) as Arc<dyn ObjectStore>,
        Arc::clone(&metadata),
        ports.clone(),
        SweepSettings::default(),
    );

    ports.sleep(Duration::from_secs(59 * 60)).await;
    assert_eq!(done(sweeper.sweep().await).deleted_objects, 0);
    assert!(memory.head(&key).await.is_ok(), "59 minutes are not enough");
    ports.sleep(Duration::from_secs(3 * 60)).await;
    assert_eq!(done(sweeper.sweep().await).deleted_objects, 1);
    // Now the agent goes on where it was.
    let nowhere = PartitionId::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0));
    let outcome = agent.commit(object, nowhere).await;
    assert_eq!(outcome, BatchOutcome::Rejected(Rejection::TooOld));
    ports.tasks.kill();
}
