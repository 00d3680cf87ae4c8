//! What history costs who reads it: from objects as agents wrote them, merged once, merged twice; and what merging
//! costs. Everything is the product's own but the writer, which commits as an agent does, with less ado.

#![allow(clippy::disallowed_methods, reason = "CPU and time are real here")]

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use aquifer_compaction::{Worker, WorkerSettings};
use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    block::BlockCompression,
    codec::Codec,
    ids::{CommitNumber, ObjectId, ObjectLevel, PartitionId, PartitionIndex, TopicId},
    key::object_key,
    limits::LIVE_OBJECTS_MAX,
    object::ObjectBuilder,
};
use aquifer_metadata::{LeaderSettings, planner::PlannerSettings};
use aquifer_metadata_api::{
    CommitChannel, Metadata, Upkeep,
    commit::{BatchOutcome, BatchSummary, Commit, CommitCall, Run},
    register::{AgentAddress, RegisterRequest, Registration},
    upkeep::{ListedObject, ObjectsRequest},
};
use aquifer_store::{ObjectStore, PutMode, Rand, SeededRand};
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, create_topics_request::CreatableTopic,
};

use crate::{
    fetch::{self, Ask},
    virtual_cluster::VirtualCluster,
    wire::topic_name,
};

const TOPIC: &str = "history";
/// Different batches: so many that no run has one twice.
const BATCHES: u64 = 4_096;
/// Looks without a job after which there is none: some looks at all partitions, and a lease of a leader before.
const IDLE: u32 = 60;
const GB: f64 = 1e9;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Partitions, each of which has a batch in every object.
    pub partitions: i32,
    /// Objects that agents write; a multiple of `fan_in`.
    pub flushes: u64,
    /// Bytes of a record's value, half of which is noise to compression.
    pub record_bytes: usize,
    /// Objects that are merged at once.
    pub fan_in: usize,
    /// Partitions that are read.
    pub read_partitions: i32,
}

/// What one level costs.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Extents per partition.
    pub extents: f64,
    /// GETs per GB (10^9 bytes of batches) for who reads a partition from its beginning to its end.
    pub gets_per_gb: f64,
    /// Bytes that are fetched per byte of batches.
    pub fetched_per_byte: f64,
    /// Objects that are live.
    pub objects: usize,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// From objects of level 0, 1, 2.
    pub rows: [Row; 3],
    /// Bytes of the objects that agents wrote.
    pub ingested_bytes: u64,
    /// Bytes of the objects that compactors wrote.
    pub written_bytes: u64,
    /// CPU time of all of this process while compactors worked (the leader's and the bucket's are in it).
    pub cpu: Duration,
    /// The time that took.
    pub took: Duration,
    /// By how much the process grew meanwhile at most, in bytes.
    pub grew_bytes: u64,
}

impl Measured {
    /// Bytes that compactors wrote per byte that agents wrote.
    #[must_use]
    pub fn written_per_byte(&self) -> f64 {
        ratio(self.written_bytes, self.ingested_bytes)
    }

    /// CPU seconds per GB that agents wrote.
    #[must_use]
    pub fn cpu_seconds_per_gb(&self) -> f64 {
        self.cpu.as_secs_f64() * GB / float(self.ingested_bytes)
    }
}

fn float(number: u64) -> f64 {
    number as f64
}

fn ratio(of: u64, to: u64) -> f64 {
    float(of) / float(to.max(1))
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "level | extents per partition | GETs per GB | fewer | bytes fetched per byte | objects"
        )?;
        let before = self.rows[0].gets_per_gb;
        for (level, row) in self.rows.iter().enumerate() {
            writeln!(
                out,
                "L{level} | {:.1} | {:.0} | {:.0} | {:.2} | {}",
                row.extents,
                row.gets_per_gb,
                before / row.gets_per_gb,
                row.fetched_per_byte,
                row.objects
            )?;
        }
        write!(
            out,
            "{:.2} GB ingested; {:.2} bytes written per byte, {:.2} CPU seconds per GB, {:.1?}, {} MiB more memory",
            float(self.ingested_bytes) / GB,
            self.written_per_byte(),
            self.cpu_seconds_per_gb(),
            self.took,
            self.grew_bytes >> 20
        )
    }
}

/// Nothing ages, and small objects are merged once there are `fan_in`; merged extents only if `again`.
fn settings(shape: Shape, again: bool) -> LeaderSettings {
    let planner = PlannerSettings {
        small_objects: shape.fan_in,
        small_objects_min: shape.fan_in,
        merged_extents: if again { 8 } else { usize::MAX },
        merged_bytes: u64::MAX,
        merged_age_epochs: 1_000,
        ..PlannerSettings::default()
    };
    LeaderSettings {
        planner,
        upload_epoch: Duration::from_secs(1 << 20),
        ..LeaderSettings::default()
    }
}

