//! Against fake-gcs-server.

use crate::{
    administration::{Subject, Verdict, cloud},
    port::{GetError, ObjectStore, PutError, PutMode},
    remote::fake_gcs::FakeGcs,
    runtime::Ports,
};

use super::*;

const BUCKET: &str = "aquifer-test";

fn store(endpoint: &str, bucket: &str, prefix: &str) -> RemoteStore {
    let settings = GoogleSettings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        allow_http: None,
        priced: true,
    };
    let builder = GoogleCloudStorageBuilder::new().with_bearer_token("test");
    settings.open_with(builder).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_google_bucket_conforms() {
    let Some(server) = FakeGcs::start(BUCKET).await else {
        return;
    };
    let whole = store(&server.endpoint, BUCKET, "");
    assert_eq!(whole.describe(), "gs://aquifer-test");
    crate::conformance::check(Arc::new(whole), "s/").await;
    let below = store(&server.endpoint, BUCKET, "below/here");
    assert_eq!(below.describe(), "gs://aquifer-test/below/here");
    crate::conformance::check(Arc::new(below), "s/").await;

    let missing = store(&server.endpoint, "no-such-bucket-here", "");
    for mode in [PutMode::Create, PutMode::Overwrite] {
        let put = missing.put("k", vec!["x".into()], mode).await;
        let error = put.unwrap_err();
        assert!(matches!(error, PutError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("create the bucket"), "{error}");
    }
    let listed = missing.list("", None, 10).await;
    assert!(listed.is_err(), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_google_bucket_is_looked_at() {
    let Some(server) = FakeGcs::start(BUCKET).await else {
        return;
    };
    let ports = Ports::system();
    let below = store(&server.endpoint, BUCKET, "prod");
    let report = cloud::check(below, &ports, "aquifer-check-1").await;
    assert_eq!(report.bucket, "gs://aquifer-test/prod");
    assert_eq!(report.refusals().count(), 0, "{report:?}");
    for subject in [
        Subject::Write,
        Subject::CreateOnce,
        Subject::Read,
        Subject::Upload,
        Subject::List,
        Subject::Delete,
    ] {
        assert_eq!(report.of(subject), Some(&Verdict::Good), "{report:?}");
    }
    for subject in [Subject::Lifecycle, Subject::Versioning] {
        let verdict = report.of(subject);
        assert!(
            matches!(verdict, Some(Verdict::Warning(text)) if text.contains("gs://aquifer-test")),
            "{report:?}"
        );
    }
    let left = store(&server.endpoint, BUCKET, "").list("", None, 10).await;
    assert_eq!(left.unwrap(), [], "nothing stays");

    let missing = store(&server.endpoint, "no-such-bucket-here", "");
    let report = cloud::check(missing, &ports, "aquifer-check-1").await;
    let (subject, reason) = report.refusals().next().unwrap();
    assert_eq!(subject, Subject::Write);
    assert!(reason.contains("create the bucket"), "{reason}");
    assert!(!reason.contains('\n'), "one line: {report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_may_come_back() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let store = store(&closed, BUCKET, "");
    let error = store.get("k").await.unwrap_err();
    assert!(matches!(error, GetError::Failed { .. }), "{error:?}");
    let put = store.put("k", vec!["x".into()], PutMode::Create).await;
    let error = put.unwrap_err();
    assert!(matches!(error, PutError::Failed { .. }), "{error:?}");
    let keys = ["a".to_owned(), "b".to_owned()];
    let error = store.delete(&keys).await.unwrap_err();
    assert_eq!(error.keys, keys);
    assert!(store.list("", None, 1).await.is_err());
}

#[test]
fn an_unencrypted_endpoint_elsewhere_must_be_asked_for() {
    let settings = GoogleSettings {
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        endpoint: Some("http://gcs:4443".to_owned()),
        allow_http: None,
        priced: true,
    };
    let builder = || GoogleCloudStorageBuilder::new().with_bearer_token("test");
    let error = settings.clone().open_with(builder()).unwrap_err();
    assert!(error.to_string().contains("allow_http"), "{error}");
    let settings = GoogleSettings {
        allow_http: Some(true),
        ..settings
    };
    assert!(settings.open_with(builder()).is_ok());
}

#[test]
fn credentials_that_cannot_be_read_are_told() {
    let settings = GoogleSettings {
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        endpoint: None,
        allow_http: None,
        priced: true,
    };
    let builder = GoogleCloudStorageBuilder::new().with_service_account_path("/no/such/file.json");
    let error = settings.open_with(builder).unwrap_err().to_string();
    assert!(error.contains("/no/such/file.json"), "{error}");
}
