//! Events of compactors, and of topics in the trash.

use proptest::{collection::vec, option, prelude::*};

use super::{LeaderEpoch, Offset, number, object, partition, topic};
use crate::event::{
    Event, ObjectInfo,
    swapped::{Swapped, SwappedExtent, SwappedRange},
};

/// Index of an object, base offset, offsets; and what nothing depends on.
fn extent() -> impl Strategy<Value = SwappedExtent> {
    let place = (0u32..3, number::<i64>(), number::<u32>());
    let rest = (any::<u64>(), any::<u32>(), any::<u32>(), any::<i64>());
    (place, rest).prop_map(|((object, base_offset, offsets), rest)| SwappedExtent {
        object,
        run_position: rest.0,
        run_bytes: rest.1,
        raw_bytes: rest.2,
        base_offset: Offset(base_offset),
        offsets,
        max_timestamp: rest.3,
    })
}

fn range() -> impl Strategy<Value = SwappedRange> {
    let offsets = (number::<i64>(), number::<i64>(), number::<i64>());
    let cleaned = option::of(0i64..5);
    (partition(), offsets, cleaned, vec(extent(), 0..4)).prop_map(
        |(partition, (from, to, into), cleaned, extents)| SwappedRange {
            partition,
            from: Offset(from),
            to: Offset(to),
            into: Offset(into),
            cleaned_through: cleaned.map(|offsets| Offset(from.wrapping_add(offsets))),
            extents,
        },
    )
}

/// Objects may repeat; extents name only those that there are.
fn swapped() -> impl Strategy<Value = Event> {
    (vec(object(), 0..3), vec(range(), 0..4)).prop_map(
        |(objects, mut ranges): (Vec<ObjectInfo>, Vec<SwappedRange>)| {
            let count = u32::try_from(objects.len()).unwrap();
            for range in &mut ranges {
                range.extents.retain(|extent| extent.object < count);
            }
            Event::Swapped(Box::new(Swapped { objects, ranges }))
        },
    )
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => swapped(),
        1 => vec(object(), 0..3).prop_map(|objects| Event::ObjectsDeleted {
            objects: objects.into_iter().map(|object| object.id).collect(),
        }),
        1 => (topic(), any::<i64>(), any::<i64>()).prop_map(|(topic, at_ms, purge_at_ms)| {
            Event::TopicSoftDeleted { topic, at_ms, purge_at_ms }
        }),
        1 => (topic(), number::<i32>()).prop_map(|(topic, epoch)| Event::TopicRestored {
            topic,
            leader_epoch: LeaderEpoch(epoch),
        }),
    ]
}
