//! When a log is compacted, and how far: Kafka's `LogCleanerManager.cleanableOffsets`, `LogToClean` and
//! `maxCompactionDelay`, with extents in place of segments. What is not merged yet stands for the active
//! segment, which is never compacted.

use aquifer_format::ids::Offset;

/// What is looked at of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogExtent {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// One past that of its last one.
    pub end_offset: Offset,
    /// Expanded bytes.
    pub bytes: u64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Whether it was merged.
    pub merged: bool,
}

/// A topic's settings, and time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanBounds {
    /// `min.cleanable.dirty.ratio`.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_lag_ms: i64,
    /// The leader's clock.
    pub now_ms: i64,
    /// Keys were compacted up to here.
    pub cleaned_through: Offset,
    /// The last stable offset.
    pub last_stable: Offset,
}

/// A log that is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanLog {
    /// Where its first extent begins.
    pub from: Offset,
    /// Keys were compacted up to here.
    pub first_dirty: Offset,
    /// How far it may be compacted.
    pub to: Offset,
    /// Share of uncompacted bytes; the dirtiest goes first.
    pub ratio: f64,
}

/// Whether a log is due. `extents` in offset order, from the log start on.
#[must_use]
pub fn due(extents: impl Iterator<Item = LogExtent>, bounds: &CleanBounds) -> Option<CleanLog> {
    let _ = (extents, bounds);
    todo!("builder E")
}
