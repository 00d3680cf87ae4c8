//! What stays of a batch (Kafka's `Cleaner.cleanInto` and `MemoryRecords.filterTo`).

use std::collections::BTreeMap;

use aquifer_format::{
    batch::RecordBatch,
    ids::{Offset, ProducerId},
};
use aquifer_metadata_api::upkeep::{Clean, LastRecord};

use super::{CleanedTransactions, KeyIndex};
use crate::worker::{Batch, JobError};

/// What was looked at and what stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Records that were read.
    pub records_in: u64,
    /// Records that stay.
    pub records_out: u64,
    /// Records without a key, which go.
    pub keyless: u64,
    /// Batches that stay without a record.
    pub empty_batches: u64,
}

/// Decides record by record.
#[derive(Debug)]
pub struct Filter<'a> {
    /// The job.
    pub job: &'a Clean,
    /// One past the last offset that is compacted in this round; at most the job's `to`.
    pub end: Offset,
    /// Of producers that are remembered.
    pub last_records: &'a BTreeMap<ProducerId, LastRecord>,
    /// Transactions as they are read.
    pub transactions: CleanedTransactions,
    /// So far.
    pub counts: FilterCounts,
}

impl Filter<'_> {
    /// What stays of a batch; None = nothing. It keeps base and last offset, producer, epoch, sequence, codec, flags;
    /// gets a delete horizon where it has tombstones or is a marker and had none.
    ///
    /// # Errors
    /// Records that cannot be read, keys that cannot be spilled.
    pub fn batch(
        &mut self,
        batch: &Batch,
        keys: &mut KeyIndex,
    ) -> Result<Option<RecordBatch>, JobError> {
        let _ = (batch, keys);
        todo!("builder E")
    }
}
