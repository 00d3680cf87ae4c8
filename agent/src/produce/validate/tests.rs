use aquifer_format::{
    batch::BatchBuilder,
    ids::{Offset, ProducerEpoch, ProducerId, Sequence},
};
use bytes::BytesMut;

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn configs(pairs: &[(&str, &str)]) -> TopicConfig {
    let set = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    TopicConfig::resolve(&set, &std::collections::BTreeMap::new())
}

fn builder(codec: Codec, times: &[i64]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    for time in times {
        builder.append(*time, Some(b"key"), Some(b"value"), &[]);
    }
    builder
}

fn batch(times: &[i64]) -> RecordBatch {
    builder(Codec::None, times).build().unwrap()
}

/// The batch with bytes replaced, and the CRC made right again.
fn altered(batch: &RecordBatch, at: usize, bytes: &[u8]) -> Bytes {
    let mut copy = BytesMut::from(&batch.bytes[..]);
    copy[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc(&copy[21..]);
    copy[17..21].copy_from_slice(&crc.to_be_bytes());
    copy.freeze()
}

/// CRC32C, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            }
        })
    })
}

fn code(records: Bytes, version: i16, config: &TopicConfig) -> Option<ResponseError> {
    shape(Some(records), version)
        .and_then(|batch| check(batch, config, NOW))
        .err()
        .map(|refusal| refusal.code)
}

#[test]
fn each_rule_has_kafkas_code() {
    use ResponseError::{
        CorruptMessage, InvalidProducerEpoch, InvalidRecord, InvalidTimestamp, MessageTooLarge,
        UnsupportedCompressionType,
    };
    let good = batch(&[NOW]);
    let plain = TopicConfig::default();
    let mut wrong_crc = BytesMut::from(&good.bytes[..]);
    let last = wrong_crc.len() - 1;
    wrong_crc[last] ^= 1;
    let producer = |sequence| {
        builder(Codec::None, &[NOW])
            .producer(ProducerId(1), ProducerEpoch(0), Sequence(sequence))
            .build()
            .unwrap()
            .bytes
    };
    let zstd = builder(Codec::Zstd, &[NOW]).build().unwrap().bytes;
    let small = configs(&[("max.message.bytes", "20")]);
    let cases: &[(&str, Bytes, i16, &TopicConfig, Option<ResponseError>)] = &[
        ("a good batch", good.bytes.clone(), 9, &plain, None),
        ("no batch", Bytes::new(), 9, &plain, Some(InvalidRecord)),
        (
            "two batches",
            [&good.bytes[..]; 2].concat().into(),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "cut short",
            good.bytes.slice(..60),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "magic 1",
            altered(&good, 16, &[1]),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "magic 3",
            altered(&good, 16, &[3]),
            9,
            &plain,
            Some(CorruptMessage),
        ),
        (
            "magic -1",
            altered(&good, 16, &[0xff]),
            9,
            &plain,
            Some(CorruptMessage),
        ),
        (
            "wrong crc",
            wrong_crc.freeze(),
            9,
            &plain,
            Some(CorruptMessage),
        ),
        (
            "offset 5",
            batch_at(5).bytes,
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "count 2 of 1",
            altered(&good, 57, &2i32.to_be_bytes()),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "count 0",
            altered(&good, 57, &0i32.to_be_bytes()),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "negative range",
            altered(&good, 23, &(-1i32).to_be_bytes()),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "control",
            altered(&good, 21, &0x20i16.to_be_bytes()),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        (
            "producer without sequence",
            producer(-1),
            9,
            &plain,
            Some(InvalidRecord),
        ),
        ("producer with one", producer(0), 9, &plain, None),
        (
            "producer without epoch",
            altered(&batch_of_producer(), 51, &(-1i16).to_be_bytes()),
            9,
            &plain,
            Some(InvalidProducerEpoch),
        ),
        (
            "no producer, whatever else it says",
            altered(&batch_of_producer(), 43, &(-2i64).to_be_bytes()),
            9,
            &plain,
            None,
        ),
        (
            "append time set",
            altered(&good, 21, &8i16.to_be_bytes()),
            9,
            &plain,
            Some(InvalidTimestamp),
        ),
        (
            "codec 7",
            altered(&good, 21, &7i16.to_be_bytes()),
            9,
            &plain,
            Some(UnsupportedCompressionType),
        ),
        (
            "zstd before v7",
            zstd.clone(),
            6,
            &plain,
            Some(UnsupportedCompressionType),
        ),
        ("zstd from v7", zstd, 7, &plain, None),
        (
            "too large",
            good.bytes.clone(),
            9,
            &small,
            Some(MessageTooLarge),
        ),
    ];
    for (name, records, version, config, expected) in cases {
        assert_eq!(code(records.clone(), *version, config), *expected, "{name}");
    }
}

fn batch_of_producer() -> RecordBatch {
    builder(Codec::None, &[NOW])
        .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
        .build()
        .unwrap()
}

fn batch_at(offset: i64) -> RecordBatch {
    builder(Codec::None, &[NOW])
        .base_offset(Offset(offset))
        .build()
        .unwrap()
}

#[test]
fn timestamps_are_checked_by_header_where_that_decides_and_by_record_where_not() {
    let hour = 3_600_000;
    let limited = configs(&[("message.timestamp.before.max.ms", "1000")]);
    let stamped = configs(&[("message.timestamp.type", "LogAppendTime")]);
    let plain = TopicConfig::default();
    type Case<'a> = (&'a [i64], &'a TopicConfig, Option<&'a [i32]>);
    let cases: &[Case<'_>] = &[
        (&[0, NOW, NOW + hour], &plain, None),
        (&[NOW, NOW + hour + 1, NOW], &plain, Some(&[1])),
        (&[-1], &plain, None),
        (&[NOW - 1000, NOW], &limited, None),
        (&[NOW, NOW - 1001], &limited, Some(&[1])),
        (&[NOW - 1001], &limited, Some(&[0])),
        (&[0, NOW + 2 * hour], &stamped, None),
    ];
    for (times, config, expected) in cases {
        for codec in Codec::ALL {
            let batch = builder(codec, times).build().unwrap();
            let refusal = check(batch, config, NOW).err();
            let indexes: Option<Vec<i32>> = refusal.as_ref().map(|refusal| {
                assert_eq!(refusal.code, ResponseError::InvalidTimestamp);
                refusal.records.iter().map(|(index, _)| *index).collect()
            });
            assert_eq!(indexes.as_deref(), *expected, "{times:?} {codec}");
        }
    }
}

