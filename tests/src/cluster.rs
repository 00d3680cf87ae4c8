//! A whole cluster of real processes: Postgres, an S3 server, metadata processes, agents in zones.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use aquifer_metadata_api::{
    grpc::{GrpcMetadata, GrpcSettings},
    secret::ClusterSecret,
};
use aquifer_s3_server::counters::Counters;
use aquifer_store::Ports;

use crate::{
    postgres::{Database, PostgresServer},
    process::{Process, binary, free_port, free_ports, http, http_get, http_status},
    wire::Connection,
};

/// What admits the processes of the tests' clusters.
pub const SECRET: &str = "a-secret-of-the-tests-0123456789";
/// What the processes of the tests' clusters have in their environment.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    ("AQUIFER_CLUSTER_SECRET", SECRET),
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test-secret"),
    ("AWS_REGION", "us-east-1"),
];
/// Node ids of each agent, as the default is.
const NODE_IDS: u16 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// The S3 server, a process of its own with keys of its own.
#[derive(Debug)]
pub struct S3 {
    /// The process.
    pub process: Process,
    /// S3's port.
    pub port: u16,
    /// The port where faults, latencies and counters are.
    pub admin: u16,
}

impl S3 {
    /// Starts one with a bucket named `bucket`.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start(latency: &str) -> Self {
        let (port, admin) = (free_port(), free_port());
        let arguments = [
            format!("--listen=127.0.0.1:{port}"),
            format!("--admin=127.0.0.1:{admin}"),
            "--bucket=bucket".to_owned(),
            format!("--latency={latency}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut process = Process::new(
            "the S3 server",
            binary("aquifer-s3-server"),
            &arguments,
            &[],
        );
        process.spawn();
        process.wait_until("ready", || http_get(admin, "/ready").is_some());
        Self {
            process,
            port,
            admin,
        }
    }

    /// What was asked of it so far.
    ///
    /// # Panics
    /// If the server does not say.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (_, text) = http_get(self.admin, "/counters").expect("counters");
        serde_json::from_str(&text).expect("counters are JSON")
    }

    /// Lets requests fail: the server's faults as JSON; `{}` ends them.
    ///
    /// # Panics
    /// If the server does not take them.
    pub fn set_faults(&self, faults: &str) {
        let answer = http(self.admin, "PUT", "/faults", faults);
        assert!(
            answer.as_ref().is_some_and(|(status, _)| *status < 300),
            "faults {faults}: {answer:?}"
        );
    }

    /// The bucket's address for `--bucket`.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "s3://bucket/cluster?endpoint=http://127.0.0.1:{}",
            self.port
        )
    }
}

/// A process of the cluster and where its health and metrics are.
#[derive(Debug)]
pub struct Member {
    /// The process.
    pub process: Process,
    /// Port of health and metrics.
    pub http: u16,
    /// The port that others connect to: gRPC of a metadata process, Kafka of an agent.
    pub port: u16,
    /// The agent's zone.
    pub zone: String,
}

impl Member {
    /// Whether it says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        http_status(self.http, "/health/ready") == Some(200)
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        self.process.spawn();
        self.wait_ready();
    }

    /// Waits until it is ready.
    pub fn wait_ready(&mut self) {
        let http = self.http;
        self.process
            .wait_until("ready", || http_status(http, "/health/ready") == Some(200));
    }

    /// A connection to an agent's Kafka port.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::open(([127, 0, 0, 1], self.port).into())
    }

    /// The sum of a metric over all its labels, or those that `label` (`name="value"`, or nothing) is
    /// among; 0 where it was never counted.
    ///
    /// # Panics
    /// If the process does not answer.
    #[must_use]
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = http_get(self.http, "/metrics").expect("metrics");
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let ours = rest.starts_with([' ', '{']) && rest.contains(label);
            ours.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        text.lines().filter_map(value).sum()
    }
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The agents.
    pub agents: Vec<Member>,
    /// The metadata processes.
    pub metadata: Vec<Member>,
    /// The bucket's server.
    pub s3: S3,
    /// The database.
    pub database: Database,
    /// The database's server.
    pub postgres: PostgresServer,
}

impl Cluster {
    /// Starts an agent per zone and `metadata` metadata processes; returns when all are ready.
    #[must_use]
    pub fn start(zones: &[&str], metadata: usize, latency: &str) -> Self {
        let mut cluster = Self::prepare(zones, metadata, latency);
        cluster.start_all();
        cluster
    }

    /// Starts what [`Self::prepare`] made; returns when all are ready.
    pub fn start_all(&mut self) {
        for member in &mut self.metadata {
            member.process.spawn();
        }
        self.wait_for_leader();
        for agent in &mut self.agents {
            agent.start();
        }
    }

    /// The same without starting agents and metadata processes.
    #[must_use]
    pub fn prepare(zones: &[&str], metadata: usize, latency: &str) -> Self {
        let postgres = PostgresServer::start();
        let database = postgres.create_database();
        let s3 = S3::start(latency);
        let metadata: Vec<Member> = (0..metadata)
            .map(|i| metadata_process(&format!("metadata {i}"), &database.url, &s3.url()))
            .collect();
        let endpoints: Vec<String> = metadata
            .iter()
            .map(|m| format!("127.0.0.1:{}", m.port))
            .collect();
        let agents = zones
            .iter()
            .enumerate()
            .map(|(i, zone)| agent(&format!("agent {i}"), zone, &endpoints.join(","), &s3.url()))
            .collect();
        Self {
            agents,
            metadata,
            s3,
            database,
            postgres,
        }
    }

