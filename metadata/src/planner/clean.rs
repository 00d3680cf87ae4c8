//! When a log is compacted, and how far: Kafka's `LogCleanerManager.cleanableOffsets`, `LogToClean` and
//! `maxCompactionDelay`, with extents in place of segments. What is not merged yet stands for the active
//! segment, which is never compacted.

#[cfg(test)]
mod tests;

use aquifer_format::ids::Offset;

/// What is looked at of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogExtent {
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
pub(super) struct CleanBounds {
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
pub(super) struct CleanLog {
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
pub(super) fn due(
    extents: impl Iterator<Item = LogExtent>,
    bounds: &CleanBounds,
) -> Option<CleanLog> {
    let mut extents = extents.take_while(|extent| extent.merged).peekable();
    let from = extents.peek()?.base_offset;
    let first_dirty = bounds.cleaned_through.max(from);
    let young = (bounds.min_lag_ms > 0).then(|| bounds.now_ms.saturating_sub(bounds.min_lag_ms));
    let mut to = from;
    let mut ended = false;
    let mut clean_bytes = 0u64;
    let mut dirty_bytes = 0u64;
    let mut earliest = None;
    for extent in extents {
        let dirty = extent.end_offset > first_dirty;
        if dirty && extent.max_timestamp > 0 {
            let timestamp = extent.max_timestamp;
            earliest = Some(earliest.map_or(timestamp, |least: i64| least.min(timestamp)));
        }
        let too_young = dirty && young.is_some_and(|young| extent.max_timestamp > young);
        ended |= too_young || extent.end_offset > bounds.last_stable;
        if ended {
            continue;
        }
        to = extent.end_offset;
        let sum = if dirty {
            &mut dirty_bytes
        } else {
            &mut clean_bytes
        };
        *sum = sum.saturating_add(extent.bytes);
    }
    if dirty_bytes == 0 {
        return None;
    }
    let ratio = dirty_bytes as f64 / clean_bytes.saturating_add(dirty_bytes) as f64;
    let latest = bounds.now_ms.saturating_sub(bounds.max_lag_ms.max(0));
    let overdue = earliest.is_some_and(|earliest| earliest < latest);
    (overdue || ratio > bounds.min_dirty_ratio).then_some(CleanLog {
        from,
        first_dirty,
        to,
        ratio,
    })
}
