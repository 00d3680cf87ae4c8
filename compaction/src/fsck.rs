//! Compares a bucket with the metadata: what is there and known to nobody, what is known and not there.
//!
//! The metadata is asked first, the bucket is listed then: an object that is listed and was not known is young (its
//! commit may still come), or it is asked for once more and nobody's for good. One that is known and not listed is
//! asked for and looked for once more, as it may have been released and deleted meanwhile.
//!
//! Keys begin with a hash, so the two are not in one order: what is known is held in memory, of a part of the keys at
//! a time where it is much.

mod known;
mod repair;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aquifer_format::{
    ids::{ClusterId, Incarnation, ObjectId, UploadEpoch},
    key::{marker_key, object_key, parse_object_key, sweep_halt_key},
    limits::LIVE_OBJECTS_MAX,
};
use aquifer_metadata_api::{MetadataError, Upkeep};
use aquifer_store::{DeleteError, GetError, ListError, ObjectMeta, ObjectStore, UnfinishedUpload};

use self::known::{Known, Knows, Part};
use crate::sweep::is_old;

/// Objects in one page of the listing (as many as S3 gives at once).
const PAGE_OBJECTS: usize = 1_000;
/// Objects that are held in memory, at about 50 bytes each, before the keys are gone through part by part.
const KNOWN_MAX: usize = 4_000_000;
/// Parts of the keys then.
const PARTS: u8 = 16;
/// Leaks that are named.
const LEAKS_NAMED: usize = 1_000;
/// Missing and resized objects that are named.
const DAMAGE_NAMED: usize = 100_000;
/// Leaks that one repair deletes; the next one goes on.
const REPAIRS_MAX: usize = 1_000_000;

/// What a comparison found. Lists are bounded; counts are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// Objects that are known and there, and their bytes.
    pub live: (u64, u64),
    /// Objects that were released and are still there, and their bytes.
    pub released: (u64, u64),
    /// Objects that nobody knows and that may still be committed, and their bytes.
    pub young: (u64, u64),
    /// Objects that nobody knows, and their bytes.
    pub leaked: (u64, u64),
    /// The first of them.
    pub leaks: Vec<(String, u64)>,
    /// How many objects are live and not there: records that cannot be read.
    pub missing_objects: u64,
    /// The first of them.
    pub missing: Vec<ObjectId>,
    /// Objects whose size is another than the metadata says: id, what it says, what is there.
    pub resized: Vec<(ObjectId, u64, u64)>,
    /// Uploads in parts of this cluster that nobody ended, and that can come to nothing any more.
    pub uploads: u64,
    /// Keys of other clusters, and of nobody.
    pub foreign: u64,
    /// What the cluster keeps beside objects: markers, tips, witnesses, backups.
    pub own: u64,
    /// Leaks that were deleted.
    pub repaired: u64,
}

impl FsckReport {
    /// Whether nothing is missing or damaged, and no leak stays.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing_objects == 0 && self.resized.is_empty() && self.leaked.0 == self.repaired
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The leader did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The bucket could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// It could not be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// Leaks could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// The leader changed its cluster or incarnation meanwhile, or the bucket is ahead of it.
    #[error("{reason}")]
    Identity {
        /// What was seen.
        reason: String,
    },
}

/// Compares; with `repair`, deletes leaks of this cluster (of this and earlier incarnations) and aborts uploads of theirs.
///
/// # Errors
/// See [`FsckError`].
pub async fn fsck(
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn Upkeep>,
    repair: bool,
) -> Result<FsckReport, FsckError> {
    Comparison::begin(store, Box::new(metadata))
        .await?
        .run(repair, KNOWN_MAX)
        .await
}

/// Whose objects are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    cluster: ClusterId,
    incarnation: Incarnation,
}

struct Comparison {
    store: Arc<dyn ObjectStore>,
    knows: Box<dyn Knows>,
    identity: Identity,
    /// The leader's upload epoch, as it was told last.
    epoch: UploadEpoch,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    report: FsckReport,
    /// All leaks, up to [`REPAIRS_MAX`].
    leaks: Vec<(ObjectId, u64)>,
}

