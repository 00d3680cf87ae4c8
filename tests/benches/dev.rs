//! What one `aquifer dev` does, printed: latency at low load and its shares, CPU-seconds per GB, and the
//! throughput of a stock Java producer. `cargo build --release && cargo bench -p aquifer-tests --bench dev`
//!
//! `AQUIFER_BENCH_MB` (default 1,000) is how much goes through in the CPU part, `AQUIFER_BENCH_SECONDS`
//! (default 20) how long the latency part runs. Arguments choose parts: latency, cpu, java.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    fs::File,
    io::Write,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aquifer_format::codec::Codec;
use aquifer_tests::{
    batches::{PLAIN, batch_at, now},
    broker::DevBroker,
    clients::dependencies,
    records::text_files,
    wire::Connection,
};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};

/// `flush.quiet` as it is by default: how long nothing came before a buffer is sealed.
const QUIET_MS: f64 = 2.0;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|c| c == part);
    machine();
    if wanted("latency") {
        latency();
    }
    if wanted("cpu") {
        for (name, codec, blocks) in [
            ("lz4 batches", "lz4", "zstd"),
            ("uncompressed batches, block compression on", "none", "zstd"),
            (
                "uncompressed batches, block compression off",
                "none",
                "none",
            ),
        ] {
            cpu(name, codec, blocks);
        }
    }
    if wanted("java") {
        for partitions in [1, 16, 64] {
            java(partitions);
        }
    }
}

fn machine() {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find(|l| l.starts_with("model name"))
        .unwrap_or("model name: unknown");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!(
        "machine: {cores} cores, {}; optimized: {}",
        model.trim(),
        !cfg!(debug_assertions)
    );
}

/// A quantile of durations, in milliseconds.
fn quantile(sorted: &[Duration], q: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let index = ((sorted.len() - 1) as f64 * q) as usize;
    sorted[index].as_secs_f64() * 1e3
}

/// Writes and syncs 4 KiB, over and over, where the broker's data is.
fn fsync_times(folder: &Path) -> Vec<Duration> {
    let mut file = File::create(folder.join("fsync-probe")).expect("a file");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&[7; 4096]).expect("written");
            file.sync_data().expect("synced");
            begin.elapsed()
        })
        .collect();
    times.sort();
    times
}

/// Sum and count of a histogram or summary in Prometheus text, over all labels.
fn sum_and_count(metrics: &str, name: &str) -> (f64, f64) {
    let total = |suffix: &str| {
        metrics
            .lines()
            .filter(|l| {
                l.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(suffix))
            })
            .filter_map(|l| l.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()))
            .sum::<f64>()
    };
    (total("_sum"), total("_count"))
}

