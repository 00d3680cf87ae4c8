//! A fetch path with everything that it needs, and ways to fill it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    block::BlockCompression,
    codec::Codec,
    ids::{
        ClusterId, Incarnation, LeaderEpoch, ObjectId, ObjectLevel, Offset, PartitionId,
        PartitionIndex, SessionId, TopicId, UploadEpoch, WriterSlot,
    },
    key::object_key,
    object::{ObjectBuilder, StreamBuilder},
};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError, WatchChannel,
    commit::{BatchSummary, Run as CommittedRun},
    extent::Extent,
    fake::Fake,
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocatePartition, LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{AgentAddress, RegisterRequest, Registration},
};
use aquifer_store::{
    ObjectStore, Ports, PutMode,
    faults::{FaultPlan, Faults, FaultyStore},
    memory::MemoryStore,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::PartitionData,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use parking_lot::Mutex;

use crate::{
    api::{self, Reply, RequestContext},
    connection::{ConnectionHandle, ConnectionId},
    fetch::{
        FetchPath, FetchSettings,
        run::{Run, Take},
    },
    session::AgentSession,
    view::{View, ViewSettings},
};

/// The fake, counting what is asked of it, with objects that can be swapped for others.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) fake: Arc<Fake>,
    pub(super) locates: AtomicU64,
    pub(super) barriers: AtomicU64,
    swaps: Mutex<BTreeMap<ObjectId, ObjectId>>,
    /// Partitions of which all that lies before the extent's end was merged into it.
    merged: Mutex<BTreeMap<PartitionId, Extent>>,
}

impl Counted {
    fn swap(&self, extent: &mut Extent) {
        if let Some(object) = self.swaps.lock().get(&extent.object) {
            extent.object = *object;
        }
    }

    /// Puts the merged extent in the place of those that it was made of.
    fn put_merged(&self, partition: PartitionId, from: Offset, extents: &mut Vec<Extent>) {
        let Some(merged) = self.merged.lock().get(&partition).copied() else {
            return;
        };
        let before = extents.len();
        extents.retain(|extent| extent.base_offset >= merged.end_offset);
        if extents.len() < before && merged.end_offset > from {
            extents.insert(0, merged);
        }
    }
}

#[async_trait]
impl Metadata for Counted {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        self.fake.register(request).await
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        self.fake.commits(session).await
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        self.locates.fetch_add(1, Ordering::Relaxed);
        let asked = request.partitions.clone();
        let mut reply = self.fake.locate(request).await?;
        for (asked, located) in asked.iter().zip(&mut reply.partitions) {
            let Some(located) = located else { continue };
            for extent in &mut located.extents {
                self.swap(extent);
            }
            self.put_merged(asked.partition, asked.from, &mut located.extents);
        }
        Ok(reply)
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        let asked = request.partitions.clone();
        let mut reply = self.fake.offsets(request).await?;
        for ((partition, _), found) in asked.iter().zip(&mut reply.partitions) {
            let Some(found) = found else { continue };
            if let Some(extent) = &mut found.extent {
                self.swap(extent);
                let mut extents = vec![*extent];
                self.put_merged(*partition, Offset(0), &mut extents);
                *extent = extents[0];
            }
        }
        Ok(reply)
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        self.barriers.fetch_add(1, Ordering::Relaxed);
        self.fake.barrier().await
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        self.fake.live_objects(objects).await
    }

    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        self.fake.watch(session, seen).await
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        self.fake.kafka(call).await
    }
}

/// See the module.
pub(super) struct Bed {
    pub(super) fake: Arc<Fake>,
    pub(super) metadata: Arc<Counted>,
    pub(super) memory: Arc<MemoryStore>,
    pub(super) faults: Faults,
    pub(super) ports: Ports,
    pub(super) view: Arc<View>,
    pub(super) path: Arc<FetchPath>,
    pub(super) connection: Arc<ConnectionHandle>,
    objects: AtomicU64,
}

/// A batch of one record per (timestamp, value).
pub(super) fn batch(codec: Codec, records: &[(i64, &str)]) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    for (timestamp, value) in records {
        builder.append(*timestamp, None, Some(value.as_bytes()), &[]);
    }
    builder.build().expect("a small batch")
}

/// A batch of `records` records of `bytes` each.
pub(super) fn batch_of(records: usize, bytes: usize) -> RecordBatch {
    let value = "v".repeat(bytes);
    let records: Vec<(i64, &str)> = (0..records).map(|_| (1000, value.as_str())).collect();
    batch(Codec::None, &records)
}

