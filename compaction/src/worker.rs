//! A worker: leases a job, does it, says so, and begins anew.
//!
//! It may die or stand still anywhere. What it wrote and did not swap was never named by the metadata, so the
//! sweeper takes it; a lease that it lost is told by the next renewal, and swaps with its token are refused.

mod lease;
mod output;
mod reader;
mod source;
mod swaps;
mod tally;
#[cfg(test)]
mod tests;
mod upload;
mod windows;

use std::{path::PathBuf, sync::Arc, time::Duration};

use aquifer_format::{block::BlockCompression, ids::ObjectId};
use aquifer_metadata_api::{
    MetadataError, Upkeep,
    upkeep::{Finish, Job, JobKind, JobOutcome, LeaseRequest, WorkKinds, WorkerId},
};
use aquifer_store::{DeleteError, GetError, Monotonic, ObjectStore, Ports, PutError};
use metrics::{counter, gauge, histogram};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub(crate) use self::reader::{Begun, overlapping};
pub use self::{
    lease::JobLease,
    output::{Output, Outputs, WrittenRun},
    source::{Batch, RunSource, Source},
    swaps::Swaps,
    tally::Tally,
};
use crate::{
    clean::{FolderSpill, KeyIndex, clean},
    delete::delete,
    merge::merge,
};

/// Longest rest after jobs that failed.
const REST_MAX: Duration = Duration::from_secs(60);
/// Bounds of the pause that the leader asks for.
const AGAIN_MIN: Duration = Duration::from_millis(10);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How often the end of a job is told before it is left to the lease to end it.
const FINISH_TRIES: u32 = 3;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// What it takes.
    pub kinds: WorkKinds,
    /// Jobs at once. Default 1: each takes up to `memory_bytes`.
    pub jobs: usize,
    /// Memory of a job, in bytes. Default 448 MiB: with the process's own, 512 MiB.
    pub memory_bytes: usize,
    /// How blocks are compressed that came uncompressed. Default zstd 3: nobody waits for it, and it is read
    /// for as long as it is kept.
    pub compression: BlockCompression,
    /// Where keys go that do not fit into the memory; None = the system's folder for temporary files.
    pub spill: Option<PathBuf>,
    /// Most bytes there. Default 64 GiB; a log that needs more is compacted in several rounds.
    pub spill_bytes: u64,
    /// How long to rest after a job failed. Default 5 s, doubled up to a minute.
    pub rest: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            kinds: WorkKinds::ALL,
            jobs: 1,
            memory_bytes: 448 << 20,
            compression: BlockCompression::Zstd { level: 3 },
            spill: None,
            spill_bytes: 64 << 30,
            rest: Duration::from_secs(5),
        }
    }
}

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Somebody else has it.
    #[error("the lease was lost")]
    Lost,
    /// The leader did not answer, or refused.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// An input is not there: it was swapped and deleted meanwhile, or the bucket lost it.
    #[error("input {object:?} cannot be read: {source}")]
    Get {
        /// Which.
        object: ObjectId,
        /// What was seen.
        source: GetError,
    },
    /// An output could not be written.
    #[error(transparent)]
    Put(#[from] PutError),
    /// Objects could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// An input is not what was written.
    #[error("input {object:?} is damaged: {what}")]
    Damaged {
        /// Which.
        object: ObjectId,
        /// What is wrong.
        what: String,
    },
    /// What went out is not what came in: a bug, so nothing is swapped.
    #[error("the output of partition {partition} is not its input: {what}")]
    Mismatch {
        /// Which.
        partition: aquifer_format::ids::PartitionId,
        /// What differs.
        what: String,
    },
    /// A run was ended that nobody began: a bug.
    #[error("a run was ended that was not begun")]
    NoRun,
    /// An output cannot be built: a bug, so nothing of it is swapped.
    #[error("output {object:?} cannot be built: {what}")]
    Object {
        /// Which.
        object: ObjectId,
        /// What is wrong.
        what: String,
    },
    /// The process stops, and the job took longer than it was given.
    #[error("the worker was stopped")]
    Stopped,
    /// Keys cannot be spilled.
    #[error("cannot spill keys: {reason}")]
    Spill {
        /// What was seen, and what to do about it.
        reason: String,
    },
}

