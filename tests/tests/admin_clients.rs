//! Clients in other languages than Java: the admin calls of confluent-kafka, kafkajs and @platformatic/kafka answer with
//! Aquifer what they answer with Apache Kafka, except for what is in `docs/kafka-differences.md` (patterns `python CASE
//! FIELD: KAFKA -> AQUIFER`, `kafkajs ...`, `platformatic ...`); and what any of them writes the others read, in every
//! codec that they have.
//!
//! `AQUIFER_TEST_SHOW=1` prints all that was answered with Kafka.

#![allow(clippy::print_stdout, reason = "it shows what was asked for")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use aquifer_tests::{
    broker::DevBroker,
    clients::{Client, administer},
    differences::{Difference, check},
    history::{check_one_producer, read_acks, read_log},
    kafka::KafkaBroker,
    records::{records_of, text_files, write_records},
    tree::differences,
    wire::Connection,
};
use kafka_protocol::messages::{
    DeleteTopicsRequest, MetadataRequest, delete_topics_request::DeleteTopicState,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const ADMINS: [(&str, Client); 3] = [
    ("python", Client::Python),
    ("kafkajs", Client::Kafkajs),
    ("platformatic", Client::Platformatic),
];

#[test]
fn admin_calls_answer_what_they_answer_with_kafka() {
    let aquifer = DevBroker::start_like_kafka();
    // Its node id is Aquifer's, so that answers need not be changed for it.
    let kafka = KafkaBroker::start(0);
    kafka.wait_for_coordinators();
    let mut found = BTreeMap::new();
    for (name, client) in ADMINS {
        let [theirs, ours] = std::thread::scope(|scope| {
            let runs = [kafka.address(), aquifer.address()]
                .map(|address| scope.spawn(move || answers(client, address)));
            runs.map(|run| run.join().expect("the client's calls return"))
        });
        let cases: Vec<_> = theirs.iter().map(|(case, _)| case).collect();
        assert!(
            cases.iter().copied().eq(ours.iter().map(|(case, _)| case)),
            "{name}: {ours:?}"
        );
        let mut differ = Vec::new();
        for ((case, theirs), (_, ours)) in theirs.iter().zip(&ours) {
            if std::env::var_os("AQUIFER_TEST_SHOW").is_some() {
                println!("{name} {case} {theirs}");
            }
            for what in differences(&json!({"answer": theirs}), &json!({"answer": ours})) {
                let what = what.strip_prefix("answer.").unwrap_or(&what).to_owned();
                println!("{name} {case} {what}");
                differ.push(Difference::new(case, what));
            }
        }
        found.insert(name, differ);
        for address in [kafka.address(), aquifer.address()] {
            delete_all_topics(address);
        }
    }
    // All are looked at before one fails.
    let complaints = found
        .iter()
        .map(|(name, differ)| std::panic::catch_unwind(|| check(name, differ, true)).is_err());
    let complained = complaints.filter(|complained| *complained).count();
    assert_eq!(
        complained, 0,
        "clients with other differences than documented"
    );
}

/// What a client's admin calls answer, by case.
fn answers(client: Client, address: SocketAddr) -> Vec<(String, Value)> {
    let bootstrap = address.to_string();
    let lines = administer(client, &bootstrap);
    let parsed = lines.iter().map(|line| {
        let (case, answer) = line.split_once(' ').expect("a case and its answer");
        let answer = answer.replace(&bootstrap, "ADDRESS");
        let mut answer = serde_json::from_str(&answer).expect("JSON");
        normalise(address.port(), &mut answer);
        (case.to_owned(), answer)
    });
    parsed.collect()
}

/// Puts words in the place of whatever belongs to one broker only.
fn normalise(port: u16, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("lastUpdate");
            for (name, value) in fields {
                normalise(port, value);
                let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                let word = match (name.as_str(), number) {
                    ("port", Some(number)) if number == i64::from(port) => "its own",
                    ("leaderEpoch" | "leader_epoch", Some(0..)) => "epoch",
                    ("totalBytes" | "usableBytes" | "partitionSize", Some(1..)) => "bytes",
                    ("least_significant_bits" | "most_significant_bits", Some(_)) => "id",
                    ("logDir" | "cluster_id" | "clusterId", _) if value.is_string() => "known",
                    _ => continue,
                };
                *value = word.into();
            }
        }
        Value::Array(elements) => {
            for element in &mut *elements {
                normalise(port, element);
            }
        }
        Value::String(text) if is_id(text) => *text = "id".to_owned(),
        _ => {}
    }
}

