//! Writing outputs: objects that are uploaded in parts while they are built.

use aquifer_format::{
    batch::RecordBatch,
    ids::{ObjectId, PartitionId},
    object::{AbortedTransaction, StreamedRun},
};

use super::JobError;

/// A run that was written, and in which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenRun {
    /// Index of its object in [`Outputs::objects`].
    pub object: u32,
    /// What extents say of it.
    pub run: StreamedRun,
}

/// An object that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its id.
    pub id: ObjectId,
    /// Its size.
    pub bytes: u64,
}

/// The outputs of a job. An object is ended between two runs once it is large enough; runs of it may be swapped
/// from then on.
#[derive(Debug)]
pub struct Outputs {
    /// Objects that are durable, in order.
    pub objects: Vec<Output>,
}

impl Outputs {
    /// Begins a run. It goes into the open object, or a new one where that is large enough.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn begin_run(
        &mut self,
        partition: PartitionId,
        cleaned: bool,
    ) -> Result<(), JobError> {
        let _ = (partition, cleaned);
        todo!("builder D")
    }

    /// Adds a batch; waits while too much is being uploaded.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn push(&mut self, batch: &RecordBatch) -> Result<(), JobError> {
        let _ = batch;
        todo!("builder D")
    }

    /// Expanded bytes of the open run.
    #[must_use]
    pub fn run_expanded_bytes(&self) -> usize {
        todo!("builder D")
    }

    /// Ends the open run. Its object is durable once [`Self::objects`] has it.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn end_run(
        &mut self,
        aborted: Vec<AbortedTransaction>,
    ) -> Result<WrittenRun, JobError> {
        let _ = aborted;
        todo!("builder D")
    }

    /// Ends the open object.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn finish(&mut self) -> Result<(), JobError> {
        todo!("builder D")
    }

    /// Aborts what is not durable, so that nothing is left for the sweeper where that is possible.
    pub async fn abort(&mut self) {
        todo!("builder D")
    }
}
