//! Reading the state for the planner and for compactors: topics in the trash are there, too.

use std::ops::Bound;

use aquifer_format::{
    ids::{
        Incarnation, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, UploadEpoch,
        WriterSlot,
    },
    limits::LIVE_OBJECTS_MAX,
};
use aquifer_metadata_api::{
    config::TopicConfig,
    upkeep::{DeletedTopic, DeletedTopics, ListedObject, ObjectsReply, ObjectsRequest},
};

use super::{entity::State, extents::Packed, partition::Partition, topic::Topic};

mod inputs;

/// No object is before it.
const FIRST_OBJECT: ObjectId = ObjectId {
    incarnation: Incarnation(0),
    upload_epoch: UploadEpoch(0),
    writer: WriterSlot(0),
    level: ObjectLevel::L0,
    unique: 0,
};

/// A partition, for the planner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedPartition<'a> {
    pub(crate) id: PartitionId,
    topic: &'a Topic,
    partition: &'a Partition,
    state: &'a State,
}

/// An extent, for the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedExtent {
    pub(crate) object: ObjectId,
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) raw_bytes: u32,
    pub(crate) max_timestamp: i64,
}

impl PlannedPartition<'_> {
    /// The topic's configs, resolved.
    pub(crate) fn config(&self) -> TopicConfig {
        TopicConfig::resolve(&self.topic.configs, self.state.broker_configs.effective())
    }

    /// Whether the topic is in the trash: it is merged, and not compacted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.topic.deleted.is_some()
    }

    /// Keys were compacted up to here.
    pub(crate) fn cleaned_through(&self) -> Offset {
        Offset(self.partition.cleaned_through)
    }

    /// The last stable offset.
    pub(crate) fn last_stable(&self) -> Offset {
        self.partition
            .watermarks(self.topic.leader_epoch)
            .last_stable
    }

    /// How many merged extents there are.
    pub(crate) fn merged_count(&self) -> usize {
        let chunks = self.partition.extents.merged().iter();
        chunks.map(|chunk| chunk.extents.len()).sum()
    }

    /// All extents in offset order.
    pub(crate) fn extents(&self) -> impl Iterator<Item = PlannedExtent> + '_ {
        let all = self.partition.extents.iter();
        all.filter_map(move |extent| self.planned(extent))
    }

    /// The same from the one on that has `from` or begins behind it.
    pub(crate) fn extents_from(&self, from: Offset) -> impl Iterator<Item = PlannedExtent> + '_ {
        let behind = self.partition.extents.iter_from(from.0);
        behind.filter_map(move |extent| self.planned(extent))
    }

    fn planned(&self, extent: &Packed) -> Option<PlannedExtent> {
        Some(PlannedExtent {
            object: self.state.objects.id(extent.object)?,
            base_offset: Offset(extent.base_offset),
            end_offset: Offset(extent.end()),
            raw_bytes: extent.raw_bytes,
            max_timestamp: extent.max_timestamp,
        })
    }
}

