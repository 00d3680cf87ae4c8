//! Groups and committed offsets: what `apply` keeps, skips and lets go, and their pages.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{JournalSeq, Offset, PartitionId, PartitionIndex, TopicId};
use bytes::Bytes;
use uuid::Uuid;

use super::{
    player::assert_same,
    world::{Log, World},
};
use crate::{
    event::{
        Event, decode_row, golden,
        group::{
            ClassicMember, ClassicPhase, ClassicState, ConsumerMember, CurrentAssignment,
            GroupChange, GroupKind, GroupNumber, MemberId, MemberState, OffsetCommit,
            OffsetsCommitted, Protocol, TopicPartitions,
        },
    },
    journal::Page,
    state::{Budgets, State, Usage},
};

const G: GroupNumber = GroupNumber(0);
const H: GroupNumber = GroupNumber(1);

pub(super) fn created(group: GroupNumber, name: &str) -> Event {
    let name = name.to_owned();
    Event::GroupCreated { group, name }
}

pub(super) fn committed(group: GroupNumber, offsets: &[(PartitionId, i64)]) -> Event {
    let one = |(id, offset): &(PartitionId, i64)| {
        let commit = OffsetCommit {
            offset: Offset(*offset),
            leader_epoch: 5,
            metadata: Arc::from("note"),
        };
        (*id, commit)
    };
    Event::OffsetsCommitted(Box::new(OffsetsCommitted {
        group,
        at_ms: 1_700_000_000_000,
        expires_at_ms: None,
        offsets: offsets.iter().map(one).collect(),
    }))
}

fn member(id: &str) -> ClassicMember {
    ClassicMember {
        id: MemberId::from(id),
        instance: Some(Arc::from(format!("instance of {id}"))),
        client_id: Arc::from("client"),
        client_host: Arc::from("/10.0.0.1"),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"\0\x01"),
        }],
    }
}

fn joined(group: GroupNumber, id: &str) -> Event {
    Event::GroupChanged {
        group,
        changes: vec![GroupChange::Member(member(id))],
    }
}

/// A classic group in its first generation.
fn classic_changes() -> Vec<GroupChange> {
    let assigned = vec![(MemberId::from("a"), Bytes::from_static(b"all"))];
    vec![
        GroupChange::Member(member("a")),
        GroupChange::Member(member("b")),
        GroupChange::Phase(ClassicPhase {
            state: ClassicState::Stable,
            generation: 1,
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
            leader: Some(MemberId::from("a")),
            since_ms: 1_700_000_000_000,
        }),
        GroupChange::Assigned(assigned),
    ]
}

/// A consumer group with a member that is to give one partition up.
fn consumer_changes(topic: TopicId) -> Vec<GroupChange> {
    let at = |index| PartitionId::new(topic, PartitionIndex(index));
    let all = |indexes: &[i32]| indexes.iter().map(|index| at(*index)).collect();
    let target: TopicPartitions = all(&[0]);
    vec![
        GroupChange::Kind(GroupKind::Consumer),
        GroupChange::ConsumerMember(Box::new(ConsumerMember {
            id: MemberId::from("c"),
            instance: None,
            rack: Some(Arc::from("zone-a")),
            client_id: Arc::from("client"),
            client_host: Arc::from("/10.0.0.1"),
            rebalance_timeout_ms: 300_000,
            topics: vec![Arc::from("log")],
            regex: Some(Arc::from("log.*")),
            assignor: None,
            classic: None,
        })),
        GroupChange::Epoch {
            epoch: 2,
            metadata_hash: 77,
        },
        GroupChange::Target {
            epoch: 2,
            members: vec![(MemberId::from("c"), target)],
        },
        GroupChange::Current {
            member: MemberId::from("c"),
            assignment: CurrentAssignment {
                epoch: 1,
                previous_epoch: 0,
                state: MemberState::UnrevokedPartitions,
                assigned: all(&[0]),
                revoking: all(&[1]),
            },
        },
    ]
}

