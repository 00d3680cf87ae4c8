use aquifer_format::{batch::BatchBuilder, codec::Codec, ids::Offset};

use super::*;

/// Records at these offsets with these times.
fn batch(codec: Codec, base: i64, last_delta: i32, records: &[(i32, i64)]) -> Bytes {
    let mut builder = BatchBuilder::new(codec)
        .base_offset(Offset(base))
        .last_offset_delta(last_delta);
    for (delta, timestamp) in records {
        builder.append_at(*delta, *timestamp, None, Some(b"value"), &[]);
    }
    builder.build().unwrap().bytes
}

#[test]
fn the_first_record_that_was_not_read_is_found_in_every_codec() {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let bytes = batch(codec, 10, 4, &[(0, 100), (1, 300), (3, 200), (4, 400)]);
        for (from, timestamp) in [
            (0, Some(100)),
            (10, Some(100)),
            (11, Some(300)),
            // compaction took the one at 12
            (12, Some(200)),
            (14, Some(400)),
            (15, None),
        ] {
            assert_eq!(
                first_timestamp(bytes.clone(), from),
                timestamp,
                "{codec} {from}"
            );
        }
    }
}

#[test]
fn batches_that_were_read_are_passed_over() {
    let one = batch(Codec::None, 0, 1, &[(0, 100), (1, 101)]);
    let other = batch(Codec::Zstd, 2, 0, &[(0, 200)]);
    let bytes = Bytes::from([one, other].concat());
    assert_eq!(first_timestamp(bytes.clone(), 1), Some(101));
    assert_eq!(first_timestamp(bytes.clone(), 2), Some(200));
    // what was cut off is not looked at
    let cut = bytes.slice(..bytes.len() - 1);
    assert_eq!(first_timestamp(cut, 2), None);
    assert_eq!(first_timestamp(Bytes::new(), 0), None);
}

#[test]
fn a_batch_whose_last_records_are_gone_says_its_own_time() {
    let bytes = batch(Codec::None, 0, 9, &[(0, 100), (1, 150)]);
    assert_eq!(first_timestamp(bytes, 5), Some(150));
}

#[test]
fn records_without_a_time_have_no_age() {
    let bytes = batch(Codec::None, 0, 0, &[(0, -1)]);
    assert_eq!(first_timestamp(bytes, 0), None);
}
