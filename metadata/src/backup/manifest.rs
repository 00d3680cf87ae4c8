//! Manifests: what a backup consists of.

use aquifer_format::{
    ids::{ClusterId, JournalSeq, UploadEpoch},
    mark::JournalMark,
};

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRef {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// CRC-64/NVME of it.
    pub checksum: u64,
}

/// What a backup consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The cluster.
    pub cluster: ClusterId,
    /// The newest row that is in it: incarnation, term, seq, hash.
    pub mark: JournalMark,
    /// Replay of `rows` begins after this row.
    pub pages_through: JournalSeq,
    /// The upload epoch when it was begun: whatever was released earlier is released in it.
    pub upload_epoch: UploadEpoch,
    /// Wall-clock time of the leader, for people.
    pub unix_millis: i64,
    /// Parts with pages, the base first: a later page or removal of the same key counts.
    pub pages: Vec<PartRef>,
    /// Parts with rows, in order.
    pub rows: Vec<PartRef>,
}
