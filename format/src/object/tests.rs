use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::footer::count;
use super::*;
use crate::batch::{RecordBatch, split};
use crate::block::{BlockCodec, BlockCompression, expand_run};
use crate::codec::Codec;
use crate::ids::{
    ClusterId, Incarnation, LeaderEpoch, ObjectId, ObjectLevel, Offset, PartitionId,
    PartitionIndex, TopicId, UploadEpoch, WriterSlot,
};
use crate::limits::BLOCK_BYTES;
use crate::samples::{any_batch, numbered_batch};

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(5))
}

fn id(level: ObjectLevel) -> ObjectId {
    ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(2),
        writer: WriterSlot(3),
        level,
        unique: 4,
    }
}

fn partition(topic: u128, index: i32) -> PartitionId {
    PartitionId::new(TopicId(Uuid::from_u128(topic)), PartitionIndex(index))
}

fn builder() -> ObjectBuilder {
    ObjectBuilder::new(cluster(), id(ObjectLevel::L0), BlockCompression::default())
}

fn bytes_of(built: &BuiltObject) -> Bytes {
    let bytes: Bytes = built.payload.concat().into();
    assert_eq!(count(bytes.len()), built.bytes);
    bytes
}

fn footer_of(object: &Bytes) -> Footer {
    match read_footer(object, count(object.len())) {
        Ok(FooterRead::Footer(footer)) => footer,
        other => panic!("no footer: {other:?}"),
    }
}

/// Reads a run as a reader does that knows nothing but the extent.
fn read_run(object: &Bytes, position: u64, stored_bytes: u32) -> Vec<RecordBatch> {
    let start = usize::try_from(position).expect("it is small");
    let end = start + usize::try_from(stored_bytes).expect("it is small");
    let run = expand_run(&object.slice(start..end)).expect("just built");
    run.blocks
        .into_iter()
        .flat_map(|block| split(block).expect("whole batches"))
        .collect()
}

#[test]
fn blocks_hold_whole_batches_up_to_their_size() {
    let small = numbered_batch(Codec::None, 100);
    let per_block = BLOCK_BYTES / small.bytes.len();
    let mut builder = builder();
    builder
        .add_run(partition(1, 0), vec![small.clone(); per_block + 1])
        .expect("in order");
    let object = bytes_of(&builder.finish().expect("it is small"));
    let blocks = &footer_of(&object).runs[0].blocks;
    let batches: Vec<_> = blocks.iter().map(|block| block.batches).collect();
    assert_eq!(batches, [u32::try_from(per_block).expect("small"), 1]);
    assert_eq!(blocks[0].end_offset, blocks[1].base_offset);
    assert_eq!(
        blocks[1].end_offset.0,
        100 * i64::try_from(per_block + 1).expect("small")
    );
}

#[test]
fn a_batch_larger_than_a_block_has_one_of_its_own() {
    let value = vec![1; BLOCK_BYTES];
    let mut large = crate::batch::BatchBuilder::new(Codec::None);
    large.append(0, None, Some(&value), &[]);
    let large = large.build().expect("it fits");
    let small = numbered_batch(Codec::None, 1);
    let mut builder = builder();
    let batches = [small.clone(), large.clone(), small.clone()];
    builder
        .add_run(partition(1, 0), &batches)
        .expect("in order");
    let built = builder.finish().expect("it is small");
    let object = bytes_of(&built);
    assert_eq!(footer_of(&object).runs[0].blocks.len(), 3);
    let run = &built.runs[0];
    assert_eq!(read_run(&object, run.position, run.stored_bytes), batches);
}

