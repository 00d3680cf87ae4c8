//! Finding offsets and extents.

use aquifer_format::ids::{Offset, PartitionId};

use crate::extent::{Extent, Watermarks};

/// Asks for extents of several partitions at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocateRequest {
    /// What is wanted.
    pub partitions: Vec<LocatePartition>,
}

/// Asks for the extents of one partition from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocatePartition {
    /// The partition.
    pub partition: PartitionId,
    /// First offset wanted.
    pub from: Offset,
    /// Stop after extents with this many expanded bytes (at least one extent is returned).
    pub max_bytes: u64,
}

/// Answers in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocateReply {
    /// One per partition asked for; None = the partition does not exist.
    pub partitions: Vec<Option<Located>>,
}

/// What there is of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its watermarks.
    pub watermarks: Watermarks,
    /// Extents in offset order, the first one containing `from` (or the next one after it where the
    /// log has a gap); at most [`aquifer_format::limits::LOCATE_EXTENTS_MAX`]. Empty at and beyond the
    /// high watermark and before the log start.
    pub extents: Vec<Extent>,
}

/// Asks for offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetsRequest {
    /// What is wanted.
    pub partitions: Vec<(PartitionId, OffsetSpec)>,
}

/// Which offset is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// Log start (earliest), high watermark and LSO (latest): all in the watermarks.
    Watermarks,
    /// The first record whose timestamp is at or after this.
    Timestamp(i64),
    /// The first record that has the largest timestamp.
    MaxTimestamp,
}

/// Answers in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetsReply {
    /// One per partition asked for; None = the partition does not exist.
    pub partitions: Vec<Option<OffsetsFound>>,
}

/// Answer for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsFound {
    /// Its watermarks.
    pub watermarks: Watermarks,
    /// For `Timestamp` and `MaxTimestamp`: the extent that holds the record (its bytes must be read
    /// to find which); None = there is no such record.
    pub extent: Option<Extent>,
}
