//! Metadata processes on a real Postgres: take-overs, crashes, a read-only server, a database that went
//! back in time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a real server runs on real time")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aquifer_format::ids::{
    CommitNumber, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, TopicId,
};
use aquifer_metadata::{
    LeaderSettings, LocalMetadata, Member, MemberSettings, Role,
    accept_loss::{AcceptSettings, accept_loss},
    journal::{
        Journal, JournalError,
        postgres::{PostgresJournal, PostgresSettings},
    },
    state::Budgets,
    status::{Problem, status},
};
use aquifer_metadata_api::{
    Metadata,
    commit::{BatchOutcome, BatchSummary, Commit, CommitCall, Run},
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
    locate::{LocatePartition, LocateRequest},
    register::{AgentAddress, RegisterRequest},
};
use aquifer_store::{ObjectStore, Ports, Tasks, memory::MemoryStore};
use bytes::BytesMut;
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, TopicName, create_topics_request::CreatableTopic,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use postgres::{Database, PostgresServer};

#[path = "support/postgres.rs"]
mod postgres;

struct Cluster {
    server: PostgresServer,
    database: Database,
    store: Arc<dyn ObjectStore>,
    ports: Ports,
}

struct Process {
    member: Member,
    tasks: Tasks,
}

impl Cluster {
    fn new() -> Self {
        let server = PostgresServer::start();
        Self {
            database: server.create_database(),
            server,
            store: Arc::new(MemoryStore::new()),
            ports: Ports::system(),
        }
    }

    fn settings(&self) -> PostgresSettings {
        PostgresSettings::new(self.database.url.clone())
    }

    async fn journal(&self) -> Arc<dyn Journal> {
        let journal = PostgresJournal::connect(self.settings(), self.ports.clone()).await;
        Arc::new(journal.unwrap())
    }

    async fn start(&self, name: &str) -> Process {
        let ports = self.ports.another_node();
        let settings = MemberSettings {
            leader: LeaderSettings {
                endpoint: name.to_owned(),
                ..LeaderSettings::default()
            },
            ..MemberSettings::default()
        };
        let store = Arc::clone(&self.store);
        Process {
            member: Member::start(self.journal().await, store, &ports, settings),
            tasks: ports.tasks,
        }
    }

    async fn problem(&self) -> Option<Problem> {
        let journal = self.journal().await;
        let status = status(&*journal, &*self.store, Budgets::default()).await;
        status.unwrap().problem
    }
}

impl Process {
    async fn wait(&self, wanted: impl Fn(&Role) -> bool) -> Role {
        let mut role = self.member.role();
        let waiting = role.wait_for(wanted);
        let waited = Ports::system()
            .timeout(Duration::from_secs(60), waiting)
            .await;
        waited.expect("it comes within a minute").unwrap().clone()
    }

    async fn leads(&self) -> Arc<LocalMetadata> {
        match self.wait(Role::is_leader).await {
            Role::Leader(metadata) => metadata,
            other => panic!("{other:?}"),
        }
    }

    async fn stands_by(&self) {
        self.wait(|role| matches!(role, Role::Standby { leader: Some(_) }))
            .await;
    }

    async fn refuses(&self) {
        self.wait(|role| matches!(role, Role::Refusing { .. }))
            .await;
    }

    fn leader(&self) -> Option<Arc<LocalMetadata>> {
        match &*self.member.role().borrow() {
            Role::Leader(metadata) => Some(Arc::clone(metadata)),
            _ => None,
        }
    }
}

async fn create_topic(metadata: &LocalMetadata) -> PartitionId {
    let api = LeaderApi::CreateTopics;
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_num_partitions(1)
        .with_replication_factor(-1);
    let mut body = BytesMut::new();
    let version = pinned_version(api);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    request.encode(&mut body, version).unwrap();
    let envelope = Envelope {
        client_api_key: 19,
        client_api_version: 7,
        principal: String::new(),
        client_id: String::new(),
        host: String::new(),
        zone: String::new(),
        listener: String::new(),
        deadline_ms: 1_000,
        call_id: 0,
    };
    let call = KafkaCall {
        api,
        envelope,
        body: body.freeze(),
    };
    let mut answer = metadata.kafka(call).await.unwrap();
    let created = CreateTopicsResponse::decode(&mut answer, version).unwrap();
    PartitionId::new(TopicId(created.topics[0].topic_id), PartitionIndex(0))
}

