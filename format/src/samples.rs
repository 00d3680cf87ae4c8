//! Records and batches for tests.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::batch::{BatchBuilder, RecordBatch};
use crate::codec::Codec;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::record::Record;

pub(crate) fn any_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        // Something that compresses.
        (any::<u8>(), 0..300usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
    .prop_map(Bytes::from)
}

/// Records as a producer can send them: nulls, empties, duplicate header keys, any timestamps.
pub(crate) fn any_records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    let header = (
        prop::sample::select(vec!["", "a", "trace"]),
        prop::option::of(any_bytes()),
    )
        .prop_map(|(key, value)| (Bytes::from_static(key.as_bytes()), value));
    let timestamp = prop_oneof![
        4 => 1_700_000_000_000..1_700_000_100_000i64,
        1 => any::<i64>(),
    ];
    let record = (
        timestamp,
        prop::option::of(any_bytes()),
        prop::option::of(any_bytes()),
        vec(header, 0..4),
    );
    vec(record, 1..=most).prop_map(|records| {
        (0..)
            .zip(records)
            .map(|(offset_delta, (timestamp, key, value, headers))| Record {
                offset_delta,
                timestamp,
                key,
                value,
                headers,
            })
            .collect()
    })
}

pub(crate) fn batch_of(codec: Codec, records: &[Record]) -> RecordBatch {
    let mut builder =
        BatchBuilder::new(codec).producer(ProducerId(7), ProducerEpoch(1), Sequence(42));
    for record in records {
        builder.append_record(record);
    }
    builder.build().expect("deltas rise and it is small")
}

/// A batch as a producer can send it.
pub(crate) fn any_batch() -> impl Strategy<Value = RecordBatch> {
    (any_codec(), any_records(12)).prop_map(|(codec, records)| batch_of(codec, &records))
}

/// A batch of `records` numbered records.
pub(crate) fn numbered_batch(codec: Codec, records: i32) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    for i in 0..records {
        let key = format!("key-{i}");
        let value = format!("value {i} of a batch that repeats itself {i} times over");
        builder.append(
            1_700_000_000_000 + i64::from(i),
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            &[],
        );
    }
    builder.build().expect("deltas rise and it is small")
}
