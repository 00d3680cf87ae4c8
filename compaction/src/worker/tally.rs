//! Counting batches, on the way in and on the way out.

use aquifer_format::batch::BatchHeader;

/// What was counted of batches; in and out it must be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Batches.
    pub batches: u64,
    /// Records, as headers count them.
    pub records: u64,
    /// Bytes of batches.
    pub bytes: u64,
    /// CRC-64/NVME of the digest before, and of the batch's base offset, length and CRC.
    pub digest: u64,
}

impl Tally {
    /// Counts a batch of `bytes` bytes.
    pub fn add(&mut self, header: &BatchHeader, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.batches += 1;
        self.records += u64::try_from(header.record_count).unwrap_or(0);
        self.bytes += bytes;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        digest.update(&self.digest.to_be_bytes());
        digest.update(&header.base_offset.0.to_be_bytes());
        digest.update(&bytes.to_be_bytes());
        digest.update(&header.crc.to_be_bytes());
        self.digest = digest.finalize();
    }
}
