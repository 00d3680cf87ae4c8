//! Merging: the same batches, in fewer and larger runs.

use crate::worker::{JobError, JobLease, Outputs, Source, Swaps};

/// What a merge counted, in and out; they must be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Batches.
    pub batches: u64,
    /// Records, as headers count them.
    pub records: u64,
    /// Bytes of batches.
    pub bytes: u64,
    /// CRC-64/NVME of every batch's base offset, length and CRC, in order.
    pub digest: u64,
}

/// Does a job of merging: of objects of level 0, or of ranges.
///
/// # Errors
/// See [`JobError`].
pub async fn merge(
    lease: &JobLease,
    source: &mut Source,
    outputs: &mut Outputs,
    swaps: &mut Swaps,
) -> Result<(), JobError> {
    let _ = (lease, source, outputs, swaps);
    todo!("builder D")
}