/// Whether it is a UUID, or 16 bytes in base 64.
fn is_id(text: &str) -> bool {
    let uuid = text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let mut letters = text.bytes();
    uuid || (text.len() == 22
        && letters.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && text.bytes().any(|b| b.is_ascii_uppercase()))
}

/// So that the next client finds what the one before found.
fn delete_all_topics(address: SocketAddr) {
    let mut connection = Connection::open(address);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let all = connection.call(12, &MetadataRequest::default().with_topics(None));
        let topics = all.topics.into_iter().filter_map(|topic| topic.name);
        let left: Vec<_> = topics.filter(|name| !name.starts_with("__")).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?} cannot be deleted");
        let states = left
            .into_iter()
            .map(|name| DeleteTopicState::default().with_name(Some(name)));
        let request = DeleteTopicsRequest::default()
            .with_topics(states.collect())
            .with_timeout_ms(10_000);
        connection.call(6, &request);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Who writes, in which codec.
const WRITERS: [(Client, &[&str]); 3] = [
    (Client::Kafkajs, &["none", "gzip", "snappy", "zstd"]),
    (
        Client::Platformatic,
        &["none", "gzip", "snappy", "lz4", "zstd"],
    ),
    (Client::Python, &["none", "gzip", "snappy", "lz4", "zstd"]),
];

#[test]
fn every_client_reads_what_the_others_wrote() {
    let broker = DevBroker::start();
    let folder = TempDir::new().expect("a temporary folder");
    for (writer, codecs) in WRITERS {
        for codec in codecs {
            round_trip(&broker, folder.path(), writer, codec);
        }
    }
}

fn round_trip(broker: &DevBroker, folder: &Path, writer: Client, codec: &str) {
    let name = format!("{writer:?}-{codec}");
    let files = text_files();
    let mut records = records_of(files.last().expect("a text file"), 300);
    if writer == Client::Kafkajs {
        // it throws on a header without a value
        for (_, value) in records.iter_mut().flat_map(|record| &mut record.headers) {
            value.get_or_insert_default();
        }
    }
    let input = folder.join(format!("{name}.in"));
    write_records(&input, &records);
    Connection::open(broker.address()).create_topic(&name, 3, &[]);
    let acks = folder.join(format!("{name}.acks"));
    let mut settings = vec![("compression.type", codec)];
    if writer != Client::Python && codec != "none" {
        settings.push(("idempotent", "true"));
    }
    let mut child = writer.produce(&broker.bootstrap(), &name, &input, &settings, &acks);
    finish(child.wait(), &name, &acks);
    let acks = read_acks(&acks);
    assert_eq!(
        acks.acked.len(),
        records.len(),
        "{name}: all are acknowledged"
    );
    let mut readers = vec![Client::Platformatic];
    if codec != "lz4" {
        // kafkajs has none
        readers.push(Client::Kafkajs);
    }
    if writer != Client::Python {
        // what it reads of its own is what killed_broker.rs is about
        readers.push(Client::Python);
    }
    let reading: Vec<_> = readers
        .into_iter()
        .map(|reader| {
            let out = folder.join(format!("{name}-{reader:?}.log"));
            let child = reader.consume(&broker.bootstrap(), &name, records.len(), &[], &out);
            (reader, out, child)
        })
        .collect();
    for (reader, out, mut child) in reading {
        let name = format!("{name} read by {reader:?}");
        finish(child.wait(), &name, &out);
        let log = read_log(&out);
        assert_eq!(log.len(), records.len(), "{name}");
        check_one_producer(&name, &records, &acks, &log);
    }
}

fn finish(status: std::io::Result<std::process::ExitStatus>, name: &str, out: &Path) {
    let status = status.expect("a child can be waited for");
    let said = std::fs::read_to_string(out.with_extension("err")).unwrap_or_default();
    assert!(status.success(), "{name} ended with {status}: {said}");
}
