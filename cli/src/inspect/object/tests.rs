use aquifer_format::{
    batch::BatchBuilder,
    block::BlockCompression,
    codec::Codec,
    ids::{
        ClusterId, Incarnation, LeaderEpoch, ObjectId, Offset, PartitionIndex, ProducerEpoch,
        ProducerId, Sequence, TopicId, UploadEpoch, WriterSlot,
    },
    key::parse_cluster_id,
    object::{AbortedTransaction, ObjectBuilder, StreamBuilder},
};

use super::*;
use crate::arguments::OutputForm;

fn cluster() -> ClusterId {
    parse_cluster_id("AQIDBAUGBwgJCgsMDQ4PEA").unwrap()
}

fn id() -> ObjectId {
    ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(2),
        writer: WriterSlot(3),
        level: ObjectLevel::L0,
        unique: 4,
    }
}

fn batch(codec: Codec, records: i64) -> RecordBatch {
    let mut builder =
        BatchBuilder::new(codec).producer(ProducerId(7), ProducerEpoch(1), Sequence(42));
    for i in 0..records {
        let value = format!("value {i} of a batch that repeats itself {i} times over");
        builder.append(1_795_366_800_000 + i, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

/// An object of two runs: one of them compressed when it was written, the other as it came.
fn object() -> Bytes {
    let mut builder = ObjectBuilder::new(cluster(), id(), BlockCompression::default());
    let partition = |index| PartitionId::new(TopicId(cluster().0), PartitionIndex(index));
    builder
        .add_run(
            partition(0),
            [batch(Codec::None, 20), batch(Codec::None, 3)],
        )
        .unwrap();
    builder
        .add_run(partition(5), [batch(Codec::Zstd, 2)])
        .unwrap();
    builder.finish().unwrap().payload.concat().into()
}

fn printed(found: &Found, form: OutputForm) -> String {
    let mut out = Vec::new();
    let mut printer = Printer::new(form, &mut out);
    found.print(&mut printer, true).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_object_shows_its_runs_blocks_and_batches() {
    let object = object();
    let found = Found::of(&object, Some(&object_key(cluster(), &id())));
    assert_eq!(found.problems, Vec::<String>::new());
    let text = printed(&found, OutputForm::Text);
    for words in [
        "every checksum is right",
        "AQIDBAUGBwgJCgsMDQ4PEA-5",
        "zstd",
        "2026-11-22T17:00:00.019Z",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let lines: Vec<Value> = printed(&found, OutputForm::Json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(of_kind(&lines, "object").len(), 1);
    assert_eq!(lines[0]["bytes"], object.len());
    assert_eq!(lines[0]["runs"], 2);
    let blocks = of_kind(&lines, "block");
    assert_eq!(blocks.len(), 2);
    assert_eq!(
        (&blocks[0]["position"], &blocks[0]["batches"]),
        (&json!(8), &json!(2))
    );
    assert_eq!(blocks[1]["partition"], 5);
    let batches = of_kind(&lines, "batch");
    let records: Vec<&Value> = batches.iter().map(|batch| &batch["records"]).collect();
    assert_eq!(records, [20, 3, 2]);
    assert!(batches.iter().all(|batch| batch["producer_id"] == 7));
}

#[test]
fn whatever_byte_is_damaged_is_told() {
    let object = object();
    for at in 0..object.len() {
        let mut damaged = object.to_vec();
        damaged[at] ^= 0x10;
        let found = Found::of(&damaged.into(), None);
        assert!(!found.problems.is_empty(), "byte {at}");
        printed(&found, OutputForm::Text);
    }
    for end in 0..object.len() {
        let found = Found::of(&object.slice(..end), None);
        assert!(!found.problems.is_empty(), "{end} bytes");
    }
}

#[test]
fn the_other_blocks_of_a_damaged_object_are_shown() {
    let mut damaged = object().to_vec();
    damaged[40] ^= 1;
    let found = Found::of(&damaged.into(), None);
    let good: Vec<bool> = found
        .blocks
        .iter()
        .map(|block| block.batches.is_ok())
        .collect();
    assert_eq!(good, [false, true]);
    assert!(
        found
            .problems
            .iter()
            .any(|problem| problem.contains("block at byte 8"))
    );
}

#[test]
fn an_object_under_another_name_is_told() {
    let other = ObjectId { unique: 5, ..id() };
    let found = Found::of(&object(), Some(&object_key(cluster(), &other)));
    assert_eq!(found.problems.len(), 1);
    assert!(
        found.problems[0].contains("it was written as"),
        "{:?}",
        found.problems
    );
}

/// An object of a compactor: a compacted run with an aborted transaction, and a plain one behind it.
fn merged_object() -> Bytes {
    let id = ObjectId {
        writer: WriterSlot::COMPACTOR,
        level: ObjectLevel::L2,
        ..id()
    };
    let mut builder = StreamBuilder::new(cluster(), id, BlockCompression::Off);
    let partition = PartitionId::new(TopicId(cluster().0), PartitionIndex(3));
    for (base, cleaned) in [(10, true), (50, false)] {
        builder.begin_run(partition, cleaned).unwrap();
        let batch = batch(Codec::None, 5);
        let header = batch.patched_header(Offset(base), LeaderEpoch(0), None);
        let bytes = [&header.encode()[..], &batch.payload()[..]].concat();
        let batch = RecordBatch::parse(bytes.into()).unwrap();
        builder.push(batch.into()).unwrap();
        let aborted = AbortedTransaction {
            first_offset: Offset(11),
            producer_id: ProducerId(77),
            last_offset: Offset(13),
        };
        let aborted = if cleaned { vec![aborted] } else { Vec::new() };
        builder.end_run(aborted).unwrap();
    }
    builder.finish().unwrap();
    builder.take(usize::MAX).concat().into()
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[test]
fn merged_objects_show_runs_indexes_and_aborted_transactions() {
    let object = merged_object();
    let found = Found::of(&object, None);
    assert_eq!(found.problems, Vec::<String>::new());
    let lines: Vec<Value> = printed(&found, OutputForm::Json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let runs = of_kind(&lines, "run");
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0]["compacted"], json!(true));
    assert_eq!(
        (&runs[0]["base_offset"], &runs[0]["end_offset"]),
        (&json!(10), &json!(15))
    );
    assert_eq!(runs[1]["compacted"], json!(false));
    let aborted = of_kind(&lines, "aborted_transaction");
    assert_eq!(aborted.len(), 1);
    assert_eq!(aborted[0]["producer_id"], json!(77));
    assert_eq!(of_kind(&lines, "block").len(), 2);
    assert_eq!(lines[0]["level"], json!("l2"));
    // A flipped bit in the index is told.
    let footer = found.footer.as_ref().unwrap();
    let end = usize::try_from(footer.runs[0].range().end).unwrap();
    let mut bad = object.to_vec();
    bad[end - 6] ^= 1;
    let found = Found::of(&bad.into(), None);
    assert!(
        found.problems.iter().any(|p| p.contains("index")),
        "{:?}",
        found.problems
    );
}
