//! A leader, an agent and compactors in this process, on virtual time and any bucket: for what has to be counted
//! exactly. Runs on a runtime that is paused (`start_paused`).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aquifer_agent::{broker::Broker, produce::settings::Compute, settings::AgentSettings};
use aquifer_compaction::{Worker, WorkerSettings};
use aquifer_format::key::parse_object_key;
use aquifer_metadata::{Leader, LeaderSettings, LocalMetadata, journal::memory::MemoryJournal};
use aquifer_metadata_api::{Metadata, Upkeep, register::AgentAddress};
use aquifer_store::{
    DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, Ports, PutError, PutMode,
    UnfinishedUpload, Upload,
};
use async_trait::async_trait;
use bytes::Bytes;
use kafka_protocol::{
    messages::ResponseHeader,
    protocol::{Decodable, HeaderVersion, Request},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::wire::encode;

/// A leader on a journal in memory, and its bucket.
#[derive(Debug)]
pub struct VirtualCluster {
    /// The world's time.
    pub ports: Ports,
    /// The bucket.
    pub store: Arc<CountingStore>,
    journal: Arc<MemoryJournal>,
    leader: Option<(Ports, Leader)>,
}

impl VirtualCluster {
    /// A cluster without a leader.
    #[must_use]
    pub fn new(bucket: Arc<dyn ObjectStore>) -> Self {
        let ports = Ports::simulated(6, 1_700_000_000_000);
        let journal = Arc::new(MemoryJournal::new(Arc::clone(&ports.clock)));
        Self {
            store: Arc::new(CountingStore::new(bucket)),
            ports,
            journal,
            leader: None,
        }
    }

    /// Ends the leader that there is, and begins another one.
    ///
    /// # Panics
    /// If it cannot lead.
    pub async fn lead(&mut self, settings: LeaderSettings) {
        if let Some((ports, _)) = self.leader.take() {
            ports.tasks.kill();
        }
        let ports = self.ports.another_node();
        let journal = Arc::clone(&self.journal);
        let leading = Leader::start(journal, ports.clone(), settings);
        let leader = Box::pin(leading).await.expect("a leader starts");
        self.leader = Some((ports, leader));
    }

    /// The leader's service.
    ///
    /// # Panics
    /// If nobody leads.
    #[must_use]
    pub fn metadata(&self) -> Arc<LocalMetadata> {
        let (_, leader) = self.leader.as_ref().expect("somebody leads");
        leader.metadata()
    }

    /// A new agent, which knows nothing and has cached nothing.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn agent(&self) -> VirtualAgent {
        let ports = self.ports.another_node();
        let mut settings = AgentSettings::new(AgentAddress {
            host: "127.0.0.1".to_owned(),
            port: 9092,
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        });
        settings.produce.compute = Compute::Inline;
        let metadata = self.metadata() as Arc<dyn Metadata>;
        let store = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        let starting = Broker::start(settings, ports.clone(), metadata, store, None);
        let broker = Box::pin(starting).await.expect("an agent starts");
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let peer = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000));
        ports
            .tasks
            .spawn(async move { broker.serve(theirs, 0, peer).await });
        VirtualAgent {
            ports,
            io: ours,
            correlation: 0,
        }
    }

    /// A compactor that does nothing yet.
    #[must_use]
    pub fn worker(&self, settings: WorkerSettings) -> Arc<Worker> {
        let store = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        let metadata = self.metadata() as Arc<dyn Upkeep>;
        Worker::new(store, metadata, self.ports.another_node(), settings)
    }
}

/// An agent with one connection to it.
#[derive(Debug)]
pub struct VirtualAgent {
    ports: Ports,
    io: DuplexStream,
    correlation: i32,
}

impl VirtualAgent {
    /// Sends a request and waits for its answer.
    ///
    /// # Panics
    /// If there is none, or it is not one to the request.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.correlation += 1;
        let frame = encode(self.correlation, version, request);
        self.io.write_all(&frame).await.expect("the agent reads");
        let length = self.io.read_i32().await.expect("an answer");
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        self.io.read_exact(&mut frame).await.expect("an answer");
        let mut frame = Bytes::from(frame);
        let header = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header).expect("a header");
        assert_eq!(header.correlation_id, self.correlation);
        R::Response::decode(&mut frame, version).expect("an answer of this version")
    }

    /// Ends it.
    pub fn kill(self) {
        self.ports.tasks.kill();
    }
}

/// A bucket that counts reads of objects.
#[derive(Debug)]
pub struct CountingStore {
    inner: Arc<dyn ObjectStore>,
    gets: AtomicU64,
    get_bytes: AtomicU64,
}

impl CountingStore {
    fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            gets: AtomicU64::new(0),
            get_bytes: AtomicU64::new(0),
        }
    }

    /// GETs of objects and their bytes, since the last question.
    pub fn take_gets(&self) -> (u64, u64) {
        (
            self.gets.swap(0, Ordering::Relaxed),
            self.get_bytes.swap(0, Ordering::Relaxed),
        )
    }

    fn count(&self, key: &str, bytes: &Bytes) {
        if parse_object_key(key).is_ok() {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.gets.fetch_add(1, Ordering::Relaxed);
            self.get_bytes.fetch_add(length, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        self.inner.put(key, payload, mode).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let bytes = self.inner.get_range(key, range).await?;
        self.count(key, &bytes);
        Ok(bytes)
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        let bytes = self.inner.get(key).await?;
        self.count(key, &bytes);
        Ok(bytes)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        self.inner.head(key).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        self.inner.delete(keys).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        self.inner.begin_upload(key).await
    }

    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        self.inner.unfinished_uploads(prefix, after, limit).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        self.inner.abort_upload(upload).await
    }

    fn priced_per_request(&self) -> bool {
        self.inner.priced_per_request()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
