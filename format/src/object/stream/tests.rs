use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::batch::{RecordBatch, split};
use crate::block::{BlockCodec, Blocks, expand_run};
use crate::codec::Codec;
use crate::ids::{
    Incarnation, LeaderEpoch, PartitionIndex, ProducerId, TopicId, UploadEpoch, WriterSlot,
};
use crate::limits::UPLOAD_PART_BYTES;
use crate::object::{
    Footer, FooterRead, IndexError, RunIndex, VerifyError, check_sums, read_footer, verify,
};
use crate::samples::{any_batch, numbered_batch};

fn id(level: ObjectLevel) -> ObjectId {
    ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(2),
        writer: WriterSlot::COMPACTOR,
        level,
        unique: 4,
    }
}

fn partition(topic: u128, index: i32) -> PartitionId {
    PartitionId::new(TopicId(Uuid::from_u128(topic)), PartitionIndex(index))
}

fn builder(compression: BlockCompression) -> StreamBuilder {
    StreamBuilder::new(
        ClusterId(Uuid::from_u128(5)),
        id(ObjectLevel::L1),
        compression,
    )
}

/// The batch with absolute offsets.
fn at(batch: &RecordBatch, offset: i64) -> RecordBatch {
    let header = batch.patched_header(Offset(offset), LeaderEpoch(1), None);
    let bytes = [&header.encode()[..], &batch.payload()[..]].concat();
    RecordBatch::parse(bytes.into()).expect("the same batch elsewhere")
}

fn aborted(first: i64, producer: i64, last: i64) -> AbortedTransaction {
    AbortedTransaction {
        first_offset: Offset(first),
        producer_id: ProducerId(producer),
        last_offset: Offset(last),
    }
}

fn rest(builder: &mut StreamBuilder) -> Vec<u8> {
    builder.take(usize::MAX).concat()
}

/// The stored bytes of a run.
fn stored(object: &Bytes, run: &StreamedRun) -> Bytes {
    let start = usize::try_from(run.position).expect("it is small");
    let bytes = usize::try_from(run.stored_bytes).expect("it is small");
    object.slice(start..start + bytes)
}

fn footer_of(object: &Bytes) -> Footer {
    match read_footer(object, count(object.len())) {
        Ok(FooterRead::Footer(footer)) => footer,
        other => panic!("no footer: {other:?}"),
    }
}

/// An object of one run of three blocks.
fn large() -> (Bytes, StreamedRun) {
    let mut builder = builder(BlockCompression::Off);
    builder
        .begin_run(partition(1, 0), false)
        .expect("the first");
    let batch = numbered_batch(Codec::None, 2_000);
    let per_block = BLOCK_BYTES / batch.bytes.len();
    for i in 0..i64::try_from(3 * per_block).expect("small") {
        let batch = at(&batch, 10_000 * i);
        builder.push(batch.into()).expect("in order");
    }
    let run = builder
        .end_run(vec![aborted(7, 1, 9)])
        .expect("it has batches");
    builder.finish().expect("it is small");
    (rest(&mut builder).into(), run)
}

#[test]
fn what_is_taken_piece_by_piece_is_the_object() {
    let build = |step: Option<usize>| {
        let mut builder = builder(BlockCompression::Zstd { level: 3 });
        let mut object = Vec::new();
        for index in 0..3 {
            builder
                .begin_run(partition(1, index), false)
                .expect("in order");
            for i in 0..20 {
                let batch = at(&numbered_batch(Codec::Zstd, 3_000), i * 5_000);
                builder.push(batch.into()).expect("in order");
                while let Some(step) = step.filter(|step| builder.ready_bytes() >= *step) {
                    let part = builder.take(step).concat();
                    assert_eq!(part.len(), step);
                    object.extend(part);
                }
            }
            builder.end_run(Vec::new()).expect("it has batches");
            let ready = count(builder.ready_bytes());
            assert_eq!(builder.bytes(), count(object.len()) + ready);
            assert!(builder.memory_bytes() >= builder.ready_bytes());
        }
        let bytes = builder.finish().expect("it is small");
        object.extend(rest(&mut builder));
        assert_eq!((builder.ready_bytes(), count(object.len())), (0, bytes));
        Bytes::from(object)
    };
    let whole = build(None);
    verify(&whole).expect("just built");
    for step in [1, 100, 4_096, UPLOAD_PART_BYTES] {
        assert!(build(Some(step)) == whole, "parts of {step} bytes");
    }
}

