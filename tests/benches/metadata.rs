//! What the metadata service costs and bears, as a process on a real Postgres, printed; and beside it, in
//! the same Postgres, the shape that others use: a row per batch. Release build:
//! `cargo build --release --workspace && cargo bench -p aquifer-tests --bench metadata`
//!
//! `AQUIFER_BENCH_SECONDS` (default 10) is how long each part runs. Arguments choose parts: commits, rows,
//! take-over.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use aquifer_format::ids::{
    CommitNumber, ObjectId, ObjectLevel, PartitionId, PartitionIndex, ProducerEpoch, ProducerId,
    Sequence, TopicId,
};
use aquifer_metadata_api::{
    CommitChannel, Metadata,
    commit::{BatchOutcome, BatchSummary, Commit, CommitCall, Run},
    grpc::{GrpcMetadata, GrpcSettings},
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
    register::{AgentAddress, RegisterRequest, Registration},
    secret::ClusterSecret,
};
use aquifer_store::Ports;
use aquifer_tests::cluster::{Cluster, SECRET};
use bytes::BytesMut;
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, TopicName, create_topics_request::CreatableTopic,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

/// Partitions of each commit.
const PARTITIONS: u32 = 1_000;
/// Agents that commit at a time.
const AGENTS: u32 = 4;

fn seconds() -> u64 {
    std::env::var("AQUIFER_BENCH_SECONDS").map_or(10, |text| text.parse().expect("a number"))
}

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|c| c == part);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads");
    let mut cluster = Cluster::start(&[], 1, "none");
    let mut ours = None;
    if wanted("commits") {
        ours = Some(runtime.block_on(commits(&cluster)));
    }
    if wanted("rows") {
        let rows = row_per_batch(&cluster);
        println!("a row per batch: {rows:.0} partition-batches/s in the same Postgres");
        if let Some(ours) = ours {
            println!("ratio: {:.1} (aim: at least 20)", ours / rows);
        }
    }
    if wanted("take-over") {
        for rows in [100, 2_000, 20_000] {
            take_over(&runtime, &mut cluster, rows);
        }
    }
}

fn client(cluster: &Cluster) -> GrpcMetadata {
    let endpoint = format!("127.0.0.1:{}", cluster.metadata[0].port);
    let endpoint = endpoint.parse().expect("an address");
    let secret = ClusterSecret::new(SECRET).expect("long enough");
    GrpcMetadata::new(Ports::system(), GrpcSettings::new(vec![endpoint], secret))
}

async fn create_topic(metadata: &GrpcMetadata, name: &str) -> TopicId {
    let api = LeaderApi::CreateTopics;
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(name.to_owned())))
        .with_num_partitions(PARTITIONS.cast_signed())
        .with_replication_factor(-1);
    let version = pinned_version(api);
    let mut body = BytesMut::new();
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    request.encode(&mut body, version).expect("a small request");
    let call = KafkaCall {
        api,
        envelope: Envelope {
            client_api_key: 19,
            client_api_version: 7,
            principal: String::new(),
            client_id: String::new(),
            host: String::new(),
            zone: String::new(),
            listener: String::new(),
            deadline_ms: 10_000,
            call_id: 0,
        },
        body: body.freeze(),
    };
    let mut answer = metadata.kafka(call).await.expect("the leader answers");
    let created = CreateTopicsResponse::decode(&mut answer, version).expect("an answer");
    assert_eq!(created.topics[0].error_code, 0, "the topic is created");
    TopicId(created.topics[0].topic_id)
}

/// An agent that only commits.
struct Committer {
    agent: u32,
    registration: Registration,
    channel: CommitChannel,
    number: u64,
}

impl Committer {
    async fn start(metadata: &GrpcMetadata, agent: u32) -> Self {
        let request = RegisterRequest {
            previous_slot: None,
            agent: AgentAddress {
                host: format!("agent-{agent}"),
                port: 9092,
                node_ids: 1,
                zone: String::new(),
                peer: String::new(),
            },
            seen: None,
        };
        let registration = metadata.register(request).await.expect("it registers");
        let channel = metadata.commits(registration.session).await;
        Self {
            agent,
            channel: channel.expect("a stream"),
            registration,
            number: 0,
        }
    }

