//! Extents of merged objects are whole runs, which may be large: what is read of them are *pieces*, some adjacent
//! blocks, found by the index at the run's end. A piece is an extent like any other, so whoever reads one need not
//! know.

use aquifer_format::{ids::Offset, object::RunIndex};
use aquifer_metadata_api::extent::Extent;

/// Runs up to this size are read whole: what a GET costs more than the bytes.
pub(crate) const WHOLE_RUN_BYTES: u32 = 1024 * 1024;
/// About the stored bytes of a piece.
pub(crate) const PIECE_BYTES: u32 = 1024 * 1024;

/// Whether an extent is read in pieces.
pub(crate) fn has_pieces(extent: &Extent) -> bool {
    extent.object.level != aquifer_format::ids::ObjectLevel::L0
        && extent.run_bytes > WHOLE_RUN_BYTES
}

/// The pieces of `extent` from the one that holds `from` (or the next one) on, with at least `bytes_max` expanded bytes
/// if there are as many.
pub(crate) fn pieces(
    extent: &Extent,
    index: &RunIndex,
    from: Offset,
    bytes_max: u64,
) -> Vec<Extent> {
    let _ = (extent, index, from, bytes_max, PIECE_BYTES);
    todo!("builder A")
}