/// Writes, reads, merges, reads, merges again and reads.
///
/// # Panics
/// If anything does not go as it should.
pub async fn measure(shape: Shape, bucket: Arc<dyn ObjectStore>) -> Measured {
    let mut cluster = VirtualCluster::new(bucket);
    cluster.lead(settings(shape, false)).await;
    let raw_bytes = Box::pin(write(&cluster, shape)).await;
    let small = Box::pin(look(&cluster, shape, raw_bytes)).await;
    let ingested_bytes = sum(&objects(&cluster).await, |level| level == ObjectLevel::L0);

    let resident = memory("VmRSS:");
    forget_peak();
    let first = Box::pin(merge(&cluster)).await;
    let merged = Box::pin(look(&cluster, shape, raw_bytes)).await;

    cluster.lead(settings(shape, true)).await;
    let second = Box::pin(merge(&cluster)).await;
    let grew_bytes = memory("VmHWM:").saturating_sub(resident);
    let merged_twice = Box::pin(look(&cluster, shape, raw_bytes)).await;

    let written = objects(&cluster).await;
    Measured {
        rows: [small, merged, merged_twice],
        ingested_bytes,
        written_bytes: sum(&written, |level| level != ObjectLevel::L0),
        cpu: first.0 + second.0,
        took: first.1 + second.1,
        grew_bytes,
    }
}

/// Works until there is nothing to do; says how much CPU and time that took.
async fn merge(cluster: &VirtualCluster) -> (Duration, Duration) {
    let (cpu_before, began) = (cpu(), Instant::now());
    let worker: Arc<Worker> = cluster.worker(WorkerSettings::default());
    let mut idle = 0;
    while idle < IDLE {
        if Box::pin(worker.run_once()).await.expect("the job is done") {
            idle = 0;
        } else {
            idle += 1;
            cluster.ports.sleep(Duration::from_secs(1)).await;
        }
    }
    (cpu().saturating_sub(cpu_before), began.elapsed())
}

/// All objects, released ones, too: nothing is deleted as long as nothing ages.
async fn objects(cluster: &VirtualCluster) -> Vec<ListedObject> {
    let metadata = cluster.metadata();
    let mut all: Vec<ListedObject> = Vec::new();
    loop {
        let request = ObjectsRequest {
            after: all.last().map(|object| object.id),
            limit: LIVE_OBJECTS_MAX,
        };
        let page = metadata.objects(request).await.expect("it leads").objects;
        let last = page.len() < LIVE_OBJECTS_MAX;
        all.extend(page);
        if last {
            return all;
        }
    }
}

fn sum(objects: &[ListedObject], level: impl Fn(ObjectLevel) -> bool) -> u64 {
    let of_level = objects.iter().filter(|object| level(object.id.level));
    of_level.map(|object| object.bytes).sum()
}

/// Reads some partitions, each through an agent that has cached nothing.
async fn look(cluster: &VirtualCluster, shape: Shape, raw_bytes: u64) -> Row {
    let live = objects(cluster).await;
    let live = live.iter().filter(|object| object.released_in.is_none());
    let (objects, references) = live.fold((0, 0), |(objects, references), object| {
        (objects + 1, references + u64::from(object.references))
    });
    let (mut gets, mut fetched) = (0, 0);
    let step = (shape.partitions / shape.read_partitions).max(1);
    for partition in (0..shape.read_partitions).map(|nth| nth * step) {
        let mut agent = cluster.agent().await;
        cluster.store.take_gets();
        let ask = Ask {
            partition_max_bytes: 8 << 20,
            ..Ask::default()
        };
        let end = i64::try_from(shape.flushes).expect("few");
        let mut position = 0;
        while position < end {
            let request = fetch::request(TOPIC, &[(partition, position)], ask);
            let response = agent.call::<FetchRequest>(12, &request).await;
            let data = fetch::partition(&response, partition);
            assert_eq!(data.error_code, 0, "{partition} at {position}");
            for batch in fetch::batches(data) {
                if batch.header.last_offset().0 >= position {
                    assert_eq!(batch.header.base_offset.0, position, "a gap");
                    position = batch.header.last_offset().0 + 1;
                }
            }
        }
        let counted = cluster.store.take_gets();
        (gets, fetched) = (gets + counted.0, fetched + counted.1);
        agent.kill();
    }
    let partitions = u64::from(shape.partitions.unsigned_abs());
    let raw_read = raw_bytes / partitions * u64::from(shape.read_partitions.unsigned_abs());
    Row {
        extents: ratio(references, partitions),
        gets_per_gb: ratio(gets, raw_read) * GB,
        fetched_per_byte: ratio(fetched, raw_read),
        objects,
    }
}

