//! Pages of groups, of their offsets and of their configs.

use std::sync::Arc;

use aquifer_format::ids::{Offset, PartitionIndex};
use bytes::Bytes;

use super::{
    PageRef,
    decode::{Fault, UNEVEN},
    frame, proto,
};
use crate::{
    event::{
        classic_member_from, classic_member_to, configs_from, configs_to, consumer_member_from,
        consumer_member_to, current_from, current_to,
        group::{CurrentAssignment, GroupNumber},
        offset_metadata, partitions_from, partitions_to, phase_from, phase_to, topic_from,
    },
    state::{
        entity::{Position, State},
        group::{
            Body, ChunkKey, ClassicGroup, CommittedOffset, ConsumerGroup, Group, OFFSETS_PER_CHUNK,
            OffsetsChunk,
        },
    },
};
use proto::group_page;

/// An offset that expires by its group's retention.
const BY_RETENTION: i64 = i64::MIN;

impl State {
    pub(super) fn group_page(&self, number: GroupNumber) -> Option<(Position, Bytes)> {
        let group = self.groups.all.get(&number)?;
        let page = proto::GroupPage {
            position: group.at.to_bits(),
            group: number.0,
            name: group.name.to_string(),
            body: Some(match &group.body {
                Body::Classic(classic) => group_page::Body::Classic(classic_to(classic)),
                Body::Consumer(consumer) => group_page::Body::Consumer(consumer_to(consumer)),
            }),
        };
        Some((group.at, frame(&page)))
    }

    pub(super) fn offsets_page(&self, key: ChunkKey) -> Option<(Position, Bytes)> {
        let chunk = self.groups.offsets.get(&key)?;
        Some((chunk.at, frame(&offsets_to(key, chunk))))
    }

    /// None where no group ever had configs.
    pub(super) fn group_configs_page(&self) -> Option<(Position, Bytes)> {
        let configs = &self.groups.configs;
        if configs.at == Position::default() {
            return None;
        }
        let groups = configs.by_group.iter();
        let page = proto::GroupConfigsPage {
            position: configs.at.to_bits(),
            groups: groups
                .map(|(group, configs)| proto::GroupConfigsSet {
                    group: group.clone(),
                    configs: configs_to(configs),
                })
                .collect(),
        };
        Some((configs.at, frame(&page)))
    }

    /// Takes in a group ([`State::enter_group`]).
    pub(super) fn load_group(
        &mut self,
        number: GroupNumber,
        page: proto::GroupPage,
    ) -> Result<(), Fault> {
        if page.group != number.0 {
            return Err(Fault::Content("its group is another one than its key says"));
        }
        let body = match page.body {
            Some(group_page::Body::Classic(from)) => Body::Classic(classic_from(from)?),
            Some(group_page::Body::Consumer(from)) => Body::Consumer(consumer_from(from)?),
            None => {
                let reason = "its group is of a kind that a newer release knows";
                return Err(Fault::Content(reason));
            }
        };
        let group = Group {
            at: Position::from_bits(page.position),
            dirty: false,
            name: Arc::from(page.name),
            body,
            cost: 0,
        };
        self.enter_group(number, group);
        Ok(())
    }

    /// Takes in offsets ([`State::enter_chunk`]). Those of a group that is not there are left out and count
    /// as gone, as heads of partitions without a topic do.
    pub(super) fn load_offsets(
        &mut self,
        key: ChunkKey,
        page: &proto::OffsetsPage,
    ) -> Result<(), Fault> {
        let chunk = offsets_from(key, page)?;
        if self.groups.all.contains_key(&key.group) {
            self.enter_chunk(key, chunk);
        } else {
            self.dirty.gone(PageRef::Offsets(key));
        }
        Ok(())
    }

    pub(super) fn load_group_configs(&mut self, page: proto::GroupConfigsPage) {
        self.groups.configs.at = Position::from_bits(page.position);
        for set in page.groups {
            if !set.configs.is_empty() {
                let configs = configs_from(set.configs);
                self.groups.configs.by_group.insert(set.group, configs);
            }
        }
    }
}

fn classic_to(group: &ClassicGroup) -> proto::ClassicGroupBody {
    let members = group.members.values();
    proto::ClassicGroupBody {
        phase: Some(phase_to(&group.phase)),
        members: members
            .clone()
            .map(|entry| classic_member_to(&entry.member))
            .collect(),
        assignments: members.map(|entry| entry.assignment.clone()).collect(),
    }
}

