//! Deletes objects that were uploaded and never committed: their agent died, or gave the upload up.
//!
//! An object is an orphan if its upload epoch is more than [`SWEEP_AGE_EPOCHS_MIN`] behind the leader's and
//! the leader knows nothing of it. As a first commit older than
//! [`aquifer_format::limits::COMMIT_AGE_EPOCHS_MAX`] is refused, an orphan can never become anything else: the
//! answer may be old by the time that the object is deleted, and several sweepers do no harm.
//!
//! All of it rests on the metadata being the right one, so a sweep looks for signs that it is not:
//! - Objects of other clusters and other incarnations, and everything whose key is not an object's, are
//!   never touched. Metadata that lost its identity has nothing to sweep.
//! - An object of the own cluster that is *ahead* of the leader (a later upload epoch or incarnation) means
//!   that the metadata lost its end. Then a halt is written into the bucket
//!   ([`aquifer_format::key::sweep_halt_key`]), and no sweeper deletes anything of that incarnation ever
//!   again, however far the upload epoch gets meanwhile. Accepting the loss starts another incarnation. Until
//!   the halt is written, the sweeper that saw the object does nothing but try that.
//! - Before more than 5 % of the listed bytes and more than 1 GiB go, it stops and asks: see [`Approval`].
//!
//! Uploads in parts that nobody ended are aborted at the same age, without a question to the leader: an upload that
//! is not finished is nobody's object.
//!
//! What metadata itself released is not an orphan; its deletion is journaled and none of this module's
//! business.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aquifer_format::{
    ids::{ClusterId, Incarnation, ObjectId, UploadEpoch},
    key::{object_key, parse_object_key, sweep_halt_key},
    limits::{LIVE_OBJECTS_MAX, SWEEP_AGE_EPOCHS_MIN},
};
use aquifer_metadata_api::{Metadata, MetadataError, live::LiveObjects};
use aquifer_store::{
    DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Ports, PutError, PutMode,
};
use bytes::Bytes;
use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::sync::watch;

mod approval;
mod uploads;

pub use approval::Approval;

/// Objects in one page of the listing (as many as S3 gives at once).
const PAGE_OBJECTS: usize = 1_000;
const _: () = assert!(PAGE_OBJECTS <= LIVE_OBJECTS_MAX);
/// Longest pause after a sweep that did not see the whole bucket: what shows that the metadata is behind it is
/// gone once the upload epoch, which advances every minute, has caught up.
const UNSEEN_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How a sweeper goes about it.
#[derive(Clone, Debug)]
pub struct SweepSettings {
    /// Time between two sweeps. The default is an hour: a sweep lists the whole bucket (a request per
    /// 1,000 objects), and orphans are as rare as agents that die.
    pub interval: Duration,
    /// Objects in one delete. The default is 100.
    pub batch_objects: usize,
    /// Objects deleted per second at most. The default, 50, is 180,000 an hour at under 2 % of the requests
    /// that a bucket's prefix takes.
    pub objects_per_second: u32,
    /// Orphans that one sweep remembers; further ones are counted and left to the next sweep. The default,
    /// 100,000, is about 5 MB.
    pub orphans_max: usize,
    /// A sweep of more than this share of the listed bytes, in percent, and more than `ask_bytes`, is not
    /// begun without an approval. The default is 5.
    pub ask_percent: u64,
    /// See `ask_percent`. The default is 1 GiB.
    pub ask_bytes: u64,
    /// Lets a sweep that would ask go on. The sweeper's refusal names the number of orphans.
    pub approval: Approval,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3_600),
            batch_objects: 100,
            objects_per_second: 50,
            orphans_max: 100_000,
            ask_percent: 5,
            ask_bytes: 1 << 30,
            approval: Approval::default(),
        }
    }
}

/// What a sweep found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Objects of this cluster and incarnation in the bucket.
    pub listed_objects: u64,
    /// Their bytes.
    pub listed_bytes: u64,
    /// Orphans among them.
    pub orphan_objects: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
    /// Orphans that were deleted.
    pub deleted_objects: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Uploads in parts that were begun as long ago, and aborted now.
    pub aborted_uploads: u64,
}

