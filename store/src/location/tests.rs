use super::*;

fn s3(bucket: &str, prefix: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: None,
        endpoint: None,
        path_style: None,
        allow_http: None,
        priced: true,
    }
}

#[test]
fn urls_are_understood() {
    let check = |url: &str, location: Location| assert_eq!(url.parse(), Ok(location), "{url}");
    check("mem://", Location::Memory);
    check("file:///var/x", Location::Folder("/var/x".into()));
    check("file://./x y", Location::Folder("./x y".into()));
    check("s3://b", Location::S3(s3("b", "")));
    check("s3://b/", Location::S3(s3("b", "")));
    check("s3://b.c/p/q/", Location::S3(s3("b.c", "p/q")));
    check(
        "s3://b?region=eu-west-1&endpoint=http://127.0.0.1:9000&path_style=false\
         &allow_http=true&priced=false",
        Location::S3(S3Settings {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            path_style: Some(false),
            allow_http: Some(true),
            priced: false,
            ..s3("b", "")
        }),
    );
}

fn google(bucket: &str, prefix: &str) -> GoogleSettings {
    GoogleSettings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: None,
        allow_http: None,
        priced: true,
    }
}

fn azure(container: &str, prefix: &str) -> AzureSettings {
    AzureSettings {
        container: container.to_owned(),
        prefix: prefix.to_owned(),
        account: None,
        endpoint: None,
        allow_http: None,
        priced: true,
    }
}

#[test]
fn urls_of_google_and_azure_are_understood() {
    let check = |url: &str, location: Location| assert_eq!(url.parse(), Ok(location), "{url}");
    check("gs://b", Location::Google(google("b", "")));
    check("gs://b/", Location::Google(google("b", "")));
    check("gs://b_c.d/p/q/", Location::Google(google("b_c.d", "p/q")));
    check(
        "gs://b/p?endpoint=http://127.0.0.1:4443&allow_http=true&priced=false",
        Location::Google(GoogleSettings {
            endpoint: Some("http://127.0.0.1:4443".to_owned()),
            allow_http: Some(true),
            priced: false,
            ..google("b", "p")
        }),
    );
    check("az://c", Location::Azure(azure("c", "")));
    check("az://$root/p", Location::Azure(azure("$root", "p")));
    check(
        "az://c-1/p/q?account=a&endpoint=https://a.blob.core.usgovcloudapi.net&priced=false",
        Location::Azure(AzureSettings {
            account: Some("a".to_owned()),
            endpoint: Some("https://a.blob.core.usgovcloudapi.net".to_owned()),
            priced: false,
            ..azure("c-1", "p/q")
        }),
    );
}

#[test]
fn wrong_urls_say_what_is_wrong() {
    for (url, says) in [
        ("", "no scheme"),
        ("/var/x", "no scheme"),
        ("abfss://b", "abfss:// is not known"),
        ("file://", "no path"),
        ("mem://x", "nothing comes after"),
        ("s3://", "no bucket"),
        ("s3:///p", "no bucket"),
        ("s3://b:9000/p", "?endpoint="),
        ("s3://key:secret@b/p", "credentials"),
        ("s3://key:secret/x@b/p", "port"),
        ("s3://b?regoin=x", "\"regoin\" is not known"),
        ("s3://b?path_style=yes", "true or false"),
        ("s3://key:a?secret@b?c=d", "s3://...@b?..."),
        ("s3://b/a//b", "prefix"),
        ("gs://", "no bucket is named: gs://bucket/prefix"),
        ("gs:///p", "no bucket"),
        ("gs://b:443/p", "?endpoint="),
        ("gs://key:secret@b/p", "Google environment"),
        (
            "gs://b?region=x",
            "\"region\" is not known; there are endpoint, allow_http and priced",
        ),
        ("gs://b?allow_http=1", "true or false"),
        ("gs://b/../c/./d//e", "prefix"),
        ("az://", "no container is named: az://container/prefix"),
        ("az://c:443/p", "?endpoint="),
        (
            "az://secret@account.blob.core.windows.net/p",
            "AZURE_STORAGE_ACCOUNT_NAME",
        ),
        ("az://account.blob.core.windows.net/c", "?account="),
        (
            "az://c?sas=secret",
            "\"sas\" is not known; there are account, endpoint, allow_http and priced",
        ),
        ("az://c?priced=no", "true or false"),
        ("az://c?account=", "account is empty"),
    ] {
        let error = url.parse::<Location>().unwrap_err().to_string();
        assert!(error.contains(says), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn opened_stores_have_all_wrappers_and_conform() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    for url in [url.as_str(), "mem://"] {
        let store = open(url, &Ports::system(), Wrapping::default())
            .await
            .unwrap();
        assert_eq!(store.describe(), url);
        assert!(!store.priced_per_request());
        crate::conformance::check(store, "o/").await;
    }
}