    /// One batch of an idempotent producer of its own per partition; the time until all are answered.
    async fn commit(&mut self, topic: TopicId, partitions: u32) -> Duration {
        self.number += 1;
        let first = i32::try_from((self.number - 1) * 50 % (1 << 30)).expect("small");
        let run = |n: u32| Run {
            partition: PartitionId::new(topic, PartitionIndex(n.cast_signed())),
            position: u64::from(n) * 8_000,
            stored_bytes: 8_000,
            batches: vec![BatchSummary {
                producer_id: ProducerId(i64::from(self.agent * PARTITIONS + n)),
                producer_epoch: ProducerEpoch(0),
                first_sequence: Sequence(first),
                records: 50,
                bytes: 7_900,
                max_timestamp: 1_704_067_200_000 + i64::from(n % 7),
            }],
        };
        let registration = &self.registration;
        let commit = Commit {
            number: CommitNumber(self.number),
            answered_through: CommitNumber(self.number - 1),
            object: ObjectId {
                incarnation: registration.incarnation,
                upload_epoch: registration.upload_epoch,
                writer: registration.slot,
                level: ObjectLevel::L0,
                unique: (registration.session.0 << 32) | self.number,
            },
            object_bytes: u64::from(partitions) * 8_000,
            locations: vec![0],
            runs: (0..partitions).map(run).collect(),
        };
        let begun = Instant::now();
        let sent = self.channel.calls.send(CommitCall::Commit(commit)).await;
        sent.expect("the stream is open");
        let answer = self.channel.answers.recv().await;
        let answer = answer.expect("an answer").expect("the leader leads on");
        let took = begun.elapsed();
        let appended = |(_, outcome): &(_, _)| matches!(outcome, BatchOutcome::Appended(_));
        assert!(
            answer.outcomes.iter().all(appended),
            "{:?}",
            answer.outcomes[0]
        );
        took
    }
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{what}: p50 {:.2?}, p99 {:.2?} ({} commits)",
        at(50),
        at(99),
        times.len()
    );
}

