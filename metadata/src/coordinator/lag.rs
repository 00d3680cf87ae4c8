//! How far groups are behind, in records and in time.

use aquifer_format::ids::PartitionId;

use crate::{event::group::GroupNumber, state::State};

/// What a step found, and where the next one goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LagStep {
    /// By group and partition.
    pub(crate) found: Vec<(GroupNumber, PartitionId, GroupLag)>,
    /// None = all were looked at.
    pub(crate) next: Option<(GroupNumber, PartitionId)>,
}

/// How far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupLag {
    /// Records from the committed offset to the high watermark.
    pub(crate) records: u64,
    /// Age of the oldest of them in milliseconds, as far as extents tell; 0 where there is none.
    pub(crate) millis: u64,
}

/// Looks at the next committed offsets.
pub(crate) fn step(
    _state: &State,
    _unix_millis: i64,
    _from: Option<(GroupNumber, PartitionId)>,
) -> LagStep {
    todo!("builder E")
}
