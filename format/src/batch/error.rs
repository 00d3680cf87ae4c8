//! What can be wrong with a record batch.

use thiserror::Error;

use crate::ids::{Offset, Sequence};

/// Why bytes are not a record batch, or not one that may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("record batch is cut short: needs {needed} bytes, has {available}")]
    Truncated {
        /// Bytes of the batch, or of a header where not even that is there.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// The length field is less than a header takes.
    #[error("record batch has an impossible length field: {batch_length}")]
    Length {
        /// The field.
        batch_length: i32,
    },
    /// More bytes follow where only one batch was expected.
    #[error("{bytes} bytes follow the record batch")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Not format v2.
    #[error("record batch has magic {magic}; only format v2 is supported")]
    Magic {
        /// The magic byte.
        magic: i8,
    },
    /// The checksum does not match.
    #[error("record batch is corrupt: stored crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// From the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A codec that Kafka does not define.
    #[error("record batch has the unknown compression codec {code}")]
    UnknownCodec {
        /// The code.
        code: i16,
    },
    /// The last offset is before the first.
    #[error("record batch has an invalid offset range: last offset delta {last_offset_delta}")]
    OffsetRange {
        /// The field.
        last_offset_delta: i32,
    },
    /// The number of records is not the number of offsets.
    #[error(
        "record batch says {record_count} records but has a last offset delta of {last_offset_delta}"
    )]
    Count {
        /// The field.
        record_count: i32,
        /// The field.
        last_offset_delta: i32,
    },
    /// More records than the bytes can hold.
    #[error("record batch says {record_count} records, which {bytes} bytes cannot hold")]
    NoRoom {
        /// The field.
        record_count: i32,
        /// Bytes after the header.
        bytes: usize,
    },
    /// A client wrote a control batch.
    #[error("clients are not allowed to write control batches")]
    Control,
    /// A producer id without a sequence.
    #[error("record batch of a producer id has the sequence {base_sequence}")]
    Sequence {
        /// The field.
        base_sequence: Sequence,
    },
    /// A client chose the offset.
    #[error("record batch to be appended has the base offset {base_offset} instead of 0")]
    BaseOffset {
        /// The field.
        base_offset: Offset,
    },
    /// A client set the timestamp type that only the broker sets.
    #[error("producers must not set the timestamp type to LogAppendTime")]
    ProducedLogAppendTime,
}

/// How Kafka answers an error in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchErrorKind {
    /// CORRUPT_MESSAGE: the bytes are not what was sent; the producer sends them again.
    Corrupt,
    /// INVALID_RECORD: they are, and will never be accepted.
    Invalid,
    /// INVALID_TIMESTAMP.
    Timestamp,
    /// UNSUPPORTED_COMPRESSION_TYPE.
    Codec,
}

impl BatchError {
    /// How to answer it.
    #[must_use]
    pub fn kind(&self) -> BatchErrorKind {
        match self {
            Self::Truncated { .. } | Self::Length { .. } | Self::Crc { .. } => {
                BatchErrorKind::Corrupt
            }
            Self::UnknownCodec { .. } => BatchErrorKind::Codec,
            Self::ProducedLogAppendTime => BatchErrorKind::Timestamp,
            Self::TrailingBytes { .. }
            | Self::Magic { .. }
            | Self::OffsetRange { .. }
            | Self::Count { .. }
            | Self::NoRoom { .. }
            | Self::Control
            | Self::Sequence { .. }
            | Self::BaseOffset { .. } => BatchErrorKind::Invalid,
        }
    }
}
