//! An operator accepts that the journal lost rows: the cluster goes on, above everything that anybody
//! remembers having been shown.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::{
    ids::{Incarnation, JournalSeq, LeaderTerm, Offset, PartitionId, UploadEpoch},
    mark::JournalMark,
};
use aquifer_store::{ObjectStore, Ports, witness::Which};

use crate::{
    bucket::{BucketError, Marker, Remembered, Tips},
    event::encode_row,
    follower::{self, FollowError, Follower},
    hashes::Verdict,
    journal::{Journal, JournalError, LeaseOutcome, Row},
    journal_writer::{self, Written},
    leader::StopReason,
    lease::LeaseTerms,
    recovery::RecoveryError,
    state::{
        Budgets,
        decide::{self, Loss, Now},
    },
};

/// Most take-overs in a row, to raise the fence above the terms that were seen.
const TAKES_MAX: u64 = 1_000_000;

/// How a loss is accepted.
#[derive(Clone, Debug)]
pub struct AcceptSettings {
    /// Offsets that each partition leaves out above the highest watermark that anybody remembers, and
    /// producer ids and sessions likewise. Default 1,000,000: more than a second of one partition, which
    /// is far more than anybody can have been shown after the last that wrote a witness.
    pub gap: u32,
    /// Accepts also where nothing says that rows were lost: after a restore of which nobody can know.
    pub even_if_nothing_is_missing: bool,
    /// Name in the lease, made unique.
    pub holder: String,
    /// How long to wait for a lease that another one holds. Default 10 s: three leases.
    pub patience: Duration,
    /// Length of the lease while it works. Default 30 s.
    pub lease_ttl: Duration,
    /// What the state may cost in memory.
    pub budgets: Budgets,
}

impl Default for AcceptSettings {
    fn default() -> Self {
        Self {
            gap: 1_000_000,
            even_if_nothing_is_missing: false,
            holder: "accept-loss".to_owned(),
            patience: Duration::from_secs(10),
            lease_ttl: Duration::from_secs(30),
            budgets: Budgets::default(),
        }
    }
}

/// Why a loss was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Nothing says that rows were lost.
    #[error("nothing is missing: journal and bucket agree, and nobody left a witness of more")]
    NothingIsMissing,
    /// The journal has no cluster.
    #[error("the metadata journal is empty: there is nothing to go on from; restore it first")]
    Empty,
    /// A leader serves.
    #[error("{holder} leads and renews its lease: a journal that serves has lost nothing")]
    Led {
        /// Its name.
        holder: String,
    },
    /// The journal does not answer, or cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The bucket does not answer, or is another cluster's.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The row could not be written; it may be there all the same. Ask for the status, then do it again.
    #[error("the acceptance was not written: {0}")]
    NotWritten(StopReason),
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The new incarnation.
    pub incarnation: Incarnation,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// The row that says so.
    pub mark: JournalMark,
    /// What said that rows were lost.
    pub seen: Option<String>,
    /// How many witnesses and tips were read.
    pub witnesses: usize,
    /// Where the partitions go on, with the watermarks that the journal had.
    pub partitions: Vec<(PartitionId, Offset, Offset)>,
}

/// Accepts the loss. Needs nothing but journal and bucket; nobody may lead. Agents and metadata processes
/// that run should have had some seconds to leave their witnesses.
///
/// Doing it again after an error is safe: a second acceptance only leaves out more.
///
/// # Errors
/// See [`AcceptError`].
pub async fn accept_loss(
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    ports: &Ports,
    settings: &AcceptSettings,
) -> Result<Accepted, AcceptError> {
    let remembered = Remembered::read(&*store, Which::All).await?;
    let before = Follower::load(&*journal, settings.budgets).await?;
    judge(&before, &remembered, &*store, settings)?;
    let terms = LeaseTerms {
        holder: format!("{}-{:016x}", settings.holder, ports.rand.next_u64()),
        endpoint: String::new(),
        ttl: settings.lease_ttl,
    };
    let above = highest_term(&remembered, &before);
    let term = take_above(&*journal, ports, &terms, above, settings.patience).await?;
    let accepted = write(
        &*journal,
        store,
        ports,
        settings,
        (term, before, remembered),
    )
    .await;
    let release = journal.release(term);
    if let Some(Err(error)) = ports.timeout(settings.lease_ttl, release).await {
        tracing::warn!(%error, "the lease was not given up; it runs out by itself");
    }
    accepted
}

fn judge(
    follower: &Follower,
    remembered: &Remembered,
    store: &dyn ObjectStore,
    settings: &AcceptSettings,
) -> Result<Option<String>, AcceptError> {
    let Some(cluster) = follower.state.cluster() else {
        return Err(AcceptError::Empty);
    };
    remembered.check_owner(Some(cluster), store)?;
    match remembered.judge(follower.state.incarnation(), &follower.hashes) {
        Verdict::Missing { seen } => Ok(Some(seen)),
        Verdict::Holds if settings.even_if_nothing_is_missing => Ok(None),
        Verdict::Holds => Err(AcceptError::NothingIsMissing),
    }
}

