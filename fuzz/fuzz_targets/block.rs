#![no_main]

use aquifer_format::block::{Blocks, expand_run};
use aquifer_fuzz::crc32c;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = expand_run(&Bytes::copy_from_slice(data));
    // And once with a checksum that fits, to get behind it: codec, expanded length, payload.
    let Some(([codec, length @ ..], payload)) = data.split_first_chunk::<4>() else {
        return;
    };
    let stored = u32::try_from(payload.len()).expect("inputs are small");
    let [high, middle, low] = *length;
    let mut block = vec![0xb1, codec % 3, 0, 0];
    block.extend_from_slice(&stored.to_le_bytes());
    block.extend_from_slice(&[low, middle, high, 0]);
    let crc = crc32c(&[&block, payload]);
    block.extend_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(payload);
    for block in Blocks::new(block.into()).flatten() {
        assert_eq!(
            u32::try_from(block.bytes.len()),
            Ok(block.header.expanded_bytes)
        );
    }
});
