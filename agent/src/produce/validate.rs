//! What a Produce request may bring for one partition.
//!
//! Order of checks and error codes are those of Kafka's `ProduceRequest.validateRecords`, then
//! `UnifiedLog.analyzeAndValidateRecords`, then `LogValidator`. Records are opened only where a rule
//! asks for it: keys on compacted topics, timestamps that the header cannot decide, another codec.

use aquifer_format::{
    batch::{BatchError, BatchErrorKind, RecompressError, RecordBatch, recompress},
    codec::Codec,
    ids::{Offset, ProducerEpoch},
    limits::BATCH_EXPANDED_BYTES_MAX,
    record::{RecordError, records},
};
use aquifer_metadata_api::config::{Compression, TimestampType, TopicConfig};
use aquifer_store::UnixMillis;
use bytes::Bytes;
use kafka_protocol::ResponseError;

/// First Produce version that may carry zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;
/// Most single records that an answer complains of; a batch can have millions.
const RECORD_ERRORS_MAX: usize = 100;
/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// Why a partition's records are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Kafka's code.
    pub(crate) code: ResponseError,
    /// For people.
    pub(crate) message: String,
    /// Single records: index within the batch, and what is wrong.
    pub(crate) records: Vec<(i32, String)>,
    /// Where the log begins whose rules the records break, if they came as far.
    pub(crate) log_start: Option<Offset>,
}

impl Refusal {
    pub(crate) fn new(code: ResponseError, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            records: Vec::new(),
            log_start: None,
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(ResponseError::InvalidRecord, message)
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        let code = match error.kind() {
            // Kafka finds no batch at all in bytes that end too early.
            BatchErrorKind::Corrupt if matches!(error, BatchError::Truncated { .. }) => {
                ResponseError::InvalidRecord
            }
            BatchErrorKind::Corrupt => ResponseError::CorruptMessage,
            BatchErrorKind::Invalid => ResponseError::InvalidRecord,
            BatchErrorKind::Timestamp => ResponseError::InvalidTimestamp,
            BatchErrorKind::Codec => ResponseError::UnsupportedCompressionType,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Batch(error) => error.into(),
            error => Self::invalid(error.to_string()),
        }
    }
}

/// The shape that Produce demands of a partition's records, whatever the topic: one batch, format v2.
/// Kafka checks it before `acks`.
pub(crate) fn shape(records: Option<Bytes>, version: i16) -> Result<RecordBatch, Refusal> {
    let records = records.unwrap_or_default();
    if records.is_empty() {
        return Err(Refusal::invalid(format!(
            "Produce requests with version {version} must have at least one record batch per partition"
        )));
    }
    let batch = RecordBatch::parse(records).map_err(|error| match error {
        BatchError::TrailingBytes { .. } => Refusal::invalid(format!(
            "Produce requests with version {version} are only allowed to contain exactly one record \
             batch per partition"
        )),
        BatchError::Magic { magic: 0 | 1 } => Refusal::invalid(format!(
            "Produce requests with version {version} are only allowed to contain record batches with \
             magic version 2"
        )),
        // Bytes of no format that there ever was.
        BatchError::Magic { .. } => {
            Refusal::new(ResponseError::CorruptMessage, error.to_string())
        }
        error => error.into(),
    })?;
    if version < ZSTD_VERSION_MIN && batch.header.codec() == Ok(Codec::Zstd) {
        return Err(Refusal::new(
            ResponseError::UnsupportedCompressionType,
            format!(
                "Produce requests with version {version} are not allowed to use ZStandard compression"
            ),
        ));
    }
    Ok(batch)
}

/// Everything else. Returns the batch as it is to be stored.
pub(crate) fn check(
    batch: RecordBatch,
    config: &TopicConfig,
    now: UnixMillis,
) -> Result<RecordBatch, Refusal> {
    if batch.header.base_offset.0 != 0 {
        return Err(BatchError::BaseOffset {
            base_offset: batch.header.base_offset,
        }
        .into());
    }
    check_size(&batch, config)?;
    batch.validate_produced()?;
    check_records(&batch, config, now)?;
    check_producer(&batch)?;
    let Some(codec) = target_codec(config.compression) else {
        return Ok(batch);
    };
    let stored = recompress(&batch, codec).map_err(|error| match error {
        RecompressError::Records(error) => error.into(),
        error => Refusal::invalid(error.to_string()),
    })?;
    check_size(&stored, config)?;
    Ok(stored)
}

