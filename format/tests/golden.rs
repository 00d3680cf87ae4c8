//! Every format that was ever shipped stays readable, and today's encoder still writes today's.
//!
//! After a deliberate change of format, which needs a new version number and new files, write the
//! missing files with `AQUIFER_WRITE_GOLDEN=1 cargo test -p aquifer-format --test golden`. Files that
//! are there are never overwritten.

use std::path::{Path, PathBuf};

use aquifer_format::batch::{BatchBuilder, RecordBatch, split};
use aquifer_format::block::{BlockCodec, BlockCompression, Blocks, expand_run};
use aquifer_format::codec::Codec;
use aquifer_format::ids::{
    ClusterId, Incarnation, LeaderEpoch, ObjectId, ObjectLevel, Offset, PartitionId,
    PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_format::object::{
    AbortedTransaction, BuiltObject, FooterRead, IndexEntry, OBJECT_MAGIC, ObjectBuilder, RunIndex,
    StreamBuilder, TRAILER_BYTES, read_footer, verify,
};
use bytes::Bytes;
use uuid::Uuid;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// The bytes of a golden file; where it is missing and that was asked for, it is written first.
fn golden(name: &str, today: &[u8]) -> Bytes {
    let path = path(name);
    if !path.exists() && std::env::var_os("AQUIFER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, today).expect("the folder is there");
    }
    match std::fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn batch(codec: Codec, records: i32) -> RecordBatch {
    let mut builder =
        BatchBuilder::new(codec).producer(ProducerId(17), ProducerEpoch(2), Sequence(5));
    for i in 0..records {
        let value = format!("the same value again and again, number {i}");
        builder.append(
            1_700_000_000_000 + i64::from(i),
            Some(format!("key-{i}").as_bytes()),
            Some(value.as_bytes()),
            &[(b"header", None)],
        );
    }
    builder.build().expect("offsets rise")
}

fn partition(topic: u128, index: i32) -> PartitionId {
    PartitionId::new(TopicId(Uuid::from_u128(topic)), PartitionIndex(index))
}

fn id() -> ObjectId {
    ObjectId {
        incarnation: Incarnation(2),
        upload_epoch: UploadEpoch(1_234),
        writer: WriterSlot(300),
        level: ObjectLevel::L0,
        unique: u64::MAX,
    }
}

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(0xfeed))
}

/// The batches of each run, none of them compressed by its producer.
fn runs() -> [(PartitionId, Vec<RecordBatch>); 3] {
    [
        (partition(1, 0), vec![batch(Codec::None, 3)]),
        (
            partition(1, 300),
            vec![batch(Codec::None, 1), batch(Codec::None, 40)],
        ),
        (partition(u128::MAX, 1), vec![batch(Codec::None, 2)]),
    ]
}

fn object(compression: BlockCompression) -> (BuiltObject, Bytes) {
    let mut builder = ObjectBuilder::new(cluster(), id(), compression);
    for (partition, batches) in runs() {
        builder.add_run(partition, batches).expect("in order");
    }
    let built = builder.finish().expect("it is small");
    let bytes = built.payload.concat().into();
    (built, bytes)
}

/// What every reader of an object relies on.
fn check_object(bytes: &Bytes) {
    let footer = verify(bytes).expect("a sound object");
    assert_eq!(footer.cluster, cluster());
    assert_eq!(footer.id, id());
    assert_eq!(footer.runs.len(), runs().len());
    for ((partition, batches), run) in runs().iter().zip(&footer.runs) {
        assert_eq!(run.partition, *partition);
        let range = run.range();
        let start = usize::try_from(range.start).expect("it is small");
        let end = usize::try_from(range.end).expect("it is small");
        let expanded = expand_run(&bytes.slice(start..end)).expect("sound blocks");
        assert_eq!(
            split(expanded.blocks.concat().into()).as_ref(),
            Ok(batches),
            "{partition}"
        );
        let records: u32 = batches.iter().map(|batch| batch.header.offsets()).sum();
        assert_eq!(run.blocks[0].base_offset, Offset(0));
        assert_eq!(run.blocks[0].end_offset, Offset(i64::from(records)));
        assert_eq!(run.blocks[0].first_timestamp, 1_700_000_000_000);
    }
}

#[test]
fn object_v1_is_read_and_written() {
    let (_, today) = object(BlockCompression::Off);
    let golden = golden("object-v1.bin", &today);
    check_object(&golden);
    assert_eq!(today, golden);
}

/// Compressed bytes may differ from one release of zstd to the next, so here reading alone counts.
#[test]
fn object_v1_with_compressed_blocks_is_read() {
    let (_, today) = object(BlockCompression::Zstd { level: 1 });
    let golden = golden("object-v1-zstd.bin", &today);
    check_object(&golden);
    check_object(&today);
}

#[test]
fn footer_v1_is_read_and_written() {
    let (built, today) = object(BlockCompression::Off);
    let last = built.runs.last().expect("there are three");
    let end = usize::try_from(last.position).expect("it is small")
        + usize::try_from(last.stored_bytes).expect("it is small");
    let golden = golden("footer-v1.bin", &today.slice(end..));
    assert_eq!(today.slice(end..), golden);
    let read = read_footer(&golden, built.bytes);
    let Ok(FooterRead::Footer(footer)) = read else {
        panic!("no footer: {read:?}");
    };
    assert_eq!(footer.runs.len(), 3);
    assert!(golden.len() < 200 + TRAILER_BYTES);
}

