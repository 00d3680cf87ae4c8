//! The object-store port.

use std::{fmt::Debug, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;

/// Content of an object to be written: pieces that are written one after the other, not copied
/// together.
pub type Payload = Vec<Bytes>;

/// Whether a put may replace what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Only where nothing is: atomic against every other writer.
    Create,
    /// Replace what is there.
    Overwrite,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Why a put has not (surely) happened.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// `PutMode::Create` and something is there (a HEAD confirmed it). A lost race, or an earlier try
    /// of our own whose answer was lost: compare before believing either.
    #[error("object {key} exists already")]
    Exists {
        /// The key.
        key: String,
    },
    /// Nothing was written and trying again is of no use (permission, missing bucket, disk full).
    #[error("cannot write object {key}: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// What the store said, and what to do about it.
        reason: String,
    },
    /// It failed or timed out; it may have been written all the same. Safe to do again with the same
    /// content.
    #[error("writing object {key} failed: {reason}")]
    Failed {
        /// The key.
        key: String,
        /// What was seen.
        reason: String,
        /// The store asked for fewer requests (503 SlowDown).
        slow_down: bool,
    },
}

/// Why a read has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// There is no such object. Never retried: a reader locates again.
    #[error("object {key} does not exist")]
    NotFound {
        /// The key.
        key: String,
    },
    /// Trying again is of no use (permission, missing bucket).
    #[error("cannot read object {key}: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// What the store said, and what to do about it.
        reason: String,
    },
    /// It failed or timed out, or the body was shorter than announced. Safe to do again.
    #[error("reading object {key} failed: {reason}")]
    Failed {
        /// The key.
        key: String,
        /// What was seen.
        reason: String,
        /// The store asked for fewer requests.
        slow_down: bool,
    },
}

/// Why a delete is not complete.
#[derive(Debug, thiserror::Error)]
#[error("{} objects could not be deleted, the first one {}: {reason}", keys.len(), keys.first().map_or("", String::as_str))]
pub struct DeleteError {
    /// Keys that may still be there.
    pub keys: Vec<String>,
    /// What was seen.
    pub reason: String,
}

/// Why a listing is not complete.
#[derive(Debug, thiserror::Error)]
#[error("listing {prefix} failed: {reason}")]
pub struct ListError {
    /// The prefix.
    pub prefix: String,
    /// What was seen.
    pub reason: String,
}

/// A bucket (or a folder, or memory).
///
/// Contract, checked by [`crate::conformance`]:
/// - After `put` answered `Ok`, every `get`, `head` and `list` that begins later sees the whole object
///   (read after write), and it survives the death of process and machine.
/// - A reader never sees a part of an object.
/// - `PutMode::Create`: of any number of concurrent puts of one key exactly one answers `Ok`.
/// - Dropping a future leaves its effect unknown, never half done.
#[async_trait]
pub trait ObjectStore: Send + Sync + Debug + 'static {
    /// Writes an object.
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError>;

    /// Reads `range` of an object; a range beyond its end is cut (empty if it begins there).
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError>;

    /// Reads a whole object.
    async fn get(&self, key: &str) -> Result<Bytes, GetError>;

    /// Size of an object.
    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError>;

    /// Deletes objects; those that are not there count as deleted.
    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError>;

    /// Up to `limit` objects whose keys begin with `prefix` and sort after `after`, in key order.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError>;

    /// Begins an object that is written in parts (nothing is there to see until it is finished). What it
    /// replaces, if anything, it replaces whole: whoever writes in parts uses keys that nobody else has.
    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        Err(PutError::Refused {
            key: key.to_owned(),
            reason: "this store takes no uploads in parts".to_owned(),
        })
    }

    /// Uploads below `prefix` that were begun and neither finished nor aborted, up to `limit`, in key order after
    /// `after`. Empty where the store forgets them by itself, or tells nobody of them (then its lifecycle rules
    /// must: `aquifer bucket check` says so).
    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        let _ = (prefix, after, limit);
        Ok(Vec::new())
    }

    /// Aborts such an upload; one that is not there (any more) counts as aborted.
    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        Err(DeleteError {
            keys: vec![upload.key.clone()],
            reason: "this store takes no uploads in parts".to_owned(),
        })
    }

    /// Whether each request costs money: then PUTs are budgeted and batched for longer.
    fn priced_per_request(&self) -> bool;

    /// Where it is, for people (no credentials).
    fn describe(&self) -> String;
}

/// An upload that somebody left, or is at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnfinishedUpload {
    /// The key of the object that would be there.
    pub key: String,
    /// What the store calls it.
    pub id: String,
}

/// An object that is written in parts.
///
/// Contract, checked by [`crate::conformance`]: parts are numbered from 0 without a gap, each
/// [`aquifer_format::limits::UPLOAD_PART_BYTES`] long but for the last one, which is shorter or as long;
/// they may be written in any order and several at a time, and one that is written again replaces what was
/// there (after an error its effect is unknown). Dropping it leaves the upload unfinished.
#[async_trait]
pub trait Upload: Send + Sync + Debug {
    /// Writes part `number`.
    async fn part(&self, number: u32, payload: Payload) -> Result<(), PutError>;

    /// Makes the object of its first `parts` parts. Safe to do again after [`PutError::Failed`]: it looks
    /// whether an object of `bytes` bytes is there by now.
    async fn finish(&self, parts: u32, bytes: u64) -> Result<(), PutError>;

    /// Throws the parts away; safe to do again.
    async fn abort(&self) -> Result<(), PutError>;
}
