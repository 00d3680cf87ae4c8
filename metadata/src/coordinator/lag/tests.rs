use std::{collections::BTreeSet, sync::Arc};

use aquifer_format::ids::{PartitionIndex, TopicId};
use aquifer_metadata_api::commit::BatchSummary;
use proptest::prelude::*;

use super::*;
use crate::{
    event::{
        Event,
        group::{GroupChange, GroupKind, OffsetCommit, OffsetsCommitted},
    },
    state::tests::world::{Log, World, plain},
};

const NOW_MS: i64 = 1_700_000_000_000;

fn group(world: &mut World, number: u64) -> GroupNumber {
    let group = GroupNumber(number);
    let name = format!("group-{number}");
    world.take(vec![Event::GroupCreated { group, name }]);
    group
}

fn commit(world: &mut World, group: GroupNumber, offsets: &[(PartitionId, i64)]) {
    let offset = |(id, offset): &(PartitionId, i64)| {
        let commit = OffsetCommit {
            offset: Offset(*offset),
            leader_epoch: -1,
            metadata: Arc::from(""),
        };
        (*id, commit)
    };
    let committed = OffsetsCommitted {
        group,
        at_ms: NOW_MS,
        expires_at_ms: None,
        offsets: offsets.iter().map(offset).collect(),
    };
    world.take(vec![Event::OffsetsCommitted(Box::new(committed))]);
}

fn batch(records: u32, max_timestamp: i64) -> BatchSummary {
    BatchSummary {
        max_timestamp,
        ..plain(records)
    }
}

/// Two uploads of 100 records each, 60 s and 10 s old.
fn log() -> Log {
    let mut log = Log::empty();
    log.send(batch(100, NOW_MS - 60_000));
    log.send(batch(100, NOW_MS - 10_000));
    log
}

#[test]
fn lag_is_what_is_left_to_read_and_how_old_that_is() {
    let mut log = log();
    let (id, group) = (log.partition, group(&mut log.world, 1));
    for (committed, records, millis) in [
        (0, 200, 60_000),
        (1, 199, 60_000),
        (99, 101, 60_000),
        // between the newest of the upload before and of this one
        (100, 100, 59_500),
        (149, 51, 35_000),
        (199, 1, 10_000),
        (200, 0, 0),
        // of a topic that lost records, or of a client that is wrong
        (201, 0, 0),
        (i64::MAX, 0, 0),
        (-1, 200, 60_000),
        (i64::MIN, 200, 60_000),
    ] {
        commit(&mut log.world, group, &[(id, committed)]);
        let found = step(&log.world.state, NOW_MS, None);
        let lag = GroupLag { records, millis };
        assert_eq!(found.found, [(group, id, lag)], "{committed}");
        assert_eq!(found.next, None);
    }
}

#[test]
fn records_that_were_deleted_are_not_left_to_read() {
    let mut log = log();
    let (id, group) = (log.partition, group(&mut log.world, 1));
    commit(&mut log.world, group, &[(id, 5)]);
    assert_eq!(log.world.delete_records("log", 0, 150), (0, 150));
    let found = step(&log.world.state, NOW_MS, None).found;
    let lag = GroupLag {
        records: 50,
        millis: 10_000,
    };
    assert_eq!(found, [(group, id, lag)]);
}

#[test]
fn records_of_an_extent_are_as_old_as_their_place_in_it_says() {
    let mut log = Log::empty();
    // hours in one extent, as merges leave them; then a producer's clock went back
    let hour = 3_600_000;
    for (records, age) in [(10, 8 * hour), (1_000, 0), (10, hour), (10, -1)] {
        let timestamp = if age < 0 { -1 } else { NOW_MS - age };
        log.send(batch(records, timestamp));
    }
    let (id, group) = (log.partition, group(&mut log.world, 1));
    for (committed, millis) in [
        (0, 8 * hour),
        (10, 8 * hour - 8 * hour / 1_000),
        (509, 4 * hour),
        (759, 2 * hour),
        (1_009, 0),
        (1_010, hour),
        (1_019, hour),
        (1_020, 0),
    ] {
        commit(&mut log.world, group, &[(id, committed)]);
        let found = step(&log.world.state, NOW_MS, None).found;
        let millis = u64::try_from(millis).unwrap();
        assert_eq!(found[0].2.millis, millis, "{committed}");
    }
}

