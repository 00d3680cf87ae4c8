//! Against `moto_server`, an S3 server from PyPI that shares no code with this one.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::*;
use crate::runtime::Ports;

/// A running server; killed when dropped.
struct Moto {
    process: Child,
    endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    /// None = it is not installed, which is a failure where `CI` is set.
    fn start() -> Option<Self> {
        let started = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "moto_server is needed (pip install 'moto[server]'): {error}"
                );
                eprintln!("NOT RUN: moto_server is missing (pip install 'moto[server]')");
                return None;
            }
        };
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let endpoint = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let start = line.find("http://127.0.0.1:")?;
            Some(line[start..].trim_end().to_owned())
        });
        // Reads on, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let endpoint = endpoint.expect("moto_server tells its address");
        Some(Self { process, endpoint })
    }

    async fn store(&self, bucket: &str, prefix: &str) -> RemoteStore {
        let settings = RemoteSettings {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.endpoint.clone()),
            path_style: None,
            allow_http: None,
            priced: true,
        };
        let clock = Ports::system().clock;
        let mut store = RemoteStore::open(settings, Arc::clone(&clock))
            .await
            .unwrap();
        // The machine's own credentials, if any, must not be used: replace the chain.
        let keys = aws_credential_types::Credentials::new("test", "test", None, None, "test");
        let provider = aws_credential_types::provider::SharedCredentialsProvider::new(keys);
        store.credentials = Arc::new(SdkCredentials::new(provider, clock));
        store.client = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region("us-east-1")
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_credentials(Arc::clone(&store.credentials) as _)
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .build()
            .unwrap();
        store
    }

    /// Creating a bucket is a PUT of its path, which the client does for an "object" of that name.
    fn create_bucket(&self, bucket: &str) {
        use std::io::{Read as _, Write as _};
        let address = self.endpoint.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "PUT /{bucket} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_behind_the_s3_protocol_conforms() {
    let Some(moto) = Moto::start() else { return };
    moto.create_bucket("aquifer-test");
    let store = moto.store("aquifer-test", "").await;
    crate::conformance::check(Arc::new(store), "s/").await;
    let store = moto.store("aquifer-test", "below/here").await;
    crate::conformance::check(Arc::new(store), "s/").await;

    let missing = moto.store("no-such-bucket-here", "").await;
    let put = missing
        .put("k", vec![Bytes::from_static(b"x")], PutMode::Create)
        .await;
    let error = put.unwrap_err();
    assert!(matches!(error, PutError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("create the bucket"), "{error}");
    let error = missing.get("k").await.unwrap_err();
    assert!(matches!(error, GetError::Refused { .. }), "{error:?}");
    let listed = missing.list("", None, 10).await;
    assert!(listed.is_err(), "{listed:?}");
}

#[test]
fn endpoints_on_this_machine_are_known() {
    for (endpoint, local) in [
        ("http://127.0.0.1:9000", true),
        ("http://[::1]:9000/", true),
        ("http://localhost:9000", true),
        ("http://minio:9000", false),
        ("http://127.0.0.1.example.com", false),
        ("nonsense", false),
    ] {
        assert_eq!(is_local(endpoint), local, "{endpoint}");
    }
}

#[tokio::test]
async fn an_unencrypted_endpoint_elsewhere_must_be_asked_for() {
    let settings = RemoteSettings {
        bucket: "b".to_owned(),
        prefix: String::new(),
        region: Some("r".to_owned()),
        endpoint: Some("http://minio:9000".to_owned()),
        path_style: None,
        allow_http: None,
        priced: true,
    };
    let opened = RemoteStore::open(settings.clone(), Ports::system().clock).await;
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("allow_http"), "{error}");
    let settings = RemoteSettings {
        allow_http: Some(true),
        ..settings
    };
    let opened = RemoteStore::open(settings, Ports::system().clock).await;
    assert!(opened.is_ok());
}
