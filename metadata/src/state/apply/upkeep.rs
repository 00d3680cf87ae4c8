//! What compactors did, and topics that go to the trash and come back.

use aquifer_format::ids::{LeaderEpoch, ObjectId, TopicId};

use super::Changes;
use crate::{
    event::swapped::{Swapped, SwappedExtent, SwappedRange},
    state::{
        entity::State,
        extents::{Packed, PushContext},
        merged::Swap,
        object::ObjectIndex,
        page::PageRef,
        topic::Deleted,
    },
};

impl State {
    pub(super) fn swapped(&mut self, swapped: &Swapped, changes: &mut Changes) {
        let objects: Vec<ObjectIndex> = swapped
            .objects
            .iter()
            .map(|object| self.objects.intern(object, &mut self.usage))
            .collect();
        for ranges in swapped.ranges.chunk_by(|a, b| a.partition == b.partition) {
            self.swap_of_partition(ranges, &objects, changes);
        }
        for object in objects {
            self.objects.settle(object, &mut self.usage);
        }
    }

    fn swap_of_partition(
        &mut self,
        ranges: &[SwappedRange],
        objects: &[ObjectIndex],
        changes: &mut Changes,
    ) {
        let Some(id) = ranges.first().map(|range| range.partition) else {
            return;
        };
        let at = self.position;
        let topic = self
            .topics
            .get_mut(&id.topic)
            .or_else(|| self.trash.get_mut(&id.topic));
        let Some(partition) = topic.and_then(|topic| topic.partition_mut(id.partition)) else {
            return;
        };
        let cleaned = ranges.iter().filter_map(|range| range.cleaned_through);
        if let Some(cleaned) = cleaned.max()
            && partition.at < at
        {
            partition.cleaned_through = partition.cleaned_through.max(cleaned.0);
            partition.at = at;
            self.dirty.mark(&mut partition.dirty, PageRef::Head(id));
            changes.partitions.push(id);
        }
        let swaps: Vec<Swap> = ranges
            .iter()
            .map(|range| Swap {
                from: range.from.0,
                to: range.to.0,
                into: range.into.0,
                extents: range
                    .extents
                    .iter()
                    .filter_map(|extent| packed(extent, objects))
                    .collect(),
            })
            .collect();
        let mut context = PushContext {
            at,
            partition: id,
            objects: &mut self.objects,
            usage: &mut self.usage,
            dirty: &mut self.dirty,
        };
        partition.extents.swap(&swaps, &mut context);
    }

    pub(super) fn objects_deleted(&mut self, objects: &[ObjectId]) {
        for object in objects {
            self.released.remove(self.position, object, &mut self.dirty);
        }
    }

    pub(super) fn topic_soft_deleted(
        &mut self,
        id: TopicId,
        at_ms: i64,
        purge_at_ms: i64,
        changes: &mut Changes,
    ) {
        let at = self.position;
        if self.topics.get(&id).is_none_or(|topic| topic.at >= at) {
            return;
        }
        let Some(mut topic) = self.topics.remove(&id) else {
            return;
        };
        self.names.remove(&topic.name, id);
        topic.at = at;
        topic.deleted = Some(Deleted { at_ms, purge_at_ms });
        self.dirty.mark(&mut topic.dirty, PageRef::Topic(id));
        self.trash.insert(id, topic);
        changes.deleted_topics.push(id);
    }

    pub(super) fn topic_restored(
        &mut self,
        id: TopicId,
        leader_epoch: LeaderEpoch,
        changes: &mut Changes,
    ) {
        let at = self.position;
        let next = LeaderEpoch(leader_epoch.0.saturating_add(1));
        if self.counters.at < at {
            self.counters.next_leader_epoch = self.counters.next_leader_epoch.max(next);
            self.touch_counters();
        }
        if let Some(topic) = self.topics.get(&id) {
            // Its page is newer. A topic that had the name meanwhile, and is gone by now, may have taken it.
            self.names.insert(&topic.name, id);
            return;
        }
        if self.trash.get(&id).is_none_or(|topic| topic.at >= at) {
            return;
        }
        let Some(mut topic) = self.trash.remove(&id) else {
            return;
        };
        topic.at = at;
        topic.deleted = None;
        topic.leader_epoch = topic.leader_epoch.max(leader_epoch);
        topic.resolve(&self.broker_configs);
        self.names.insert(&topic.name, id);
        self.dirty.mark(&mut topic.dirty, PageRef::Topic(id));
        self.topics.insert(id, topic);
        changes.topics.push(id);
    }
}

fn packed(extent: &SwappedExtent, objects: &[ObjectIndex]) -> Option<Packed> {
    let object = usize::try_from(extent.object).ok()?;
    Some(Packed {
        run_position: extent.run_position,
        base_offset: extent.base_offset.0,
        max_timestamp: extent.max_timestamp,
        object: *objects.get(object)?,
        run_bytes: extent.run_bytes,
        raw_start: 0,
        raw_bytes: extent.raw_bytes,
        records: extent.offsets,
        log_append_time: false,
    })
}