impl Found {
    fn leak(&mut self, cluster: ClusterId, id: ObjectId, bytes: u64) {
        add(&mut self.report.leaked, bytes);
        if self.report.leaks.len() < LEAKS_NAMED {
            self.report.leaks.push((object_key(cluster, &id), bytes));
        }
        if self.leaks.len() < REPAIRS_MAX {
            self.leaks.push((id, bytes));
        }
    }
}

fn add(sum: &mut (u64, u64), bytes: u64) {
    sum.0 += 1;
    sum.1 = sum.1.saturating_add(bytes);
}

impl Comparison {
    async fn begin(store: Arc<dyn ObjectStore>, knows: Box<dyn Knows>) -> Result<Self, FsckError> {
        let told = knows.live(Vec::new()).await?;
        Ok(Self {
            store,
            knows,
            identity: Identity {
                cluster: told.cluster,
                incarnation: told.incarnation,
            },
            epoch: told.upload_epoch,
        })
    }

    async fn run(mut self, repair: bool, known_max: usize) -> Result<FsckReport, FsckError> {
        if repair {
            self.check_halt().await?;
        }
        let mut found = match self.compare(&Part::ALL, Some(known_max)).await? {
            Some(found) => found,
            // More than is to be held at once.
            None => {
                let mut found = Found::default();
                for part in 0..PARTS {
                    let part = Part::of(part, PARTS);
                    self.compare_part(&part, None, &mut found).await?;
                }
                found
            }
        };
        found.report.incarnation = self.identity.incarnation;
        found.report.upload_epoch = self.epoch;
        let uploads = self.old_uploads().await?;
        found.report.uploads = u64::try_from(uploads.len()).unwrap_or(u64::MAX);
        if repair {
            self.repair(&mut found, &uploads).await?;
        }
        Ok(found.report)
    }

    async fn compare(
        &mut self,
        part: &Part,
        known_max: Option<usize>,
    ) -> Result<Option<Found>, FsckError> {
        let mut found = Found::default();
        let compared = self.compare_part(part, known_max, &mut found).await?;
        Ok(compared.then_some(found))
    }

