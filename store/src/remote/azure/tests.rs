//! Against Azurite.

use futures::{StreamExt, stream};

use crate::{
    administration::{Subject, Verdict, cloud},
    port::{GetError, ObjectStore, PutError, PutMode},
    remote::azurite::{ACCOUNT, Azurite, KEY},
    runtime::Ports,
};

use super::*;

const CONTAINER: &str = "aquifer-test";

fn settings(endpoint: String, container: &str, prefix: &str) -> AzureSettings {
    AzureSettings {
        container: container.to_owned(),
        prefix: prefix.to_owned(),
        account: Some(ACCOUNT.to_owned()),
        endpoint: Some(endpoint),
        allow_http: None,
        priced: true,
    }
}

fn store(server: &Azurite, container: &str, prefix: &str) -> RemoteStore {
    let builder = MicrosoftAzureBuilder::new().with_access_key(KEY);
    let settings = settings(server.endpoint(), container, prefix);
    settings.open_with(builder).unwrap()
}

fn server() -> Option<Azurite> {
    let server = Azurite::start()?;
    server.create_container(CONTAINER);
    Some(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_azure_container_conforms() {
    let Some(server) = server() else { return };
    let whole = store(&server, CONTAINER, "");
    assert_eq!(whole.describe(), "az://aquifer-test");
    crate::conformance::check(Arc::new(whole), "s/").await;
    let below = store(&server, CONTAINER, "below/here");
    assert_eq!(below.describe(), "az://aquifer-test/below/here");
    crate::conformance::check(Arc::new(below), "s/").await;

    let missing = store(&server, "no-such-container", "");
    for mode in [PutMode::Create, PutMode::Overwrite] {
        let put = missing.put("k", vec!["x".into()], mode).await;
        let error = put.unwrap_err();
        assert!(matches!(error, PutError::Refused { .. }), "{error:?}");
        assert!(
            error.to_string().contains("create the container"),
            "{error}"
        );
    }
    let error = missing.get("k").await.unwrap_err();
    assert!(matches!(error, GetError::Refused { .. }), "{error:?}");
    let listed = missing.list("", None, 10).await;
    assert!(listed.is_err(), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_objects_are_deleted_than_one_request_takes() {
    let Some(server) = server() else { return };
    let store = store(&server, CONTAINER, "p");
    let keys: Vec<String> = (0..600).map(|number| format!("many/{number:03}")).collect();
    // Every other one was never there.
    let there: Vec<&String> = keys.iter().step_by(2).collect();
    let mut puts = stream::iter(&there)
        .map(|key| store.put(key, vec!["x".into()], PutMode::Create))
        .buffer_unordered(8);
    while let Some(put) = puts.next().await {
        put.unwrap();
    }
    let listed = store.list("many/", None, 1000).await.unwrap();
    assert!(
        listed
            .iter()
            .map(|meta| &meta.key)
            .eq(there.iter().copied())
    );
    let after = store.list("many/", Some("many/500"), 3).await.unwrap();
    let after: Vec<&str> = after.iter().map(|meta| meta.key.as_str()).collect();
    assert_eq!(after, ["many/502", "many/504", "many/506"]);
    store.delete(&keys).await.unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_azure_container_is_looked_at() {
    let Some(server) = server() else { return };
    let ports = Ports::system();
    let below = store(&server, CONTAINER, "prod");
    let report = cloud::check(below, &ports, "aquifer-check-1").await;
    assert_eq!(report.bucket, "az://aquifer-test/prod");
    assert_eq!(report.refusals().count(), 0, "{report:?}");
    let warned = |(_, verdict): &&(Subject, Verdict)| matches!(verdict, Verdict::Warning(_));
    let warnings: Vec<Subject> = report.findings.iter().filter(warned).map(|f| f.0).collect();
    assert_eq!(warnings, [Subject::Lifecycle, Subject::Versioning]);
    assert_eq!(report.findings.len(), 8, "{report:?}");
    let left = store(&server, CONTAINER, "").list("", None, 10).await;
    assert_eq!(left.unwrap(), [], "nothing stays");

    let missing = store(&server, "no-such-container", "");
    let wrong_key = settings(server.endpoint(), CONTAINER, "")
        .open_with(MicrosoftAzureBuilder::new().with_access_key("d3Jvbmc="))
        .unwrap();
    for (store, says) in [
        (missing, "create the container"),
        // Azurite gives this the code of an account's firewall; Azure says AuthenticationFailed.
        (wrong_key, "Authoriz"),
    ] {
        let report = cloud::check(store, &ports, "aquifer-check-1").await;
        let refusals: Vec<_> = report.refusals().collect();
        assert_eq!(refusals.len(), 1, "{report:?}");
        let (subject, reason) = refusals[0];
        assert_eq!(subject, Subject::Access);
        assert!(reason.contains(says), "{reason}");
        assert!(!reason.contains('\n'), "one line: {report:?}");
    }
}

#[test]
fn an_account_must_be_known() {
    let settings = AzureSettings {
        account: None,
        endpoint: None,
        ..settings(String::new(), CONTAINER, "")
    };
    let open = |builder: MicrosoftAzureBuilder| settings.clone().open_with(builder);
    let error = open(MicrosoftAzureBuilder::new()).unwrap_err().to_string();
    for says in ["AZURE_STORAGE_ACCOUNT_NAME", "?account="] {
        assert!(error.contains(says), "{error}");
    }
    assert!(open(MicrosoftAzureBuilder::new().with_account("given")).is_ok());
    let emulator = MicrosoftAzureBuilder::new().with_config(AzureConfigKey::UseEmulator, "true");
    assert!(open(emulator).is_ok());
}
