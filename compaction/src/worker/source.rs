//! Reading inputs: a few ranged GETs per object, checked block by block, batch by batch.

use aquifer_format::{batch::RecordBatch, ids::Offset};
use aquifer_metadata_api::{extent::Extent, upkeep::Inputs};
use async_trait::async_trait;

use super::JobError;

/// A batch of a log as readers get it: with absolute offsets, leader epoch and append time in its header.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Of its first record.
    pub base_offset: Offset,
    /// One past that of its last one.
    pub end_offset: Offset,
    /// The whole batch, patched.
    pub batch: RecordBatch,
}

/// The batches of one partition's extents, in order. The real one reads objects; tests have others.
#[async_trait]
pub trait RunSource: Send {
    /// The next batch; None = that was the last. Its checksums were verified, and its offsets lie within its
    /// extent and behind the batch before.
    async fn next(&mut self) -> Result<Option<Batch>, JobError>;

    /// Begins anew with the first batch (log compaction reads twice).
    async fn rewind(&mut self) -> Result<(), JobError>;
}

/// Reads objects for a job, within a part of its memory.
#[derive(Debug)]
pub struct Source {
    /// Bytes read from the bucket.
    pub read_bytes: u64,
}

impl Source {
    /// The batches of `extents` of a partition, which lie in order.
    pub fn run(&self, inputs: &Inputs, extents: &[Extent]) -> Box<dyn RunSource + '_> {
        let _ = (inputs, extents);
        todo!("builder D")
    }
}
