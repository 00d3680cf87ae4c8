//! Metadata processes that share a journal and a bucket, in virtual time.

use aquifer_format::ids::{JournalSeq, PartitionId, UploadEpoch};
use aquifer_metadata_api::{Metadata, MetadataError, commit::CommitAnswer, watch::Frame};
use aquifer_store::{
    PutMode, Tasks,
    faults::{Faults, FaultyStore},
    memory::MemoryStore,
};
use hooked::Hooked;

use super::*;
use crate::{
    LocalMetadata,
    accept_loss::{AcceptError, AcceptSettings, accept_loss},
    journal::memory::{MemoryJournal, MemorySwitches},
    leader::tests::{Writer, base_offset, batch, create_topic, locate, partition},
    state::Budgets,
    status::{Problem, status},
};

pub(crate) mod hooked;
mod lost_rows;
mod take_over;

/// A journal, a bucket, and processes that use them.
pub(crate) struct Cluster {
    pub(crate) ports: Ports,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) switches: MemorySwitches,
    pub(crate) store: Arc<MemoryStore>,
}

pub(crate) struct Process {
    pub(crate) member: Member,
    pub(crate) tasks: Tasks,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::seeded(5)
    }

    /// Ids differ by seed.
    fn seeded(seed: u64) -> Self {
        let ports = Ports::simulated(seed, 1_704_067_200_000);
        let journal = MemoryJournal::new(Arc::clone(&ports.clock));
        Self {
            switches: journal.switches(),
            journal: Arc::new(journal),
            store: Arc::new(MemoryStore::new()),
            ports,
        }
    }

    pub(crate) fn start(&self) -> Process {
        self.start_on(Arc::<MemoryJournal>::clone(&self.journal))
    }

    pub(crate) fn start_on(&self, journal: Arc<dyn Journal>) -> Process {
        let store = Arc::<MemoryStore>::clone(&self.store);
        self.start_with(journal, store)
    }

    fn start_with(&self, journal: Arc<dyn Journal>, store: Arc<dyn ObjectStore>) -> Process {
        let ports = self.ports.another_node();
        let settings = MemberSettings {
            leader: LeaderSettings {
                endpoint: format!("node-{}", ports.rand.next_u64() % 1_000),
                ..LeaderSettings::default()
            },
            ..MemberSettings::default()
        };
        Process {
            member: Member::start(journal, store, &ports, settings),
            tasks: ports.tasks,
        }
    }

    /// The bucket as one process has it, and what breaks it.
    pub(crate) fn faulty_store(&self) -> (Arc<dyn ObjectStore>, Faults) {
        let (store, faults) = (Arc::<MemoryStore>::clone(&self.store), Faults::default());
        let faulty = FaultyStore::new(store, self.ports.clone(), faults.clone());
        (Arc::new(faulty), faults)
    }

    pub(crate) async fn sleep(&self, millis: u64) {
        self.ports.sleep(Duration::from_millis(millis)).await;
    }

    async fn accept(&self) -> Result<crate::accept_loss::Accepted, AcceptError> {
        let journal = Arc::<MemoryJournal>::clone(&self.journal);
        let store = Arc::<MemoryStore>::clone(&self.store);
        accept_loss(journal, store, &self.ports, &AcceptSettings::default()).await
    }

    async fn witnesses(&self) -> Vec<Witness> {
        let remembered = Remembered::read(&*self.store, Which::Newest).await;
        let witnesses = remembered.expect("the bucket answers").witnesses;
        witnesses.into_iter().map(|(_, witness)| witness).collect()
    }

    async fn problem(&self) -> Option<Problem> {
        let status = status(&*self.journal, &*self.store, Budgets::default()).await;
        status.expect("journal and bucket answer").problem
    }
}

