//! Writing outputs: objects that are uploaded in parts while they are built.

use std::{sync::Arc, time::Duration};

use aquifer_format::{
    batch::{BatchHeader, RecordBatch},
    block::BlockCompression,
    ids::{ObjectId, ObjectLevel, PartitionId},
    key::object_key,
    limits::{COMMIT_AGE_EPOCHS_MAX, FOOTER_BYTES_MAX},
    object::{AbortedTransaction, StreamBuilder, StreamedRun},
};
use aquifer_metadata_api::upkeep::JobKind;
use aquifer_store::ObjectStore;

use super::{JobError, JobLease, tally::Tally, upload::PartUpload};

/// Size of outputs of jobs that name none.
const OBJECT_BYTES: u64 = 1 << 30;
/// Footer bytes from which on an object is ended: one run's part is far less than the other half.
const FOOTER_BYTES: usize = FOOTER_BYTES_MAX / 2;
/// Upload epochs after which an object is ended early: two before its swap would come too late.
const AGE_EPOCHS_MAX: u32 = COMMIT_AGE_EPOCHS_MAX - 2;
/// How long throwing an upload away may take.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// A run that was written, and in which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenRun {
    /// Index of its object in [`Outputs::objects`].
    pub object: u32,
    /// What extents say of it.
    pub run: StreamedRun,
    /// What was counted of its batches as they were written.
    pub tally: Tally,
}

/// An object that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its id.
    pub id: ObjectId,
    /// Its size.
    pub bytes: u64,
}

/// The run that batches are added to.
#[derive(Clone, Copy, Debug)]
struct OpenRun {
    partition: PartitionId,
    tally: Tally,
}

#[derive(Debug)]
struct OpenObject {
    id: ObjectId,
    builder: StreamBuilder,
    upload: PartUpload,
    run: Option<OpenRun>,
}

/// The outputs of a job. An object is ended between two runs once it is large enough; runs of it may be swapped
/// from then on.
#[derive(Debug)]
pub struct Outputs {
    /// Objects that are durable, in order.
    pub objects: Vec<Output>,
    store: Arc<dyn ObjectStore>,
    lease: JobLease,
    level: ObjectLevel,
    compression: BlockCompression,
    object_bytes: u64,
    open: Option<OpenObject>,
    peak: usize,
}

