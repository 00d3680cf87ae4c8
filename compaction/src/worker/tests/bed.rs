//! A leader, an agent and a bucket in memory, on virtual time.

use std::{sync::Arc, time::Duration};

use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    block::BlockCompression,
    codec::Codec,
    ids::{
        CommitNumber, LeaderTerm, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex,
        ProducerEpoch, ProducerId, Sequence, TopicId,
    },
    key::object_key,
    object::ObjectBuilder,
};
use aquifer_metadata::{
    Leader, LeaderSettings, LocalMetadata, journal::memory::MemoryJournal, planner::PlannerSettings,
};
use aquifer_metadata_api::{
    CommitChannel, Metadata, Upkeep,
    commit::{BatchOutcome, BatchSummary, Commit, CommitCall, Run},
    extent::Extent,
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
    locate::{LocatePartition, LocateRequest, Located},
    register::{AgentAddress, RegisterRequest, Registration},
    upkeep::{Inputs, Job, JobKind, JobToken, ListedObject, ObjectsRequest, WorkerId},
};
use aquifer_store::{ObjectStore, Ports, PutMode};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
        DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use tokio::sync::watch;

use super::probe::Probe;
use crate::worker::{JobLease, Source, Worker, WorkerSettings};

/// A batch as readers get it: base offset, end offset, bytes.
pub(super) type Read = (i64, i64, Bytes);

pub(super) struct Bed {
    pub(super) ports: Ports,
    pub(super) store: Arc<Probe>,
    pub(super) metadata: Arc<LocalMetadata>,
    _leader: Leader,
    registration: Registration,
    channel: CommitChannel,
    next: u64,
}

impl Bed {
    pub(super) async fn new(planner: PlannerSettings) -> Self {
        let ports = Ports::simulated(11, 1_704_067_200_000);
        let store = Arc::new(Probe::default());
        let journal = Arc::new(MemoryJournal::new(Arc::clone(&ports.clock)));
        let settings = LeaderSettings {
            planner,
            ..LeaderSettings::default()
        };
        let leader = Leader::start(journal, ports.clone(), settings).await;
        let leader = leader.expect("the leader starts");
        let metadata = leader.metadata();
        let agent = AgentAddress {
            host: "agent".to_owned(),
            port: 9092,
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        };
        let registration = metadata
            .register(RegisterRequest::new(agent))
            .await
            .unwrap();
        let channel = metadata.commits(registration.session).await.unwrap();
        Self {
            ports,
            store,
            metadata,
            _leader: leader,
            registration,
            channel,
            next: 1,
        }
    }

    async fn call<Q: Encodable, R: Decodable>(&self, api: LeaderApi, request: &Q) -> R {
        let version = pinned_version(api);
        let envelope = Envelope {
            client_api_key: api.api_key(),
            client_api_version: version,
            principal: String::new(),
            client_id: String::new(),
            host: String::new(),
            zone: String::new(),
            listener: String::new(),
            deadline_ms: 1_000,
            call_id: 0,
        };
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let call = KafkaCall {
            api,
            envelope,
            body: body.freeze(),
        };
        let mut answer = self.metadata.kafka(call).await.unwrap();
        R::decode(&mut answer, version).unwrap()
    }

