//! Servers of other projects, as child processes of a test.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

/// Where a server says that it can be reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    Stdout,
    Stderr,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(super) struct ServerProcess(Child);

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl ServerProcess {
    /// Waits for the line that contains `ready`, and returns it too. None = the server is not installed, which
    /// is a failure where `CI` is set.
    pub(super) fn start(command: &mut Command, says: Says, ready: &str) -> Option<(Self, String)> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (stdout, stderr) = match says {
            Says::Stdout => (Stdio::piped(), Stdio::null()),
            Says::Stderr => (Stdio::null(), Stdio::piped()),
        };
        let started = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn();
        let mut server = match started {
            Ok(process) => Self(process),
            Err(error) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "{program} is needed (tests/run --deps installs it): {error}"
                );
                eprintln!("NOT RUN: {program} is missing (tests/run --deps installs it)");
                return None;
            }
        };
        let output: Box<dyn Read + Send> = match says {
            Says::Stdout => Box::new(server.0.stdout.take().unwrap()),
            Says::Stderr => Box::new(server.0.stderr.take().unwrap()),
        };
        let mut lines = BufReader::new(output).lines().map(Result::unwrap);
        let line = lines.by_ref().find(|line| line.contains(ready));
        // Reads on, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let line = line.unwrap_or_else(|| panic!("{program} ended before it said {ready:?}"));
        Some((server, line))
    }
}

/// Sends a whole request to the server at `address` and returns its answer.
pub(super) fn exchange(address: &str, request: &str) -> String {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
