//! The 61 bytes in front of every record batch of format v2 (KIP-98; Kafka's `DefaultRecordBatch`).

use bytes::BufMut;

use super::BatchError;
use crate::codec::Codec;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::limits::BATCH_HEADER_BYTES;

/// Bytes of a batch that its length field does not count: base offset and the length itself.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
/// Where the magic byte is.
pub(crate) const MAGIC_POSITION: usize = 16;
/// Where the bytes begin that the CRC covers: behind the CRC.
pub(crate) const CRC_START: usize = 21;
/// Format v2.
pub(crate) const MAGIC_V2: i8 = 2;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

/// What a batch's timestamps mean (Kafka's `TimestampType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Each record has the time that its producer gave it.
    CreateTime,
    /// Every record has the batch's max timestamp, which the broker set.
    LogAppendTime,
}

/// All header fields of a record batch, decoded. Decoding checks nothing but that 61 bytes are there;
/// see [`super::RecordBatch::validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (even if compaction removed that record).
    pub base_offset: Offset,
    /// Bytes that follow this field: the batch's length less 12.
    pub batch_length: i32,
    /// The partition leader epoch; outside the CRC.
    pub leader_epoch: LeaderEpoch,
    /// Format version: 2.
    pub magic: i8,
    /// CRC32C of everything behind it.
    pub crc: u32,
    /// Codec and flags; see the accessors.
    pub attributes: i16,
    /// Offset of the last record (even if compaction removed that record), less the base offset.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 that the records' timestamp deltas count from.
    pub base_timestamp: i64,
    /// Largest record timestamp, or the append time.
    pub max_timestamp: i64,
    /// The producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// Its epoch, or [`ProducerEpoch::NONE`].
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or [`Sequence::NONE`].
    pub base_sequence: Sequence,
    /// How many records follow.
    pub record_count: i32,
}

/// Takes fixed-size fields off the front of a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .expect("the fields of a header sum up to its length");
        self.0 = rest;
        *field
    }
}

impl BatchHeader {
    /// Decodes the first 61 bytes of `bytes`.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] if there are fewer.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = bytes
            .first_chunk::<BATCH_HEADER_BYTES>()
            .ok_or(BatchError::Truncated {
                needed: BATCH_HEADER_BYTES,
                available: bytes.len(),
            })?;
        let mut fields = Fields(header);
        Ok(Self {
            base_offset: Offset(i64::from_be_bytes(fields.take())),
            batch_length: i32::from_be_bytes(fields.take()),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(fields.take())),
            magic: i8::from_be_bytes(fields.take()),
            crc: u32::from_be_bytes(fields.take()),
            attributes: i16::from_be_bytes(fields.take()),
            last_offset_delta: i32::from_be_bytes(fields.take()),
            base_timestamp: i64::from_be_bytes(fields.take()),
            max_timestamp: i64::from_be_bytes(fields.take()),
            producer_id: ProducerId(i64::from_be_bytes(fields.take())),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(fields.take())),
            base_sequence: Sequence(i32::from_be_bytes(fields.take())),
            record_count: i32::from_be_bytes(fields.take()),
        })
    }

    /// The header's 61 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_i64(self.base_offset.0);
        out.put_i32(self.batch_length);
        out.put_i32(self.leader_epoch.0);
        out.put_i8(self.magic);
        out.put_u32(self.crc);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id.0);
        out.put_i16(self.producer_epoch.0);
        out.put_i32(self.base_sequence.0);
        out.put_i32(self.record_count);
        debug_assert!(out.is_empty());
        bytes
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`] for the codes that Kafka has given no meaning.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let code = self.attributes & CODEC_MASK;
        Codec::from_code(code).ok_or(BatchError::UnknownCodec { code })
    }

    /// What the timestamps mean.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers of the broker, which consumers do not see.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// The time after which compaction may drop the batch's tombstones, if it set one: it then takes
    /// the place of the base timestamp (KIP-534).
    #[must_use]
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// This header with a delete horizon, milliseconds since 1970. Records keep their times: their deltas are
    /// written anew, from the horizon on (KIP-534).
    #[must_use]
    pub fn with_delete_horizon(mut self, unix_millis: i64) -> Self {
        self.set_flag(DELETE_HORIZON, true);
        self.base_timestamp = unix_millis;
        self
    }

    /// The header of what is left of a batch when compaction took all its records: it still tells offsets,
    /// producer, epoch, sequence and time (Kafka's `DefaultRecordBatch.writeEmptyHeader`).
    #[must_use]
    pub fn emptied(mut self) -> Self {
        self.set_codec(Codec::None);
        self.set_flag(DELETE_HORIZON, false);
        self.base_timestamp = -1;
        self.record_count = 0;
        self
    }

    /// Whether the batch is part of a producer's idempotent stream.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    /// How many offsets the batch takes. At least 1 in a valid batch; 0 where the last offset delta
    /// is negative.
    #[must_use]
    pub fn offsets(&self) -> u32 {
        u32::try_from(i64::from(self.last_offset_delta) + 1).unwrap_or(0)
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .0
                .saturating_add(i64::from(self.last_offset_delta)),
        )
    }

    /// Length of the whole batch in bytes, from its length field.
    ///
    /// # Errors
    /// [`BatchError::Length`] if that is less than a header.
    pub fn size(&self) -> Result<usize, BatchError> {
        usize::try_from(self.batch_length)
            .ok()
            .map(|length| length + LENGTH_OVERHEAD)
            .filter(|size| *size >= BATCH_HEADER_BYTES)
            .ok_or(BatchError::Length {
                batch_length: self.batch_length,
            })
    }

    pub(crate) fn set_codec(&mut self, codec: Codec) {
        self.attributes = self.attributes & !CODEC_MASK | codec.code();
    }

    pub(crate) fn set_timestamp_type(&mut self, timestamp_type: TimestampType) {
        self.set_flag(
            LOG_APPEND_TIME,
            timestamp_type == TimestampType::LogAppendTime,
        );
    }

    pub(crate) fn set_transactional(&mut self, on: bool) {
        self.set_flag(TRANSACTIONAL, on);
    }

    pub(crate) fn set_control(&mut self, on: bool) {
        self.set_flag(CONTROL, on);
    }

    fn set_flag(&mut self, flag: i16, on: bool) {
        self.attributes = if on {
            self.attributes | flag
        } else {
            self.attributes & !flag
        };
    }

    /// CRC32C of this header's covered fields followed by `payload`.
    pub(crate) fn checksum(&self, payload: &[u8]) -> u32 {
        let mut digest = crate::crc::Crc32c::new();
        digest.update(&self.encode()[CRC_START..]);
        digest.update(payload);
        digest.finish()
    }
}
