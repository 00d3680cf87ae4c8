//! Examples of what happens to groups: every change at least once.

use std::sync::Arc;

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex};
use bytes::Bytes;

use super::{configs, topic};
use crate::event::{
    Event,
    group::{
        ClassicMember, ClassicPhase, ClassicState, ClassicSubscription, ConsumerMember,
        CurrentAssignment, GroupChange, GroupKind, GroupNumber, MemberId, MemberState,
        OffsetCommit, OffsetsCommitted, Protocol, TopicPartitions,
    },
};

const GROUP: GroupNumber = GroupNumber(3);

fn id(topic_bits: u128, index: i32) -> PartitionId {
    PartitionId::new(topic(topic_bits), PartitionIndex(index))
}

fn member(name: &str) -> MemberId {
    Arc::from(name)
}

fn protocols() -> Vec<Protocol> {
    let protocol = |name: &str, metadata: &'static [u8]| Protocol {
        name: name.to_owned(),
        metadata: Bytes::from_static(metadata),
    };
    vec![
        protocol("cooperative-sticky", b"\0\x01"),
        protocol("range", b"\0\x03"),
    ]
}

fn changed(changes: Vec<GroupChange>) -> Event {
    Event::GroupChanged {
        group: GROUP,
        changes,
    }
}

fn classic() -> Event {
    let stable = ClassicPhase {
        state: ClassicState::Stable,
        generation: 7,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        leader: Some(member("a-1")),
        since_ms: 1_763_800_000_000,
    };
    let static_member = ClassicMember {
        id: member("a-1"),
        instance: Some(Arc::from("instance-1")),
        client_id: Arc::from("a"),
        client_host: Arc::from("/10.0.0.1"),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
        protocols: protocols(),
    };
    let dynamic_member = ClassicMember {
        id: member("b-1"),
        instance: None,
        protocols: Vec::new(),
        ..static_member.clone()
    };
    let assigned = vec![(member("a-1"), Bytes::from_static(b"\0\x01\x02"))];
    changed(vec![
        GroupChange::Kind(GroupKind::Classic),
        GroupChange::Member(static_member),
        GroupChange::Member(dynamic_member),
        GroupChange::Phase(stable),
        GroupChange::Assigned(assigned),
        GroupChange::Removed(member("b-1")),
    ])
}

fn phases() -> Event {
    let phase = |state, generation| {
        GroupChange::Phase(ClassicPhase {
            state,
            generation,
            since_ms: 1_763_800_000_001,
            ..ClassicPhase::default()
        })
    };
    changed(vec![
        phase(ClassicState::Empty, 0),
        phase(ClassicState::PreparingRebalance, 1),
        phase(ClassicState::CompletingRebalance, 2),
    ])
}

fn consumer() -> Event {
    let subscribed = ConsumerMember {
        id: member("c-1"),
        instance: Some(Arc::from("instance-2")),
        rack: Some(Arc::from("zone-a")),
        client_id: Arc::from("c"),
        client_host: Arc::from("/10.0.0.2"),
        rebalance_timeout_ms: 300_000,
        topics: vec![Arc::from("orders"), Arc::from("payments")],
        regex: Some(Arc::from("audit-.*")),
        assignor: Some(Arc::from("uniform")),
        classic: None,
    };
    let of_classic_protocol = ConsumerMember {
        id: member("d-1"),
        instance: None,
        rack: None,
        topics: vec![Arc::from("orders")],
        regex: None,
        assignor: None,
        classic: Some(ClassicSubscription {
            session_timeout_ms: 45_000,
            protocols: protocols(),
        }),
        ..subscribed.clone()
    };
    let some: TopicPartitions = [id(1, 0), id(1, 1), id(2, 5)].into_iter().collect();
    let other: TopicPartitions = [id(1, 2)].into_iter().collect();
    let current = |name: &str, state, assigned: &TopicPartitions, revoking: &TopicPartitions| {
        GroupChange::Current {
            member: member(name),
            assignment: CurrentAssignment {
                epoch: 9,
                previous_epoch: 8,
                state,
                assigned: assigned.clone(),
                revoking: revoking.clone(),
            },
        }
    };
    let none = TopicPartitions::new();
    changed(vec![
        GroupChange::Kind(GroupKind::Consumer),
        GroupChange::ConsumerMember(Box::new(subscribed)),
        GroupChange::ConsumerMember(Box::new(of_classic_protocol)),
        GroupChange::Epoch {
            epoch: 9,
            metadata_hash: 0xfeed_beef_dead_cafe,
        },
        GroupChange::Target {
            epoch: 9,
            members: vec![
                (member("c-1"), some.clone()),
                (member("d-1"), other.clone()),
                (member("e-1"), none.clone()),
            ],
        },
        current("c-1", MemberState::UnrevokedPartitions, &some, &other),
        current("d-1", MemberState::UnreleasedPartitions, &none, &none),
        current("e-1", MemberState::Stable, &other, &none),
    ])
}

fn offsets(expires_at_ms: Option<i64>, leader_epoch: i32, metadata: &str) -> Event {
    let plain = |offset| OffsetCommit {
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: Arc::from(""),
    };
    let last = OffsetCommit {
        leader_epoch,
        metadata: Arc::from(metadata),
        ..plain(9_000_000_000)
    };
    Event::OffsetsCommitted(Box::new(OffsetsCommitted {
        group: GROUP,
        at_ms: 1_763_800_000_000,
        expires_at_ms,
        offsets: vec![
            (id(1, 0), plain(100)),
            (id(1, 7), plain(0)),
            (id(2, 0), last),
        ],
    }))
}

pub(super) fn examples() -> Vec<(&'static str, Event)> {
    vec![
        (
            "group_created",
            Event::GroupCreated {
                group: GROUP,
                name: "billing".to_owned(),
            },
        ),
        ("group_changed-0", classic()),
        ("group_changed-1", phases()),
        ("group_changed-2", consumer()),
        ("group_deleted", Event::GroupDeleted { group: GROUP }),
        ("offsets_committed-0", offsets(None, -1, "")),
        (
            "offsets_committed-1",
            offsets(Some(1_763_886_400_000), 5, "checkpoint 12"),
        ),
        (
            "offsets_removed",
            Event::OffsetsRemoved {
                group: GROUP,
                partitions: vec![id(1, 0), id(1, 7), id(2, 0)],
            },
        ),
        (
            "group_configs_set",
            Event::GroupConfigsSet {
                group: "billing".to_owned(),
                configs: configs(&[
                    ("consumer.heartbeat.interval.ms", "3000"),
                    ("consumer.session.timeout.ms", "30000"),
                ]),
            },
        ),
    ]
}

#[test]
fn a_commit_of_one_partition_is_short() {
    let Event::OffsetsCommitted(mut committed) = offsets(None, -1, "") else {
        panic!("offsets are committed by one event");
    };
    committed.offsets.truncate(1);
    let row = crate::event::encode_row(&[Event::OffsetsCommitted(committed)]);
    assert!(row.len() <= 50, "{} bytes", row.len());
}

#[test]
fn changes_of_kinds_that_a_newer_release_knows_are_refused() {
    // Row { version: 1, events: [Event { group_changed: { changes: [{ 99: {} }] } }] }
    let row = [0x08, 1, 0x12, 8, 0x92, 0x01, 5, 0x12, 3, 0x9a, 0x06, 0];
    let error = crate::event::decode_row(&row).unwrap_err();
    assert!(error.to_string().contains("newer release"), "{error}");
}
