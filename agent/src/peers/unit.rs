//! The unit that a zone reads from the bucket once, and that agents get from each other.

use std::ops::Range;

use aquifer_format::ids::{ObjectId, ObjectLevel};

/// Bytes of a part of a larger object. 4 MiB: large enough that the price of a GET is small beside that
/// of its bytes' way, small enough for many to be in memory. Agents of one zone must agree on it.
pub const PART_BYTES: u64 = 4 * 1024 * 1024;

/// A whole object of level 0, or a part of a larger one: its bytes from a multiple of [`PART_BYTES`] to
/// the next. Parts are cut by position alone, so that whoever reads any run names the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    object: ObjectId,
    part: u32,
}

impl Unit {
    /// The unit with this number; level 0 has only 0. None = there is no such unit.
    #[must_use]
    pub fn new(object: ObjectId, part: u32) -> Option<Self> {
        let exists = part == 0 || object.level != ObjectLevel::L0;
        exists.then_some(Self { object, part })
    }

    /// The units that hold a run, in order: the first one, and those that follow it.
    pub fn of_run(
        object: ObjectId,
        position: u64,
        bytes: u32,
    ) -> (Self, impl Iterator<Item = Self>) {
        let last = position.saturating_add(u64::from(bytes).saturating_sub(1));
        let (first, last) = match object.level {
            ObjectLevel::L0 => (0, 0),
            ObjectLevel::L1 | ObjectLevel::L2 => (part_of(position), part_of(last)),
        };
        let rest = (first..last).map(move |part| Self {
            object,
            part: part + 1,
        });
        let first = Self {
            object,
            part: first,
        };
        (first, rest)
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Its number among the units of its object.
    #[must_use]
    pub fn part(&self) -> u32 {
        self.part
    }

    /// Where it lies in its object; None = it is the whole object.
    #[must_use]
    pub fn range(&self) -> Option<Range<u64>> {
        let begin = u64::from(self.part) * PART_BYTES;
        (self.object.level != ObjectLevel::L0).then_some(begin..begin + PART_BYTES)
    }

    /// Position of its first byte in its object.
    #[must_use]
    pub fn position(&self) -> u64 {
        u64::from(self.part) * PART_BYTES
    }
}

/// No object is so large that its last part has a larger number.
fn part_of(position: u64) -> u32 {
    u32::try_from(position / PART_BYTES).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Incarnation, UploadEpoch, WriterSlot};
    use proptest::prelude::*;

    use super::*;

    fn object(level: ObjectLevel) -> ObjectId {
        ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
            writer: WriterSlot(1),
            level,
            unique: 1,
        }
    }

    #[test]
    fn level_0_has_one_unit_and_larger_objects_aligned_parts() {
        let parts = |level, position, bytes| -> Vec<u32> {
            let (first, rest) = Unit::of_run(object(level), position, bytes);
            std::iter::once(first).chain(rest).map(|u| u.part).collect()
        };
        let mib = 1024 * 1024;
        assert_eq!(parts(ObjectLevel::L0, 9 * mib, 5 << 20), [0]);
        assert_eq!(parts(ObjectLevel::L1, 0, 4 << 20), [0]);
        assert_eq!(parts(ObjectLevel::L1, 8, 4 << 20), [0, 1]);
        assert_eq!(parts(ObjectLevel::L2, 9 * mib, 10 << 20), [2, 3, 4]);
        assert_eq!(parts(ObjectLevel::L2, 4 * mib, 0), [1]);
        assert_eq!(parts(ObjectLevel::L2, u64::MAX, u32::MAX), [u32::MAX]);
        assert_eq!(Unit::new(object(ObjectLevel::L0), 1), None);
        let third = Unit::new(object(ObjectLevel::L2), 2).unwrap();
        assert_eq!(third.range(), Some(8 * mib..12 * mib));
        let whole = Unit::new(object(ObjectLevel::L0), 0).unwrap();
        assert_eq!((whole.range(), whole.position()), (None, 0));
    }

    proptest! {
        #[test]
        fn the_units_of_a_run_hold_it_without_a_gap(
            position in 0u64..1 << 45, bytes in 1u32..,
        ) {
            let (first, rest) = Unit::of_run(object(ObjectLevel::L1), position, bytes);
            let ranges: Vec<_> = std::iter::once(first)
                .chain(rest)
                .map(|unit| unit.range().expect("not level 0"))
                .collect();
            prop_assert!(ranges[0].contains(&position));
            let last = ranges.last().expect("the first is there");
            prop_assert!(last.contains(&(position + u64::from(bytes) - 1)));
            prop_assert!(ranges.windows(2).all(|two| two[0].end == two[1].start));
        }
    }
}
