//! What happens to groups.

use std::sync::Arc;

use aquifer_format::ids::Offset;
use bytes::Bytes;
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};

use super::{configs, number, partition};
use crate::event::{
    Event,
    group::{
        ClassicMember, ClassicPhase, ClassicState, ClassicSubscription, ConsumerMember,
        CurrentAssignment, GroupChange, GroupKind, GroupNumber, MemberId, MemberState,
        OffsetCommit, OffsetsCommitted, Protocol, TopicPartitions,
    },
    offset_metadata,
};

fn group() -> impl Strategy<Value = GroupNumber> {
    number::<u64>().prop_map(GroupNumber)
}

fn name() -> impl Strategy<Value = String> {
    "[gh]{1,2}"
}

fn member_id() -> impl Strategy<Value = MemberId> {
    "[a-c]".prop_map(MemberId::from)
}

fn text() -> impl Strategy<Value = Arc<str>> {
    "[a-z]{0,3}".prop_map(Arc::<str>::from)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..4).prop_map(Bytes::from)
}

fn protocols() -> impl Strategy<Value = Vec<Protocol>> {
    let protocol = ("[a-z]{1,3}", bytes());
    let protocol = protocol.prop_map(|(name, metadata)| Protocol { name, metadata });
    vec(protocol, 0..3)
}

fn partitions() -> impl Strategy<Value = TopicPartitions> {
    vec(partition(), 0..4).prop_map(|all| all.into_iter().collect())
}

fn phase() -> impl Strategy<Value = ClassicPhase> {
    let state = prop_oneof![
        Just(ClassicState::Empty),
        Just(ClassicState::PreparingRebalance),
        Just(ClassicState::CompletingRebalance),
        Just(ClassicState::Stable),
    ];
    let protocols = (option::of("[a-z]{0,3}"), option::of("[a-z]{0,3}"));
    let leader = option::of(member_id());
    (state, number::<i32>(), protocols, leader, any::<i64>()).prop_map(
        |(state, generation, (protocol_type, protocol), leader, since_ms)| ClassicPhase {
            state,
            generation,
            protocol_type,
            protocol,
            leader,
            since_ms,
        },
    )
}

fn classic_member() -> impl Strategy<Value = ClassicMember> {
    let client = (text(), text(), any::<i32>(), any::<i32>());
    (member_id(), option::of(text()), client, protocols()).prop_map(
        |(id, instance, client, protocols)| ClassicMember {
            id,
            instance,
            client_id: client.0,
            client_host: client.1,
            session_timeout_ms: client.2,
            rebalance_timeout_ms: client.3,
            protocols,
        },
    )
}

fn consumer_member() -> impl Strategy<Value = ConsumerMember> {
    let names = (member_id(), option::of(text()), option::of(text()));
    let client = (text(), text(), any::<i32>());
    let subscription = (vec(text(), 0..3), option::of(text()), option::of(text()));
    let classic = (any::<i32>(), protocols()).prop_map(|(session_timeout_ms, protocols)| {
        ClassicSubscription {
            session_timeout_ms,
            protocols,
        }
    });
    (names, client, subscription, option::of(classic)).prop_map(
        |(names, client, subscription, classic)| ConsumerMember {
            id: names.0,
            instance: names.1,
            rack: names.2,
            client_id: client.0,
            client_host: client.1,
            rebalance_timeout_ms: client.2,
            topics: subscription.0,
            regex: subscription.1,
            assignor: subscription.2,
            classic,
        },
    )
}

fn current() -> impl Strategy<Value = CurrentAssignment> {
    let state = prop_oneof![
        Just(MemberState::Stable),
        Just(MemberState::UnrevokedPartitions),
        Just(MemberState::UnreleasedPartitions),
    ];
    let epochs = (number::<i32>(), number::<i32>());
    (epochs, state, partitions(), partitions()).prop_map(|(epochs, state, assigned, revoking)| {
        CurrentAssignment {
            epoch: epochs.0,
            previous_epoch: epochs.1,
            state,
            assigned,
            revoking,
        }
    })
}

/// Any change of a group.
pub(crate) fn change() -> impl Strategy<Value = GroupChange> {
    prop_oneof![
        1 => prop_oneof![Just(GroupKind::Classic), Just(GroupKind::Consumer)]
            .prop_map(GroupChange::Kind),
        2 => phase().prop_map(GroupChange::Phase),
        3 => classic_member().prop_map(GroupChange::Member),
        1 => member_id().prop_map(GroupChange::Removed),
        2 => vec((member_id(), bytes()), 0..3).prop_map(GroupChange::Assigned),
        3 => consumer_member().prop_map(|member| GroupChange::ConsumerMember(Box::new(member))),
        1 => (number::<i32>(), any::<u64>()).prop_map(|(epoch, metadata_hash)| {
            GroupChange::Epoch { epoch, metadata_hash }
        }),
        2 => (number::<i32>(), vec((member_id(), partitions()), 0..3)).prop_map(
            |(epoch, members)| GroupChange::Target { epoch, members }
        ),
        2 => (member_id(), current()).prop_map(|(member, assignment)| {
            GroupChange::Current { member, assignment }
        }),
    ]
}

fn offset_commit() -> impl Strategy<Value = OffsetCommit> {
    let leader_epoch = prop_oneof![3 => Just(-1), 1 => any::<i32>()];
    let metadata = prop_oneof![3 => Just(String::new()), 1 => "[a-z]{0,3}".boxed()];
    (number::<i64>(), leader_epoch, metadata).prop_map(|(offset, leader_epoch, metadata)| {
        OffsetCommit {
            offset: Offset(offset),
            leader_epoch,
            metadata: offset_metadata(&metadata),
        }
    })
}

fn offsets_committed() -> impl Strategy<Value = Event> {
    let times = (any::<i64>(), option::of(any::<i64>()));
    // as they are written, or in any order
    let sorted = btree_map(partition(), offset_commit(), 0..4)
        .prop_map(|offsets| offsets.into_iter().collect::<Vec<_>>());
    let any_order = vec((partition(), offset_commit()), 0..4);
    let offsets = prop_oneof![sorted.boxed(), any_order.boxed()];
    (group(), times, offsets).prop_map(|(group, (at_ms, expires_at_ms), offsets)| {
        Event::OffsetsCommitted(Box::new(OffsetsCommitted {
            group,
            at_ms,
            expires_at_ms,
            offsets,
        }))
    })
}

/// Any event of groups.
pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (group(), name()).prop_map(|(group, name)| Event::GroupCreated { group, name }),
        4 => (group(), vec(change(), 0..5)).prop_map(|(group, changes)| {
            Event::GroupChanged { group, changes }
        }),
        1 => group().prop_map(|group| Event::GroupDeleted { group }),
        4 => offsets_committed(),
        1 => (group(), vec(partition(), 0..4)).prop_map(|(group, partitions)| {
            Event::OffsetsRemoved { group, partitions }
        }),
        1 => (name(), configs()).prop_map(|(group, configs)| {
            Event::GroupConfigsSet { group, configs }
        }),
    ]
}
