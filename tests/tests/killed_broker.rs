//! Real clients write real text while the broker is killed with SIGKILL over and over: nothing
//! acknowledged is lost, nothing stands twice, offsets have no gap, order holds, and what was readable
//! stays at its offset.
//!
//! `AQUIFER_TEST_KILLS` sets how often the broker is killed (default 20) and `AQUIFER_TEST_RECORDS` how
//! many records each run sends per client (default 1,500).

#![allow(clippy::print_stdout, reason = "it shows what was measured")]

use std::{
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use aquifer_tests::{
    broker::DevBroker,
    clients::{Client, kcat_produce, kcat_read},
    history::{check_contiguous, check_one_producer, check_stable, read_acks, read_log},
    records::{TestRecord, records_of, text_files, write_records},
    wire::Connection,
};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// One producer and what it was told to send.
struct Run {
    name: String,
    topic: String,
    records: Vec<TestRecord>,
    acks: PathBuf,
    child: Child,
}

/// Starts one producer of each kind per text file, codecs in turn, so that every file and every codec
/// meets every client.
fn start_producers(broker: &DevBroker, folder: &Path, count: usize, round: usize) -> Vec<Run> {
    let files = text_files();
    let mut connection = Connection::open(broker.address());
    let mut runs = Vec::new();
    // Two producers at a time are enough for two cores: the rounds go through all files and codecs.
    for (position, client) in Client::ALL.into_iter().enumerate() {
        let file = &files[(round + position) % files.len()];
        let codec = CODECS[(round + position) % CODECS.len()];
        let name = format!("{client:?}-{round}-{codec}");
        let topic = format!("kill-{name}");
        connection.create_topic(&topic, 3, &[]);
        let records = records_of(file, count);
        let input = folder.join(format!("{name}.in"));
        write_records(&input, &records);
        let acks = folder.join(format!("{name}.acks"));
        let codec_setting = ("compression.type", codec);
        let rate = ("test.rate", "400");
        let child = client.produce(
            &broker.bootstrap(),
            &topic,
            &input,
            &[codec_setting, rate],
            &acks,
        );
        runs.push(Run {
            name,
            topic,
            records,
            acks,
            child,
        });
    }
    runs
}

fn finish(child: &mut Child, name: &str, said: &Path) {
    let status = child.wait().expect("a child can be waited for");
    assert!(
        status.success(),
        "{name} ended with {status}: {}",
        std::fs::read_to_string(said).unwrap_or_default()
    );
}

/// A small generator for the moments of the kills; its seed is printed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_the_broker_is_killed() {
    let kills = number("AQUIFER_TEST_KILLS", 20);
    let count = number("AQUIFER_TEST_RECORDS", 1_500);
    let rounds = CODECS.len();
    let mut broker = DevBroker::start();
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let seed = u64::from(std::process::id()) | 1 << 32;
    eprintln!("seed of the moments: {seed}");
    let mut moments = Moments(seed);
    let mut killed = 0;
    for (round, codec) in CODECS.into_iter().enumerate() {
        let mut runs = start_producers(&broker, folder.path(), count, round);
        let kcat_topic = format!("kill-kcat-{round}");
        Connection::open(broker.address()).create_topic(&kcat_topic, 1, &[]);
        let text = kcat_input(folder.path(), round, count);
        let errors = folder.path().join(format!("kcat-{round}.err"));
        let mut kcat = kcat_produce(&broker.bootstrap(), &kcat_topic, &text, codec, &errors);
        // A reader that is under way all the time: what it sees must stay.
        let early = folder.path().join(format!("early-{round}.log"));
        let reader_settings = [("test.idle", "20")];
        let mut reader = Client::Python.consume(
            &broker.bootstrap(),
            &runs[0].topic,
            count,
            &reader_settings,
            &early,
        );
        let until = kills * (round + 1) / rounds;
        while killed < until {
            std::thread::sleep(Duration::from_millis(150 + moments.next(900)));
            broker.kill();
            broker.spawn();
            killed += 1;
        }
        for run in &mut runs {
            finish(&mut run.child, &run.name, &run.acks.with_extension("err"));
        }
        finish(&mut kcat, "kcat", &errors);
        finish(
            &mut reader,
            "the early reader",
            &early.with_extension("err"),
        );
        check_round(&broker, folder.path(), &runs, &read_log(&early));
        check_kcat(&broker, &kcat_topic, &text);
    }
    println!(
        "killed {killed} times: {} records by each of confluent-kafka, Java and kcat in {rounds} rounds \
         (codecs {CODECS:?}), none lost, none twice, no gap",
        count * rounds
    );
}

fn kcat_input(folder: &Path, round: usize, count: usize) -> PathBuf {
    let files = text_files();
    let text = std::fs::read_to_string(&files[round % files.len()]).expect("a text file");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty())
        .cycle()
        .take(count);
    let numbered: Vec<String> = lines
        .enumerate()
        .map(|(i, line)| format!("{i} {}\n", line.trim_end_matches('\r')))
        .collect();
    let path = folder.join(format!("kcat-{round}.txt"));
    std::fs::write(&path, numbered.concat()).expect("a written file");
    path
}

/// Both clients read what either wrote; both must see the same.
fn check_round(
    broker: &DevBroker,
    folder: &Path,
    runs: &[Run],
    early: &aquifer_tests::history::Log,
) {
    for (position, run) in runs.iter().enumerate() {
        let acks = read_acks(&run.acks);
        assert_eq!(
            acks.acked.len(),
            run.records.len(),
            "{}: every record is acknowledged",
            run.name
        );
        let mut logs = Vec::new();
        for client in Client::ALL {
            let out = folder.join(format!("{}-{client:?}.log", run.name));
            let mut reader = client.consume(
                &broker.bootstrap(),
                &run.topic,
                run.records.len(),
                &[],
                &out,
            );
            finish(&mut reader, "a reader", &out.with_extension("err"));
            logs.push(read_log(&out));
        }
        assert_eq!(logs[0], logs[1], "{}: both clients read the same", run.name);
        check_one_producer(&run.name, &run.records, &acks, &logs[0]);
        if position == 0 {
            assert_eq!(
                early.len(),
                run.records.len(),
                "the early reader saw everything"
            );
            check_stable(&run.name, early, &logs[0]);
        }
        let by_kcat = kcat_read(&broker.bootstrap(), &run.topic);
        assert_eq!(
            by_kcat.len(),
            run.records.len(),
            "{}: kcat reads as many",
            run.name
        );
    }
}

fn check_kcat(broker: &DevBroker, topic: &str, text: &Path) {
    let read = kcat_read(&broker.bootstrap(), topic);
    check_contiguous("kcat", &read);
    let values: Vec<u8> = read
        .values()
        .flat_map(|v| v.iter().copied().chain(std::iter::once(b'\n')))
        .collect();
    assert!(
        values == std::fs::read(text).expect("kcat's input"),
        "kcat: the same bytes out, in order"
    );
}