#[test]
fn times_that_cannot_be_are_no_age() {
    for timestamp in [-1, NOW_MS + 1, NOW_MS * 2] {
        let mut log = Log::empty();
        log.send(batch(10, timestamp));
        let (id, group) = (log.partition, group(&mut log.world, 1));
        commit(&mut log.world, group, &[(id, 0)]);
        let found = step(&log.world.state, NOW_MS, None).found;
        let lag = GroupLag {
            records: 10,
            millis: 0,
        };
        assert_eq!(found, [(group, id, lag)], "{timestamp}");
    }
}

#[test]
fn a_partition_that_is_not_there_has_no_lag() {
    let mut world = World::new();
    let topic = world.create("t", 1);
    let group = group(&mut world, 1);
    let there = PartitionId::new(topic, PartitionIndex(0));
    let gone = PartitionId::new(topic, PartitionIndex(7));
    commit(&mut world, group, &[(there, 0), (gone, 0)]);
    let found = step(&world.state, NOW_MS, None).found;
    assert_eq!(found, [(group, there, GroupLag::default())]);
}

/// All that steps find, one after the other, and how many there were.
fn all(state: &State) -> (Vec<(GroupNumber, PartitionId)>, usize) {
    let (mut from, mut found, mut steps) = (None, Vec::new(), 0);
    loop {
        let step = step(state, NOW_MS, from);
        steps += 1;
        assert!(step.found.len() <= limits::OFFSETS_PER_LAG_STEP);
        found.extend(step.found.into_iter().map(|(group, id, _)| (group, id)));
        from = step.next;
        if from.is_none() {
            return (found, steps);
        }
    }
}

#[test]
fn steps_are_bounded_and_leave_nothing_out() {
    let mut world = World::new();
    let topic = world.create("t", 6_000);
    let mut expected = BTreeSet::new();
    for number in 1..=3 {
        let group = group(&mut world, number);
        let ids: Vec<_> = (0..2_500)
            .map(|index| PartitionId::new(topic, PartitionIndex(index * 2)))
            .collect();
        expected.extend(ids.iter().map(|id| (group, *id)));
        let offsets: Vec<_> = ids.into_iter().map(|id| (id, 0)).collect();
        commit(&mut world, group, &offsets);
    }
    let (found, steps) = all(&world.state);
    assert_eq!(steps, 2);
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn groups_are_counted_by_kind_and_state() {
    let mut world = World::new();
    for number in 0..600 {
        group(&mut world, number);
    }
    let kind = GroupChange::Kind(GroupKind::Consumer);
    for number in [3, 599] {
        world.take(vec![Event::GroupChanged {
            group: GroupNumber(number),
            changes: vec![kind.clone()],
        }]);
    }
    let first = count_step(&world.state, None);
    assert_eq!(first.next, Some(GroupNumber(511)));
    assert_eq!(first.groups[&("classic", "Empty")], 511);
    assert_eq!(first.groups[&("consumer", "Empty")], 1);
    let second = count_step(&world.state, first.next);
    assert_eq!(second.next, None);
    assert_eq!(second.groups[&("classic", "Empty")], 87);
    assert_eq!(second.groups[&("consumer", "Empty")], 1);
    assert_eq!(second.members[&"classic"], 0);
}

proptest! {
    /// Wherever a step goes on, also behind what is gone by then, it finds what lies behind in order.
    #[test]
    fn a_step_finds_what_lies_behind(
        offsets in proptest::collection::btree_set((0u64..4, 0i32..1_200), 0..60),
        from in proptest::option::of((0u64..5, 0i32..1_300)),
    ) {
        let mut world = World::new();
        let topic: TopicId = world.create("t", 1_200);
        for number in 0..4 {
            group(&mut world, number);
        }
        let id = |index| PartitionId::new(topic, PartitionIndex(index));
        for (number, index) in &offsets {
            commit(&mut world, GroupNumber(*number), &[(id(*index), 0)]);
        }
        let behind = |place: &&(u64, i32)| from.is_none_or(|from| **place > from);
        let expected: Vec<_> = offsets
            .iter()
            .filter(behind)
            .map(|(number, index)| (GroupNumber(*number), id(*index)))
            .collect();
        let from = from.map(|(number, index)| (GroupNumber(number), id(index)));
        let found = step(&world.state, NOW_MS, from);
        let found: Vec<_> = found.found.into_iter().map(|(group, id, _)| (group, id)).collect();
        prop_assert_eq!(found, expected);
    }
}
