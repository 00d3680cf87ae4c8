//! What the produce and fetch paths do to every byte: `cargo bench -p aquifer-format`.

use std::hint::black_box;

use aquifer_format::batch::{BatchBuilder, RecordBatch, recompress, split};
use aquifer_format::block::{BlockCompression, expand_run};
use aquifer_format::codec::Codec;
use aquifer_format::ids::{
    ClusterId, Incarnation, LeaderEpoch, ObjectId, ObjectLevel, Offset, PartitionId,
    PartitionIndex, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_format::limits::BATCH_EXPANDED_BYTES_MAX;
use aquifer_format::object::{BuiltObject, ObjectBuilder};
use aquifer_format::record::records;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uuid::Uuid;

const BATCH_BYTES: usize = 16 * 1024;
const PARTITIONS: i32 = 16;
const BATCHES_PER_RUN: usize = 32;

/// A batch of log lines, about 16 KiB before compression.
fn batch(codec: Codec) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    for i in 0.. {
        if builder.payload_bytes() > BATCH_BYTES {
            break;
        }
        let line = format!(
            "10.0.{}.{} - GET /orders/{}?page={} 200 {}",
            i % 7,
            i * 31 % 251,
            i * 7_919 % 100_003,
            i % 9,
            i * i % 65_537
        );
        builder.append(1_700_000_000_000 + i, None, Some(line.as_bytes()), &[]);
    }
    builder.build().expect("offsets rise")
}

fn object(batch: &RecordBatch, compression: BlockCompression) -> BuiltObject {
    let id = ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(1),
        writer: WriterSlot(1),
        level: ObjectLevel::L0,
        unique: 1,
    };
    let mut builder = ObjectBuilder::new(ClusterId(Uuid::nil()), id, compression);
    for partition in 0..PARTITIONS {
        let partition = PartitionId::new(TopicId(Uuid::nil()), PartitionIndex(partition));
        builder
            .add_run(partition, std::iter::repeat_n(batch, BATCHES_PER_RUN))
            .expect("in order");
    }
    builder.finish().expect("it is small")
}

fn bytes(length: usize) -> Throughput {
    Throughput::Bytes(u64::try_from(length).expect("it is small"))
}

fn batches(criterion: &mut Criterion) {
    let plain = batch(Codec::None);
    let mut group = criterion.benchmark_group("batch");
    group.throughput(bytes(plain.bytes.len()));
    group.bench_function("validate", |b| {
        b.iter(|| {
            let batch = RecordBatch::parse(black_box(&plain.bytes).clone()).expect("a batch");
            batch.validate_produced()
        });
    });
    group.bench_function("patch", |b| {
        b.iter(|| black_box(&plain).patched(Offset(7), LeaderEpoch(1), None));
    });
    group.bench_function("patch LogAppendTime", |b| {
        b.iter(|| black_box(&plain).patched(Offset(7), LeaderEpoch(1), Some(9)));
    });
    for codec in Codec::ALL {
        let packed = batch(codec);
        group.bench_function(format!("records, owned, {codec}"), |b| {
            b.iter(|| {
                records(black_box(&packed), BATCH_EXPANDED_BYTES_MAX)
                    .expect("it expands")
                    .map(|record| record.expect("sound").timestamp)
                    .max()
            });
        });
        group.bench_function(format!("records, borrowed, {codec}"), |b| {
            b.iter(|| {
                let mut records =
                    records(black_box(&packed), BATCH_EXPANDED_BYTES_MAX).expect("it expands");
                let mut last = 0;
                while let Some(view) = records.next_view() {
                    last = view.expect("sound").timestamp.max(last);
                }
                last
            });
        });
    }
    group.bench_function("recompress none to zstd", |b| {
        b.iter(|| recompress(black_box(&plain), Codec::Zstd));
    });
    let many: Bytes = plain.bytes.repeat(64).into();
    group.throughput(bytes(many.len()));
    group.bench_function("split 64", |b| {
        b.iter(|| split(black_box(&many).clone()));
    });
    group.finish();
}

fn objects(criterion: &mut Criterion) {
    let plain = batch(Codec::None);
    let raw = plain.bytes.len() * BATCHES_PER_RUN * usize::try_from(PARTITIONS).expect("16");
    let mut group = criterion.benchmark_group("object of 8 MiB");
    group.sample_size(20);
    group.throughput(bytes(raw));
    for (name, compression) in [
        ("off", BlockCompression::Off),
        ("zstd 1", BlockCompression::Zstd { level: 1 }),
    ] {
        group.bench_function(format!("build, blocks {name}"), |b| {
            b.iter(|| object(black_box(&plain), compression));
        });
        let built = object(&plain, compression);
        let whole: Bytes = built.payload.concat().into();
        let run = &built.runs[0];
        let start = usize::try_from(run.position).expect("it is small");
        let end = start + usize::try_from(run.stored_bytes).expect("it is small");
        let stored = whole.slice(start..end);
        group.throughput(bytes(plain.bytes.len() * BATCHES_PER_RUN));
        group.bench_function(format!("expand_run, blocks {name}"), |b| {
            b.iter(|| expand_run(black_box(&stored)).expect("sound"));
        });
        group.throughput(bytes(raw));
    }
    group.finish();
}

criterion_group!(benches, batches, objects);
criterion_main!(benches);
