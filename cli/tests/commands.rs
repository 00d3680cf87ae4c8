//! The operator's commands against a real `aquifer dev`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{io::Read, process::Stdio};

use serde_json::{Value, json};
use support::Dev;
use tempfile::TempDir;

#[test]
fn lines_come_back_byte_for_byte_with_every_codec() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    let mut lines = Vec::new();
    for i in 0..5_000 {
        lines.extend_from_slice(format!("line {i} {}", "x".repeat(i % 300)).as_bytes());
        lines.extend_from_slice(&[0xff, 0, b'\r', b'\n']);
    }
    lines.extend_from_slice(b"\n\nthe last line\n");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        dev.ok(&["produce", codec, "-z", codec, "-q"], &lines);
        let back = dev.ok(&["consume", codec, "--exit-at-end"], b"");
        assert!(back == lines, "{codec}");
    }
}

#[test]
fn keys_headers_nulls_and_positions_are_kept() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    let produce = [
        "produce",
        "kv",
        "-q",
        "--key-separator",
        ": ",
        "--null-marker",
        "NULL",
        "-H",
        "h=1",
        "-H",
        "h=2",
    ];
    dev.ok(
        &produce,
        b"k: v\nno key\nempty: \ngone: NULL\n: keyless\nlast: one",
    );
    let seen: Vec<(Value, Value)> = dev
        .json(&["consume", "kv", "-e", "-o", "json"])
        .into_iter()
        .enumerate()
        .map(|(i, record)| {
            assert_eq!(record["offset"], i);
            assert_eq!(record["headers"], json!([["h", "1"], ["h", "2"]]));
            (record["key"].clone(), record["value"].clone())
        })
        .collect();
    let pair = |key: Value, value: Value| (key, value);
    assert_eq!(
        seen,
        [
            pair(json!("k"), json!("v")),
            pair(Value::Null, json!("no key")),
            pair(json!("empty"), json!("")),
            pair(json!("gone"), Value::Null),
            pair(json!(""), json!("keyless")),
            pair(json!("last"), json!("one")),
        ]
    );
    for (from, values) in [
        ("2", "\n\nkeyless\none\n"),
        ("-2", "keyless\none\n"),
        ("-100", "v\nno key\n\n\nkeyless\none\n"),
        ("end", ""),
        ("1h", "v\nno key\n\n\nkeyless\none\n"),
        ("2000-01-01", "v\nno key\n\n\nkeyless\none\n"),
        ("2100-01-01", ""),
    ] {
        let out = dev.ok(&["consume", "kv", "-e", "--from", from], b"");
        assert_eq!(String::from_utf8(out).unwrap(), values, "--from {from}");
    }
    let out = dev.ok(
        &[
            "consume",
            "kv",
            "-n",
            "2",
            "-f",
            "{partition}/{offset} {key}",
        ],
        b"",
    );
    assert_eq!(out, b"0/0 k\n0/1 \n");
}

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    dev.ok(
        &[
            "topic",
            "create",
            "b",
            "-p",
            "3",
            "-c",
            "retention.ms=60000",
        ],
        b"",
    );
    dev.ok(&["topic", "create", "a"], b"");
    dev.ok(&["topic", "create", "a", "--if-not-exists"], b"");
    dev.fails(&["topic", "create", "a"], b"", "exists already");
    dev.fails(&["topic", "create", "a b"], b"", "letters, digits");
    dev.fails(
        &["topic", "create", "c", "-c", "no.such=1"],
        b"",
        "--topic-config",
    );
    let topics = dev.json(&["topic", "list", "-o", "json"]);
    assert_eq!(
        topics,
        [
            json!({ "topic": "a", "partitions": 1 }),
            json!({ "topic": "b", "partitions": 3 }),
        ]
    );
    dev.ok(&["produce", "b", "-q", "-p", "1"], b"one\ntwo\n");
    let partitions = dev.json(&["topic", "describe", "b", "-o", "json"]);
    let next: Vec<&Value> = partitions.iter().map(|p| &p["high_watermark"]).collect();
    assert_eq!(next, [0, 2, 0]);
    assert_eq!(
        dev.ok(&["consume", "b", "-e", "-p", "1"], b""),
        b"one\ntwo\n"
    );
    assert_eq!(dev.ok(&["consume", "b", "-e", "-p", "0,2"], b""), b"");
    dev.ok(&["topic", "delete", "a", "b"], b"");
    dev.fails(&["topic", "delete", "a"], b"", "no such topic");
    dev.fails(&["topic", "describe", "b"], b"", "there is no topic b");
    dev.fails(&["consume", "b"], b"", "there is no topic b");
}

#[test]
fn what_cannot_work_says_so() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    dev.ok(&["produce", "t", "-q"], b"one\n");
    dev.fails(&["consume", "t", "--from", "7"], b"", "ends at 1");
    dev.fails(&["consume", "t", "-p", "3"], b"", "no partition 3");
    dev.fails(
        &["consume", "t", "--format", "{no}"],
        b"",
        "{no} is not known",
    );
    dev.fails(
        &["produce", "t", "--file", "/no/such"],
        b"",
        "cannot read /no/such",
    );
    dev.fails(
        &["produce", "t", "-p", "9", "-q"],
        b"x\ny\n",
        "line 2 was not written",
    );
    dev.fails(&["produce", "t", "-H", "x"], b"x\n", "KEY=VALUE");
    let nobody = ["--bootstrap", "127.0.0.1:1", "--timeout", "2s"];
    for command in [&["produce", "t"][..], &["consume", "t"], &["topic", "list"]] {
        let arguments = [command, &nobody].concat();
        dev.fails(
            &arguments,
            b"x\n",
            "no Kafka cluster answers at 127.0.0.1:1",
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    let lines: String = (0..100_000).map(|i| format!("{i}\n")).collect();
    dev.ok(&["produce", "t", "-q"], lines.as_bytes());
    let mut consume = dev
        .command(&["consume", "t", "-e"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 2];
    let mut out = consume.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = consume.wait_with_output().unwrap();
    assert_eq!(&first, b"0\n");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

#[test]
fn a_stop_is_clean_and_keeps_everything() {
    let folder = TempDir::new().unwrap();
    let mut dev = Dev::start(folder.path());
    dev.ok(&["produce", "t", "-q"], b"one\ntwo\n");
    dev.stop();
    let dev = Dev::start(folder.path());
    assert_eq!(dev.ok(&["consume", "t", "-e"], b""), b"one\ntwo\n");
    assert!(dev.http.starts_with("127.0.0.1:"));
}
