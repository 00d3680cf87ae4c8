//! A state with its journal: every change goes through an encoded row, as in the service.

use std::{cell::Cell, collections::BTreeMap};

use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, JournalSeq, ObjectId, ObjectLevel, PartitionId,
    PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId, TopicId, UploadEpoch,
    WriterSlot,
};
use aquifer_metadata_api::{
    commit::{BatchOutcome, BatchRef, BatchSummary, Commit, Placement, Rejection, Run},
    register::{AgentAddress, RegisterRequest, Registration},
    upkeep::{RangeOutcome, SwapRequest},
};
use aquifer_store::Rand;
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        CreatePartitionsRequest, DeleteRecordsRequest, IncrementalAlterConfigsRequest, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::{DeleteTopicState, DeleteTopicsRequest},
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use crate::{
    event::{Event, decode_row, encode_row},
    state::{
        Budgets, State,
        decide::{self, CommitError, Decided, HoldOutcome, Now, Outcomes},
    },
};

/// Counts, so that ids are the same in every run.
#[derive(Debug, Default)]
pub(crate) struct Counting(std::sync::atomic::AtomicU64);

impl Rand for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }
}

pub(crate) const NOW: Now = Now {
    unix_millis: 1_700_000_000_000,
};
pub(crate) const PRODUCER: i64 = 7;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) rows: Vec<Bytes>,
    pub(crate) rand: Counting,
    pub(crate) now: Now,
    open: Vec<Event>,
    numbers: BTreeMap<SessionId, u64>,
    unique: Cell<u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_budgets(Budgets::default())
    }

    pub(crate) fn with_budgets(budgets: Budgets) -> Self {
        let mut world = Self {
            state: State::new(budgets),
            rows: Vec::new(),
            rand: Counting::default(),
            now: NOW,
            open: Vec::new(),
            numbers: BTreeMap::new(),
            unique: Cell::new(0),
        };
        let cluster = ClusterId(Uuid::from_u128(0xC1));
        let genesis = decide::genesis(cluster, Incarnation(1), UploadEpoch(1));
        world.take(vec![genesis]);
        world
    }

    /// Applies events as part of the row that is open, which ends with [`Self::end_row`].
    pub(crate) fn collect(&mut self, events: Vec<Event>) {
        let seq = JournalSeq(self.rows.len() as u64 + 1);
        for event in &events {
            self.state.apply(seq, event);
        }
        self.open.extend(events);
    }

    /// Adds events that are applied already to the row that is open.
    pub(crate) fn note(&mut self, events: Vec<Event>) {
        self.open.extend(events);
    }

    /// Whether no row is open.
    pub(crate) fn is_between_rows(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn end_row(&mut self) {
        if !self.open.is_empty() {
            let bytes = encode_row(&self.open);
            assert_eq!(decode_row(&bytes).unwrap(), self.open);
            self.rows.push(bytes);
            self.open.clear();
        }
    }

    pub(crate) fn take(&mut self, events: Vec<Event>) {
        self.collect(events);
        self.end_row();
    }

    /// Takes a decision as a row of its own.
    pub(crate) fn decided<T>(&mut self, decided: Decided<T>) -> (T, Vec<HoldOutcome>) {
        self.take(decided.events);
        (decided.reply, decided.holds)
    }

    pub(crate) fn create(&mut self, name: &str, partitions: i32) -> TopicId {
        self.create_with(name, partitions, &[])
    }

    pub(crate) fn create_with(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> TopicId {
        let request = create_request(name, partitions, configs);
        let decided = decide::create_topics(&self.state, &self.rand, &request);
        let (reply, _) = self.decided(decided);
        assert_eq!(reply.topics[0].error_code, 0, "{reply:?}");
        TopicId(reply.topics[0].topic_id)
    }

    /// Deletes a topic for good.
    pub(crate) fn delete(&mut self, name: &str) -> Vec<HoldOutcome> {
        let holds = self.trash(name);
        let much_later = Now {
            unix_millis: i64::MAX,
        };
        let decided = decide::purge(&self.state, &much_later, usize::MAX);
        self.decided(decided);
        holds
    }

    /// Deletes a topic; it can come back.
    pub(crate) fn trash(&mut self, name: &str) -> Vec<HoldOutcome> {
        let decided = decide::delete_topics(&self.state, &self.now, 6, &delete_request(name));
        let (reply, holds) = self.decided(decided);
        assert_eq!(reply.responses[0].error_code, 0, "{reply:?}");
        holds
    }

    /// Alters configs of a topic, one by one.
    pub(crate) fn alter(&mut self, topic: &str, configs: Alterations<'_>) {
        self.alter_one(alter_request(2, topic, configs));
    }

    /// Alters the configs of all brokers, one by one.
    pub(crate) fn alter_brokers(&mut self, configs: Alterations<'_>) {
        self.alter_one(alter_request(4, "", configs));
    }

    fn alter_one(&mut self, request: IncrementalAlterConfigsRequest) {
        let decided = decide::incremental_alter_configs(&self.state, &request);
        let (reply, _) = self.decided(decided);
        assert_eq!(reply.responses[0].error_code, 0, "{reply:?}");
    }

    /// Deletes records below `offset`; the code and the log start that are answered.
    pub(crate) fn delete_records(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> (i16, i64) {
        let request = delete_records_request(topic, partition, offset);
        let decided = decide::delete_records(&self.state, &request);
        let (reply, _) = self.decided(decided);
        let partition = &reply.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    }

    pub(crate) fn register(&mut self) -> Registration {
        let decided = decide::register(&self.state, &register_request(1)).unwrap();
        self.decided(decided).0
    }

    /// An object that a compactor begins now.
    pub(crate) fn merged_object(&self, level: ObjectLevel) -> ObjectId {
        let unique = self.unique.get() + 1;
        self.unique.set(unique);
        ObjectId {
            incarnation: self.state.incarnation(),
            upload_epoch: self.state.upload_epoch(),
            writer: WriterSlot::COMPACTOR,
            level,
            unique,
        }
    }

    /// Swaps; what became of each range.
    pub(crate) fn swap(&mut self, request: &SwapRequest) -> Vec<RangeOutcome> {
        let decided = decide::swap(&self.state, request).unwrap();
        self.decided(decided).0.outcomes
    }

    /// The next commit of a session with one run of each partition given.
    pub(crate) fn next_commit(
        &self,
        session: SessionId,
        slot: WriterSlot,
        runs: &[(PartitionId, Vec<BatchSummary>)],
    ) -> Commit {
        let unique = self.unique.get() + 1;
        self.unique.set(unique);
        let number = self.numbers.get(&session).copied().unwrap_or(0) + 1;
        let mut position = 8;
        let runs = runs.iter().map(|(partition, batches)| {
            let bytes: u32 = batches.iter().map(|batch| batch.bytes).sum();
            let run = Run {
                partition: *partition,
                position,
                stored_bytes: bytes + 16,
                batches: batches.clone(),
            };
            position += u64::from(run.stored_bytes);
            run
        });
        let runs: Vec<Run> = runs.collect();
        Commit {
            number: CommitNumber(number),
            answered_through: CommitNumber(0),
            object: ObjectId {
                incarnation: self.state.incarnation(),
                upload_epoch: self.state.upload_epoch(),
                writer: slot,
                level: ObjectLevel::L0,
                unique,
            },
            object_bytes: position + 100,
            locations: vec![0],
            runs,
        }
    }

    pub(crate) fn decide(
        &self,
        session: SessionId,
        commit: &Commit,
    ) -> Result<Decided<Outcomes>, CommitError> {
        decide::commit(&self.state, &self.now, session, commit)
    }

    pub(crate) fn sent(&mut self, session: SessionId, number: CommitNumber) {
        self.numbers.insert(session, number.0);
    }

    /// Commits and applies.
    pub(crate) fn commit(
        &mut self,
        session: SessionId,
        commit: &Commit,
    ) -> (Outcomes, Vec<HoldOutcome>) {
        let decided = self.decide(session, commit).unwrap();
        self.sent(session, commit.number);
        self.decided(decided)
    }

    pub(crate) fn release(&mut self, batches: &[(SessionId, BatchRef)]) -> Vec<HoldOutcome> {
        let decided = decide::release_holds(&self.state, &self.now, batches);
        self.decided(decided).1
    }

    pub(crate) fn advance(&mut self, epochs: u32) {
        for _ in 0..epochs {
            let event = decide::advance_upload_epoch(&self.state);
            self.take(vec![event]);
        }
    }
}

/// One topic, one partition, one session: for rules about a single log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) world: World,
    pub(crate) partition: PartitionId,
    pub(crate) session: SessionId,
    pub(crate) slot: WriterSlot,
    /// What became of batches after they had been held.
    pub(crate) later: Vec<HoldOutcome>,
}

impl Log {
    /// A partition that never had a record.
    pub(crate) fn empty() -> Self {
        Self::in_world(World::new(), &[])
    }

    pub(crate) fn in_world(mut world: World, configs: &[(&str, &str)]) -> Self {
        let topic = world.create_with("log", 1, configs);
        let registration = world.register();
        Self {
            world,
            partition: PartitionId::new(topic, PartitionIndex(0)),
            session: registration.session,
            slot: registration.slot,
            later: Vec::new(),
        }
    }

    /// A partition that has 100 records of somebody else.
    pub(crate) fn used() -> Self {
        let mut log = Self::empty();
        log.send(plain(100));
        log
    }

    pub(crate) fn commit_of(&self, batches: Vec<BatchSummary>) -> Commit {
        let runs = [(self.partition, batches)];
        self.world.next_commit(self.session, self.slot, &runs)
    }

    /// Sends batches in one run.
    pub(crate) fn send_run(&mut self, batches: Vec<BatchSummary>) -> Outcomes {
        let commit = self.commit_of(batches);
        let (outcomes, later) = self.world.commit(self.session, &commit);
        self.later.extend(later);
        outcomes
    }

    pub(crate) fn send(&mut self, batch: BatchSummary) -> BatchOutcome {
        self.send_run(vec![batch])[0].1
    }

    /// Sends a batch that will be held, and tells its name.
    pub(crate) fn hold(&mut self, batch: BatchSummary) -> BatchRef {
        let (name, outcome) = self.send_run(vec![batch])[0];
        assert_eq!(outcome, BatchOutcome::Held, "{batch:?}");
        name
    }

    pub(crate) fn release(&mut self, batch: BatchRef) {
        let later = self.world.release(&[(self.session, batch)]);
        self.later.extend(later);
    }

    pub(crate) fn end_offset(&self) -> i64 {
        self.world
            .state
            .watermarks(self.partition)
            .unwrap()
            .high_watermark
            .0
    }
}

/// A batch of [`PRODUCER`].
pub(crate) fn batch(epoch: i16, first_sequence: i32, records: u32) -> BatchSummary {
    of_producer(PRODUCER, epoch, first_sequence, records)
}

pub(crate) fn of_producer(
    producer: i64,
    epoch: i16,
    first_sequence: i32,
    records: u32,
) -> BatchSummary {
    BatchSummary {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        first_sequence: Sequence(first_sequence),
        records,
        bytes: 61 + records,
        max_timestamp: 1_699_999_999_000 + i64::from(first_sequence),
    }
}

/// A batch without a producer id.
pub(crate) fn plain(records: u32) -> BatchSummary {
    of_producer(-1, -1, -1, records)
}

pub(crate) fn appended(base_offset: i64) -> BatchOutcome {
    BatchOutcome::Appended(placement(base_offset, None))
}

pub(crate) fn duplicate(base_offset: i64) -> BatchOutcome {
    BatchOutcome::Duplicate(placement(base_offset, None))
}

pub(crate) fn placement(base_offset: i64, log_append_time: Option<i64>) -> Placement {
    Placement {
        base_offset: aquifer_format::ids::Offset(base_offset),
        log_append_time,
        log_start: aquifer_format::ids::Offset(0),
    }
}

pub(crate) const OUT_OF_ORDER: BatchOutcome = BatchOutcome::Rejected(Rejection::OutOfOrderSequence);
pub(crate) const STALE: BatchOutcome = BatchOutcome::Rejected(Rejection::StaleProducerEpoch);

pub(crate) fn register_request(host: u16) -> RegisterRequest {
    RegisterRequest {
        previous_slot: None,
        agent: AgentAddress {
            host: format!("agent-{host}"),
            port: 9092,
            node_ids: 4,
            zone: "zone-a".to_owned(),
            peer: String::new(),
        },
        seen: None,
    }
}

pub(crate) fn create_request(
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> CreateTopicsRequest {
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string((*name).to_owned()))
            .with_value(Some(StrBytes::from_string((*value).to_owned())))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    CreateTopicsRequest::default().with_topics(vec![topic])
}

pub(crate) fn delete_request(name: &str) -> DeleteTopicsRequest {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
    DeleteTopicsRequest::default().with_topics(vec![topic])
}

pub(crate) fn add_partitions_request(name: &str, count: i32) -> CreatePartitionsRequest {
    let topic = CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(count)
        .with_assignments(None);
    CreatePartitionsRequest::default().with_topics(vec![topic])
}

/// Name, operation and value of configs.
pub(crate) type Alterations<'a> = &'a [(&'a str, i8, Option<&'a str>)];

pub(crate) fn alter_request(
    kind: i8,
    name: &str,
    configs: Alterations<'_>,
) -> IncrementalAlterConfigsRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let configs = configs.iter().map(|(name, operation, value)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

pub(crate) fn delete_records_request(
    name: &str,
    partition: i32,
    offset: i64,
) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(partition)
        .with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(topic_name(name))
        .with_partitions(vec![partition]);
    DeleteRecordsRequest::default().with_topics(vec![topic])
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