#[test]
fn several_runs_of_a_partition_follow_one_another() {
    let mut builder = builder(BlockCompression::Off);
    let batch = numbered_batch(Codec::None, 10);
    for (index, from, cleaned) in [(0, 0, false), (1, 100, true), (1, 110, false), (2, 5, true)] {
        builder
            .begin_run(partition(1, index), cleaned)
            .expect("in order");
        builder.push(at(&batch, from).into()).expect("in order");
        let run = builder.end_run(Vec::new()).expect("it has a batch");
        assert_eq!(
            (run.base_offset, run.end_offset),
            (Offset(from), Offset(from + 10))
        );
        assert_eq!((run.batches, run.records), (1, 10));
    }
    builder.finish().expect("it is small");
    let object = rest(&mut builder).into();
    let footer = verify(&object).expect("just built");
    assert_eq!(check_sums(&object), Ok(footer.clone()));
    let runs = footer.runs_of(&partition(1, 1));
    let bases: Vec<_> = runs.iter().map(|r| r.blocks[0].base_offset.0).collect();
    assert_eq!(bases, [100, 110]);
    assert_eq!(footer.run(&partition(1, 1)), runs.first());
    let cleaned: Vec<_> = footer.runs.iter().map(|run| run.cleaned).collect();
    assert_eq!(cleaned, [false, true, false, true]);
    assert!(footer.runs_of(&partition(1, 3)).is_empty());
}

#[test]
fn what_is_out_of_order_is_refused() {
    let batch = numbered_batch(Codec::None, 10);
    let with = |from: i64| {
        let mut builder = builder(BlockCompression::Off);
        builder
            .begin_run(partition(2, 5), false)
            .expect("the first");
        builder.push(at(&batch, from).into()).expect("the first");
        builder
    };
    let here = partition(2, 5);
    let offsets = |base_offset, end_offset| {
        Err(BuildError::Offsets {
            partition: here,
            base_offset: Offset(base_offset),
            end_offset: Offset(end_offset),
        })
    };
    assert_eq!(with(50).push(at(&batch, 59).into()), offsets(59, 60));
    assert_eq!(with(50).push(at(&batch, 60).into()), Ok(()));
    assert_eq!(
        with(0).begin_run(partition(3, 0), false),
        Err(BuildError::Open { partition: here })
    );
    assert_eq!(with(0).finish(), Err(BuildError::Open { partition: here }));
    let mut ended = with(50);
    ended.end_run(Vec::new()).expect("it has a batch");
    assert_eq!(
        ended.begin_run(partition(2, 4), false),
        Err(BuildError::Order {
            partition: partition(2, 4),
            last: here
        })
    );
    assert_eq!(ended.push(at(&batch, 60).into()), Err(BuildError::NoRun));
    assert_eq!(ended.end_run(Vec::new()), Err(BuildError::NoRun));
    assert_eq!(ended.begin_run(here, false), Ok(()));
    assert_eq!(ended.push(at(&batch, 30).into()), offsets(30, 60));
    assert_eq!(
        ended.end_run(Vec::new()),
        Err(BuildError::Empty { partition: here })
    );
}

