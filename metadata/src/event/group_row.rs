//! Groups' part of rows. Pages of groups use the same messages.

use std::sync::{Arc, LazyLock};

use aquifer_format::ids::{Offset, PartitionId};
use bytes::Bytes;
use proto::group_change::Kind;

use super::{
    Event,
    convert::Malformed,
    group::{
        ClassicMember, ClassicPhase, ClassicState, ClassicSubscription, ConsumerMember,
        CurrentAssignment, GroupChange, GroupKind, GroupNumber, MemberId, MemberState,
        OffsetCommit, OffsetsCommitted, Protocol, TopicPartitions,
    },
    partitions::{self, PartitionColumns},
    proto,
};

/// What a commit keeps where the client keeps nothing with it: mostly.
static NO_METADATA: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

/// What a client keeps with an offset; all that is empty is one.
pub(crate) fn offset_metadata(text: &str) -> Arc<str> {
    if text.is_empty() {
        Arc::clone(&NO_METADATA)
    } else {
        Arc::from(text)
    }
}

pub(super) fn change_to(change: &GroupChange) -> proto::GroupChange {
    let kind = match change {
        GroupChange::Kind(kind) => Kind::GroupKind(match kind {
            GroupKind::Classic => 0,
            GroupKind::Consumer => 1,
        }),
        GroupChange::Phase(phase) => Kind::Phase(phase_to(phase)),
        GroupChange::Member(member) => Kind::Member(classic_member_to(member)),
        GroupChange::Removed(id) => Kind::Removed(id.to_string()),
        GroupChange::Assigned(all) => Kind::Assigned(assigned_to(all)),
        GroupChange::ConsumerMember(member) => Kind::ConsumerMember(consumer_member_to(member)),
        GroupChange::Epoch {
            epoch,
            metadata_hash,
        } => Kind::Epoch(proto::GroupEpoch {
            epoch: *epoch,
            metadata_hash: *metadata_hash,
        }),
        GroupChange::Target { epoch, members } => Kind::Target(proto::TargetAssignment {
            epoch: *epoch,
            members: members
                .iter()
                .map(|(id, partitions)| proto::MemberTarget {
                    member: id.to_string(),
                    partitions: some_partitions_to(partitions),
                })
                .collect(),
        }),
        GroupChange::Current { member, assignment } => {
            Kind::Current(current_to(member, assignment))
        }
    };
    proto::GroupChange { kind: Some(kind) }
}

pub(super) fn change_from(from: proto::GroupChange) -> Result<GroupChange, Malformed> {
    let kind = from
        .kind
        .ok_or("a change of a group is of a kind that a newer release knows")?;
    Ok(match kind {
        Kind::GroupKind(0) => GroupChange::Kind(GroupKind::Classic),
        Kind::GroupKind(1) => GroupChange::Kind(GroupKind::Consumer),
        Kind::GroupKind(_) => return Err("a group has an unknown kind"),
        Kind::Phase(phase) => GroupChange::Phase(phase_from(Some(phase))?),
        Kind::Member(member) => GroupChange::Member(classic_member_from(member)),
        Kind::Removed(id) => GroupChange::Removed(MemberId::from(id)),
        Kind::Assigned(assigned) => GroupChange::Assigned(assigned_from(assigned)),
        Kind::ConsumerMember(member) => {
            GroupChange::ConsumerMember(Box::new(consumer_member_from(member)))
        }
        Kind::Epoch(epoch) => GroupChange::Epoch {
            epoch: epoch.epoch,
            metadata_hash: epoch.metadata_hash,
        },
        Kind::Target(target) => {
            let one = |target: proto::MemberTarget| -> Result<_, Malformed> {
                let partitions = partitions_from(target.partitions.as_ref())?;
                Ok((MemberId::from(target.member), partitions))
            };
            GroupChange::Target {
                epoch: target.epoch,
                members: target
                    .members
                    .into_iter()
                    .map(one)
                    .collect::<Result<_, _>>()?,
            }
        }
        Kind::Current(current) => GroupChange::Current {
            member: MemberId::from(current.member.as_str()),
            assignment: current_from(&current)?,
        },
    })
}

fn assigned_to(all: &[(MemberId, Bytes)]) -> proto::ClassicAssignments {
    let members = all.iter().map(|(id, assignment)| proto::ClassicAssignment {
        member: id.to_string(),
        assignment: assignment.clone(),
    });
    proto::ClassicAssignments {
        members: members.collect(),
    }
}

