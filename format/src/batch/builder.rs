//! Builds record batches: for tests, tools and whoever rewrites records.

use thiserror::Error;

use super::{BatchHeader, RecordBatch, TimestampType};
use crate::codec::{Codec, CodecError};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::record::Record;
use crate::varint::{len_i64, write_i64};

/// A header to be written: its key and its value.
pub type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Why no batch could be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// The codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The batch does not fit its length field (2 GiB).
    #[error("the records are more than a batch can have")]
    TooLarge,
    /// The records' offsets do not rise, or go past the last offset that was set.
    #[error("offset delta {offset_delta} does not rise or is past the batch's last offset")]
    OffsetDelta {
        /// The record's.
        offset_delta: i32,
    },
}

/// Collects records and makes a batch of them.
///
/// Without further calls: no compression, base offset 0, no producer, CreateTime, leader epoch -1, as
/// producers send them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Codec,
    payload: Vec<u8>,
    last_offset_delta: Option<i32>,
    base_timestamp_fixed: bool,
    wrong_delta: Option<i32>,
}

impl BatchBuilder {
    /// A batch without records yet.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        let header = BatchHeader {
            base_offset: Offset(0),
            batch_length: 0,
            leader_epoch: LeaderEpoch(-1),
            magic: super::MAGIC_V2,
            crc: 0,
            attributes: codec.code(),
            last_offset_delta: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            record_count: 0,
        };
        Self {
            header,
            codec,
            payload: Vec::new(),
            last_offset_delta: None,
            base_timestamp_fixed: false,
            wrong_delta: None,
        }
    }

    /// A batch that continues the frame of an existing one: its offsets, producer, epoch, flags and
    /// base timestamp, and its codec; for rewriting some of its records.
    ///
    /// # Errors
    /// An unknown codec.
    pub fn like(header: &BatchHeader) -> Result<Self, super::BatchError> {
        let codec = header.codec()?;
        Ok(Self {
            header: BatchHeader {
                record_count: 0,
                ..*header
            },
            codec,
            payload: Vec::new(),
            last_offset_delta: Some(header.last_offset_delta),
            base_timestamp_fixed: true,
            wrong_delta: None,
        })
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.header.base_offset = offset;
        self
    }

    /// The partition leader epoch.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = epoch;
        self
    }

    /// The producer, and the sequence of the first record.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, sequence: Sequence) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self, on: bool) -> Self {
        self.header.set_transactional(on);
        self
    }

    /// Marks the batch as one of markers.
    #[must_use]
    pub fn control(mut self, on: bool) -> Self {
        self.header.set_control(on);
        self
    }

    /// Gives all records this time and marks the batch so.
    #[must_use]
    pub fn log_append_time(mut self, unix_millis: i64) -> Self {
        self.header.set_timestamp_type(TimestampType::LogAppendTime);
        self.header.max_timestamp = unix_millis;
        self
    }

    /// Makes the batch end at this offset delta though its last records are gone (compaction).
    #[must_use]
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> usize {
        usize::try_from(self.header.record_count).unwrap_or(0)
    }

    /// Bytes of the records so far, before compression.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Appends a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> &mut Self {
        let delta = self.next_delta();
        self.append_at(delta, timestamp, key, value, headers)
    }

    /// Appends a record with the offset delta that it has.
    pub fn append_record(&mut self, record: &Record) -> &mut Self {
        let headers: Vec<HeaderRef<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref()))
            .collect();
        self.append_at(
            record.offset_delta,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        )
    }

    /// Appends a record with this offset delta, which has to be above the ones before it.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> &mut Self {
        if offset_delta < self.next_delta() {
            self.wrong_delta.get_or_insert(offset_delta);
        }
        self.note_timestamp(timestamp);
        self.header.last_offset_delta = offset_delta;
        self.header.record_count = self.header.record_count.saturating_add(1);
        let timestamp_delta = timestamp.wrapping_sub(self.header.base_timestamp);
        let mut length = 1 + len_i64(timestamp_delta) + len_i64(i64::from(offset_delta));
        length += nullable_len(key) + nullable_len(value) + len_i64(signed(headers.len()));
        for (key, value) in headers {
            length += nullable_len(Some(key)) + nullable_len(*value);
        }
        let out = &mut self.payload;
        write_i64(out, signed(length));
        out.push(0);
        write_i64(out, timestamp_delta);
        write_i64(out, i64::from(offset_delta));
        write_nullable(out, key);
        write_nullable(out, value);
        write_i64(out, signed(headers.len()));
        for (key, value) in headers {
            write_nullable(out, Some(key));
            write_nullable(out, *value);
        }
        self
    }

    /// The batch. One without records is legal in a compacted log only.
    ///
    /// # Errors
    /// Offset deltas that do not rise, more than 2 GiB, or a codec that failed.
    pub fn build(&self) -> Result<RecordBatch, BuildError> {
        if let Some(offset_delta) = self.wrong_delta {
            return Err(BuildError::OffsetDelta { offset_delta });
        }
        let mut header = self.header;
        if let Some(last) = self.last_offset_delta {
            if header.record_count > 0 && header.last_offset_delta > last {
                return Err(BuildError::OffsetDelta {
                    offset_delta: header.last_offset_delta,
                });
            }
            header.last_offset_delta = last;
        }
        let batch = if self.codec == Codec::None {
            RecordBatch::assemble(header, &self.payload)
        } else {
            RecordBatch::assemble(header, &self.codec.compress(&self.payload)?)
        };
        batch.ok_or(BuildError::TooLarge)
    }

    /// The lowest offset delta that the next record may have.
    fn next_delta(&self) -> i32 {
        if self.header.record_count == 0 {
            0
        } else {
            self.header.last_offset_delta.saturating_add(1)
        }
    }

    fn note_timestamp(&mut self, timestamp: i64) {
        if self.header.record_count == 0 && !self.base_timestamp_fixed {
            self.header.base_timestamp = timestamp;
        }
        if self.header.timestamp_type() == TimestampType::LogAppendTime {
            return;
        }
        self.header.max_timestamp = if self.header.record_count == 0 {
            timestamp
        } else {
            self.header.max_timestamp.max(timestamp)
        };
    }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).expect("no slice is longer than i64::MAX")
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => len_i64(signed(bytes.len())) + bytes.len(),
        None => len_i64(-1),
    }
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            write_i64(out, signed(bytes.len()));
            out.extend_from_slice(bytes);
        }
        None => write_i64(out, -1),
    }
}
