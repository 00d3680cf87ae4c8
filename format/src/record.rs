//! The records inside a batch (Kafka's `DefaultRecord`), parsed by our own code: duplicate header
//! keys are kept, null and empty are told apart, and nothing is reserved by a count that was read.

use bytes::Bytes;
use thiserror::Error;

use crate::batch::{BatchError, BatchHeader, RecordBatch, TimestampType};
use crate::codec::CodecError;
use crate::varint::{self, VarintError};

/// A record; its bytes are slices of the batch, or of its one expanded copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds since 1970 (the append time where the batch says LogAppendTime).
    pub timestamp: i64,
    /// The key; null and empty differ.
    pub key: Option<Bytes>,
    /// The value; null is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    /// Headers in their order, duplicates included; values may be null.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Why a batch's records cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The batch's own header is wrong.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records cannot be expanded, or only to more than the cap.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A record is not built as one.
    #[error("record {index} is malformed: {what}")]
    Malformed {
        /// Which one, from 0.
        index: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// Bytes are left behind the last record.
    #[error("{bytes} bytes are left behind the last record of the batch")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
}

/// Opens a batch's records, expanded to at most `expanded_max` bytes
/// ([`crate::limits::BATCH_EXPANDED_BYTES_MAX`] where nothing tighter is known).
///
/// The iterator ends after the first error. It gives an error, too, where the batch ends before its
/// count is reached or goes on behind it.
///
/// # Errors
/// An unknown codec, a negative count, or records that do not expand.
pub fn records(batch: &RecordBatch, expanded_max: usize) -> Result<Records, RecordError> {
    let codec = batch.header.codec()?;
    let expanded = codec.expand(&batch.payload(), expanded_max)?;
    Ok(records_in(&batch.header, expanded)?)
}

/// The records of a batch that was expanded before.
pub(crate) fn records_in(header: &BatchHeader, expanded: Bytes) -> Result<Records, BatchError> {
    let append_time =
        (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
    let count = u32::try_from(header.record_count).map_err(|_| BatchError::Count {
        record_count: header.record_count,
        last_offset_delta: header.last_offset_delta,
    })?;
    Ok(Records {
        rest: expanded,
        index: 0,
        count,
        base_timestamp: header.base_timestamp,
        append_time,
    })
}

/// Iterates over the records of a batch; see [`records`].
#[derive(Clone, Debug)]
pub struct Records {
    rest: Bytes,
    index: u32,
    count: u32,
    base_timestamp: i64,
    append_time: Option<i64>,
}

impl Records {
    /// Bytes of the records that were not iterated over yet, expanded.
    #[must_use]
    pub fn remaining_bytes(&self) -> usize {
        self.rest.len()
    }

    fn step(&mut self) -> Result<Record, &'static str> {
        let (length, taken) = varint::read_i32(&self.rest).map_err(what)?;
        let length = usize::try_from(length).map_err(|_| "negative length")?;
        if length > self.rest.len() - taken {
            return Err("it ends behind the batch");
        }
        let mut body = Body(self.rest.split_to(taken + length).split_off(taken));
        body.take(1)?; // Attributes: unused.
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = body.nullable()?;
        let value = body.nullable()?;
        let headers = body.headers()?;
        if !body.0.is_empty() {
            return Err("bytes are left behind its headers");
        }
        Ok(Record {
            offset_delta,
            timestamp: self
                .append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }

    fn end(&mut self) -> Option<Result<Record, RecordError>> {
        let bytes = self.rest.len();
        self.rest.clear();
        (bytes > 0).then_some(Err(RecordError::TrailingBytes { bytes }))
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            return self.end();
        }
        let index = self.index;
        self.index += 1;
        let record = self.step().map_err(|what| {
            self.index = self.count;
            self.rest.clear();
            RecordError::Malformed { index, what }
        });
        Some(record)
    }
}

fn what(error: VarintError) -> &'static str {
    match error {
        VarintError::Short => "it is cut short",
        VarintError::Overlong => "a number is longer than its type",
    }
}

/// The fields of one record.
struct Body(Bytes);

impl Body {
    fn varint(&mut self) -> Result<i32, &'static str> {
        let (value, taken) = varint::read_i32(&self.0).map_err(what)?;
        bytes::Buf::advance(&mut self.0, taken);
        Ok(value)
    }

    fn varlong(&mut self) -> Result<i64, &'static str> {
        let (value, taken) = varint::read_i64(&self.0).map_err(what)?;
        bytes::Buf::advance(&mut self.0, taken);
        Ok(value)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, &'static str> {
        if length > self.0.len() {
            return Err("a field is longer than the record");
        }
        Ok(self.0.split_to(length))
    }

    /// A negative length is null, as in Kafka's `Utils.readBytes`.
    fn nullable(&mut self) -> Result<Option<Bytes>, &'static str> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn headers(&mut self) -> Result<Vec<(Bytes, Option<Bytes>)>, &'static str> {
        let count = usize::try_from(self.varint()?).map_err(|_| "negative number of headers")?;
        // A header takes at least two bytes.
        if count > self.0.len() / 2 {
            return Err("more headers than bytes for them");
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            let length = usize::try_from(self.varint()?).map_err(|_| "null header key")?;
            let key = self.take(length)?;
            headers.push((key, self.nullable()?));
        }
        Ok(headers)
    }
}