pub(super) fn summary(batch: &RecordBatch) -> BatchSummary {
    BatchSummary {
        producer_id: batch.header.producer_id,
        producer_epoch: batch.header.producer_epoch,
        first_sequence: batch.header.base_sequence,
        records: batch.header.offsets(),
        bytes: u32::try_from(batch.bytes.len()).unwrap(),
        max_timestamp: batch.header.max_timestamp,
    }
}

pub(super) fn partition(topic: TopicId, index: i32) -> PartitionId {
    PartitionId::new(topic, PartitionIndex(index))
}

impl Bed {
    pub(super) async fn new() -> Self {
        Self::with(FetchSettings::default()).await
    }

    pub(super) async fn with(settings: FetchSettings) -> Self {
        let fake = Fake::new();
        let ports = Ports::simulated(7, aquifer_metadata_api::fake::FAKE_START_UNIX_MILLIS);
        let metadata = Arc::new(Counted {
            fake: Arc::clone(&fake),
            locates: AtomicU64::new(0),
            barriers: AtomicU64::new(0),
            swaps: Mutex::default(),
            merged: Mutex::default(),
        });
        let memory = Arc::new(MemoryStore::new());
        let faults = Faults::new(FaultPlan::default());
        let store: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(
            Arc::clone(&memory) as Arc<dyn ObjectStore>,
            ports.clone(),
            faults.clone(),
        ));
        let request = RegisterRequest {
            previous_slot: None,
            agent: AgentAddress {
                host: "127.0.0.1".to_owned(),
                port: 9092,
                node_ids: 1,
                zone: String::new(),
                peer: String::new(),
            },
            seen: None,
        };
        let seam = Arc::clone(&metadata) as Arc<dyn Metadata>;
        let session = AgentSession::register(Arc::clone(&seam), ports.clone(), request)
            .await
            .unwrap();
        let view = View::start(
            Arc::clone(&seam),
            Arc::clone(&session),
            ports.clone(),
            ViewSettings::default(),
        );
        view.ready().await;
        let path = FetchPath::start(
            seam,
            store,
            &session,
            Arc::clone(&view),
            ports.clone(),
            settings,
            None,
        );
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Self {
            fake,
            metadata,
            memory,
            faults,
            ports,
            view,
            path,
            connection: Arc::new(ConnectionHandle::new(ConnectionId(1), peer)),
            objects: AtomicU64::new(0),
        }
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.fake.cluster()
    }

    /// Returns when the view shows all that was done.
    pub(super) async fn settle(&self) {
        self.view.catch_up().await.unwrap();
    }

    fn next_object(&self) -> ObjectId {
        ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
            writer: WriterSlot(1),
            level: ObjectLevel::L0,
            unique: self.objects.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Writes one object and commits it.
    pub(super) async fn append(&self, runs: &[(PartitionId, &[RecordBatch])]) -> ObjectId {
        let object = self.next_object();
        let mut builder = ObjectBuilder::new(self.cluster(), object, BlockCompression::default());
        let mut runs = runs.to_vec();
        runs.sort_by_key(|(partition, _)| *partition);
        for (partition, batches) in &runs {
            builder.add_run(*partition, batches.iter()).unwrap();
        }
        let built = builder.finish().unwrap();
        let key = object_key(self.cluster(), &object);
        self.memory
            .put(&key, built.payload, PutMode::Create)
            .await
            .unwrap();
        let committed = runs
            .iter()
            .zip(&built.runs)
            .map(|((partition, batches), run)| CommittedRun {
                partition: *partition,
                position: run.position,
                stored_bytes: run.stored_bytes,
                batches: batches.iter().map(summary).collect(),
            })
            .collect();
        self.fake.append(object, committed);
        object
    }

    /// One batch, one object.
    pub(super) async fn append_one(&self, partition: PartitionId, batch: RecordBatch) -> ObjectId {
        self.append(&[(partition, &[batch])]).await
    }

    /// Moves an object's bytes to another key; the leader names that one from now on.
    pub(super) async fn swap(&self, object: ObjectId) {
        let new = self.next_object();
        let (from, to) = (
            object_key(self.cluster(), &object),
            object_key(self.cluster(), &new),
        );
        let bytes = self.memory.get(&from).await.unwrap();
        self.memory
            .put(&to, vec![bytes], PutMode::Create)
            .await
            .unwrap();
        self.memory.delete(&[from]).await.unwrap();
        self.metadata.swaps.lock().insert(object, new);
    }

    /// Merges all that a partition has into one run of level 1, but for batches that `keeps` says no to; the
    /// objects that it was in go. The leader names the run from now on.
    pub(super) async fn merge(&self, id: PartitionId, keeps: impl Fn(i64) -> bool) -> Extent {
        let object = ObjectId {
            level: ObjectLevel::L1,
            writer: WriterSlot::COMPACTOR,
            ..self.next_object()
        };
        let mut builder = StreamBuilder::new(self.cluster(), object, BlockCompression::Off);
        builder.begin_run(id, true).unwrap();
        let mut old = Vec::new();
        for extent in self.located(id).await {
            for batch in self.batches_of(&extent).await {
                if keeps(batch.header.base_offset.0) {
                    builder.push(batch.into()).unwrap();
                }
            }
            old.push(object_key(self.cluster(), &extent.object));
        }
        let run = builder.end_run(Vec::new()).unwrap();
        builder.finish().unwrap();
        let key = object_key(self.cluster(), &object);
        let payload = builder.take(usize::MAX);
        self.memory
            .put(&key, payload, PutMode::Create)
            .await
            .unwrap();
        self.memory.delete(&old).await.unwrap();
        let extent = Extent {
            object,
            run_position: run.position,
            run_bytes: run.stored_bytes,
            raw_start: 0,
            raw_bytes: run.expanded_bytes,
            base_offset: run.base_offset,
            end_offset: run.end_offset,
            max_timestamp: run.max_timestamp,
            log_append_time: None,
        };
        self.metadata.merged.lock().insert(id, extent);
        extent
    }

    /// Moves the merged run of a partition to another object.
    pub(super) async fn move_merged(&self, id: PartitionId) {
        let old = self.metadata.merged.lock().get(&id).copied().unwrap();
        let object = ObjectId {
            unique: self.next_object().unique,
            ..old.object
        };
        let from = object_key(self.cluster(), &old.object);
        let to = object_key(self.cluster(), &object);
        let bytes = self.memory.get(&from).await.unwrap();
        self.memory
            .put(&to, vec![bytes], PutMode::Create)
            .await
            .unwrap();
        self.memory.delete(&[from]).await.unwrap();
        let extent = Extent { object, ..old };
        self.metadata.merged.lock().insert(id, extent);
    }

    /// The extents of a partition as they were committed.
    pub(super) async fn located(&self, id: PartitionId) -> Vec<Extent> {
        let request = LocateRequest {
            partitions: vec![LocatePartition {
                partition: id,
                from: Offset(0),
                max_bytes: u64::MAX,
            }],
        };
        let reply = self.fake.locate(request).await.unwrap();
        reply.partitions[0].clone().unwrap().extents
    }

    /// The batches of an extent of level 0 as readers get them.
    async fn batches_of(&self, extent: &Extent) -> Vec<RecordBatch> {
        let key = object_key(self.cluster(), &extent.object);
        let end = extent.run_position + u64::from(extent.run_bytes);
        let range = extent.run_position..end;
        let stored = self.memory.get_range(&key, range).await.unwrap();
        let run = Run::expand(&stored).unwrap();
        let take = Take {
            from: Offset(0),
            before: Offset(i64::MAX),
            bytes_max: u64::MAX,
            at_least_one: true,
            leader_epoch: LeaderEpoch(0),
        };
        let mut selected = Vec::new();
        run.select(extent, &take, &mut selected).unwrap();
        let batches = selected.into_iter().map(|selected| {
            let batch = RecordBatch::parse(selected.bytes).unwrap();
            let time = extent.log_append_time;
            let header = batch.patched_header(selected.base_offset, LeaderEpoch(0), time);
            let bytes = [&header.encode()[..], &batch.payload()[..]].concat();
            RecordBatch::parse(bytes.into()).unwrap()
        });
        batches.collect()
    }

    fn context(&self, api_key: i16, api_version: i16) -> RequestContext {
        RequestContext {
            connection: Arc::clone(&self.connection),
            node_index: 0,
            client_id: "test".to_owned(),
            zone: crate::connection::zone::ClientZone::default(),
            api_key,
            api_version,
            received: self.ports.clock.now(),
        }
    }

    pub(super) fn locates(&self) -> u64 {
        self.metadata.locates.load(Ordering::Relaxed)
    }

    pub(super) async fn fetch(&self, version: i16, request: FetchRequest) -> FetchResponse {
        decode(version, self.fetch_reply(version, request).await)
    }

    pub(super) async fn fetch_reply(&self, version: i16, request: FetchRequest) -> Reply {
        let ctx = self.context(1, version);
        let body = encode(version, &request);
        let serving = api::fetch::Serving {
            path: &self.path,
            view: &self.view,
            ports: &self.ports,
            fence: None,
            nodes: api::nodes::Nodes::all(self.view.agents()),
        };
        api::fetch::fetch(serving, &ctx, body).await.unwrap()
    }

    /// Fetches one partition without waiting; the answer for it.
    pub(super) async fn fetch_at(&self, partition: PartitionId, offset: i64) -> PartitionData {
        let request = request(&[(partition, offset)]).with_max_wait_ms(0);
        let response = self.fetch(17, request).await;
        assert_eq!(response.error_code, 0);
        response.responses[0].partitions[0].clone()
    }

    pub(super) async fn list_offsets(
        &self,
        version: i16,
        request: ListOffsetsRequest,
    ) -> ListOffsetsResponse {
        let ctx = self.context(2, version);
        let body = encode(version, &request);
        let metadata = &*self.metadata;
        let (path, view) = (&self.path, &self.view);
        let reply = api::list_offsets::list_offsets(path, view, metadata, false, &ctx, body);
        decode(version, reply.await.unwrap())
    }

    /// (error, timestamp, offset) of one partition.
    pub(super) async fn list_offset(&self, name: &str, timestamp: i64) -> (i16, i64, i64) {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(StrBytes::from_string(name.to_owned()).into())
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let response = self.list_offsets(10, request).await;
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.timestamp, found.offset)
    }

    pub(super) async fn leader_epoch_end<T: Encodable, R: Decodable>(
        &self,
        version: i16,
        request: &T,
    ) -> R {
        let ctx = self.context(23, version);
        let body = encode(version, request);
        let reply = api::offset_for_leader_epoch::offset_for_leader_epoch(
            &self.view,
            &*self.metadata,
            &ctx,
            body,
        );
        decode(version, reply.await.unwrap())
    }
}

