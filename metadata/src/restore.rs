//! A cluster comes back from its bucket after its database is gone.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::{
    ids::{
        Incarnation, JournalSeq, LeaderTerm, ObjectId, Offset, PartitionId, SessionId, UploadEpoch,
    },
    mark::JournalMark,
};
use aquifer_store::{ListError, ObjectStore, Ports, witness::Which};
use tokio::sync::mpsc;

use crate::{
    accept_loss::{highest_term, loss, tell_bucket},
    backup::{
        Manifest,
        chain::{self, ReadBackupError},
    },
    bucket::{BucketError, Remembered},
    event::{Event, decode_row, encode_row},
    journal::{Journal, JournalError, Page, Row, RowHash},
    recovery::{RecoveryError, check_link},
    state::{
        Budgets, State,
        decide::{self, Now},
    },
};

mod survey;
#[cfg(test)]
mod tests;

use survey::Survey;

/// Bytes of pages that go into the journal together.
const PIECE_BYTES: usize = 4 << 20;

/// How it is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreSettings {
    /// Offsets that each partition leaves out above the highest that anybody remembers. Default 1,000,000.
    pub gap: u32,
    /// What the state may cost in memory.
    pub budgets: Budgets,
}

impl Default for RestoreSettings {
    fn default() -> Self {
        Self {
            gap: 1_000_000,
            budgets: Budgets::default(),
        }
    }
}

/// What came back of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredPartition {
    /// Which.
    pub partition: PartitionId,
    /// Its topic's name.
    pub topic: String,
    /// Where its log begins.
    pub log_start: Offset,
    /// Records up to here, from the log start on, are those that were acknowledged: vouched for.
    pub vouched: Offset,
    /// How far the backup knew.
    pub backup: Offset,
    /// Where it goes on.
    pub goes_on: Offset,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The new incarnation.
    pub incarnation: Incarnation,
    /// Its first upload epoch.
    pub upload_epoch: UploadEpoch,
    /// When the backup was made, milliseconds since 1970.
    pub backup_unix_millis: i64,
    /// Every partition, sorted.
    pub partitions: Vec<RestoredPartition>,
    /// Objects that the metadata refers to and the bucket does not have.
    pub missing: Vec<ObjectId>,
    /// Objects of level 0 newer than the backup, and their bytes: nobody knows their offsets.
    pub unvouched: (u64, u64),
    /// Partitions that the backup does not know and compactors have written records of: their topics are lost.
    pub lost: Vec<PartitionId>,
}

/// Why nothing was restored. Nothing has changed then, unless the database did not say so.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The database has something already.
    #[error("the database is not empty: restore into one without rows, or drop its tables first")]
    NotEmpty,
    /// There is no backup.
    #[error("the bucket has no backup of its cluster")]
    NoBackup,
    /// A backup is damaged.
    #[error("backup {key} is damaged: {reason}")]
    Damaged {
        /// The object.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The bucket does not answer, or has no cluster.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// What the backup holds cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The database does not answer, or cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<ListError> for RestoreError {
    fn from(error: ListError) -> Self {
        let reason = error.to_string();
        Self::Bucket(BucketError::Unreachable { reason })
    }
}

impl From<ReadBackupError> for RestoreError {
    fn from(error: ReadBackupError) -> Self {
        match error {
            ReadBackupError::List(error) => error.into(),
            ReadBackupError::Get(error) => Self::Bucket(error.into()),
            ReadBackupError::Damaged { key, reason } => Self::Damaged { key, reason },
        }
    }
}

/// Restores the newest backup of the bucket's cluster into an empty journal, as a new incarnation.
///
/// # Errors
/// See [`RestoreError`].
pub async fn restore(
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    ports: &Ports,
    settings: &RestoreSettings,
) -> Result<Restored, RestoreError> {
    let loaded = journal.load().await?;
    if loaded.tail.is_some() || !loaded.pages.is_empty() {
        return Err(RestoreError::NotEmpty);
    }
    let remembered = Remembered::read(&*store, Which::All).await?;
    let marker = remembered.marker.ok_or(RestoreError::NoBackup)?;
    let newest = chain::newest(&*store, marker.cluster).await?;
    let (key, manifest) = newest.ok_or(RestoreError::NoBackup)?;
    tracing::info!(key, mark = %manifest.mark, "restoring the newest backup");
    let mut state = load(&*store, &key, &manifest, settings.budgets).await?;
    let survey = survey::survey(&*store, marker.cluster, &state, &manifest).await?;
    let pages = state.all_pages();
    let now = Now {
        unix_millis: ports.clock.unix_millis(),
    };
    let come_back = come_back(
        &mut state,
        (&manifest, &survey, &remembered),
        &now,
        settings.gap,
    );
    // a leader's term is higher by one at least
    let term = highest_term(&remembered, manifest.mark.term);
    let term = LeaderTerm(term.0.saturating_add(1));
    let seq = JournalSeq(manifest.mark.seq.0.saturating_add(1));
    let bytes = encode_row(&come_back.events);
    let row = Row::new(term, seq, manifest.mark.hash, bytes);
    if !write(&*journal, pages, &row).await? {
        return Err(RestoreError::NotEmpty);
    }
    let incarnation = state.incarnation();
    let mark = JournalMark {
        incarnation,
        term,
        seq,
        hash: row.hash,
    };
    if let Err(error) = tell_bucket(store, ports, &state, mark, &remembered).await {
        tracing::warn!(%error, "the metadata is restored, and the bucket does not say so; the next leader writes its marker and tip");
    }
    Ok(Restored {
        incarnation,
        upload_epoch: state.upload_epoch(),
        backup_unix_millis: manifest.unix_millis,
        partitions: come_back.partitions,
        missing: survey.missing,
        unvouched: survey.unvouched,
        lost: come_back.lost,
    })
}

