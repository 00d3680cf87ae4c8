//! Extents of merged objects are whole runs, which may be large: what is read of them are *pieces*, some adjacent
//! blocks, found by the index at the run's end. A piece is an extent like any other, so whoever reads one need not
//! know.
//!
//! Invariant: the pieces of a run are the same whoever reads it from wherever, because a run in memory is known by
//! its position alone.

use aquifer_format::{
    ids::{ObjectLevel, Offset},
    object::{IndexEntry, RunIndex},
};
use aquifer_metadata_api::extent::Extent;

/// Runs up to this size are read whole: what a GET costs more than the bytes.
pub(crate) const WHOLE_RUN_BYTES: u32 = 1024 * 1024;
/// About the stored bytes of a piece.
pub(crate) const PIECE_BYTES: u32 = 1024 * 1024;

/// Whether an extent is read in pieces.
pub(crate) fn has_pieces(extent: &Extent) -> bool {
    extent.object.level != ObjectLevel::L0 && extent.run_bytes > WHOLE_RUN_BYTES
}

/// The pieces of `extent` from the one that holds `from` (or the next one) on, with at least `bytes_max` expanded bytes
/// behind the first one if there are as many.
pub(crate) fn pieces(
    extent: &Extent,
    index: &RunIndex,
    from: Offset,
    bytes_max: u64,
) -> Vec<Extent> {
    let mut pieces = Vec::new();
    let mut behind_first = 0u64;
    let mut rest = &index.blocks[..];
    while !rest.is_empty() {
        let (blocks, after) = rest.split_at(blocks_of_piece(rest));
        rest = after;
        let Some(piece) = piece(extent, blocks).filter(|piece| piece.end_offset > from) else {
            continue;
        };
        if !pieces.is_empty() {
            behind_first = behind_first.saturating_add(u64::from(piece.raw_bytes));
        }
        pieces.push(piece);
        if behind_first >= bytes_max {
            break;
        }
    }
    pieces
}

/// How many blocks make the next piece: one at least.
fn blocks_of_piece(blocks: &[IndexEntry]) -> usize {
    let mut stored = 0u32;
    let fit = blocks.iter().take_while(|block| {
        stored = stored.saturating_add(block.stored_bytes);
        stored <= PIECE_BYTES
    });
    fit.count().max(1)
}