/// Registers, and commits `count` batches of one record, one after the other; their offsets. An error
/// ends it.
async fn append(metadata: &LocalMetadata, to: PartitionId, count: u64) -> Result<Vec<i64>, String> {
    let request = RegisterRequest {
        previous_slot: None,
        agent: AgentAddress {
            host: "agent".to_owned(),
            port: 9092,
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        },
        seen: None,
    };
    let registered = metadata
        .register(request)
        .await
        .map_err(|e| e.to_string())?;
    let opened = metadata.commits(registered.session).await;
    let mut channel = opened.map_err(|e| e.to_string())?;
    let mut offsets = Vec::new();
    for number in 1..=count {
        let commit = Commit {
            number: CommitNumber(number),
            answered_through: CommitNumber(number - 1),
            object: ObjectId {
                incarnation: registered.incarnation,
                upload_epoch: registered.upload_epoch,
                writer: registered.slot,
                level: ObjectLevel::L0,
                unique: registered.session.0 << 32 | number,
            },
            object_bytes: 1_000,
            locations: vec![0],
            runs: vec![Run {
                partition: to,
                position: 8,
                stored_bytes: 500,
                batches: vec![BatchSummary {
                    producer_id: ProducerId::NONE,
                    producer_epoch: ProducerEpoch::NONE,
                    first_sequence: Sequence::NONE,
                    records: 1,
                    bytes: 100,
                    max_timestamp: 5,
                }],
            }],
        };
        let sent = channel.calls.send(CommitCall::Commit(commit)).await;
        sent.map_err(|_| "the stream broke".to_owned())?;
        match channel.answers.recv().await {
            Some(Ok(answer)) => match answer.outcomes[0].1 {
                BatchOutcome::Appended(placement) => offsets.push(placement.base_offset.0),
                other => return Err(format!("{other:?}")),
            },
            Some(Err(error)) => return Err(error.to_string()),
            None if offsets.is_empty() => return Err("the stream ended".to_owned()),
            // what was answered counts
            None => return Ok(offsets),
        }
    }
    Ok(offsets)
}