/// What a sweeper is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SweepState {
    /// No sweep was finished yet.
    #[default]
    Starting,
    /// The last sweep was finished.
    Done(SweepReport),
    /// It stopped and asks: nothing is deleted before a person approved of `orphan_objects`.
    Refusing(SweepReport),
    /// It found the metadata behind the bucket: nothing of this incarnation is deleted any more.
    Halted {
        /// What was seen.
        reason: String,
    },
    /// The last sweep could not be finished; the next one begins anew, within a minute if this one did not see
    /// the whole bucket.
    Failed {
        /// What was seen.
        reason: String,
    },
}

/// Why a sweep was not finished.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The leader did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The bucket could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// Objects could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// The halt could not be looked for.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The metadata is behind the bucket, and the halt that says so could not be written.
    #[error(
        "the metadata is behind the bucket ({reason}), and the halt that tells every sweeper so could not be \
         written: {source}"
    )]
    Unwritten {
        /// What was seen.
        reason: String,
        /// Why it could not be written.
        source: PutError,
    },
    /// The metadata is behind the bucket, or was once in this incarnation.
    #[error("the metadata is behind the bucket ({reason}); nothing is deleted in this incarnation")]
    Halted {
        /// What was seen.
        reason: String,
    },
    /// The leader belongs to another cluster or incarnation than at the sweep's beginning.
    #[error("the leader is of another cluster or incarnation than at the sweep's beginning")]
    Identity,
    /// The leader's answer is not one to the question.
    #[error("the leader answered for {answered} objects instead of {asked}")]
    Answer {
        /// How many were asked for.
        asked: usize,
        /// How many it told of.
        answered: usize,
    },
}

/// Whose objects are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    cluster: ClusterId,
    incarnation: Incarnation,
}

impl Identity {
    fn of(told: &LiveObjects) -> Self {
        Self {
            cluster: told.cluster,
            incarnation: told.incarnation,
        }
    }
}

/// What a listing shows.
#[derive(Debug, Default)]
struct Found {
    report: SweepReport,
    orphans: VecDeque<(ObjectId, u64)>,
}

/// Sweeps one bucket for one cluster.
#[derive(Debug)]
pub struct Sweeper {
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn Metadata>,
    ports: Ports,
    settings: SweepSettings,
    state: watch::Sender<SweepState>,
    /// Of which incarnation the metadata was seen to be behind the bucket, and by what.
    behind: Mutex<Option<(Identity, String)>>,
}

