//! Reading the state. The sequencer answers only once what was read is durable.

use aquifer_format::{
    ids::{
        ClusterId, Incarnation, JournalSeq, LeaderEpoch, ObjectId, Offset, PartitionId, SessionId,
        TopicId, UploadEpoch, WriterSlot,
    },
    limits::LOCATE_EXTENTS_MAX,
};
use aquifer_metadata_api::{
    commit::BatchRef,
    extent::{Extent, Watermarks},
    live::LiveObjects,
    locate::{
        LocatePartition, LocateReply, LocateRequest, Located, OffsetSpec, OffsetsFound,
        OffsetsReply, OffsetsRequest,
    },
    register::AgentAddress,
    watch::{AgentView, TopicView},
};

use super::{
    budget::{Budgets, Pressure, Usage},
    entity::{Slot, State},
    held::HeldBatch,
    topic::{Deleted, Topic},
};

/// A topic, to be read.
#[derive(Clone, Copy, Debug)]
pub struct TopicRef<'a> {
    id: TopicId,
    topic: &'a Topic,
}

impl<'a> TopicRef<'a> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.topic.name
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.topic.partition_count()
    }

    /// Its leader epoch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.topic.leader_epoch
    }

    /// Watermarks of all its partitions.
    pub fn watermarks(self) -> impl Iterator<Item = (PartitionId, Watermarks)> + 'a {
        let Self { id, topic } = self;
        topic.indexed().map(move |(index, partition)| {
            let watermarks = partition.watermarks(topic.leader_epoch);
            (PartitionId::new(id, index), watermarks)
        })
    }

    /// The topic as watchers see it.
    #[must_use]
    pub fn view(&self) -> TopicView {
        TopicView {
            id: self.id,
            name: self.topic.name.clone(),
            partitions: self.topic.partition_count(),
            leader_epoch: self.topic.leader_epoch,
            configs: self.topic.configs.clone(),
        }
    }
}

impl State {
    /// Whether the cluster has begun.
    #[must_use]
    pub fn is_born(&self) -> bool {
        self.counters.cluster.is_some()
    }

