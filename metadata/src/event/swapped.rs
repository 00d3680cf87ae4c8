//! Swaps: what a compactor made takes the place of what it was made of.
//!
//! The table in `Swapped.table`, in the numbers of [`crate::varint`]: the number of ranges; per range the topic (place
//! among those that the table named so far, from 1; 0 = a new one, whose 16 bytes follow), the partition, `from`
//! (signed), `to` less `from`, `into` less `from` (signed), `cleaned_through` less `from` plus 1 (0 = none), the
//! number of extents; per extent the object (its index in `objects`), run position, run bytes, expanded
//! bytes, base offset less the end of the one before in its range (less `from` for the first), offsets, max
//! timestamp less the one before in the table (signed).

use aquifer_format::ids::{ObjectId, Offset, PartitionId};

use super::{ObjectInfo, convert::Malformed, proto};

/// See [`super::Event::Swapped`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swapped {
    /// Objects that the extents are in.
    pub objects: Vec<ObjectInfo>,
    /// Ranges that were swapped, sorted by partition and offset, none overlapping.
    pub ranges: Vec<SwappedRange>,
}

/// A range of one partition whose extents are others from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwappedRange {
    /// The partition.
    pub partition: PartitionId,
    /// Extents that lie between this offset
    pub from: Offset,
    /// and this one are gone.
    pub to: Offset,
    /// The page of merged extents that the new ones go into: one that is there, or one that begins with them.
    pub into: Offset,
    /// Keys were compacted up to here.
    pub cleaned_through: Option<Offset>,
    /// What lies there from now on, in offset order.
    pub extents: Vec<SwappedExtent>,
}

/// An extent of level 1 or 2: a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwappedExtent {
    /// Index in [`Swapped::objects`].
    pub object: u32,
    /// Byte position of the run in the object.
    pub run_position: u64,
    /// Stored bytes of the run.
    pub run_bytes: u32,
    /// Bytes of its batches.
    pub raw_bytes: u32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// How many offsets it takes; some may have no record.
    pub offsets: u32,
    /// Largest timestamp.
    pub max_timestamp: i64,
}

pub(super) fn swapped_to(swapped: &Swapped) -> proto::Swapped {
    let _ = swapped;
    todo!("builder B")
}

/// Total: whatever the bytes are. Objects that an extent names and the message does not have are malformed.
pub(super) fn swapped_from(from: proto::Swapped) -> Result<Swapped, Malformed> {
    let _ = from;
    todo!("builder B")
}

pub(super) fn deleted_to(objects: &[ObjectId]) -> proto::ObjectsDeleted {
    let _ = objects;
    todo!("builder B")
}

pub(super) fn deleted_from(from: &proto::ObjectsDeleted) -> Result<Vec<ObjectId>, Malformed> {
    let _ = from;
    todo!("builder B")
}
