//! The journal port: the only durable thing that the metadata service has.
//!
//! A journal is a chain of rows (dense seq, hash over the chain), packed *pages* that let a new leader
//! start without reading the chain from its beginning, and a lease with a fence. Implementations:
//! Postgres (production), SQLite (embedded), memory (fake); all pass [`conformance`].

use std::{fmt::Debug, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

mod chain;
pub mod conformance;
pub mod memory;
mod pieces;
pub mod postgres;
mod schema;
pub mod sqlite;
pub(crate) mod sqlstate;

/// Hash of a row: SHA-256 over the predecessor's hash, term, seq and bytes.
pub type RowHash = [u8; 32];

/// A row's place: its seq and its hash.
pub type RowAt = (JournalSeq, RowHash);

/// What the first row names as its predecessor's hash.
pub const NO_ROW: RowHash = [0; 32];

/// The hash of the row (`term`, `seq`, `bytes`) that follows the row whose hash is `previous`.
///
/// Everything before `bytes` has a fixed length, so no two rows share an input.
#[must_use]
pub fn row_hash(previous: &RowHash, term: LeaderTerm, seq: JournalSeq, bytes: &[u8]) -> RowHash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(term.0.to_be_bytes());
    hasher.update(seq.0.to_be_bytes());
    hasher.update(bytes);
    hasher.finalize().into()
}

/// One row of the journal: what one group commit wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Term of the leader that wrote it.
    pub term: LeaderTerm,
    /// Dense position, from 1.
    pub seq: JournalSeq,
    /// Hash of the row before (zeroes for the first).
    pub previous: RowHash,
    /// This row's hash.
    pub hash: RowHash,
    /// Encoded events.
    pub bytes: Bytes,
}

impl Row {
    /// The row that follows (`seq` - 1, `previous`), with its hash.
    #[must_use]
    pub fn new(term: LeaderTerm, seq: JournalSeq, previous: RowHash, bytes: Bytes) -> Self {
        Self {
            term,
            seq,
            previous,
            hash: row_hash(&previous, term, seq, &bytes),
            bytes,
        }
    }
}

/// What became of an append whose outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The row is durable (now, or since an earlier try of the same row).
    Durable,
    /// Another term holds the fence: this leader is deposed.
    Deposed {
        /// The term that holds it.
        by: LeaderTerm,
    },
    /// The journal's tail is behind what this leader wrote before, the fence is *lower* than its term, or
    /// another row stands at this seq: the database lost rows. Nobody may serve.
    LostRows {
        /// What was seen.
        seen: String,
    },
}

/// Key of a page: (kind, id) as the state machine names it, ordered bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey(pub Vec<u8>);

/// A packed part of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which part.
    pub key: PageKey,
    /// The journal position that it reflects.
    pub seq: JournalSeq,
    /// Versioned, checksummed bytes.
    pub bytes: Bytes,
}

/// What a start reads, in one consistent snapshot.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// All pages, in key order.
    pub pages: Vec<Page>,
    /// Position up to which the pages together reflect everything: replay begins after it. Zero if
    /// there are no pages.
    pub pages_through: JournalSeq,
    /// Position and hash of the newest row, if any was ever written.
    pub tail: Option<(JournalSeq, RowHash)>,
}

/// Says which pages of a snapshot are wanted; None = all.
pub type WantedPages = Box<dyn FnOnce() -> Option<Vec<PageKey>> + Send>;

/// What a snapshot of pages is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Replay begins after this row.
    pub pages_through: JournalSeq,
    /// The newest row.
    pub tail: Option<RowAt>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The term, also the fence.
    pub term: LeaderTerm,
    /// Name of the holder.
    pub holder: String,
    /// Where its service can be reached.
    pub endpoint: String,
}

/// Result of a try to take or renew the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// It is ours for the time-to-live, counted from before the call was sent.
    Held(Lease),
    /// Another holds it.
    HeldBy(Lease),
}

