//! Topics, watermarks and agents: the state that common frames carry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::{
    ids::{Incarnation, Offset, PartitionId, PartitionIndex, TopicId, UploadEpoch, WriterSlot},
    map::FixedMap,
};
use aquifer_metadata_api::{
    config::Configs,
    extent::Watermarks,
    watch::{AgentView, CommonFrame, TopicView},
};

use super::Topic;
use crate::broker_configs::BrokerConfigs;

/// The state after the last common frame.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    incarnation: Incarnation,
    upload_epoch: UploadEpoch,
    throttle_produce: bool,
    broker_configs: Arc<BrokerConfigs>,
    agents: Arc<[AgentView]>,
    by_name: BTreeMap<String, TopicId>,
    by_id: FixedMap<TopicId, TopicEntry>,
    /// Partitions whose watermark fell.
    fallen: BTreeSet<PartitionId>,
}

#[derive(Debug)]
struct TopicEntry {
    topic: Arc<Topic>,
    partitions: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// What the watch said last: must not fall.
    watched: Watermarks,
    /// The highest of `watched` and of what the leader answered since.
    known: Watermarks,
}

/// What a frame changed, for those who wait and for the extent cache.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Partitions whose watermarks moved.
    pub(super) moved: Vec<PartitionId>,
    /// Topics that are no more.
    pub(super) deleted: Vec<TopicId>,
    /// True if a watermark fell.
    pub(super) fell: bool,
    /// True if extents of before mean nothing now.
    pub(super) new_incarnation: bool,
}

impl Slot {
    fn new(topic: &TopicView) -> Self {
        let empty = Watermarks {
            log_start: Offset(0),
            high_watermark: Offset(0),
            last_stable: Offset(0),
            leader_epoch: topic.leader_epoch,
        };
        Self {
            watched: empty,
            known: empty,
        }
    }
}

fn highest(a: &Watermarks, b: &Watermarks) -> Watermarks {
    Watermarks {
        log_start: a.log_start.max(b.log_start),
        high_watermark: a.high_watermark.max(b.high_watermark),
        last_stable: a.last_stable.max(b.last_stable),
        leader_epoch: a.leader_epoch.max(b.leader_epoch),
    }
}

fn falls(from: &Watermarks, to: &Watermarks) -> bool {
    to.log_start < from.log_start
        || to.high_watermark < from.high_watermark
        || to.last_stable < from.last_stable
        || to.leader_epoch < from.leader_epoch
}

impl Snapshot {
    /// The state of an agent that was started with these broker configs and has heard nothing yet.
    pub(super) fn new(statics: Configs) -> Self {
        Self {
            broker_configs: Arc::new(BrokerConfigs::new(statics)),
            ..Self::default()
        }
    }

    pub(super) fn broker_configs(&self) -> Arc<BrokerConfigs> {
        Arc::clone(&self.broker_configs)
    }

