//! Deleting the bytes of released objects.

use aquifer_format::ids::ObjectId;
use aquifer_store::ObjectStore;

use crate::worker::{JobError, JobLease};

/// Deletes a job's objects; returns those that are confirmed to be gone, also where some are not.
///
/// # Errors
/// None of them is surely gone.
pub async fn delete(lease: &JobLease, store: &dyn ObjectStore) -> Result<Vec<ObjectId>, JobError> {
    let _ = (lease, store);
    todo!("builder D")
}