fn assigned_from(from: proto::ClassicAssignments) -> Vec<(MemberId, Bytes)> {
    let members = from.members.into_iter();
    members
        .map(|one| (MemberId::from(one.member), one.assignment))
        .collect()
}

pub(super) fn offsets_to(committed: &OffsetsCommitted) -> proto::OffsetsCommitted {
    let all = &committed.offsets;
    let columns: PartitionColumns = all.iter().map(|(id, _)| *id).collect();
    let mut to = proto::OffsetsCommitted {
        group: committed.group.0,
        at_ms: committed.at_ms,
        expires_at_ms: committed.expires_at_ms,
        topics: columns.topics,
        topic_partitions: columns.topic_partitions,
        partition: columns.partition,
        offset: all.iter().map(|(_, commit)| commit.offset.0).collect(),
        leader_epoch: Vec::new(),
        metadata: Vec::new(),
    };
    if all.iter().any(|(_, commit)| commit.leader_epoch != -1) {
        to.leader_epoch = all.iter().map(|(_, commit)| commit.leader_epoch).collect();
    }
    if all.iter().any(|(_, commit)| !commit.metadata.is_empty()) {
        let metadata = all.iter().map(|(_, commit)| commit.metadata.to_string());
        to.metadata = metadata.collect();
    }
    to
}

pub(super) fn offsets_from(from: proto::OffsetsCommitted) -> Result<OffsetsCommitted, Malformed> {
    let partitions =
        partitions::partitions_from(&from.topics, &from.topic_partitions, &from.partition)?;
    let count = partitions.len();
    let all_or_none = |column: usize| column == 0 || column == count;
    if from.offset.len() != count
        || !all_or_none(from.leader_epoch.len())
        || !all_or_none(from.metadata.len())
    {
        return Err("partitions and committed offsets do not add up");
    }
    // a column that is not there holds the same for all
    let epochs = from.leader_epoch.into_iter().chain(std::iter::repeat(-1));
    let mut metadata = from.metadata.iter();
    let offsets = partitions.into_iter().zip(from.offset).zip(epochs);
    let offsets = offsets.map(|((id, offset), leader_epoch)| {
        let commit = OffsetCommit {
            offset: Offset(offset),
            leader_epoch,
            metadata: offset_metadata(metadata.next().map_or("", String::as_str)),
        };
        (id, commit)
    });
    Ok(OffsetsCommitted {
        group: GroupNumber(from.group),
        at_ms: from.at_ms,
        expires_at_ms: from.expires_at_ms,
        offsets: offsets.collect(),
    })
}

pub(super) fn removed_to(group: GroupNumber, partitions: &[PartitionId]) -> proto::OffsetsRemoved {
    let columns: PartitionColumns = partitions.iter().copied().collect();
    proto::OffsetsRemoved {
        group: group.0,
        topics: columns.topics,
        topic_partitions: columns.topic_partitions,
        partition: columns.partition,
    }
}

pub(super) fn removed_from(from: &proto::OffsetsRemoved) -> Result<Event, Malformed> {
    Ok(Event::OffsetsRemoved {
        group: GroupNumber(from.group),
        partitions: partitions::partitions_from(
            &from.topics,
            &from.topic_partitions,
            &from.partition,
        )?,
    })
}

pub(crate) fn phase_to(phase: &ClassicPhase) -> proto::ClassicPhase {
    proto::ClassicPhase {
        state: match phase.state {
            ClassicState::Empty => 0,
            ClassicState::PreparingRebalance => 1,
            ClassicState::CompletingRebalance => 2,
            ClassicState::Stable => 3,
        },
        generation: phase.generation,
        protocol_type: phase.protocol_type.clone(),
        protocol: phase.protocol.clone(),
        leader: text_to(phase.leader.as_ref()),
        since_ms: phase.since_ms,
    }
}

pub(crate) fn phase_from(from: Option<proto::ClassicPhase>) -> Result<ClassicPhase, Malformed> {
    let from = from.ok_or("a group has no phase")?;
    Ok(ClassicPhase {
        state: match from.state {
            0 => ClassicState::Empty,
            1 => ClassicState::PreparingRebalance,
            2 => ClassicState::CompletingRebalance,
            3 => ClassicState::Stable,
            _ => return Err("a group is in an unknown state"),
        },
        generation: from.generation,
        protocol_type: from.protocol_type,
        protocol: from.protocol,
        leader: from.leader.map(Arc::from),
        since_ms: from.since_ms,
    })
}

