//! Topics come, change and go.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TopicId},
    limits::TOPIC_PARTITIONS_MAX,
};

use super::Changes;
use crate::{
    event::TopicCreated,
    state::{
        budget::EXTENT_BYTES,
        entity::{Position, State},
        object::ObjectIndex,
        page::PageRef,
        topic::Topic,
    },
};

impl State {
    pub(super) fn topic_created(&mut self, created: &TopicCreated) {
        let next = LeaderEpoch(created.leader_epoch.0.saturating_add(1));
        if self.counters.at < self.position {
            self.counters.next_leader_epoch = self.counters.next_leader_epoch.max(next);
            self.touch_counters();
        }
        if let Some(topic) = self.topics.get(&created.topic) {
            // Its page is newer. An earlier topic of that name, from an older page, may have taken the
            // name meanwhile.
            self.names.insert(&topic.name, created.topic);
            return;
        }
        if self.trash.contains_key(&created.topic) {
            return;
        }
        let mut topic = Topic::new(
            self.position,
            created.name.clone(),
            created.partitions,
            created.leader_epoch,
            created.configs.clone(),
        );
        self.dirty
            .mark(&mut topic.dirty, PageRef::Topic(created.topic));
        self.enter_topic(created.topic, topic);
    }

    /// Puts a topic that is not there yet into the tables, or into the trash if it was deleted.
    pub(in crate::state) fn enter_topic(&mut self, id: TopicId, mut topic: Topic) {
        topic.resolve(&self.broker_configs);
        self.usage.partition_bytes = self.usage.partition_bytes.saturating_add(topic.cost());
        if topic.deleted.is_some() {
            self.trash.insert(id, topic);
            return;
        }
        self.names.insert(&topic.name, id);
        self.topics.insert(id, topic);
    }

    pub(super) fn topic_deleted(&mut self, id: TopicId, changes: &mut Changes) {
        let found = self.topics.remove(&id).or_else(|| self.trash.remove(&id));
        let Some(topic) = found else {
            return;
        };
        self.names.remove(&topic.name, id);
        self.dirty.gone(PageRef::Topic(id));
        self.usage.partition_bytes = self.usage.partition_bytes.saturating_sub(topic.cost());
        let mut dropped: Vec<ObjectIndex> = Vec::new();
        for (index, partition) in topic.indexed() {
            let partition_id = PartitionId::new(id, index);
            if partition.at != Position::default() {
                self.dirty.gone(PageRef::Head(partition_id));
            }
            for chunk in &partition.extents.chunks {
                let first = Offset(chunk.first);
                self.dirty.gone(PageRef::Extents(partition_id, first));
            }
            for chunk in partition.extents.merged() {
                let first = Offset(chunk.first);
                self.dirty.gone(PageRef::Merged(partition_id, first));
            }
            for extent in partition.extents.iter() {
                self.usage.extent_bytes = self.usage.extent_bytes.saturating_sub(EXTENT_BYTES);
                self.objects.remove(extent.object);
                dropped.push(extent.object);
            }
            for hold in partition.holds() {
                changes.holds = true;
                self.holds.remove(&(hold.session, hold.batch));
                let bytes = u64::from(hold.summary.bytes);
                self.usage.hold_bytes = self.usage.hold_bytes.saturating_sub(bytes);
                self.objects.remove(hold.object);
                dropped.push(hold.object);
            }
            if let Some(producers) = &partition.producers {
                let cost = producers.cost();
                self.usage.producer_bytes = self.usage.producer_bytes.saturating_sub(cost);
            }
        }
        dropped.sort_unstable();
        dropped.dedup();
        for object in dropped {
            self.objects.settle(object, &mut self.usage);
        }
    }

    pub(super) fn topic_configs_set(
        &mut self,
        id: TopicId,
        configs: &BTreeMap<String, String>,
        changes: &mut Changes,
    ) {
        let Some(topic) = self.topics.get_mut(&id) else {
            return;
        };
        if topic.at >= self.position {
            return;
        }
        topic.at = self.position;
        let before = topic.cost();
        topic.configs = configs.clone();
        let others = self.usage.partition_bytes.saturating_sub(before);
        self.usage.partition_bytes = others.saturating_add(topic.cost());
        topic.resolve(&self.broker_configs);
        self.dirty.mark(&mut topic.dirty, PageRef::Topic(id));
        changes.altered_topics.push(id);
    }

    pub(super) fn partitions_added(&mut self, id: TopicId, partitions: u32, changes: &mut Changes) {
        let Some(topic) = self.topics.get_mut(&id) else {
            return;
        };
        if topic.at >= self.position {
            return;
        }
        topic.at = self.position;
        let (before, cost) = (topic.partition_count(), topic.cost());
        topic.grow(partitions.min(TOPIC_PARTITIONS_MAX));
        let new = before..topic.partition_count();
        let others = self.usage.partition_bytes.saturating_sub(cost);
        self.usage.partition_bytes = others.saturating_add(topic.cost());
        self.dirty.mark(&mut topic.dirty, PageRef::Topic(id));
        changes.altered_topics.push(id);
        let new = new.map(|index| PartitionId::new(id, PartitionIndex(index.cast_signed())));
        changes.partitions.extend(new);
    }
}
