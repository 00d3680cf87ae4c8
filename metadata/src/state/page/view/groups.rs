//! Groups and committed offsets, as pages hold them.

use std::sync::Arc;

use aquifer_format::ids::{Offset, PartitionId, TopicId};
use bytes::Bytes;

use crate::{
    event::group::{
        ClassicMember, ClassicPhase, ConsumerMember, CurrentAssignment, GroupNumber,
        TopicPartitions,
    },
    state::{
        entity::{Position, State},
        group::{Body, ChunkKey, ClassicGroup, Group},
    },
};

/// A group without its offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its number.
    pub group: GroupNumber,
    /// Its name.
    pub name: String,
    /// Its members.
    pub members: MembersView,
}

/// The members of a group, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersView {
    /// It is classic, or has offsets only.
    Classic {
        /// How its generation stands.
        phase: ClassicPhase,
        /// Members with what they are assigned.
        members: Vec<(ClassicMember, Bytes)>,
    },
    /// It is of KIP-848.
    Consumer {
        /// The group epoch.
        epoch: i32,
        /// The epoch of the target assignment.
        assignment_epoch: i32,
        /// Members.
        members: Vec<ConsumerMemberView>,
    },
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMemberView {
    /// As it described itself.
    pub member: ConsumerMember,
    /// Where it stands.
    pub current: CurrentAssignment,
    /// Where it is to get.
    pub target: TopicPartitions,
}

/// Committed offsets of a group for some partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsView {
    /// The group.
    pub group: GroupNumber,
    /// The topic.
    pub topic: TopicId,
    /// Offsets, sorted by partition.
    pub offsets: Vec<OffsetView>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetView {
    /// The partition.
    pub partition: PartitionId,
    /// The offset.
    pub offset: Offset,
    /// Leader epoch of the record before; -1 = none.
    pub leader_epoch: i32,
    /// What the client keeps with it.
    pub metadata: String,
    /// When it was committed, milliseconds since 1970.
    pub at_ms: i64,
    /// When it expires where the client said so.
    pub expires_at_ms: Option<i64>,
}

/// A group for offsets to belong to.
pub(super) fn unnamed() -> Group {
    Group {
        at: Position::default(),
        dirty: false,
        name: Arc::from(""),
        body: Body::Classic(ClassicGroup::default()),
        cost: 0,
    }
}

pub(super) fn group(state: &State, number: GroupNumber) -> Option<GroupView> {
    let group = state.group(number)?;
    let members = match &group.body {
        Body::Classic(classic) => {
            let members = classic.members.values();
            let members = members.map(|entry| (entry.member.clone(), entry.assignment.clone()));
            MembersView::Classic {
                phase: classic.phase.clone(),
                members: members.collect(),
            }
        }
        Body::Consumer(consumer) => {
            let members = consumer.members.values();
            let members = members.map(|entry| ConsumerMemberView {
                member: entry.member.clone(),
                current: entry.current.clone(),
                target: entry.target.clone(),
            });
            MembersView::Consumer {
                epoch: consumer.epoch,
                assignment_epoch: consumer.assignment_epoch,
                members: members.collect(),
            }
        }
    };
    Some(GroupView {
        group: number,
        name: group.name.to_string(),
        members,
    })
}

pub(super) fn offsets(state: &State, key: ChunkKey) -> Option<OffsetsView> {
    let chunk = state.groups.offsets.get(&key)?;
    let offsets = chunk.offsets.iter().map(|(index, committed)| OffsetView {
        partition: key.partition(*index),
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.to_string(),
        at_ms: committed.at_ms,
        expires_at_ms: committed.expires_at_ms,
    });
    Some(OffsetsView {
        group: key.group,
        topic: key.topic,
        offsets: offsets.collect(),
    })
}
