//! Another codec for the same records: what a topic's `compression.type` demands.

use thiserror::Error;

use super::{BatchError, RecordBatch};
use crate::codec::{Codec, CodecError};
use crate::limits::BATCH_EXPANDED_BYTES_MAX;
use crate::record::{RecordError, records_in};

/// Why a batch cannot be compressed otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecompressError {
    /// Its records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The new codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The result does not fit the length field.
    #[error("recompressed batch is larger than a batch can be")]
    TooLarge,
}

impl From<BatchError> for RecompressError {
    fn from(error: BatchError) -> Self {
        Self::Records(error.into())
    }
}

/// The same batch with its records compressed by `codec`: producer, sequence, timestamps, offsets,
/// headers and the records' own bytes stay. A batch that has the codec already is returned as it is,
/// and control batches always are. The records are read through once, so that what is stored under a
/// new CRC is sound (Kafka's `LogValidator` rebuilds such batches record by record).
///
/// # Errors
/// Records that are malformed or expand to more than
/// [`crate::limits::BATCH_EXPANDED_BYTES_MAX`].
pub fn recompress(batch: &RecordBatch, codec: Codec) -> Result<RecordBatch, RecompressError> {
    let from = batch.header.codec()?;
    if from == codec || batch.header.is_control() {
        return Ok(batch.clone());
    }
    let payload = from.expand(&batch.payload(), BATCH_EXPANDED_BYTES_MAX)?;
    for record in records_in(&batch.header, payload.clone())? {
        record?;
    }
    let mut header = batch.header;
    header.set_codec(codec);
    let assembled = if codec == Codec::None {
        RecordBatch::assemble(header, &payload)
    } else {
        RecordBatch::assemble(header, &codec.compress(&payload)?)
    };
    assembled.ok_or(RecompressError::TooLarge)
}
