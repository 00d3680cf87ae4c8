#![no_main]

use aquifer_format::object::{
    FooterRead, OBJECT_MAGIC, TRAILER_BYTES, TRAILER_MAGIC, read_footer, verify,
};
use aquifer_fuzz::crc32c;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("inputs are small")
}

fuzz_target!(|data: &[u8]| {
    let _ = read_footer(&Bytes::copy_from_slice(data), length(data.len()));
    // And once with a trailer that fits, to get behind its checksum.
    let bytes = OBJECT_MAGIC.len() + data.len() + TRAILER_BYTES;
    let mut covered = Vec::new();
    covered.extend_from_slice(
        &u32::try_from(data.len())
            .expect("inputs are small")
            .to_le_bytes(),
    );
    covered.extend_from_slice(&length(bytes).to_le_bytes());
    let crc = crc32c(&[data, &covered]).to_le_bytes();
    let object = [&OBJECT_MAGIC, data, &covered, &crc, &TRAILER_MAGIC].concat();
    let object = Bytes::from(object);
    let _ = verify(&object);
    if let Ok(FooterRead::Footer(footer)) = read_footer(&object, length(bytes)) {
        let mut end = 0;
        for run in &footer.runs {
            assert!(run.range().start >= end);
            end = run.range().end;
            assert_eq!(footer.run(&run.partition), Some(run));
        }
        assert!(end <= length(bytes));
    }
});
