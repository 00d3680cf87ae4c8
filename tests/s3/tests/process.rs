//! The server as a process: its ready line, its admin endpoint, its end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request; returns status and body.
fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn a_process_tells_that_it_is_ready_and_takes_orders() {
    let mut process = Process(
        Command::new(env!("CARGO_BIN_EXE_aquifer-s3-server"))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--bucket", "one", "--bucket", "two", "--latency", "express"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut addresses = line.trim_end().split("http://").skip(1);
    let s3 = addresses.next().unwrap().split(',').next().unwrap();
    let admin = addresses.next().unwrap();
    assert!(line.starts_with("ready: S3 on http://127.0.0.1:"), "{line}");

    assert_eq!(ask(admin, "GET", "/ready", "").0, 200);
    let (status, text) = ask(
        admin,
        "PUT",
        "/faults",
        r#"{"slow_down": 1.0, "stall_ms": 5}"#,
    );
    assert_eq!(status, 200, "{text}");
    let faults: Value = serde_json::from_str(&ask(admin, "GET", "/faults", "").1).unwrap();
    assert_eq!(faults["slow_down"], json!(1.0));
    assert_eq!(faults["error"], json!(0.0));
    let (status, text) = ask(admin, "PUT", "/faults", r#"{"slowdown": 1.0}"#);
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("slowdown"), "{text}");

    let latency: Value = serde_json::from_str(&ask(admin, "GET", "/latency", "").1).unwrap();
    assert_eq!(latency["put"]["p50_ms"], json!(8.0));
    assert_eq!(ask(admin, "PUT", "/latency", "\"none\"").0, 200);
    assert_eq!(ask(admin, "PUT", "/latency", "\"slow\"").0, 400);

    let (status, text) = ask(s3, "GET", "/one/some/key", "");
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("<Code>SlowDown</Code>"), "{text}");
    assert_eq!(ask(admin, "PUT", "/faults", "{}").0, 200);
    let (status, text) = ask(s3, "GET", "/one/some/key", "");
    assert_eq!(status, 403, "nothing without a signature: {text}");
    let (_, text) = ask(admin, "GET", "/counters?prefix=some/", "");
    let counters: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(counters["keys"]["some/key"]["gets"], json!(2));
    assert_eq!(counters["operations"]["get"]["requests"], json!(2));
    assert_eq!(counters["operations"]["get"]["ok"], json!(0));
    assert_eq!(counters["faults"], json!({"slow_down": 1}));
    assert_eq!(ask(admin, "DELETE", "/counters", "").0, 200);
    let (_, text) = ask(admin, "GET", "/counters", "");
    assert!(!text.contains("some/key"), "{text}");

    assert_eq!(ask(admin, "PUT", "/buckets/three", "").0, 201);
    assert_eq!(ask(admin, "PUT", "/buckets/three", "").0, 200);
    let (_, text) = ask(admin, "GET", "/buckets/two", "");
    assert_eq!(text, r#"{"bytes":0,"objects":0}"#);
    assert_eq!(ask(admin, "GET", "/buckets/four", "").0, 404);
    assert_eq!(ask(admin, "GET", "/nothing", "").0, 404);
}