/// Why the journal gave no known answer.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It may have happened: connection lost, time-out. Do the very same call again.
    #[error("the journal did not answer ({reason}); the call may have taken effect")]
    InDoubt {
        /// What was seen.
        reason: String,
    },
    /// It surely did not happen, and may work later (cannot connect, read-only, out of space).
    #[error("the journal is unavailable: {reason}")]
    Unavailable {
        /// What was seen, and what to do about it.
        reason: String,
    },
    /// The journal is damaged or of a newer version; no use to try again.
    #[error("the journal cannot be used: {reason}")]
    Unusable {
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// Rows between what was asked for and what is there are gone (trimmed meanwhile): load again.
    #[error("the journal begins at {first}, after {wanted}: load the pages again")]
    Gap {
        /// The position that was asked for.
        wanted: JournalSeq,
        /// The first one that is there.
        first: JournalSeq,
    },
}

/// The journal. One append is in flight at a time; the caller guarantees that. Dropping a future leaves
/// its effect unknown.
#[async_trait]
pub trait Journal: Send + Sync + Debug + 'static {
    /// With `term` = None: takes the lease if it is free or ran out, and raises the fence in the same
    /// transaction. A `holder` that has it already takes it anew, with a higher term: so the same call
    /// may be done again after [`JournalError::InDoubt`]. Names are therefore unique among the processes
    /// that share a journal.
    ///
    /// With `Some(term)`: renews it, if `holder` took it with `term` and nobody took it since (even if it
    /// ran out meanwhile); never takes it. Otherwise `HeldBy` shows the last holder, whose lease may have
    /// run out. (A database that went back in time gives a term to a second holder.)
    async fn lease(
        &self,
        term: Option<LeaderTerm>,
        holder: &str,
        endpoint: &str,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError>;

    /// Gives the lease up at once, if `term` holds it.
    async fn release(&self, term: LeaderTerm) -> Result<(), JournalError>;

    /// Appends `row` if the fence is `row.term` and the row before it is the tail. Doing the same call
    /// again after [`JournalError::InDoubt`] is safe and tells what happened. (An `Unavailable` says
    /// nothing of the earlier tries of a row that is in doubt.)
    async fn append(&self, row: &Row) -> Result<Appended, JournalError>;

    /// Up to `limit` rows from `from` on, in order and without a gap.
    async fn read(&self, from: JournalSeq, limit: usize) -> Result<Vec<Row>, JournalError>;

    /// Writes and removes pages, and notes that the pages together now reflect everything up to `through`;
    /// all or nothing, and only while the fence is `term` and the row `newest` is there, which the
    /// caller knows to be durable and none of the pages is newer than ((0, [`NO_ROW`]) = there is no
    /// row). Rows up to `through` may then be trimmed (the newest row never is). A page that is there
    /// with a higher seq stays, and the noted position never goes back. `Ok(false)` = deposed, or rows
    /// were lost: pages must not get ahead of a journal that went back under the same term.
    async fn put_pages(
        &self,
        term: LeaderTerm,
        newest: RowAt,
        pages: Vec<Page>,
        removed: Vec<PageKey>,
        through: JournalSeq,
    ) -> Result<bool, JournalError>;

    /// Reads all pages in one snapshot, with the position of the tail.
    async fn load(&self) -> Result<Loaded, JournalError>;

    /// Sends pages of one consistent snapshot to `to`, in pieces of some MiB. `wanted` is called once the snapshot
    /// stands, so that it can name every page that may have been written before; pages that it names (each once) and
    /// that are not there are left out. What is returned is of the same snapshot. Rows may be trimmed meanwhile. Ends
    /// with an error if `to` is closed.
    async fn snapshot(
        &self,
        wanted: WantedPages,
        to: mpsc::Sender<Vec<Page>>,
    ) -> Result<Snapshot, JournalError>;

    /// Makes a journal out of pages and one row: only where there is neither row nor page, nobody holds the lease,
    /// and the fence is below `row.term`. The fence is `row.term` then, pages count as complete up to the row before
    /// it, and the next row follows it. All or nothing; `Ok(false)` = the journal is not such a one. The end of
    /// `pages` is their end: who gives them up half way drops the future. (After [`JournalError::InDoubt`] the same
    /// call answers `false` if it took effect.)
    async fn restore(
        &self,
        pages: mpsc::Receiver<Vec<Page>>,
        row: &Row,
    ) -> Result<bool, JournalError>;
}
