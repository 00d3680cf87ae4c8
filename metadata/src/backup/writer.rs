//! Writes backups while this process leads.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aquifer_format::{
    ids::{ClusterId, JournalSeq, UploadEpoch},
    key::{BACKUP_MANIFEST, BackupId, backup_key},
    mark::JournalMark,
};
use aquifer_metadata_api::{Metadata, MetadataError};
use aquifer_store::{DeleteError, ListError, Monotonic, ObjectStore, Ports, PutError, PutMode};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    BackupSettings, Manifest, PartRef,
    chain::{self, ReadBackupError},
    noted::Taken,
    part::{Entry, PartKind},
    parts::Parts,
};
use crate::{
    journal::{Journal, JournalError, Page, Row, Snapshot},
    local::LocalMetadata,
    role::Role,
};

/// When a new leader writes its first one, and one that failed is tried again: a base, beside the work of a take-over.
const SOON: Duration = Duration::from_secs(60);
/// How often its age is told.
const TELL: Duration = Duration::from_secs(15);
/// Rows that are read in one call.
const BATCH_ROWS: usize = 512;
/// Pieces of pages between database and bucket.
const PIECES: usize = 1;
/// Objects that are deleted in one call.
const DELETE_AT_ONCE: usize = 1_000;

/// Backs the metadata up whenever this process leads, until its role is known no more. An interval of zero makes none.
pub async fn while_leading(
    ports: Ports,
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    mut role: watch::Receiver<Role>,
    settings: BackupSettings,
) {
    if settings.interval.is_zero() {
        return;
    }
    loop {
        let leader = match &*role.borrow_and_update() {
            Role::Leader(metadata) => Some(Arc::clone(metadata)),
            Role::Standby { .. } | Role::Refusing { .. } => None,
        };
        let writing = async {
            match leader {
                Some(leader) => {
                    let (journal, store) = (Arc::clone(&journal), Arc::clone(&store));
                    let writer = Writer::new(ports.clone(), journal, store, leader, settings);
                    writer.run().await
                }
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            biased;
            changed = role.changed() => changed,
            never = writing => match never {},
        };
        age().set(0.0);
        if changed.is_err() {
            return;
        }
    }
}

fn age() -> metrics::Gauge {
    metrics::gauge!("aquifer_backup_age_seconds")
}

/// Why there is no backup this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Leader(#[from] MetadataError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Put(#[from] PutError),
    /// The rows that its pages need are gone.
    #[error("rows were trimmed while the pages were read")]
    Trimmed,
    #[error("a later leader writes the journal")]
    Deposed,
    #[error("the journal shows no row where its rows {from} to {to} should be")]
    Missing { from: JournalSeq, to: JournalSeq },
}