/// A worker.
#[derive(Debug)]
pub struct Worker {
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn Upkeep>,
    ports: Ports,
    settings: WorkerSettings,
    /// No further job is taken.
    stopping: CancellationToken,
    /// Jobs under way are given up.
    stopped: CancellationToken,
    /// Slots that work or look for work.
    slots: watch::Sender<usize>,
    /// When a question was asked that the leader answered.
    heard: Arc<watch::Sender<Option<Monotonic>>>,
}

/// What came of looking for work.
enum Turn {
    Worked,
    /// There was none; it may be asked for again after so long.
    Nothing(Duration),
}

impl Worker {
    /// A worker that does nothing yet. `store` begins where the cluster's keys begin.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        metadata: Arc<dyn Upkeep>,
        ports: Ports,
        settings: WorkerSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            metadata,
            ports,
            settings,
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            slots: watch::Sender::new(0),
            heard: Arc::new(watch::Sender::new(None)),
        })
    }

    /// When a question was asked that the leader answered; None = no leader answered so far.
    #[must_use]
    pub fn heard(&self) -> watch::Receiver<Option<Monotonic>> {
        self.heard.subscribe()
    }

    /// Works until the node's tasks are killed or [`Self::stop`] is called.
    pub fn start(self: &Arc<Self>) {
        for _ in 0..self.settings.jobs {
            self.slots.send_modify(|slots| *slots += 1);
            let this = Arc::clone(self);
            self.ports.tasks.spawn(async move {
                this.slot().await;
                this.slots
                    .send_modify(|slots| *slots = slots.saturating_sub(1));
            });
        }
    }

    /// Takes no further job; returns when those under way have ended, or after `patience` (what they wrote is
    /// then for the sweeper).
    pub async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        if self.ports.timeout(patience, self.idle()).await.is_none() {
            self.stopped.cancel();
            // They throw their uploads away.
            let _ = self.ports.timeout(patience, self.idle()).await;
        }
    }

    /// Returns when no slot works or looks for work.
    async fn idle(&self) {
        let mut slots = self.slots.subscribe();
        // The sender is here, so this ends as it should only.
        let _ = slots.wait_for(|slots| *slots == 0).await;
    }

    /// Does one job, if there is one: for tests.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn run_once(&self) -> Result<bool, JobError> {
        let worker = self.new_id();
        Ok(matches!(self.turn(worker).await?, Turn::Worked))
    }

    fn new_id(&self) -> WorkerId {
        WorkerId(self.ports.rand.next_u64().max(1))
    }

    async fn slot(&self) {
        let worker = self.new_id();
        let mut rest = self.settings.rest;
        while !self.stopping.is_cancelled() {
            let pause = match self.turn(worker).await {
                Ok(Turn::Worked) => {
                    rest = self.settings.rest;
                    continue;
                }
                Ok(Turn::Nothing(again_in)) => again_in,
                Err(error) => {
                    match error {
                        JobError::Lost | JobError::Stopped => debug!(%error, "a job was left"),
                        _ => warn!(%error, "a job failed; its inputs are left as they are"),
                    }
                    let pause = rest;
                    rest = rest.saturating_mul(2).min(REST_MAX);
                    pause
                }
            };
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {}
                () = self.ports.sleep(pause) => {}
            }
        }
    }

    /// Looks for work, and does it.
    async fn turn(&self, worker: WorkerId) -> Result<Turn, JobError> {
        let asked_at = self.ports.clock.now();
        let request = LeaseRequest {
            worker,
            kinds: self.settings.kinds,
        };
        let reply = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return Ok(Turn::Nothing(AGAIN_MIN)),
            reply = self.metadata.lease_job(request) => reply?,
        };
        self.heard.send_replace(Some(asked_at));
        let Some(job) = reply.job else {
            return Ok(Turn::Nothing(reply.again_in.clamp(AGAIN_MIN, AGAIN_MAX)));
        };
        Box::pin(self.job(worker, job)).await?;
        Ok(Turn::Worked)
    }

    async fn job(&self, worker: WorkerId, job: Job) -> Result<(), JobError> {
        let began = self.ports.clock.now();
        let kind = name_of(&job.kind);
        let (metadata, ports) = (Arc::clone(&self.metadata), self.ports.clone());
        let lease = JobLease::new(job, worker, metadata, ports, Arc::clone(&self.heard));
        let outputs = Outputs::new(
            Arc::clone(&self.store),
            lease.clone(),
            self.settings.compression,
        );
        let mut work = Work {
            swaps: Swaps::new(lease.clone()),
            deleted: Vec::new(),
            outputs,
            lease,
        };
        let kept = work.lease.clone();
        let ended = tokio::select! {
            biased;
            () = self.stopped.cancelled() => Err(JobError::Stopped),
            lost = kept.keep() => Err(lost),
            done = self.work(&mut work) => done,
        };
        if ended.is_err() {
            work.outputs.abort().await;
        }
        let took = self.ports.clock.now().since(began);
        work.tell(kind, took, &ended);
        self.finish(worker, work, &ended).await;
        ended
    }

    async fn work(&self, work: &mut Work) -> Result<(), JobError> {
        let lease = &work.lease;
        let memory_bytes = self.settings.memory_bytes;
        let store = Arc::clone(&self.store);
        let mut source = Source::new(store, lease.clone(), memory_bytes / 2);
        let (outputs, swaps) = (&mut work.outputs, &mut work.swaps);
        match &lease.job().kind {
            JobKind::MergeObjects { .. } | JobKind::MergeRanges { .. } => {
                merge(lease, &mut source, outputs, swaps).await?;
            }
            JobKind::Clean(_) => {
                let folder = self
                    .settings
                    .spill
                    .clone()
                    .unwrap_or_else(std::env::temp_dir);
                let spill = FolderSpill::new(folder, self.settings.spill_bytes);
                let mut keys = KeyIndex::new(memory_bytes / 2, Box::new(spill));
                clean(lease, &mut source, outputs, swaps, &mut keys).await?;
            }
            JobKind::Delete { .. } => work.deleted = delete(lease, &*self.store).await?,
        }
        let peak = source
            .peak_bytes()
            .saturating_add(work.outputs.peak_bytes());
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        gauge!("aquifer_compactor_memory_bytes").set(peak as f64);
        Ok(())
    }

    /// Says how the job ended. Where that does not get through, the lease ends by itself.
    async fn finish(&self, worker: WorkerId, work: Work, ended: &Result<(), JobError>) {
        let Ok(token) = work.lease.token() else {
            return;
        };
        let finish = Finish {
            worker,
            token,
            outcome: match ended {
                Ok(()) => JobOutcome::Done,
                Err(error) => JobOutcome::Failed {
                    reason: error.to_string(),
                },
            },
            deleted: work.deleted,
            read_bytes: work.lease.read_bytes(),
            written_bytes: work.outputs.written_bytes(),
        };
        for _ in 0..FINISH_TRIES {
            match self.metadata.finish_job(finish.clone()).await {
                Ok(()) => return,
                Err(MetadataError::Unavailable { .. }) => {
                    self.ports.sleep(Duration::from_millis(250)).await;
                }
                Err(error) => {
                    debug!(%error, "the end of a job was not taken");
                    return;
                }
            }
        }
    }
}

