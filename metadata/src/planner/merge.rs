//! Which objects and ranges are merged next.

use std::collections::BTreeMap;

use aquifer_format::ids::PartitionId;
use aquifer_metadata_api::upkeep::MergeRange;

use super::clean::CleanLog;

/// What the last look at all partitions found, bounded: the worst ones.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Where the look goes on; None = with the first partition.
    pub(super) from: Option<PartitionId>,
    /// Ranges worth merging, by partition, so that neighbours go into one job.
    pub(super) ranges: BTreeMap<PartitionId, Vec<MergeRange>>,
    /// Logs that are due for compaction.
    pub(super) logs: BTreeMap<PartitionId, CleanLog>,
}
