//! What happens to groups.

use std::sync::Arc;

use aquifer_metadata::event::group::{
    ClassicMember, ClassicPhase, ConsumerMember, CurrentAssignment, GroupChange, GroupKind,
    MemberState, OffsetsCommitted, Protocol, TopicPartitions,
};
use serde_json::{Value, json};

use super::list;

/// A change of a group.
pub(in crate::inspect) fn change(change: &GroupChange) -> Value {
    match change {
        GroupChange::Kind(kind) => json!({ "change": "kind", "kind": kind_name(*kind) }),
        GroupChange::Phase(of) => json!({ "change": "phase", "phase": phase(of) }),
        GroupChange::Member(member) => {
            json!({ "change": "member", "member": classic_member(member) })
        }
        GroupChange::Removed(id) => json!({ "change": "removed", "id": &**id }),
        GroupChange::Assigned(members) => json!({
            "change": "assigned",
            "members": list(members, |(id, assignment)| {
                json!({ "id": &**id, "assignment_bytes": assignment.len() })
            }),
        }),
        GroupChange::ConsumerMember(member) => {
            json!({ "change": "member", "member": consumer_member(member) })
        }
        GroupChange::Epoch {
            epoch,
            metadata_hash,
        } => json!({ "change": "epoch", "epoch": epoch, "metadata_hash": metadata_hash }),
        GroupChange::Target { epoch, members } => json!({
            "change": "target",
            "epoch": epoch,
            "members": list(members, |(id, target)| {
                json!({ "id": &**id, "partitions": partitions(target) })
            }),
        }),
        GroupChange::Current { member, assignment } => json!({
            "change": "current",
            "id": &**member,
            "current": current(assignment),
        }),
    }
}

/// Committed offsets.
pub(super) fn offsets_committed(committed: &OffsetsCommitted) -> Value {
    json!({
        "group": committed.group.0,
        "at_ms": committed.at_ms,
        "expires_at_ms": committed.expires_at_ms,
        "offsets": list(&committed.offsets, |(id, commit)| json!({
            "partition": id.to_string(),
            "offset": commit.offset.0,
            "leader_epoch": commit.leader_epoch,
            "metadata": &*commit.metadata,
        })),
    })
}

fn kind_name(kind: GroupKind) -> &'static str {
    match kind {
        GroupKind::Classic => "classic",
        GroupKind::Consumer => "consumer",
    }
}

/// How a classic group's generation stands.
pub(in crate::inspect) fn phase(phase: &ClassicPhase) -> Value {
    json!({
        "state": phase.state.name(),
        "generation": phase.generation,
        "protocol_type": phase.protocol_type,
        "protocol": phase.protocol,
        "leader": text(phase.leader.as_ref()),
        "since_ms": phase.since_ms,
    })
}

/// A member of a classic group.
pub(in crate::inspect) fn classic_member(member: &ClassicMember) -> Value {
    json!({
        "id": &*member.id,
        "instance": text(member.instance.as_ref()),
        "client_id": &*member.client_id,
        "client_host": &*member.client_host,
        "session_timeout_ms": member.session_timeout_ms,
        "rebalance_timeout_ms": member.rebalance_timeout_ms,
        "protocols": list(&member.protocols, protocol),
    })
}

/// A member of a consumer group.
pub(in crate::inspect) fn consumer_member(member: &ConsumerMember) -> Value {
    let classic = member.classic.as_ref();
    json!({
        "id": &*member.id,
        "instance": text(member.instance.as_ref()),
        "rack": text(member.rack.as_ref()),
        "client_id": &*member.client_id,
        "client_host": &*member.client_host,
        "rebalance_timeout_ms": member.rebalance_timeout_ms,
        "topics": list(&member.topics, |name| json!(&**name)),
        "regex": text(member.regex.as_ref()),
        "assignor": text(member.assignor.as_ref()),
        "classic": classic.map(|classic| json!({
            "session_timeout_ms": classic.session_timeout_ms,
            "protocols": list(&classic.protocols, protocol),
        })),
    })
}

/// Where a member of a consumer group stands.
pub(in crate::inspect) fn current(current: &CurrentAssignment) -> Value {
    json!({
        "epoch": current.epoch,
        "previous_epoch": current.previous_epoch,
        "state": match current.state {
            MemberState::Stable => "stable",
            MemberState::UnrevokedPartitions => "unrevoked_partitions",
            MemberState::UnreleasedPartitions => "unreleased_partitions",
        },
        "assigned": partitions(&current.assigned),
        "revoking": partitions(&current.revoking),
    })
}

/// A set of partitions.
pub(in crate::inspect) fn partitions(partitions: &TopicPartitions) -> Value {
    let names = partitions.iter().map(|id| id.to_string());
    names.collect()
}

fn protocol(protocol: &Protocol) -> Value {
    json!({ "name": protocol.name, "metadata_bytes": protocol.metadata.len() })
}

fn text(text: Option<&Arc<str>>) -> Option<&str> {
    text.map(|text| &**text)
}
