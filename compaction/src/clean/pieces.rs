//! A log in ranges that are swapped one by one, while the rest is still being compacted.

use std::{collections::BTreeSet, ops::Range};

use aquifer_format::limits::{JOB_OBJECTS_MAX, SWAP_EXTENTS_MAX};
use aquifer_metadata_api::extent::Extent;

/// Bytes of a range as it is read, if it has more than one extent: about those of an object that is written.
pub(super) const PIECE_BYTES: u64 = 1 << 30;

/// Where each range's extents are among all. A range keeps to the bounds of a swap: so many objects that it is
/// read from, so many extents that it replaces.
pub(super) fn pieces(extents: &[Extent], bytes_max: u64) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut objects = BTreeSet::new();
    let mut bytes = 0u64;
    let mut begin = 0;
    for (at, extent) in extents.iter().enumerate() {
        let more = u64::from(extent.raw_bytes);
        objects.insert(extent.object);
        let ends = objects.len() > JOB_OBJECTS_MAX
            || at - begin >= SWAP_EXTENTS_MAX
            || bytes.saturating_add(more) > bytes_max;
        if ends && at > begin {
            pieces.push(begin..at);
            begin = at;
            bytes = 0;
            objects.clear();
            objects.insert(extent.object);
        }
        bytes = bytes.saturating_add(more);
    }
    if begin < extents.len() {
        pieces.push(begin..extents.len());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::extent;

    fn log(objects: impl IntoIterator<Item = u64>, raw_bytes: u32) -> Vec<Extent> {
        (0..)
            .zip(objects)
            .map(|(i, object)| Extent {
                raw_bytes,
                ..extent(object, 10 * i, 10 * i + 10)
            })
            .collect()
    }

    #[test]
    fn each_bound_ends_a_piece() {
        assert!(pieces(&[], 100).is_empty());
        assert_eq!(pieces(&log(0..5, 50), 100), [0..2, 2..4, 4..5]);
        // One extent alone may be larger.
        assert_eq!(pieces(&log(0..3, 500), 100), [0..1, 1..2, 2..3]);
        let most = u64::try_from(JOB_OBJECTS_MAX).unwrap();
        let many = log(0..most + 2, 0);
        assert_eq!(
            pieces(&many, 100),
            [0..JOB_OBJECTS_MAX, JOB_OBJECTS_MAX..many.len()]
        );
        let one = log(std::iter::repeat_n(7, SWAP_EXTENTS_MAX + 1), 0);
        assert_eq!(
            pieces(&one, 100),
            [0..SWAP_EXTENTS_MAX, SWAP_EXTENTS_MAX..one.len()]
        );
    }
}
