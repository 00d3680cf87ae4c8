//! From a sealed buffer to an object in the bucket.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aquifer_format::{
    batch::RecordBatch,
    block::BlockCompression,
    ids::{ObjectId, ObjectLevel, PartitionId, UploadEpoch},
    key::object_key,
    object::{BuildError, BuiltObject, BuiltRun, ObjectBuilder},
};
use aquifer_metadata_api::{commit::Run, register::Registration};
use aquifer_store::{Monotonic, ObjectStore, Payload, Ports, PutError, PutMode};
use futures::{StreamExt, stream::FuturesUnordered};

use super::{
    buffer::{Buffered, summary},
    commits::Upload,
    metrics,
    requests::BatchTag,
    settings::{Compute, UploadSettings},
};

/// Below this, handing a flush to another thread and back takes about as long as building it.
const BLOCKING_BYTES_MIN: usize = 64 * 1024;

/// A run of an object that was uploaded.
#[derive(Clone, Debug)]
pub struct UploadedRun {
    /// Byte position of the run's first block in the object.
    pub position: u64,
    /// Its batches, in order.
    pub batches: Vec<RecordBatch>,
}

/// Is given each object as soon as it is in the bucket, with all its runs and its bytes, so that tail
/// reads need not fetch it.
pub type OnUpload = Arc<dyn Fn(ObjectId, Vec<UploadedRun>, Payload) + Send + Sync>;

/// Says what the upload epoch is.
pub type CurrentEpoch = Arc<dyn Fn() -> UploadEpoch + Send + Sync>;

/// Why a flush has no object.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    /// It cannot be built; a bug, since what was accepted is within the format's limits.
    #[error("cannot build an object: {0}")]
    Build(#[from] BuildError),
    /// The thread that built it is gone: the process is stopping.
    #[error("the object was not built: the agent is stopping")]
    Stopping,
    /// One PUT failed.
    #[error(transparent)]
    Put(PutError),
    /// No PUT was answered with success in the time that there was.
    #[error("no PUT succeeded within {waited:?} ({attempts} were sent); the last error: {last}")]
    GaveUp {
        waited: Duration,
        attempts: u32,
        last: String,
    },
}

/// Builds objects and puts them into the bucket.
pub(super) struct Uploader {
    pub(super) ports: Ports,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) compression: BlockCompression,
    pub(super) compute: Compute,
    pub(super) settings: UploadSettings,
    pub(super) epoch: CurrentEpoch,
    pub(super) on_upload: OnUpload,
    /// Objects get numbers from a random start on: unique within (incarnation, epoch, slot), even if
    /// the process restarts and is given the same slot.
    pub(super) next_unique: AtomicU64,
}

impl fmt::Debug for Uploader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploader")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// The batches of a flush.
pub(super) type Runs = BTreeMap<PartitionId, Vec<Buffered>>;

impl Uploader {
    /// Uploads a flush. A PUT that is overdue or failed is sent again under another key; the first one
    /// that succeeds counts, and the objects of the others are orphans that the sweeper finds.
    pub(super) async fn upload(
        &self,
        registration: &Registration,
        runs: Runs,
    ) -> Result<Upload, UploadError> {
        let runs = Arc::new(runs);
        let started = self.ports.clock.now();
        let give_up_at = started.plus(self.settings.give_up);
        let mut sent = 0;
        let mut next_at = started;
        let mut last = String::from("none was answered");
        let mut attempts = FuturesUnordered::new();
        loop {
            let resends_left = sent <= self.settings.resends_max;
            let now = self.ports.clock.now();
            if now >= give_up_at || (!resends_left && attempts.is_empty()) {
                let waited = now.since(started);
                return Err(UploadError::GaveUp {
                    waited,
                    attempts: sent,
                    last,
                });
            }
            if resends_left && now >= next_at {
                if sent > 0 {
                    metrics::resent();
                    tracing::warn!(attempts = sent, %last, "sending a flush to the bucket again under another key");
                }
                sent += 1;
                next_at = now.plus(self.settings.overdue);
                attempts.push(self.attempt(registration, &runs));
                continue;
            }
            let wake_at = if resends_left {
                next_at.min(give_up_at)
            } else {
                give_up_at
            };
            tokio::select! {
                biased;
                Some(result) = attempts.next() => match result {
                    Ok(uploaded) => return Ok(uploaded.finish(&runs, self.ports.clock.now())),
                    Err(UploadError::Put(PutError::Failed { reason, .. })) => {
                        last = reason;
                        next_at = self.ports.clock.now().plus(self.settings.back_off);
                    }
                    // The key is taken, which the random start makes all but impossible: take another.
                    Err(UploadError::Put(error @ PutError::Exists { .. })) => {
                        last = error.to_string();
                        next_at = self.ports.clock.now();
                    }
                    Err(error) => return Err(error),
                },
                () = self.ports.clock.sleep_until(wake_at) => {}
            }
        }
    }