    /// Compares a part of the keys; false = more than `known_max` objects are known of it, and nothing was done.
    async fn compare_part(
        &mut self,
        part: &Part,
        known_max: Option<usize>,
        found: &mut Found,
    ) -> Result<bool, FsckError> {
        let Some(mut known) = self.known(part, known_max).await? else {
            return Ok(false);
        };
        let mut after = part.from.clone();
        'pages: loop {
            let page = self.store.list("", after.as_deref(), PAGE_OBJECTS).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let mut unknown = Vec::new();
            for meta in &page {
                if part.is_behind(&meta.key) {
                    self.look_up(unknown, found).await?;
                    break 'pages;
                }
                if let Some(id) = self.object_of(meta, found).await? {
                    match known.find(&id) {
                        Some(known) => known.is_there(meta.bytes, found),
                        None => unknown.push((id, meta.bytes)),
                    }
                }
            }
            self.look_up(unknown, found).await?;
        }
        self.confirm_missing(known, found).await?;
        Ok(true)
    }

    /// The cluster's object that a listed key names; other keys are counted.
    async fn object_of(
        &mut self,
        meta: &ObjectMeta,
        found: &mut Found,
    ) -> Result<Option<ObjectId>, FsckError> {
        let Identity {
            cluster,
            incarnation,
        } = self.identity;
        let id = match parse_object_key(&meta.key) {
            Ok((of, id)) if of == cluster => id,
            Ok(_) => {
                found.report.foreign += 1;
                return Ok(None);
            }
            Err(_) => {
                if is_own(&meta.key, cluster) {
                    found.report.own += 1;
                } else {
                    found.report.foreign += 1;
                }
                return Ok(None);
            }
        };
        if id.incarnation == incarnation && id.upload_epoch > self.epoch {
            // Uploads go on while the bucket is listed.
            self.ask(Vec::new()).await?;
        }
        if id.incarnation > incarnation
            || (id.incarnation == incarnation && id.upload_epoch > self.epoch)
        {
            return Err(FsckError::Identity {
                reason: format!(
                    "the metadata is behind the bucket: object {} is of incarnation {}, upload epoch {}; the leader \
                     is at {incarnation}, {}; bring the right database back, or restore it",
                    meta.key, id.incarnation, id.upload_epoch, self.epoch
                ),
            });
        }
        Ok(Some(id))
    }

    /// Asks the leader which objects it knows, and makes sure that it is still the same cluster's.
    async fn ask(&mut self, objects: Vec<ObjectId>) -> Result<Vec<bool>, FsckError> {
        let asked = objects.len();
        let told = self.knows.live(objects).await?;
        let identity = Identity {
            cluster: told.cluster,
            incarnation: told.incarnation,
        };
        if identity != self.identity || told.live.len() != asked {
            return Err(FsckError::Identity {
                reason:
                    "the leader became one of another cluster or incarnation meanwhile; begin again"
                        .to_owned(),
            });
        }
        self.epoch = told.upload_epoch;
        Ok(told.live)
    }

    /// Whether no commit of it can succeed any more.
    fn is_lost(&self, id: &ObjectId) -> bool {
        id.incarnation < self.identity.incarnation || is_old(id, self.epoch)
    }

    /// Tells what listed objects are that were not known.
    async fn look_up(
        &mut self,
        unknown: Vec<(ObjectId, u64)>,
        found: &mut Found,
    ) -> Result<(), FsckError> {
        let mut old = Vec::new();
        for (id, bytes) in unknown {
            if self.is_lost(&id) {
                old.push((id, bytes));
            } else {
                add(&mut found.report.young, bytes);
            }
        }
        if old.is_empty() {
            return Ok(());
        }
        let live = self.ask(old.iter().map(|(id, _)| *id).collect()).await?;
        for ((id, bytes), live) in old.into_iter().zip(live) {
            if live {
                // It was young when the metadata was asked first.
                add(&mut found.report.live, bytes);
            } else {
                found.leak(self.identity.cluster, id, bytes);
            }
        }
        Ok(())
    }

    /// Looks for objects that are known and were not listed.
    async fn confirm_missing(&mut self, known: Known, found: &mut Found) -> Result<(), FsckError> {
        let unseen = known.unseen();
        for ids in unseen.chunks(LIVE_OBJECTS_MAX) {
            let live = self.ask(ids.to_vec()).await?;
            let live = ids.iter().zip(live).filter(|(_, live)| *live);
            for (id, _) in live {
                let key = object_key(self.identity.cluster, id);
                match self.store.head(&key).await {
                    Ok(meta) => add(&mut found.report.live, meta.bytes),
                    Err(GetError::NotFound { .. }) => {
                        // Released and deleted since, after all?
                        if self.is_live(id).await? {
                            found.report.missing_objects += 1;
                            if found.report.missing.len() < DAMAGE_NAMED {
                                found.report.missing.push(*id);
                            }
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Uploads of this cluster that nobody ended, and whose objects can come to nothing.
    async fn old_uploads(&mut self) -> Result<Vec<UnfinishedUpload>, FsckError> {
        let mut old = Vec::new();
        let mut after: Option<UnfinishedUpload> = None;
        loop {
            let store = &self.store;
            let page = store.unfinished_uploads("", after.as_ref(), PAGE_OBJECTS);
            let page = match page.await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "uploads that nobody ended cannot be listed");
                    return Ok(old);
                }
            };
            let Some(last) = page.last().cloned() else {
                return Ok(old);
            };
            old.extend(page.into_iter().filter(|upload| {
                parse_object_key(&upload.key).is_ok_and(|(cluster, id)| {
                    cluster == self.identity.cluster
                        && id.incarnation <= self.identity.incarnation
                        && self.is_lost(&id)
                })
            }));
            after = Some(last);
        }
    }

    /// Nothing is deleted where a sweeper found the metadata behind the bucket.
    async fn check_halt(&self) -> Result<(), FsckError> {
        let Identity {
            cluster,
            incarnation,
        } = self.identity;
        match self.store.get(&sweep_halt_key(cluster, incarnation)).await {
            Ok(said) => Err(FsckError::Identity {
                reason: format!(
                    "nothing is deleted in this incarnation: the metadata was behind the bucket ({})",
                    String::from_utf8_lossy(&said)
                ),
            }),
            Err(GetError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a key that is not an object's is one that this cluster writes: `aquifer-tip/{cluster}/..` and the like.
fn is_own(key: &str, cluster: ClusterId) -> bool {
    key == marker_key()
        || (key.starts_with("aquifer-")
            && key.split('/').nth(1) == Some(cluster.to_string().as_str()))
}
