//! Log compaction: of each key the newest record stays (Kafka's `Cleaner`).

mod filter;
mod keys;
mod spill;
mod transactions;

pub use self::{
    filter::{Filter, FilterCounts},
    keys::KeyIndex,
    spill::{FolderSpill, MemorySpill, Spill},
    transactions::CleanedTransactions,
};
use crate::worker::{JobError, JobLease, Outputs, Source, Swaps};

/// Does a job of log compaction.
///
/// # Errors
/// See [`JobError`].
pub async fn clean(
    lease: &JobLease,
    source: &mut Source,
    outputs: &mut Outputs,
    swaps: &mut Swaps,
    keys: &mut KeyIndex,
) -> Result<(), JobError> {
    let _ = (lease, source, outputs, swaps, keys);
    todo!("builder E")
}
