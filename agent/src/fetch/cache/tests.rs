//! Which entries stay.

use std::sync::Arc;

use aquifer_format::ids::{Incarnation, ObjectId, ObjectLevel, UploadEpoch, WriterSlot};
use bytes::Bytes;
use proptest::prelude::*;

use super::entries::{Cached, Entries, Segment, Source};
use crate::peers::Unit;

fn unit(unique: u64) -> Unit {
    let object = ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(1),
        writer: WriterSlot(1),
        level: ObjectLevel::L0,
        unique,
    };
    Unit::new(object, 0).unwrap()
}

fn cached() -> Arc<Cached> {
    Arc::new(Cached::new(Source::Bucket, true, 0, Bytes::new()))
}

#[test]
fn what_passes_never_pushes_out_what_is_hot() {
    let mut entries = Entries::new(100, 25);
    for n in 0..7 {
        entries.insert(unit(n), cached(), Segment::Hot, 10);
    }
    for n in 100..200 {
        entries.insert(unit(n), cached(), Segment::Passing, 10);
    }
    assert!((0..7).all(|n| entries.contains(&unit(n))));
    assert_eq!((entries.len(), entries.bytes()), (9, 90));
    assert!(entries.contains(&unit(199)) && entries.contains(&unit(198)));
}

#[test]
fn an_entry_that_others_ask_for_becomes_hot() {
    let mut entries = Entries::new(100, 25);
    entries.insert(unit(1), cached(), Segment::Passing, 10);
    entries.touch(&unit(1), true);
    for n in 100..110 {
        entries.insert(unit(n), cached(), Segment::Passing, 10);
    }
    assert!(entries.contains(&unit(1)));
}

#[test]
fn the_least_recently_used_one_goes() {
    let mut entries = Entries::new(30, 30);
    for n in 0..3 {
        entries.insert(unit(n), cached(), Segment::Hot, 10);
    }
    entries.touch(&unit(0), false);
    entries.insert(unit(3), cached(), Segment::Hot, 10);
    let left: Vec<_> = (0..4).filter(|n| entries.contains(&unit(*n))).collect();
    assert_eq!(left, [0, 2, 3]);
}

#[test]
fn one_large_entry_that_passes_stays_while_it_is_read() {
    let mut entries = Entries::new(100, 25);
    entries.insert(unit(1), cached(), Segment::Passing, 80);
    assert!(entries.contains(&unit(1)));
    entries.insert(unit(2), cached(), Segment::Passing, 10);
    assert!(!entries.contains(&unit(1)) && entries.contains(&unit(2)));
    entries.insert(unit(3), cached(), Segment::Hot, 101);
    assert!(!entries.contains(&unit(3)), "nothing is larger than all");
}

#[test]
fn only_the_entry_that_was_meant_grows_or_goes() {
    let mut entries = Entries::new(100, 25);
    let (old, new) = (cached(), cached());
    entries.insert(unit(1), Arc::clone(&old), Segment::Hot, 10);
    entries.insert(unit(1), Arc::clone(&new), Segment::Hot, 10);
    entries.grow(&unit(1), &old, 5);
    entries.remove(&unit(1), &old);
    assert_eq!((entries.len(), entries.bytes()), (1, 10));
    entries.grow(&unit(1), &new, 5);
    assert_eq!(entries.bytes(), 15);
    entries.remove(&unit(1), &new);
    assert_eq!((entries.len(), entries.bytes()), (0, 0));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u64, bool, u64),
    Touch(u64, bool),
    Grow(u64, u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = 0u64..8;
    prop_oneof![
        (key.clone(), any::<bool>(), 1u64..40).prop_map(|(k, hot, n)| Step::Insert(k, hot, n)),
        (key.clone(), any::<bool>()).prop_map(|(k, hot)| Step::Touch(k, hot)),
        (key, 1u64..10).prop_map(|(k, n)| Step::Grow(k, n)),
    ]
}

proptest! {
    #[test]
    fn the_bound_holds_whatever_happens(steps in proptest::collection::vec(any_step(), 0..60)) {
        let mut entries = Entries::new(100, 25);
        for step in steps {
            match step {
                Step::Insert(key, hot, bytes) => {
                    let segment = if hot { Segment::Hot } else { Segment::Passing };
                    entries.insert(unit(key), cached(), segment, bytes);
                }
                Step::Touch(key, hot) => {
                    entries.touch(&unit(key), hot);
                }
                Step::Grow(key, bytes) => {
                    if let Some(entry) = entries.touch(&unit(key), false) {
                        entries.grow(&unit(key), &entry, bytes);
                    }
                }
            }
            prop_assert!(entries.bytes() <= 100);
        }
    }
}
