//! Groups: members, assignments, committed offsets.
//!
//! A group is one entity (and one page); its offsets are others, each of at most
//! [`OFFSETS_PER_CHUNK`] partitions of one topic, so that a commit touches little.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::ids::{PartitionId, TopicId};
use aquifer_metadata_api::config::group::GroupCoordinatorConfig;

use super::entity::Position;
use crate::event::group::{GroupConfigs, GroupNumber};

mod apply;
mod classic;
mod configs;
mod consumer;
mod cost;
mod offsets;
mod query;

pub(crate) use classic::{ClassicEntry, ClassicGroup};
#[cfg(test)]
pub(crate) use consumer::ConsumerState;
pub(crate) use consumer::{ConsumerEntry, ConsumerGroup};
pub(crate) use offsets::{ChunkKey, CommittedOffset, OffsetsChunk};

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(super) at: Position,
    pub(super) dirty: bool,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its members.
    pub(crate) body: Body,
    /// What it costs, as counted in the usage.
    pub(super) cost: u64,
}

/// A group's members, by kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// Classic, or with offsets only.
    Classic(ClassicGroup),
    /// Of KIP-848.
    Consumer(ConsumerGroup),
}

impl Group {
    /// As a classic group.
    pub(crate) fn classic(&self) -> Option<&ClassicGroup> {
        match &self.body {
            Body::Classic(group) => Some(group),
            Body::Consumer(_) => None,
        }
    }

    /// As a consumer group.
    pub(crate) fn consumer(&self) -> Option<&ConsumerGroup> {
        match &self.body {
            Body::Consumer(group) => Some(group),
            Body::Classic(_) => None,
        }
    }

    /// About how many bytes it takes in memory, and to be described.
    pub(crate) fn cost(&self) -> usize {
        usize::try_from(self.cost).unwrap_or(usize::MAX)
    }

    /// How many members it has.
    pub(crate) fn members(&self) -> usize {
        match &self.body {
            Body::Classic(group) => group.members.len(),
            Body::Consumer(group) => group.members.len(),
        }
    }
}

/// Every group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    pub(super) all: BTreeMap<GroupNumber, Group>,
    /// Of several groups of one name, as there may be while rows are replayed, the last one.
    pub(super) names: BTreeMap<Arc<str>, GroupNumber>,
    pub(super) offsets: BTreeMap<ChunkKey, OffsetsChunk>,
    /// Chunks by topic, for its deletion.
    pub(super) offsets_of: BTreeMap<TopicId, BTreeSet<ChunkKey>>,
    pub(super) configs: GroupConfigsEntity,
    /// Last event that created, deleted or enlarged a topic; groups that were looked at later know the
    /// topics. Not in pages: a new leader looks at all groups once.
    pub(super) topics_at: Position,
    /// Resolved from the broker configs.
    pub(super) settings: Arc<GroupCoordinatorConfig>,
}

/// Configs of groups, one entity.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupConfigsEntity {
    pub(super) at: Position,
    pub(super) dirty: bool,
    pub(super) by_group: GroupConfigs,
}

/// Partitions whose offsets are in one page.
pub(crate) const OFFSETS_PER_CHUNK: u32 = 512;

/// The chunk that the partition's offset is in.
pub(crate) fn chunk_of(group: GroupNumber, id: PartitionId) -> ChunkKey {
    ChunkKey {
        group,
        topic: id.topic,
        chunk: id.partition.0.cast_unsigned() / OFFSETS_PER_CHUNK,
    }
}