/// The state that the backup is of.
pub(crate) async fn load(
    store: &dyn ObjectStore,
    key: &str,
    manifest: &Manifest,
    budgets: Budgets,
) -> Result<State, RestoreError> {
    let damaged = |reason: &str| RestoreError::Damaged {
        key: key.to_owned(),
        reason: reason.to_owned(),
    };
    let pages = chain::pages(store, manifest).await?;
    let mut state = State::from_pages(budgets, &pages).map_err(RecoveryError::from)?;
    drop(pages);
    let mut at = manifest.pages_through;
    let mut previous: Option<RowHash> = None;
    for part in &manifest.rows {
        for row in chain::rows(store, part).await? {
            if row.seq > at {
                check_link(&row, JournalSeq(at.0.saturating_add(1)), previous.as_ref())?;
                apply(&mut state, &row)?;
                at = row.seq;
            }
            previous = Some(row.hash);
        }
        // a long replay shares its thread
        tokio::task::yield_now().await;
    }
    if at != manifest.mark.seq || previous != Some(manifest.mark.hash) {
        return Err(damaged("its rows do not end with the one that it names"));
    }
    if state.cluster() != Some(manifest.cluster) {
        return Err(damaged("its pages are of another cluster"));
    }
    Ok(state)
}

fn apply(state: &mut State, row: &Row) -> Result<(), RecoveryError> {
    let seq = row.seq;
    let events = decode_row(&row.bytes).map_err(|error| RecoveryError::Row { seq, error })?;
    for event in &events {
        state.apply(seq, event);
    }
    Ok(())
}

/// What a restore adds to the backup.
struct ComeBack {
    events: Vec<Event>,
    partitions: Vec<RestoredPartition>,
    lost: Vec<PartitionId>,
}

/// Ends the sessions, takes over what compactors wrote since, and goes on above everything that anybody remembers.
fn come_back(
    state: &mut State,
    (manifest, survey, remembered): (&Manifest, &Survey, &Remembered),
    now: &Now,
    gap: u32,
) -> ComeBack {
    let seq = JournalSeq(manifest.mark.seq.0.saturating_add(1));
    let mut partitions: BTreeMap<PartitionId, RestoredPartition> = BTreeMap::new();
    for topic in state.topics() {
        for (partition, marks) in topic.watermarks() {
            let restored = RestoredPartition {
                partition,
                topic: topic.name().to_owned(),
                log_start: marks.log_start,
                vouched: marks.high_watermark,
                backup: marks.high_watermark,
                goes_on: marks.high_watermark,
            };
            partitions.insert(partition, restored);
        }
    }
    let mut events = Vec::new();
    let sessions: Vec<SessionId> = state.sessions().map(|(id, ..)| id).collect();
    for session in sessions {
        for event in decide::end_session(state, now, session).events {
            state.apply(seq, &event);
            events.push(event);
        }
    }
    let mut lost = Vec::new();
    for (id, runs) in &survey.runs {
        match partitions.get_mut(id) {
            Some(partition) => {
                let known = partition.backup;
                partition.vouched = decide::adopt(state, seq, *id, known, runs, &mut events);
            }
            None if state.is_known(*id) => {}
            None => lost.push(*id),
        }
    }
    let mut loss = loss(state, remembered, gap);
    loss.upload_epoch = loss.upload_epoch.max(survey.upload_epoch);
    for (id, partition) in &partitions {
        let seen = loss.high_watermarks.entry(*id).or_default();
        *seen = (*seen).max(partition.vouched);
    }
    events.extend(decide::accept_loss(state, seq, now, &loss));
    for (id, partition) in &mut partitions {
        if let Some(marks) = state.watermarks(*id) {
            partition.goes_on = marks.high_watermark;
        }
    }
    ComeBack {
        events,
        partitions: partitions.into_values().collect(),
        lost,
    }
}

/// False = the journal is not empty.
async fn write(journal: &dyn Journal, pages: Vec<Page>, row: &Row) -> Result<bool, JournalError> {
    let (to, pieces) = mpsc::channel(1);
    let give = async move {
        let mut piece = Vec::new();
        let mut bytes = 0_usize;
        for page in pages {
            bytes = bytes.saturating_add(page.bytes.len());
            piece.push(page);
            if bytes >= PIECE_BYTES {
                bytes = 0;
                if to.send(std::mem::take(&mut piece)).await.is_err() {
                    // it was refused, or failed, and says so
                    return;
                }
            }
        }
        to.send(piece).await.ok();
    };
    let (restored, ()) = futures::join!(journal.restore(pieces, row), give);
    restored
}
