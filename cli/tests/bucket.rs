//! `aquifer bucket check` against the S3 test server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

use aquifer_s3_server::{Server, Settings, faults::Faults};
use serde_json::Value;

fn check(url: &str, arguments: &[&str], secret: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aquifer"))
        .args(["bucket", "check", url])
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_PROFILE")
        .output()
        .unwrap()
}

async fn checked(url: String, arguments: &'static [&str], secret: &'static str) -> Output {
    let checking = tokio::task::spawn_blocking(move || check(&url, arguments, secret));
    checking.await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_bucket_passes_and_others_say_why_not() {
    let server = Server::start(Settings::default()).await.unwrap();
    let endpoint = server.endpoint();
    let url = |bucket: &str| format!("s3://{bucket}?endpoint={endpoint}");

    let good = checked(url("bucket/prod"), &[], "test-secret").await;
    let (out, err) = (text(&good.stdout), text(&good.stderr));
    assert!(good.status.success(), "{out}{err}");
    let (title, findings) = out.split_once('\n').unwrap();
    assert_eq!(title.split_whitespace().next(), Some("CHECK"));
    assert_eq!(findings.lines().count(), 8, "{out}");
    assert!(findings.lines().all(|line| line.ends_with(" ok")), "{out}");
    assert_eq!(server.totals("bucket"), Some((0, 0)));

    server.set_faults(Faults {
        deny: ["s3:ListBucket".to_owned()].into(),
        ..Faults::default()
    });
    let refused = checked(url("bucket"), &["--output", "json"], "test-secret").await;
    assert!(!refused.status.success());
    let err = text(&refused.stderr);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("s3:ListBucket"), "{err}");
    let found = text(&refused.stdout);
    let refused: Vec<Value> = found
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["verdict"] == "refused")
        .collect();
    assert!(
        refused.iter().any(|line| line["check"] == "list"),
        "{found}"
    );
    server.set_faults(Faults::default());

    for (bucket, secret, says) in [
        ("other", "test-secret", "there is no bucket other"),
        ("bucket", "wrong", "does not accept the credentials"),
    ] {
        let refused = checked(url(bucket), &[], secret).await;
        assert!(!refused.status.success());
        let err = text(&refused.stderr);
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.contains(says), "{err}");
    }
}

#[test]
fn folders_and_wrong_urls_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/bucket", folder.path().display());
    let good = check(&url, &[], "");
    assert!(good.status.success(), "{}", text(&good.stderr));
    for (url, says) in [
        ("ftp://x", "ftp:// is not known"),
        ("bucket", "no scheme"),
        ("gs://", "no bucket is named"),
        ("az://account.blob.core.windows.net/c", "?account="),
    ] {
        let refused = check(url, &[], "");
        assert!(!refused.status.success());
        let err = text(&refused.stderr);
        assert!(err.contains(says), "{err}");
    }
}