#[test]
fn an_index_is_read_from_any_tail_that_holds_it() {
    let (object, run) = large();
    let stored = stored(&object, &run);
    let entry = &footer_of(&object).runs[0];
    let index_bytes = usize::try_from(entry.index_bytes).expect("it is small");
    let index = RunIndex::read(&stored, run.stored_bytes).expect("just built");
    assert_eq!(index, entry.index());
    assert_eq!(index.blocks.len(), 3);
    assert_eq!(index.aborted, [aborted(7, 1, 9)]);
    assert_eq!(
        (index.blocks[0].position, index.blocks[0].batches > 1),
        (0, true)
    );
    let tail = |bytes: usize| stored.slice(stored.len() - bytes..);
    assert_eq!(
        RunIndex::read(&tail(index_bytes), run.stored_bytes),
        Ok(index)
    );
    for (bytes, need) in [
        (4, index_bytes),
        (index_bytes - 1, index_bytes),
        (3, 4),
        (0, 4),
    ] {
        assert_eq!(
            RunIndex::read(&tail(bytes), run.stored_bytes),
            Err(IndexError::NeedMore {
                tail_bytes: count(need)
            }),
            "{bytes}"
        );
    }
    // Of a run of another length it is not the index.
    for other in [run.stored_bytes - 1, run.stored_bytes + 1, 30, 3, 0] {
        let read = RunIndex::read(&stored, other);
        assert!(
            matches!(read, Err(IndexError::Malformed { .. })),
            "{other}: {read:?}"
        );
    }
}

#[test]
fn blocks_are_found_by_offset() {
    let (object, run) = large();
    let index = RunIndex::read(&stored(&object, &run), run.stored_bytes).expect("just built");
    let [first, second, third] = index.blocks[..] else {
        panic!("three blocks: {index:?}");
    };
    for (from, left) in [
        (0, 3),
        (first.end_offset.0 - 1, 3),
        // Between two blocks, where offsets are missing.
        (first.end_offset.0, 2),
        (second.base_offset.0, 2),
        (third.end_offset.0 - 1, 1),
        (third.end_offset.0, 0),
    ] {
        assert_eq!(index.from_offset(Offset(from)).len(), left, "{from}");
    }
}

#[test]
fn blocks_of_a_run_are_read_with_and_without_its_index() {
    let (object, run) = large();
    let stored = stored(&object, &run);
    let index = RunIndex::read(&stored, run.stored_bytes).expect("just built");
    let all = expand_run(&stored).expect("just built");
    assert_eq!(all.blocks.len(), 3);
    for (entry, block) in index.blocks.iter().zip(&all.blocks) {
        let range = entry.range();
        let start = usize::try_from(range.start).expect("it is small");
        let end = usize::try_from(range.end).expect("it is small");
        let piece = expand_run(&stored.slice(start..end)).expect("a whole block");
        assert_eq!(piece.blocks, std::slice::from_ref(block));
    }
    // Nothing comes behind an index.
    let twice = [&stored[..], &stored[..]].concat();
    assert!(expand_run(&twice.into()).is_err());
    let mut damaged = stored.to_vec();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    assert!(expand_run(&damaged.into()).is_err());
}

#[test]
fn an_index_that_says_something_else_than_the_footer_is_noticed() {
    let (object, run) = large();
    let entry = &footer_of(&object).runs[0];
    let mut other = entry.index();
    other.aborted = vec![aborted(8, 1, 9)];
    let other = other.encode();
    assert_eq!(count(other.len()), u64::from(entry.index_bytes));
    let end = usize::try_from(run.position + u64::from(run.stored_bytes)).expect("it is small");
    let mut bytes = object.to_vec();
    bytes[end - other.len()..end].copy_from_slice(&other);
    let found = verify(&bytes.into());
    assert!(
        matches!(found, Err(VerifyError::Disagreement { .. })),
        "{found:?}"
    );
}

#[test]
fn indexes_that_break_their_own_rules_are_malformed() {
    let good = IndexEntryOf::default();
    for (what, entries, blocks_bytes) in [
        ("no blocks", vec![], 0),
        ("no batches", vec![IndexEntryOf { batches: 0, ..good }], 100),
        (
            "nothing stored",
            vec![IndexEntryOf { stored: 16, ..good }],
            16,
        ),
        ("no offsets", vec![IndexEntryOf { end: 10, ..good }], 100),
        ("ends too early", vec![good], 101),
        ("ends too late", vec![good], 99),
        (
            "out of order",
            vec![good, IndexEntryOf { base: 19, ..good }],
            200,
        ),
        (
            "a block that is too large",
            vec![IndexEntryOf {
                expanded: u32::MAX,
                ..good
            }],
            100,
        ),
    ] {
        let index = index_of(&entries).encode();
        let run = [vec![0; blocks_bytes], index.to_vec()].concat();
        let bytes = u32::try_from(run.len()).expect("it is small");
        let read = RunIndex::read(&run.into(), bytes);
        assert!(
            matches!(read, Err(IndexError::Malformed { .. })),
            "{what}: {read:?}"
        );
    }
    let mut index = index_of(&[good]);
    index.aborted = vec![aborted(5, 1, 6), aborted(4, 1, 9)];
    let run = [vec![0; 100], index.encode().to_vec()].concat();
    let bytes = u32::try_from(run.len()).expect("it is small");
    assert!(RunIndex::read(&run.into(), bytes).is_err());
}

