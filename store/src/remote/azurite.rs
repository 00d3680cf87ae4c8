//! Azurite, Microsoft's own emulator of Azure Blob Storage, from npm.

use std::process::Command;

use super::server_process::{Says, ServerProcess, exchange};

/// The account that every Azurite has, and its key: both are public.
pub(super) const ACCOUNT: &str = "devstoreaccount1";
pub(super) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A shared access signature made with that key: it may create containers until the year 2999.
const MAY_CREATE: &str = "sv=2021-08-06&ss=b&srt=c&sp=c&se=2999-01-01T00%3A00%3A00Z&spr=https%2Chttp&\
                          sig=vM3bRV5hwEv222kV%2FowoxWexSxYarFdg8T%2BE1QpZnAs%3D";

/// A running server.
#[derive(Debug)]
pub(super) struct Azurite {
    _process: ServerProcess,
    address: String,
}

impl Azurite {
    /// None = it is not installed.
    pub(super) fn start() -> Option<Self> {
        let mut command = Command::new("azurite-blob");
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0"]);
        command.args(["--inMemoryPersistence", "--silent", "--disableTelemetry"]);
        // The client may be newer than the server.
        command.arg("--skipApiVersionCheck");
        const BEFORE: &str = "http://127.0.0.1:";
        let (process, line) = ServerProcess::start(&mut command, Says::Stdout, BEFORE)?;
        let (_, address) = line.split_once("http://").unwrap();
        Some(Self {
            _process: process,
            address: address.trim().to_owned(),
        })
    }

    /// Where the account is.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address)
    }

    pub(super) fn create_container(&self, name: &str) {
        let answer = exchange(
            &self.address,
            &format!(
                "PUT /{ACCOUNT}/{name}?restype=container&{MAY_CREATE} HTTP/1.1\r\nHost: {}\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n",
                self.address
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}