fn check_size(batch: &RecordBatch, config: &TopicConfig) -> Result<(), Refusal> {
    let max = config.max_message_bytes;
    if u32::try_from(batch.bytes.len()).is_ok_and(|bytes| bytes <= max) {
        return Ok(());
    }
    Err(Refusal::new(
        ResponseError::MessageTooLarge,
        format!(
            "The record batch size is {} bytes which exceeds the maximum configured value of {max}",
            batch.bytes.len()
        ),
    ))
}

/// The leader takes no commit in which an idempotent producer has no epoch.
fn check_producer(batch: &RecordBatch) -> Result<(), Refusal> {
    let epoch = batch.header.producer_epoch;
    if !batch.header.has_producer() || epoch > ProducerEpoch::NONE {
        return Ok(());
    }
    Err(Refusal::new(
        ResponseError::InvalidProducerEpoch,
        format!("record batch of a producer id has the epoch {epoch}"),
    ))
}

fn target_codec(compression: Compression) -> Option<Codec> {
    match compression {
        Compression::Producer => None,
        Compression::Uncompressed => Some(Codec::None),
        Compression::Gzip { .. } => Some(Codec::Gzip),
        Compression::Snappy => Some(Codec::Snappy),
        Compression::Lz4 { .. } => Some(Codec::Lz4),
        Compression::Zstd { .. } => Some(Codec::Zstd),
    }
}

/// Limits on timestamps, as times.
#[derive(Clone, Copy, Debug)]
struct Times {
    earliest: i64,
    latest: i64,
}

impl Times {
    fn allow(self, timestamp: i64) -> bool {
        timestamp == NO_TIMESTAMP || (self.earliest..=self.latest).contains(&timestamp)
    }

    /// Whether the header alone shows that every record is within the limits: it has the largest
    /// timestamp but not the smallest.
    fn surely_allow(self, max_timestamp: i64) -> bool {
        self.earliest == i64::MIN && self.allow(max_timestamp)
    }
}

fn times(config: &TopicConfig, now: UnixMillis) -> Option<Times> {
    let unlimited = |max_ms: i64| max_ms == i64::MAX;
    (config.timestamp_type == TimestampType::CreateTime).then(|| Times {
        earliest: if unlimited(config.timestamp_before_max_ms) {
            i64::MIN
        } else {
            now.saturating_sub(config.timestamp_before_max_ms)
        },
        latest: now.saturating_add(config.timestamp_after_max_ms),
    })
}

fn check_records(
    batch: &RecordBatch,
    config: &TopicConfig,
    now: UnixMillis,
) -> Result<(), Refusal> {
    let limits = times(config, now).filter(|times| !times.surely_allow(batch.header.max_timestamp));
    if limits.is_none() && !config.cleanup_compact {
        return Ok(());
    }
    let mut errors = Vec::new();
    let mut bad_time = limits.is_some_and(|times| !times.allow(batch.header.max_timestamp));
    let mut count = 0;
    for (index, record) in (0..).zip(records(batch, BATCH_EXPANDED_BYTES_MAX)?) {
        let record = record?;
        let problem = if config.cleanup_compact && record.key.is_none() {
            "Compacted topic cannot accept message without key".to_owned()
        } else if let Some(times) = limits
            && !times.allow(record.timestamp)
        {
            bad_time = true;
            format!(
                "Timestamp {} of message with offset {} is out of range. The timestamp should be \
                 within [{}, {}]",
                record.timestamp, record.offset_delta, times.earliest, times.latest
            )
        } else {
            continue;
        };
        count += 1;
        if errors.len() < RECORD_ERRORS_MAX {
            errors.push((index, problem));
        }
    }
    if bad_time {
        return Err(Refusal {
            records: errors,
            ..Refusal::new(
                ResponseError::InvalidTimestamp,
                "One or more records have been rejected due to invalid timestamp",
            )
        });
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        records: errors,
        ..Refusal::invalid(format!(
            "One or more records have been rejected due to {count} record errors in total"
        ))
    })
}

#[cfg(test)]
mod tests;
