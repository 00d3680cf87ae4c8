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

#[cfg(test)]
mod tests {
    use aquifer_format::{batch::BatchBuilder, codec::Codec, ids::Offset};

    use super::*;

    fn header(base_offset: i64, value: &[u8]) -> (BatchHeader, usize) {
        let mut builder = BatchBuilder::new(Codec::None).base_offset(Offset(base_offset));
        builder.append(1, None, Some(value), &[]);
        let batch = builder.build().unwrap();
        (batch.header, batch.bytes.len())
    }

    #[test]
    fn another_batch_another_place_and_another_order_are_told() {
        let tally = |batches: &[(BatchHeader, usize)]| {
            let mut tally = Tally::default();
            for (header, bytes) in batches {
                tally.add(header, *bytes);
            }
            tally
        };
        let (one, two) = (header(0, b"one"), header(1, b"two"));
        let told = tally(&[one, two]);
        assert_eq!((told.batches, told.records), (2, 2));
        assert_eq!(told, tally(&[one, two]));
        for other in [
            vec![one],
            vec![two, one],
            vec![one, header(2, b"two")],
            vec![one, header(1, b"owt")],
        ] {
            assert_ne!(told, tally(&other));
        }
    }
}
