//! Reading groups.

use std::{
    ops::{Bound, RangeInclusive},
    sync::Arc,
};

use aquifer_format::ids::{PartitionId, TopicId};
use aquifer_metadata_api::config::{Configs, group::GroupCoordinatorConfig};
use uuid::Uuid;

use super::{ChunkKey, CommittedOffset, Group, chunk_of};
use crate::{
    event::group::GroupNumber,
    state::entity::{Position, State},
};

impl State {
    /// The number that the next group gets.
    pub(crate) fn next_group(&self) -> GroupNumber {
        self.counters.next_group
    }

    /// A group.
    pub(crate) fn group(&self, group: GroupNumber) -> Option<&Group> {
        self.groups.all.get(&group)
    }

    /// The group called `name`.
    pub(crate) fn group_by_name(&self, name: &str) -> Option<(GroupNumber, &Group)> {
        let number = *self.groups.names.get(name)?;
        Some((number, self.groups.all.get(&number)?))
    }

    /// Every group, by number.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (GroupNumber, &Group)> + '_ {
        self.groups
            .all
            .iter()
            .map(|(number, group)| (*number, group))
    }

    /// Groups behind `after`, by number.
    pub(crate) fn groups_after(
        &self,
        after: GroupNumber,
    ) -> impl Iterator<Item = (GroupNumber, &Group)> + '_ {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let groups = self.groups.all.range(range);
        groups.map(|(number, group)| (*number, group))
    }

    /// What the group committed of the partition.
    pub(crate) fn committed_offset(
        &self,
        group: GroupNumber,
        id: PartitionId,
    ) -> Option<&CommittedOffset> {
        let chunk = self.groups.offsets.get(&chunk_of(group, id))?;
        chunk.offsets.get(&id.partition)
    }

    /// All that the group committed, by topic and partition.
    pub(crate) fn committed_offsets(
        &self,
        group: GroupNumber,
    ) -> impl Iterator<Item = (PartitionId, &CommittedOffset)> + '_ {
        let chunks = self.groups.offsets.range(chunks_of(group));
        chunks.flat_map(|(key, chunk)| {
            let offsets = chunk.offsets.iter();
            offsets.map(move |(index, committed)| (key.partition(*index), committed))
        })
    }

    /// What groups committed, by group, topic and partition: of those behind `after`, which need not be
    /// there.
    pub(crate) fn committed_after(
        &self,
        after: Option<(GroupNumber, PartitionId)>,
    ) -> impl Iterator<Item = (GroupNumber, PartitionId, &CommittedOffset)> + '_ {
        let first = after.map(|(group, id)| chunk_of(group, id));
        let first = first.map_or(Bound::Unbounded, Bound::Included);
        let chunks = self.groups.offsets.range((first, Bound::Unbounded));
        let offsets = chunks.flat_map(|(key, chunk)| {
            let offsets = chunk.offsets.iter();
            offsets.map(move |(index, committed)| (key.group, key.partition(*index), committed))
        });
        offsets.skip_while(move |(group, id, _)| after.is_some_and(|after| (*group, *id) <= after))
    }

    /// Configs that are set on the group called `name`.
    pub(crate) fn group_configs(&self, name: &str) -> Option<&Configs> {
        self.groups.configs.by_group.get(name)
    }

    /// Groups that have configs.
    pub(crate) fn configured_groups(&self) -> impl Iterator<Item = &str> + '_ {
        self.groups.configs.by_group.keys().map(String::as_str)
    }

    /// The broker configs that groups follow.
    pub(crate) fn group_settings(&self) -> &Arc<GroupCoordinatorConfig> {
        &self.groups.settings
    }

    /// The last event that created, deleted or enlarged a topic.
    pub(crate) fn topics_at(&self) -> Position {
        self.groups.topics_at
    }
}

/// Every chunk of a group.
pub(super) fn chunks_of(group: GroupNumber) -> RangeInclusive<ChunkKey> {
    let key = |topic, chunk| ChunkKey {
        group,
        topic: TopicId(topic),
        chunk,
    };
    key(Uuid::nil(), 0)..=key(Uuid::max(), u32::MAX)
}