    async fn attempt(
        &self,
        registration: &Registration,
        runs: &Arc<Runs>,
    ) -> Result<Uploaded, UploadError> {
        let id = self.new_id(registration);
        let started = self.ports.clock.now();
        let built = self.build(registration, id, runs).await?;
        let built_at = self.ports.clock.now();
        metrics::built(built_at.since(started), built.bytes);
        let key = object_key(registration.cluster, &id);
        self.store
            .put(&key, built.payload.clone(), PutMode::Create)
            .await
            .map_err(UploadError::Put)?;
        metrics::put(self.ports.clock.now().since(built_at));
        let uploaded = Uploaded { id, built };
        let payload = uploaded.built.payload.clone();
        (self.on_upload)(id, uploaded.runs(runs), payload);
        Ok(uploaded)
    }

    fn new_id(&self, registration: &Registration) -> ObjectId {
        ObjectId {
            incarnation: registration.incarnation,
            // The view may not have heard yet what the registration said.
            upload_epoch: (self.epoch)().max(registration.upload_epoch),
            writer: registration.slot,
            level: ObjectLevel::L0,
            unique: self.next_unique.fetch_add(1, Ordering::Relaxed),
        }
    }

    async fn build(
        &self,
        registration: &Registration,
        id: ObjectId,
        runs: &Arc<Runs>,
    ) -> Result<BuiltObject, UploadError> {
        let (cluster, compression) = (registration.cluster, self.compression);
        let mut builder = ObjectBuilder::new(cluster, id, compression);
        let work = {
            let runs = Arc::clone(runs);
            move || {
                for (partition, batches) in runs.iter() {
                    builder.add_run(*partition, batches.iter().map(|b| &b.batch))?;
                }
                builder.finish()
            }
        };
        let bytes: usize = runs.values().flatten().map(|b| b.batch.bytes.len()).sum();
        match self.compute {
            Compute::Blocking if bytes >= BLOCKING_BYTES_MIN => {
                Ok(tokio::task::spawn_blocking(work)
                    .await
                    .map_err(|_| UploadError::Stopping)??)
            }
            Compute::Blocking | Compute::Inline => Ok(work()?),
        }
    }
}

struct Uploaded {
    id: ObjectId,
    built: BuiltObject,
}

impl Uploaded {
    fn runs(&self, runs: &Runs) -> Vec<UploadedRun> {
        let run = |(built, batches): (&BuiltRun, &Vec<Buffered>)| UploadedRun {
            position: built.position,
            batches: batches.iter().map(|b| b.batch.clone()).collect(),
        };
        self.built.runs.iter().zip(runs.values()).map(run).collect()
    }

    /// The commit's content: the runs of the object, and whose batches they are.
    fn finish(self, runs: &Runs, now: Monotonic) -> Upload {
        let mut commit_runs = Vec::with_capacity(self.built.runs.len());
        let mut tags: Vec<Vec<BatchTag>> = Vec::with_capacity(self.built.runs.len());
        for (built, (partition, batches)) in self.built.runs.iter().zip(runs) {
            assert_eq!(
                built.partition, *partition,
                "runs are built in the order of the buffer"
            );
            commit_runs.push(Run {
                partition: *partition,
                position: built.position,
                stored_bytes: built.stored_bytes,
                batches: batches.iter().map(|b| summary(&b.batch)).collect(),
            });
            tags.push(batches.iter().map(|b| b.tag).collect());
        }
        assert_eq!(commit_runs.len(), runs.len(), "every run is in the object");
        Upload {
            object: self.id,
            object_bytes: self.built.bytes,
            runs: commit_runs,
            tags,
            uploaded_at: now,
        }
    }
}