/// Adds a classic group with offsets, a consumer group, and configs of a group.
pub(super) fn add_groups(log: &mut Log) {
    let topic = log.partition.topic;
    let changed = |group, changes| Event::GroupChanged { group, changes };
    log.world.take(vec![
        created(G, "billing"),
        changed(G, classic_changes()),
        committed(G, &[(log.partition, 3)]),
        created(H, "shipping"),
        changed(H, consumer_changes(topic)),
        Event::GroupConfigsSet {
            group: "shipping".to_owned(),
            configs: BTreeMap::from([(
                "consumer.session.timeout.ms".to_owned(),
                "50000".to_owned(),
            )]),
        },
    ]);
}

fn pages_of(state: &State, kind: u8) -> Vec<Page> {
    let mut pages = state.all_pages();
    pages.retain(|page| page.key.0[0] == kind);
    pages
}

#[test]
fn golden_pages_of_groups() {
    let mut log = Log::empty();
    add_groups(&mut log);
    let state = &log.world.state;
    for (kind, name) in [(9, "group"), (10, "offsets"), (11, "group_configs")] {
        for (at, page) in pages_of(state, kind).iter().enumerate() {
            golden::check(&format!("page-v1-{name}-{at}.bin"), &page.bytes);
        }
    }
    golden::check("page-v1-counters-1.bin", &pages_of(state, 1)[0].bytes);
    let kinds = [9, 10, 11].map(|kind| pages_of(state, kind).len());
    assert_eq!(kinds, [2, 1, 1]);
    let loaded = State::from_pages(Budgets::default(), &state.all_pages()).unwrap();
    assert!(loaded == *state);
    for group in [G, H] {
        // with the table of instances, which no page holds
        let body = |state: &State| state.group(group).map(|group| group.body.clone());
        assert_eq!(body(&loaded), body(state));
    }
    assert_eq!(loaded.next_group(), GroupNumber(2));
    assert_eq!(loaded.group_configs("shipping").unwrap().len(), 1);
}

#[test]
fn only_pages_of_what_changed_in_groups_are_written() {
    let mut log = Log::empty();
    add_groups(&mut log);
    log.world.state.take_dirty();
    let kinds = |log: &mut Log, event: Event| -> Vec<u8> {
        log.world.take(vec![event]);
        let dirty = log.world.state.take_dirty();
        dirty.iter().map(|key| key.0[0]).collect()
    };
    let partition = log.partition;
    assert_eq!(kinds(&mut log, committed(G, &[(partition, 9)])), [10]);
    assert_eq!(kinds(&mut log, joined(G, "z")), [9]);
    assert_eq!(kinds(&mut log, created(GroupNumber(2), "new")), [1, 9]);
    assert_eq!(kinds(&mut log, Event::GroupDeleted { group: G }), [9, 10]);
    assert!(pages_of(&log.world.state, 10).is_empty());
}

/// A world with a topic of many partitions.
fn world() -> (World, TopicId) {
    let mut world = World::new();
    let topic = world.create("log", 600);
    (world, topic)
}

/// What becomes of `pages` when the rows after `from` are replayed.
fn replayed<'a>(world: &World, from: usize, pages: impl IntoIterator<Item = &'a Page>) -> State {
    let mut state = State::from_pages(Budgets::default(), pages).unwrap();
    for (seq, row) in (1u64..).zip(&world.rows).skip(from) {
        for event in decode_row(row).unwrap() {
            state.apply(JournalSeq(seq), &event);
        }
    }
    state
}

/// Plays rows, and recovers from the pages as of each of them, with pages of groups or offsets, or both,
/// that are of the end already.
fn recovers_from_pages_of_any_age(rows: Vec<Vec<Event>>) -> State {
    let (mut world, _) = world();
    let mut snapshots = vec![(world.rows.len(), world.state.all_pages())];
    for row in rows {
        world.take(row);
        snapshots.push((world.rows.len(), world.state.all_pages()));
    }
    let ahead: [&[u8]; 5] = [&[], &[9], &[10], &[9, 10], &[1, 9]];
    for (from, pages) in &snapshots {
        for newer in ahead {
            let is_newer = |page: &&Page| newer.contains(&page.key.0[0]);
            let end = world.state.all_pages();
            let old = pages.iter().filter(|page| !is_newer(page));
            let new = end.iter().filter(is_newer);
            let recovered = replayed(&world, *from, old.chain(new));
            assert_same(&recovered, &world.state);
        }
    }
    world.state
}