#[test]
fn batches_that_came_compressed_are_stored_as_they_are() {
    let batch = numbered_batch(Codec::Snappy, 500);
    let mut builder = builder();
    builder
        .add_run(partition(1, 0), [&batch])
        .expect("in order");
    builder
        .add_run(partition(1, 1), [numbered_batch(Codec::None, 500)])
        .expect("in order");
    let built = builder.finish().expect("it is small");
    assert!(
        built
            .payload
            .iter()
            .any(|piece| piece.as_ptr() == batch.bytes.as_ptr())
    );
    let footer = footer_of(&bytes_of(&built));
    let codecs: Vec<_> = footer
        .runs
        .iter()
        .map(|run| run.blocks[0].header.codec)
        .collect();
    assert_eq!(codecs, [BlockCodec::None, BlockCodec::Zstd]);
}

#[test]
fn runs_must_come_in_order_and_have_batches() {
    let batch = numbered_batch(Codec::None, 1);
    for next in [partition(2, 5), partition(2, 4), partition(1, 9)] {
        let mut builder = builder();
        builder
            .add_run(partition(2, 5), [&batch])
            .expect("the first");
        assert_eq!(
            builder.add_run(next, [&batch]),
            Err(BuildError::Order {
                partition: next,
                last: partition(2, 5)
            })
        );
    }
    let partition = partition(1, 0);
    assert_eq!(
        builder().add_run(partition, Vec::<RecordBatch>::new()),
        Err(BuildError::Empty { partition })
    );
}

#[test]
fn higher_levels_index_the_offsets_that_the_batches_have() {
    let batch = numbered_batch(Codec::None, 10);
    let moved = |offset| {
        let header = batch.patched_header(Offset(offset), LeaderEpoch(1), None);
        BatchPieces {
            header,
            pieces: [Bytes::copy_from_slice(&header.encode()), batch.payload()],
        }
    };
    let mut builder = ObjectBuilder::new(
        cluster(),
        id(ObjectLevel::L1),
        BlockCompression::Zstd { level: 3 },
    );
    builder
        .add_run(partition(1, 0), [moved(100), moved(200)])
        .expect("in order");
    let built = builder.finish().expect("it is small");
    let object = bytes_of(&built);
    let footer = verify(&object).expect("just built");
    assert_eq!(check_sums(&object), Ok(footer.clone()));
    let block = footer.runs[0].blocks[0];
    assert_eq!(
        (block.base_offset, block.end_offset),
        (Offset(100), Offset(210))
    );
    let read = read_run(&object, built.runs[0].position, built.runs[0].stored_bytes);
    let offsets: Vec<_> = read
        .iter()
        .map(|batch| batch.header.base_offset.0)
        .collect();
    assert_eq!(offsets, [100, 200]);
}

#[test]
fn a_footer_is_read_from_any_tail_that_holds_it() {
    let mut builder = builder();
    for i in 0..100 {
        builder
            .add_run(partition(1, i), [numbered_batch(Codec::None, 1)])
            .expect("in order");
    }
    let object = bytes_of(&builder.finish().expect("it is small"));
    let length = count(object.len());
    let tail = object.slice(object.len() - TRAILER_BYTES..);
    let Ok(FooterRead::NeedMore { tail_bytes }) = read_footer(&tail, length) else {
        panic!("only the trailer was given");
    };
    let need = usize::try_from(tail_bytes).expect("it is small");
    let tail = object.slice(object.len() - need..);
    assert_eq!(
        read_footer(&tail, length),
        Ok(FooterRead::Footer(footer_of(&object)))
    );
    let short = object.slice(object.len() - need + 1..);
    assert_eq!(
        read_footer(&short, length),
        Ok(FooterRead::NeedMore { tail_bytes })
    );
    assert_eq!(
        read_footer(&tail, length + 1),
        Err(FooterError::Length {
            stored: length,
            actual: length + 1
        })
    );
    assert_eq!(
        read_footer(&Bytes::from_static(b"short"), 5),
        Err(FooterError::NoTrailer)
    );
}

#[test]
fn an_object_without_runs_is_one() {
    let object = bytes_of(&builder().finish().expect("it is small"));
    assert_eq!(verify(&object).map(|footer| footer.runs.len()), Ok(0));
}

type Runs = std::collections::BTreeMap<(u8, i32), Vec<RecordBatch>>;

