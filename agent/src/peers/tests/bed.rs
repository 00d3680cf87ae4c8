//! Agents of several zones, and a bucket that counts.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    block::BlockCompression,
    codec::Codec,
    ids::{
        Incarnation, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, TopicId,
        UploadEpoch, WriterSlot,
    },
    key::object_key,
    object::ObjectBuilder,
};
use aquifer_metadata_api::{
    Metadata,
    commit::{BatchSummary, Run as CommittedRun},
    extent::Extent,
    fake::{FAKE_START_UNIX_MILLIS, Fake},
    locate::{LocatePartition, LocateRequest},
    register::AgentAddress,
};
use aquifer_store::{
    DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, Ports, PutError, PutMode,
    memory::MemoryStore,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    broker::Broker,
    connection::{ConnectionHandle, ConnectionId},
    fetch::cache::{ReadError, Reading},
    peers::{GetCause, MemoryNetwork, PeerNetwork, PeerService, Unit, ownership},
    produce::{ProduceBatch, settings::Compute},
    settings::AgentSettings,
};

/// A bucket in memory that counts GETs by key and takes its time.
#[derive(Debug)]
pub(super) struct Bucket {
    memory: MemoryStore,
    ports: Ports,
    gets: Mutex<BTreeMap<String, u32>>,
    latency_ms: AtomicU64,
}

impl Bucket {
    pub(super) fn set_latency(&self, latency: Duration) {
        let ms = u64::try_from(latency.as_millis()).unwrap();
        self.latency_ms.store(ms, Ordering::Relaxed);
    }

    async fn note(&self, key: &str) {
        *self.gets.lock().entry(key.to_owned()).or_default() += 1;
        let ms = self.latency_ms.load(Ordering::Relaxed);
        self.ports.sleep(Duration::from_millis(ms)).await;
    }

    /// How often each object was read.
    pub(super) fn gets(&self) -> Vec<u32> {
        self.gets.lock().values().copied().collect()
    }

    pub(super) fn all_gets(&self) -> u32 {
        self.gets().iter().sum()
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        self.memory.put(key, payload, mode).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        self.note(&format!("{key} {}", range.start)).await;
        self.memory.get_range(key, range).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        self.note(key).await;
        self.memory.get(key).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        self.memory.head(key).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        self.memory.delete(keys).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        self.memory.list(prefix, after, limit).await
    }

    fn priced_per_request(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "counting memory".to_owned()
    }
}

/// See the module.
pub(super) struct Bed {
    pub(super) fake: Arc<Fake>,
    pub(super) bucket: Arc<Bucket>,
    pub(super) ports: Ports,
    pub(super) network: Arc<MemoryNetwork>,
    pub(super) topic: TopicId,
    pub(super) agents: Vec<Arc<Broker>>,
    objects: AtomicU64,
}

/// An object, and an extent per partition that it has.
pub(super) type Written = (ObjectId, Vec<Extent>);

impl Bed {
    /// For virtual time.
    pub(super) fn new() -> Self {
        Self::with_ports(Ports::simulated(3, FAKE_START_UNIX_MILLIS))
    }

    /// For sockets, which know only real time.
    pub(super) fn on_sockets() -> Self {
        Self::with_ports(Ports::system())
    }

    fn with_ports(ports: Ports) -> Self {
        let fake = Fake::new();
        let topic = fake.create_topic("t", 4, &[]);
        Self {
            fake,
            bucket: Arc::new(Bucket {
                memory: MemoryStore::new(),
                ports: ports.clone(),
                gets: Mutex::default(),
                latency_ms: AtomicU64::new(0),
            }),
            network: MemoryNetwork::new(ports.clone()),
            ports,
            topic,
            agents: Vec::new(),
            objects: AtomicU64::new(0),
        }
    }

    /// Two agents in zone a, one in zone b, one without a zone, ...: `zones` has a name for each.
    pub(super) async fn agents(zones: &[&str]) -> Self {
        let mut bed = Self::new();
        for zone in zones {
            bed.start(zone).await;
        }
        bed.settle().await;
        bed
    }

