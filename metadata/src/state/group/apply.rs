//! Carrying out what happens to groups. Total, as all of [`State::apply`].

use std::sync::Arc;

use aquifer_format::ids::{PartitionId, TopicId};

use super::{
    Body, ClassicGroup, CommittedOffset, ConsumerGroup, Group, OffsetsChunk, chunk_of,
    query::chunks_of,
};
use crate::{
    event::group::{GroupChange, GroupKind, GroupNumber, OffsetsCommitted},
    state::{entity::State, page::PageRef},
};

impl State {
    pub(in crate::state) fn group_created(&mut self, number: GroupNumber, name: &str) {
        let next = GroupNumber(number.0.saturating_add(1));
        if self.counters.at < self.position {
            self.counters.next_group = self.counters.next_group.max(next);
            self.touch_counters();
        }
        if self.groups.all.contains_key(&number) {
            // its page is newer
            return;
        }
        let mut group = Group {
            at: self.position,
            dirty: false,
            name: Arc::from(name),
            body: Body::Classic(ClassicGroup::default()),
            cost: 0,
        };
        self.dirty.mark(&mut group.dirty, PageRef::Group(number));
        self.enter_group(number, group);
    }

    /// Puts a group that is not there yet into the tables.
    pub(in crate::state) fn enter_group(&mut self, number: GroupNumber, mut group: Group) {
        group.cost = group.weigh();
        self.usage.group_bytes = self.usage.group_bytes.saturating_add(group.cost);
        let named = self.groups.names.entry(Arc::clone(&group.name));
        let named = named.or_insert(number);
        // of an older page, or of a row that is replayed
        *named = (*named).max(number);
        self.groups.all.insert(number, group);
    }

    pub(in crate::state) fn group_changed(&mut self, number: GroupNumber, changes: &[GroupChange]) {
        let Some(group) = self.groups.all.get_mut(&number) else {
            return;
        };
        if group.at >= self.position {
            return;
        }
        group.at = self.position;
        for change in changes {
            group.apply(change);
        }
        self.usage.group_bytes = self.usage.group_bytes.saturating_sub(group.cost);
        // a rebalance of n members is some changes each of n members; to weigh them all is cheaper than they
        group.cost = group.weigh();
        self.usage.group_bytes = self.usage.group_bytes.saturating_add(group.cost);
        self.dirty.mark(&mut group.dirty, PageRef::Group(number));
    }

    pub(in crate::state) fn group_deleted(&mut self, number: GroupNumber) {
        let chunks = self.groups.offsets.range(chunks_of(number));
        let chunks: Vec<_> = chunks.map(|(key, _)| *key).collect();
        for key in chunks {
            self.drop_chunk(key);
        }
        let Some(group) = self.groups.all.remove(&number) else {
            return;
        };
        self.usage.group_bytes = self.usage.group_bytes.saturating_sub(group.cost);
        if self.groups.names.get(&group.name) == Some(&number) {
            self.groups.names.remove(&group.name);
        }
        self.dirty.gone(PageRef::Group(number));
    }

    pub(in crate::state) fn offsets_committed(&mut self, committed: &OffsetsCommitted) {
        let at = self.position;
        let group = committed.group;
        // deleted by a later row whose pages are written already: its offsets go as well
        if !self.groups.all.contains_key(&group) {
            return;
        }
        // the page knows no such time; it is 292 million years ago
        let expires_at_ms = committed.expires_at_ms.filter(|at| *at != i64::MIN);
        let all = committed.offsets.as_slice();
        for of_chunk in all.chunk_by(|a, b| chunk_of(group, a.0) == chunk_of(group, b.0)) {
            let Some(key) = of_chunk.first().map(|(id, _)| chunk_of(group, *id)) else {
                continue;
            };
            let chunk = self.groups.offsets.entry(key).or_default();
            // equal = this very event, where it is not sorted
            if chunk.at > at {
                continue;
            }
            if chunk.offsets.is_empty() {
                let chunks = self.groups.offsets_of.entry(key.topic).or_default();
                chunks.insert(key);
            }
            for (id, commit) in of_chunk {
                let offset = CommittedOffset {
                    offset: commit.offset,
                    leader_epoch: commit.leader_epoch,
                    metadata: Arc::clone(&commit.metadata),
                    at_ms: committed.at_ms,
                    expires_at_ms,
                };
                let usage = &mut self.usage.offset_bytes;
                *usage = usage.saturating_add(offset.weigh());
                chunk.cost = chunk.cost.saturating_add(offset.weigh());
                if let Some(before) = chunk.offsets.insert(id.partition, offset) {
                    *usage = usage.saturating_sub(before.weigh());
                    chunk.cost = chunk.cost.saturating_sub(before.weigh());
                }
            }
            chunk.at = at;
            self.dirty.mark(&mut chunk.dirty, PageRef::Offsets(key));
        }
    }

