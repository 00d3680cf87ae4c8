//! A real `aquifer dev` process, to be started, killed and started again.

use std::{net::SocketAddr, time::Duration};

use tempfile::TempDir;

use crate::{
    kafka::BROKER_CONFIGS,
    process::{Process, binary, free_port, http_get, http_status},
};

/// One broker process at a time on one data folder and one pair of ports.
#[derive(Debug)]
pub struct DevBroker {
    /// The data folder; it survives restarts.
    pub data: TempDir,
    /// Kafka's port.
    pub kafka: u16,
    /// The port of health and metrics.
    pub http: u16,
    process: Process,
}

impl DevBroker {
    /// Starts a broker on a new folder and waits until it is ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with the broker configs that [`crate::kafka::KafkaBroker`] has, to be compared with it.
    #[must_use]
    pub fn start_like_kafka() -> Self {
        let configs = BROKER_CONFIGS.join(";");
        Self::start_with(&[("AQUIFER_BROKER_CONFIG", configs.as_str())])
    }

    /// The same with settings, as environment variables.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let data = TempDir::new().expect("a temporary folder");
        let (kafka, http) = (free_port(), free_port());
        let arguments = [
            "dev".to_owned(),
            format!("--data={}", data.path().display()),
            format!("--kafka-listen=127.0.0.1:{kafka}"),
            format!("--http-listen=127.0.0.1:{http}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut broker = Self {
            data,
            kafka,
            http,
            process: Process::new("the broker", binary("aquifer"), &arguments, settings),
        };
        broker.spawn();
        broker
    }

    /// Starts the process (it must not be running) and waits until it is ready.
    ///
    /// # Panics
    /// If it ends or is not ready within 30 s.
    pub fn spawn(&mut self) {
        let http = self.http;
        self.process.spawn();
        self.process
            .wait_until("ready", || http_status(http, "/health/ready") == Some(200));
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
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; returns the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.process.terminate()
    }

    /// Waits for the end after a signal; returns the exit code.
    pub fn terminate_after_signal(&mut self) -> Option<i32> {
        self.process.ended()
    }

    /// What it wrote to stderr so far, over all its lives.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// CPU time used so far (user and system).
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.process.cpu()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
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