/// Creates the topic and writes all objects; says how many bytes of batches they have.
async fn write(cluster: &VirtualCluster, shape: Shape) -> u64 {
    let mut agent = cluster.agent().await;
    let topic = CreatableTopic::default()
        .with_name(topic_name(TOPIC))
        .with_num_partitions(shape.partitions)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let created = agent.call(7, &request).await;
    assert_eq!(created.topics[0].error_code, 0);
    let topic = TopicId(created.topics[0].topic_id);
    agent.kill();
    let batches: Vec<RecordBatch> = (0..BATCHES).map(|seed| batch(shape, seed)).collect();
    let mut writer = Writer::new(cluster).await;
    let mut raw_bytes = 0;
    for flush in 0..shape.flushes {
        let of = |partition: i32| {
            let nth = flush * 31 + u64::from(partition.unsigned_abs()) * 7;
            let nth = usize::try_from(nth % BATCHES).expect("few");
            let id = PartitionId::new(topic, PartitionIndex(partition));
            (id, batches[nth].clone())
        };
        let runs: Vec<_> = (0..shape.partitions).map(of).collect();
        raw_bytes += runs
            .iter()
            .map(|(_, batch)| u64::try_from(batch.bytes.len()).expect("small"))
            .sum::<u64>();
        writer.write(cluster, &runs).await;
    }
    raw_bytes
}

/// A record of hexadecimal digits.
fn batch(shape: Shape, seed: u64) -> RecordBatch {
    let random = SeededRand::new(seed);
    let mut value = String::new();
    while value.len() < shape.record_bytes {
        value.push_str(&format!("{:016x}", random.next_u64()));
    }
    value.truncate(shape.record_bytes);
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    builder.build().expect("a small batch")
}

/// Writes and commits objects.
struct Writer {
    registration: Registration,
    channel: CommitChannel,
    next: u64,
}

impl Writer {
    async fn new(cluster: &VirtualCluster) -> Self {
        let address = AgentAddress {
            host: "writer".to_owned(),
            port: 9092,
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        };
        let metadata = cluster.metadata();
        let registered = metadata.register(RegisterRequest::new(address)).await;
        let registration = registered.expect("it leads");
        let channel = metadata.commits(registration.session).await;
        Self {
            channel: channel.expect("a session of its own"),
            registration,
            next: 1,
        }
    }

    async fn write(&mut self, cluster: &VirtualCluster, runs: &[(PartitionId, RecordBatch)]) {
        let number = CommitNumber(self.next);
        self.next += 1;
        let object = ObjectId {
            incarnation: self.registration.incarnation,
            upload_epoch: self.registration.upload_epoch,
            writer: self.registration.slot,
            level: ObjectLevel::L0,
            unique: number.0,
        };
        let of = self.registration.cluster;
        let mut builder = ObjectBuilder::new(of, object, BlockCompression::default());
        for (partition, batch) in runs {
            let added = builder.add_run(*partition, std::slice::from_ref(batch));
            added.expect("a small run");
        }
        let built = builder.finish().expect("a small object");
        let key = object_key(of, &object);
        let put = cluster.store.put(&key, built.payload, PutMode::Create);
        put.await.expect("a bucket that takes it");
        let summaries = runs.iter().map(|(_, batch)| summary(batch));
        let runs = built.runs.iter().zip(summaries).map(|(built, batch)| Run {
            partition: built.partition,
            position: built.position,
            stored_bytes: built.stored_bytes,
            batches: vec![batch],
        });
        let commit = Commit {
            number,
            answered_through: CommitNumber(number.0 - 1),
            object,
            object_bytes: built.bytes,
            locations: vec![0],
            runs: runs.collect(),
        };
        let call = CommitCall::Commit(commit);
        self.channel.calls.send(call).await.expect("it leads");
        loop {
            let answer = self.channel.answers.recv().await.expect("it leads");
            let answer = answer.expect("the session goes on");
            if answer.number == number {
                let good = |outcome: &BatchOutcome| matches!(outcome, BatchOutcome::Appended(_));
                assert!(answer.outcomes.iter().all(|(_, outcome)| good(outcome)));
                return;
            }
        }
    }
}

fn summary(batch: &RecordBatch) -> BatchSummary {
    let header = &batch.header;
    BatchSummary {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        first_sequence: header.base_sequence,
        records: header.offsets(),
        bytes: u32::try_from(batch.bytes.len()).expect("small"),
        max_timestamp: header.max_timestamp,
    }
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let after_name = text.rsplit(')').next().expect("a name in parentheses");
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// A line of this process's status, in bytes.
fn memory(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = text.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number") * 1024
}

/// Lets the peak begin anew, where the system allows that.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
