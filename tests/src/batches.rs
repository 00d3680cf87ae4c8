//! Record batches for raw requests.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use aquifer_format::{
    batch::BatchBuilder,
    codec::Codec,
    ids::{ProducerEpoch, ProducerId, Sequence},
};
use bytes::{Bytes, BytesMut};

/// Byte positions in a batch's header, for tests that falsify it.
pub mod at {
    /// The format's version.
    pub const MAGIC: usize = 16;
    /// The checksum.
    pub const CRC: usize = 17;
    /// Attributes (its second byte).
    pub const ATTRIBUTES: usize = 22;
    /// Offset of the last record within the batch (its last byte).
    pub const LAST_OFFSET_DELTA: usize = 26;
    /// The records' count (its last byte).
    pub const RECORD_COUNT: usize = 60;
}

/// Who produces: (producer id, epoch, first sequence).
pub type Producer = (i64, i16, i32);

/// A producer without an id.
pub const PLAIN: Producer = (-1, -1, -1);

/// A batch of records with these timestamps; record i has key `k<i>` and value `v<i>`.
///
/// # Panics
/// Never in practice.
#[must_use]
pub fn batch_at(codec: Codec, producer: Producer, timestamps: &[i64]) -> Bytes {
    let (id, epoch, sequence) = producer;
    let mut builder =
        BatchBuilder::new(codec).producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
    for (i, timestamp) in timestamps.iter().enumerate() {
        let (key, value) = (format!("k{i}"), format!("v{i}"));
        builder.append(
            *timestamp,
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            &[],
        );
    }
    builder.build().expect("a small batch").bytes
}

/// A batch of `count` records of now.
#[must_use]
pub fn batch(producer: Producer, count: usize) -> Bytes {
    batch_at(Codec::None, producer, &vec![now(); count])
}

/// One record without a key.
///
/// # Panics
/// Never in practice.
#[must_use]
pub fn keyless() -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(now(), None, Some(b"value"), &[]);
    builder.build().expect("a small batch").bytes
}

/// Milliseconds since 1970.
///
/// # Panics
/// If the machine's clock is before 1970.
#[must_use]
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("fits until the year 292 million")
}

/// Changes bytes of a batch and, if `seal`, makes its checksum right again.
///
/// # Panics
/// If `changes` are outside of the batch.
#[must_use]
pub fn falsified(batch: &Bytes, changes: &[(usize, u8)], seal: bool) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    for (position, value) in changes {
        bytes[*position] = *value;
    }
    if seal {
        let crc = crc32c(&bytes[at::CRC + 4..]);
        bytes[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    }
    bytes.freeze()
}

/// CRC-32C, bit by bit: independent of the code under test.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
