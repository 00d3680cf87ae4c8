//! The lease of a job under way: renewed in the background, and lost at once for all who hold it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aquifer_format::ids::{ObjectId, ObjectLevel, UploadEpoch, WriterSlot};
use aquifer_metadata_api::{
    MetadataError, Upkeep,
    upkeep::{Job, JobToken, Renewal, Renewed, WorkerId},
};
use aquifer_store::{Monotonic, Ports};
use tokio::sync::{Mutex, watch};
use tracing::debug;

use super::JobError;

/// How often a call is made before the job is given up: the leader may be changing, and half a minute of waiting is
/// less than the job done once more.
const TRIES_MAX: u32 = 16;
/// Pause before it is made again, times the number of tries.
const PAUSE: Duration = Duration::from_millis(250);

/// What the leader said last.
#[derive(Clone, Copy, Debug)]
struct Standing {
    token: JobToken,
    upload_epoch: UploadEpoch,
    /// When the question was asked that was answered by this.
    asked_at: Monotonic,
    lost: bool,
}

#[derive(Debug)]
struct Shared {
    job: Job,
    worker: WorkerId,
    metadata: Arc<dyn Upkeep>,
    ports: Ports,
    standing: watch::Sender<Standing>,
    /// One renewal at a time: a leader that takes the job over gives one token.
    renewing: Mutex<()>,
    /// When a question was asked that the leader answered.
    heard: Arc<watch::Sender<Option<Monotonic>>>,
    read_bytes: AtomicU64,
}

/// A job and its lease. Clones are the same.
#[derive(Clone, Debug)]
pub struct JobLease {
    shared: Arc<Shared>,
}

impl JobLease {
    /// A lease that was given when a leader was heard last. [`Self::keep`] renews it.
    pub(crate) fn new(
        job: Job,
        worker: WorkerId,
        metadata: Arc<dyn Upkeep>,
        ports: Ports,
        heard: Arc<watch::Sender<Option<Monotonic>>>,
    ) -> Self {
        let asked_at = heard.borrow().unwrap_or_else(|| ports.clock.now());
        let (standing, _) = watch::channel(Standing {
            token: job.token,
            upload_epoch: job.upload_epoch,
            asked_at,
            lost: false,
        });
        Self {
            shared: Arc::new(Shared {
                job,
                worker,
                metadata,
                ports,
                standing,
                renewing: Mutex::new(()),
                heard,
                read_bytes: AtomicU64::new(0),
            }),
        }
    }

