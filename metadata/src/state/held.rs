//! Held batches.

use aquifer_format::ids::{PartitionId, SessionId};
use aquifer_metadata_api::commit::{BatchRef, BatchSummary};

use super::object::ObjectIndex;

/// A batch that waits for its predecessor, as its partition keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) session: SessionId,
    pub(super) batch: BatchRef,
    pub(super) summary: BatchSummary,
    pub(super) object: ObjectIndex,
    pub(super) run_position: u64,
    pub(super) run_bytes: u32,
    pub(super) raw_start: u32,
}

/// A batch that waits for its predecessor, as timers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBatch {
    /// Whose it is.
    pub session: SessionId,
    /// Which of the session's batches.
    pub batch: BatchRef,
    /// Where it wants to go.
    pub partition: PartitionId,
}