#[test]
fn records_without_a_key_are_named_on_compacted_topics() {
    let compacted = configs(&[("cleanup.policy", "compact,delete")]);
    let mut builder = BatchBuilder::new(Codec::Lz4);
    builder.append(NOW, Some(b""), None, &[]);
    builder.append(NOW, None, Some(b"v"), &[]);
    builder.append(NOW, None, Some(b"v"), &[]);
    let refusal = check(builder.build().unwrap(), &compacted, NOW).unwrap_err();
    assert_eq!(refusal.code, ResponseError::InvalidRecord);
    let indexes: Vec<i32> = refusal.records.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [1, 2]);
    assert!(check(builder.build().unwrap(), &TopicConfig::default(), NOW).is_ok());
}

#[test]
fn a_topics_codec_replaces_the_producers() {
    for (name, codec) in [
        ("uncompressed", Codec::None),
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
    ] {
        let config = configs(&[("compression.type", name)]);
        for from in Codec::ALL {
            let sent = builder(from, &[NOW, NOW + 1])
                .producer(ProducerId(1), ProducerEpoch(2), Sequence(3))
                .build()
                .unwrap();
            let stored = check(sent.clone(), &config, NOW).unwrap();
            assert_eq!(stored.header.codec(), Ok(codec), "{from} to {name}");
            assert_eq!(stored.header.base_sequence, Sequence(3));
            assert_eq!(stored.validate(), Ok(()));
            let read = |batch: &RecordBatch| -> Vec<_> {
                records(batch, BATCH_EXPANDED_BYTES_MAX)
                    .unwrap()
                    .map(Result::unwrap)
                    .collect()
            };
            assert_eq!(read(&stored), read(&sent));
        }
    }
}

#[test]
fn answers_complain_of_a_bounded_number_of_records() {
    let times: Vec<i64> = (0..1000).map(|_| NOW + 7_200_000).collect();
    let refusal = check(batch(&times), &TopicConfig::default(), NOW).unwrap_err();
    assert_eq!(refusal.records.len(), RECORD_ERRORS_MAX);
}
