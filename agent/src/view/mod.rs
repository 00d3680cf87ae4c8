//! What this agent knows of the cluster: topics, watermarks, agents and the newest extents, as the
//! metadata leader's watch tells it.
//!
//! The view is never ahead of what is durable and may be behind. Watermarks in it are lower bounds, so
//! that "not there yet" is never answered from it: who must know asks [`View::catch_up`] or the leader.
//!
//! Extents are kept for partitions that fetches of this agent are interested in, within a budget. What
//! is kept may be incomplete; it is not wrong, except that the object of an extent may have been
//! swapped away (the reader then sees a 404, forgets the extent and locates again).

mod extents;
mod follow;
mod parked;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use aquifer_format::ids::{
    Incarnation, JournalSeq, LeaderTerm, ObjectId, Offset, PartitionId, PartitionIndex, TopicId,
    UploadEpoch,
};
use aquifer_metadata_api::{
    Metadata, MetadataError,
    config::{Configs, TopicConfig},
    extent::{Extent, Watermarks},
    watch::{AgentView, TopicView},
};
use aquifer_store::Ports;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub(crate) use self::parked::Parking;
use self::{extents::ExtentCache, parked::Parked, snapshot::Snapshot};
use crate::{broker_configs::BrokerConfigs, session::AgentSession};

/// How long [`View::catch_up`] waits for the watch to reach the leader's position before it says that
/// the service is unavailable: longer than a re-opened watch takes, shorter than clients wait.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// Bounds of a [`View`].
#[derive(Clone, Debug)]
pub struct ViewSettings {
    /// Broker configs that the agent was started with; the cluster's dynamic ones go before them.
    pub broker_configs: Configs,
    /// Memory for cached extents, in bytes. An extent takes about 100 bytes; at 4 flushes a second,
    /// the default holds the last 30 minutes of 90 partitions.
    pub extent_bytes_max: usize,
    /// Most partitions that parked fetches can wait on at one time, over all connections. A fetch
    /// beyond that waits for its time instead of for data.
    pub parked_partitions_max: usize,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self {
            broker_configs: Configs::new(),
            extent_bytes_max: 64 * 1024 * 1024,
            parked_partitions_max: 1_000_000,
        }
    }
}

/// A topic with its configs interpreted.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Id, name, number of partitions, leader epoch, configs as they were set.
    pub view: Arc<TopicView>,
    /// The configs' meaning, defaults included.
    pub config: TopicConfig,
}

impl Topic {
    /// The partition with this index, if the topic has one.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<PartitionId> {
        let known = u32::try_from(index).is_ok_and(|i| i < self.view.partitions);
        known.then(|| PartitionId::new(self.view.id, PartitionIndex(index)))
    }
}

/// A point in the journal: the leader's term and the row.
pub type Position = (LeaderTerm, JournalSeq);

/// What this agent knows of the cluster.
pub struct View {
    metadata: Arc<dyn Metadata>,
    ports: Ports,
    snapshot: RwLock<Snapshot>,
    extents: Mutex<ExtentCache>,
    parked: Parked,
    position: watch::Sender<Position>,
    /// Whether others may be told of this agent; the watch carries it to the leader.
    named: watch::Sender<bool>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("position", &*self.position.borrow())
            .finish_non_exhaustive()
    }
}

impl View {
    /// Starts to follow the watch of the agent's session. The view is empty until [`Self::ready`].
    #[must_use]
    pub fn start(
        metadata: Arc<dyn Metadata>,
        session: Arc<AgentSession>,
        ports: Ports,
        settings: ViewSettings,
    ) -> Arc<Self> {
        let view = Arc::new(Self {
            metadata,
            snapshot: RwLock::new(Snapshot::new(settings.broker_configs)),
            extents: Mutex::new(ExtentCache::new(settings.extent_bytes_max)),
            parked: Parked::new(ports.clock.clone(), settings.parked_partitions_max),
            position: watch::Sender::new((LeaderTerm(0), JournalSeq(0))),
            named: watch::Sender::new(true),
            ports: ports.clone(),
        });
        ports
            .tasks
            .spawn(follow::follow(Arc::clone(&view), session));
        view
    }

    /// Returns when the first frame has arrived. Cancel safe.
    pub async fn ready(&self) {
        let mut position = self.position.subscribe();
        // The sender lives as long as `self`.
        let _ = position.wait_for(|(term, _)| *term > LeaderTerm(0)).await;
    }

