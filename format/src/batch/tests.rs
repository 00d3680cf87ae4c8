use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::BATCH_EXPANDED_BYTES_MAX;
use crate::record::records;
use crate::samples::{any_batch, any_codec, any_records, batch_of, numbered_batch};

/// `batch` with its header changed and its CRC renewed.
fn resealed(batch: &RecordBatch, change: impl FnOnce(&mut BatchHeader)) -> RecordBatch {
    let mut header = batch.header;
    change(&mut header);
    header.crc = header.checksum(&batch.payload());
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&batch.payload());
    RecordBatch {
        header,
        bytes: bytes.into(),
    }
}

fn joined(pieces: [Bytes; 2]) -> RecordBatch {
    let bytes = [&pieces[0][..], &pieces[1][..]].concat();
    RecordBatch::parse(bytes.into()).expect("it was a batch before")
}

#[test]
fn each_rule_for_produced_batches_has_its_error_and_kafka_code() {
    let good = numbered_batch(Codec::None, 3);
    assert_eq!(good.validate_produced(), Ok(()));
    type Change = fn(&mut BatchHeader);
    let table: [(Change, BatchErrorKind); 11] = [
        (|h| h.magic = 1, BatchErrorKind::Invalid),
        (|h| h.base_offset = Offset(1), BatchErrorKind::Invalid),
        (|h| h.last_offset_delta = -1, BatchErrorKind::Invalid),
        (|h| h.last_offset_delta = 3, BatchErrorKind::Invalid),
        (|h| h.record_count = 2, BatchErrorKind::Invalid),
        (|h| h.record_count = 0, BatchErrorKind::Invalid),
        (|h| h.record_count = i32::MIN, BatchErrorKind::Invalid),
        (|h| h.set_control(true), BatchErrorKind::Invalid),
        (|h| h.producer_id = ProducerId(5), BatchErrorKind::Invalid),
        (|h| h.attributes |= 7, BatchErrorKind::Codec),
        (
            |h| h.set_timestamp_type(TimestampType::LogAppendTime),
            BatchErrorKind::Timestamp,
        ),
    ];
    for (row, (change, kind)) in table.into_iter().enumerate() {
        let batch = resealed(&good, change);
        let error = batch.validate_produced().expect_err("a rule is broken");
        assert_eq!(error.kind(), kind, "row {row}: {error}");
    }
}

#[test]
fn sequences_of_idempotent_producers_may_be_zero_and_largest() {
    for sequence in [0, i32::MAX] {
        let batch = resealed(&numbered_batch(Codec::None, 2), |h| {
            h.producer_id = ProducerId(0);
            h.producer_epoch = ProducerEpoch(0);
            h.base_sequence = Sequence(sequence);
        });
        assert_eq!(batch.validate_produced(), Ok(()));
    }
}

#[test]
fn older_formats_are_named_though_their_headers_are_shorter() {
    // A v1 message set entry: offset, size, crc, magic 1.
    let mut bytes = vec![0; 34];
    bytes[16] = 1;
    assert_eq!(split(bytes.into()), Err(BatchError::Magic { magic: 1 }));
}

#[test]
fn lengths_from_the_wire_reserve_and_index_nothing() {
    let good = numbered_batch(Codec::None, 1);
    for batch_length in [i32::MIN, -1, 0, 48, i32::MAX] {
        let mut bytes = good.bytes.to_vec();
        bytes[8..12].copy_from_slice(&batch_length.to_be_bytes());
        let error = split(bytes.into()).expect_err("no such length");
        assert_eq!(error.kind(), BatchErrorKind::Corrupt, "{batch_length}");
    }
}

#[test]
fn a_batch_alone_must_have_nothing_behind_it() {
    let batch = numbered_batch(Codec::None, 1);
    let two = [&batch.bytes[..], &batch.bytes[..]].concat();
    assert_eq!(
        RecordBatch::parse(two.into()),
        Err(BatchError::TrailingBytes {
            bytes: batch.bytes.len()
        })
    );
    assert!(RecordBatch::parse(Bytes::new()).is_err());
}