impl Process {
    pub(crate) async fn leads(&self) -> Arc<LocalMetadata> {
        let mut role = self.member.role();
        let role = role.wait_for(Role::is_leader).await.expect("it lives");
        match &*role {
            Role::Leader(metadata) => Arc::clone(metadata),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn refuses(&self) -> String {
        let mut role = self.member.role();
        let refusing = |role: &Role| matches!(role, Role::Refusing { .. });
        let role = role.wait_for(refusing).await.expect("it lives");
        match &*role {
            Role::Refusing { reason } => reason.clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn stands_by(&self) -> Option<String> {
        let mut role = self.member.role();
        let known = |role: &Role| matches!(role, Role::Standby { leader: Some(_) });
        let role = role.wait_for(known).await.expect("it lives");
        match &*role {
            Role::Standby { leader } => leader.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn is(&self, wanted: impl Fn(&Role) -> bool) -> bool {
        wanted(&self.member.role().borrow())
    }
}

/// What an agent has: a session, its stream, and what its watch showed last.
pub(crate) struct Agent {
    pub(crate) writer: Writer,
    seen: aquifer_metadata_api::mark::JournalMark,
}

impl Agent {
    async fn new(metadata: &LocalMetadata) -> Self {
        let writer = Writer::new(metadata).await;
        let seen = newest(metadata, &writer).await;
        Self { writer, seen }
    }

    async fn append(&mut self, metadata: &LocalMetadata, to: PartitionId, records: u32) -> i64 {
        let base = self.writer.append(to, records).await;
        self.seen = newest(metadata, &self.writer).await;
        base.0
    }
}

async fn newest(
    metadata: &LocalMetadata,
    writer: &Writer,
) -> aquifer_metadata_api::mark::JournalMark {
    let session = writer.registration.session;
    let mut watch = metadata.watch(session, None).await.expect("watches");
    match watch.frames.recv().await {
        Some(Frame::Common(frame)) => frame.mark(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_at_once_on_a_stop_and_after_the_lease_on_a_death() {
    let cluster = Cluster::new();
    let one = cluster.start();
    let metadata = one.leads().await;
    let two = cluster.start();
    let endpoint = two.stands_by().await.expect("it says where the leader is");
    assert!(endpoint.starts_with("node-"));
    assert_ne!(one.member.holder(), two.member.holder());
    let topic = create_topic(&*metadata, "orders", 1)
        .await
        .expect("creates");
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    assert_eq!(writer.append(to, 4).await.0, 0);

    let clock = Arc::clone(&cluster.ports.clock);
    let stopping = clock.now();
    one.member.stop().await;
    let metadata = two.leads().await;
    let took = clock.now().since(stopping);
    assert!(took <= Duration::from_millis(300), "{took:?}");
    let located = locate(&metadata, to).await.expect("locates");
    assert_eq!(located.watermarks.high_watermark.0, 4);
    assert!(one.is(|role| matches!(role, Role::Standby { .. })));

    let three = cluster.start();
    three.stands_by().await;
    let killed = clock.now();
    two.tasks.kill();
    let metadata = three.leads().await;
    let took = clock.now().since(killed);
    assert!(took <= Duration::from_millis(3_300), "{took:?}");
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
    let located = locate(&metadata, to).await.expect("locates");
    assert_eq!(located.watermarks.high_watermark.0, 4);
}

#[tokio::test(start_paused = true)]
async fn a_standby_follows_while_it_waits_and_needs_only_the_last_rows() {
    let cluster = Cluster::new();
    let one = cluster.start();
    let metadata = one.leads().await;
    let two = cluster.start();
    two.stands_by().await;
    let topic = create_topic(&*metadata, "orders", 1)
        .await
        .expect("creates");
    let mut writer = Writer::new(&metadata).await;
    // long enough that pages are written and rows trimmed under the standby
    for round in 0..200 {
        writer.append(partition(topic, 0), 1).await;
        cluster
            .sleep(if round % 20 == 0 { 5_000 } else { 10 })
            .await;
    }
    cluster.sleep(500).await;
    one.tasks.kill();
    let metadata = two.leads().await;
    let located = locate(&metadata, partition(topic, 0))
        .await
        .expect("locates");
    assert_eq!(located.watermarks.high_watermark.0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_journal_ends_nobody() {
    let cluster = Cluster::new();
    let one = cluster.start();
    let metadata = one.leads().await;
    let two = cluster.start();
    two.stands_by().await;
    let topic = create_topic(&*metadata, "orders", 1)
        .await
        .expect("creates");
    cluster.switches.set_unavailable(true);
    cluster.sleep(90_000).await;
    cluster.switches.set_unavailable(false);
    cluster.sleep(5_000).await;
    let leaders = [&one, &two].map(|process| process.is(Role::is_leader));
    assert_eq!(leaders.iter().filter(|leads| **leads).count(), 1);
    let leader = if leaders[0] { &one } else { &two };
    let metadata = leader.leads().await;
    let mut writer = Writer::new(&metadata).await;
    assert_eq!(writer.append(partition(topic, 0), 3).await.0, 0);
    // a start during an outage
    cluster.switches.set_unavailable(true);
    let three = cluster.start();
    cluster.sleep(30_000).await;
    assert!(three.is(|role| matches!(role, Role::Standby { leader: None })));
    cluster.switches.set_unavailable(false);
    three.stands_by().await;
}

/// The lease is the lease: a leader that another one replaced while it could not reach the journal (as one
/// that was stopped and goes on later) neither appends nor answers a read.
#[tokio::test(start_paused = true)]
async fn a_leader_that_was_replaced_neither_appends_nor_answers() {
    for write_first in [false, true] {
        let cluster = Cluster::new();
        let (open, opened) = watch::channel(true);
        let gate = Hooked::around(&cluster.journal, move |_| {
            let mut opened = opened.clone();
            Box::pin(async move {
                // an error: the test is over
                let _ = opened.wait_for(|open| *open).await;
            })
        });
        let old = cluster.start_on(gate);
        let stale = old.leads().await;
        let topic = create_topic(&*stale, "orders", 1).await.expect("creates");
        let to = partition(topic, 0);
        let mut old_writer = Writer::new(&stale).await;
        old_writer.append(to, 1).await;
        let new = cluster.start();
        new.stands_by().await;
        open.send_replace(false);
        let metadata = new.leads().await;
        let mut writer = Writer::new(&metadata).await;
        assert_eq!(writer.append(to, 10).await.0, 1);
        let rows = cluster.switches.rows().len();
        // the new leader has answered: what is sent to the old one from now on
        if write_first {
            let commit = old_writer.commit(to, vec![batch(5)]);
            old_writer.send(commit).await;
        }
        let read = locate(&stale, to);
        let read = cluster.ports.timeout(Duration::from_secs(10), read).await;
        assert!(!matches!(read, Some(Ok(_))), "{read:?}");
        assert!(old.is(Role::is_leader), "it cannot know yet");
        let waiting = locate(&stale, to);
        open.send_replace(true);
        let waited = waiting.await;
        assert!(
            matches!(waited, Err(MetadataError::Unavailable { .. })),
            "{waited:?}"
        );
        assert!(old_writer.channel.answers.recv().await.is_none());
        old.stands_by().await;
        assert_eq!(cluster.switches.rows().len(), rows, "it appended");
        let located = locate(&metadata, to).await.expect("locates");
        assert_eq!(located.watermarks.high_watermark.0, 11);
    }
}

/// A cluster whose journal goes back to a copy under load; what the agent was shown.
pub(crate) async fn restored(cluster: &Cluster, lost: u32) -> (Process, Agent, PartitionId) {
    let one = cluster.start();
    let metadata = one.leads().await;
    let topic = create_topic(&*metadata, "orders", 2)
        .await
        .expect("creates");
    let to = partition(topic, 0);
    let mut agent = Agent::new(&metadata).await;
    for _ in 0..5 {
        agent.append(&metadata, to, 10).await;
    }
    let copy = cluster.switches.copy();
    for _ in 0..lost {
        agent.append(&metadata, to, 10).await;
    }
    cluster.switches.restore(copy);
    (one, agent, to)
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_lost_rows_is_served_by_nobody_until_the_loss_is_accepted() {
    let cluster = Cluster::new();
    let two = cluster.start();
    // whoever comes first leads
    two.leads().await;
    let three = cluster.start();
    three.stands_by().await;
    two.member.stop().await;
    three.leads().await;
    drop(two);
    three.member.stop().await;

    let (one, mut agent, to) = restored(&cluster, 4).await;
    // its next row does not follow
    let commit = agent.writer.commit(to, vec![batch(1)]);
    agent.writer.send(commit).await;
    let reason = one.refuses().await;
    assert!(reason.contains("accept-loss"), "{reason}");
    let fresh = cluster.start();
    fresh.refuses().await;
    cluster.sleep(60_000).await;
    for process in [&one, &fresh] {
        assert!(process.is(|role| matches!(role, Role::Refusing { .. })));
    }
    let problem = cluster.problem().await;
    assert!(matches!(problem, Some(Problem::LostRows(_))), "{problem:?}");

    let accepted = cluster.accept().await.expect("something was lost");
    assert_eq!(accepted.incarnation.0, 2);
    assert!(accepted.mark.term > agent.seen.term);
    assert_eq!(cluster.problem().await, None);
    cluster.sleep(10_000).await;
    let leader = if one.is(Role::is_leader) {
        &one
    } else {
        &fresh
    };
    let metadata = leader.leads().await;
    // sessions are over, and what was remembered says nothing any more
    let session = agent.writer.registration.session;
    let told = metadata.watch(session, Some(agent.seen)).await.err();
    assert_eq!(told, Some(MetadataError::UnknownSession { session }));
    let mut writer = Writer::new(&metadata).await;
    assert!(writer.registration.session.0 > session.0 + 1_000);
    assert_eq!(writer.registration.incarnation.0, 2);
    // 5 + 4 batches of 10 were shown
    let base = writer.append(to, 7).await;
    assert!(base.0 >= 90 + 1_000_000, "{base}");
    // what is located from inside the gap is what comes after it
    let inside = aquifer_metadata_api::locate::LocatePartition {
        partition: to,
        from: aquifer_format::ids::Offset(95),
        max_bytes: 1,
    };
    let request = aquifer_metadata_api::locate::LocateRequest {
        partitions: vec![inside],
    };
    let reply = metadata.locate(request).await.expect("locates");
    let located = reply.partitions[0].clone().expect("it is there");
    assert_eq!(located.extents[0].base_offset, base);
    // once is enough
    let again = cluster.accept().await;
    assert!(again.is_err(), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_saw_more_ends_the_leader_that_does_not_have_it() {
    let cluster = Cluster::new();
    let (one, agent, _) = restored(&cluster, 3).await;
    one.tasks.kill();
    // nobody but the agent remembers: the tip is older than the copy
    let fresh = cluster.start();
    let metadata = fresh.leads().await;
    let session = agent.writer.registration.session;
    let told = metadata.watch(session, Some(agent.seen)).await.err();
    assert!(
        matches!(told, Some(MetadataError::LostRows { .. })),
        "{told:?}"
    );
    fresh.refuses().await;
    // the agent leaves its witness, as it was told
    let witness = Witness {
        cluster: agent.writer.registration.cluster,
        mark: agent.seen,
        upload_epoch: UploadEpoch(9),
        high_watermarks: vec![(
            PartitionId::new(
                partition_topic(&cluster),
                aquifer_format::ids::PartitionIndex(1),
            ),
            aquifer_format::ids::Offset(5_000_000),
        )],
    };
    put_witness(&*cluster.store, 7, &witness)
        .await
        .expect("writes");
    let accepted = cluster.accept().await.expect("something was lost");
    assert!(accepted.upload_epoch.0 > 9);
    let second = accepted.partitions[1];
    assert_eq!((second.1.0, second.2.0), (0, 6_000_000));
    fresh.leads().await;
}

fn partition_topic(cluster: &Cluster) -> aquifer_format::ids::TopicId {
    let rows = cluster.switches.rows();
    let events = rows
        .iter()
        .flat_map(|row| crate::event::decode_row(&row.bytes).expect("ours"));
    let mut topics = events.filter_map(|event| match event {
        crate::event::Event::TopicCreated(created) => Some(created.topic),
        _ => None,
    });
    topics.next().expect("there is a topic")
}

#[tokio::test(start_paused = true)]
async fn a_journal_behind_the_tip_is_refused_and_its_fence_left_alone() {
    let cluster = Cluster::new();
    let one = cluster.start();
    let metadata = one.leads().await;
    let copy = cluster.switches.copy();
    let topic = create_topic(&*metadata, "orders", 1)
        .await
        .expect("creates");
    let mut writer = Writer::new(&metadata).await;
    writer.append(partition(topic, 0), 10).await;
    // the next upload epoch takes the tip along
    cluster.sleep(61_000).await;
    one.member.stop().await;
    cluster.switches.restore(copy);
    let before = cluster.switches.copy();
    let two = cluster.start();
    let reason = two.refuses().await;
    assert!(reason.contains("lost rows"), "{reason}");
    cluster.sleep(30_000).await;
    assert_eq!(
        format!("{before:?}"),
        format!("{:?}", cluster.switches.copy())
    );
}

#[tokio::test(start_paused = true)]
async fn tips_move_on_with_upload_epochs_and_old_ones_go() {
    let cluster = Cluster::new();
    let one = cluster.start();
    one.leads().await;
    let mut last = JournalSeq(0);
    for _ in 0..5 {
        cluster.sleep(60_500).await;
        let remembered = Remembered::read(&*cluster.store, Which::All).await;
        let tips = remembered.expect("the bucket answers").tips;
        assert_eq!(tips.len(), 1, "{tips:?}");
        assert!(tips[0].1.mark.seq > last);
        last = tips[0].1.mark.seq;
    }
}

#[tokio::test(start_paused = true)]
async fn empty_and_foreign_journals_on_a_marked_bucket_are_refused() {
    let cluster = Cluster::new();
    let one = cluster.start();
    one.leads().await;
    one.member.stop().await;
    let (objects, bytes) = cluster.store.totals();
    // an empty one
    let empty = MemoryJournal::new(Arc::clone(&cluster.ports.clock));
    let two = cluster.start_on(Arc::new(empty.clone()));
    let reason = two.refuses().await;
    assert!(reason.contains("empty"), "{reason}");
    // days of virtual time change nothing
    cluster.sleep(3 * 86_400_000).await;
    assert!(empty.switches().rows().is_empty());
    two.tasks.kill();
    // another cluster's
    let foreign = Cluster::seeded(6);
    let elsewhere = foreign.start();
    elsewhere.leads().await;
    elsewhere.member.stop().await;
    let three = cluster.start_on(Arc::<MemoryJournal>::clone(&foreign.journal));
    let reason = three.refuses().await;
    assert!(reason.contains("belongs to cluster"), "{reason}");
    assert_eq!(cluster.store.totals(), (objects, bytes));
}

#[tokio::test(start_paused = true)]
async fn of_two_new_clusters_on_one_bucket_the_second_refuses() {
    let cluster = Cluster::new();
    let one = cluster.start();
    let clock = Arc::clone(&cluster.ports.clock);
    let other: Arc<dyn Journal> = Arc::new(MemoryJournal::new(clock));
    let two = cluster.start_on(Arc::clone(&other));
    cluster.sleep(10_000).await;
    let leaders = [&one, &two].map(|process| process.is(Role::is_leader));
    assert_ne!(leaders[0], leaders[1], "both or none lead");
    let refusing = if leaders[0] { &two } else { &one };
    let reason = refusing.refuses().await;
    assert!(
        reason.contains("belongs to cluster") || reason.contains("empty"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn witnesses_that_cannot_be_read_stop_a_start() {
    let cluster = Cluster::new();
    let one = cluster.start();
    one.leads().await;
    one.member.stop().await;
    let remembered = Remembered::read(&*cluster.store, Which::All).await;
    let key = remembered.expect("reads").tips[0].0.clone();
    let torn = vec![bytes::Bytes::from_static(b"{")];
    cluster
        .store
        .put(&key, torn, PutMode::Overwrite)
        .await
        .expect("writes");
    let two = cluster.start();
    let reason = two.refuses().await;
    assert!(reason.contains(&key), "{reason}");
}

/// The same commit sent again after a take-over gets the same answer.
#[tokio::test(start_paused = true)]
async fn a_commit_without_an_answer_is_answered_the_same_by_the_next_leader() {
    let cluster = Cluster::new();
    let one = cluster.start();
    let metadata = one.leads().await;
    let two = cluster.start();
    two.stands_by().await;
    let topic = create_topic(&*metadata, "orders", 1)
        .await
        .expect("creates");
    let mut writer = Writer::new(&metadata).await;
    let commit = writer.commit(partition(topic, 0), vec![batch(3)]);
    writer.send(commit.clone()).await;
    let first: CommitAnswer = writer.answer().await;
    one.tasks.kill();
    let metadata = two.leads().await;
    let session = writer.registration.session;
    writer.channel = metadata.commits(session).await.expect("it lives on");
    writer.send(commit).await;
    assert_eq!(writer.answer().await, first);
    assert_eq!(base_offset(&first).0, 0);
}

/// Printed for the docs: how long a take-over takes by the length of the journal, warm and cold.
#[tokio::test]
async fn the_time_of_a_take_over_by_journal_length() {
    for rows in [100, 2_000] {
        let ports = Ports::system();
        let journal = MemoryJournal::new(Arc::clone(&ports.clock));
        let cluster = Cluster {
            switches: journal.switches(),
            journal: Arc::new(journal),
            store: Arc::new(MemoryStore::new()),
            ports,
        };
        let one = cluster.start();
        let metadata = one.leads().await;
        let topic = create_topic(&*metadata, "orders", 100)
            .await
            .expect("creates");
        let warm = cluster.start();
        warm.stands_by().await;
        let mut writer = Writer::new(&metadata).await;
        for _ in 0..rows {
            writer.append(partition(topic, 0), 1).await;
        }
        let clock = Arc::clone(&cluster.ports.clock);
        let began = clock.now();
        one.member.stop().await;
        warm.leads().await;
        let standby = clock.now().since(began);
        warm.member.stop().await;
        let began = clock.now();
        let cold = cluster.start();
        cold.leads().await;
        let fresh = clock.now().since(began);
        println!("{rows} rows: take-over by a standby {standby:?}, by a new process {fresh:?}");
        cold.member.stop().await;
        assert!(standby < Duration::from_secs(5), "{standby:?}");
    }
}
