//! Which objects the metadata knows: what a sweeper asks before it deletes.

use aquifer_format::{
    ids::{ClusterId, Incarnation, ObjectId, UploadEpoch},
    limits::LIVE_OBJECTS_MAX,
};

use crate::error::MetadataError;

/// What is known of a list of objects, and who says so.
///
/// An answer of "not live" for an object whose upload epoch is more than
/// [`aquifer_format::limits::COMMIT_AGE_EPOCHS_MAX`] behind [`Self::upload_epoch`] holds for ever: its
/// first commit would be refused by this leader and every later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveObjects {
    /// The cluster; objects of other clusters are not live here and mean nothing.
    pub cluster: ClusterId,
    /// The cluster's incarnation.
    pub incarnation: Incarnation,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// In the order of the request: true = an extent or a held batch is in it, or it was released and its
    /// bytes are metadata's to delete.
    pub live: Vec<bool>,
}

/// Refuses a question of too many objects.
///
/// # Errors
/// More than [`LIVE_OBJECTS_MAX`].
pub fn check(objects: &[ObjectId]) -> Result<(), MetadataError> {
    if objects.len() <= LIVE_OBJECTS_MAX {
        return Ok(());
    }
    Err(MetadataError::Refused {
        reason: format!(
            "{} objects are asked for at once; at most {LIVE_OBJECTS_MAX} can be",
            objects.len()
        ),
    })
}
