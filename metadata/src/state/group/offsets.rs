//! Committed offsets.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex, TopicId};

use crate::{event::group::GroupNumber, state::entity::Position};

/// Names a chunk of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkKey {
    /// The group.
    pub(crate) group: GroupNumber,
    /// The topic.
    pub(crate) topic: TopicId,
    /// Index of the chunk: partitions divided by [`super::OFFSETS_PER_CHUNK`].
    pub(crate) chunk: u32,
}

/// Offsets of a group for some partitions of a topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OffsetsChunk {
    pub(in crate::state) at: Position,
    pub(in crate::state) dirty: bool,
    /// By partition; never empty but while it is made.
    pub(crate) offsets: BTreeMap<PartitionIndex, CommittedOffset>,
    /// What it costs, as counted in the usage.
    pub(in crate::state) cost: u64,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommittedOffset {
    /// The offset.
    pub(crate) offset: Offset,
    /// Leader epoch of the record before; -1 = none.
    pub(crate) leader_epoch: i32,
    /// What the client keeps with it.
    pub(crate) metadata: Arc<str>,
    /// When it was committed, milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// When it expires where the client said so.
    pub(crate) expires_at_ms: Option<i64>,
}

impl ChunkKey {
    /// The partition of an index in this chunk.
    pub(crate) fn partition(self, index: PartitionIndex) -> PartitionId {
        PartitionId::new(self.topic, index)
    }
}
