//! What the fuzz targets share.

/// CRC32C of the pieces one after the other, bit by bit: to put checksums that fit in front of what
/// the fuzzer makes, without the code under test.
#[must_use]
pub fn crc32c(pieces: &[&[u8]]) -> u32 {
    let step = |crc: u32| crc >> 1 ^ 0x82f6_3b78 & (crc & 1).wrapping_neg();
    let bytes = pieces.iter().copied().flatten();
    !bytes.fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}
