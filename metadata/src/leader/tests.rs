//! A whole leader on the memory journal, in virtual time.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{
    CommitNumber, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, TopicId,
};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError,
    commit::{BatchOutcome, BatchSummary, Commit, CommitAnswer, CommitCall, Run},
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
    locate::{LocatePartition, LocateRequest, Located},
    register::{AgentAddress, RegisterRequest, Registration},
};
use aquifer_store::Ports;
use bytes::BytesMut;
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, TopicName, create_topics_request::CreatableTopic,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use super::{Leader, LeaderSettings};
use crate::{
    LocalMetadata,
    journal::{
        Journal,
        memory::{MemoryJournal, MemorySwitches},
    },
};

mod administration;
mod durability;
mod failures;
mod groups;
mod kill;
mod watchers;

/// A leader, its journal and the handle to break that.
pub(crate) struct World {
    pub(crate) ports: Ports,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) switches: MemorySwitches,
    pub(crate) leader: Leader,
    pub(crate) metadata: Arc<LocalMetadata>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let ports = Ports::simulated(7, 1_704_067_200_000);
        let journal = MemoryJournal::new(Arc::clone(&ports.clock));
        let switches = journal.switches();
        Self::on(ports, Arc::new(journal), switches).await
    }

    pub(crate) async fn on(
        ports: Ports,
        journal: Arc<dyn Journal>,
        switches: MemorySwitches,
    ) -> Self {
        let settings = LeaderSettings::default();
        let leader = Leader::start(Arc::clone(&journal), ports.clone(), settings).await;
        let leader = leader.expect("the leader starts");
        Self {
            metadata: leader.metadata(),
            ports,
            journal,
            switches,
            leader,
        }
    }

    /// Kills the leader's node at this very moment and starts another one on the same journal.
    pub(crate) async fn restart(self) -> Self {
        self.ports.tasks.kill();
        let ports = self.ports.another_node();
        Self::on(ports, self.journal, self.switches).await
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) -> TopicId {
        create_topic(&*self.metadata, name, partitions)
            .await
            .expect("the topic is created")
    }

    pub(crate) async fn sleep(&self, millis: u64) {
        self.ports.sleep(Duration::from_millis(millis)).await;
    }
}

/// A call of Kafka's protocol.
pub(crate) async fn call<Q: Encodable, R: Decodable>(
    metadata: &dyn Metadata,
    api: LeaderApi,
    request: &Q,
) -> Result<R, MetadataError> {
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
    request.encode(&mut body, version).expect("encodes");
    let body = body.freeze();
    let call = KafkaCall {
        api,
        envelope,
        body,
    };
    let mut answer = metadata.kafka(call).await?;
    Ok(R::decode(&mut answer, version).expect("decodes"))
}

pub(crate) async fn create_topic(
    metadata: &dyn Metadata,
    name: &str,
    partitions: i32,
) -> Result<TopicId, MetadataError> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(name.to_owned())))
        .with_num_partitions(partitions)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let response: CreateTopicsResponse = call(metadata, LeaderApi::CreateTopics, &request).await?;
    let created = &response.topics[0];
    assert_eq!(created.error_code, 0, "{created:?}");
    Ok(TopicId(created.topic_id))
}

pub(crate) fn partition(topic: TopicId, index: i32) -> PartitionId {
    PartitionId::new(topic, PartitionIndex(index))
}

pub(crate) fn batch(records: u32) -> BatchSummary {
    BatchSummary {
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        first_sequence: Sequence::NONE,
        records,
        bytes: 100,
        max_timestamp: 1_704_067_200_000,
    }
}

pub(crate) fn agent() -> AgentAddress {
    AgentAddress {
        host: "agent".to_owned(),
        port: 9092,
        node_ids: 1,
        zone: String::new(),
        peer: String::new(),
    }
}

/// A commit of one run.
pub(crate) fn plain_commit(
    registration: &Registration,
    number: u64,
    to: PartitionId,
    batches: Vec<BatchSummary>,
) -> Commit {
    Commit {
        number: CommitNumber(number),
        answered_through: CommitNumber(0),
        object: ObjectId {
            incarnation: registration.incarnation,
            upload_epoch: registration.upload_epoch,
            writer: registration.slot,
            level: ObjectLevel::L0,
            unique: number,
        },
        object_bytes: 1_000,
        locations: vec![0],
        runs: vec![Run {
            partition: to,
            position: 8,
            stored_bytes: 500,
            batches,
        }],
    }
}

/// An agent's session with its stream of commits.
pub(crate) struct Writer {
    pub(crate) registration: Registration,
    pub(crate) channel: CommitChannel,
    pub(crate) next: u64,
}

impl Writer {
    pub(crate) async fn new(metadata: &LocalMetadata) -> Self {
        let request = RegisterRequest::new(agent());
        let registration = metadata.register(request).await.expect("registers");
        let channel = metadata.commits(registration.session).await;
        Self {
            channel: channel.expect("a stream"),
            registration,
            next: 1,
        }
    }

    pub(crate) fn commit(&mut self, to: PartitionId, batches: Vec<BatchSummary>) -> Commit {
        let number = self.next;
        self.next += 1;
        plain_commit(&self.registration, number, to, batches)
    }

    pub(crate) async fn send(&self, commit: Commit) {
        let call = CommitCall::Commit(commit);
        self.channel
            .calls
            .send(call)
            .await
            .expect("the stream is open");
    }

    pub(crate) async fn answer(&mut self) -> CommitAnswer {
        let answer = self.channel.answers.recv().await;
        answer.expect("the stream goes on").expect("it is taken")
    }

    /// Commits one plain batch and returns its base offset.
    pub(crate) async fn append(&mut self, to: PartitionId, records: u32) -> Offset {
        let commit = self.commit(to, vec![batch(records)]);
        self.send(commit).await;
        base_offset(&self.answer().await)
    }
}

pub(crate) fn base_offset(answer: &CommitAnswer) -> Offset {
    match answer.outcomes.as_slice() {
        [(_, BatchOutcome::Appended(placement))] => placement.base_offset,
        other => panic!("not one appended batch: {other:?}"),
    }
}

pub(crate) async fn locate(
    metadata: &LocalMetadata,
    partition: PartitionId,
) -> Result<Located, MetadataError> {
    let wanted = LocatePartition {
        partition,
        from: Offset(0),
        max_bytes: u64::MAX,
    };
    let partitions = vec![wanted];
    let mut reply = metadata.locate(LocateRequest { partitions }).await?;
    Ok(reply.partitions.pop().flatten().expect("it exists"))
}
