//! Uploads in parts that nobody ended: their parts are paid for, and no listing of objects shows them.

use std::time::Duration;

use aquifer_format::key::parse_object_key;
use aquifer_store::UnfinishedUpload;
use metrics::counter;

use super::{Identity, PAGE_OBJECTS, SweepError, SweepReport, Sweeper, is_old};

impl Sweeper {
    /// Aborts those of this incarnation that are as old as an orphan must be: whoever was at one can name its object
    /// to nobody any more. A bucket that cannot list them is left to its own rules.
    pub(super) async fn abort_uploads(
        &self,
        identity: Identity,
        report: &mut SweepReport,
    ) -> Result<(), SweepError> {
        let mut after: Option<UnfinishedUpload> = None;
        loop {
            let page = self
                .store
                .unfinished_uploads("", after.as_ref(), PAGE_OBJECTS)
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "uploads that nobody ended cannot be listed; let a lifecycle rule of the bucket abort \
                         incomplete multipart uploads"
                    );
                    return Ok(());
                }
            };
            let Some(last) = page.last().cloned() else {
                return Ok(());
            };
            let epoch = self.ask(identity, Vec::new()).await?.upload_epoch;
            for upload in page {
                let ours = parse_object_key(&upload.key).is_ok_and(|(cluster, id)| {
                    cluster == identity.cluster
                        && id.incarnation == identity.incarnation
                        && is_old(&id, epoch)
                });
                if !ours {
                    continue;
                }
                self.store.abort_upload(&upload).await?;
                report.aborted_uploads += 1;
                counter!("aquifer_sweep_aborted_uploads_total").increment(1);
                let rate = u64::from(self.settings.objects_per_second.max(1));
                self.ports.sleep(Duration::from_millis(1_000 / rate)).await;
            }
            after = Some(last);
        }
    }
}
