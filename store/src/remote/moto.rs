//! `moto_server`, an S3 server from PyPI that shares no code with this project.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A running server; killed when dropped.
pub(crate) struct Moto {
    process: Child,
    pub(crate) endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    /// None = it is not installed, which is a failure where `CI` is set.
    pub(crate) fn start() -> Option<Self> {
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

    /// Creating a bucket is a PUT of its path, which the client does for an "object" of that name.
    pub(crate) fn create_bucket(&self, bucket: &str) {
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
