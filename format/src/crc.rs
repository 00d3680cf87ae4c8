//! CRC32C, the checksum of record batches, blocks and footers.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC32C of one slice.
#[inline]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC32C of slices one after the other.
pub(crate) struct Crc32c(Digest);

impl Crc32c {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> u32 {
        u32::try_from(self.0.finalize()).expect("a 32-bit checksum")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polynomial_is_castagnoli() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        let mut digest = Crc32c::new();
        digest.update(b"1234");
        digest.update(b"56789");
        assert_eq!(digest.finish(), 0xe306_9283);
    }
}