async fn end(metadata: &LocalMetadata, partition: PartitionId) -> i64 {
    let wanted = LocatePartition {
        partition,
        from: Offset(0),
        max_bytes: 1,
    };
    let request = LocateRequest {
        partitions: vec![wanted],
    };
    let reply = metadata.locate(request).await.unwrap();
    let located = reply.partitions[0].clone().unwrap();
    located.watermarks.high_watermark.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_and_a_crash_of_the_server_ends_nobody() {
    let cluster = Cluster::new();
    let one = cluster.start("one").await;
    let metadata = one.leads().await;
    let two = cluster.start("two").await;
    two.stands_by().await;
    let to = create_topic(&metadata).await;
    let offsets = append(&metadata, to, 50).await.unwrap();
    assert_eq!(offsets, (0..50).collect::<Vec<i64>>());
    let began = Instant::now();
    one.member.stop().await;
    let metadata = two.leads().await;
    let took = began.elapsed();
    println!("take-over on a stop: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(end(&metadata, to).await, 50);

    let three = cluster.start("three").await;
    three.stands_by().await;
    let began = Instant::now();
    two.tasks.kill();
    let metadata = three.leads().await;
    let took = began.elapsed();
    println!("take-over on a death: {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");

    // the server dies at once, while rows are written
    let four = cluster.start("four").await;
    four.stands_by().await;
    let writing = append(&metadata, to, 1_000_000);
    let crash = async {
        cluster.ports.sleep(Duration::from_secs(1)).await;
        cluster.server.crash();
        cluster.ports.sleep(Duration::from_secs(2)).await;
        cluster.server.restart();
        cluster.ports.sleep(Duration::from_secs(4)).await;
    };
    let writing = async {
        // it ends if the server was away for longer than the lease, as it may be on a busy machine
        let _ = writing.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = writing => {}
        () = crash => {}
    }
    let metadata = tokio::select! {
        metadata = three.leads() => metadata,
        metadata = four.leads() => metadata,
    };
    let leaders = [&three, &four].map(Process::leader);
    assert_eq!(leaders.iter().flatten().count(), 1, "one leads");
    let before = end(&metadata, to).await;
    let offsets = append(&metadata, to, 5).await.unwrap();
    // (what was sent last before the writer was dropped may have come in between)
    assert!(offsets[0] >= before && before > 50, "{before} {offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_waited_for() {
    let cluster = Cluster::new();
    let one = cluster.start("one").await;
    let metadata = one.leads().await;
    let two = cluster.start("two").await;
    two.stands_by().await;
    let to = create_topic(&metadata).await;
    append(&metadata, to, 5).await.unwrap();
    cluster.server.set("default_transaction_read_only", "on");
    let during = append(&metadata, to, 1);
    let during = cluster.ports.timeout(Duration::from_secs(6), during).await;
    assert!(!matches!(during, Some(Ok(_))), "{during:?}");
    cluster.server.set("default_transaction_read_only", "off");
    let began = Instant::now();
    loop {
        let leader = one.leader().or_else(|| two.leader());
        if let Some(leader) = leader
            && append(&leader, to, 3).await.is_ok()
        {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "nobody serves");
        cluster.ports.sleep(Duration::from_millis(100)).await;
    }
    println!(
        "served {:?} after the server took writes again",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_went_back_is_served_by_nobody_until_the_loss_is_accepted() {
    let cluster = Cluster::new();
    let one = cluster.start("one").await;
    let metadata = one.leads().await;
    let two = cluster.start("two").await;
    two.stands_by().await;
    let to = create_topic(&metadata).await;
    append(&metadata, to, 20).await.unwrap();
    cluster.server.crash();
    let copy = cluster.server.copy();
    cluster.server.restart();
    let leader = loop {
        if let Some(leader) = one.leader().or_else(|| two.leader())
            && append(&leader, to, 1).await.is_ok()
        {
            break leader;
        }
        cluster.ports.sleep(Duration::from_millis(100)).await;
    };
    let shown = *append(&leader, to, 200).await.unwrap().last().unwrap();
    // the standby reads them
    cluster.ports.sleep(Duration::from_secs(1)).await;
    cluster.server.crash();
    cluster.server.put_back(&copy);
    cluster.server.restart();
    one.refuses().await;
    two.refuses().await;
    let three = cluster.start("three").await;
    three.refuses().await;
    let problem = cluster.problem().await;
    assert!(matches!(problem, Some(Problem::LostRows(_))), "{problem:?}");
    let settings = AcceptSettings::default();
    let accepted = accept_loss(
        cluster.journal().await,
        Arc::clone(&cluster.store),
        &cluster.ports,
        &settings,
    );
    let accepted = accepted.await.unwrap();
    println!("accepted: {accepted:?}");
    let began = Instant::now();
    let leader = loop {
        let leaders = [&one, &two, &three].map(Process::leader);
        if let Some(leader) = leaders.into_iter().flatten().next() {
            break leader;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "nobody leads");
        cluster.ports.sleep(Duration::from_millis(100)).await;
    };
    let offsets = append(&leader, to, 3).await.unwrap();
    assert!(offsets[0] > shown + 1_000_000, "{offsets:?} after {shown}");
    assert_eq!(cluster.problem().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_on_a_marked_bucket_is_refused() {
    let mut cluster = Cluster::new();
    let one = cluster.start("one").await;
    one.leads().await;
    one.member.stop().await;
    cluster.database = cluster.server.create_database();
    let two = cluster.start("two").await;
    two.refuses().await;
    let problem = cluster.problem().await;
    assert!(matches!(problem, Some(Problem::Bucket(_))), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_may_not_change_the_schema_says_what_to_run() {
    let cluster = Cluster::new();
    let checking = PostgresSettings {
        migrate: false,
        ..cluster.settings()
    };
    let refused = PostgresJournal::connect(checking.clone(), cluster.ports.clone()).await;
    match refused {
        Err(JournalError::Unusable { reason }) => {
            assert!(reason.contains("aquifer metadata migrate"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..2 {
        let migrated = PostgresJournal::migrate(cluster.settings(), cluster.ports.clone()).await;
        assert_eq!(migrated.unwrap(), 1);
    }
    let opened = PostgresJournal::connect(checking, cluster.ports.clone()).await;
    assert!(opened.is_ok(), "{opened:?}");
}
