//! Topics and their names.

use std::{collections::BTreeMap, ops::Bound};

use aquifer_format::{
    ids::{LeaderEpoch, PartitionIndex, TopicId},
    limits::TOPIC_PARTITIONS_MAX,
};
use aquifer_metadata_api::config::{TimestampType, TopicConfig};

use super::{
    broker_configs::BrokerConfigs,
    budget::{PARTITION_BYTES, configs_bytes},
    entity::Position,
    partition::Partition,
};

const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// A topic with its partitions.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) at: Position,
    pub(super) dirty: bool,
    pub(super) name: String,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) configs: BTreeMap<String, String>,
    /// `message.timestamp.type` is `LogAppendTime`, be it by a broker config; see [`Self::resolve`].
    pub(super) log_append_time: bool,
    pub(super) partitions: Vec<Partition>,
    /// It is in the trash.
    pub(super) deleted: Option<Deleted>,
}

/// Since when a topic is in the trash, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deleted {
    /// Milliseconds since 1970.
    pub(super) at_ms: i64,
    /// The same.
    pub(super) purge_at_ms: i64,
}

impl Topic {
    /// A topic without a record, yet to be resolved. More partitions than [`TOPIC_PARTITIONS_MAX`] are not
    /// made: no decision asks for them.
    pub(super) fn new(
        at: Position,
        name: String,
        partitions: u32,
        leader_epoch: LeaderEpoch,
        configs: BTreeMap<String, String>,
    ) -> Self {
        let count = usize::try_from(partitions.min(TOPIC_PARTITIONS_MAX)).unwrap_or(0);
        let mut all = Vec::new();
        all.resize_with(count, Partition::default);
        Self {
            at,
            dirty: false,
            name,
            leader_epoch,
            configs,
            log_append_time: false,
            partitions: all,
            deleted: None,
        }
    }

    /// Takes what decisions need often out of its configs and those of the brokers.
    pub(super) fn resolve(&mut self, brokers: &BrokerConfigs) {
        self.log_append_time = if self.configs.contains_key(TIMESTAMP_TYPE) {
            let resolved = TopicConfig::resolve(&self.configs, brokers.effective());
            resolved.timestamp_type == TimestampType::LogAppendTime
        } else {
            brokers.log_append_time()
        };
    }

    /// Adds partitions until there are `partitions`.
    pub(super) fn grow(&mut self, partitions: u32) {
        let count = usize::try_from(partitions).unwrap_or(0);
        let count = count.max(self.partitions.len());
        self.partitions.resize_with(count, Partition::default);
    }

    pub(super) fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    pub(super) fn partition_mut(&mut self, index: PartitionIndex) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index.0).ok()?)
    }

    pub(super) fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// What it costs of the budget for partitions.
    pub(super) fn cost(&self) -> u64 {
        let partitions = u64::from(self.partition_count()).saturating_mul(PARTITION_BYTES);
        partitions.saturating_add(configs_bytes(&self.configs))
    }

    /// Partitions with their indexes.
    pub(super) fn indexed(&self) -> impl Iterator<Item = (PartitionIndex, &Partition)> + '_ {
        (0..).map(PartitionIndex).zip(&self.partitions)
    }
}

/// Topics by name, and by the name with `.` written as `_`: names that differ in nothing else would be
/// one in Kafka's metric names (`org.apache.kafka.common.internals.Topic.hasCollision`).
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<(String, String), TopicId>);

impl Names {
    pub(super) fn insert(&mut self, name: &str, topic: TopicId) {
        self.0.insert(key(name), topic);
    }

    /// Takes the name away if it is (still) this topic's.
    pub(super) fn remove(&mut self, name: &str, topic: TopicId) {
        let key = key(name);
        if self.0.get(&key) == Some(&topic) {
            self.0.remove(&key);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<TopicId> {
        self.0.get(&key(name)).copied()
    }

    /// A topic whose name is not `name` but collides with it.
    pub(super) fn colliding(&self, name: &str) -> Option<&str> {
        let unified = unify(name);
        let from = Bound::Included((unified.clone(), String::new()));
        self.0
            .range((from, Bound::Unbounded))
            .take_while(|((other, _), _)| *other == unified)
            .map(|((_, other), _)| other.as_str())
            .find(|other| *other != name)
    }
}

pub(super) fn unify(name: &str) -> String {
    name.replace('.', "_")
}

fn key(name: &str) -> (String, String) {
    (unify(name), name.to_owned())
}