/// A block of an index, by what the rules are about.
#[derive(Clone, Copy)]
struct IndexEntryOf {
    stored: u32,
    expanded: u32,
    batches: u32,
    base: i64,
    end: i64,
}

impl Default for IndexEntryOf {
    fn default() -> Self {
        Self {
            stored: 100,
            expanded: 84,
            batches: 1,
            base: 10,
            end: 20,
        }
    }
}

fn index_of(entries: &[IndexEntryOf]) -> RunIndex {
    let mut position = 0;
    let blocks = entries.iter().map(|entry| {
        let block = crate::object::IndexEntry {
            position,
            stored_bytes: entry.stored,
            expanded_bytes: entry.expanded,
            batches: entry.batches,
            base_offset: Offset(entry.base),
            end_offset: Offset(entry.end),
            first_timestamp: 5,
            max_timestamp: 6,
        };
        position += entry.stored;
        block
    });
    RunIndex {
        cleaned: false,
        blocks: blocks.collect(),
        aborted: Vec::new(),
    }
}

/// Batches per run, each with the gap in front of it, and the aborted transactions of the run.
type Runs = BTreeMap<(u8, u8, u8), (Vec<(RecordBatch, u16)>, Vec<(u8, u8, u8)>)>;

fn any_runs() -> impl Strategy<Value = Runs> {
    let batches = vec((any_batch(), any::<u16>()), 1..5);
    let aborted = vec((0..9u8, 0..3u8, 0..9u8), 0..4);
    btree_map((0..3u8, 0..3u8, 0..3u8), (batches, aborted), 0..8)
}

/// The batches with absolute offsets, in order of the runs, whose first two numbers are their partition.
fn placed(runs: &Runs) -> Vec<(PartitionId, Vec<RecordBatch>, Vec<AbortedTransaction>)> {
    let mut ends: BTreeMap<PartitionId, i64> = BTreeMap::new();
    let mut placed = Vec::new();
    for ((topic, index, _), (batches, transactions)) in runs {
        let partition = partition(u128::from(*topic), i32::from(*index));
        let end = ends.entry(partition).or_default();
        let mut moved = Vec::new();
        for (batch, gap) in batches {
            let batch = at(batch, *end + i64::from(*gap));
            *end = batch.header.last_offset().0 + 1;
            moved.push(batch);
        }
        let transactions = transactions.iter().map(|(first, producer, span)| {
            let (first, span) = (i64::from(*first), i64::from(*span));
            aborted(first, i64::from(*producer), first + span)
        });
        placed.push((partition, moved, transactions.collect()));
    }
    placed
}

fn build(runs: &Runs, compression: BlockCompression) -> (Bytes, Vec<StreamedRun>) {
    let mut builder = builder(compression);
    let mut built = Vec::new();
    for (partition, batches, aborted) in placed(runs) {
        builder
            .begin_run(partition, aborted.len() % 2 == 1)
            .expect("in order");
        for batch in batches {
            builder.push(batch.into()).expect("in order");
        }
        built.push(builder.end_run(aborted).expect("it has batches"));
    }
    let bytes = builder.finish().expect("it is small");
    let object = Bytes::from(rest(&mut builder));
    assert_eq!(count(object.len()), bytes);
    (object, built)
}

