//! A worker: leases a job, does it, says so, and begins anew.
//!
//! It may die or stand still anywhere. What it wrote and did not swap was never named by the metadata, so the
//! sweeper takes it; a lease that it lost is told by the next renewal, and swaps with its token are refused.

mod lease;
mod output;
mod source;
mod swaps;

use std::{path::PathBuf, sync::Arc, time::Duration};

use aquifer_format::{block::BlockCompression, ids::ObjectId};
use aquifer_metadata_api::{MetadataError, Upkeep, upkeep::WorkKinds};
use aquifer_store::{DeleteError, GetError, ObjectStore, Ports, PutError};

pub use self::{
    lease::JobLease,
    output::{Output, Outputs, WrittenRun},
    source::{Batch, RunSource, Source},
    swaps::Swaps,
};

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
        })
    }

    /// Works until the node's tasks are killed or [`Self::stop`] is called.
    pub fn start(self: &Arc<Self>) {
        let _ = (&self.store, &self.metadata, &self.ports, &self.settings);
        todo!("builder D")
    }

    /// Takes no further job; returns when those under way have ended, or after `patience` (what they wrote is
    /// then for the sweeper).
    pub async fn stop(&self, patience: Duration) {
        let _ = patience;
        todo!("builder D")
    }

    /// Does one job, if there is one: for tests.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn run_once(&self) -> Result<bool, JobError> {
        todo!("builder D")
    }
}