    pub(super) async fn topic(
        &self,
        name: &'static str,
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) -> TopicId {
        let config = |(name, value): &(&'static str, &'static str)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_static_str(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_timeout_ms(1_000)
            .with_topics(vec![topic]);
        let response: CreateTopicsResponse = self.call(LeaderApi::CreateTopics, &request).await;
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        TopicId(response.topics[0].topic_id)
    }

    pub(super) async fn delete_topic(&self, name: &'static str) {
        let name = Some(TopicName(StrBytes::from_static_str(name)));
        let state = DeleteTopicState::default().with_name(name);
        let request = DeleteTopicsRequest::default()
            .with_timeout_ms(1_000)
            .with_topics(vec![state]);
        let response: DeleteTopicsResponse = self.call(LeaderApi::DeleteTopics, &request).await;
        assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    }

    pub(super) async fn delete_records(&self, name: &'static str, index: i32, offset: i64) {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(index)
            .with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(1_000);
        let response: DeleteRecordsResponse = self.call(LeaderApi::DeleteRecords, &request).await;
        let error_code = response.topics[0].partitions[0].error_code;
        assert_eq!(error_code, 0, "{response:?}");
    }

    /// Uploads and commits an object of these runs, sorted by partition; says what became of its batches.
    pub(super) async fn write(
        &mut self,
        runs: Vec<(PartitionId, Vec<RecordBatch>)>,
    ) -> Vec<BatchOutcome> {
        let number = CommitNumber(self.next);
        self.next += 1;
        let object = ObjectId {
            incarnation: self.registration.incarnation,
            upload_epoch: self.registration.upload_epoch,
            writer: self.registration.slot,
            level: ObjectLevel::L0,
            unique: number.0,
        };
        let cluster = self.registration.cluster;
        let mut builder = ObjectBuilder::new(cluster, object, BlockCompression::default());
        for (partition, batches) in &runs {
            builder.add_run(*partition, batches).unwrap();
        }
        let built = builder.finish().unwrap();
        let key = object_key(cluster, &object);
        let put = self.store.put(&key, built.payload, PutMode::Create).await;
        put.unwrap();
        let runs = built
            .runs
            .iter()
            .zip(&runs)
            .map(|(built, (_, batches))| Run {
                partition: built.partition,
                position: built.position,
                stored_bytes: built.stored_bytes,
                batches: batches.iter().map(summary).collect(),
            });
        let commit = Commit {
            number,
            answered_through: CommitNumber(0),
            object,
            object_bytes: built.bytes,
            locations: vec![0],
            runs: runs.collect(),
        };
        let call = CommitCall::Commit(commit);
        self.channel.calls.send(call).await.unwrap();
        loop {
            let answer = self.channel.answers.recv().await.unwrap().unwrap();
            if answer.number == number {
                let outcomes = answer.outcomes.into_iter();
                return outcomes.map(|(_, outcome)| outcome).collect();
            }
        }
    }

    pub(super) async fn located(&self, partition: PartitionId, from: Offset) -> Option<Located> {
        let request = LocateRequest {
            partitions: vec![LocatePartition {
                partition,
                from,
                max_bytes: u64::MAX,
            }],
        };
        let mut reply = self.metadata.locate(request).await.unwrap();
        reply.partitions.remove(0)
    }

    /// All extents from the log start on.
    pub(super) async fn extents(&self, partition: PartitionId) -> Vec<Extent> {
        let Some(first) = self.located(partition, Offset(0)).await else {
            return Vec::new();
        };
        let mut from = first.watermarks.log_start;
        let mut extents = Vec::new();
        loop {
            let located = self.located(partition, from).await.unwrap();
            let Some(last) = located.extents.last() else {
                return extents;
            };
            from = last.end_offset;
            extents.extend(located.extents);
        }
    }

    /// A source of readers, which has no job.
    pub(super) async fn source(&self, memory_bytes: usize) -> Source {
        let page = self.page().await;
        let job = Job {
            token: JobToken {
                term: LeaderTerm(0),
                number: 0,
            },
            lease: Duration::from_secs(30),
            cluster: page.0,
            incarnation: self.registration.incarnation,
            upload_epoch: self.registration.upload_epoch,
            kind: JobKind::Delete {
                objects: Vec::new(),
            },
        };
        let lease = JobLease::new(
            job,
            WorkerId(1),
            Arc::clone(&self.metadata) as Arc<dyn Upkeep>,
            self.ports.clone(),
            Arc::new(watch::Sender::new(None)),
        );
        Source::new(
            Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            lease,
            memory_bytes,
        )
    }

    /// Everything that a reader of the partition gets.
    pub(super) async fn log(&self, partition: PartitionId) -> Vec<Read> {
        let extents = self.extents(partition).await;
        let Some(located) = self.located(partition, Offset(0)).await else {
            return Vec::new();
        };
        let inputs = Inputs {
            partition,
            watermarks: located.watermarks,
            extents: Vec::new(),
            breaks: Vec::new(),
            last_records: Vec::new(),
        };
        let source = self.source(64 << 20).await;
        let mut run = source.run(&inputs, &extents);
        let mut read = Vec::new();
        while let Some(batch) = run.next().await.unwrap() {
            read.push((batch.base_offset.0, batch.end_offset.0, batch.batch.bytes));
        }
        read
    }

    async fn page(&self) -> (aquifer_format::ids::ClusterId, Vec<ListedObject>) {
        let request = ObjectsRequest {
            after: None,
            limit: 4_096,
        };
        let page = self.metadata.objects(request).await.unwrap();
        (page.cluster, page.objects)
    }

    /// What metadata knows of the bucket.
    pub(super) async fn objects(&self) -> Vec<ListedObject> {
        self.page().await.1
    }

    pub(super) fn key(&self, object: &ObjectId) -> String {
        object_key(self.registration.cluster, object)
    }

    pub(super) fn worker(&self, ports: &Ports, settings: WorkerSettings) -> Arc<Worker> {
        Worker::new(
            Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            Arc::clone(&self.metadata) as Arc<dyn Upkeep>,
            ports.clone(),
            settings,
        )
    }

    /// Works until there was nothing to do for longer than a lease and a look at all partitions take; says how
    /// many jobs there were.
    pub(super) async fn settle(&self) -> usize {
        let worker = self.worker(&self.ports, WorkerSettings::default());
        let (mut jobs, mut idle) = (0, 0);
        while idle < 90 {
            if worker.run_once().await.expect("the job is done") {
                (jobs, idle) = (jobs + 1, 0);
            } else {
                idle += 1;
                self.ports.sleep(Duration::from_secs(1)).await;
            }
        }
        jobs
    }
}

pub(super) fn partition(topic: TopicId, index: i32) -> PartitionId {
    PartitionId::new(topic, PartitionIndex(index))
}

fn summary(batch: &RecordBatch) -> BatchSummary {
    let header = &batch.header;
    BatchSummary {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        first_sequence: header.base_sequence,
        records: header.offsets(),
        bytes: u32::try_from(batch.bytes.len()).unwrap(),
        max_timestamp: header.max_timestamp,
    }
}

/// A batch of a plain producer.
pub(super) fn plain(codec: Codec, records: u64, seed: u64) -> RecordBatch {
    build(BatchBuilder::new(codec), records, seed)
}

/// A batch of an idempotent producer.
pub(super) fn sequenced(producer: i64, first: i32, records: u64) -> RecordBatch {
    let builder = BatchBuilder::new(Codec::None).producer(
        ProducerId(producer),
        ProducerEpoch(0),
        Sequence(first),
    );
    build(builder, records, u64::from(first.unsigned_abs()))
}

fn build(mut builder: BatchBuilder, records: u64, seed: u64) -> RecordBatch {
    for record in 0..records {
        let time = 1_704_067_200_000 + i64::try_from(seed * 100 + record).unwrap();
        let value = format!("record {record} of batch {seed}, as records are");
        builder.append(time, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

/// A batch of about this size that nothing compresses.
pub(super) fn random(bytes: usize, seed: u64) -> RecordBatch {
    let rand = aquifer_store::SeededRand::new(seed);
    let value: Vec<u8> = std::iter::repeat_with(|| aquifer_store::Rand::next_u64(&rand))
        .flat_map(u64::to_le_bytes)
        .take(bytes)
        .collect();
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(1_704_067_200_000, None, Some(&value), &[]);
    builder.build().unwrap()
}