    /// The address of the agent that is started as number `index`.
    pub(super) fn peer(index: usize) -> String {
        format!("agent{index}:9400")
    }

    /// Starts an agent on the network in memory; its index.
    pub(super) async fn start(&mut self, zone: &str) -> usize {
        let index = self.agents.len();
        let peer = Self::peer(index);
        let network = self.network.agent(Some(&peer));
        let service = PeerService::new(network as Arc<dyn PeerNetwork>);
        self.start_with(zone, &peer, service, self.ports.another_node())
            .await
    }

    pub(super) async fn start_with(
        &mut self,
        zone: &str,
        peer: &str,
        service: PeerService,
        ports: Ports,
    ) -> usize {
        let index = self.agents.len();
        let mut settings = AgentSettings::new(AgentAddress {
            host: format!("agent{index}"),
            port: 9092,
            node_ids: 1,
            zone: zone.to_owned(),
            peer: peer.to_owned(),
        });
        settings.produce.compute = Compute::Inline;
        settings.fetch.cache.bytes_max = 64 << 20;
        let metadata = Arc::clone(&self.fake) as Arc<dyn Metadata>;
        let store = Arc::clone(&self.bucket) as Arc<dyn ObjectStore>;
        let broker = Broker::start(settings, ports, metadata, store, Some(service)).await;
        self.agents.push(broker.expect("the fake refuses nobody"));
        index
    }

    /// Returns when all live agents know of each other and of what was appended.
    pub(super) async fn settle(&self) {
        for agent in self.live() {
            agent.view.catch_up().await.unwrap();
            while agent.view.agents().len() != self.live().count() {
                self.ports.sleep(Duration::from_millis(1)).await;
            }
        }
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.agents.iter().filter(|a| !a.ports.tasks.is_killed())
    }

    pub(super) fn slot(&self, index: usize) -> WriterSlot {
        self.agents[index].session.registration().slot
    }

    pub(super) fn partition(&self, index: i32) -> PartitionId {
        PartitionId::new(self.topic, PartitionIndex(index))
    }

    /// Writes an object with one batch for each of two partitions, as `writer` would have in this
    /// epoch, and commits it.
    pub(super) async fn write(&self, writer: WriterSlot, upload_epoch: u32) -> Written {
        self.write_as(ObjectLevel::L0, writer, upload_epoch, 300)
            .await
    }

    /// An object that nobody who lives has in memory.
    pub(super) async fn write_cold(&self) -> Written {
        self.write(WriterSlot(9_999), 1).await
    }

