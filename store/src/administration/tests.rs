use aquifer_s3_server::{
    Operation, Server, Settings,
    faults::{Fault, Faults},
};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ExpirationStatus, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter, VersioningConfiguration,
};

use super::*;
use crate::remote::moto::Moto;

fn keys() -> AccessKeys {
    AccessKeys {
        id: "test".to_owned(),
        secret: "test-secret".to_owned(),
    }
}

async fn look(endpoint: &str, bucket: &str, keys: AccessKeys) -> Report {
    let url = format!("s3://{bucket}?endpoint={endpoint}&region=us-east-1");
    check(&url, &Ports::system(), Some(keys)).await.unwrap()
}

/// The one reason against a bucket.
fn refusal(report: &Report) -> (Subject, &str) {
    let found: Vec<_> = report.refusals().collect();
    assert_eq!(found.len(), 1, "{report:?}");
    assert!(!found[0].1.contains('\n'), "one line: {report:?}");
    found[0]
}

/// Nothing against the bucket, but that some servers do not tell of versions as S3 does.
fn all_good(report: &Report) {
    assert_eq!(report.findings.len(), 8, "{report:?}");
    let unknown = |subject, verdict: &Verdict| {
        let Verdict::Warning(text) = verdict else {
            return false;
        };
        subject == Subject::Versioning && text.contains("is not understood")
    };
    let good = |(subject, verdict): &(Subject, Verdict)| {
        *verdict == Verdict::Good || unknown(*subject, verdict)
    };
    assert!(report.findings.iter().all(good), "{report:?}");
}

