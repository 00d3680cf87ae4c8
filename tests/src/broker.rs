//! A real `aquifer dev` process, to be started, killed and started again.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The binary that the workspace built, beside this test's own (or `AQUIFER_BIN`).
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("AQUIFER_BIN") {
        return PathBuf::from(path);
    }
    let me = std::env::current_exe().expect("a running test has a path");
    let folder = me
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    let path = folder.join("aquifer");
    assert!(
        path.exists(),
        "{} is missing: run cargo build --workspace first",
        path.display()
    );
    path
}

/// A TCP port on 127.0.0.1 that was free a moment ago.
///
/// # Panics
/// If the machine has no free port.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// One broker process at a time on one data folder and one pair of ports.
#[derive(Debug)]
pub struct DevBroker {
    /// The data folder; it survives restarts.
    pub data: TempDir,
    /// Kafka's port.
    pub kafka: u16,
    /// The port of health and metrics.
    pub http: u16,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

impl DevBroker {
    /// Starts a broker on a new folder and waits until it is ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with settings, as environment variables.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut broker = Self {
            data: TempDir::new().expect("a temporary folder"),
            kafka: free_port(),
            http: free_port(),
            settings: settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            child: None,
            log: Arc::default(),
        };
        broker.spawn();
        broker
    }

    /// Starts the process (it must not be running) and waits until it is ready.
    ///
    /// # Panics
    /// If it ends or is not ready within 30 s.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the broker runs already");
        let mut child = Command::new(binary())
            .arg("dev")
            .arg("--data")
            .arg(self.data.path())
            .arg("--kafka-listen")
            .arg(self.bootstrap())
            .arg("--http-listen")
            .arg(format!("127.0.0.1:{}", self.http))
            .envs(self.settings.iter().map(|(k, v)| (k, v)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lock().expect("no panic holds the log").push(line);
            }
        });
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while http_status(self.http, "/health/ready") != Some(200) {
            let ended = self
                .child
                .as_mut()
                .and_then(|c| c.try_wait().ok().flatten());
            assert!(
                ended.is_none(),
                "the broker ended with {ended:?}:\n{}",
                self.log().join("\n")
            );
            assert!(
                Instant::now() < deadline,
                "not ready after 30 s:\n{}",
                self.log().join("\n")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The address for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// The Kafka address as a socket address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.kafka))
    }

    /// The process id.
    ///
    /// # Panics
    /// If it isn't running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    /// SIGKILL, at once.
    ///
    /// # Panics
    /// If it isn't running.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// SIGTERM; returns the exit code.
    ///
    /// # Panics
    /// If it doesn't end within 30 s.
    pub fn terminate(&mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        self.terminate_after_signal()
    }

    /// Waits for the end after a signal; returns the exit code.
    ///
    /// # Panics
    /// If it doesn't end within 30 s.
    pub fn terminate_after_signal(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the broker runs");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "SIGTERM did not end it within 30 s"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it wrote to stderr so far, over all its lives.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic holds the log").clone()
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let line = text
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .expect("a live process has memory");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number");
        kib * 1024
    }

    /// CPU time used so far (user and system).
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it lives");
        let after_name = text
            .rsplit(')')
            .next()
            .expect("stat names the command in parentheses");
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }

    /// The text of `/metrics`.
    ///
    /// # Panics
    /// If it cannot be had.
    #[must_use]
    pub fn metrics(&self) -> String {
        http_get(self.http, "/metrics").expect("metrics").1
    }
}

impl Drop for DevBroker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            eprintln!(
                "last lines of the broker's log:\n{}",
                log[log.len().saturating_sub(30)..].join("\n")
            );
        }
    }
}

/// Sends a signal by name to one process.
///
/// # Panics
/// If `kill` cannot be run.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    assert!(
        status.expect("kill can be run").success(),
        "kill -{name} {pid} failed"
    );
}

/// Status and body of a GET to 127.0.0.1.
#[must_use]
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let body = text
        .split_once("\r\n\r\n")
        .map_or(String::new(), |(_, body)| body.to_owned());
    Some((status, body))
}

fn http_status(port: u16, path: &str) -> Option<u16> {
    http_get(port, path).map(|(status, _)| status)
}