fn latency() {
    let broker = DevBroker::start();
    let fsync = fsync_times(broker.data.path());
    let mut connection = Connection::open(broker.address());
    connection.create_topic("latency", 1, &[]);
    for _ in 0..50 {
        connection.produce("latency", 0, batch_at(Codec::None, PLAIN, &[now()]));
    }
    let before = broker.metrics();
    let end = Instant::now() + Duration::from_secs(number("AQUIFER_BENCH_SECONDS", 20));
    let mut times = Vec::new();
    while Instant::now() < end {
        let begin = Instant::now();
        let (code, ..) = connection.produce("latency", 0, batch_at(Codec::None, PLAIN, &[now()]));
        assert_eq!(code, 0);
        times.push(begin.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    times.sort();
    let after = broker.metrics();
    let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
    let sync = quantile(&fsync, 0.5);
    println!(
        "latency at low load: {} acks, p50 {p50:.2} ms, p99 {p99:.2} ms",
        times.len()
    );
    println!(
        "  fsync of 4 KiB: p50 {sync:.2} ms, p99 {:.2} ms",
        quantile(&fsync, 0.99)
    );
    let mut put = 0.0;
    for share in ["buffer", "build", "put", "order_wait", "commit", "ack"] {
        let name = format!("aquifer_produce_{share}_seconds");
        let (sum, count) = sum_and_count(&after, &name);
        let (sum_before, count_before) = sum_and_count(&before, &name);
        assert!(count > count_before, "{name} is measured");
        let mean = (sum - sum_before) / (count - count_before) * 1e3;
        println!("  {share}: mean {mean:.2} ms");
        if share == "put" {
            put = mean;
        }
    }
    let aim = QUIET_MS + put + 3.0 + 1.5 * sync;
    let verdict = if p50 < aim { "reached" } else { "MISSED" };
    println!("  aim: p50 under quiet time + PUT + 3 ms + 1.5 fsync = {aim:.2} ms: {verdict}");
}

/// Counts deliveries.
#[derive(Clone, Default)]
struct Delivered(Arc<AtomicU64>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        result.as_ref().expect("every record is delivered");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// 64 KiB pieces of real text to cut 1 KiB records from.
fn text() -> Vec<u8> {
    text_files()
        .iter()
        .flat_map(|file| std::fs::read(file).expect("a text file"))
        .collect()
}

fn cpu(name: &str, codec: &str, block_compression: &str) {
    let broker = DevBroker::start_with(&[("AQUIFER_BLOCK_COMPRESSION", block_compression)]);
    Connection::open(broker.address()).create_topic("cpu", 16, &[]);
    let records = number("AQUIFER_BENCH_MB", 1_000) * 1_000_000 / 1024;
    let text = text();
    let delivered = Delivered::default();
    let producer: ThreadedProducer<Delivered> = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("enable.idempotence", "true")
        .set("compression.codec", codec)
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "200000")
        .create_with_context(delivered.clone())
        .expect("a producer");
    let (before, begin) = (broker.cpu(), Instant::now());
    for i in 0..records {
        let at = usize::try_from(i * 1021).expect("fits") % (text.len() - 1024);
        let partition = i32::try_from(i % 16).expect("small");
        let mut record = BaseRecord::<(), [u8]>::to("cpu")
            .partition(partition)
            .payload(&text[at..at + 1024]);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::QueueFull),
                "{error}"
            );
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }
    producer
        .flush(Duration::from_secs(300))
        .expect("everything is delivered");
    assert_eq!(delivered.0.load(Ordering::Relaxed), records);
    report(
        name,
        "produced",
        records,
        begin.elapsed(),
        broker.cpu() - before,
    );
    let (before, begin) = (broker.cpu(), Instant::now());
    consume(&broker, records);
    report(
        name,
        "consumed",
        records,
        begin.elapsed(),
        broker.cpu() - before,
    );
    let stored: u64 = object_bytes(&broker.data.path().join("bucket"));
    println!(
        "  {:.3} bytes stored per byte produced",
        as_f64(stored) / as_f64(records * 1024)
    );
    println!("  resident memory {} MiB", broker.resident_bytes() >> 20);
}

fn object_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry"));
    entries
        .map(|entry| match entry.metadata().expect("metadata") {
            meta if meta.is_dir() => object_bytes(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}

fn consume(broker: &DevBroker, records: u64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..16 {
        all.add_partition_offset("cpu", partition, Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&all).expect("assigned");
    let (mut seen, deadline) = (0, Instant::now() + Duration::from_secs(300));
    while seen < records {
        assert!(Instant::now() < deadline, "{seen} of {records} records");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            seen += u64::from(message.expect("a record").payload_len() == 1024);
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

fn report(name: &str, what: &str, records: u64, took: Duration, cpu: Duration) {
    let gigabytes = as_f64(records * 1024) / 1e9;
    println!(
        "{name}, {what}: {:.0} MB/s, {:.2} CPU-s per GB",
        gigabytes * 1e3 / took.as_secs_f64(),
        cpu.as_secs_f64() / gigabytes
    );
}

/// Kafka's own producer benchmark with the client's stock settings.
fn java(partitions: i32) {
    let broker = DevBroker::start();
    Connection::open(broker.address()).create_topic("java", partitions, &[]);
    let records = number("AQUIFER_BENCH_MB", 1_000) * 1_000_000 / 1024;
    let output = Command::new("java")
        .arg("-cp")
        .arg(dependencies().join("jars/*"))
        .args([
            "-Xmx1g",
            "org.apache.kafka.tools.ProducerPerformance",
            "--topic",
            "java",
        ])
        .args([
            "--num-records",
            &records.to_string(),
            "--record-size",
            "1024",
            "--throughput",
            "-1",
        ])
        .args([
            "--producer-props",
            &format!("bootstrap.servers={}", broker.bootstrap()),
        ])
        .output()
        .expect("java can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    println!(
        "stock Java producer, {partitions} partitions: {}",
        text.lines().last().unwrap_or("?")
    );
}