impl Sweeper {
    /// A sweeper that does nothing yet. `store` begins where the cluster's keys begin.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        metadata: Arc<dyn Metadata>,
        ports: Ports,
        settings: SweepSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            metadata,
            ports,
            settings,
            state: watch::channel(SweepState::Starting).0,
            behind: Mutex::default(),
        })
    }

    /// Follows what it does.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SweepState> {
        self.state.subscribe()
    }

    /// Sweeps at every interval until the node's tasks are killed. The first sweep comes within a minute: it
    /// is the one that sees whether the metadata is behind the bucket.
    pub fn start(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.ports.tasks.spawn(async move {
            let first = Duration::from_millis(this.ports.rand.next_u64() % 60_000);
            this.ports.sleep(first.min(this.settings.interval)).await;
            loop {
                let pause = this.sweep_and_tell().await;
                this.ports.sleep(pause).await;
            }
        });
    }

    /// Sweeps, tells what came of it, and says when to sweep again.
    async fn sweep_and_tell(&self) -> Duration {
        let mut pause = self.settings.interval;
        let state = match self.sweep().await {
            Ok(state) => state,
            Err(SweepError::Halted { reason }) => {
                tracing::error!(
                    reason,
                    "nothing is swept: the metadata is behind the bucket, so it may have lost rows; \
                     bring the right database back, or accept the loss"
                );
                SweepState::Halted { reason }
            }
            Err(error) => {
                counter!("aquifer_sweep_failures_total").increment(1);
                tracing::warn!(%error, "a sweep was not finished; the next one begins anew");
                // Objects are deleted once all were seen.
                if !matches!(error, SweepError::Delete(_)) {
                    pause = pause.min(UNSEEN_PAUSE_MAX);
                }
                SweepState::Failed {
                    reason: error.to_string(),
                }
            }
        };
        let stopped = matches!(state, SweepState::Refusing(_) | SweepState::Halted { .. })
            || self.behind.lock().is_some();
        gauge!("aquifer_sweep_stopped").set(if stopped { 1.0 } else { 0.0 });
        self.state.send_replace(state);
        pause
    }

    /// One sweep. Dropping it leaves the bucket in order.
    ///
    /// # Errors
    /// Whatever keeps it from being finished; what was deleted before that was an orphan.
    pub async fn sweep(&self) -> Result<SweepState, SweepError> {
        let begun = self.metadata.live_objects(Vec::new()).await?;
        let identity = Identity::of(&begun);
        self.check_halt(identity).await?;
        let found = self.list(identity, begun.upload_epoch).await?;
        let mut report = found.report;
        tell(&report);
        if !self.must_ask(&report) {
            self.settings.approval.end();
        } else if !self.settings.approval.covers(report.orphan_objects) {
            tracing::error!(
                orphans = report.orphan_objects,
                orphan_bytes = report.orphan_bytes,
                listed_bytes = report.listed_bytes,
                "the sweeper stops and asks: so many objects were never committed, which is more than \
                 agents that died leave behind; if the metadata is the right one, approve of {} objects \
                 in the sweeper's settings",
                report.orphan_objects
            );
            return Ok(SweepState::Refusing(report));
        }
        self.delete(identity, found.orphans, &mut report).await?;
        self.abort_uploads(identity, &mut report).await?;
        if report.aborted_uploads > 0 {
            tracing::info!(
                uploads = report.aborted_uploads,
                "aborted uploads that nobody had ended"
            );
        }
        if report.deleted_objects > 0 {
            tracing::info!(
                objects = report.deleted_objects,
                bytes = report.deleted_bytes,
                "swept objects that were never committed"
            );
        }
        Ok(SweepState::Done(report))
    }

    fn must_ask(&self, report: &SweepReport) -> bool {
        let share = u128::from(report.orphan_bytes) * 100;
        let most = u128::from(report.listed_bytes) * u128::from(self.settings.ask_percent);
        share > most && report.orphan_bytes > self.settings.ask_bytes
    }

    /// Asks the leader, and makes sure that it is still the same cluster's.
    async fn ask(
        &self,
        identity: Identity,
        objects: Vec<ObjectId>,
    ) -> Result<LiveObjects, SweepError> {
        let asked = objects.len();
        let told = self.metadata.live_objects(objects).await?;
        if Identity::of(&told) != identity {
            return Err(SweepError::Identity);
        }
        if told.live.len() != asked {
            let answered = told.live.len();
            return Err(SweepError::Answer { asked, answered });
        }
        Ok(told)
    }

    async fn list(&self, identity: Identity, epoch: UploadEpoch) -> Result<Found, SweepError> {
        let mut found = Found::default();
        let mut epoch = epoch;
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list("", after.as_deref(), PAGE_OBJECTS).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = Some(last.key.clone());
            let ours = self.ours(identity, &mut epoch, &page).await?;
            self.take_page(identity, epoch, ours, &mut found).await?;
        }
    }

    /// The objects of this incarnation in a page. One that is ahead of the leader halts everything.
    async fn ours(
        &self,
        identity: Identity,
        epoch: &mut UploadEpoch,
        page: &[ObjectMeta],
    ) -> Result<Vec<(ObjectId, u64)>, SweepError> {
        let mut ours = Vec::new();
        for meta in page {
            let Ok((cluster, id)) = parse_object_key(&meta.key) else {
                continue;
            };
            if cluster != identity.cluster || id.incarnation < identity.incarnation {
                continue;
            }
            if id.incarnation == identity.incarnation && id.upload_epoch > *epoch {
                // Uploads go on while the bucket is listed.
                *epoch = self.ask(identity, Vec::new()).await?.upload_epoch;
            }
            if id.incarnation > identity.incarnation || id.upload_epoch > *epoch {
                let reason = format!(
                    "object {} is of incarnation {}, upload epoch {}; the leader is at {}, {epoch}",
                    meta.key, id.incarnation, id.upload_epoch, identity.incarnation
                );
                return Err(self.halt(identity, reason).await);
            }
            ours.push((id, meta.bytes));
        }
        Ok(ours)
    }

    async fn take_page(
        &self,
        identity: Identity,
        epoch: UploadEpoch,
        ours: Vec<(ObjectId, u64)>,
        found: &mut Found,
    ) -> Result<(), SweepError> {
        let report = &mut found.report;
        for (_, bytes) in &ours {
            report.listed_objects += 1;
            report.listed_bytes = report.listed_bytes.saturating_add(*bytes);
        }
        let old: Vec<_> = ours
            .into_iter()
            .filter(|(id, _)| is_old(id, epoch))
            .collect();
        if old.is_empty() {
            return Ok(());
        }
        let ids = old.iter().map(|(id, _)| *id).collect();
        let told = self.ask(identity, ids).await?;
        for ((id, bytes), live) in old.into_iter().zip(told.live) {
            if live {
                continue;
            }
            report.orphan_objects += 1;
            report.orphan_bytes = report.orphan_bytes.saturating_add(bytes);
            if found.orphans.len() < self.settings.orphans_max {
                found.orphans.push_back((id, bytes));
            }
        }
        Ok(())
    }

    async fn delete(
        &self,
        identity: Identity,
        mut orphans: VecDeque<(ObjectId, u64)>,
        report: &mut SweepReport,
    ) -> Result<(), SweepError> {
        let batch = self.settings.batch_objects.clamp(1, LIVE_OBJECTS_MAX);
        while !orphans.is_empty() {
            let batch: Vec<_> = orphans.drain(..batch.min(orphans.len())).collect();
            // Nothing can have changed but the cluster itself: that is what is asked for.
            let ids = batch.iter().map(|(id, _)| *id).collect();
            let told = self.ask(identity, ids).await?;
            let gone: Vec<_> = batch
                .into_iter()
                .zip(told.live)
                .filter(|((id, _), live)| !live && is_old(id, told.upload_epoch))
                .map(|(orphan, _)| orphan)
                .collect();
            let keys: Vec<String> = gone
                .iter()
                .map(|(id, _)| object_key(identity.cluster, id))
                .collect();
            self.store.delete(&keys).await?;
            let objects = u64::try_from(gone.len()).unwrap_or(u64::MAX);
            let bytes = gone
                .iter()
                .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
            self.settings.approval.use_up(objects);
            report.deleted_objects += objects;
            report.deleted_bytes = report.deleted_bytes.saturating_add(bytes);
            counter!("aquifer_sweep_deleted_objects_total").increment(objects);
            counter!("aquifer_sweep_deleted_bytes_total").increment(bytes);
            let rate = u64::from(self.settings.objects_per_second.max(1));
            let pause = Duration::from_millis(objects.saturating_mul(1_000) / rate);
            self.ports.sleep(pause).await;
        }
        Ok(())
    }

    /// Fails if this or an earlier sweeper of this incarnation found the metadata behind the bucket.
    async fn check_halt(&self, identity: Identity) -> Result<(), SweepError> {
        let known = {
            let mut behind = self.behind.lock();
            // Of another incarnation: the loss was accepted.
            behind.take_if(|(of, _)| *of != identity);
            behind.clone()
        };
        if let Some((_, reason)) = known {
            return Err(self.halt(identity, reason).await);
        }
        let key = sweep_halt_key(identity.cluster, identity.incarnation);
        match self.store.get(&key).await {
            Ok(bytes) => Err(SweepError::Halted {
                reason: String::from_utf8_lossy(&bytes).into_owned(),
            }),
            Err(GetError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Halts all sweepers of this incarnation for good, this one even if it cannot tell the others; returns the
    /// error that says so.
    async fn halt(&self, identity: Identity, reason: String) -> SweepError {
        *self.behind.lock() = Some((identity, reason.clone()));
        let key = sweep_halt_key(identity.cluster, identity.incarnation);
        let payload = vec![Bytes::from(reason.clone())];
        match self.store.put(&key, payload, PutMode::Create).await {
            Ok(()) | Err(PutError::Exists { .. }) => SweepError::Halted { reason },
            Err(source) => SweepError::Unwritten { reason, source },
        }
    }
}

/// Whether no commit of it can succeed any more, by a wide margin.
pub(crate) fn is_old(id: &ObjectId, epoch: UploadEpoch) -> bool {
    epoch.0.saturating_sub(id.upload_epoch.0) > SWEEP_AGE_EPOCHS_MIN
}

#[allow(clippy::cast_precision_loss, reason = "a gauge for people")]
fn tell(report: &SweepReport) {
    gauge!("aquifer_sweep_listed_objects").set(report.listed_objects as f64);
    gauge!("aquifer_sweep_listed_bytes").set(report.listed_bytes as f64);
    gauge!("aquifer_sweep_orphan_objects").set(report.orphan_objects as f64);
    gauge!("aquifer_sweep_orphan_bytes").set(report.orphan_bytes as f64);
}

#[cfg(test)]
mod tests;
