use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::batch::BatchBuilder;
use crate::codec::Codec;
use crate::limits::BATCH_EXPANDED_BYTES_MAX;
use crate::samples::{any_codec, any_records, batch_of, numbered_batch};

fn all(batch: &RecordBatch) -> Result<Vec<Record>, RecordError> {
    records(batch, BATCH_EXPANDED_BYTES_MAX)?.collect()
}

/// Reads `payload` as the records of a batch that says it has `count`.
fn read(count: i32, payload: &[u8]) -> Result<Vec<Record>, RecordError> {
    let mut header = numbered_batch(Codec::None, 1).header;
    header.record_count = count;
    records_in(&header, Bytes::copy_from_slice(payload))?.collect()
}

#[test]
fn nulls_empties_and_duplicate_header_keys_are_kept_apart() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        let headers: [(&[u8], Option<&[u8]>); 4] = [
            (b"h", Some(b"1")),
            (b"h", Some(b"2")),
            (b"h", None),
            (b"", Some(b"")),
        ];
        builder.append(5, None, None, &headers);
        builder.append(-3, Some(b""), Some(b""), &[]);
        builder.append(9, Some(b"k"), Some(b"v"), &[]);
        let batch = builder.build().expect("offsets rise");
        assert_eq!(batch.header.base_timestamp, 5);
        assert_eq!(batch.header.max_timestamp, 9);
        let read = all(&batch).expect("just built");
        assert_eq!((&read[0].key, &read[0].value), (&None, &None), "{codec}");
        let expected: Vec<_> = headers
            .iter()
            .map(|(key, value)| {
                (
                    Bytes::copy_from_slice(key),
                    value.map(Bytes::copy_from_slice),
                )
            })
            .collect();
        assert_eq!(read[0].headers, expected, "{codec}");
        assert_eq!(read[1].key, Some(Bytes::new()), "{codec}");
        assert_eq!(read[1].value, Some(Bytes::new()), "{codec}");
        let times: Vec<_> = read.iter().map(|record| record.timestamp).collect();
        assert_eq!(times, [5, -3, 9], "{codec}");
    }
}

#[test]
fn malformed_records_say_what_is_wrong() {
    // Length 6: attributes, timestamp delta, offset delta, null key, null value, no headers.
    let good = [12, 0, 0, 0, 1, 1, 0];
    assert_eq!(read(1, &good).map(|records| records.len()), Ok(1));
    for (count, payload, error) in [
        (2, &good[..], "record 1 is malformed: it is cut short"),
        (1, &[][..], "record 0 is malformed: it is cut short"),
        (
            1,
            &good[..6],
            "record 0 is malformed: it ends behind the batch",
        ),
        (1, &[1, 0], "record 0 is malformed: negative length"),
        (
            1,
            &[0],
            "record 0 is malformed: a field is longer than the record",
        ),
        (
            1,
            &[14, 0, 0, 0, 1, 1, 0, 9],
            "record 0 is malformed: bytes are left behind its headers",
        ),
        (
            1,
            &[12, 0, 0, 0, 1, 1, 1],
            "record 0 is malformed: negative number of headers",
        ),
        (
            1,
            &[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
            "record 0 is malformed: more headers than bytes for them",
        ),
        (
            1,
            &[16, 0, 0, 0, 1, 1, 2, 1, 1],
            "record 0 is malformed: null header key",
        ),
        (
            1,
            &[12, 0, 0, 0, 8, 1, 0],
            "record 0 is malformed: a field is longer than the record",
        ),
        (
            1,
            &[0x80, 0x80, 0x80, 0x80, 0x80],
            "record 0 is malformed: a number is longer than its type",
        ),
        (
            1,
            &[12, 0, 0, 0, 1, 1, 0, 7, 7],
            "2 bytes are left behind the last record of the batch",
        ),
    ] {
        let result = read(count, payload).map_err(|error| error.to_string());
        assert_eq!(result, Err(error.to_owned()), "{payload:?}");
    }
    assert!(read(-1, &good).is_err());
}

#[test]
fn iteration_ends_after_an_error() {
    let mut header = numbered_batch(Codec::None, 1).header;
    header.record_count = 1_000_000;
    let mut records = records_in(&header, Bytes::from_static(&[1])).expect("a count is a count");
    assert!(matches!(records.next(), Some(Err(_))));
    assert_eq!(records.next(), None);
}

#[test]
fn uncompressed_records_are_slices_of_the_batch() {
    let batch = numbered_batch(Codec::None, 2);
    let range = batch.bytes.as_ptr_range();
    for record in all(&batch).expect("just built") {
        let value = record.value.expect("it has one");
        assert!(range.contains(&value.as_ptr()));
    }
}

#[test]
fn the_cap_holds_for_every_codec() {
    for codec in Codec::ALL {
        let batch = numbered_batch(codec, 100);
        let bytes: usize = numbered_batch(Codec::None, 100).payload().len();
        assert!(records(&batch, bytes).is_ok(), "{codec}");
        let result = records(&batch, bytes - 1).map(|_| ());
        let expected = CodecError::TooLarge {
            codec,
            expanded_max: bytes - 1,
        };
        assert_eq!(result, Err(RecordError::Codec(expected)));
    }
}

proptest! {
    #[test]
    fn records_round_trip(codec in any_codec(), list in any_records(20)) {
        let batch = batch_of(codec, &list);
        prop_assert_eq!(all(&batch)?, list.clone());
        let max = list.iter().map(|record| record.timestamp).max();
        prop_assert_eq!(Some(batch.header.max_timestamp), max);
        let mut views = records(&batch, BATCH_EXPANDED_BYTES_MAX)?;
        let mut count = 0;
        while let Some(view) = views.next_view() {
            let view = view?;
            prop_assert_eq!(view.key, list[count].key.as_deref());
            prop_assert_eq!(view.headers.len(), list[count].headers.len());
            prop_assert_eq!(view.headers.count(), list[count].headers.len());
            count += 1;
        }
        prop_assert_eq!(count, list.len());
    }

    #[test]
    fn arbitrary_records_never_panic(count: i32, payload in vec(any::<u8>(), 0..100)) {
        if let Ok(list) = read(count, &payload) {
            prop_assert_eq!(i32::try_from(list.len()), Ok(count));
        }
    }

    #[test]
    fn changed_records_never_panic(
        list in any_records(5),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let batch = batch_of(Codec::None, &list);
        let mut payload = batch.payload().to_vec();
        for (index, byte) in changes {
            let index = index.index(payload.len());
            payload[index] = byte;
        }
        let _ = read(batch.header.record_count, &payload);
    }
}
