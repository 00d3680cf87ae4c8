//! A server process of the workspace: started, waited for, killed, paused, asked what it used.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a process may take to become ready, or to end after a signal.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that the workspace built, beside this test's own (or, for `aquifer`, `AQUIFER_BIN`).
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    if name == "aquifer"
        && let Some(path) = std::env::var_os("AQUIFER_BIN")
    {
        return PathBuf::from(path);
    }
    let me = std::env::current_exe().expect("a running test has a path");
    let folder = me
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run cargo build --workspace first",
        path.display()
    );
    path
}

/// Ports that tests give out: below those that the system gives to outgoing connections, one of which could
/// take a port between its choice and the start of the process that it is for.
const PORTS: std::ops::Range<u16> = 12_000..30_000;
/// Most adjacent ports that are given out at once.
const PORTS_MAX: u16 = 16;

/// A TCP port on 127.0.0.1 that was free a moment ago.
///
/// # Panics
/// If the machine has no free port.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` adjacent TCP ports on 127.0.0.1 that were free a moment ago, and that nobody else in
/// this process was given.
///
/// # Panics
/// If the machine has none, or `count` is more than 16.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(count <= PORTS_MAX, "{count} ports at once");
    for _ in 0..5_000 {
        let step = NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = port_of_step(std::process::id(), step);
        if (0..count).all(|i| TcpListener::bind(("127.0.0.1", first + i)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} adjacent ports are free");
}

/// The first port of what begins at a step of a process. Steps count ports, and lead to them in the same way whatever
/// is given out: so nothing overlaps before they have gone round.
fn port_of_step(process: u32, step: u32) -> u16 {
    let places = u32::from(PORTS.end - PORTS.start - PORTS_MAX);
    // tests that run side by side in several processes begin at different places
    let begin = process.wrapping_mul(2_654_435_761) % places;
    let place = (begin + step % places) % places;
    PORTS.start + u16::try_from(place).expect("below the number of places")
}

/// One process at a time, always with the same arguments; what it writes to stderr is kept over all its
/// lives.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Describes a process; nothing is started yet. `name` is for people.
    #[must_use]
    pub fn new(
        name: &str,
        program: PathBuf,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        Self {
            name: name.to_owned(),
            program,
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            environment: environment.iter().map(owned).collect(),
            child: None,
            log: Arc::default(),
        }
    }

    /// One more argument, from its next start on.
    pub fn argue(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it; does not wait.
    ///
    /// # Panics
    /// If it runs already or cannot be started.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} cannot be started: {e}", self.program.display()));
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lock().expect("no panic holds the log").push(line);
            }
        });
        self.child = Some(child);
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// If the process ends first, or is not ready within 30 s.
    pub fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            let ended = self
                .child
                .as_mut()
                .and_then(|c| c.try_wait().ok().flatten());
            assert!(
                ended.is_none(),
                "{} ended with {ended:?}:\n{}",
                self.name,
                self.log().join("\n")
            );
            assert!(
                Instant::now() < deadline,
                "{}: not {what} after {PATIENCE:?}:\n{}",
                self.name,
                self.log().join("\n")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process id.
    ///
    /// # Panics
    /// If it isn't running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let child = self.child.as_ref();
        child
            .unwrap_or_else(|| panic!("{} does not run", self.name))
            .id()
    }

    /// SIGKILL, at once.
    ///
    /// # Panics
    /// If it isn't running.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the process runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    pub fn pause(&self) {
        signal(self.pid(), "STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        signal(self.pid(), "CONT");
    }

    /// SIGTERM; returns the exit code.
    ///
    /// # Panics
    /// If it doesn't end within 30 s.
    pub fn terminate(&mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        self.ended()
    }

    /// Waits for its end; returns the exit code.
    ///
    /// # Panics
    /// If it doesn't end within 30 s.
    pub fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the process runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "{} did not end within {PATIENCE:?}:\n{}",
                    self.name,
                    self.log().join("\n")
                );
            }
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

    /// Whether a line of the log contains `text`.
    #[must_use]
    pub fn said(&self, text: &str) -> bool {
        self.log().iter().any(|line| line.contains(text))
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|c| matches!(c.try_wait(), Ok(None)))
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
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            eprintln!(
                "last lines of the log of {}:\n{}",
                self.name,
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
    http(port, "GET", path, "")
}

/// Status and body of a request to 127.0.0.1.
#[must_use]
pub fn http(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
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

/// Status of a GET to 127.0.0.1.
#[must_use]
pub fn http_status(port: u16, path: &str) -> Option<u16> {
    http_get(port, path).map(|(status, _)| status)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn regression_no_port_is_given_out_twice_whatever_the_counts() {
        for process in [1, 2, 4_711, 30_000, u32::MAX] {
            let (mut given, mut step) = (BTreeSet::new(), 0);
            for count in [1, 4, 1, 1, 16].into_iter().cycle().take(3_000) {
                let first = port_of_step(process, step);
                for port in first..first + count {
                    assert!(PORTS.contains(&port), "{port}");
                    assert!(
                        given.insert(port),
                        "{port} by process {process}, step {step}"
                    );
                }
                step += u32::from(count);
            }
            assert!(step < u32::from(PORTS.end - PORTS.start), "one round");
        }
    }
}