impl State {
    /// The partition of this id.
    pub(crate) fn planned_partition(&self, id: PartitionId) -> Option<PlannedPartition<'_>> {
        let topic = self.any_topic(id.topic)?;
        Some(PlannedPartition {
            id,
            topic,
            partition: topic.partition(id.partition)?,
            state: self,
        })
    }

    /// Partitions behind `after`, in order, topics in the trash included (in an order of their own, behind the
    /// others).
    pub(crate) fn planned_partitions(
        &self,
        after: Option<PartitionId>,
    ) -> impl Iterator<Item = PlannedPartition<'_>> + '_ {
        let in_trash = after.is_some_and(|id| self.trash.contains_key(&id.topic));
        let from = after.map_or(Bound::Unbounded, |id| Bound::Included(id.topic));
        let live = (!in_trash).then(|| self.topics.range((from, Bound::Unbounded)));
        let deleted = if in_trash { from } else { Bound::Unbounded };
        let all = live.into_iter().flatten();
        let all = all.chain(self.trash.range((deleted, Bound::Unbounded)));
        all.flat_map(move |(id, topic)| {
            let first = after
                .filter(|after| after.topic == *id)
                .and_then(|after| usize::try_from(after.partition.0.saturating_add(1)).ok())
                .unwrap_or(0);
            let indexed = (0..).map(PartitionIndex).zip(&topic.partitions);
            indexed
                .skip(first)
                .map(move |(index, partition)| PlannedPartition {
                    id: PartitionId::new(*id, index),
                    topic,
                    partition,
                    state: self,
                })
        })
    }

    /// Objects of level 0 with their sizes, about in order of their commits.
    pub(crate) fn small_objects(&self) -> impl Iterator<Item = (ObjectId, u64, u32)> + '_ {
        self.objects.small()
    }

    /// How many there are.
    pub(crate) fn small_objects_count(&self) -> usize {
        self.objects.small_count()
    }

    /// Live objects with their sizes and references, in order of ids, from `from` on.
    pub(crate) fn objects_from(
        &self,
        from: Option<ObjectId>,
    ) -> impl Iterator<Item = (ObjectId, u64, u32)> + '_ {
        self.objects.iter_from(from.unwrap_or(FIRST_OBJECT))
    }

    /// Released objects, by upload epoch of their keys: (object, released in).
    pub(crate) fn released_objects(&self) -> impl Iterator<Item = (ObjectId, UploadEpoch)> + '_ {
        self.released.iter().map(|(id, _, since)| (id, since))
    }

    /// The same from `from` on.
    pub(crate) fn released_from(
        &self,
        from: ObjectId,
    ) -> impl Iterator<Item = (ObjectId, UploadEpoch)> + '_ {
        let behind = self.released.iter_from(from);
        behind.map(|(id, _, since)| (id, since))
    }

    /// A page of the objects that are known; None = the cluster has not begun.
    pub(crate) fn objects_page(&self, request: &ObjectsRequest) -> Option<ObjectsReply> {
        let first = request.after.unwrap_or(FIRST_OBJECT);
        let is_new = |id: &ObjectId| request.after.is_none_or(|after| *id > after);
        let mut live = self.objects.iter_from(first).peekable();
        let mut released = self.released.iter_from(first).peekable();
        let next = std::iter::from_fn(|| {
            let id = match (live.peek(), released.peek()) {
                (None, None) => return None,
                (Some((id, ..)), None) | (None, Some((id, ..))) => *id,
                (Some((one, ..)), Some((other, ..))) => *one.min(other),
            };
            let live = live.next_if(|(live, ..)| *live == id);
            let released = released.next_if(|(released, ..)| *released == id);
            let (bytes, references, released_in) = match (live, released) {
                (Some((_, bytes, references)), _) => (bytes, references, None),
                (None, Some((_, bytes, since))) => (bytes, 0, Some(since)),
                (None, None) => return None,
            };
            Some(ListedObject {
                id,
                bytes,
                references,
                released_in,
            })
        });
        let limit = request.limit.clamp(1, LIVE_OBJECTS_MAX);
        Some(ObjectsReply {
            cluster: self.counters.cluster?,
            incarnation: self.counters.incarnation,
            upload_epoch: self.counters.upload_epoch,
            objects: next
                .filter(|object| is_new(&object.id))
                .take(limit)
                .collect(),
        })
    }

    /// Topics in the trash.
    pub(crate) fn deleted_topics(&self) -> DeletedTopics {
        let topics = self.trash.iter().filter_map(|(id, topic)| {
            let deleted = topic.deleted?;
            let bytes = topic.partitions.iter();
            let bytes = bytes.map(|partition| partition.extents.raw_bytes());
            Some(DeletedTopic {
                id: *id,
                name: topic.name.clone(),
                partitions: topic.partition_count(),
                bytes: bytes.fold(0, u64::saturating_add),
                deleted_at_ms: deleted.at_ms,
                purged_at_ms: deleted.purge_at_ms,
            })
        });
        let mut topics: Vec<DeletedTopic> = topics.collect();
        topics.sort_by(|a, b| (&a.name, a.deleted_at_ms).cmp(&(&b.name, b.deleted_at_ms)));
        DeletedTopics { topics }
    }
}