fn classic_from(from: proto::ClassicGroupBody) -> Result<ClassicGroup, Fault> {
    if from.assignments.len() != from.members.len() {
        return Err(Fault::Content(UNEVEN));
    }
    let mut group = ClassicGroup {
        phase: phase_from(from.phase)?,
        ..ClassicGroup::default()
    };
    for (member, assignment) in from.members.into_iter().zip(from.assignments) {
        let member = classic_member_from(member);
        let id = Arc::clone(&member.id);
        group.put(member);
        if let Some(entry) = group.members.get_mut(&id) {
            entry.assignment = assignment;
        }
    }
    Ok(group)
}

fn consumer_to(group: &ConsumerGroup) -> proto::ConsumerGroupBody {
    let members = group.members.values();
    proto::ConsumerGroupBody {
        epoch: Some(proto::GroupEpoch {
            epoch: group.epoch,
            metadata_hash: group.metadata_hash,
        }),
        assignment_epoch: group.assignment_epoch,
        members: members
            .clone()
            .map(|entry| consumer_member_to(&entry.member))
            .collect(),
        targets: members
            .clone()
            .map(|entry| partitions_to(&entry.target))
            .collect(),
        current: members
            .map(|entry| current_to("", &entry.current))
            .collect(),
    }
}

fn consumer_from(from: proto::ConsumerGroupBody) -> Result<ConsumerGroup, Fault> {
    let count = from.members.len();
    if from.targets.len() != count || from.current.len() != count {
        return Err(Fault::Content(UNEVEN));
    }
    let epoch = from.epoch.ok_or("a group has no epoch")?;
    let mut group = ConsumerGroup {
        epoch: epoch.epoch,
        metadata_hash: epoch.metadata_hash,
        assignment_epoch: from.assignment_epoch,
        ..ConsumerGroup::default()
    };
    let assignments = from.targets.iter().zip(&from.current);
    for (member, (target, current)) in from.members.into_iter().zip(assignments) {
        let member = consumer_member_from(member);
        let id = Arc::clone(&member.id);
        let current: CurrentAssignment = current_from(current)?;
        let target = partitions_from(Some(target))?;
        group.put(member);
        if let Some(entry) = group.members.get_mut(&id) {
            entry.current = current;
            entry.target = target;
        }
    }
    Ok(group)
}

fn offsets_to(key: ChunkKey, chunk: &OffsetsChunk) -> proto::OffsetsPage {
    let mut page = proto::OffsetsPage {
        position: chunk.at.to_bits(),
        group: key.group.0,
        topic: key.topic.0.as_bytes().to_vec(),
        chunk: key.chunk,
        ..proto::OffsetsPage::default()
    };
    for (index, committed) in &chunk.offsets {
        page.partition.push(index.0.cast_unsigned());
        page.offset.push(committed.offset.0);
        page.leader_epoch.push(committed.leader_epoch);
        page.at_ms.push(committed.at_ms);
        let expires = committed.expires_at_ms.unwrap_or(BY_RETENTION);
        page.expires_at_ms.push(expires);
    }
    let mut offsets = chunk.offsets.values();
    if offsets.any(|committed| !committed.metadata.is_empty()) {
        let offsets = chunk.offsets.values();
        page.metadata = offsets
            .map(|committed| committed.metadata.to_string())
            .collect();
    }
    page
}

fn offsets_from(key: ChunkKey, page: &proto::OffsetsPage) -> Result<OffsetsChunk, Fault> {
    let named = (page.group, topic_from(&page.topic)?, page.chunk);
    if named != (key.group.0, key.topic, key.chunk) {
        return Err(Fault::Content("its chunk is another one than its key says"));
    }
    let count = page.partition.len();
    let even = page.offset.len() == count
        && page.leader_epoch.len() == count
        && page.at_ms.len() == count
        && page.expires_at_ms.len() == count
        && (page.metadata.is_empty() || page.metadata.len() == count);
    if !even {
        return Err(Fault::Content(UNEVEN));
    }
    let mut chunk = OffsetsChunk {
        at: Position::from_bits(page.position),
        ..OffsetsChunk::default()
    };
    for at in 0..count {
        let partition = page.partition[at];
        if partition / OFFSETS_PER_CHUNK != key.chunk {
            return Err(Fault::Content("it has a partition of another chunk"));
        }
        let expires = page.expires_at_ms[at];
        let committed = CommittedOffset {
            offset: Offset(page.offset[at]),
            leader_epoch: page.leader_epoch[at],
            metadata: offset_metadata(page.metadata.get(at).map_or("", String::as_str)),
            at_ms: page.at_ms[at],
            expires_at_ms: (expires != BY_RETENTION).then_some(expires),
        };
        let index = PartitionIndex(partition.cast_signed());
        chunk.offsets.insert(index, committed);
    }
    if chunk.offsets.is_empty() {
        return Err(Fault::Content("it holds no offset"));
    }
    Ok(chunk)
}