fn any_runs() -> impl Strategy<Value = Runs> {
    btree_map((0..4u8, 0..4i32), vec(any_batch(), 1..5), 0..6)
}

fn build(runs: &Runs, compression: BlockCompression) -> BuiltObject {
    let mut builder = ObjectBuilder::new(cluster(), id(ObjectLevel::L0), compression);
    for ((topic, index), batches) in runs {
        builder
            .add_run(partition(u128::from(*topic), *index), batches)
            .expect("in order");
    }
    builder.finish().expect("it is small")
}

proptest! {
    #[test]
    fn objects_round_trip(runs in any_runs(), off: bool) {
        let compression = if off { BlockCompression::Off } else { BlockCompression::default() };
        let built = build(&runs, compression);
        let object = bytes_of(&built);
        let footer = verify(&object)?;
        prop_assert_eq!(footer.cluster, cluster());
        prop_assert_eq!(footer.id, id(ObjectLevel::L0));
        prop_assert_eq!(footer.runs.len(), runs.len());
        for (((topic, index), batches), run) in runs.iter().zip(&built.runs) {
            prop_assert_eq!(run.partition, partition(u128::from(*topic), *index));
            prop_assert_eq!(&read_run(&object, run.position, run.stored_bytes), batches);
            let entry = footer.run(&run.partition).expect("it was added");
            prop_assert_eq!(entry.range(), run.position..run.position + u64::from(run.stored_bytes));
            let bytes: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
            prop_assert_eq!(count(bytes), u64::from(run.expanded_bytes));
            let records: u32 = batches.iter().map(|batch| batch.header.offsets()).sum();
            let end = entry.blocks.last().expect("one at least").end_offset;
            prop_assert_eq!(end.0, i64::from(records));
            let max = batches.iter().map(|batch| batch.header.max_timestamp).max();
            prop_assert_eq!(entry.blocks.iter().map(|block| block.max_timestamp).max(), max);
        }
    }

    #[test]
    fn any_flipped_bit_of_an_object_is_noticed(
        runs in any_runs(), bit in any::<prop::sample::Index>(),
    ) {
        let mut object = bytes_of(&build(&runs, BlockCompression::default())).to_vec();
        let bit = bit.index(object.len() * 8);
        object[bit / 8] ^= 1 << (bit % 8);
        let object = object.into();
        prop_assert!(verify(&object).is_err());
        prop_assert!(check_sums(&object).is_err());
    }

    #[test]
    fn a_cut_or_extended_object_is_noticed(
        runs in any_runs(), at in any::<prop::sample::Index>(), more in vec(any::<u8>(), 1..30),
    ) {
        let object = bytes_of(&build(&runs, BlockCompression::default()));
        let cut = object.slice(..at.index(object.len()));
        let extended = [&object[..], &more[..]].concat().into();
        for object in [cut, extended] {
            prop_assert!(verify(&object).is_err());
            prop_assert!(check_sums(&object).is_err());
        }
    }

    #[test]
    fn arbitrary_footers_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        // With a trailer that fits, so that what lies behind the CRC is reached.
        let mut object = OBJECT_MAGIC.to_vec();
        object.extend_from_slice(&bytes);
        let mut covered = u32::try_from(bytes.len())?.to_le_bytes().to_vec();
        covered.extend_from_slice(&count(object.len() + TRAILER_BYTES).to_le_bytes());
        let mut digest = crate::crc::Crc32c::new();
        digest.update(&bytes);
        digest.update(&covered);
        object.extend_from_slice(&covered);
        object.extend_from_slice(&digest.finish().to_le_bytes());
        object.extend_from_slice(&TRAILER_MAGIC);
        let object = Bytes::from(object);
        let read = read_footer(&object, count(object.len()));
        let sealed = !matches!(read, Err(FooterError::Crc { .. } | FooterError::NoTrailer));
        prop_assert!(sealed, "{:?}", read);
        let _ = (verify(&object), check_sums(&object));
        let _ = read_footer(&bytes.into(), 300);
    }
}
