//! An Apache Kafka broker from the published jars: what Aquifer is compared with.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use kafka_protocol::{
    messages::{FindCoordinatorRequest, InitProducerIdRequest},
    protocol::StrBytes,
};
use tempfile::TempDir;

use crate::{
    clients::{SHORT_LIVED, class_path},
    process::{Process, free_ports},
    wire::{Answer, Connection, api_versions, encode},
};

/// Broker configs with which Kafka is started besides those that are about its ports and folders: what a single broker
/// needs (internal topics are small, as that many tests wait for them), and a plugin without which it does not serve
/// client telemetry. Else it has its defaults.
pub const BROKER_CONFIGS: [&str; 12] = [
    "controller.listener.names=CONTROLLER",
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor=1",
    "offsets.topic.num.partitions=1",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.num.partitions=1",
    "transaction.state.log.min.isr=1",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.num.partitions=1",
    "share.coordinator.state.topic.min.isr=1",
    "group.initial.rebalance.delay.ms=0",
    "metric.reporters=Telemetry",
];

/// One broker and controller in one process, on a folder of its own. It ends with this value.
#[derive(Debug)]
pub struct KafkaBroker {
    /// The data folder.
    pub data: TempDir,
    /// Kafka's port.
    pub port: u16,
    process: Process,
}

impl KafkaBroker {
    /// Starts one with a small heap and waits until it answers. `node` is its node id: where it is that of the
    /// broker beside it, node ids need no normalising.
    #[must_use]
    pub fn start(node: i32) -> Self {
        Self::start_with(node, &SHORT_LIVED, &[])
    }

    /// The same with flags of the JVM and further lines of `server.properties`.
    ///
    /// # Panics
    /// If its storage cannot be formatted or it does not become ready.
    #[must_use]
    pub fn start_with(node: i32, jvm: &[&str], properties: &[&str]) -> Self {
        let data = TempDir::new().expect("a temporary folder");
        let port = free_ports(2);
        let file = data.path().join("server.properties");
        let text = settings(node, port, &data.path().join("log").display().to_string());
        fs::write(&file, text + &properties.join("\n") + "\n").expect("a settings file");
        let file = file.display().to_string();
        format(&file);
        let class_path = class_path();
        let mut arguments = vec!["-cp", &class_path];
        arguments.extend(jvm);
        arguments.extend(["kafka.Kafka", &file]);
        let process = Process::new("Apache Kafka", "java".into(), &arguments, &[]);
        let mut broker = Self {
            data,
            port,
            process,
        };
        broker.process.spawn();
        broker.process.wait_until("ready", || answers(port));
        broker
    }

    /// Makes it create the topics that its coordinators need (of one partition) and fetch producer ids, which it else
    /// does when it is first asked, and answers with errors until it has.
    pub fn wait_for_coordinators(&self) {
        let mut connection = Connection::open(self.address());
        let text = StrBytes::from_static_str;
        // groups, transactions, and the state of share groups: group, topic id and partition
        for (kind, key) in [(0, "any"), (1, "any"), (2, "any:AAAAAAAAAAAAAAAAAAAAAQ:0")] {
            let request = FindCoordinatorRequest::default()
                .with_key_type(kind)
                .with_coordinator_keys(vec![text(key)]);
            until_none(|| connection.call(6, &request).coordinators[0].error_code);
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(text("any").into()))
            .with_transaction_timeout_ms(1_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        until_none(|| connection.call(4, &request).error_code);
    }

    /// The address for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address as a socket address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
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

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }
}

/// Asks again until the error code is that of success.
fn until_none(mut ask: impl FnMut() -> i16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let code = ask();
        if code == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "Kafka still answers {code}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The settings file.
fn settings(node: i32, port: u16, log: &str) -> String {
    let controller = port + 1;
    let configs = BROKER_CONFIGS.join("\n");
    format!(
        "process.roles=broker,controller\n\
         node.id={node}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         log.dirs={log}\n\
         {configs}\n"
    )
}

/// Formats the data folder for a cluster of this one server.
fn format(file: &str) {
    let output = Command::new("java")
        .args(["-cp", &class_path()])
        .args(SHORT_LIVED)
        .args(["kafka.tools.StorageTool", "format", "--standalone"])
        .args(["-t", "4L6g3nShT-eMCtK--X86sw", "-c", file])
        .output()
        .expect("java can be started (tests/run --deps installs it)");
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "kafka-storage format: {}",
        String::from_utf8_lossy(&text)
    );
}

/// Whether a broker on this port answers: its socket accepts connections before it does.
fn answers(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Some(mut connection) = Connection::try_open(address) else {
        return false;
    };
    connection.try_send_bytes(&encode(1, 3, &api_versions()))
        && matches!(connection.answer(Duration::from_secs(20)), Answer::Frame(_))
}
