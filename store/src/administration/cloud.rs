//! Buckets of Google Cloud Storage and Azure: through the port, with retries. Their rules are read with other
//! protocols and rights than objects are, so a person is told where to look.

use std::{sync::Arc, time::Duration};

use super::{Report, Subject, Verdict, port};
use crate::{
    port::{GetError, ObjectStore},
    remote::{RemoteStore, Service},
    retry::{RetryPolicy, RetryingStore},
    runtime::Ports,
};

/// A person waits for the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Looks at the bucket of `store`; everything is written below `probe`.
pub(crate) async fn check(store: RemoteStore, ports: &Ports, probe: &str) -> Report {
    let (lifecycle, versioning) = unseen(store.service(), &store.bucket_url());
    let policy = RetryPolicy {
        deadline: DEADLINE,
        ..RetryPolicy::default()
    };
    let store = RetryingStore::new(Arc::new(store), ports.clone(), policy);
    // Nothing is there, which only somebody is told who may look.
    let report = match store.get(&format!("{probe}/nothing")).await {
        Ok(_) | Err(GetError::NotFound { .. }) => {
            let mut report = port::check(&store, probe).await;
            report.add(Subject::Lifecycle, Verdict::Warning(lifecycle));
            report.add(Subject::Versioning, Verdict::Warning(versioning));
            report
        }
        Err(error) => {
            let mut report = Report::new(store.describe());
            report.add(Subject::Access, Verdict::Refused(error.to_string()));
            report
        }
    };
    let findings = report.findings.into_iter();
    Report {
        bucket: report.bucket,
        findings: findings
            .map(|(subject, verdict)| (subject, in_one_line(verdict)))
            .collect(),
    }
}

/// What a person must look at: rules that take objects, and whether deleted ones stay.
fn unseen(service: Service, bucket: &str) -> (String, String) {
    let (take, stay) = match service {
        Service::Google => (
            format!(
                "gcloud storage buckets describe {bucket} --format='default(lifecycle_config,retention_policy)'"
            ),
            format!(
                "gcloud storage buckets describe {bucket} --format='default(versioning_enabled,soft_delete_policy)'; \
                 soft delete is on for 7 days unless it was switched off"
            ),
        ),
        Service::Azure | Service::S3 => (
            "az storage account management-policy show, az storage container immutability-policy show".to_owned(),
            "az storage account blob-service-properties show: isVersioningEnabled, deleteRetentionPolicy".to_owned(),
        ),
    };
    let abort = match service {
        Service::Google => {
            ", and that one aborts incomplete multipart uploads after a day or so: compactors that die leave them, \
             and they are paid for"
        }
        // Parts of blobs go by themselves after a week; uploads of S3 are swept.
        Service::Azure | Service::S3 => "",
    };
    (
        format!(
            "not looked at: see yourself that no rule of {bucket} deletes objects, keeps them from being \
             deleted, or moves them to an archive{abort} ({take})"
        ),
        format!(
            "not looked at: where versioning or soft delete is on for {bucket}, objects that the cluster deletes \
             stay for a while and are paid for ({stay})"
        ),
    )
}

/// Servers answer with documents.
fn in_one_line(verdict: Verdict) -> Verdict {
    let line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match verdict {
        Verdict::Good => Verdict::Good,
        Verdict::Warning(text) => Verdict::Warning(line(text)),
        Verdict::Refused(text) => Verdict::Refused(line(text)),
    }
}
