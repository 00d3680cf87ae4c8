//! Groups' part of rows. Pages of groups use the same messages.

use aquifer_format::ids::PartitionId;

use super::{
    Event,
    convert::Malformed,
    group::{
        ClassicMember, ClassicPhase, ConsumerMember, CurrentAssignment, GroupChange, GroupNumber,
        OffsetsCommitted, TopicPartitions,
    },
    proto,
};

pub(super) fn change_to(_change: &GroupChange) -> proto::GroupChange {
    todo!("builder C")
}

pub(super) fn change_from(_from: proto::GroupChange) -> Result<GroupChange, Malformed> {
    todo!("builder C")
}

pub(super) fn offsets_to(_committed: &OffsetsCommitted) -> proto::OffsetsCommitted {
    todo!("builder C")
}

pub(super) fn offsets_from(_from: proto::OffsetsCommitted) -> Result<OffsetsCommitted, Malformed> {
    todo!("builder C")
}

pub(super) fn removed_to(
    _group: GroupNumber,
    _partitions: &[PartitionId],
) -> proto::OffsetsRemoved {
    todo!("builder C")
}

pub(super) fn removed_from(_from: &proto::OffsetsRemoved) -> Result<Event, Malformed> {
    todo!("builder C")
}

pub(crate) fn phase_to(_phase: &ClassicPhase) -> proto::ClassicPhase {
    todo!("builder C")
}

pub(crate) fn phase_from(_from: Option<proto::ClassicPhase>) -> Result<ClassicPhase, Malformed> {
    todo!("builder C")
}

pub(crate) fn classic_member_to(_member: &ClassicMember) -> proto::ClassicMember {
    todo!("builder C")
}

pub(crate) fn classic_member_from(_from: proto::ClassicMember) -> ClassicMember {
    todo!("builder C")
}

pub(crate) fn consumer_member_to(_member: &ConsumerMember) -> proto::ConsumerMember {
    todo!("builder C")
}

pub(crate) fn consumer_member_from(_from: proto::ConsumerMember) -> ConsumerMember {
    todo!("builder C")
}

/// `member` is empty in pages, where the order says whose it is.
pub(crate) fn current_to(
    _member: &str,
    _assignment: &CurrentAssignment,
) -> proto::CurrentAssignment {
    todo!("builder C")
}

pub(crate) fn current_from(
    _from: &proto::CurrentAssignment,
) -> Result<CurrentAssignment, Malformed> {
    todo!("builder C")
}

pub(crate) fn partitions_to(_partitions: &TopicPartitions) -> proto::GroupPartitions {
    todo!("builder C")
}

pub(crate) fn partitions_from(
    _from: Option<&proto::GroupPartitions>,
) -> Result<TopicPartitions, Malformed> {
    todo!("builder C")
}