fn at(topic: TopicId, index: i32) -> PartitionId {
    PartitionId::new(topic, PartitionIndex(index))
}

#[test]
fn pages_of_a_group_and_of_its_offsets_may_differ_in_age() {
    let (_, topic) = world();
    let state = recovers_from_pages_of_any_age(vec![
        vec![created(G, "g")],
        vec![
            joined(G, "a"),
            committed(G, &[(at(topic, 0), 1), (at(topic, 599), 1)]),
        ],
        vec![committed(G, &[(at(topic, 0), 2)])],
        vec![joined(G, "b")],
        vec![Event::OffsetsRemoved {
            group: G,
            partitions: vec![at(topic, 599)],
        }],
        vec![committed(G, &[(at(topic, 1), 7)]), joined(G, "c")],
    ]);
    assert_eq!(state.group(G).unwrap().members(), 3);
    let offsets = state.committed_offsets(G);
    let offsets: Vec<_> = offsets
        .map(|(id, o)| (id.partition.0, o.offset.0))
        .collect();
    assert_eq!(offsets, [(0, 2), (1, 7)]);
}

#[test]
fn a_group_may_be_deleted_and_begin_again_under_its_name() {
    let (_, topic) = world();
    let state = recovers_from_pages_of_any_age(vec![
        vec![created(G, "g"), committed(G, &[(at(topic, 0), 1)])],
        vec![joined(G, "a")],
        vec![committed(G, &[(at(topic, 1), 1)])],
        vec![Event::GroupDeleted { group: G }, created(H, "g")],
        vec![committed(H, &[(at(topic, 0), 5)]), joined(H, "b")],
    ]);
    assert_eq!(state.group(G), None);
    assert_eq!(state.group_by_name("g").unwrap().0, H);
    assert_eq!(
        state.committed_offset(H, at(topic, 0)).unwrap().offset,
        Offset(5)
    );
    assert_eq!(state.committed_offset(H, at(topic, 1)), None);
    assert_eq!(state.next_group(), GroupNumber(2));
}

#[test]
fn regression_offsets_of_a_deleted_group_do_not_come_back_by_a_replay() {
    let (_, topic) = world();
    let state = recovers_from_pages_of_any_age(vec![
        vec![created(G, "g")],
        vec![committed(G, &[(at(topic, 0), 1)])],
        vec![Event::GroupDeleted { group: G }],
    ]);
    assert_eq!(state.committed_offsets(G).count(), 0);
    assert_eq!(state.usage().offset_bytes, 0);
}

#[test]
fn offsets_go_with_their_topic() {
    let (mut world, topic) = world();
    let other = world.create("other", 1);
    world.take(vec![created(G, "g"), created(H, "h")]);
    world.take(vec![
        committed(G, &[(at(topic, 0), 1), (at(topic, 599), 1)]),
        committed(H, &[(at(topic, 3), 1)]),
    ]);
    assert_eq!(
        pages_of(&world.state, 10).len(),
        3,
        "599 is of another chunk"
    );
    world.take(vec![committed(G, &[(at(other, 0), 4)])]);
    world.delete("log");
    let left = world.state.committed_offsets(G);
    assert_eq!(left.map(|(id, _)| id).collect::<Vec<_>>(), [at(other, 0)]);
    assert_eq!(world.state.committed_offsets(H).count(), 0);
    world.delete("other");
    assert_eq!(world.state.usage().offset_bytes, 0);
    assert_eq!(pages_of(&world.state, 10), []);
}

