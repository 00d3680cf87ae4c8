//! Extents: where a partition's offsets are in the bucket.

use aquifer_format::ids::{LeaderEpoch, ObjectId, Offset};

/// A committed, contiguous range of offsets of one partition and the place of its bytes.
///
/// The place is a *run* (the partition's section of one object: one or more adjacent blocks) and a
/// range within the run's expanded bytes. A run yields several extents where batches in it are dead
/// (duplicates, rejected) or were held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The object that has the bytes.
    pub object: ObjectId,
    /// Byte position of the run's first block in the object.
    pub run_position: u64,
    /// Stored bytes of the run (all its blocks with their headers).
    pub run_bytes: u32,
    /// Where the extent's first batch begins in the run's expanded bytes.
    pub raw_start: u32,
    /// Length of the extent's batches in the run's expanded bytes.
    pub raw_bytes: u32,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// One past the offset of the last record.
    pub end_offset: Offset,
    /// Largest record timestamp (milliseconds since 1970), or the append time where that is set.
    pub max_timestamp: i64,
    /// Set where the topic had `message.timestamp.type=LogAppendTime` at commit: the time to be
    /// patched into the batches when they are served.
    pub log_append_time: Option<i64>,
}

/// What readers may see of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// First readable offset.
    pub log_start: Offset,
    /// One past the last committed offset.
    pub high_watermark: Offset,
    /// One past what a read_committed reader may see.
    pub last_stable: Offset,
    /// The topic's leader epoch.
    pub leader_epoch: LeaderEpoch,
}
