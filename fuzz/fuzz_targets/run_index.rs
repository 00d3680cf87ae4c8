#![no_main]

use aquifer_format::object::RunIndex;
use aquifer_fuzz::crc32c;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The length of the blocks in front of the index, and the index's fields.
    let Some((front, fields)) = data.split_first_chunk::<4>() else {
        return;
    };
    let front = u32::from_le_bytes(*front);
    let _ = RunIndex::read(&Bytes::copy_from_slice(data), front);
    // And once with a checksum that fits.
    let length = u32::try_from(fields.len() + 4).expect("inputs are small");
    let mut block = vec![0xb1, 2, 0, 0];
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&length.to_le_bytes());
    let crc = crc32c(&[&block, fields, &length.to_le_bytes()]);
    block.extend_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(fields);
    block.extend_from_slice(&length.to_le_bytes());
    let run_bytes = u32::try_from(block.len()).expect("inputs are small");
    let run_bytes = front.saturating_add(run_bytes);
    if let Ok(index) = RunIndex::read(&block.into(), run_bytes) {
        // Its blocks lie one after the other, in order of their offsets, and it can be written again.
        let (mut position, mut offset) = (0, None);
        for entry in &index.blocks {
            assert_eq!(entry.range().start, position);
            assert!(offset <= Some(entry.base_offset) && entry.base_offset < entry.end_offset);
            (position, offset) = (entry.range().end, Some(entry.end_offset));
        }
        let again = index.encode();
        let run_bytes = u32::try_from(position).expect("within a run")
            + u32::try_from(again.len()).expect("inputs are small");
        assert_eq!(RunIndex::read(&again, run_bytes), Ok(index));
    }
});