/// Partition-batches per second when as much as goes is committed.
async fn commits(cluster: &Cluster) -> f64 {
    let metadata = client(cluster);
    let topic = create_topic(&metadata, "bench").await;
    let mut committers = Vec::new();
    for agent in 0..AGENTS {
        committers.push(Committer::start(&metadata, agent).await);
    }
    let leader = &cluster.metadata[0];
    let mut alone = Vec::new();
    let until = Instant::now() + Duration::from_secs(seconds());
    while Instant::now() < until {
        alone.push(committers[0].commit(topic, PARTITIONS).await);
    }
    show(
        "one agent, one commit of 1,000 partitions at a time",
        &mut alone,
    );

    let journal = |name: &str| leader.metric(name, "");
    let bytes = journal("aquifer_metadata_journal_bytes_total");
    let rows = journal("aquifer_metadata_journal_rows_total");
    let cpu = leader.process.cpu();
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds());
    let tasks: Vec<_> = committers
        .into_iter()
        .map(|mut committer| {
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < until {
                    times.push(committer.commit(topic, PARTITIONS).await);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no panic"));
    }
    let took = begun.elapsed().as_secs_f64();
    let cpu = (leader.process.cpu() - cpu).as_secs_f64();
    let batches = f64::from(PARTITIONS) * f64::from(u32::try_from(times.len()).expect("few"));
    let bytes = journal("aquifer_metadata_journal_bytes_total") - bytes;
    let rows = journal("aquifer_metadata_journal_rows_total") - rows;
    show(
        "four agents, each one commit of 1,000 partitions at a time",
        &mut times,
    );
    println!(
        "{:.0} partition-batches/s; {:.2} CPU-us each in the metadata process (aim: at most 1.0); {:.1} journal \
         bytes each; {:.1} per row; {:.0} % of a core",
        batches / took,
        cpu * 1e6 / batches,
        bytes / batches,
        batches / rows,
        cpu / took * 100.0
    );
    batches / took
}

/// The shape of row-per-batch designs: a transaction per object, in which each batch checks and changes its
/// partition's and its producer's row and inserts one of its own.
const ROW_SHAPE: &str = "
CREATE TABLE logs (topic BIGINT, partition INT, high_watermark BIGINT NOT NULL, PRIMARY KEY (topic, partition));
CREATE TABLE producers (topic BIGINT, partition INT, producer BIGINT, epoch INT NOT NULL, sequence INT NOT NULL,
    PRIMARY KEY (topic, partition, producer));
CREATE TABLE objects (id BIGSERIAL PRIMARY KEY, bytes BIGINT NOT NULL);
CREATE TABLE batches (id BIGSERIAL PRIMARY KEY, topic BIGINT NOT NULL, partition INT NOT NULL,
    base BIGINT NOT NULL, last BIGINT NOT NULL, object BIGINT NOT NULL, position BIGINT NOT NULL, size INT NOT NULL,
    max_timestamp BIGINT NOT NULL);
CREATE INDEX ON batches (topic, partition, last);
CREATE INDEX ON batches (object);
CREATE FUNCTION commit_object(agent BIGINT, partitions INT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE new_object BIGINT; p INT; hw BIGINT; seen INT;
BEGIN
    INSERT INTO objects (bytes) VALUES (partitions * 8000) RETURNING id INTO new_object;
    FOR p IN 0 .. partitions - 1 LOOP
        SELECT high_watermark INTO hw FROM logs WHERE topic = 1 AND partition = p FOR UPDATE;
        SELECT sequence INTO seen FROM producers WHERE topic = 1 AND partition = p AND producer = agent;
        INSERT INTO producers VALUES (1, p, agent, 0, COALESCE(seen, -1) + 50)
            ON CONFLICT (topic, partition, producer) DO UPDATE SET sequence = EXCLUDED.sequence;
        INSERT INTO batches (topic, partition, base, last, object, position, size, max_timestamp)
            VALUES (1, p, hw, hw + 49, new_object, p * 8000, 8000, 0);
        UPDATE logs SET high_watermark = hw + 50 WHERE topic = 1 AND partition = p;
    END LOOP;
    RETURN new_object;
END $$;
";

/// Partition-batches per second of that shape, with as many clients.
fn row_per_batch(cluster: &Cluster) -> f64 {
    let postgres = &cluster.postgres;
    let database = postgres.create_database();
    postgres.sql(&database.name, ROW_SHAPE);
    postgres.sql(
        &database.name,
        &format!(
            "INSERT INTO logs SELECT 1, p, 0 FROM generate_series(0, {}) p",
            PARTITIONS - 1
        ),
    );
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let script = folder.path().join("commit.sql");
    let text = format!("SELECT commit_object(:client_id, {PARTITIONS});\n");
    std::fs::write(&script, text).expect("a written file");
    let output = Command::new(postgres.program("pgbench"))
        .args(["-n", "-h", "127.0.0.1", "-U", "postgres"])
        .args(["-p", &postgres.port().to_string()])
        .args([
            "-c",
            &AGENTS.to_string(),
            "-T",
            &seconds().to_string(),
            "-f",
        ])
        .arg(&script)
        .arg(&database.name)
        .output()
        .expect("pgbench comes with Postgres");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = rate.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    rate.expect("pgbench prints tps") * f64::from(PARTITIONS)
}

/// How long a process that starts takes to serve, with so many rows more in the journal.
fn take_over(runtime: &tokio::runtime::Runtime, cluster: &mut Cluster, rows: u64) {
    runtime.block_on(async {
        let metadata = client(cluster);
        let topic = create_topic(&metadata, &format!("take-over-{rows}")).await;
        let mut committer =
            Committer::start(&metadata, 1_000 + u32::try_from(rows).expect("few")).await;
        for _ in 0..rows {
            committer.commit(topic, 10).await;
        }
    });
    let member = &mut cluster.metadata[0];
    assert_eq!(member.process.terminate(), Some(0));
    let newest = cluster.postgres.sql(
        &cluster.database.name,
        "SELECT (SELECT count(*) FROM journal_a) + (SELECT count(*) FROM journal_b)",
    );
    let begun = Instant::now();
    cluster.metadata[0].process.spawn();
    cluster.wait_for_leader();
    println!(
        "{rows} rows later: a process serves {:.2?} after its start, with {newest} rows in the journal",
        begun.elapsed()
    );
}