impl Outputs {
    /// None yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        lease: JobLease,
        compression: BlockCompression,
    ) -> Self {
        let kind = &lease.job().kind;
        let object_bytes = match kind {
            JobKind::MergeObjects { object_bytes, .. }
            | JobKind::MergeRanges { object_bytes, .. } => *object_bytes,
            JobKind::Clean(_) | JobKind::Delete { .. } => OBJECT_BYTES,
        };
        Self {
            objects: Vec::new(),
            store,
            level: kind.level().unwrap_or(ObjectLevel::L1),
            lease,
            compression,
            object_bytes,
            open: None,
            peak: 0,
        }
    }

    /// Begins a run. It goes into the open object, or a new one where that is large enough.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn begin_run(
        &mut self,
        partition: PartitionId,
        cleaned: bool,
    ) -> Result<(), JobError> {
        let is_full = self.open.as_ref().is_some_and(|open| {
            open.builder.bytes() >= self.object_bytes || open.builder.footer_bytes() >= FOOTER_BYTES
        });
        if is_full || self.is_old() {
            self.finish().await?;
        }
        if self.open.is_none() {
            let id = self.lease.new_object(self.level)?;
            let cluster = self.lease.job().cluster;
            let key = object_key(cluster, &id);
            self.open = Some(OpenObject {
                id,
                builder: StreamBuilder::new(cluster, id, self.compression),
                upload: PartUpload::new(Arc::clone(&self.store), self.lease.clone(), key),
                run: None,
            });
        }
        if let Some(open) = self.open.as_mut() {
            open.builder
                .begin_run(partition, cleaned)
                .map_err(|error| mismatch(partition, error.to_string()))?;
            open.run = Some(OpenRun {
                partition,
                tally: Tally::default(),
            });
        }
        Ok(())
    }

    /// Whether the open object was begun so long ago that it is to be ended after this run.
    #[must_use]
    pub fn is_old(&self) -> bool {
        let now = self.lease.upload_epoch().0;
        let age = |open: &OpenObject| now.saturating_sub(open.id.upload_epoch.0);
        self.open
            .as_ref()
            .is_some_and(|open| age(open) >= AGE_EPOCHS_MAX)
    }

    /// Adds a batch; waits while too much is being uploaded.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn push(&mut self, batch: &RecordBatch) -> Result<(), JobError> {
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        let Some(run) = open.run.as_mut() else {
            return Ok(());
        };
        let partition = run.partition;
        // What goes out is looked at, not what it was made of.
        batch
            .validate_integrity()
            .map_err(|error| mismatch(partition, error.to_string()))?;
        let header = BatchHeader::decode(&batch.bytes)
            .map_err(|error| mismatch(partition, error.to_string()))?;
        run.tally.add(&header, batch.bytes.len());
        open.builder
            .push(batch.into())
            .map_err(|error| mismatch(partition, error.to_string()))?;
        let memory_bytes = open
            .builder
            .memory_bytes()
            .saturating_add(open.upload.memory_bytes());
        self.peak = self.peak.max(memory_bytes);
        open.upload.send(&mut open.builder).await
    }

    /// Expanded bytes of the open run.
    #[must_use]
    pub fn run_expanded_bytes(&self) -> usize {
        self.open
            .as_ref()
            .map_or(0, |open| open.builder.run_expanded_bytes())
    }

    /// Ends the open run. Its object is durable once [`Self::objects`] has it.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn end_run(
        &mut self,
        aborted: Vec<AbortedTransaction>,
    ) -> Result<WrittenRun, JobError> {
        let Some((open, OpenRun { partition, tally })) = self
            .open
            .as_mut()
            .and_then(|open| open.run.take().map(|run| (open, run)))
        else {
            return Err(JobError::NoRun);
        };
        let run = open
            .builder
            .end_run(aborted)
            .map_err(|error| mismatch(partition, error.to_string()))?;
        let built = (
            u64::from(run.batches),
            run.records,
            u64::from(run.expanded_bytes),
        );
        let counted = (tally.batches, tally.records, tally.bytes);
        if built != counted {
            let what = format!("the run has {built:?} batches, records and bytes, not {counted:?}");
            return Err(mismatch(partition, what));
        }
        open.upload.send(&mut open.builder).await?;
        Ok(WrittenRun {
            object: u32::try_from(self.objects.len()).unwrap_or(u32::MAX),
            run,
            tally,
        })
    }

    /// Ends the open object.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn finish(&mut self) -> Result<(), JobError> {
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        if let Some(run) = &open.run {
            return Err(mismatch(run.partition, "its run was not ended"));
        }
        let bytes = open.builder.finish().map_err(|error| JobError::Object {
            object: open.id,
            what: error.to_string(),
        })?;
        open.upload.finish(&mut open.builder, bytes).await?;
        self.objects.push(Output { id: open.id, bytes });
        self.open = None;
        Ok(())
    }

    /// Aborts what is not durable, so that nothing is left for the sweeper where that is possible.
    pub async fn abort(&mut self) {
        if let Some(open) = self.open.take() {
            let aborting = open.upload.abort();
            let ports = self.lease.ports();
            // What it leaves is swept.
            let _ = ports.timeout(ABORT_PATIENCE, aborting).await;
        }
    }

    /// Bytes of the objects that are durable.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.bytes).sum()
    }

    /// Most memory that it ever took: the open blocks and footer, and parts under way.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.peak
    }
}

fn mismatch(partition: PartitionId, what: impl Into<String>) -> JobError {
    JobError::Mismatch {
        partition,
        what: what.into(),
    }
}
