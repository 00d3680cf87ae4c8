//! Retention: what is too old, or more than a partition may have, goes.
//!
//! `retention.ms` and `retention.bytes` of topics whose `cleanup.policy` has `delete` are applied as in Kafka
//! (`UnifiedLog.deleteOldSegments`), to extents in place of segments: from the beginning of the log up to the
//! first extent that must stay. Sizes are those of record batches, which is what Kafka calls the size of
//! a log.

use std::ops::Bound;

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex, TopicId};
use aquifer_metadata_api::config::TopicConfig;

use super::{Decided, Now, log_start::LogStarts};
use crate::state::{entity::State, extents::Packed, partition::Partition, topic::Topic};

/// Enough for a topic, a partition and one extent, so that every step gets on.
const LIMIT_MIN: usize = 3;
/// Length of an upload epoch.
const UPLOAD_EPOCH_MS: i64 = 60_000;

/// How far a look at all partitions came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionStep {
    /// Where the next step begins; None = every partition was looked at.
    pub next: Option<PartitionId>,
    /// How many extents go.
    pub extents: usize,
}

/// Looks at partitions from `from` on (None = from the first one), and lets those logs begin later that
/// have too much. Looking at a topic or partition, and dropping an extent, count as one each; at `limit` it
/// stops.
#[must_use]
pub fn retention(
    state: &State,
    now: &Now,
    from: Option<PartitionId>,
    limit: usize,
) -> Decided<RetentionStep> {
    let mut step = Step {
        state,
        now: *now,
        room: limit.max(LIMIT_MIN),
        starts: LogStarts::default(),
    };
    let first = from.map_or(Bound::Unbounded, |id| Bound::Included(id.topic));
    let mut next = None;
    for (id, topic) in state.topics.range((first, Bound::Unbounded)) {
        let index = from
            .filter(|from| from.topic == *id)
            .map_or(PartitionIndex(0), |from| from.partition);
        next = step.look_at_topic(*id, topic, index);
        if next.is_some() {
            break;
        }
    }
    let extents = step.starts.extents();
    Decided {
        events: step.starts.into_events(state),
        reply: RetentionStep { next, extents },
        holds: Vec::new(),
    }
}

struct Step<'a> {
    state: &'a State,
    now: Now,
    room: usize,
    starts: LogStarts,
}

impl Step<'_> {
    /// Where it stopped for want of room.
    fn look_at_topic(
        &mut self,
        id: TopicId,
        topic: &Topic,
        from: PartitionIndex,
    ) -> Option<PartitionId> {
        if self.room == 0 {
            return Some(PartitionId::new(id, from));
        }
        self.room -= 1;
        let config = TopicConfig::resolve(&topic.configs, self.state.broker_configs.effective());
        let limits = Limits {
            ms: config.retention_ms,
            bytes: config
                .retention_bytes
                .and_then(|bytes| u64::try_from(bytes).ok()),
        };
        if !config.cleanup_delete || (limits.ms.is_none() && limits.bytes.is_none()) {
            return None;
        }
        let skipped = usize::try_from(from.0).unwrap_or(0);
        for (index, partition) in topic.indexed().skip(skipped) {
            let id = PartitionId::new(id, index);
            if self.room == 0 {
                return Some(id);
            }
            self.room -= 1;
            if self.look_at(id, partition, limits) {
                return Some(id);
            }
        }
        None
    }

    /// Whether there is more to drop than there was room for.
    fn look_at(&mut self, id: PartitionId, partition: &Partition, limits: Limits) -> bool {
        let size = partition.extents.raw_bytes();
        let mut excess = limits.bytes.map_or(0, |bytes| size.saturating_sub(bytes));
        let mut end = None;
        let mut kept = None;
        let mut more = false;
        for extent in partition.extents.iter() {
            let bytes = u64::from(extent.raw_bytes);
            let too_much = bytes > 0 && bytes <= excess;
            if !too_much && !self.is_too_old(extent, limits.ms) {
                kept = Some(extent.base_offset);
                break;
            }
            if self.room == 0 {
                more = true;
                break;
            }
            self.room -= 1;
            excess = excess.saturating_sub(bytes);
            end = Some(extent.end());
        }
        let Some(end) = end else {
            return more;
        };
        // as in Kafka, a log begins at its first record, or where that will be
        let start = match kept {
            _ if more => end,
            Some(base_offset) => base_offset,
            None => partition.high_watermark,
        };
        self.starts.move_to(id, partition, Offset(start));
        more
    }

    fn is_too_old(&self, extent: &Packed, retention_ms: Option<i64>) -> bool {
        let Some(limit) = retention_ms else {
            return false;
        };
        let age = if extent.max_timestamp >= 0 {
            self.now.unix_millis.saturating_sub(extent.max_timestamp)
        } else {
            // records without a time are as old as their object, whose age is counted in minutes
            let object = self.state.objects.id(extent.object);
            let upload = object.map_or(0, |object| object.upload_epoch.0);
            let epochs = self.state.counters.upload_epoch.0.saturating_sub(upload);
            i64::from(epochs).saturating_mul(UPLOAD_EPOCH_MS)
        };
        age > limit
    }
}

/// What a topic's partitions may have.
#[derive(Clone, Copy)]
struct Limits {
    ms: Option<i64>,
    bytes: Option<u64>,
}