    pub(super) async fn write_as(
        &self,
        level: ObjectLevel,
        writer: WriterSlot,
        upload_epoch: u32,
        bytes: usize,
    ) -> Written {
        let object = ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(upload_epoch),
            writer,
            level,
            unique: self.objects.fetch_add(1, Ordering::Relaxed),
        };
        let cluster = self.fake.cluster();
        let batches = [self.batch(bytes), self.batch(bytes)];
        let mut builder = ObjectBuilder::new(cluster, object, BlockCompression::default());
        for (n, batch) in (0..).zip(&batches) {
            builder.add_run(self.partition(n), [batch]).unwrap();
        }
        let built = builder.finish().unwrap();
        let key = object_key(cluster, &object);
        let put = self.bucket.put(&key, built.payload, PutMode::Create);
        put.await.unwrap();
        let runs: Vec<_> = built
            .runs
            .iter()
            .zip(&batches)
            .map(|(run, batch)| CommittedRun {
                partition: run.partition,
                position: run.position,
                stored_bytes: run.stored_bytes,
                batches: vec![summary(batch)],
            })
            .collect();
        self.fake.append(object, runs);
        let mut extents = Vec::new();
        for n in 0..2 {
            extents.push(self.last_extent(self.partition(n)).await);
        }
        (object, extents)
    }

    /// A batch of random bytes.
    pub(super) fn batch(&self, bytes: usize) -> RecordBatch {
        let value: Vec<u8> = std::iter::repeat_with(|| self.ports.rand.next_u64().to_le_bytes())
            .flatten()
            .take(bytes)
            .collect();
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(1_000, None, Some(&value), &[]);
        builder.build().unwrap()
    }

    pub(super) async fn last_extent(&self, partition: PartitionId) -> Extent {
        let request = LocateRequest {
            partitions: vec![LocatePartition {
                partition,
                from: Offset(0),
                max_bytes: u64::MAX,
            }],
        };
        let reply = self.fake.locate(request).await.unwrap();
        let located = reply.partitions[0].clone().unwrap();
        *located.extents.last().unwrap()
    }

    /// Produces through an agent, as a client would; the extent.
    pub(super) async fn produce(&self, agent: usize, partition: i32) -> Extent {
        self.produce_bytes(agent, partition, 2_000).await
    }

    pub(super) async fn produce_bytes(&self, agent: usize, partition: i32, bytes: usize) -> Extent {
        let agent = &self.agents[agent];
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = Arc::new(ConnectionHandle::new(ConnectionId(1), address));
        let batches = vec![ProduceBatch {
            partition: self.partition(partition),
            batch: self.batch(bytes),
        }];
        let deadline = self.ports.clock.now().plus(Duration::from_secs(25));
        let pending = agent.produce.accept(&connection, batches, deadline).await;
        pending.await.expect("the session lives");
        self.last_extent(self.partition(partition)).await
    }

    /// Reads an extent through an agent; checks that it is the right one.
    pub(super) async fn read(&self, agent: usize, extent: &Extent) -> Result<(), ReadError> {
        self.read_by(&self.agents[agent], extent).await
    }

    pub(super) async fn read_by(
        &self,
        agent: &Arc<Broker>,
        extent: &Extent,
    ) -> Result<(), ReadError> {
        let (run, _) = agent.fetch.cache().run(extent, Reading::Usual).await?;
        assert_eq!(run.bytes(), u64::from(extent.raw_bytes));
        Ok(())
    }

    pub(super) fn gets(&self, agent: usize, cause: GetCause) -> u64 {
        self.agents[agent].fetch.cache().counts().gets(cause)
    }

    /// The agent that owns what nobody has in memory.
    pub(super) fn owner(&self, object: ObjectId) -> usize {
        self.owner_of(Unit::new(object, 0).unwrap())
    }

    pub(super) fn owner_of(&self, unit: Unit) -> usize {
        let agents = self.live().next().unwrap().view.agents();
        let zone = agents[0].address.zone.clone();
        let members = ownership::members(&agents, &zone);
        let owner = ownership::owner(&unit, members, UploadEpoch(100))
            .unwrap()
            .slot;
        let is_owner = |a: &Arc<Broker>| a.session.registration().slot == owner;
        self.agents.iter().position(is_owner).unwrap()
    }

    fn key(&self, written: &Written) -> String {
        object_key(self.fake.cluster(), &written.0)
    }

    /// Flips a bit in the first run of an object.
    pub(super) async fn damage(&self, written: &Written) {
        let key = self.key(written);
        let mut bytes = self.bucket.memory.get(&key).await.unwrap().to_vec();
        let at = usize::try_from(written.1[0].run_position).unwrap() + 100;
        bytes[at] ^= 1;
        let put = self
            .bucket
            .put(&key, vec![bytes.into()], PutMode::Overwrite);
        put.await.unwrap();
    }

    pub(super) async fn delete(&self, written: &Written) {
        let key = self.key(written);
        self.bucket.delete(&[key]).await.unwrap();
    }

    /// A cold object with this owner.
    pub(super) async fn write_owned_by(&self, owner: usize) -> Written {
        loop {
            let written = self.write_cold().await;
            if self.owner(written.0) == owner {
                return written;
            }
        }
    }
}

fn summary(batch: &RecordBatch) -> BatchSummary {
    BatchSummary {
        producer_id: batch.header.producer_id,
        producer_epoch: batch.header.producer_epoch,
        first_sequence: batch.header.base_sequence,
        records: batch.header.offsets(),
        bytes: u32::try_from(batch.bytes.len()).unwrap(),
        max_timestamp: batch.header.max_timestamp,
    }
}