pub(crate) fn classic_member_to(member: &ClassicMember) -> proto::ClassicMember {
    proto::ClassicMember {
        id: member.id.to_string(),
        instance: text_to(member.instance.as_ref()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        session_timeout_ms: member.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        protocols: protocols_to(&member.protocols),
    }
}

pub(crate) fn classic_member_from(from: proto::ClassicMember) -> ClassicMember {
    ClassicMember {
        id: Arc::from(from.id),
        instance: from.instance.map(Arc::from),
        client_id: Arc::from(from.client_id),
        client_host: Arc::from(from.client_host),
        session_timeout_ms: from.session_timeout_ms,
        rebalance_timeout_ms: from.rebalance_timeout_ms,
        protocols: protocols_from(from.protocols),
    }
}

pub(crate) fn consumer_member_to(member: &ConsumerMember) -> proto::ConsumerMember {
    let topics = member.topics.iter().map(ToString::to_string);
    let classic = member.classic.as_ref();
    proto::ConsumerMember {
        id: member.id.to_string(),
        instance: text_to(member.instance.as_ref()),
        rack: text_to(member.rack.as_ref()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        topics: topics.collect(),
        regex: text_to(member.regex.as_ref()),
        assignor: text_to(member.assignor.as_ref()),
        classic: classic.map(|classic| proto::ClassicSubscription {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: protocols_to(&classic.protocols),
        }),
    }
}

pub(crate) fn consumer_member_from(from: proto::ConsumerMember) -> ConsumerMember {
    ConsumerMember {
        id: Arc::from(from.id),
        instance: from.instance.map(Arc::from),
        rack: from.rack.map(Arc::from),
        client_id: Arc::from(from.client_id),
        client_host: Arc::from(from.client_host),
        rebalance_timeout_ms: from.rebalance_timeout_ms,
        topics: from.topics.into_iter().map(Arc::from).collect(),
        regex: from.regex.map(Arc::from),
        assignor: from.assignor.map(Arc::from),
        classic: from.classic.map(|classic| ClassicSubscription {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: protocols_from(classic.protocols),
        }),
    }
}

/// `member` is empty in pages, where the order says whose it is.
pub(crate) fn current_to(member: &str, assignment: &CurrentAssignment) -> proto::CurrentAssignment {
    proto::CurrentAssignment {
        member: member.to_owned(),
        epoch: assignment.epoch,
        previous_epoch: assignment.previous_epoch,
        state: match assignment.state {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
        },
        assigned: some_partitions_to(&assignment.assigned),
        revoking: some_partitions_to(&assignment.revoking),
    }
}

pub(crate) fn current_from(
    from: &proto::CurrentAssignment,
) -> Result<CurrentAssignment, Malformed> {
    Ok(CurrentAssignment {
        epoch: from.epoch,
        previous_epoch: from.previous_epoch,
        state: match from.state {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => return Err("a member of a group is in an unknown state"),
        },
        assigned: partitions_from(from.assigned.as_ref())?,
        revoking: partitions_from(from.revoking.as_ref())?,
    })
}

pub(crate) fn partitions_to(partitions: &TopicPartitions) -> proto::GroupPartitions {
    let columns: PartitionColumns = partitions.iter().collect();
    proto::GroupPartitions {
        topics: columns.topics,
        topic_partitions: columns.topic_partitions,
        partition: columns.partition,
    }
}

/// None = no partition.
fn some_partitions_to(partitions: &TopicPartitions) -> Option<proto::GroupPartitions> {
    (!partitions.is_empty()).then(|| partitions_to(partitions))
}

pub(crate) fn partitions_from(
    from: Option<&proto::GroupPartitions>,
) -> Result<TopicPartitions, Malformed> {
    let Some(from) = from else {
        return Ok(TopicPartitions::new());
    };
    let partitions =
        partitions::partitions_from(&from.topics, &from.topic_partitions, &from.partition)?;
    Ok(partitions.into_iter().collect())
}

fn text_to(text: Option<&Arc<str>>) -> Option<String> {
    text.map(|text| text.to_string())
}

fn protocols_to(all: &[Protocol]) -> Vec<proto::GroupProtocol> {
    let protocols = all.iter().map(|protocol| proto::GroupProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
    });
    protocols.collect()
}

fn protocols_from(from: Vec<proto::GroupProtocol>) -> Vec<Protocol> {
    let protocols = from.into_iter().map(|protocol| Protocol {
        name: protocol.name,
        metadata: protocol.metadata,
    });
    protocols.collect()
}
