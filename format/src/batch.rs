//! Record batches of format v2 as clients send them: a view over bytes that are never copied.
//!
//! What is checked where follows Kafka: sizes and CRC are `DefaultRecordBatch.ensureValid`, counts,
//! control flag and sequence are `LogValidator.validateBatch`. Records are opened only where a rule
//! demands it ([`crate::record`]).

mod builder;
mod error;
mod header;
mod recompress;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::builder::{BatchBuilder, BuildError, HeaderRef};
pub use self::error::{BatchError, BatchErrorKind};
pub(crate) use self::header::MAGIC_V2;
pub use self::header::{BatchHeader, TimestampType};
use self::header::{CRC_START, LENGTH_OVERHEAD, MAGIC_POSITION};
pub use self::recompress::{RecompressError, recompress};
use crate::codec::Codec;
use crate::crc::crc32c;
use crate::ids::{LeaderEpoch, Offset};
use crate::limits::{BATCH_EXPANDED_BYTES_MAX, BATCH_HEADER_BYTES, RECORD_BYTES_MIN};

/// One record batch: its decoded header and all its bytes, the header's included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// The header, as it stands in `bytes`.
    pub header: BatchHeader,
    /// The whole batch.
    pub bytes: Bytes,
}

impl RecordBatch {
    /// The one batch that `bytes` is, to its last byte. Checks magic and length; see
    /// [`Self::validate`] for the rest.
    ///
    /// # Errors
    /// As [`split`], and [`BatchError::TrailingBytes`].
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let mut batches = Batches::new(bytes);
        let batch = batches.next().unwrap_or(Err(BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            available: 0,
        }))?;
        match batches.remaining() {
            0 => Ok(batch),
            bytes => Err(BatchError::TrailingBytes { bytes }),
        }
    }

    /// The records, compressed as [`BatchHeader::codec`] says.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(BATCH_HEADER_BYTES.min(self.bytes.len())..)
    }

    /// Checks what can be told without opening the records: length, magic, CRC32C, a known codec,
    /// and that the count agrees with the offset range. (A batch that compaction thinned out does
    /// not pass the last one; it never comes from a client.)
    ///
    /// # Errors
    /// The first check that failed; [`BatchError::kind`] says how to answer it.
    pub fn validate(&self) -> Result<(), BatchError> {
        self.validate_integrity()?;
        self.header.codec()?;
        let header = &self.header;
        if header.last_offset_delta < 0 {
            return Err(BatchError::OffsetRange {
                last_offset_delta: header.last_offset_delta,
            });
        }
        if header.record_count <= 0
            || i64::from(header.record_count) != i64::from(header.last_offset_delta) + 1
        {
            return Err(BatchError::Count {
                record_count: header.record_count,
                last_offset_delta: header.last_offset_delta,
            });
        }
        self.validate_room()
    }

    /// Whether the records that the header counts can be in the batch at all. Without opening it, this
    /// stops a header that takes two billion offsets for a few bytes.
    fn validate_room(&self) -> Result<(), BatchError> {
        let payload = self.bytes.len().saturating_sub(BATCH_HEADER_BYTES);
        let expanded_max = match self.header.codec()? {
            Codec::None => payload,
            _ => BATCH_EXPANDED_BYTES_MAX,
        };
        let fit = usize::try_from(self.header.record_count)
            .is_ok_and(|count| count <= expanded_max / RECORD_BYTES_MIN);
        if fit {
            Ok(())
        } else {
            Err(BatchError::NoRoom {
                record_count: self.header.record_count,
                bytes: payload,
            })
        }
    }

    /// Checks length, magic and CRC32C only: true of every batch that was ever stored.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn validate_integrity(&self) -> Result<(), BatchError> {
        if self.header.magic != MAGIC_V2 {
            return Err(BatchError::Magic {
                magic: self.header.magic,
            });
        }
        let size = self.header.size()?;
        if size != self.bytes.len() {
            return Err(BatchError::Truncated {
                needed: size,
                available: self.bytes.len(),
            });
        }
        let computed = crc32c(&self.bytes[CRC_START..]);
        if computed != self.header.crc {
            return Err(BatchError::Crc {
                stored: self.header.crc,
                computed,
            });
        }
        Ok(())
    }

    /// [`Self::validate`], and what only a producer must not do: write control batches, leave out
    /// the sequence of an idempotent stream, claim LogAppendTime, or begin elsewhere than at offset 0
    /// (Kafka's `UnifiedLog.analyzeAndValidateRecords`).
    ///
    /// # Errors
    /// The first check that failed.
    pub fn validate_produced(&self) -> Result<(), BatchError> {
        if self.header.magic == MAGIC_V2 && self.header.base_offset != Offset(0) {
            return Err(BatchError::BaseOffset {
                base_offset: self.header.base_offset,
            });
        }
        self.validate()?;
        if self.header.is_control() {
            return Err(BatchError::Control);
        }
        if self.header.has_producer() && self.header.base_sequence.0 < 0 {
            return Err(BatchError::Sequence {
                base_sequence: self.header.base_sequence,
            });
        }
        if self.header.timestamp_type() == TimestampType::LogAppendTime {
            return Err(BatchError::ProducedLogAppendTime);
        }
        Ok(())
    }

    /// The batch as readers get it: with its real base offset and leader epoch, both outside the CRC,
    /// and, where `log_append_time` is given, with that time and a renewed CRC. The first piece is a
    /// fresh header, the second the untouched rest.
    #[must_use]
    pub fn patched(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        log_append_time: Option<i64>,
    ) -> [Bytes; 2] {
        let header = self.patched_header(base_offset, leader_epoch, log_append_time);
        [Bytes::copy_from_slice(&header.encode()), self.payload()]
    }

    /// The header of [`Self::patched`].
    #[must_use]
    pub fn patched_header(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        log_append_time: Option<i64>,
    ) -> BatchHeader {
        let mut header = BatchHeader {
            base_offset,
            leader_epoch,
            ..self.header
        };
        if let Some(time) = log_append_time {
            header.set_timestamp_type(TimestampType::LogAppendTime);
            header.max_timestamp = time;
            header.crc = header.checksum(self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default());
        }
        header
    }

    /// A batch of this header and payload; length and CRC are set here.
    pub(crate) fn assemble(mut header: BatchHeader, payload: &[u8]) -> Option<Self> {
        let size = BATCH_HEADER_BYTES + payload.len();
        header.batch_length = i32::try_from(size - LENGTH_OVERHEAD).ok()?;
        header.magic = MAGIC_V2;
        header.crc = header.checksum(payload);
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(payload);
        Some(Self {
            header,
            bytes: bytes.into(),
        })
    }
}

