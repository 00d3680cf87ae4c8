//! Builds objects of level 1 and up piece by piece, so that an object may be larger than the memory.

use bytes::Bytes;

use super::{AbortedTransaction, BatchPieces, BuildError};
use crate::{
    block::BlockCompression,
    ids::{ClusterId, ObjectId, Offset, PartitionId},
};

/// A run that was ended: what extents say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamedRun {
    /// Its partition.
    pub partition: PartitionId,
    /// Byte position of its first block in the object.
    pub position: u64,
    /// Bytes of its blocks as stored, headers and index included.
    pub stored_bytes: u32,
    /// Bytes of its batches.
    pub expanded_bytes: u32,
    /// How many batches it has.
    pub batches: u32,
    /// How many records.
    pub records: u64,
    /// Base offset of its first batch.
    pub base_offset: Offset,
    /// One past the last offset of its last batch.
    pub end_offset: Offset,
    /// Largest timestamp of its batches.
    pub max_timestamp: i64,
}

/// Builds an object run by run, batch by batch. Batches have their absolute offsets; several runs of one
/// partition may follow one another, in order of their offsets. What is finished is taken out as it comes.
pub struct StreamBuilder {
    /// Finished pieces that were not taken yet.
    ready: Vec<Bytes>,
    ready_bytes: usize,
}

impl StreamBuilder {
    /// An object without runs. `id.level` is 1 or 2.
    #[must_use]
    pub fn new(cluster: ClusterId, id: ObjectId, compression: BlockCompression) -> Self {
        let _ = (cluster, id, compression);
        todo!("builder A")
    }

    /// Bytes of the object so far, without footer: what was taken, what is ready, and the open block.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        todo!("builder A")
    }

    /// Memory that it holds: ready pieces, the open block, the footer so far.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        todo!("builder A")
    }

    /// Bytes of the open run's batches.
    #[must_use]
    pub fn run_expanded_bytes(&self) -> usize {
        todo!("builder A")
    }

    /// Begins a run. `cleaned`: keys were compacted in it.
    ///
    /// # Errors
    /// [`BuildError::Order`].
    pub fn begin_run(&mut self, partition: PartitionId, cleaned: bool) -> Result<(), BuildError> {
        let _ = (partition, cleaned);
        todo!("builder A")
    }

    /// Adds a batch to the open run; its base offset is at or above the end of the one before.
    ///
    /// # Errors
    /// [`BuildError::TooLarge`], [`BuildError::Order`]; the builder is of no use afterwards.
    pub fn push(&mut self, batch: BatchPieces) -> Result<(), BuildError> {
        let _ = batch;
        todo!("builder A")
    }

    /// Ends the open run with its index.
    ///
    /// # Errors
    /// [`BuildError::Empty`], [`BuildError::TooLarge`].
    pub fn end_run(&mut self, aborted: Vec<AbortedTransaction>) -> Result<StreamedRun, BuildError> {
        let _ = aborted;
        todo!("builder A")
    }

    /// Bytes that can be taken now.
    #[must_use]
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Takes exactly `bytes` of what is ready, or all of it if that is less.
    pub fn take(&mut self, bytes: usize) -> Vec<Bytes> {
        let _ = bytes;
        todo!("builder A")
    }

    /// Ends the object with footer and trailer; returns its size. What is ready then is the rest of it.
    ///
    /// # Errors
    /// [`BuildError::Footer`].
    pub fn finish(&mut self) -> Result<u64, BuildError> {
        let _ = &self.ready;
        todo!("builder A")
    }
}
