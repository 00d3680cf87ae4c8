#![no_main]

use aquifer_format::object::{
    FooterRead, MERGED_OBJECT_MAGIC, MERGED_TRAILER_MAGIC, OBJECT_MAGIC, TRAILER_BYTES,
    TRAILER_MAGIC, check_sums, read_footer, verify,
};
use aquifer_fuzz::crc32c;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("inputs are small")
}

fuzz_target!(|data: &[u8]| {
    let _ = read_footer(&Bytes::copy_from_slice(data), length(data.len()));
    // And once per version with a trailer that fits, to get behind its checksum.
    sealed(data, &OBJECT_MAGIC, &TRAILER_MAGIC);
    sealed(data, &MERGED_OBJECT_MAGIC, &MERGED_TRAILER_MAGIC);
});

fn sealed(footer: &[u8], magic: &[u8; 8], trailer_magic: &[u8; 8]) {
    let bytes = magic.len() + footer.len() + TRAILER_BYTES;
    let mut covered = Vec::new();
    covered.extend_from_slice(
        &u32::try_from(footer.len())
            .expect("inputs are small")
            .to_le_bytes(),
    );
    covered.extend_from_slice(&length(bytes).to_le_bytes());
    let crc = crc32c(&[footer, &covered]).to_le_bytes();
    let object = [&magic[..], footer, &covered, &crc, &trailer_magic[..]].concat();
    let object = Bytes::from(object);
    let _ = (verify(&object), check_sums(&object));
    if let Ok(FooterRead::Footer(footer)) = read_footer(&object, length(bytes)) {
        let mut end = 0;
        for run in &footer.runs {
            assert!(run.range().start >= end);
            end = run.range().end;
            assert!(footer.runs_of(&run.partition).contains(run));
            let _ = run.index().encode();
        }
        assert!(end <= length(bytes));
    }
}