/// A client of the bucket's owner.
fn owner(endpoint: &str) -> aws_sdk_s3::Client {
    let keys = aws_sdk_s3::config::Credentials::new("test", "test-secret", None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .credentials_provider(keys)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

async fn set_rule(client: &aws_sdk_s3::Client, bucket: &str, prefix: &str) {
    let rule = LifecycleRule::builder()
        .id("eats")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
        .expiration(LifecycleExpiration::builder().days(3).build())
        .build()
        .unwrap();
    client
        .put_bucket_lifecycle_configuration()
        .bucket(bucket)
        .lifecycle_configuration(
            BucketLifecycleConfiguration::builder()
                .rules(rule)
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
}

async fn set_versioning(client: &aws_sdk_s3::Client, bucket: &str) {
    let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
    client
        .put_bucket_versioning()
        .bucket(bucket)
        .versioning_configuration(on.build())
        .send()
        .await
        .unwrap();
}

/// What must hold of every server.
async fn rules_are_seen(endpoint: &str, bucket: &str) {
    all_good(&look(endpoint, bucket, keys()).await);
    let client = owner(endpoint);
    set_rule(&client, bucket, "elsewhere/").await;
    let below = look(endpoint, &format!("{bucket}/prod"), keys()).await;
    all_good(&below);
    assert_eq!(below.bucket, format!("s3://{bucket}/prod/"));
    let report = look(endpoint, bucket, keys()).await;
    let (subject, reason) = refusal(&report);
    assert_eq!(subject, Subject::Lifecycle);
    for said in ["\"eats\"", "elsewhere/", "3 days"] {
        assert!(reason.contains(said), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_looked_at_and_left_as_it_was() {
    let server = Server::start(Settings::default()).await.unwrap();
    let first = look(&server.endpoint(), "bucket", keys()).await;
    assert_eq!(first.of(Subject::Versioning), Some(&Verdict::Good));
    rules_are_seen(&server.endpoint(), "bucket").await;
    set_versioning(&owner(&server.endpoint()), "bucket").await;
    let report = look(&server.endpoint(), "bucket/prod", keys()).await;
    assert_eq!(report.refusals().count(), 0, "{report:?}");
    let versioning = report.of(Subject::Versioning);
    assert!(
        matches!(versioning, Some(Verdict::Warning(text)) if text.contains("paid for")),
        "{report:?}"
    );
    assert_eq!(server.totals("bucket"), Some((0, 0)), "nothing stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_looked_at_in_the_same_way() {
    let Some(moto) = Moto::start() else { return };
    moto.create_bucket("aquifer-check");
    rules_are_seen(&moto.endpoint, "aquifer-check").await;
    let report = look(&moto.endpoint, "no-such-bucket-here", keys()).await;
    let (_, reason) = refusal(&report);
    assert!(reason.contains("no bucket no-such-bucket-here"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stops_everything_is_told_once() {
    let server = Server::start(Settings::default()).await.unwrap();
    let endpoint = server.endpoint();
    let wrong = |id: &str, secret: &str| AccessKeys {
        id: id.to_owned(),
        secret: secret.to_owned(),
    };
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (endpoint, bucket, keys, says) in [
        (
            &endpoint,
            "other",
            keys(),
            "there is no bucket other at http://127.0.0.1",
        ),
        (
            &endpoint,
            "bucket",
            wrong("nobody", "x"),
            "does not accept the credentials",
        ),
        (
            &endpoint,
            "bucket",
            wrong("test", "wrong"),
            "does not accept the credentials",
        ),
        (&closed, "bucket", keys(), "cannot be reached"),
    ] {
        let report = look(endpoint, bucket, keys).await;
        let (subject, reason) = refusal(&report);
        assert_eq!(subject, Subject::Access);
        assert!(reason.contains(says), "{reason}");
        assert!(!reason.contains("test-secret"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_are_named() {
    let server = Server::start(Settings::default()).await.unwrap();
    for (action, subject) in [
        ("s3:PutObject", Subject::Write),
        ("s3:GetObject", Subject::Read),
        ("s3:ListBucket", Subject::List),
        ("s3:DeleteObject", Subject::Delete),
        ("s3:AbortMultipartUpload", Subject::Upload),
    ] {
        server.set_faults(Faults {
            deny: [action.to_owned()].into(),
            ..Faults::default()
        });
        let report = look(&server.endpoint(), "bucket/prod", keys()).await;
        let found = report.refusals().find(|(s, _)| *s == subject);
        let (_, reason) = found.unwrap_or_else(|| panic!("{action}: {report:?}"));
        assert!(reason.contains(action), "{reason}");
        assert!(reason.contains("arn:aws:s3:::bucket"), "{reason}");
    }
    for (action, subject) in [
        ("s3:GetLifecycleConfiguration", Subject::Lifecycle),
        ("s3:GetBucketVersioning", Subject::Versioning),
        ("s3:ListBucketMultipartUploads", Subject::Upload),
    ] {
        server.set_faults(Faults {
            deny: [action.to_owned()].into(),
            ..Faults::default()
        });
        let report = look(&server.endpoint(), "bucket", keys()).await;
        assert_eq!(report.refusals().count(), 0, "{report:?}");
        let found = report.of(subject);
        assert!(
            matches!(found, Some(Verdict::Warning(text)) if text.contains(action)),
            "{report:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_lost_answers_say_nothing_of_conditional_puts() {
    let server = Server::start(Settings::default()).await.unwrap();
    server.set_faults(Faults {
        lost_reply: 0.3,
        operations: [Operation::Put].into(),
        ..Faults::default()
    });
    let mut judged = 0;
    for _ in 0..4 {
        let report = look(&server.endpoint(), "bucket", keys()).await;
        // A put that is lost at every try ends the check.
        if let Some(verdict) = report.of(Subject::CreateOnce) {
            assert_eq!(*verdict, Verdict::Good, "{report:?}");
            judged += 1;
        }
    }
    assert!(judged > 0);
    assert!(server.counters("").happened(Fault::LostReply) > 0);
    assert_eq!(server.totals("bucket"), Some((0, 0)), "nothing stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_what_was_written_without_an_answer_goes_too() {
    let server = Server::start(Settings::default()).await.unwrap();
    server.set_faults(Faults {
        lost_reply: 1.0,
        operations: [Operation::Put].into(),
        ..Faults::default()
    });
    let report = look(&server.endpoint(), "bucket", keys()).await;
    let (subject, reason) = refusal(&report);
    assert_eq!(subject, Subject::Access);
    assert!(reason.contains("cannot be reached"), "{reason}");
    assert_eq!(server.totals("bucket"), Some((0, 0)), "nothing stays");
}

#[tokio::test]
async fn folders_and_memory_are_looked_at_as_far_as_that_goes() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().join("b").display());
    for url in [url.as_str(), "mem://"] {
        let report = check(url, &Ports::system(), None).await.unwrap();
        assert_eq!(report.bucket, url);
        assert_eq!(report.findings.len(), 6, "{report:?}");
        assert_eq!(report.refusals().count(), 0, "{report:?}");
    }
    let store = FolderStore::open(folder.path().join("b")).unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = check(
        &format!("file://{}", file.display()),
        &Ports::system(),
        None,
    )
    .await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(check("s4://x", &Ports::system(), None).await.is_err());
}

#[test]
fn stores_without_conditional_puts_are_refused() {
    for (winners, good) in [(0, false), (1, true), (2, false), (3, false)] {
        assert_eq!(judge_race(winners) == Verdict::Good, good, "{winners}");
    }
}
