//! Listing what the metadata knows of the bucket.

use aquifer_format::ids::{ClusterId, Incarnation, ObjectId, UploadEpoch};

/// Asks for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectsRequest {
    /// Those behind this one; None = from the first.
    pub after: Option<ObjectId>,
    /// At most so many ([`aquifer_format::limits::LIVE_OBJECTS_MAX`] at most).
    pub limit: usize,
}

/// A page of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectsReply {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// In order of ids; fewer than `limit` = these are the last.
    pub objects: Vec<ListedObject>,
}

/// An object that the metadata knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its id.
    pub id: ObjectId,
    /// Its size.
    pub bytes: u64,
    /// Extents and held batches in it.
    pub references: u32,
    /// When it was released; None = it is live.
    pub released_in: Option<UploadEpoch>,
}
