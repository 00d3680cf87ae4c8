//! Batches of other implementations are read as they were meant, and ours by them.
//!
//! `golden/java-*.bin` were written by Apache Kafka's client library (4.2) with
//! `golden/WriteBatches.java`.

use std::path::Path;

use aquifer_format::batch::{BatchBuilder, RecordBatch, TimestampType, recompress};
use aquifer_format::codec::Codec;
use aquifer_format::ids::{ProducerEpoch, ProducerId, Sequence};
use aquifer_format::limits::BATCH_EXPANDED_BYTES_MAX;
use aquifer_format::record::{Record, records};
use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType as TheirTimestampType,
};

fn read(batch: &RecordBatch) -> Vec<Record> {
    records(batch, BATCH_EXPANDED_BYTES_MAX)
        .expect("the batch expands")
        .collect::<Result<_, _>>()
        .expect("every record is sound")
}

fn of_java(codec: Codec) -> RecordBatch {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bytes = std::fs::read(path.join(format!("java-{codec}.bin"))).expect("it is kept in git");
    RecordBatch::parse(bytes.into()).expect("one batch")
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What `WriteBatches.java` appends.
fn expected(codec: Codec) -> Vec<Record> {
    let mut records = vec![
        Record {
            offset_delta: 0,
            timestamp: 1_700_000_000_000,
            key: None,
            value: None,
            headers: vec![
                (text("h"), Some(text("1"))),
                (text("h"), Some(text("2"))),
                (text("h"), None),
                (text(""), Some(text(""))),
            ],
        },
        Record {
            offset_delta: 1,
            timestamp: 1_700_000_000_500,
            key: Some(text("")),
            value: Some(text("")),
            headers: Vec::new(),
        },
        Record {
            offset_delta: 2,
            timestamp: 5,
            key: Some(text("k")),
            value: Some(text("v")),
            headers: Vec::new(),
        },
    ];
    let repetitive = if codec == Codec::None { 0 } else { 200 };
    records.extend((0..repetitive).map(|i| Record {
        offset_delta: 3 + i,
        timestamp: 1_700_000_000_000 + i64::from(i),
        key: Some(text(&format!("key-{i}"))),
        value: Some(text(&format!("{}{i}", "value ".repeat(100)))),
        headers: Vec::new(),
    }));
    records
}

#[test]
fn batches_of_the_java_client_are_read_in_every_codec() {
    for codec in Codec::ALL {
        let batch = of_java(codec);
        assert_eq!(batch.validate_produced(), Ok(()), "{codec}");
        assert_eq!(batch.header.codec(), Ok(codec));
        assert_eq!(batch.header.producer_id, ProducerId(4711));
        assert_eq!(batch.header.producer_epoch, ProducerEpoch(3));
        assert_eq!(batch.header.base_sequence, Sequence(42));
        assert_eq!(batch.header.max_timestamp, 1_700_000_000_500);
        assert_eq!(batch.header.timestamp_type(), TimestampType::CreateTime);
        assert_eq!(read(&batch), expected(codec), "{codec}");
    }
}

#[test]
fn our_uncompressed_batch_is_byte_for_byte_that_of_the_java_client() {
    let theirs = of_java(Codec::None);
    let mut ours =
        BatchBuilder::new(Codec::None).producer(ProducerId(4711), ProducerEpoch(3), Sequence(42));
    for record in expected(Codec::None) {
        ours.append_record(&record);
    }
    assert_eq!(ours.build().expect("offsets rise"), theirs);
}

#[test]
fn recompressing_batches_of_the_java_client_keeps_their_records() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            let batch = recompress(&of_java(from), to).expect("it is sound");
            assert_eq!(batch.validate_produced(), Ok(()), "{from} to {to}");
            assert_eq!(read(&batch), expected(from), "{from} to {to}");
        }
    }
}

fn theirs(i: i64) -> kafka_protocol::records::Record {
    kafka_protocol::records::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 9,
        producer_epoch: 1,
        timestamp_type: TheirTimestampType::Creation,
        offset: i,
        sequence: i32::try_from(i).expect("it is small") + 100,
        timestamp: 1_700_000_000_000 + i * i,
        key: (i % 3 != 0).then(|| text(&format!("key-{i}"))),
        value: (i % 4 != 0).then(|| text(&format!("value-{i}"))),
        headers: [("h".into(), Some(text("x"))), ("null".into(), None)]
            .into_iter()
            .collect(),
    }
}

#[test]
fn batches_of_the_protocol_crate_are_read_and_ours_read_by_it() {
    let list: Vec<_> = (0..20).map(theirs).collect();
    let mut encoded = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut encoded, &list, &options).expect("it is small");
    let batch = RecordBatch::parse(encoded.freeze()).expect("one batch");
    assert_eq!(batch.validate_produced(), Ok(()));
    let ours = read(&batch);
    assert_eq!(ours.len(), list.len());
    for (ours, theirs) in ours.iter().zip(&list) {
        assert_eq!(i64::from(ours.offset_delta), theirs.offset);
        assert_eq!(ours.timestamp, theirs.timestamp);
        assert_eq!(ours.key, theirs.key);
        assert_eq!(ours.value, theirs.value);
        assert_eq!(ours.headers.len(), theirs.headers.len());
    }
    let mut rebuilt =
        BatchBuilder::new(Codec::None).producer(ProducerId(9), ProducerEpoch(1), Sequence(100));
    for record in &ours {
        rebuilt.append_record(record);
    }
    let mut bytes = rebuilt.build().expect("offsets rise").bytes;
    let decoded = RecordBatchDecoder::decode(&mut bytes).expect("it is a batch");
    assert_eq!(decoded.records, list);
}
