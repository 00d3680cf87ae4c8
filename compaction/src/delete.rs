//! Deleting the bytes of released objects.

use std::collections::BTreeSet;

use aquifer_format::{ids::ObjectId, key::object_key};
use aquifer_metadata_api::upkeep::JobKind;
use aquifer_store::ObjectStore;
use tracing::warn;

use crate::worker::{JobError, JobLease};

/// Deletes a job's objects; returns those that are confirmed to be gone, also where some are not.
///
/// # Errors
/// None of them is surely gone.
pub async fn delete(lease: &JobLease, store: &dyn ObjectStore) -> Result<Vec<ObjectId>, JobError> {
    let job = lease.job();
    let JobKind::Delete { objects } = &job.kind else {
        return Ok(Vec::new());
    };
    let keys: Vec<String> = objects
        .iter()
        .map(|object| object_key(job.cluster, object))
        .collect();
    let deleted = tokio::select! {
        biased;
        lost = lease.lost() => return Err(lost),
        deleted = store.delete(&keys) => deleted,
    };
    let Err(error) = deleted else {
        return Ok(objects.clone());
    };
    let left: BTreeSet<&str> = error.keys.iter().map(String::as_str).collect();
    let gone: Vec<ObjectId> = objects
        .iter()
        .zip(&keys)
        .filter(|(_, key)| !left.contains(key.as_str()))
        .map(|(object, _)| *object)
        .collect();
    // An error that names no key tells nothing of any of them.
    if gone.is_empty() || left.is_empty() {
        return Err(error.into());
    }
    warn!(%error, confirmed = gone.len(), "some released objects could not be deleted; they come again");
    Ok(gone)
}