proptest! {
    #[test]
    fn objects_of_compactors_round_trip(runs in any_runs(), off: bool) {
        let compression = if off { BlockCompression::Off } else { BlockCompression::Zstd { level: 3 } };
        let (object, built) = build(&runs, compression);
        let footer = verify(&object)?;
        prop_assert_eq!(&check_sums(&object)?, &footer);
        prop_assert_eq!(footer.id, id(ObjectLevel::L1));
        prop_assert_eq!(footer.runs.len(), built.len());
        for (((partition, batches, mut aborted), run), entry) in
            placed(&runs).into_iter().zip(&built).zip(&footer.runs)
        {
            prop_assert_eq!((run.partition, entry.partition), (partition, partition));
            prop_assert_eq!(entry.range(), run.position..run.position + u64::from(run.stored_bytes));
            let stored = stored(&object, run);
            let read: Vec<RecordBatch> = expand_run(&stored)?
                .blocks
                .into_iter()
                .flat_map(|block| split(block).expect("whole batches"))
                .collect();
            prop_assert_eq!(&read, &batches);
            let index = RunIndex::read(&stored, run.stored_bytes)?;
            prop_assert_eq!(&index, &entry.index());
            aborted.sort_unstable();
            aborted.dedup();
            prop_assert_eq!(&index.aborted, &aborted);
            prop_assert_eq!(index.blocks.first().map(|b| b.base_offset), Some(run.base_offset));
            prop_assert_eq!(index.blocks.last().map(|b| b.end_offset), Some(run.end_offset));
            prop_assert_eq!(run.end_offset.0, batches.last().expect("one").header.last_offset().0 + 1);
            let records: i64 = batches.iter().map(|b| i64::from(b.header.record_count)).sum();
            prop_assert_eq!(i64::try_from(run.records)?, records);
            let bytes: usize = batches.iter().map(|b| b.bytes.len()).sum();
            prop_assert_eq!(u64::from(run.expanded_bytes), count(bytes));
            let max = batches.iter().map(|b| b.header.max_timestamp).max();
            prop_assert_eq!(Some(run.max_timestamp), max);
            for block in Blocks::new(stored) {
                prop_assert!(block?.header.codec != BlockCodec::Index);
            }
        }
    }

    #[test]
    fn any_flipped_bit_of_a_compactors_object_is_noticed(
        runs in any_runs(), bit in any::<prop::sample::Index>(),
    ) {
        let mut object = build(&runs, BlockCompression::Off).0.to_vec();
        let bit = bit.index(object.len() * 8);
        object[bit / 8] ^= 1 << (bit % 8);
        let object = object.into();
        prop_assert!(verify(&object).is_err());
        prop_assert!(check_sums(&object).is_err());
    }

    #[test]
    fn a_cut_or_extended_object_of_a_compactor_is_noticed(
        runs in any_runs(), at in any::<prop::sample::Index>(), more in vec(any::<u8>(), 1..30),
    ) {
        let object = build(&runs, BlockCompression::Off).0;
        let cut = object.slice(..at.index(object.len()));
        let extended = [&object[..], &more[..]].concat().into();
        for object in [cut, extended] {
            prop_assert!(verify(&object).is_err());
            prop_assert!(check_sums(&object).is_err());
        }
    }

    #[test]
    fn arbitrary_indexes_never_panic(fields in vec(any::<u8>(), 0..200), run_bytes: u32, front in 0..200usize) {
        // Sealed, so that what lies behind the CRC is reached.
        let mut payload = fields.clone();
        let length = u32::try_from(payload.len() + 4)?;
        payload.extend_from_slice(&length.to_le_bytes());
        let payload = Bytes::from(payload);
        let header = crate::block::BlockHeader::of_index(&payload, length);
        let run: Bytes = [&vec![0; front][..], &header.encode()[..], &payload[..]].concat().into();
        let read = RunIndex::read(&run, u32::try_from(run.len())?);
        let sealed = !matches!(read, Err(IndexError::Crc { .. } | IndexError::NeedMore { .. }));
        prop_assert!(sealed, "{:?}", read);
        let _ = RunIndex::read(&run, run_bytes);
        let _ = RunIndex::read(&fields.into(), run_bytes);
    }
}
