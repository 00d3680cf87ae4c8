#![no_main]

use aquifer_format::batch::{Batches, RecordBatch};
use aquifer_format::ids::{LeaderEpoch, Offset};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut position = 0;
    for batch in Batches::new(Bytes::copy_from_slice(data)).flatten() {
        assert_eq!(batch.bytes, data[position..position + batch.bytes.len()]);
        assert_eq!(batch.header.encode(), batch.bytes[..61]);
        position += batch.bytes.len();
        let valid = batch.validate();
        let _ = batch.validate_produced();
        for time in [None, Some(7)] {
            let [header, payload] = batch.patched(Offset(9), LeaderEpoch(3), time);
            let patched = RecordBatch::parse([header, payload].concat().into());
            let patched = patched.expect("the length did not change");
            if valid.is_ok() {
                assert_eq!(patched.validate(), Ok(()));
            }
        }
    }
});