fn highest_term(remembered: &Remembered, follower: &Follower) -> LeaderTerm {
    let terms = remembered.all().map(|witness| witness.mark.term);
    terms.max().unwrap_or_default().max(follower.mark().term)
}

/// Takes the lease again and again, each time with a higher term, until that is above all that were seen.
async fn take_above(
    journal: &dyn Journal,
    ports: &Ports,
    terms: &LeaseTerms,
    above: LeaderTerm,
    patience: Duration,
) -> Result<LeaderTerm, AcceptError> {
    let until = ports.clock.now().plus(patience);
    for _ in 0..TAKES_MAX {
        let asked = journal.lease(None, &terms.holder, &terms.endpoint, terms.ttl);
        match asked.await {
            Ok(LeaseOutcome::Held(lease)) if lease.term > above => return Ok(lease.term),
            Ok(LeaseOutcome::Held(_)) => {}
            Ok(LeaseOutcome::HeldBy(other)) if ports.clock.now() >= until => {
                return Err(AcceptError::Led {
                    holder: other.holder,
                });
            }
            Ok(LeaseOutcome::HeldBy(_)) => ports.sleep(Duration::from_millis(200)).await,
            // the same call again says what became of it
            Err(JournalError::InDoubt { .. }) if ports.clock.now() < until => {
                ports.sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(RecoveryError::from(error).into()),
        }
    }
    Err(RecoveryError::from(JournalError::Unusable {
        reason: format!("its fence cannot be raised above term {above}"),
    })
    .into())
}

/// Writes the row, and what the bucket says of it.
async fn write(
    journal: &dyn Journal,
    store: Arc<dyn ObjectStore>,
    ports: &Ports,
    settings: &AcceptSettings,
    (term, mut follower, remembered): (LeaderTerm, Follower, Remembered),
) -> Result<Accepted, AcceptError> {
    // with the fence raised: these are the last rows
    follower = match follower.advance(journal).await {
        Ok(_) => follower,
        Err(FollowError::Recovery(error)) => return Err(error.into()),
        Err(FollowError::LostRows { .. } | FollowError::Trimmed) => {
            Follower::load(journal, settings.budgets).await?
        }
    };
    let seen = judge(&follower, &remembered, &*store, settings)?;
    let marks = follower.state.topics().flat_map(|topic| topic.watermarks());
    let own: BTreeMap<PartitionId, Offset> = marks
        .map(|(id, marks)| (id, marks.high_watermark))
        .collect();
    let loss = loss(&follower, &remembered, settings.gap);
    let now = Now {
        unix_millis: ports.clock.unix_millis(),
    };
    let seq = JournalSeq(follower.hashes.tail().0 + 1);
    let tail = follower.hashes.tail_hash();
    let events = decide::accept_loss(&mut follower.state, seq, &now, &loss);
    let row = Row::new(term, seq, tail, encode_row(&events));
    if let Written::Stop(reason) = journal_writer::append(ports, journal, &row).await {
        return Err(AcceptError::NotWritten(reason));
    }
    follower.hashes.push(row.seq, row.hash);
    let incarnation = follower.state.incarnation();
    let mark = follower.hashes.mark(incarnation, term);
    let tip = follower::tip(&follower.state, mark).expect("the cluster has begun");
    let marker = Marker {
        cluster: tip.cluster,
        incarnation,
    };
    marker.write(&*store).await?;
    Tips::new(store, &remembered).write(&tip).await?;
    let partitions = own.into_iter().map(|(id, before)| {
        let marks = follower.state.watermarks(id);
        (
            id,
            before,
            marks.map_or(before, |marks| marks.high_watermark),
        )
    });
    Ok(Accepted {
        incarnation,
        upload_epoch: follower.state.upload_epoch(),
        mark,
        seen,
        witnesses: remembered.all().count(),
        partitions: partitions.collect(),
    })
}

/// What the new incarnation must be above.
fn loss(follower: &Follower, remembered: &Remembered, gap: u32) -> Loss {
    let state = &follower.state;
    let incarnations = remembered.all().map(|witness| witness.mark.incarnation);
    let marker = remembered.marker.map(|marker| marker.incarnation);
    let highest = incarnations.chain(marker).max().unwrap_or_default();
    let highest = highest.max(state.incarnation());
    let epochs = remembered.all().map(|witness| witness.upload_epoch);
    let mut high_watermarks: BTreeMap<PartitionId, Offset> = BTreeMap::new();
    for (id, offset) in remembered.all().flat_map(|w| &w.high_watermarks) {
        let known = high_watermarks.entry(*id).or_default();
        *known = (*known).max(*offset);
    }
    // acceptances that were lost themselves left out a gap each, which nobody may have told of
    let accepted_before = highest.0.saturating_sub(state.incarnation().0);
    Loss {
        incarnation: Incarnation(highest.0.saturating_add(1)),
        upload_epoch: epochs.max().unwrap_or_default(),
        high_watermarks,
        gap: i64::from(gap).saturating_mul(i64::from(accepted_before) + 1),
    }
}
