//! Deleting leaks, for a person who asked for it.

use aquifer_format::{key::object_key, limits::DELETE_OBJECTS_MAX};
use aquifer_store::UnfinishedUpload;

use super::{Comparison, Found, FsckError};

impl Comparison {
    /// Deletes leaks and aborts uploads. Each batch is asked for once more.
    pub(super) async fn repair(
        &mut self,
        found: &mut Found,
        uploads: &[UnfinishedUpload],
    ) -> Result<(), FsckError> {
        if found.report.missing_objects > 0 {
            return Err(FsckError::Identity {
                reason: format!(
                    "nothing is repaired: {} objects are missing, so this may be the wrong bucket or the wrong \
                     metadata; look at them first (without --repair)",
                    found.report.missing_objects
                ),
            });
        }
        let leaks = std::mem::take(&mut found.leaks);
        for batch in leaks.chunks(DELETE_OBJECTS_MAX) {
            let live = self.ask(batch.iter().map(|(id, _)| *id).collect()).await?;
            let gone = batch.iter().zip(live).filter(|(_, live)| !live);
            let keys: Vec<String> = gone
                .filter(|((id, _), _)| self.is_lost(id))
                .map(|((id, _), _)| object_key(self.identity.cluster, id))
                .collect();
            self.store.delete(&keys).await?;
            found.report.repaired += u64::try_from(keys.len()).unwrap_or(u64::MAX);
        }
        for upload in uploads {
            self.store.abort_upload(upload).await?;
        }
        Ok(())
    }
}