fn piece(extent: &Extent, blocks: &[IndexEntry]) -> Option<Extent> {
    let (first, last) = (blocks.first()?, blocks.last()?);
    let sum = |bytes: fn(&IndexEntry) -> u32| blocks.iter().map(bytes).fold(0, u32::saturating_add);
    Some(Extent {
        run_position: extent
            .run_position
            .saturating_add(u64::from(first.position)),
        run_bytes: sum(|block| block.stored_bytes),
        raw_start: 0,
        raw_bytes: sum(|block| block.expanded_bytes),
        base_offset: first.base_offset,
        end_offset: last.end_offset,
        max_timestamp: blocks.iter().map(|block| block.max_timestamp).max()?,
        ..*extent
    })
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Incarnation, ObjectId, UploadEpoch, WriterSlot};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn extent(index: &RunIndex) -> Extent {
        let stored: u32 = index.blocks.iter().map(|block| block.stored_bytes).sum();
        Extent {
            object: ObjectId {
                incarnation: Incarnation(1),
                upload_epoch: UploadEpoch(1),
                writer: WriterSlot::COMPACTOR,
                level: ObjectLevel::L1,
                unique: 1,
            },
            run_position: 1 << 33,
            run_bytes: stored + 100,
            raw_start: 0,
            raw_bytes: index.blocks.iter().map(|block| block.expanded_bytes).sum(),
            base_offset: index.blocks.first().map_or(Offset(0), |b| b.base_offset),
            end_offset: index.blocks.last().map_or(Offset(0), |b| b.end_offset),
            max_timestamp: index
                .blocks
                .iter()
                .map(|b| b.max_timestamp)
                .max()
                .unwrap_or(0),
            log_append_time: None,
        }
    }

    /// Blocks by (stored KiB, offsets, gap in front, max timestamp).
    fn index(blocks: &[(u32, i64, i64, i64)]) -> RunIndex {
        let (mut position, mut offset) = (0, 5);
        let blocks = blocks.iter().map(|(kib, offsets, gap, max_timestamp)| {
            let stored_bytes = kib * 1024;
            let base = offset + gap;
            let entry = IndexEntry {
                position,
                stored_bytes,
                expanded_bytes: 2 * stored_bytes,
                batches: 1,
                base_offset: Offset(base),
                end_offset: Offset(base + offsets),
                first_timestamp: 0,
                max_timestamp: *max_timestamp,
            };
            position += stored_bytes;
            offset = base + offsets;
            entry
        });
        RunIndex {
            cleaned: false,
            blocks: blocks.collect(),
            aborted: Vec::new(),
        }
    }

    #[test]
    fn blocks_are_put_together_up_to_the_size_of_a_piece() {
        let index = index(&[
            (400, 10, 0, 1),
            (600, 10, 0, 9),
            (100, 10, 3, 2),
            (5_000, 10, 0, 3),
            (1, 10, 0, 4),
        ]);
        let extent = extent(&index);
        let cut = |from, bytes_max| -> Vec<(i64, i64, u32)> {
            pieces(&extent, &index, Offset(from), bytes_max)
                .iter()
                .map(|p| (p.base_offset.0, p.end_offset.0, p.run_bytes / 1024))
                .collect()
        };
        let all = [(5, 25, 1_000), (28, 38, 100), (38, 48, 5_000), (48, 58, 1)];
        assert_eq!(cut(0, u64::MAX), all);
        assert_eq!(cut(24, u64::MAX), all);
        assert_eq!(cut(25, u64::MAX), all[1..], "in the gap");
        assert_eq!(cut(57, u64::MAX), all[3..]);
        assert_eq!(cut(58, u64::MAX), all[..0]);
        assert_eq!(cut(0, 0), all[..1]);
        assert_eq!(cut(0, 1), all[..2]);
        assert_eq!(cut(0, 200 * 1024), all[..2]);
        assert_eq!(cut(0, 200 * 1024 + 1), all[..3]);
        let first = pieces(&extent, &index, Offset(0), 0)[0];
        assert_eq!((first.run_position, first.max_timestamp), (1 << 33, 9));
    }

    proptest! {
        #[test]
        fn pieces_cover_the_extent_exactly(
            blocks in vec((1..3_000u32, 1..100i64, 0..3i64, 0..50i64), 1..20), from in 0..1_000i64,
        ) {
            let index = index(&blocks);
            let extent = extent(&index);
            let all = pieces(&extent, &index, Offset(0), u64::MAX);
            let mut position = extent.run_position;
            for piece in &all {
                prop_assert_eq!(piece.run_position, position);
                position += u64::from(piece.run_bytes);
            }
            let blocks_end = index.blocks.last().expect("one at least").range().end;
            prop_assert_eq!(position, extent.run_position + blocks_end);
            prop_assert_eq!(all.first().map(|p| p.base_offset), Some(extent.base_offset));
            prop_assert_eq!(all.last().map(|p| p.end_offset), Some(extent.end_offset));
            let raw: u32 = all.iter().map(|piece| piece.raw_bytes).sum();
            prop_assert_eq!(raw, extent.raw_bytes);
            prop_assert_eq!(all.iter().map(|p| p.max_timestamp).max(), Some(extent.max_timestamp));
            // From anywhere they are the same.
            let some = pieces(&extent, &index, Offset(from), u64::MAX);
            let expected: Vec<_> = all.iter().filter(|p| p.end_offset.0 > from).copied().collect();
            prop_assert_eq!(some, expected);
        }
    }
}
