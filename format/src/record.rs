//! The records inside a batch (Kafka's `DefaultRecord`), parsed by our own code: duplicate header
//! keys are kept, null and empty are told apart, and nothing is reserved by a count that was read.

#[cfg(test)]
mod tests;

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
    let cursor = Cursor {
        position: 0,
        index: 0,
        count,
        base_timestamp: header.base_timestamp,
        append_time,
    };
    Ok(Records { expanded, cursor })
}

/// Iterates over the records of a batch; see [`records`]. [`Self::next_view`] does the same without
/// touching reference counts.
#[derive(Clone, Debug)]
pub struct Records {
    expanded: Bytes,
    cursor: Cursor,
}

/// How far a batch's records were read.
#[derive(Clone, Debug)]
struct Cursor {
    position: usize,
    index: u32,
    count: u32,
    base_timestamp: i64,
    append_time: Option<i64>,
}

/// A record that borrows its bytes: for looking at all records of a batch and keeping few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds since 1970 (the append time where the batch says LogAppendTime).
    pub timestamp: i64,
    /// The key; null and empty differ.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// Headers in their order, duplicates included.
    pub headers: HeaderViews<'a>,
}

/// Iterates over the headers of a record. They were checked when the record was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderViews<'a> {
    rest: &'a [u8],
    count: usize,
}

impl Cursor {
    fn next<'a>(&mut self, expanded: &'a [u8]) -> Option<Result<RecordView<'a>, RecordError>> {
        let rest = &expanded[self.position..];
        if self.index == self.count {
            self.position = expanded.len();
            let bytes = rest.len();
            return (bytes > 0).then_some(Err(RecordError::TrailingBytes { bytes }));
        }
        let index = self.index;
        match parse(rest) {
            Ok((mut view, taken)) => {
                // Until here the timestamp is its delta.
                view.timestamp = self
                    .append_time
                    .unwrap_or_else(|| self.base_timestamp.wrapping_add(view.timestamp));
                self.index += 1;
                self.position += taken;
                Some(Ok(view))
            }
            Err(what) => {
                self.index = self.count;
                self.position = expanded.len();
                Some(Err(RecordError::Malformed { index, what }))
            }
        }
    }
}

impl Records {
    /// Bytes of the records that were not iterated over yet, expanded.
    #[must_use]
    pub fn remaining_bytes(&self) -> usize {
        self.expanded.len() - self.cursor.position
    }

    /// The next record, borrowed.
    pub fn next_view(&mut self) -> Option<Result<RecordView<'_>, RecordError>> {
        self.cursor.next(&self.expanded)
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let view = match self.cursor.next(&self.expanded)? {
            Ok(view) => view,
            Err(error) => return Some(Err(error)),
        };
        let own = |bytes: &[u8]| self.expanded.slice_ref(bytes);
        Some(Ok(Record {
            offset_delta: view.offset_delta,
            timestamp: view.timestamp,
            key: view.key.map(own),
            value: view.value.map(own),
            headers: view
                .headers
                .map(|(key, value)| (own(key), value.map(own)))
                .collect(),
        }))
    }
}

impl<'a> Iterator for HeaderViews<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 {
            return None;
        }
        self.count -= 1;
        let mut body = Body(self.rest);
        let header = body.header().ok()?;
        self.rest = body.0;
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for HeaderViews<'_> {}

/// The record at the front of `bytes`, its timestamp still a delta, and the bytes that it takes.
fn parse(bytes: &[u8]) -> Result<(RecordView<'_>, usize), &'static str> {
    let (length, taken) = varint::read_i32(bytes).map_err(what)?;
    let length = usize::try_from(length).map_err(|_| "negative length")?;
    let body = bytes[taken..]
        .get(..length)
        .ok_or("it ends behind the batch")?;
    let mut body = Body(body);
    body.take(1)?; // Attributes: unused.
    let view = RecordView {
        timestamp: body.varlong()?,
        offset_delta: body.varint()?,
        key: body.nullable()?,
        value: body.nullable()?,
        headers: body.headers()?,
    };
    if body.0.is_empty() {
        Ok((view, taken + length))
    } else {
        Err("bytes are left behind its headers")
    }
}

fn what(error: VarintError) -> &'static str {
    match error {
        VarintError::Short => "it is cut short",
        VarintError::Overlong => "a number is longer than its type",
    }
}

/// The fields of one record that were not read yet.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn varint(&mut self) -> Result<i32, &'static str> {
        let (value, taken) = varint::read_i32(self.0).map_err(what)?;
        self.0 = &self.0[taken..];
        Ok(value)
    }

    fn varlong(&mut self) -> Result<i64, &'static str> {
        let (value, taken) = varint::read_i64(self.0).map_err(what)?;
        self.0 = &self.0[taken..];
        Ok(value)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (field, rest) = self
            .0
            .split_at_checked(length)
            .ok_or("a field is longer than the record")?;
        self.0 = rest;
        Ok(field)
    }

    /// A negative length is null, as in Kafka's `Utils.readBytes`.
    fn nullable(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), &'static str> {
        let length = usize::try_from(self.varint()?).map_err(|_| "null header key")?;
        Ok((self.take(length)?, self.nullable()?))
    }

    fn headers(&mut self) -> Result<HeaderViews<'a>, &'static str> {
        let count = usize::try_from(self.varint()?).map_err(|_| "negative number of headers")?;
        // A header takes at least two bytes.
        if count > self.0.len() / 2 {
            return Err("more headers than bytes for them");
        }
        let rest = self.0;
        for _ in 0..count {
            self.header()?;
        }
        Ok(HeaderViews { rest, count })
    }
}