    /// The metadata process that leads, if one says so.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.metadata.iter().position(|member| {
            let ready = http_get(member.http, "/health/ready");
            ready.is_some_and(|(status, text)| status == 200 && text.contains("leading"))
        })
    }

    /// Waits until a metadata process leads; returns which.
    ///
    /// # Panics
    /// If none does in time.
    pub fn wait_for_leader(&mut self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(leader) = self.leader() {
                return leader;
            }
            for member in &mut self.metadata {
                assert!(
                    Instant::now() < deadline,
                    "nobody leads; {}:\n{}",
                    member.process.name(),
                    member.process.log().join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs `aquifer metadata` with the cluster's database, and its bucket if `bucket`: whether it succeeded,
    /// and what it said.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn metadata_command(&self, verb: &str, bucket: bool, more: &[&str]) -> (bool, String) {
        let mut command = Command::new(binary("aquifer"));
        command.args(["metadata", verb, "--postgres", &self.database.url]);
        if bucket {
            command.args(["--bucket", &self.s3.url()]);
        }
        let output = command.args(more).envs(ENVIRONMENT).output();
        let output = output.expect("the binary can be run");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// Addresses of all agents, for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.bootstrap_in("")
    }

    /// Addresses of the agents of a zone, as a zonal load balancer would have them; of all for "".
    #[must_use]
    pub fn bootstrap_in(&self, zone: &str) -> String {
        let all: Vec<String> = self
            .agents
            .iter()
            .filter(|agent| zone.is_empty() || agent.zone == zone)
            .map(|agent| format!("127.0.0.1:{}", agent.port))
            .collect();
        all.join(",")
    }
}

/// A client of the metadata service that knows only this process (and whatever that names as the leader), and goes on
/// asking it while it stands still.
///
/// # Panics
/// Never in practice.
#[must_use]
pub fn client_of(port: u16) -> GrpcMetadata {
    let endpoint = format!("127.0.0.1:{port}")
        .parse()
        .expect("an address of the test's own");
    let secret = ClusterSecret::new(SECRET).expect("long enough");
    let mut settings = GrpcSettings::new(vec![endpoint], secret);
    settings.keep_alive_interval = Duration::from_secs(60);
    settings.keep_alive_timeout = Duration::from_secs(60);
    GrpcMetadata::new(Ports::system(), settings)
}

/// A metadata process, not started.
#[must_use]
pub fn metadata_process(name: &str, postgres: &str, bucket: &str) -> Member {
    let port = free_port();
    metadata_process_behind(name, postgres, bucket, port, port)
}

/// The same on a port, which tells others to connect to another one: that of a proxy in front of it.
#[must_use]
pub fn metadata_process_behind(
    name: &str,
    postgres: &str,
    bucket: &str,
    port: u16,
    proxy: u16,
) -> Member {
    let http = free_port();
    let arguments = [
        "metadata".to_owned(),
        format!("--postgres={postgres}"),
        format!("--bucket={bucket}"),
        format!("--listen=127.0.0.1:{port}"),
        format!("--advertise=127.0.0.1:{proxy}"),
        format!("--http-listen=127.0.0.1:{http}"),
    ];
    member(name, &arguments, port, http, "")
}

/// A metadata process and an agent in one, not started.
#[must_use]
pub fn server(name: &str, zone: &str, postgres: &str, bucket: &str) -> Member {
    let (port, metadata, http) = (free_ports(NODE_IDS), free_port(), free_port());
    let arguments = [
        "server".to_owned(),
        format!("--postgres={postgres}"),
        format!("--bucket={bucket}"),
        format!("--kafka-listen=127.0.0.1:{port}"),
        format!("--metadata-listen=127.0.0.1:{metadata}"),
        format!("--cache-listen=127.0.0.1:{}", free_port()),
        format!("--http-listen=127.0.0.1:{http}"),
        format!("--zone={zone}"),
        format!("--node-ids={NODE_IDS}"),
    ];
    member(name, &arguments, port, http, zone)
}

/// An agent, not started.
#[must_use]
pub fn agent(name: &str, zone: &str, endpoints: &str, bucket: &str) -> Member {
    let (port, http) = (free_ports(NODE_IDS), free_port());
    let arguments = [
        "agent".to_owned(),
        format!("--metadata={endpoints}"),
        format!("--bucket={bucket}"),
        format!("--kafka-listen=127.0.0.1:{port}"),
        format!("--advertise=127.0.0.1:{port}"),
        format!("--cache-listen=127.0.0.1:{}", free_port()),
        format!("--http-listen=127.0.0.1:{http}"),
        format!("--zone={zone}"),
        format!("--node-ids={NODE_IDS}"),
    ];
    member(name, &arguments, port, http, zone)
}

pub(crate) fn member(name: &str, arguments: &[String], port: u16, http: u16, zone: &str) -> Member {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Member {
        process: Process::new(name, binary("aquifer"), &arguments, &ENVIRONMENT),
        http,
        port,
        zone: zone.to_owned(),
    }
}
