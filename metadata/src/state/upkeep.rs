//! Reading the state for the planner and for compactors: topics in the trash are there, too.

use std::ops::Bound;

use aquifer_format::ids::{ObjectId, Offset, PartitionId, PartitionIndex, UploadEpoch};
use aquifer_metadata_api::{
    config::TopicConfig,
    upkeep::{
        DeletedTopics, Inputs, InputsReply, InputsRequest, JobKind, ObjectsReply, ObjectsRequest,
    },
};

use super::{entity::State, extents::Packed, partition::Partition, topic::Topic};

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
        let planned = |extent: &Packed| {
            Some(PlannedExtent {
                object: self.state.objects.id(extent.object)?,
                base_offset: Offset(extent.base_offset),
                end_offset: Offset(extent.end()),
                raw_bytes: extent.raw_bytes,
                max_timestamp: extent.max_timestamp,
            })
        };
        self.partition.extents.iter().filter_map(planned)
    }
}

impl State {
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

    /// Released objects, by upload epoch of their keys: (object, released in).
    pub(crate) fn released_objects(&self) -> impl Iterator<Item = (ObjectId, UploadEpoch)> + '_ {
        self.released.iter().map(|(id, _, since)| (id, since))
    }

    /// The extents of a job.
    pub(crate) fn job_inputs(&self, kind: &JobKind, request: &InputsRequest) -> InputsReply {
        let _ = (kind, request, None::<Inputs>);
        todo!("builder B")
    }

    /// A page of the objects that are known; None = the cluster has not begun.
    pub(crate) fn objects_page(&self, request: &ObjectsRequest) -> Option<ObjectsReply> {
        let _ = request;
        todo!("builder B")
    }

    /// Topics in the trash.
    pub(crate) fn deleted_topics(&self) -> DeletedTopics {
        todo!("builder B")
    }
}
