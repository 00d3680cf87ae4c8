//! What journal and bucket say, without changing either: for operators, and before a start.

use aquifer_format::{
    ids::{ClusterId, Incarnation, JournalSeq, LeaderTerm, UploadEpoch},
    mark::JournalMark,
};
use aquifer_store::{ObjectStore, witness::Which};

use crate::{
    bucket::{BucketError, Remembered},
    follower::Follower,
    hashes::Verdict,
    journal::{Journal, JournalError, Lease, LeaseOutcome},
    recovery::RecoveryError,
    state::Budgets,
};

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The journal does not answer, or cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The bucket does not answer, or what it says of the metadata cannot be read.
    #[error(transparent)]
    Bucket(BucketError),
}

/// What there is.
#[derive(Clone, Debug)]
pub struct Status {
    /// The cluster; None = the journal is empty.
    pub cluster: Option<ClusterId>,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// The newest row.
    pub newest: JournalMark,
    /// Up to where pages reflect the journal; a restart replays what comes after.
    pub pages_through: JournalSeq,
    /// Who held the lease last; it may have run out.
    pub lease: Option<Lease>,
    /// How many topics there are.
    pub topics: usize,
    /// How many partitions they have.
    pub partitions: u64,
    /// How many agents are registered.
    pub agents: usize,
    /// Marker, tips and witnesses.
    pub bucket: Remembered,
    /// Why nobody may serve from this journal and bucket; None = they agree.
    pub problem: Option<Problem>,
}

/// Why nobody may serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bucket is another cluster's, or marked while the journal is empty.
    #[error("{0}")]
    Bucket(String),
    /// Somebody was shown what the journal does not have.
    #[error(
        "the metadata journal lost rows ({0}); nobody serves until the loss is accepted (aquifer metadata accept-loss)"
    )]
    LostRows(String),
}

/// Reads journal and bucket and compares them.
///
/// # Errors
/// See [`StatusError`]. That they do not agree is [`Status::problem`].
pub async fn status(
    journal: &dyn Journal,
    store: &dyn ObjectStore,
    budgets: Budgets,
) -> Result<Status, StatusError> {
    let bucket = Remembered::read(store, Which::Newest)
        .await
        .map_err(StatusError::Bucket)?;
    let follower = Follower::load(journal, budgets).await?;
    let state = &follower.state;
    let problem = match bucket.check_owner(state.cluster(), store) {
        Err(BucketError::Refused { reason } | BucketError::Unreachable { reason }) => {
            Some(Problem::Bucket(reason))
        }
        Ok(()) => match bucket.judge(state.incarnation(), &follower.hashes) {
            Verdict::Holds => None,
            Verdict::Missing { seen } => Some(Problem::LostRows(seen)),
        },
    };
    let lease = last_lease(journal).await.map_err(RecoveryError::from)?;
    Ok(Status {
        cluster: state.cluster(),
        incarnation: state.incarnation(),
        upload_epoch: state.upload_epoch(),
        newest: follower.mark(),
        pages_through: follower.pages_through,
        lease,
        topics: state.topics().count(),
        partitions: state.topics().map(|t| u64::from(t.partitions())).sum(),
        agents: state.agents().len(),
        bucket,
        problem,
    })
}

/// Who held the lease last. Nobody ever had term 0, so nothing is renewed.
pub(crate) async fn last_lease(journal: &dyn Journal) -> Result<Option<Lease>, JournalError> {
    let nobody = Some(LeaderTerm(0));
    let asked = journal.lease(nobody, "", "", std::time::Duration::ZERO);
    let (LeaseOutcome::Held(lease) | LeaseOutcome::HeldBy(lease)) = asked.await?;
    Ok(Some(lease).filter(|lease| !lease.holder.is_empty()))
}