    /// The topic called `name`, as far as this agent has heard.
    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.snapshot.read().topic_by_name(name)
    }

    /// The topic with this id, as far as this agent has heard.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.snapshot.read().topic_by_id(id)
    }

    /// The topic called `name`; before it says that there is none, the leader was asked.
    pub async fn topic_by_name_exact(
        &self,
        name: &str,
    ) -> Result<Option<Arc<Topic>>, MetadataError> {
        if let Some(topic) = self.topic_by_name(name) {
            return Ok(Some(topic));
        }
        self.catch_up().await?;
        Ok(self.topic_by_name(name))
    }

    /// The topic with this id; before it says that there is none, the leader was asked.
    pub async fn topic_by_id_exact(
        &self,
        id: TopicId,
    ) -> Result<Option<Arc<Topic>>, MetadataError> {
        if let Some(topic) = self.topic_by_id(id) {
            return Ok(Some(topic));
        }
        self.catch_up().await?;
        Ok(self.topic_by_id(id))
    }

    /// All topics, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.snapshot.read().topics()
    }

    /// Lower bounds of a partition's watermarks. None = no such partition, or it is fenced (see
    /// [`Self::is_fenced`]).
    #[must_use]
    pub fn watermarks(&self, partition: PartitionId) -> Option<Watermarks> {
        self.snapshot.read().watermarks(partition)
    }

    /// The highest watermarks that anybody was shown through this agent, in order of partitions.
    #[must_use]
    pub fn high_watermarks(&self) -> Vec<(PartitionId, Offset)> {
        self.snapshot.read().high_watermarks()
    }

    /// Whether a watermark of the partition fell, which only a bug can make happen: its reads stop
    /// until the leader has sent its whole state again.
    #[must_use]
    pub fn is_fenced(&self, partition: PartitionId) -> bool {
        self.snapshot.read().is_fenced(partition)
    }

    /// Whether a watermark of any partition fell: see [`Self::is_fenced`].
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        self.snapshot.read().has_fallen()
    }

    /// Says whether clients and other agents may be told of this agent; the leader hears of a change at
    /// once.
    pub(crate) fn set_named(&self, named: bool) {
        self.named.send_if_modified(|before| {
            let changed = *before != named;
            *before = named;
            changed
        });
    }

    /// The broker configs, as far as this agent has heard.
    #[must_use]
    pub fn broker_configs(&self) -> Arc<BrokerConfigs> {
        self.snapshot.read().broker_configs()
    }

    /// All live agents, by slot.
    #[must_use]
    pub fn agents(&self) -> Arc<[AgentView]> {
        self.snapshot.read().agents()
    }

    /// The upload epoch.
    #[must_use]
    pub fn upload_epoch(&self) -> UploadEpoch {
        self.snapshot.read().upload_epoch()
    }

    /// The cluster's incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.snapshot.read().incarnation()
    }

    /// Whether producers must be slowed down, since the metadata budget is nearly used up.
    #[must_use]
    pub fn throttle_produce(&self) -> bool {
        self.snapshot.read().throttle_produce()
    }

    /// Changes with each journal position that the view has reached.
    #[must_use]
    pub fn position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// Returns when the view shows everything that the leader had decided when this was called. Cancel
    /// safe.
    pub async fn catch_up(&self) -> Result<(), MetadataError> {
        let (term, seq) = self.metadata.barrier().await?;
        let mut position = self.position.subscribe();
        let reached = position.wait_for(|at| at.0 >= term && at.1 >= seq);
        match self.ports.timeout(CATCH_UP_MAX, reached).await {
            Some(_) => Ok(()),
            None => Err(MetadataError::Unavailable {
                reason: format!("the watch did not reach position {seq} in {CATCH_UP_MAX:?}"),
                may_have_happened: false,
            }),
        }
    }

    /// Takes over watermarks that the leader answered: they are at least as new as the watch.
    pub(crate) fn observe(&self, partition: PartitionId, exact: &Watermarks) {
        self.snapshot.write().observe(partition, exact);
    }

    /// Cached extents of `partition` that continue each other without a gap, the first one holding
    /// `from`, up to `bytes_max` expanded bytes (at least one). Empty = ask the leader: what was learnt long ago is
    /// not believed any more, for logs are merged and compacted.
    pub(crate) fn extents(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: u64,
    ) -> Vec<Extent> {
        let now = self.upload_epoch();
        self.extents.lock().get(partition, from, bytes_max, now)
    }

    /// Keeps extents that the leader located: together they cover everything from `from` on.
    pub(crate) fn keep_extents(&self, partition: PartitionId, from: Offset, extents: &[Extent]) {
        let now = self.upload_epoch();
        self.extents.lock().insert(partition, from, extents, now);
    }

    /// Forgets extents whose object is gone.
    pub(crate) fn forget_object(&self, partition: PartitionId, object: &ObjectId) {
        self.extents.lock().forget_object(partition, object);
    }

    /// Asks the leader to send extents of `partition` from its high watermark on as they come, for as
    /// long as somebody fetches it.
    pub(crate) fn take_interest(&self, partition: PartitionId, high_watermark: Offset) {
        self.parked.take_interest(partition, high_watermark);
    }

    /// Waits on partitions; the index of each in the slice is what [`Parking::woken`] names.
    pub(crate) fn park(&self, partitions: &[(PartitionId, Offset)]) -> Parking<'_> {
        self.parked.park(partitions)
    }
}