pub(super) fn encode<T: Encodable>(version: i16, request: &T) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    body.freeze()
}

pub(super) fn joined(reply: Reply) -> Bytes {
    let Reply::Body(pieces) = reply else {
        panic!("no answer");
    };
    let mut all = BytesMut::new();
    for piece in pieces {
        all.extend_from_slice(&piece);
    }
    all.freeze()
}

pub(super) fn decode<R: Decodable>(version: i16, reply: Reply) -> R {
    let mut body = joined(reply);
    let response = R::decode(&mut body, version).unwrap();
    assert!(body.is_empty(), "{} bytes are left over", body.len());
    response
}

/// A request as a consumer of version 13 and later sends it without a session: 1 byte at least, 500 ms
/// at most, 50 MiB in all, 1 MiB per partition. One entry per partition, so that their order counts.
pub(super) fn request(partitions: &[(PartitionId, i64)]) -> FetchRequest {
    let topics = partitions.iter().map(|(partition, offset)| {
        FetchTopic::default()
            .with_topic_id(partition.topic.0)
            .with_partitions(vec![
                FetchPartition::default()
                    .with_partition(partition.partition.0)
                    .with_fetch_offset(*offset)
                    .with_partition_max_bytes(1024 * 1024),
            ])
    });
    FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 * 1024 * 1024)
        .with_session_epoch(-1)
        .with_topics(topics.collect())
}

/// (base offset, last offset) of every batch of an answer; checks each batch.
pub(super) fn ranges(answer: &PartitionData) -> Vec<(i64, i64)> {
    batches(answer)
        .iter()
        .map(|batch| {
            (
                batch.header.base_offset.0,
                batch.header.base_offset.0 + i64::from(batch.header.last_offset_delta),
            )
        })
        .collect()
}

pub(super) fn batches(answer: &PartitionData) -> Vec<RecordBatch> {
    let records = answer.records.clone().expect("never null");
    let batches = aquifer_format::batch::split(records).unwrap();
    for batch in &batches {
        batch.validate().unwrap();
    }
    batches
}
