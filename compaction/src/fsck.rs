//! Compares a bucket with the metadata: what is there and known to nobody, what is known and not there.

use std::sync::Arc;

use aquifer_format::ids::{Incarnation, ObjectId, UploadEpoch};
use aquifer_metadata_api::{MetadataError, Upkeep};
use aquifer_store::{DeleteError, GetError, ListError, ObjectStore};

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
    /// Objects that are live and not there: records that cannot be read.
    pub missing: Vec<ObjectId>,
    /// Objects whose size is another than the metadata says.
    pub resized: Vec<(ObjectId, u64, u64)>,
    /// Uploads in parts that nobody ended.
    pub uploads: u64,
    /// Keys of other clusters, and of nobody.
    pub foreign: u64,
    /// What the cluster keeps beside objects: markers, tips, witnesses, backups.
    pub own: u64,
    /// Leaks that were deleted.
    pub repaired: u64,
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
    let _ = (store, metadata, repair);
    todo!("builder A")
}
