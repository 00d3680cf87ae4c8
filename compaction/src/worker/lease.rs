//! The lease of a job under way: renewed in the background, and lost at once for all who hold it.

use aquifer_format::ids::{ObjectId, ObjectLevel};
use aquifer_metadata_api::upkeep::{Job, JobToken};

use super::JobError;

/// A job and its lease. Clones are the same.
#[derive(Clone, Debug)]
pub struct JobLease {
    job: std::sync::Arc<Job>,
}

impl JobLease {
    /// The job as it was leased.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The token now.
    ///
    /// # Errors
    /// [`JobError::Lost`].
    pub fn token(&self) -> Result<JobToken, JobError> {
        todo!("builder D")
    }

    /// A new object's id, of the upload epoch that the leader told last.
    ///
    /// # Errors
    /// [`JobError::Lost`].
    pub fn new_object(&self, level: ObjectLevel) -> Result<ObjectId, JobError> {
        let _ = level;
        todo!("builder D")
    }

    /// Returns [`JobError::Lost`] when it is lost, else never.
    pub async fn lost(&self) -> JobError {
        todo!("builder D")
    }
}