/// Why old backups are still there.
#[derive(Debug, thiserror::Error)]
enum TidyError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Read(#[from] ReadBackupError),
    #[error(transparent)]
    Delete(#[from] DeleteError),
}

/// The pages of the newest backup.
#[derive(Debug)]
struct Chain {
    pages: Vec<PartRef>,
    increments: u32,
    base_bytes: u64,
    increments_bytes: u64,
}

/// What became of the rows.
struct RowsWritten {
    parts: Vec<PartRef>,
    first: JournalSeq,
    last: Row,
}

/// Whether the rows are those that pages of `snapshot` need, up to its newest one at least.
fn check(snapshot: &Snapshot, rows: &RowsWritten) -> Result<(), Failure> {
    let needed = JournalSeq(snapshot.pages_through.0.saturating_add(1));
    if rows.first > needed {
        return Err(Failure::Trimmed);
    }
    match snapshot.tail {
        Some((tail, _)) if rows.last.seq < tail => Err(Failure::Missing {
            from: rows.last.seq,
            to: tail,
        }),
        _ => Ok(()),
    }
}

/// The backups of one leader.
#[derive(Debug)]
pub(crate) struct Writer {
    ports: Ports,
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    leader: Arc<LocalMetadata>,
    settings: BackupSettings,
    /// Of the newest try. None is taken twice, so that a late effect of a try that failed meets nobody.
    number: u32,
    chain: Option<Chain>,
    /// The newest one, and the newest but one.
    kept: Vec<(BackupId, Manifest)>,
    succeeded_at: Monotonic,
}

impl Writer {
    pub(crate) fn new(
        ports: Ports,
        journal: Arc<dyn Journal>,
        store: Arc<dyn ObjectStore>,
        leader: Arc<LocalMetadata>,
        settings: BackupSettings,
    ) -> Self {
        Self {
            succeeded_at: ports.clock.now(),
            ports,
            journal,
            store,
            leader,
            settings,
            number: 0,
            chain: None,
            kept: Vec::new(),
        }
    }

    fn cluster(&self) -> ClusterId {
        self.leader.facts().cluster
    }

    async fn run(mut self) -> Infallible {
        let soon = self.settings.interval.min(SOON);
        let mut pause = soon;
        loop {
            self.rest(pause).await;
            pause = match self.back_up().await {
                Ok(()) => self.settings.interval,
                Err(error) => {
                    let age = self.ports.clock.now().since(self.succeeded_at);
                    tracing::warn!(%error, ?age, "the metadata could not be backed up; trying again soon, and objects that are of no use stay so long");
                    metrics::counter!("aquifer_backups_total", "outcome" => "failed").increment(1);
                    soon
                }
            };
        }
    }

    async fn rest(&self, pause: Duration) {
        let until = self.ports.clock.now().plus(pause);
        loop {
            let now = self.ports.clock.now();
            age().set(now.since(self.succeeded_at).as_secs_f64());
            let left = until.since(now);
            if left.is_zero() {
                return;
            }
            self.ports.sleep(left.min(TELL)).await;
        }
    }

    /// Writes one backup, has the leader know of it, and removes what earlier ones leave.
    pub(crate) async fn back_up(&mut self) -> Result<(), Failure> {
        // exact: whatever was released in an earlier epoch is in every snapshot from here on
        let epoch = self.leader.live_objects(Vec::new()).await?.upload_epoch;
        let taken = Arc::new(OnceLock::new());
        let written = self.write(epoch, &taken).await;
        let (id, manifest) = match written {
            Ok(written) => written,
            Err(error) => {
                if let Some(Taken { keys, .. }) = taken.get() {
                    self.leader.facts().pages().give_back(keys.clone());
                }
                return Err(error);
            }
        };
        self.succeeded_at = self.ports.clock.now();
        age().set(0.0);
        metrics::counter!("aquifer_backups_total", "outcome" => "written").increment(1);
        tracing::debug!(mark = %manifest.mark, parts = manifest.keys().count(), "the metadata is backed up");
        // how many there are at most while none can be removed
        self.kept.truncate(1);
        self.kept.insert(0, (id, manifest));
        self.leader.backed_up(epoch).await;
        if let Err(error) = self.tidy(id).await {
            tracing::warn!(%error, "old backups could not be removed; the next one tries again");
        }
        Ok(())
    }

    async fn write(
        &mut self,
        epoch: UploadEpoch,
        taken: &Arc<OnceLock<Taken>>,
    ) -> Result<(BackupId, Manifest), Failure> {
        let facts = self.leader.facts();
        let (cluster, incarnation, term) = (facts.cluster, facts.incarnation, facts.term);
        self.number = self.number.saturating_add(1);
        let id = BackupId {
            incarnation,
            term,
            number: self.number,
        };
        let settings = self.settings;
        let chain = self.chain.as_ref().filter(|chain| {
            chain.increments < settings.increments_max && chain.increments_bytes <= chain.base_bytes
        });
        let wants_base = chain.is_none();
        let (stands, stood) = oneshot::channel();
        let (to, pieces) = mpsc::channel(PIECES);
        facts.pages().mark();
        let (leader, slot) = (Arc::clone(&self.leader), Arc::clone(taken));
        let wanted = Box::new(move || {
            let taken = slot.get_or_init(|| leader.facts().pages().take());
            let keys = taken.keys.clone().filter(|_| !wants_base);
            // who waits for it is dropped only together with this snapshot
            stands.send(()).ok();
            keys
        });
        let (snapshot, pages, rows) = futures::try_join!(
            async {
                let snapshot = self.journal.snapshot(wanted, to).await;
                snapshot.map_err(Failure::Journal)
            },
            self.pages(&id, wants_base, taken, pieces),
            self.rows(&id, taken, stood),
        )?;
        check(&snapshot, &rows)?;
        if rows.last.term > term {
            return Err(Failure::Deposed);
        }
        // exact: it led when the snapshot was taken, so pages that a later leader wrote, which nobody named here, are
        // not in it
        self.leader.live_objects(Vec::new()).await?;
        let bytes: u64 = pages.iter().map(|part| part.bytes).sum();
        let increment = chain.filter(|_| taken.get().is_some_and(|taken| taken.keys.is_some()));
        let chain = match increment {
            Some(chain) => Chain {
                pages: [chain.pages.clone(), pages].concat(),
                increments: chain.increments.saturating_add(1),
                base_bytes: chain.base_bytes,
                increments_bytes: chain.increments_bytes.saturating_add(bytes),
            },
            None => Chain {
                pages,
                increments: 0,
                base_bytes: bytes,
                increments_bytes: 0,
            },
        };
        let manifest = Manifest {
            cluster,
            mark: JournalMark {
                incarnation,
                term: rows.last.term,
                seq: rows.last.seq,
                hash: rows.last.hash,
            },
            pages_through: snapshot.pages_through,
            upload_epoch: epoch,
            unix_millis: self.ports.clock.unix_millis(),
            pages: chain.pages.clone(),
            rows: rows.parts,
        };
        let key = backup_key(cluster, &id, BACKUP_MANIFEST);
        let body = vec![manifest.encode().into()];
        self.store.put(&key, body, PutMode::Create).await?;
        self.chain = Some(chain);
        Ok((id, manifest))
    }

    /// Writes the pages that come, and the names of those that were wanted and did not come.
    async fn pages(
        &self,
        id: &BackupId,
        wants_base: bool,
        taken: &OnceLock<Taken>,
        mut pieces: mpsc::Receiver<Vec<Page>>,
    ) -> Result<Vec<PartRef>, Failure> {
        // what is wanted was told before the first piece
        let mut next = pieces.recv().await;
        let keys = taken.get().and_then(|taken| taken.keys.clone());
        let keys = keys.filter(|_| !wants_base);
        let kind = match keys {
            Some(_) => PartKind::Pages,
            None => PartKind::Base,
        };
        let mut gone = keys.map(BTreeSet::from_iter).unwrap_or_default();
        let mut parts = Parts::new(&*self.store, self.cluster(), *id, kind);
        while let Some(piece) = next {
            for page in piece {
                gone.remove(&page.key);
                parts.push(&Entry::Page(page)).await?;
            }
            next = pieces.recv().await;
        }
        let mut written = parts.finish().await?;
        let mut names = Parts::new(&*self.store, self.cluster(), *id, PartKind::Gone);
        for key in gone {
            names.push(&Entry::Gone(key)).await?;
        }
        written.extend(names.finish().await?);
        Ok(written)
    }

    /// Writes the rows that the pages do not reflect, up to the newest one: read beside the pages, before they are
    /// trimmed.
    async fn rows(
        &self,
        id: &BackupId,
        taken: &OnceLock<Taken>,
        stood: oneshot::Receiver<()>,
    ) -> Result<RowsWritten, Failure> {
        if stood.await.is_err() {
            // the snapshot failed, and says why
            return std::future::pending().await;
        }
        let through = taken.get().map(|taken| taken.through).unwrap_or_default();
        let mut parts = Parts::new(&*self.store, self.cluster(), *id, PartKind::Rows);
        // the row before is the newest one where all pages are complete
        let mut from = JournalSeq(through.0.max(1));
        let mut first = None;
        let mut last: Option<Row> = None;
        loop {
            let read = self.journal.read(from, BATCH_ROWS).await;
            let rows = match read {
                // pages were completed, and rows trimmed, since that was noted
                Err(JournalError::Gap { first: there, .. }) if first.is_none() && there > from => {
                    from = there;
                    continue;
                }
                Err(JournalError::Gap { .. }) => return Err(Failure::Trimmed),
                read => read?,
            };
            let full = rows.len() == BATCH_ROWS;
            for row in rows {
                first.get_or_insert(row.seq);
                from = JournalSeq(row.seq.0.saturating_add(1));
                if last.as_ref().is_some_and(|last| last.hash != row.previous) {
                    return Err(Failure::Missing {
                        from: row.seq,
                        to: row.seq,
                    });
                }
                last = Some(row.clone());
                parts.push(&Entry::Row(row)).await?;
            }
            if !full {
                break;
            }
            tokio::task::yield_now().await;
        }
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Failure::Missing { from, to: from });
        };
        let parts = parts.finish().await?;
        Ok(RowsWritten { parts, first, last })
    }

    /// Removes what neither the newest backup, which is `newest`, nor the one before it needs.
    async fn tidy(&mut self, newest: BackupId) -> Result<(), TidyError> {
        let cluster = self.cluster();
        let keys = chain::list(&*self.store, cluster).await?;
        let complete = chain::complete(cluster, &keys);
        if complete.last() != Some(&newest) {
            // a later leader's are there, and it removes ours
            return Ok(());
        }
        let before = complete.iter().rev().nth(1).copied();
        self.kept
            .retain(|(id, _)| *id == newest || Some(*id) == before);
        if let Some(before) = before
            && !self.kept.iter().any(|(id, _)| *id == before)
        {
            let manifest = chain::manifest(&*self.store, cluster, &before).await?;
            self.kept.push((before, manifest));
        }
        let kept: Vec<(BackupId, &Manifest)> = self
            .kept
            .iter()
            .map(|(id, manifest)| (*id, manifest))
            .collect();
        let useless = chain::superfluous(cluster, &keys, newest, &kept);
        for some in useless.chunks(DELETE_AT_ONCE) {
            self.store.delete(some).await?;
        }
        Ok(())
    }
}
