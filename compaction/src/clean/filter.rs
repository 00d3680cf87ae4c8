//! What stays of a batch (Kafka's `Cleaner.cleanInto` and `MemoryRecords.filterTo`).

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Display};

use aquifer_format::{
    batch::{BatchBuilder, BatchHeader, HeaderRef, RecordBatch},
    ids::{Offset, ProducerId},
    limits::BATCH_EXPANDED_BYTES_MAX,
    record::{RecordError, RecordView, Records, records},
};
use aquifer_metadata_api::{
    extent::Extent,
    upkeep::{Clean, LastRecord},
};

use super::{CleanedTransactions, KeyIndex};
use crate::worker::{Batch, JobError};

/// Types of control records (Kafka's `ControlRecordType`).
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// What was looked at and what stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Records that were read.
    pub records_in: u64,
    /// Records that stay.
    pub records_out: u64,
    /// Records without a key, which go.
    pub keyless: u64,
    /// Batches that stay without a record.
    pub empty_batches: u64,
}

/// Decides record by record.
#[derive(Debug)]
pub struct Filter<'a> {
    /// The job.
    pub job: &'a Clean,
    /// The job's extents: errors name their objects.
    pub extents: &'a [Extent],
    /// One past the last offset that is compacted in this round; at most the job's `to`.
    pub end: Offset,
    /// Of producers that are remembered.
    pub last_records: &'a BTreeMap<ProducerId, LastRecord>,
    /// Transactions as they are read.
    pub transactions: CleanedTransactions,
    /// So far.
    pub counts: FilterCounts,
}

impl Filter<'_> {
    /// What stays of a batch; None = nothing. It keeps base and last offset, producer, epoch, sequence, codec,
    /// flags; gets a delete horizon where it has tombstones, or is a marker that may go, and had none. If it
    /// `keeps`, the batch stays without records, too; so do the last one of the job and of each producer.
    ///
    /// # Errors
    /// Records that cannot be read, keys that cannot be spilled.
    pub fn batch(
        &mut self,
        batch: &Batch,
        keeps: bool,
        keys: &mut KeyIndex,
    ) -> Result<Option<RecordBatch>, JobError> {
        let header = &batch.batch.header;
        let may_go = observe(&mut self.transactions, batch)
            .map_err(|error| damaged(self.job, self.extents, batch.base_offset, error))?;
        let records = u64::try_from(header.record_count).unwrap_or(0);
        self.counts.records_in += records;
        let horizon_passed = header
            .delete_horizon()
            .is_some_and(|horizon| horizon <= self.job.now_ms);
        // A marker waits for as long as a tombstone does.
        let goes = may_go && (horizon_passed || !header.is_control());
        if !goes && let Some(left) = self.thinned(batch, may_go, keys)? {
            self.counts.records_out += u64::try_from(left.header.record_count).unwrap_or(0);
            return Ok(Some(left));
        }
        if keeps || batch.end_offset == self.job.to || self.is_last_of_producer(batch) {
            self.counts.empty_batches += 1;
            return self.emptied(header).map(Some);
        }
        Ok(None)
    }

    /// The batch with the records that stay; None = none does.
    fn thinned(
        &mut self,
        batch: &Batch,
        may_go: bool,
        keys: &mut KeyIndex,
    ) -> Result<Option<RecordBatch>, JobError> {
        let header = &batch.batch.header;
        let failed = |error: RecordError| damaged(self.job, self.extents, batch.base_offset, error);
        let opened = open(batch).map_err(failed)?;
        let mut stay = Vec::new();
        let mut tombstones = false;
        let mut keyless = 0;
        let mut looking = opened.clone();
        while let Some(record) = looking.next_view() {
            let record = record.map_err(failed)?;
            let stays = header.is_control() || self.stays(&record, header, &mut keyless, keys)?;
            tombstones |= stays && record.value.is_none();
            stay.push(stays);
        }
        self.counts.keyless += keyless;
        if !stay.contains(&true) {
            return Ok(None);
        }
        let waits =
            (tombstones || (header.is_control() && may_go)) && header.delete_horizon().is_none();
        if !waits && !stay.contains(&false) {
            return Ok(Some(batch.batch.clone()));
        }
        let header = if waits {
            let retention = self.job.delete_retention_ms;
            header.with_delete_horizon(self.job.now_ms.saturating_add(retention))
        } else {
            *header
        };
        self.rewritten(&header, opened, &stay).map(Some)
    }

    fn stays(
        &self,
        record: &RecordView<'_>,
        header: &BatchHeader,
        keyless: &mut u64,
        keys: &mut KeyIndex,
    ) -> Result<bool, JobError> {
        let offset = offset_of(record, header.base_offset);
        if offset >= self.end {
            return Ok(true);
        }
        let Some(key) = record.key else {
            *keyless += 1;
            return Ok(false);
        };
        if keys.is_superseded(key, offset)? {
            return Ok(false);
        }
        let waits = header
            .delete_horizon()
            .is_none_or(|horizon| self.job.now_ms < horizon);
        Ok(record.value.is_some() || waits)
    }

    fn rewritten(
        &self,
        header: &BatchHeader,
        mut records: Records,
        stay: &[bool],
    ) -> Result<RecordBatch, JobError> {
        let mut builder = BatchBuilder::like(header).map_err(|error| self.unbuilt(error))?;
        for stays in stay {
            let Some(Ok(record)) = records.next_view() else {
                return Err(self.unbuilt("its records changed while they were read"));
            };
            if *stays {
                let headers: Vec<HeaderRef<'_>> = record.headers.collect();
                builder.append_at(
                    record.offset_delta,
                    record.timestamp,
                    record.key,
                    record.value,
                    &headers,
                );
            }
        }
        builder.build().map_err(|error| self.unbuilt(error))
    }

    fn emptied(&self, header: &BatchHeader) -> Result<RecordBatch, JobError> {
        let builder = BatchBuilder::like(&header.emptied()).map_err(|error| self.unbuilt(error))?;
        builder.build().map_err(|error| self.unbuilt(error))
    }

    /// Whether what the log knows of a producer's last sequence or epoch is in this batch (Kafka's
    /// `lastRecordsOfActiveProducers`).
    fn is_last_of_producer(&self, batch: &Batch) -> bool {
        let header = &batch.batch.header;
        let last = self
            .last_records
            .get(&header.producer_id)
            .filter(|_| header.has_producer());
        last.is_some_and(|last| match last.last_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.is_control() && header.producer_epoch == last.epoch,
        })
    }

    fn unbuilt(&self, error: impl Display) -> JobError {
        JobError::Mismatch {
            partition: self.job.partition,
            what: format!("a batch cannot be written anew: {error}"),
        }
    }
}

