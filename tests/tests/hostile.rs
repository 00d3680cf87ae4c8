//! Hostile input against a running broker that keeps serving others. After each attack the process
//! lives, its memory came back, the error or the closed connection was the right one, and the log says
//! what happened in a few lines.
//!
//! `AQUIFER_TEST_SETTLE_MS` is how long after an attack memory is looked at (default 2,000; the full form
//! is 10,000).

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use aquifer_format::{
    codec::Codec,
    ids::{ProducerEpoch, ProducerId, Sequence},
};
use aquifer_tests::{
    batches::{PLAIN, at, batch, falsified, now},
    broker::DevBroker,
    fetch::{Ask, records, request},
    wire::{Answer, Connection},
};
use bytes::{Bytes, BytesMut};

#[path = "hostile/samples.rs"]
mod samples;

use samples::served;

const MEBIBYTE: u64 = 1 << 20;

fn settle() -> Duration {
    let text = std::env::var("AQUIFER_TEST_SETTLE_MS").unwrap_or_else(|_| "2000".to_owned());
    Duration::from_millis(text.parse().expect("AQUIFER_TEST_SETTLE_MS is a number"))
}

/// A client that produces and reads back without a pause; it must never notice anything.
struct Honest {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Honest {
    fn start(broker: &DevBroker) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (stopped, counted, address) =
            (Arc::clone(&stop), Arc::clone(&rounds), broker.address());
        Connection::open(address).create_topic("honest", 1, &[]);
        let thread = std::thread::spawn(move || {
            let mut connection = Connection::open(address);
            while !stopped.load(Ordering::Relaxed) {
                let (code, offset, _) = connection.produce("honest", 0, batch(PLAIN, 3));
                assert_eq!(code, 0, "an honest producer is served");
                let data = connection.fetch("honest", 0, offset, Ask::default());
                assert_eq!(records(&data).len(), 3, "an honest consumer is served");
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self {
            stop,
            rounds,
            thread,
        }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .expect("the honest client was served all the time");
    }
}

/// Runs one attack and checks what it left behind.
fn attack(broker: &mut DevBroker, honest: &Honest, name: &str, run: impl FnOnce(&DevBroker)) {
    let lines = broker.log().len();
    let (before, rounds) = (
        broker.resident_bytes(),
        honest.rounds.load(Ordering::Relaxed),
    );
    let begin = Instant::now();
    run(broker);
    let took = begin.elapsed();
    std::thread::sleep(settle());
    assert!(broker.is_alive(), "{name}: the process died");
    let grown = broker.resident_bytes().saturating_sub(before);
    let served = honest.rounds.load(Ordering::Relaxed) - rounds;
    let logged = broker.log().len() - lines;
    println!(
        "{name}: {:.1} s, resident memory +{:.1} MiB, {served} honest rounds meanwhile, {logged} log lines",
        took.as_secs_f64(),
        f64::from(u32::try_from(grown >> 10).unwrap_or(u32::MAX)) / 1024.0
    );
    assert!(
        grown < 16 * MEBIBYTE,
        "{name}: resident memory grew by {grown} bytes"
    );
    assert!(served > 0, "{name}: others were not served");
    assert!(
        logged <= 40,
        "{name}: {logged} log lines: {:?}",
        &broker.log()[lines..lines + 40]
    );
}

/// Compaction takes memory of its own, whoever writes.
const SETTINGS: [(&str, &str); 2] = [("AQUIFER_LOG", "info"), ("AQUIFER_COMPACT", "false")];

#[test]
fn hostile_input_hurts_nobody_else() {
    let mut broker = DevBroker::start_with(&SETTINGS);
    let honest = Honest::start(&broker);
    Connection::open(broker.address()).create_topic("target", 1, &[]);
    warm_up(&broker);
    let before = broker.log().len();
    attack(&mut broker, &honest, "random bytes", random_bytes);
    attack(&mut broker, &honest, "truncated frames", truncated_frames);
    attack(
        &mut broker,
        &honest,
        "lengths of 2 GiB and below zero",
        absurd_lengths,
    );
    attack(
        &mut broker,
        &honest,
        "huge counts in every api and version",
        huge_counts,
    );
    attack(&mut broker, &honest, "bad batches", bad_batches);
    attack(&mut broker, &honest, "decompression bombs", bombs);
    attack(
        &mut broker,
        &honest,
        "5,000 half-open connections",
        half_open,
    );
    let lines = broker.log();
    assert!(
        lines[before..].iter().any(|l| l.contains("127.0.0.1")),
        "the log names who sent it: {lines:?}"
    );
    assert!(
        !lines.iter().any(|l| l.contains("panicked")),
        "nothing panicked: {lines:?}"
    );
    honest.finish();
}

/// The first large requests make caches and pools grow to their working size.
fn warm_up(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    for _ in 0..40 {
        let (code, ..) = connection.produce("target", 0, batch(PLAIN, 20_000));
        assert_eq!(code, 0);
    }
    connection.call(12, &request("target", &[(0, 0)], Ask::default()));
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn random_bytes(broker: &DevBroker) {
    let mut state = 0x5eed;
    for round in 0..300 {
        let mut connection = Connection::open(broker.address());
        let length = usize::try_from(xorshift(&mut state) % 2_000).expect("small");
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| xorshift(&mut state).to_le_bytes()[0])
            .collect();
        if round % 2 == 0 && length > 12 {
            // A right length and api key, so that the bytes get further.
            let size = i32::try_from(length - 4).expect("small");
            bytes[..4].copy_from_slice(&size.to_be_bytes());
            bytes[4..8].copy_from_slice(&[0, u8::try_from(round % 76).expect("small"), 0, 9]);
        }
        connection.try_send_bytes(&bytes);
        connection.finish_sending();
        assert_ne!(
            connection.answer(Duration::from_secs(5)),
            Answer::Silence,
            "round {round}"
        );
    }
}

fn truncated_frames(broker: &DevBroker) {
    for (key, version, frame) in served(broker) {
        let cut = frame.len() - 3;
        let mut short = BytesMut::from(&frame[..cut]);
        // Once with a length that says so, once waiting for bytes that never come.
        short[..4].copy_from_slice(&i32::try_from(cut - 4).expect("small").to_be_bytes());
        let mut connection = Connection::open(broker.address());
        connection.try_send_bytes(&short);
        let answer = connection.answer(Duration::from_secs(5));
        // A truncated ApiVersions is answered as an unknown version would be, or closed.
        assert!(
            answer == Answer::Closed || key == 18,
            "api {key} version {version}, cut short: {answer:?}"
        );
        let mut connection = Connection::open(broker.address());
        connection.try_send_bytes(&frame[..cut]);
        connection.finish_sending();
        assert_eq!(
            connection.answer(Duration::from_secs(5)),
            Answer::Closed,
            "api {key}"
        );
    }
}

fn absurd_lengths(broker: &DevBroker) {
    for length in [i32::MAX, i32::MIN, -1, 1 << 30, 101 << 20] {
        for _ in 0..20 {
            let mut connection = Connection::open(broker.address());
            connection.try_send_bytes(&length.to_be_bytes());
            connection.try_send_bytes(&[0; 64]);
            let answer = connection.answer(Duration::from_secs(5));
            assert_eq!(answer, Answer::Closed, "length {length}");
        }
    }
}

fn huge_counts(broker: &DevBroker) {
    let mut frames = 0;
    for (key, version, frame) in served(broker) {
        // At every position: a fixed-width and a variable-width count.
        for huge in [
            &[0x7f, 0xff, 0xff, 0xff][..],
            &[0xff, 0xff, 0xff, 0xff, 0x07][..],
        ] {
            let step = if frame.len() > 80 { 3 } else { 1 };
            for position in (12..frame.len().saturating_sub(huge.len()).min(120)).step_by(step) {
                let mut evil = BytesMut::from(&frame[..]);
                evil[position..position + huge.len()].copy_from_slice(huge);
                let mut connection = Connection::open(broker.address());
                connection.try_send_bytes(&evil);
                connection.finish_sending();
                let answer = connection.answer(Duration::from_secs(10));
                assert_ne!(
                    answer,
                    Answer::Silence,
                    "api {key} version {version} at {position}"
                );
                frames += 1;
            }
        }
    }
    println!("  {frames} frames");
}

fn bad_batches(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let good = batch(PLAIN, 2);
    let cases = [
        (
            "a wrong checksum",
            falsified(&good, &[(at::CRC, 1)], false),
            2,
        ),
        ("magic 0", falsified(&good, &[(at::MAGIC, 0)], false), 87),
        ("magic 9", falsified(&good, &[(at::MAGIC, 9)], false), 2),
        (
            "a negative record count",
            falsified(&good, &[(57, 0xff)], true),
            87,
        ),
        (
            "2^31 records",
            falsified(&good, &[(57, 0x7f), (23, 0x7f)], true),
            87,
        ),
        ("too large", batch(PLAIN, 100_000), 10),
        (
            "an unknown codec",
            falsified(&good, &[(at::ATTRIBUTES, 7)], true),
            76,
        ),
        (
            "a length beyond the field",
            falsified(&good, &[(8, 0x7f)], false),
            87,
        ),
        ("no bytes", Bytes::new(), 87),
        ("half a header", good.slice(..30), 87),
    ];
    for round in 0..20 {
        for (what, records, code) in &cases {
            let answer = connection.produce("target", 0, records.clone()).0;
            // Kafka tells damaged sizes as corrupt, wrong contents as invalid: both are permanent.
            let right = answer == *code || (*code == 87 && answer == 2);
            assert!(right, "{what}, round {round}: {answer} instead of {code}");
        }
    }
}

/// A small batch that expands to a gibibyte, on topics that make the broker look inside.
fn bombs(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let every = [Codec::Gzip, Codec::Zstd, Codec::Lz4, Codec::Snappy];
    let topics = [
        ("bomb-compacted", "cleanup.policy", "compact", &every[..]),
        // A batch that has the topic's codec already is stored as it is.
        ("bomb-gzip", "compression.type", "gzip", &every[1..]),
    ];
    for (topic, name, value, codecs) in topics {
        connection.create_topic(
            topic,
            1,
            &[(name, value), ("max.message.bytes", "50000000")],
        );
        for &codec in codecs {
            let bomb = bomb(codec);
            let (code, ..) = connection.produce(topic, 0, bomb);
            assert_ne!(code, 0, "{topic}: a {} bomb is refused", codec.name());
        }
    }
    // Where nobody looks inside it is stored as it is; a search by time must not expand it either.
    let (code, ..) = connection.produce("target", 0, bomb(Codec::Zstd));
    if code == 0 {
        connection.list_offset(7, "target", now() - 1_000_000);
        connection.list_offset(7, "target", now());
    }
}

fn bomb(codec: Codec) -> Bytes {
    let zeroes = vec![0; 300 << 20];
    let payload = codec.compress(&zeroes).expect("zeroes can be compressed");
    let mut builder = aquifer_format::batch::BatchBuilder::new(codec).producer(
        ProducerId(-1),
        ProducerEpoch(-1),
        Sequence(-1),
    );
    builder.append(now(), Some(b"k"), Some(b"v"), &[]);
    let honest = builder.build().expect("a small batch").bytes;
    let mut bytes = BytesMut::from(&honest[..61]);
    bytes.extend_from_slice(&payload);
    let length = i32::try_from(bytes.len() - 12).expect("small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    falsified(&bytes.freeze(), &[], true)
}

fn half_open(broker: &DevBroker) {
    let before = broker.resident_bytes();
    let mut open = Vec::new();
    for i in 0..5_000_u32 {
        let mut stream = TcpStream::connect(broker.address()).expect("it accepts");
        use std::io::Write;
        // Nothing, a part of the length, a length with no more.
        let bytes: &[u8] =
            [&[][..], &[0, 0], &[0, 0, 1, 0, 0, 3]][usize::try_from(i % 3).expect("small")];
        stream.write_all(bytes).expect("it takes bytes");
        open.push(stream);
    }
    std::thread::sleep(Duration::from_secs(1));
    let each = broker.resident_bytes().saturating_sub(before) / 5_000;
    println!("  {each} bytes of resident memory per half-open connection");
    assert!(each <= 8 * 1024, "{each} bytes each");
    assert_eq!(
        Connection::open(broker.address())
            .produce("target", 0, batch(PLAIN, 1))
            .0,
        0
    );
    drop(open);
}