#[test]
fn patching_copies_the_header_only() {
    let batch = numbered_batch(Codec::Lz4, 20);
    let [_, rest] = batch.patched(Offset(9), LeaderEpoch(3), Some(5));
    assert_eq!(rest.as_ptr(), batch.bytes[BATCH_HEADER_BYTES..].as_ptr());
}

#[test]
fn builders_refuse_offsets_that_do_not_rise() {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append_at(3, 0, None, None, &[]);
    assert!(builder.build().is_ok());
    builder.append_at(3, 0, None, None, &[]);
    assert_eq!(
        builder.build(),
        Err(BuildError::OffsetDelta { offset_delta: 3 })
    );
    let mut builder = BatchBuilder::new(Codec::None).last_offset_delta(1);
    builder.append_at(2, 0, None, None, &[]);
    assert_eq!(
        builder.build(),
        Err(BuildError::OffsetDelta { offset_delta: 2 })
    );
}

#[test]
fn a_batch_that_lost_all_records_keeps_its_frame() {
    let full = resealed(&numbered_batch(Codec::Zstd, 5), |h| {
        h.base_offset = Offset(100);
        h.producer_id = ProducerId(3);
        h.producer_epoch = ProducerEpoch(0);
        h.base_sequence = Sequence(8);
    });
    let empty = BatchBuilder::like(&full.header)
        .map(|builder| builder.build().expect("no records, no wrong offsets"))
        .expect("zstd is known");
    assert_eq!(empty.validate_integrity(), Ok(()));
    assert_eq!(empty.header.last_offset(), Offset(104));
    assert_eq!(empty.header.record_count, 0);
    assert_eq!(empty.header.producer_id, ProducerId(3));
    assert_eq!(empty.header.base_sequence, Sequence(8));
    let mut none = records(&empty, BATCH_EXPANDED_BYTES_MAX).expect("it expands");
    assert_eq!(none.next(), None);
}

#[test]
fn control_batches_are_not_recompressed() {
    let marker = resealed(&numbered_batch(Codec::None, 1), |h| h.set_control(true));
    assert_eq!(recompress(&marker, Codec::Zstd), Ok(marker));
}