/// Notes a batch that was read. Whether it may go: its transaction was aborted, or it is a marker of which no
/// records are left.
pub(super) fn observe(
    transactions: &mut CleanedTransactions,
    batch: &Batch,
) -> Result<bool, RecordError> {
    let header = &batch.batch.header;
    if !header.is_control() {
        return Ok(transactions.on_batch(header, batch.end_offset));
    }
    let commits = match open(batch)?.next_view().transpose()? {
        None => None,
        Some(record) => match control_type(&record) {
            Some(ABORT) => Some(false),
            Some(COMMIT) => Some(true),
            _ => return Ok(false),
        },
    };
    Ok(transactions.on_marker(header, batch.end_offset, commits))
}

/// A control record's key is a version and a type.
fn control_type(record: &RecordView<'_>) -> Option<i16> {
    let kind = record.key?.get(2..4)?.first_chunk()?;
    Some(i16::from_be_bytes(*kind))
}

pub(super) fn open(batch: &Batch) -> Result<Records, RecordError> {
    records(&batch.batch, BATCH_EXPANDED_BYTES_MAX)
}

/// A record's offset in the log.
pub(super) fn offset_of(record: &RecordView<'_>, base_offset: Offset) -> Offset {
    Offset(base_offset.0.saturating_add(i64::from(record.offset_delta)))
}

/// The error of a batch whose records cannot be read.
pub(super) fn damaged(
    job: &Clean,
    extents: &[Extent],
    base_offset: Offset,
    error: impl Display,
) -> JobError {
    let what = format!("the records of the batch at offset {base_offset} cannot be read: {error}");
    let after = extents.partition_point(|extent| extent.base_offset <= base_offset);
    match after.checked_sub(1).and_then(|at| extents.get(at)) {
        Some(extent) => JobError::Damaged {
            object: extent.object,
            what,
        },
        None => JobError::Mismatch {
            partition: job.partition,
            what,
        },
    }
}
