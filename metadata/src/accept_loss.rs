//! An operator accepts that the journal lost rows: the cluster goes on, above everything that anybody
//! remembers having been shown.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::{
    ids::{Incarnation, JournalSeq, LeaderTerm, Offset, PartitionId, UploadEpoch},
    mark::JournalMark,
};
use aquifer_store::{
    ObjectStore, Ports,
    witness::{Which, put_witness},
};

use crate::{
    bucket::{BucketError, Marker, Remembered, Tips},
    event::encode_row,
    follower::{self, FollowError, Follower},
    hashes::Verdict,
    journal::{Journal, JournalError, LeaseOutcome, Row},
    journal_writer::{self, Written},
    leader::StopReason,
    lease::{self, LeaseTerms},
    recovery::RecoveryError,
    state::{
        Budgets, State,
        decide::{self, Loss, Now},
    },
};

#[cfg(test)]
mod tests;

/// Most take-overs in a row, to raise the fence above the terms that were seen.
const TAKES_MAX: u64 = 1_000_000;
/// How often the bucket is read again for terms that are higher still.
const READS_MAX: u32 = 10;

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
    /// The row could not be written; it may be there all the same.
    #[error("it is not known whether the acceptance was written ({0}); do it again")]
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
/// Doing it again after an error is safe: if the first one was accepted after all, then the second finds
/// nothing missing, or leaves out more.
///
/// # Errors
/// See [`AcceptError`].
pub async fn accept_loss(
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    ports: &Ports,
    settings: &AcceptSettings,
) -> Result<Accepted, AcceptError> {
    // before the lease, so that a refusal changes nothing
    let remembered = Remembered::read(&*store, Which::All).await?;
    let follower = Follower::load(&*journal, settings.budgets).await?;
    judge(&follower, &remembered, &*store, settings)?;
    let mut fence = Fence {
        ports,
        journal: &*journal,
        terms: LeaseTerms {
            holder: format!("{}-{:016x}", settings.holder, ports.rand.next_u64()),
            endpoint: String::new(),
            ttl: settings.lease_ttl,
        },
        patience: settings.patience,
        held: None,
    };
    let accepted = async {
        let (term, remembered) = fence.raise(&*store, &follower, remembered).await?;
        let loaded = (term, follower, remembered);
        write(&*journal, store, ports, settings, loaded).await
    }
    .await;
    if let Some(term) = fence.held {
        lease::release(ports, &*journal, term, settings.lease_ttl).await;
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

/// The highest term that anybody remembers, be it that of the newest row.
pub(crate) fn highest_term(remembered: &Remembered, newest: LeaderTerm) -> LeaderTerm {
    let terms = remembered.all().map(|witness| witness.mark.term);
    terms.max().unwrap_or_default().max(newest)
}

/// The lease, taken to raise the fence.
struct Fence<'a> {
    ports: &'a Ports,
    journal: &'a dyn Journal,
    terms: LeaseTerms,
    patience: Duration,
    /// The last term that was given.
    held: Option<LeaderTerm>,
}

impl Fence<'_> {
    /// Raises the fence above every term that anybody remembers, and returns what is in the bucket after
    /// that: witnesses may have been left meanwhile.
    async fn raise(
        &mut self,
        store: &dyn ObjectStore,
        follower: &Follower,
        mut remembered: Remembered,
    ) -> Result<(LeaderTerm, Remembered), AcceptError> {
        let newest = follower.mark().term;
        for _ in 0..READS_MAX {
            let term = self.take_above(highest_term(&remembered, newest)).await?;
            remembered = Remembered::read(store, Which::All).await?;
            if highest_term(&remembered, newest) < term {
                return Ok((term, remembered));
            }
        }
        Err(cannot_raise(highest_term(&remembered, newest)))
    }

    /// Takes the lease again and again, each time with a higher term, until that is above `above`.
    async fn take_above(&mut self, above: LeaderTerm) -> Result<LeaderTerm, AcceptError> {
        let clock = &self.ports.clock;
        let until = clock.now().plus(self.patience);
        let pause = Duration::from_millis(200);
        for _ in 0..TAKES_MAX {
            let terms = &self.terms;
            let asking = self
                .journal
                .lease(None, &terms.holder, &terms.endpoint, terms.ttl);
            match asking.await {
                Ok(LeaseOutcome::Held(lease)) => {
                    self.held = Some(lease.term);
                    if lease.term > above {
                        return Ok(lease.term);
                    }
                }
                Ok(LeaseOutcome::HeldBy(other)) if clock.now() >= until => {
                    return Err(AcceptError::Led {
                        holder: other.holder,
                    });
                }
                Ok(LeaseOutcome::HeldBy(_)) => self.ports.sleep(pause).await,
                // the same call again says what became of it
                Err(JournalError::InDoubt { .. }) if clock.now() < until => {
                    self.ports.sleep(pause).await;
                }
                Err(error) => return Err(RecoveryError::from(error).into()),
            }
        }
        Err(cannot_raise(above))
    }
}

fn cannot_raise(above: LeaderTerm) -> AcceptError {
    let reason = format!("its fence cannot be raised above term {above}");
    RecoveryError::from(JournalError::Unusable { reason }).into()
}

/// Writes the row, and tells the bucket of it.
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
    let loss = loss(&follower.state, &remembered, settings.gap);
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
    if let Err(error) = tell_bucket(store, ports, &follower.state, mark, &remembered).await {
        tracing::warn!(%error, "the loss is accepted, and the bucket does not say so; the next leader writes its marker and tip");
    }
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

/// Writes what the next leader would write, and before it a witness of where the partitions go on: should
/// this very row be lost, nobody else may remember.
pub(crate) async fn tell_bucket(
    store: Arc<dyn ObjectStore>,
    ports: &Ports,
    state: &State,
    mark: JournalMark,
    remembered: &Remembered,
) -> Result<(), BucketError> {
    let witness = follower::witness(state, mark).expect("the cluster has begun");
    let tip = follower::tip(state, mark).expect("the cluster has begun");
    let marker = Marker {
        cluster: tip.cluster,
        incarnation: mark.incarnation,
    };
    put_witness(&*store, ports.rand.next_u64(), &witness).await?;
    marker.write(&*store).await?;
    Tips::new(store, remembered).write(&tip).await
}

/// What the new incarnation must be above.
pub(crate) fn loss(state: &State, remembered: &Remembered, gap: u32) -> Loss {
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
    // acceptances that were lost themselves left out a gap each; their witnesses may not have been written
    let accepted_before = highest.0.saturating_sub(state.incarnation().0);
    Loss {
        incarnation: Incarnation(highest.0.saturating_add(1)),
        upload_epoch: epochs.max().unwrap_or_default(),
        high_watermarks,
        gap: i64::from(gap).saturating_mul(i64::from(accepted_before) + 1),
    }
}