/// Splits a concatenation of batches, as a Produce request or a block has it, into its batches.
/// Checks that each has magic 2 and lies within the bytes; see [`RecordBatch::validate`] for the
/// rest.
///
/// # Errors
/// The first batch that is cut short, has an impossible length, or another magic.
pub fn split(bytes: Bytes) -> Result<Vec<RecordBatch>, BatchError> {
    Batches::new(bytes).collect()
}

/// Iterates over the batches of a concatenation; ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// The batches that lie one after the other in `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that were not iterated over yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn step(&mut self) -> Result<RecordBatch, BatchError> {
        // Older formats keep their magic at the same place but have shorter headers: say what they
        // are instead of calling them truncated.
        if let Some(magic) = self.rest.get(MAGIC_POSITION) {
            let magic = magic.cast_signed();
            if magic != MAGIC_V2 {
                return Err(BatchError::Magic { magic });
            }
        }
        let header = BatchHeader::decode(&self.rest)?;
        let size = header.size()?;
        if size > self.rest.len() {
            return Err(BatchError::Truncated {
                needed: size,
                available: self.rest.len(),
            });
        }
        Ok(RecordBatch {
            header,
            bytes: self.rest.split_to(size),
        })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = self.step();
        if result.is_err() {
            self.rest.clear();
        }
        Some(result)
    }
}
