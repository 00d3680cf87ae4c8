//! What processes of a cluster say and do while the others are not there: health, signals, settings.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use tempfile::TempDir;

const SECRET: &str = "a-secret-of-the-tests-0123456789";

/// A process; killed when dropped.
struct Process {
    child: Option<Child>,
    http: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Process {
    /// Starts `aquifer` with arguments; what serves has its health on a port of its own.
    fn start(arguments: &[&str]) -> Self {
        let http = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_aquifer"))
            .args(arguments)
            .env("AQUIFER_CLUSTER_SECRET", SECRET)
            .env("AQUIFER_HTTP_LISTEN", format!("127.0.0.1:{http}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child: Some(child),
            http,
        }
    }

    /// Asks again and again until there is an answer; the process must live meanwhile.
    fn wait_for<T>(&mut self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = ask() {
                return found;
            }
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                let ended = self.child.take().unwrap().wait_with_output().unwrap();
                panic!("{what}: {}", said(&ended));
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_health_says(&mut self, text: &str) {
        let http = self.http;
        self.wait_for(text, || {
            let answer = health(http)?;
            assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
            answer.contains(text).then_some(())
        });
    }

    /// Sends a signal and waits for the end.
    fn signal(mut self, name: &str) -> Output {
        let child = self.child.take().unwrap();
        let kill = Command::new("kill")
            .args([format!("-{name}"), child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        child.wait_with_output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn health(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(b"GET /health/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A database that takes connections and never says anything.
struct SilentDatabase(TcpListener);

impl SilentDatabase {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("postgres://nobody@{}/aquifer", self.0.local_addr().unwrap())
    }

    /// The first connection, which stays open for as long as it is held.
    fn accept(&self) -> Option<TcpStream> {
        match self.0.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn bucket(folder: &TempDir) -> String {
    format!("file://{}", folder.path().display())
}

#[test]
fn regression_a_signal_ends_what_operators_ask_of_the_metadata() {
    let folder = TempDir::new().unwrap();
    let bucket = bucket(&folder);
    for (action, signal) in [
        ("status", "INT"),
        ("migrate", "TERM"),
        ("accept-loss", "INT"),
    ] {
        let database = SilentDatabase::new();
        let url = database.url();
        let mut arguments = vec!["metadata", action, "--postgres", &url];
        if action != "migrate" {
            arguments.extend(["--bucket", &bucket]);
        }
        let mut process = Process::start(&arguments);
        let _waiting = process.wait_for("a connection", || database.accept());
        let ended = process.signal(signal);
        assert_eq!(ended.status.code(), Some(1), "{action}: {}", said(&ended));
        assert!(
            said(&ended).contains("aquifer: stopped: "),
            "{}",
            said(&ended)
        );
    }
}

#[test]
fn regression_a_signal_ends_a_start_that_waits_for_the_database() {
    let folder = TempDir::new().unwrap();
    let bucket = bucket(&folder);
    for (command, listen, signal) in [
        ("metadata", &["--listen=127.0.0.1:0"][..], "TERM"),
        (
            "server",
            &[
                "--metadata-listen=127.0.0.1:0",
                "--kafka-listen=127.0.0.1:0",
                "--cache-listen=127.0.0.1:0",
                "--node-ids=1",
            ],
            "INT",
        ),
    ] {
        let database = SilentDatabase::new();
        let url = database.url();
        let mut arguments = vec![command, "--postgres", &url, "--bucket", &bucket];
        arguments.extend(listen);
        let mut process = Process::start(&arguments);
        let _waiting = process.wait_for("a connection", || database.accept());
        process.wait_until_health_says("waiting for the database");
        let ended = process.signal(signal);
        assert_eq!(ended.status.code(), Some(0), "{command}: {}", said(&ended));
        let text = said(&ended);
        assert!(text.contains("stopped before it was ready"), "{text}");
    }
}

#[test]
fn an_agent_says_whom_it_waits_for() {
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(&[
        "agent",
        "--metadata=127.0.0.1:1,127.0.0.1:2",
        "--bucket",
        &bucket(&folder),
        "--kafka-listen=127.0.0.1:0",
        "--cache-listen=127.0.0.1:0",
        "--node-ids=1",
    ]);
    process.wait_until_health_says("the metadata service at 127.0.0.1:1, 127.0.0.1:2");
    let ended = process.signal("TERM");
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
}

#[test]
fn regression_a_secret_in_the_environment_and_a_file_is_refused() {
    let mut process = Process::start(&[
        "agent",
        "--metadata=127.0.0.1:1",
        "--bucket=file:///nowhere",
        "--cluster-secret-file=/nowhere",
    ]);
    let ended = process.child.take().unwrap().wait_with_output().unwrap();
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(2), "{text}");
    for source in [
        "AQUIFER_CLUSTER_SECRET in the environment",
        "--cluster-secret-file",
    ] {
        assert!(text.contains(source), "{text}");
    }
}

#[test]
fn regression_what_may_not_be_zero_is_refused_before_anything_starts() {
    for flag in [
        "--flush-bytes=0",
        "--produce-memory=0",
        "--sweep-interval=0s",
    ] {
        let mut process = Process::start(&["server", flag]);
        let ended = process.child.take().unwrap().wait_with_output().unwrap();
        let text = said(&ended);
        assert_eq!(ended.status.code(), Some(2), "{text}");
        assert!(text.contains("more than 0"), "{text}");
    }
}