/// A job under way.
struct Work {
    lease: JobLease,
    outputs: Outputs,
    swaps: Swaps,
    /// Objects whose bytes are gone.
    deleted: Vec<ObjectId>,
}

impl Work {
    /// Measures and logs how it ended.
    fn tell(&self, kind: &'static str, took: Duration, ended: &Result<(), JobError>) {
        let (read_bytes, written_bytes) = (self.lease.read_bytes(), self.outputs.written_bytes());
        let outcome = match ended {
            Ok(()) => "done",
            Err(JobError::Lost) => "lost",
            Err(JobError::Stopped) => "stopped",
            Err(_) => "failed",
        };
        counter!("aquifer_compactor_jobs_total", "kind" => kind, "outcome" => outcome).increment(1);
        counter!("aquifer_compactor_read_bytes_total", "kind" => kind).increment(read_bytes);
        counter!("aquifer_compactor_written_bytes_total", "kind" => kind).increment(written_bytes);
        histogram!("aquifer_compactor_job_seconds", "kind" => kind).record(took.as_secs_f64());
        info!(
            kind,
            outcome,
            ?took,
            read_bytes,
            written_bytes,
            objects = self.outputs.objects.len(),
            ranges = self.swaps.done,
            dead = self.swaps.dead,
            deleted = self.deleted.len(),
            "a job ended"
        );
    }
}

fn name_of(kind: &JobKind) -> &'static str {
    match kind {
        JobKind::MergeObjects { .. } => "merge_objects",
        JobKind::MergeRanges { .. } => "merge_ranges",
        JobKind::Clean(_) => "clean",
        JobKind::Delete { .. } => "delete",
    }
}