fn block(compression: BlockCompression) -> Bytes {
    let mut builder = ObjectBuilder::new(cluster(), id(), compression);
    builder
        .add_run(partition(1, 0), [batch(Codec::None, 40)])
        .expect("in order");
    let built = builder.finish().expect("it is small");
    let bytes: Bytes = built.payload.concat().into();
    let start = OBJECT_MAGIC.len();
    let end = start + usize::try_from(built.runs[0].stored_bytes).expect("it is small");
    bytes.slice(start..end)
}

fn check_block(stored: &Bytes, codec: BlockCodec) {
    let blocks: Vec<_> = Blocks::new(stored.clone())
        .collect::<Result<_, _>>()
        .expect("sound blocks");
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].header.codec, codec);
    assert_eq!(
        split(blocks[0].bytes.clone()),
        Ok(vec![batch(Codec::None, 40)])
    );
}

#[test]
fn an_uncompressed_block_is_read_and_written() {
    let today = block(BlockCompression::Off);
    let golden = golden("block-none.bin", &today);
    check_block(&golden, BlockCodec::None);
    assert_eq!(today, golden);
}

#[test]
fn a_zstd_block_is_read() {
    let today = block(BlockCompression::Zstd { level: 1 });
    let golden = golden("block-zstd.bin", &today);
    check_block(&golden, BlockCodec::Zstd);
    check_block(&today, BlockCodec::Zstd);
}

/// The batch with absolute offsets.
fn at(offset: i64, records: i32) -> RecordBatch {
    let batch = batch(Codec::None, records);
    let header = batch.patched_header(Offset(offset), LeaderEpoch(3), None);
    let bytes = [&header.encode()[..], &batch.payload()[..]].concat();
    RecordBatch::parse(bytes.into()).expect("the same batch elsewhere")
}

fn aborted() -> Vec<AbortedTransaction> {
    let transaction = |first, producer, last| AbortedTransaction {
        first_offset: Offset(first),
        producer_id: ProducerId(producer),
        last_offset: Offset(last),
    };
    vec![transaction(1_000, 17, 1_041), transaction(1_020, 4, 70_000)]
}

/// A run of a compactor.
struct MergedRun {
    partition: PartitionId,
    cleaned: bool,
    batches: Vec<RecordBatch>,
    aborted: Vec<AbortedTransaction>,
}

/// Two partitions, one of them with two runs.
fn merged_runs() -> Vec<MergedRun> {
    let run = |partition, cleaned, batches, aborted| MergedRun {
        partition,
        cleaned,
        batches,
        aborted,
    };
    vec![
        run(partition(1, 0), true, vec![at(5, 3), at(70, 1)], Vec::new()),
        run(partition(1, 300), false, vec![at(1_000, 40)], aborted()),
        run(partition(1, 300), false, vec![at(1_040, 2)], Vec::new()),
    ]
}

fn merged_object() -> Bytes {
    let id = ObjectId {
        writer: WriterSlot::COMPACTOR,
        level: ObjectLevel::L2,
        ..id()
    };
    let mut builder = StreamBuilder::new(cluster(), id, BlockCompression::Off);
    for run in merged_runs() {
        builder
            .begin_run(run.partition, run.cleaned)
            .expect("in order");
        for batch in run.batches {
            builder.push(batch.into()).expect("in order");
        }
        builder.end_run(run.aborted).expect("it has batches");
    }
    builder.finish().expect("it is small");
    builder.take(usize::MAX).concat().into()
}

#[test]
fn object_v2_is_read_and_written() {
    let today = merged_object();
    let golden = golden("object-v2.bin", &today);
    let footer = verify(&golden).expect("a sound object");
    assert_eq!(footer.id.level, ObjectLevel::L2);
    assert_eq!(footer.runs.len(), merged_runs().len());
    for (expected, run) in merged_runs().into_iter().zip(&footer.runs) {
        assert_eq!(run.partition, expected.partition);
        assert_eq!(run.cleaned, expected.cleaned);
        assert_eq!(run.aborted, expected.aborted);
        let range = run.range();
        let start = usize::try_from(range.start).expect("it is small");
        let end = usize::try_from(range.end).expect("it is small");
        let stored = golden.slice(start..end);
        let index = RunIndex::read(&stored, run.stored_bytes).expect("a sound index");
        assert_eq!(index, run.index());
        let expanded = expand_run(&stored).expect("sound blocks");
        assert_eq!(
            split(expanded.blocks.concat().into()),
            Ok(expected.batches),
            "{}",
            run.partition
        );
    }
    assert_eq!(today, golden);
}

#[test]
fn the_index_of_a_run_is_read_and_written() {
    let block = |position, base, end| IndexEntry {
        position,
        stored_bytes: 1_000,
        expanded_bytes: 3_000,
        batches: 7,
        base_offset: Offset(base),
        end_offset: Offset(end),
        first_timestamp: 1_700_000_000_000,
        max_timestamp: 1_700_000_000_500,
    };
    let index = RunIndex {
        cleaned: true,
        blocks: vec![
            block(0, 1 << 40, (1 << 40) + 80),
            block(1_000, (1 << 40) + 95, 1 << 41),
        ],
        aborted: aborted(),
    };
    let today = index.encode();
    let golden = golden("run-index-v2.bin", &today);
    let run_bytes = 2_000 + u32::try_from(golden.len()).expect("it is small");
    assert_eq!(RunIndex::read(&golden, run_bytes), Ok(index));
    assert_eq!(today, golden);
}