    /// The cluster, once it has begun.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.counters.cluster
    }

    /// The cluster's incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.counters.incarnation
    }

    /// The upload epoch.
    #[must_use]
    pub fn upload_epoch(&self) -> UploadEpoch {
        self.counters.upload_epoch
    }

    /// The row of the last event that was applied.
    #[must_use]
    pub fn seq(&self) -> JournalSeq {
        self.position.seq()
    }

    /// What the state costs.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// What it may cost.
    #[must_use]
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Whether producers are to be throttled or refused.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.usage.pressure(&self.budgets)
    }

    /// The topic of that id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<TopicRef<'_>> {
        self.topics.get(&id).map(|topic| TopicRef { id, topic })
    }

    /// The topic of that id, if it is in the trash.
    pub(super) fn deleted_topic(&self, id: TopicId) -> Option<(TopicRef<'_>, Deleted)> {
        let topic = self.trash.get(&id)?;
        Some((TopicRef { id, topic }, topic.deleted?))
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<TopicRef<'_>> {
        self.topic(self.names.get(name)?)
    }

    /// All topics, in order of ids.
    pub fn topics(&self) -> impl Iterator<Item = TopicRef<'_>> + '_ {
        self.topics
            .iter()
            .map(|(id, topic)| TopicRef { id: *id, topic })
    }

    /// A partition's watermarks.
    #[must_use]
    pub fn watermarks(&self, id: PartitionId) -> Option<Watermarks> {
        let topic = self.topics.get(&id.topic)?;
        let partition = topic.partition(id.partition)?;
        Some(partition.watermarks(topic.leader_epoch))
    }

    /// Watermarks of those of `ids` that are there. A topic whose partitions are next to each other is looked
    /// for once.
    pub fn watermarks_of(
        &self,
        ids: &[PartitionId],
    ) -> impl Iterator<Item = (PartitionId, Watermarks)> {
        let topics = ids.chunk_by(|a, b| a.topic == b.topic);
        let found =
            topics.filter_map(move |ids| Some((self.topics.get(&ids.first()?.topic)?, ids)));
        found.flat_map(|(topic, ids)| {
            ids.iter().filter_map(move |id| {
                let partition = topic.partition(id.partition)?;
                Some((*id, partition.watermarks(topic.leader_epoch)))
            })
        })
    }

    /// All live agents, in order of slots.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentView> {
        let live = self.slots.slots.iter().filter_map(|(slot, state)| {
            let Slot::Live(session) = state else {
                return None;
            };
            let address = self.sessions.get(session)?.agent.clone();
            Some(AgentView {
                slot: *slot,
                address,
            })
        });
        live.collect()
    }

    /// The slot of a live session.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<WriterSlot> {
        self.sessions.get(&id).map(|session| session.slot)
    }

    /// The slot and address of every live session.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, WriterSlot, &AgentAddress)> + '_ {
        self.sessions
            .iter()
            .map(|(id, session)| (*id, session.slot, &session.agent))
    }

    /// Every held batch, in order of sessions and batches.
    pub fn held(&self) -> impl Iterator<Item = HeldBatch> + '_ {
        self.holds
            .iter()
            .map(|((session, batch), partition)| HeldBatch {
                session: *session,
                batch: *batch,
                partition: *partition,
            })
    }

    /// Whether this batch is held.
    #[must_use]
    pub fn is_held(&self, session: SessionId, batch: BatchRef) -> bool {
        self.holds.contains_key(&(session, batch))
    }

    /// Objects without a live extent: (object, size in bytes, upload epoch in which it was released).
    pub fn released(&self) -> impl Iterator<Item = (ObjectId, u64, UploadEpoch)> + '_ {
        self.released.iter()
    }

    /// Objects with live extents or held batches: (object, size in bytes).
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
        self.objects.iter().map(|(id, bytes, _)| (id, bytes))
    }

    /// Whether the partition is there, be it of a topic in the trash.
    pub(crate) fn is_known(&self, id: PartitionId) -> bool {
        self.any_partition(id).is_some()
    }

    /// Which of these objects have live extents or held batches, or are released; None = the cluster has
    /// not begun.
    #[must_use]
    pub fn live_objects(&self, objects: &[ObjectId]) -> Option<LiveObjects> {
        let known = |id: &ObjectId| self.objects.find(id).is_some() || self.released.contains(id);
        Some(LiveObjects {
            cluster: self.counters.cluster?,
            incarnation: self.counters.incarnation,
            upload_epoch: self.counters.upload_epoch,
            live: objects.iter().map(known).collect(),
        })
    }

    /// Extents of one partition from the one that holds `from` on.
    pub fn extents(&self, id: PartitionId, from: Offset) -> impl Iterator<Item = Extent> + '_ {
        self.partition(id)
            .into_iter()
            .flat_map(move |partition| partition.extents.iter_from(from.0))
            .filter_map(|extent| extent.unpack(&self.objects))
    }

    /// The last extent of a partition that ends at or below `offset`.
    pub(crate) fn extent_before(&self, id: PartitionId, offset: Offset) -> Option<Extent> {
        let extent = self.partition(id)?.extents.before(offset.0)?;
        extent.unpack(&self.objects)
    }

    /// Finds extents.
    #[must_use]
    pub fn locate(&self, request: &LocateRequest) -> LocateReply {
        let partitions = request.partitions.iter();
        LocateReply {
            partitions: partitions.map(|wanted| self.locate_one(wanted)).collect(),
        }
    }

    fn locate_one(&self, wanted: &LocatePartition) -> Option<Located> {
        let watermarks = self.watermarks(wanted.partition)?;
        let mut extents = Vec::new();
        let readable = watermarks.log_start..watermarks.high_watermark;
        if readable.contains(&wanted.from) {
            let mut bytes = 0u64;
            for extent in self.extents(wanted.partition, wanted.from) {
                if extents.len() >= LOCATE_EXTENTS_MAX
                    || (!extents.is_empty() && bytes >= wanted.max_bytes)
                {
                    break;
                }
                bytes = bytes.saturating_add(u64::from(extent.raw_bytes));
                extents.push(extent);
            }
        }
        Some(Located {
            watermarks,
            extents,
        })
    }

    /// Resolves offset specifications.
    #[must_use]
    pub fn offsets(&self, request: &OffsetsRequest) -> OffsetsReply {
        let partitions = request.partitions.iter();
        OffsetsReply {
            partitions: partitions
                .map(|(partition, spec)| self.offset(*partition, *spec))
                .collect(),
        }
    }

    fn offset(&self, id: PartitionId, spec: OffsetSpec) -> Option<OffsetsFound> {
        let watermarks = self.watermarks(id)?;
        let partition = self.partition(id)?;
        let from = watermarks.log_start.0;
        let extent = match spec {
            OffsetSpec::Watermarks => None,
            OffsetSpec::Timestamp(timestamp) => {
                partition.extents.first_at_or_after(timestamp, from)
            }
            OffsetSpec::MaxTimestamp => partition.extents.first_with_max_timestamp(from),
        };
        Some(OffsetsFound {
            watermarks,
            extent: extent.and_then(|extent| extent.unpack(&self.objects)),
        })
    }
}