    pub(in crate::state) fn offsets_removed(
        &mut self,
        group: GroupNumber,
        partitions: &[PartitionId],
    ) {
        let at = self.position;
        for of_chunk in partitions.chunk_by(|a, b| chunk_of(group, *a) == chunk_of(group, *b)) {
            let Some(key) = of_chunk.first().map(|id| chunk_of(group, *id)) else {
                continue;
            };
            let Some(chunk) = self.groups.offsets.get_mut(&key) else {
                continue;
            };
            if chunk.at > at {
                continue;
            }
            for id in of_chunk {
                if let Some(gone) = chunk.offsets.remove(&id.partition) {
                    let usage = &mut self.usage.offset_bytes;
                    *usage = usage.saturating_sub(gone.weigh());
                    chunk.cost = chunk.cost.saturating_sub(gone.weigh());
                }
            }
            chunk.at = at;
            self.dirty.mark(&mut chunk.dirty, PageRef::Offsets(key));
            if chunk.offsets.is_empty() {
                self.drop_chunk(key);
            }
        }
    }

    /// Offsets of a topic go with it.
    pub(in crate::state) fn offsets_of_topic_deleted(&mut self, topic: TopicId) {
        let chunks = self.groups.offsets_of.get(&topic);
        let chunks: Vec<_> = chunks.into_iter().flatten().copied().collect();
        for key in chunks {
            self.drop_chunk(key);
        }
    }

    /// Puts a chunk that is not there yet into the tables.
    pub(in crate::state) fn enter_chunk(&mut self, key: super::ChunkKey, mut chunk: OffsetsChunk) {
        let offsets = chunk.offsets.values();
        chunk.cost = offsets.fold(0u64, |sum, offset| sum.saturating_add(offset.weigh()));
        self.usage.offset_bytes = self.usage.offset_bytes.saturating_add(chunk.cost);
        self.groups
            .offsets_of
            .entry(key.topic)
            .or_default()
            .insert(key);
        self.groups.offsets.insert(key, chunk);
    }

    fn drop_chunk(&mut self, key: super::ChunkKey) {
        let Some(chunk) = self.groups.offsets.remove(&key) else {
            return;
        };
        self.usage.offset_bytes = self.usage.offset_bytes.saturating_sub(chunk.cost);
        if let Some(chunks) = self.groups.offsets_of.get_mut(&key.topic) {
            chunks.remove(&key);
            if chunks.is_empty() {
                self.groups.offsets_of.remove(&key.topic);
            }
        }
        self.dirty.gone(PageRef::Offsets(key));
    }

    /// Notes that a topic came, went or got partitions.
    pub(in crate::state) fn topics_changed(&mut self) {
        self.groups.topics_at = self.position;
    }
}

impl Group {
    fn apply(&mut self, change: &GroupChange) {
        if let GroupChange::Kind(kind) = change {
            self.body = match kind {
                GroupKind::Classic => Body::Classic(ClassicGroup::default()),
                GroupKind::Consumer => Body::Consumer(ConsumerGroup::default()),
            };
            return;
        }
        match &mut self.body {
            Body::Classic(group) => group.apply(change),
            Body::Consumer(group) => group.apply(change),
        }
    }
}

impl ClassicGroup {
    fn apply(&mut self, change: &GroupChange) {
        match change {
            GroupChange::Phase(phase) => self.phase = phase.clone(),
            GroupChange::Member(member) => self.put(member.clone()),
            GroupChange::Removed(id) => {
                self.removed(id);
            }
            GroupChange::Assigned(assignments) => self.assign(assignments),
            GroupChange::Kind(_)
            | GroupChange::ConsumerMember(_)
            | GroupChange::Epoch { .. }
            | GroupChange::Target { .. }
            | GroupChange::Current { .. } => {}
        }
    }
}

impl ConsumerGroup {
    fn apply(&mut self, change: &GroupChange) {
        match change {
            GroupChange::ConsumerMember(member) => self.put((**member).clone()),
            GroupChange::Removed(id) => {
                self.removed(id);
            }
            GroupChange::Epoch {
                epoch,
                metadata_hash,
            } => {
                self.epoch = *epoch;
                self.metadata_hash = *metadata_hash;
            }
            GroupChange::Target { epoch, members } => {
                self.assignment_epoch = *epoch;
                for (id, target) in members {
                    if let Some(entry) = self.members.get_mut(id) {
                        entry.target = target.clone();
                    }
                }
            }
            GroupChange::Current { member, assignment } => {
                if let Some(entry) = self.members.get_mut(member) {
                    entry.current = assignment.clone();
                }
            }
            GroupChange::Kind(_)
            | GroupChange::Phase(_)
            | GroupChange::Member(_)
            | GroupChange::Assigned(_) => {}
        }
    }
}