    /// The job as it was leased.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.shared.job
    }

    /// Who has it.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.shared.worker
    }

    /// The service that gave it.
    pub(crate) fn metadata(&self) -> &Arc<dyn Upkeep> {
        &self.shared.metadata
    }

    /// Time and randomness.
    pub(crate) fn ports(&self) -> &Ports {
        &self.shared.ports
    }

    /// Counts bytes that were read.
    pub(crate) fn count_read(&self, bytes: u64) {
        self.shared.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes read so far.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.shared.read_bytes.load(Ordering::Relaxed)
    }

    /// The upload epoch that the leader told last.
    #[must_use]
    pub fn upload_epoch(&self) -> UploadEpoch {
        self.shared.standing.borrow().upload_epoch
    }

    /// The token now.
    ///
    /// # Errors
    /// [`JobError::Lost`].
    pub fn token(&self) -> Result<JobToken, JobError> {
        let standing = *self.shared.standing.borrow();
        if standing.lost {
            Err(JobError::Lost)
        } else {
            Ok(standing.token)
        }
    }

    /// A new object's id, of the upload epoch that the leader told last.
    ///
    /// # Errors
    /// [`JobError::Lost`].
    pub fn new_object(&self, level: ObjectLevel) -> Result<ObjectId, JobError> {
        self.token()?;
        Ok(ObjectId {
            incarnation: self.shared.job.incarnation,
            upload_epoch: self.upload_epoch(),
            writer: WriterSlot::COMPACTOR,
            level,
            unique: self.shared.ports.rand.next_u64(),
        })
    }

    /// Returns [`JobError::Lost`] when it is lost, else never.
    pub async fn lost(&self) -> JobError {
        let mut standing = self.shared.standing.subscribe();
        // The sender lives as long as `self` does, so this ends by a loss only.
        if standing.wait_for(|standing| standing.lost).await.is_err() {
            std::future::pending::<()>().await;
        }
        JobError::Lost
    }

    /// Makes a call with the token of the moment, some times where the leader is not available. Where it refuses,
    /// the lease is renewed first: a new leader knows no token but its own.
    pub(crate) async fn asked<T, F>(
        &self,
        mut ask: impl FnMut(JobToken) -> F,
    ) -> Result<T, JobError>
    where
        F: Future<Output = Result<T, MetadataError>>,
    {
        let mut tries = 0;
        loop {
            let token = self.token()?;
            let answer = tokio::select! {
                biased;
                lost = self.lost() => return Err(lost),
                answer = ask(token) => answer,
            };
            tries += 1;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(MetadataError::Unavailable { .. }) if tries < TRIES_MAX => {
                    self.ports().sleep(PAUSE * tries).await;
                }
                Err(error @ MetadataError::Refused { .. }) if tries < TRIES_MAX => {
                    if self.refresh(token).await? == token {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Renews the lease at once, unless that was done since `token` was the token; returns the token then.
    pub(crate) async fn refresh(&self, token: JobToken) -> Result<JobToken, JobError> {
        if self.token()? == token {
            self.renew(self.shared.job.lease / 3, Some(token)).await;
        }
        self.token()
    }

    /// Renews the lease until it is lost. An answer that does not come leaves the job to go on: swaps are safe
    /// without a lease, and who has the inputs by then is told by the first answer that does come.
    pub(super) async fn keep(&self) -> JobError {
        let shared = &self.shared;
        let every = (shared.job.lease / 3).max(Duration::from_millis(100));
        loop {
            // Counted from the question, not from now: after a pause the renewal is the first thing.
            let due = shared.standing.borrow().asked_at.plus(every);
            shared.ports.clock.sleep_until(due).await;
            self.renew(every, None).await;
            if shared.standing.borrow().lost {
                return JobError::Lost;
            }
        }
    }

    /// Asks once; `only`: unless there is another token by now.
    async fn renew(&self, patience: Duration, only: Option<JobToken>) {
        let shared = &self.shared;
        let _one_at_a_time = shared.renewing.lock().await;
        let token = shared.standing.borrow().token;
        if only.is_some_and(|only| only != token) {
            return;
        }
        let asked_at = shared.ports.clock.now();
        let mut job = shared.job.clone();
        job.token = token;
        let renewal = Renewal {
            worker: shared.worker,
            job,
            read_bytes: self.read_bytes(),
        };
        let asking = shared.metadata.renew_job(renewal);
        match shared.ports.timeout(patience, asking).await {
            Some(Ok(Renewed::Held {
                token,
                upload_epoch,
            })) => {
                shared.heard.send_replace(Some(asked_at));
                shared.standing.send_replace(Standing {
                    token,
                    upload_epoch,
                    asked_at,
                    lost: false,
                });
            }
            Some(Ok(Renewed::Lost)) => {
                shared.heard.send_replace(Some(asked_at));
                shared.standing.send_modify(|standing| standing.lost = true);
            }
            Some(Err(error)) => {
                debug!(%error, "a job's lease could not be renewed; it is tried again");
                self.wait_for_another_try(asked_at);
            }
            None => self.wait_for_another_try(asked_at),
        }
    }

    fn wait_for_another_try(&self, asked_at: Monotonic) {
        self.shared
            .standing
            .send_modify(|standing| standing.asked_at = asked_at);
    }
}
