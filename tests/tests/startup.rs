//! Starts that cannot work say in one line what is wrong and what to do; SIGTERM finishes what was
//! accepted; flags, environment and file agree.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use aquifer_tests::{
    batches::{PLAIN, batch},
    broker::DevBroker,
    process::{binary, free_port, http_get, signal},
    wire::{Connection, produce_request},
};
use kafka_protocol::messages::ProduceRequest;
use tempfile::TempDir;

/// Starts `aquifer dev` on a folder; it must end by itself within 20 s.
fn failing_start(data: &Path, kafka: u16, wrap: Option<&[&str]>) -> Output {
    let mut command = match wrap {
        Some(words) => {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg(binary("aquifer"));
            command
        }
        None => Command::new(binary("aquifer")),
    };
    let mut child = command
        .arg("dev")
        .arg("--data")
        .arg(data)
        .args(["--kafka-listen", &format!("127.0.0.1:{kafka}")])
        .args(["--http-listen", &format!("127.0.0.1:{}", free_port())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let deadline = Instant::now() + Duration::from_secs(20);
    while child
        .try_wait()
        .expect("a child can be waited for")
        .is_none()
    {
        if Instant::now() > deadline {
            child.kill().expect("a child can be killed");
            panic!("it should have ended: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("output")
}

/// The start failed, and its last line has these words.
fn check(what: &str, output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success(),
        "{what}: the exit code says that it failed"
    );
    let last = text.lines().last().unwrap_or_default().to_lowercase();
    for word in words {
        assert!(
            last.contains(&word.to_lowercase()),
            "{what}: {word:?} is missing in {last:?} (all: {text})"
        );
    }
    assert!(!text.contains("panicked"), "{what}: {text}");
    println!("{what}: {last}");
}

fn stopped_cluster() -> DevBroker {
    let mut broker = DevBroker::start();
    Connection::open(broker.address()).create_topic("t", 1, &[]);
    assert_eq!(broker.terminate(), Some(0), "SIGTERM ends it in order");
    broker
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp can be run");
    assert!(status.success());
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let folder = TempDir::new().expect("a folder");
    let output = failing_start(folder.path(), port, None);
    check(
        "a port in use",
        &output,
        &[&port.to_string(), "in use", "--kafka-listen"],
    );
}

#[test]
fn a_folder_that_another_process_has() {
    let broker = DevBroker::start();
    let output = failing_start(broker.data.path(), free_port(), None);
    check(
        "a folder in use",
        &output,
        &["another", &*broker.data.path().to_string_lossy()],
    );
}

#[test]
fn a_folder_of_another_cluster() {
    let (one, other) = (stopped_cluster(), stopped_cluster());
    let bucket = one.data.path().join("bucket");
    std::fs::remove_dir_all(&bucket).expect("a bucket folder");
    copy(&other.data.path().join("bucket"), &bucket);
    let output = failing_start(one.data.path(), one.kafka, None);
    check("another cluster's bucket", &output, &["cluster", "bucket"]);
}

#[test]
fn an_empty_database_on_a_full_bucket() {
    let broker = stopped_cluster();
    std::fs::remove_dir_all(broker.data.path().join("metadata")).expect("a metadata folder");
    let output = failing_start(broker.data.path(), broker.kafka, None);
    check(
        "an empty database on a full bucket",
        &output,
        &["cluster", "bucket"],
    );
}

#[test]
fn a_folder_of_a_newer_version() {
    let broker = stopped_cluster();
    let database = std::fs::read_dir(broker.data.path().join("metadata"))
        .expect("a metadata folder")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|e| e == "db" || e == "sqlite"))
        .expect("the journal's database");
    let status = Command::new("python3")
        .arg("-c")
        .arg(
            "import sqlite3, sys\n\
             db = sqlite3.connect(sys.argv[1])\n\
             db.execute(\"INSERT INTO _sqlx_migrations (version, description, success, checksum, \
             execution_time) VALUES (99990101000000, 'from the future', 1, x'00', 0)\")\n\
             db.commit()",
        )
        .arg(&database)
        .status()
        .expect("python3 can be run");
    assert!(status.success(), "the database can be changed");
    let output = failing_start(broker.data.path(), broker.kafka, None);
    check("a newer version", &output, &["newer", "version"]);
}

#[test]
fn a_missing_right() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    // As root everything may be written: then the start happens as nobody.
    let as_nobody = ["runuser", "-u", "nobody", "--"];
    let root = Command::new("id")
        .arg("-u")
        .output()
        .expect("id can be run")
        .stdout
        == b"0\n";
    let mode = |path: &Path, mode: &str| {
        assert!(
            Command::new("chmod")
                .arg(mode)
                .arg(path)
                .status()
                .expect("chmod")
                .success()
        );
    };
    mode(folder.path(), "755");
    mode(&data, "555");
    let output = failing_start(&data, free_port(), root.then_some(&as_nobody[..]));
    mode(&data, "755");
    check(
        "a missing right",
        &output,
        &["permission", &*data.to_string_lossy()],
    );
}

#[test]
fn settings_that_do_not_exist() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("aquifer.toml");
    std::fs::write(&file, "kafka-listn = \"127.0.0.1:1\"\n").expect("a file");
    let run = |arguments: &[&str]| {
        Command::new(binary("aquifer"))
            .args(arguments)
            .output()
            .expect("the binary can be started")
    };
    let output = run(&["--config", &file.to_string_lossy(), "dev"]);
    check("an unknown key", &output, &["kafka-listn", "kafka-listen"]);
    let output = run(&["dev", "--kafka-listen", "nonsense"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&run(&["dev", "--help"]).stdout).contains("AQUIFER_"));
}

#[test]
fn sigterm_finishes_what_was_accepted() {
    let mut broker = DevBroker::start();
    let mut connection = Connection::open(broker.address());
    connection.create_topic("accepted", 1, &[]);
    let sent: Vec<i32> = (0..5)
        .map(|_| connection.send(9, &produce_request("accepted", 0, -1, batch(PLAIN, 10))))
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    signal(broker.pid(), "TERM");
    for correlation in sent {
        let response = connection.receive::<ProduceRequest>(9, correlation);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    assert_eq!(broker.terminate_after_signal(), Some(0));
    broker.spawn();
    let mut connection = Connection::open(broker.address());
    assert_eq!(
        connection.produce("accepted", 0, batch(PLAIN, 1)),
        (0, 50, -1)
    );
}

#[test]
fn health_and_metrics_are_served() {
    let broker = DevBroker::start();
    assert_eq!(
        http_get(broker.http, "/health/live").map(|(status, _)| status),
        Some(200)
    );
    assert_eq!(
        http_get(broker.http, "/health/ready").map(|(status, _)| status),
        Some(200)
    );
    assert_eq!(
        http_get(broker.http, "/nothing").map(|(status, _)| status),
        Some(404)
    );
    Connection::open(broker.address()).create_topic("measured", 1, &[]);
    assert_eq!(
        Connection::open(broker.address())
            .produce("measured", 0, batch(PLAIN, 1))
            .0,
        0
    );
    let metrics = broker.metrics();
    assert!(metrics.contains("aquifer_"), "{metrics}");
}
