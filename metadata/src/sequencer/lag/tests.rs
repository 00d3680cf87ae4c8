use std::sync::Arc;

use aquifer_format::ids::Offset;

use super::*;
use crate::{
    coordinator::At,
    event::group::{OffsetCommit, OffsetsCommitted},
    state::tests::world::World,
};

fn lag(records: u64, millis: u64) -> GroupLag {
    GroupLag { records, millis }
}

fn named(group: &str) -> Labels {
    Labels {
        group: group.to_owned(),
        ..Labels::default()
    }
}

fn found(groups: &[(&str, u64)]) -> BTreeMap<Labels, GroupLag> {
    let one = |(group, records): &(&str, u64)| (named(group), lag(*records, *records));
    groups.iter().map(one).collect()
}

#[test]
fn what_is_gone_says_nothing_is_left_once() {
    let mut series = LagSeries::default();
    let both = found(&[("a", 1), ("b", 2)]);
    assert_eq!(series.update(both.clone()), both);
    let written = series.update(found(&[("b", 3)]));
    assert_eq!(written, found(&[("a", 0), ("b", 3)]));
    assert_eq!(series.update(found(&[("b", 3)])), found(&[("b", 3)]));
    // one that comes back goes on in its series
    assert_eq!(series.update(both.clone()), both);
    assert_eq!(series.update(BTreeMap::new()), found(&[("a", 0), ("b", 0)]));
}

#[test]
fn there_are_never_more_series_than_the_limit_and_nothing_is_left_out() {
    let mut series = LagSeries::of_at_most(2);
    let written = series.update(found(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]));
    let mut expected = found(&[("a", 1), ("b", 2)]);
    expected.insert(Labels::default(), lag(7, 4));
    assert_eq!(written, expected);
    // those that are gone leave no room: their series are still there
    let written = series.update(found(&[("d", 4)]));
    let mut expected = found(&[("a", 0), ("b", 0)]);
    expected.insert(Labels::default(), lag(4, 4));
    assert_eq!(written, expected);
}

/// Two topics of two partitions without records, and one group that committed all of them.
fn world() -> World {
    let mut world = World::new();
    let mut offsets = Vec::new();
    for name in ["t", "u"] {
        let topic = world.create(name, 2);
        for index in 0..2 {
            let commit = OffsetCommit {
                offset: Offset(0),
                leader_epoch: -1,
                metadata: Arc::from(""),
            };
            offsets.push((PartitionId::new(topic, PartitionIndex(index)), commit));
        }
    }
    offsets.sort_by_key(|(id, _)| *id);
    let group = GroupNumber(1);
    let name = "g".to_owned();
    world.take(vec![
        Event::GroupCreated { group, name },
        Event::OffsetsCommitted(Box::new(OffsetsCommitted {
            group,
            at_ms: 0,
            expires_at_ms: None,
            offsets,
        })),
    ]);
    world
}

#[test]
fn series_are_as_fine_as_was_asked_for() {
    let world = world();
    let now = Monotonic(Duration::from_secs(100));
    let at = At {
        now,
        unix_millis: 1,
    };
    for (detail, series) in [
        (GroupLagMetrics::Off, 0),
        (GroupLagMetrics::Group, 1),
        (GroupLagMetrics::Topic, 2),
        (GroupLagMetrics::Partition, 4),
    ] {
        let mut coordinator = Coordinator::<u64>::recovered(&world.state, at);
        let mut told = GroupMetrics::new(now, detail);
        assert_eq!(told.due(), now.plus(INTERVAL));
        // groups, then offsets; then all is told and the next look is an interval away
        let due = told.due();
        told.step(&world.state, &mut coordinator, due, 1);
        assert_eq!(told.due(), due);
        told.step(&world.state, &mut coordinator, due, 1);
        assert_eq!(told.due(), due.plus(INTERVAL));
        let begun = told.series.update(BTreeMap::new());
        assert_eq!(begun.len(), series, "{detail:?}: {begun:?}");
        assert!(begun.keys().all(|labels| labels.group == "g"));
        assert!(told.told.contains(&("classic", "Empty")));
    }
}

#[test]
fn a_group_is_as_late_as_its_latest_partition() {
    let mut told = GroupMetrics::new(Monotonic(Duration::ZERO), GroupLagMetrics::Group);
    let topic = TopicId(uuid::Uuid::from_u128(1));
    for (index, one) in [(0, lag(5, 100)), (1, lag(7, 3_000)), (2, lag(0, 0))] {
        let id = PartitionId::new(topic, PartitionIndex(index));
        told.add_lag(GroupNumber(1), id, one);
    }
    let place = (GroupNumber(1), None, None);
    assert_eq!(told.lags, BTreeMap::from([(place, lag(12, 3_000))]));
}
