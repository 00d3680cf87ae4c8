//! What the wire costs per partition-batch: encoding and decoding of a commit of 1,000 partitions and of its
//! answer, and of the frame that tells every agent of it. Run by hand:
//!
//! ```text
//! cargo run --release -p aquifer-metadata-api --example wire_bench
//! ```
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that is run by hand measures real time and prints it"
)]

use std::{hint::black_box, time::Instant};

use aquifer_format::ids::{
    CommitNumber, Incarnation, JournalSeq, LeaderEpoch, LeaderTerm, ObjectId, ObjectLevel, Offset,
    PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId, UploadEpoch,
    WriterSlot,
};
use aquifer_metadata_api::{
    commit::{
        BatchOutcome, BatchRef, BatchSummary, Commit, CommitAnswer, CommitCall, Placement, Run,
    },
    extent::Watermarks,
    grpc::{proto, wire},
    watch::CommonFrame,
};
use prost::Message;
use uuid::Uuid;

const PARTITIONS: u32 = 1_000;
const ROUNDS: u32 = 2_000;

fn partition(n: u32) -> PartitionId {
    PartitionId::new(
        TopicId(Uuid::from_u128(u128::from(n / 100))),
        PartitionIndex((n % 100).cast_signed()),
    )
}

fn commit() -> CommitCall {
    let run = |n: u32| Run {
        partition: partition(n),
        position: u64::from(n) * 8_000,
        stored_bytes: 8_000,
        batches: vec![BatchSummary {
            producer_id: ProducerId(1_000 + i64::from(n)),
            producer_epoch: ProducerEpoch(0),
            first_sequence: Sequence(n.cast_signed() * 500),
            records: 50,
            bytes: 7_900,
            max_timestamp: 1_704_067_200_000 + i64::from(n % 7),
        }],
    };
    CommitCall::Commit(Commit {
        number: CommitNumber(1_000_000),
        answered_through: CommitNumber(999_990),
        object: ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(100_000),
            writer: WriterSlot(12),
            level: ObjectLevel::L0,
            unique: 0x0123_4567_89ab_cdef,
        },
        object_bytes: 8 << 20,
        locations: vec![0],
        runs: (0..PARTITIONS).map(run).collect(),
    })
}

fn answer() -> CommitAnswer {
    let number = CommitNumber(1_000_000);
    let outcome = |run: u32| {
        let placement = Placement {
            base_offset: Offset(1_000_000_000 + i64::from(run) * 977),
            log_append_time: None,
            log_start: Offset(900_000_000),
        };
        let batch = BatchRef {
            number,
            run,
            batch: 0,
        };
        (batch, BatchOutcome::Appended(placement))
    };
    CommitAnswer {
        number,
        outcomes: (0..PARTITIONS).map(outcome).collect(),
    }
}

fn frame() -> CommonFrame {
    let watermarks = |n: u32| {
        let high_watermark = Offset(1_000_000_000 + i64::from(n) * 977);
        let watermarks = Watermarks {
            log_start: Offset(900_000_000),
            high_watermark,
            last_stable: high_watermark,
            leader_epoch: LeaderEpoch(1),
        };
        (partition(n), watermarks)
    };
    CommonFrame {
        term: LeaderTerm(1),
        seq: JournalSeq(1_000_000),
        hash: [7; 32],
        incarnation: Incarnation(1),
        reset: false,
        upload_epoch: UploadEpoch(100_000),
        topics: Vec::new(),
        deleted_topics: Vec::new(),
        watermarks: (0..PARTITIONS).map(watermarks).collect(),
        agents: None,
        agents_complete: true,
        throttle_produce: false,
        broker_configs: None,
    }
}

fn measure<T>(what: &str, bytes: usize, mut once: impl FnMut() -> T) {
    for _ in 0..ROUNDS / 10 {
        black_box(once());
    }
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(once());
    }
    let nanos = started.elapsed().as_secs_f64() * 1e9;
    let each = nanos / f64::from(ROUNDS) / f64::from(PARTITIONS);
    println!("{what:<32} {each:>7.1} ns per partition-batch, {bytes} bytes per message");
}

fn main() {
    let commit = commit();
    let encoded = wire::call_to(&commit).encode_to_vec();
    let size = encoded.len();
    measure("commit: encode (agent)", size, || {
        wire::call_to(&commit).encode_to_vec()
    });
    measure("commit: decode (leader)", size, || {
        let message = proto::CommitsCall::decode(encoded.as_slice()).expect("it was encoded");
        wire::call_from(message).expect("it is well-formed")
    });
    let answer = answer();
    let encoded = wire::answer_to(&answer).encode_to_vec();
    let size = encoded.len();
    measure("answer: encode (leader)", size, || {
        wire::answer_to(&answer).encode_to_vec()
    });
    measure("answer: decode (agent)", size, || {
        let message = proto::CommitAnswer::decode(encoded.as_slice()).expect("it was encoded");
        wire::answer_from(&message).expect("it is well-formed")
    });
    let frame = frame();
    let sealed = wire::sealed_to(&frame);
    let size = sealed.body.len();
    measure("frame: encode (leader, once)", size, || {
        wire::sealed_to(&frame)
    });
    measure("frame: decode (each agent)", size, || {
        let kind = Some(proto::watch_frame::Kind::Common(sealed.clone()));
        wire::frame_from(proto::WatchFrame { kind }).expect("it is well-formed")
    });
}