#[test]
fn what_groups_cost_is_counted_once_and_given_back() {
    let (mut world, topic) = world();
    let before: Usage = world.state.usage();
    world.take(vec![created(G, "g"), joined(G, "a")]);
    let with_one = world.state.usage().group_bytes;
    assert!(with_one > before.group_bytes + 512, "{with_one}");
    world.take(vec![joined(G, "a")]);
    assert_eq!(world.state.usage().group_bytes, with_one, "the same member");
    world.take(vec![committed(G, &[(at(topic, 0), 1)])]);
    let one_offset = world.state.usage().offset_bytes;
    world.take(vec![committed(G, &[(at(topic, 0), 2)])]);
    assert_eq!(world.state.usage().offset_bytes, one_offset);
    world.take(vec![committed(G, &[(at(topic, 1), 2)])]);
    assert_eq!(world.state.usage().offset_bytes, 2 * one_offset);
    world.take(vec![Event::GroupDeleted { group: G }]);
    assert_eq!(world.state.usage(), before);
}

#[test]
fn what_is_of_no_group_or_of_the_wrong_kind_does_nothing() {
    let (mut world, topic) = world();
    world.take(vec![created(G, "g")]);
    let before = world.state.all_pages();
    let id = at(TopicId(Uuid::from_u128(9)), 0);
    let changes = vec![GroupChange::Member(member("a"))];
    let nobody = GroupNumber(7);
    let removed = |group| Event::OffsetsRemoved {
        group,
        partitions: vec![id],
    };
    world.take(vec![
        Event::GroupChanged {
            group: nobody,
            changes,
        },
        Event::GroupDeleted { group: nobody },
        committed(nobody, &[(id, 1)]),
        removed(nobody),
        removed(G),
    ]);
    assert_eq!(world.state.all_pages(), before);
    let mut of_consumers = consumer_changes(topic);
    of_consumers.remove(0);
    of_consumers.push(GroupChange::Removed(MemberId::from("nobody")));
    world.take(vec![Event::GroupChanged {
        group: G,
        changes: of_consumers,
    }]);
    let group = world.state.group(G).unwrap();
    assert_eq!(group.classic().unwrap().phase, ClassicPhase::default());
    assert_eq!(group.members(), 0);
}

#[test]
fn assignments_stay_with_who_joins_again_and_go_with_who_leaves() {
    let (mut world, topic) = world();
    let changed = |changes| Event::GroupChanged { group: G, changes };
    world.take(vec![created(G, "g"), changed(classic_changes())]);
    let assignment = |world: &World, id: &str| {
        let group = world.state.group(G).unwrap().classic().unwrap();
        group.members.get(id).map(|entry| entry.assignment.clone())
    };
    world.take(vec![joined(G, "a")]);
    assert_eq!(assignment(&world, "a"), Some(Bytes::from_static(b"all")));
    let to_b = vec![(MemberId::from("b"), Bytes::from_static(b"mine"))];
    world.take(vec![changed(vec![GroupChange::Assigned(to_b)])]);
    assert_eq!(
        assignment(&world, "a"),
        Some(Bytes::new()),
        "it is not named"
    );
    let removed = GroupChange::Removed(MemberId::from("b"));
    let again = GroupChange::Member(member("b"));
    world.take(vec![changed(vec![removed, again])]);
    assert_eq!(assignment(&world, "b"), Some(Bytes::new()));
    world.take(vec![changed(consumer_changes(topic))]);
    let group = world.state.group(G).unwrap();
    assert!(group.classic().is_none(), "a change of kind begins anew");
    let entry = &group.consumer().unwrap().members["c"];
    assert_eq!(entry.current.revoking.len(), 1);
    let Some(GroupChange::ConsumerMember(same)) = consumer_changes(topic).into_iter().nth(1) else {
        panic!("the member comes second");
    };
    world.take(vec![changed(vec![GroupChange::ConsumerMember(same)])]);
    let entry = &world.state.group(G).unwrap().consumer().unwrap().members["c"];
    assert_eq!((entry.current.epoch, entry.target.len()), (1, 1));
}
