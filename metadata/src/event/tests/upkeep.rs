//! Examples of what compactors do, and of topics that go to the trash and come back.

use aquifer_format::ids::{
    LeaderEpoch, ObjectLevel, Offset, PartitionId, PartitionIndex, WriterSlot,
};

use super::{object, topic};
use crate::event::{
    Event, ObjectInfo,
    swapped::{Swapped, SwappedExtent, SwappedRange},
};

fn merged(level: ObjectLevel, unique: u64) -> ObjectInfo {
    let mut object = object(unique);
    object.id.writer = WriterSlot::COMPACTOR;
    object.id.level = level;
    object.bytes = 1 << 30;
    object
}

fn extent(object: u32, position: u64, base_offset: i64, offsets: u32) -> SwappedExtent {
    SwappedExtent {
        object,
        run_position: position,
        run_bytes: 3_000_000,
        raw_bytes: 9_000_000,
        base_offset: Offset(base_offset),
        offsets,
        max_timestamp: 1_763_800_000_000 + base_offset,
    }
}

fn range(of: u128, index: i32, offsets: (i64, i64), extents: Vec<SwappedExtent>) -> SwappedRange {
    SwappedRange {
        partition: PartitionId::new(topic(of), PartitionIndex(index)),
        from: Offset(offsets.0),
        to: Offset(offsets.1),
        into: Offset(offsets.0),
        cleaned_through: None,
        extents,
    }
}

/// A merge: ranges of two topics, of which one is named twice, into one object.
fn merge() -> Swapped {
    let mut second = range(1, 7, (500, 900), vec![extent(0, 3_000_008, 500, 400)]);
    second.into = Offset(0);
    Swapped {
        objects: vec![merged(ObjectLevel::L1, 1)],
        ranges: vec![
            range(1, 0, (0, 90_000), vec![extent(0, 8, 0, 90_000)]),
            second,
            range(2, 0, (7, 8), vec![extent(0, 6_000_008, 7, 1)]),
        ],
    }
}

/// A clean: two runs in two objects, with gaps before, between and behind them.
fn clean() -> Swapped {
    let extents = vec![extent(0, 8, 10, 5_000_000), extent(1, 8, 9_000_000, 77)];
    let mut range = range(1, 0, (0, 10_000_000), extents);
    range.into = Offset(-1);
    range.cleaned_through = Some(Offset(9_500_000));
    Swapped {
        objects: vec![merged(ObjectLevel::L2, 2), merged(ObjectLevel::L2, 3)],
        ranges: vec![range],
    }
}

pub(super) fn examples() -> Vec<(&'static str, Event)> {
    vec![
        ("swapped-0", Event::Swapped(Box::new(merge()))),
        ("swapped-1", Event::Swapped(Box::new(clean()))),
        (
            "objects_deleted",
            Event::ObjectsDeleted {
                objects: vec![object(1).id, merged(ObjectLevel::L1, 2).id],
            },
        ),
        (
            "topic_soft_deleted",
            Event::TopicSoftDeleted {
                topic: topic(1),
                at_ms: 1_763_800_000_000,
                purge_at_ms: 1_763_886_400_000,
            },
        ),
        (
            "topic_restored",
            Event::TopicRestored {
                topic: topic(1),
                leader_epoch: LeaderEpoch(77),
            },
        ),
    ]
}
