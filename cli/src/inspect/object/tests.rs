use aquifer_format::{
    batch::BatchBuilder,
    block::BlockCompression,
    codec::Codec,
    ids::{
        ClusterId, Incarnation, ObjectId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
        TopicId, UploadEpoch, WriterSlot,
    },
    key::parse_cluster_id,
    object::ObjectBuilder,
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
    let of_kind =
        |kind: &str| -> Vec<&Value> { lines.iter().filter(|line| line["kind"] == kind).collect() };
    assert_eq!(of_kind("object").len(), 1);
    assert_eq!(lines[0]["bytes"], object.len());
    assert_eq!(lines[0]["runs"], 2);
    let blocks = of_kind("block");
    assert_eq!(blocks.len(), 2);
    assert_eq!(
        (&blocks[0]["position"], &blocks[0]["batches"]),
        (&json!(8), &json!(2))
    );
    assert_eq!(blocks[1]["partition"], 5);
    let batches = of_kind("batch");
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