    pub(super) fn topic_by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name.get(name).and_then(|id| self.topic_by_id(*id))
    }

    pub(super) fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.by_id.get(&id).map(|entry| Arc::clone(&entry.topic))
    }

    pub(super) fn topics(&self) -> Vec<Arc<Topic>> {
        self.by_name
            .values()
            .filter_map(|id| self.topic_by_id(*id))
            .collect()
    }

    pub(super) fn agents(&self) -> Arc<[AgentView]> {
        Arc::clone(&self.agents)
    }

    pub(super) fn upload_epoch(&self) -> UploadEpoch {
        self.upload_epoch
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(super) fn throttle_produce(&self) -> bool {
        self.throttle_produce
    }

    fn slot(&self, partition: PartitionId) -> Option<&Slot> {
        let index = usize::try_from(partition.partition.0).ok()?;
        self.by_id.get(&partition.topic)?.partitions.get(index)
    }

    fn slot_mut(&mut self, partition: PartitionId) -> Option<&mut Slot> {
        let index = usize::try_from(partition.partition.0).ok()?;
        self.by_id
            .get_mut(&partition.topic)?
            .partitions
            .get_mut(index)
    }

    pub(super) fn watermarks(&self, partition: PartitionId) -> Option<Watermarks> {
        let slot = self.slot(partition)?;
        (!self.is_fenced(partition)).then_some(slot.known)
    }

    /// Of every partition, fenced or not.
    pub(super) fn high_watermarks(&self) -> Vec<(PartitionId, Offset)> {
        let mut marks = Vec::new();
        for (id, entry) in &self.by_id {
            for (index, slot) in (0..).zip(&entry.partitions) {
                let partition = PartitionId::new(*id, PartitionIndex(index));
                marks.push((partition, slot.known.high_watermark));
            }
        }
        // The map's order is not the same for the same content reached in two ways.
        marks.sort_unstable();
        marks
    }

    pub(super) fn is_fenced(&self, partition: PartitionId) -> bool {
        self.fallen.contains(&partition)
    }

    pub(super) fn has_fallen(&self) -> bool {
        !self.fallen.is_empty()
    }

    pub(super) fn observe(&mut self, partition: PartitionId, exact: &Watermarks) {
        if let Some(slot) = self.slot_mut(partition) {
            slot.known = highest(&slot.known, exact);
        }
    }

    /// Applies a frame. A reset replaces topics and agents; watermarks of partitions that stay are
    /// compared with what they were.
    pub(super) fn apply(&mut self, frame: &CommonFrame) -> Changes {
        let mut changes = Changes {
            new_incarnation: frame.incarnation != self.incarnation,
            ..Changes::default()
        };
        self.incarnation = frame.incarnation;
        self.upload_epoch = frame.upload_epoch;
        self.throttle_produce = frame.throttle_produce;
        if let Some(agents) = &frame.agents {
            self.put_agents(agents, frame.agents_complete);
        }
        if let Some(dynamic) = &frame.broker_configs {
            self.put_broker_configs(dynamic);
        }
        if frame.reset {
            self.reset_topics(frame, &mut changes);
        }
        for id in &frame.deleted_topics {
            self.remove_topic(*id, &mut changes);
        }
        for topic in &frame.topics {
            self.put_topic(topic, &mut changes);
        }
        for (partition, watermarks) in &frame.watermarks {
            self.put_watermarks(*partition, watermarks, &mut changes);
        }
        changes
    }

    /// Takes over the live agents; of an incomplete list only who is on it, not who is missing.
    fn put_agents(&mut self, agents: &[AgentView], complete: bool) {
        let known = if complete { &[][..] } else { &self.agents };
        let all = known.iter().chain(agents);
        let by_slot: BTreeMap<WriterSlot, &AgentView> = all.map(|a| (a.slot, a)).collect();
        self.agents = by_slot.into_values().cloned().collect();
    }

    /// Takes over dynamic broker configs, which topics without an override of their own follow.
    fn put_broker_configs(&mut self, dynamic: &Arc<Configs>) {
        if **dynamic == **self.broker_configs.dynamic() {
            return;
        }
        self.broker_configs = Arc::new(self.broker_configs.with_dynamic(Arc::clone(dynamic)));
        for entry in self.by_id.values_mut() {
            entry.topic = Arc::new(Topic {
                view: Arc::clone(&entry.topic.view),
                config: self.broker_configs.topic(&entry.topic.view.configs),
            });
        }
    }

    /// Drops what the new whole state does not have, and everything of another incarnation.
    fn reset_topics(&mut self, frame: &CommonFrame, changes: &mut Changes) {
        let new_incarnation = changes.new_incarnation;
        let mut gone: Vec<TopicId> = self.by_id.keys().copied().collect();
        if !new_incarnation {
            let kept: std::collections::BTreeSet<TopicId> =
                frame.topics.iter().map(|topic| topic.id).collect();
            gone.retain(|id| !kept.contains(id));
        }
        // The map's order is not the same for the same content reached in two ways.
        gone.sort_unstable();
        for id in gone {
            self.remove_topic(id, changes);
        }
        self.fallen.clear();
    }

    fn remove_topic(&mut self, id: TopicId, changes: &mut Changes) {
        let Some(entry) = self.by_id.remove(&id) else {
            return;
        };
        self.fallen.retain(|partition| partition.topic != id);
        let name = &entry.topic.view.name;
        if self.by_name.get(name) == Some(&id) {
            self.by_name.remove(name);
        }
        changes.deleted.push(id);
    }

    fn put_topic(&mut self, view: &Arc<TopicView>, changes: &mut Changes) {
        // A name that moved to another topic: the earlier one is gone, whatever the order of the news.
        if let Some(earlier) = self.by_name.insert(view.name.clone(), view.id)
            && earlier != view.id
        {
            self.by_id.remove(&earlier);
            self.fallen.retain(|partition| partition.topic != earlier);
            changes.deleted.push(earlier);
        }
        let topic = Arc::new(Topic {
            view: Arc::clone(view),
            config: self.broker_configs.topic(&view.configs),
        });
        let entry = self.by_id.entry(view.id).or_insert_with(|| TopicEntry {
            topic: Arc::clone(&topic),
            partitions: Vec::new(),
        });
        entry.topic = topic;
        let partitions = usize::try_from(view.partitions).expect("u32 fits");
        entry.partitions.resize(partitions, Slot::new(view));
        entry.partitions.shrink_to_fit();
    }

    fn put_watermarks(&mut self, id: PartitionId, new: &Watermarks, changes: &mut Changes) {
        let Some(slot) = self.slot_mut(id) else {
            tracing::warn!(partition = %id, "watermarks of a partition that the watch did not name");
            return;
        };
        if falls(&slot.watched, new) {
            tracing::error!(
                partition = %id, from = ?slot.watched, to = ?new,
                "a watermark fell within one incarnation; reads of the partition stop until the next reset"
            );
            metrics::counter!("aquifer_view_fenced_partitions_total").increment(1);
            self.fallen.insert(id);
            changes.fell = true;
            changes.moved.push(id);
            return;
        }
        let moved = slot.watched != *new;
        slot.watched = *new;
        slot.known = highest(&slot.known, new);
        if moved {
            changes.moved.push(id);
        }
    }
}
