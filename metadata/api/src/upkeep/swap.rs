//! Swaps: merged extents in the place of those that they were made of.

use aquifer_format::ids::{ObjectId, Offset, PartitionId};

use super::job::{JobToken, WorkerId};

/// Puts merged extents in the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// The job's lease.
    pub token: JobToken,
    /// Objects that the job wrote, all of them durable; at most
    /// [`aquifer_format::limits::SWAP_OBJECTS_MAX`].
    pub objects: Vec<SwapObject>,
    /// Objects that the ranges' inputs lie in, sorted; at most
    /// [`aquifer_format::limits::JOB_OBJECTS_MAX`].
    pub inputs: Vec<ObjectId>,
    /// At most [`aquifer_format::limits::SWAP_RANGES_MAX`], sorted by partition and offset, none overlapping.
    pub ranges: Vec<SwapRange>,
}

/// An object that a job wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapObject {
    /// Its id.
    pub id: ObjectId,
    /// Its size.
    pub bytes: u64,
    /// Where it is stored (indexes into the bucket set).
    pub locations: Vec<u8>,
}

/// A range of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapRange {
    /// The partition.
    pub partition: PartitionId,
    /// First offset; an extent begins there.
    pub from: Offset,
    /// One past the last offset; an extent ends there.
    pub to: Offset,
    /// What takes the place of everything between, in offset order and within the range.
    pub extents: Vec<MergedExtent>,
    /// Keys were compacted up to here; None = it is a merge.
    pub cleaned_through: Option<Offset>,
}

/// An extent of level 1 or 2: a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedExtent {
    /// Index of its object in [`SwapRequest::objects`].
    pub object: u32,
    /// Byte position of the run in the object.
    pub run_position: u64,
    /// Stored bytes of the run, its index included.
    pub run_bytes: u32,
    /// Bytes of its batches.
    pub raw_bytes: u32,
    /// Base offset of its first batch.
    pub base_offset: Offset,
    /// One past the last offset of its last batch; at most 2^32 - 1 behind `base_offset`.
    pub end_offset: Offset,
    /// Largest record timestamp.
    pub max_timestamp: i64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwapReply {
    /// In the order of the request.
    pub outcomes: Vec<RangeOutcome>,
}

/// What became of a range. All but `Done` leave its output dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// It is in place, now or since an earlier try.
    Done,
    /// The topic is gone, or the log begins behind the range.
    Gone,
    /// Something else lies there by now: another job was first.
    Changed,
    /// The token is not (any more) the one of these inputs.
    Fenced,
    /// The output's upload began too long ago.
    TooOld,
    /// It would not shrink anything, or has no room in its page.
    Useless,
}
