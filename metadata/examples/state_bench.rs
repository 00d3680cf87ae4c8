//! Measures the state machine: CPU per partition-batch, bytes in the journal, bytes in memory.
//!
//! `cargo run --release -p aquifer-metadata --example state_bench`

#![allow(clippy::print_stdout, reason = "it prints its measurements")]
#![allow(
    clippy::disallowed_methods,
    reason = "it measures real time; nothing is simulated here"
)]

use std::time::{Duration, Instant};

use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, JournalSeq, LeaderEpoch, ObjectId, ObjectLevel,
    PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId, UploadEpoch,
};
use aquifer_metadata::{
    event::{Event, TopicCreated, encode_row},
    state::{Budgets, State, decide},
};
use aquifer_metadata_api::{
    commit::{BatchSummary, Commit, Run},
    register::{AgentAddress, RegisterRequest, Registration},
};
use uuid::Uuid;

const PARTITIONS: i32 = 1_000;
const COMMITS: u64 = 500;
const NOW: decide::Now = decide::Now {
    unix_millis: 1_763_800_000_000,
};

fn main() {
    // First, while nothing that was freed is there to be used again.
    memory();
    cpu();
}

/// Time that is spent in each step.
#[derive(Default)]
struct Spent {
    decide: Duration,
    apply: Duration,
    encode: Duration,
    bytes: usize,
}

fn cpu() {
    let (mut state, topic, registration) = cluster(PARTITIONS);
    let mut spent = Spent::default();
    for number in 1..=COMMITS {
        let commit = commit(&registration, topic, number, PARTITIONS);
        let seq = JournalSeq(number + 10);
        let start = Instant::now();
        let decided = decide::commit(&state, &NOW, registration.session, &commit)
            .expect("the commit is sound");
        let decided_at = Instant::now();
        for event in &decided.events {
            state.apply(seq, event);
        }
        let applied_at = Instant::now();
        let row = encode_row(&decided.events);
        spent.decide += decided_at - start;
        spent.apply += applied_at - decided_at;
        spent.encode += applied_at.elapsed();
        spent.bytes += row.len();
    }
    let batches = f64::from(u32::try_from(COMMITS).unwrap_or(u32::MAX)) * f64::from(PARTITIONS);
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / batches;
    println!(
        "{PARTITIONS} partitions per commit, one batch each: decide {:.3} us, apply {:.3} us, encode {:.3} us, together {:.3} us per batch",
        micros(spent.decide),
        micros(spent.apply),
        micros(spent.encode),
        micros(spent.decide + spent.apply + spent.encode),
    );
    println!("journal: {:.1} bytes per batch", per(spent.bytes, batches));
    let dirty = state.take_dirty();
    let start = Instant::now();
    let pages: Vec<_> = dirty
        .iter()
        .filter_map(|key| state.encode_page(key))
        .collect();
    let bytes: usize = pages.iter().map(|page| page.bytes.len()).sum();
    let time = start.elapsed();
    println!(
        "pages: {} pages, {bytes} bytes, {:.2} us per page",
        pages.len(),
        time.as_secs_f64() * 1e6 / per(pages.len(), 1.0),
    );
    let start = Instant::now();
    let loaded = State::from_pages(Budgets::default(), &state.all_pages());
    let same = loaded.is_ok_and(|loaded| loaded == state);
    println!("loaded them all in {:?}, equal: {same}", start.elapsed());
}

fn memory() {
    let before = resident();
    let (idle, ..) = cluster(100_000);
    let used = resident().saturating_sub(before);
    println!("idle partition: {:.0} bytes", per(used, 100_000.0));
    let before = resident();
    let (mut state, topic, registration) = cluster(100);
    let commits = 10_000;
    for number in 1..=commits {
        let mut commit = commit(&registration, topic, number, 100);
        for run in &mut commit.runs {
            run.batches[0].producer_id = ProducerId::NONE;
        }
        let decided = decide::commit(&state, &NOW, registration.session, &commit)
            .expect("the commit is sound");
        for event in &decided.events {
            state.apply(JournalSeq(number + 10), event);
        }
    }
    let used = resident().saturating_sub(before);
    let estimate = usize::try_from(state.usage().extent_bytes).unwrap_or(usize::MAX);
    println!(
        "extent with its share of the object: {:.0} bytes resident, {:.0} by the budget",
        per(used, 1e6),
        per(estimate, 1e6),
    );
    drop(idle);
}

fn cluster(partitions: i32) -> (State, TopicId, Registration) {
    let mut state = State::new(Budgets::default());
    let cluster = ClusterId(Uuid::from_u128(1));
    state.apply(
        JournalSeq(1),
        &decide::genesis(cluster, Incarnation(1), UploadEpoch(1)),
    );
    let topic = TopicId(Uuid::from_u128(7));
    state.apply(
        JournalSeq(2),
        &Event::TopicCreated(TopicCreated {
            topic,
            name: "bench".to_owned(),
            partitions: partitions.unsigned_abs(),
            leader_epoch: LeaderEpoch(0),
            configs: Default::default(),
        }),
    );
    let request = RegisterRequest {
        previous_slot: None,
        agent: AgentAddress {
            host: "127.0.0.1".to_owned(),
            port: 9092,
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        },
        seen: None,
    };
    let decided = decide::register(&state, &request).expect("the address is sound");
    for event in &decided.events {
        state.apply(JournalSeq(3), event);
    }
    (state, topic, decided.reply)
}

fn commit(registration: &Registration, topic: TopicId, number: u64, partitions: i32) -> Commit {
    let mut position = 8;
    let runs = (0..partitions).map(|index| {
        let summary = BatchSummary {
            producer_id: ProducerId(4_000 + i64::from(index % 40)),
            producer_epoch: ProducerEpoch(0),
            first_sequence: Sequence(i32::try_from((number - 1) * 80).unwrap_or(0)),
            records: 80,
            bytes: 8_000,
            max_timestamp: NOW.unix_millis - 40,
        };
        let run = Run {
            partition: PartitionId::new(topic, PartitionIndex(index)),
            position,
            stored_bytes: 8_016,
            batches: vec![summary],
        };
        position += 8_016;
        run
    });
    let runs = runs.collect();
    Commit {
        number: CommitNumber(number),
        answered_through: CommitNumber(number.saturating_sub(3)),
        object: ObjectId {
            incarnation: registration.incarnation,
            upload_epoch: UploadEpoch(1),
            writer: registration.slot,
            level: ObjectLevel::L0,
            unique: number,
        },
        object_bytes: position,
        locations: vec![0],
        runs,
    }
}

/// Resident memory of the process in bytes (Linux).
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn per(total: usize, count: f64) -> f64 {
    total as f64 / count
}