proptest! {
    #[test]
    fn headers_round_trip(bytes in vec(any::<u8>(), BATCH_HEADER_BYTES)) {
        let header = BatchHeader::decode(&bytes).expect("61 bytes");
        prop_assert_eq!(&header.encode()[..], &bytes[..]);
    }

    #[test]
    fn what_is_built_is_valid_and_splits_where_it_was_joined(
        batches in vec(any_batch(), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        for batch in &batches {
            prop_assert_eq!(batch.validate_produced(), Ok(()));
        }
        let joined: Vec<u8> = batches.iter().flat_map(|b| b.bytes.to_vec()).collect();
        prop_assert_eq!(&split(joined.clone().into())?, &batches);
        // Cut anywhere: whole batches up to there, then an error, or the end of a batch.
        if !joined.is_empty() {
            let cut = cut.index(joined.len());
            let parsed: Vec<_> = Batches::new(Bytes::from(joined).slice(..cut)).collect();
            let whole = parsed.iter().take_while(|batch| batch.is_ok()).count();
            let ends = batches[..whole].iter().map(|b| b.bytes.len()).sum::<usize>();
            prop_assert_eq!(parsed.len(), whole + usize::from(ends != cut));
            for (parsed, batch) in parsed.iter().zip(&batches).take(whole) {
                prop_assert_eq!(parsed.as_ref(), Ok(batch));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() > MAGIC_POSITION {
            bytes[MAGIC_POSITION] = 2;
            bytes[8..12].copy_from_slice(&[0, 0, 0, 60]);
        }
        for batch in Batches::new(bytes.into()).flatten() {
            let _ = batch.validate_produced();
            let _ = batch.patched(Offset(1), LeaderEpoch(1), Some(1));
            let _ = recompress(&batch, Codec::Zstd);
            if let Ok(records) = records(&batch, 1 << 20) {
                let _ = records.count();
            }
        }
    }

    #[test]
    fn any_flipped_bit_that_the_crc_covers_is_noticed(
        batch in any_batch(),
        bit in any::<prop::sample::Index>(),
    ) {
        // Outside are the base offset and the leader epoch; the length and the magic are checked.
        let mut bytes = batch.bytes.to_vec();
        let bit = bit.index(bytes.len() * 8);
        let outside = bit / 8 < 8 || (12..16).contains(&(bit / 8));
        bytes[bit / 8] ^= 1 << (bit % 8);
        let result = RecordBatch::parse(bytes.into()).and_then(|batch| batch.validate());
        prop_assert_eq!(result.is_ok(), outside);
    }

    #[test]
    fn patched_batches_keep_or_renew_their_crc(
        batch in any_batch(), offset: i64, epoch: i32, time in prop::option::of(any::<i64>()),
    ) {
        let patched = joined(batch.patched(Offset(offset), LeaderEpoch(epoch), time));
        prop_assert_eq!(patched.validate(), Ok(()));
        prop_assert_eq!(patched.header.base_offset, Offset(offset));
        prop_assert_eq!(patched.header.leader_epoch, LeaderEpoch(epoch));
        prop_assert_eq!(patched.payload(), batch.payload());
        match time {
            None => prop_assert_eq!(patched.header.crc, batch.header.crc),
            Some(time) => {
                prop_assert_eq!(patched.header.timestamp_type(), TimestampType::LogAppendTime);
                for record in records(&patched, BATCH_EXPANDED_BYTES_MAX)? {
                    prop_assert_eq!(record?.timestamp, time);
                }
            }
        }
    }

    #[test]
    fn recompression_changes_the_codec_and_nothing_else(
        from in any_codec(), to in any_codec(), list in any_records(12),
    ) {
        let batch = batch_of(from, &list);
        let other = recompress(&batch, to)?;
        prop_assert_eq!(other.validate_produced(), Ok(()));
        prop_assert_eq!(other.header.codec(), Ok(to));
        let expected = BatchHeader {
            batch_length: other.header.batch_length,
            crc: other.header.crc,
            attributes: other.header.attributes,
            ..batch.header
        };
        prop_assert_eq!(other.header, expected);
        let read: Result<Vec<_>, _> = records(&other, BATCH_EXPANDED_BYTES_MAX)?.collect();
        prop_assert_eq!(read?, list);
    }
}

#[test]
fn compaction_keeps_the_frame_of_a_batch() {
    let mut builder = BatchBuilder::new(Codec::Gzip)
        .base_offset(Offset(40))
        .producer(ProducerId(7), ProducerEpoch(2), Sequence(11));
    builder.append(1_000, Some(b"a"), Some(b"1"), &[]);
    builder.append(1_500, Some(b"b"), None, &[(b"h", None)]);
    builder.append(1_200, Some(b"c"), None, &[]);
    let batch = builder.build().expect("rising offsets");
    let opened = |batch: &RecordBatch| -> Vec<_> {
        let records = records(batch, BATCH_EXPANDED_BYTES_MAX).expect("a batch");
        records.map(|record| record.expect("a record")).collect()
    };
    let all = opened(&batch);

    let header = batch.header.with_delete_horizon(90_000);
    let mut thinned = BatchBuilder::like(&header).expect("a known codec");
    thinned.append_record(&all[1]);
    let thinned = thinned.build().expect("rising offsets");
    assert_eq!(thinned.validate_integrity(), Ok(()));
    assert_eq!(thinned.header.delete_horizon(), Some(90_000));
    assert_eq!(thinned.header.max_timestamp, 1_500);
    assert_eq!(thinned.header.last_offset(), Offset(42));
    assert_eq!(thinned.header.base_sequence, Sequence(11));
    assert_eq!(opened(&thinned), all[1..2]);

    let emptied = BatchBuilder::like(&thinned.header.emptied()).expect("no codec");
    let emptied = emptied.build().expect("no records");
    assert_eq!(emptied.validate_integrity(), Ok(()));
    assert_eq!(emptied.bytes.len(), BATCH_HEADER_BYTES);
    assert_eq!(
        emptied.header,
        BatchHeader {
            batch_length: 49,
            crc: emptied.header.crc,
            attributes: 0,
            base_timestamp: -1,
            record_count: 0,
            ..thinned.header
        }
    );
    assert!(opened(&emptied).is_empty());
}
