//! Logs in memory, for tests.

use std::collections::BTreeMap;

use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    codec::Codec,
    ids::{
        Incarnation, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, ProducerId,
        TopicId, UploadEpoch, WriterSlot,
    },
    object::AbortedTransaction,
};
use aquifer_metadata_api::{
    extent::Extent,
    upkeep::{Clean, LastRecord},
};
use async_trait::async_trait;
use uuid::Uuid;

use super::{
    KeyIndex, MemorySpill,
    filter::open,
    round::{CleanedRange, Ended, Log, Round, Sink},
};
use crate::worker::{Batch, JobError, RunSource};

/// The clock when a round begins.
pub(super) const NOW: i64 = 1_000_000;
/// `delete.retention.ms`.
pub(super) const RETENTION: i64 = 1_000;

pub(super) fn object(unique: u64) -> ObjectId {
    ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(1),
        writer: WriterSlot::COMPACTOR,
        level: ObjectLevel::L1,
        unique,
    }
}

/// An extent of an object with these offsets; each offset takes 100 bytes.
pub(super) fn extent(object_number: u64, base: i64, end: i64) -> Extent {
    let raw_bytes = u32::try_from((end - base) * 100).unwrap_or(u32::MAX);
    Extent {
        object: object(object_number),
        run_position: 0,
        run_bytes: raw_bytes,
        raw_start: 0,
        raw_bytes,
        base_offset: Offset(base),
        end_offset: Offset(end),
        max_timestamp: 0,
        log_append_time: None,
    }
}

/// A round over everything up to `to`.
pub(super) fn job(first_dirty: i64, to: i64) -> Clean {
    Clean {
        partition: PartitionId::new(TopicId(Uuid::from_u128(7)), PartitionIndex(3)),
        from: Offset(0),
        first_dirty: Offset(first_dirty),
        to: Offset(to),
        delete_retention_ms: RETENTION,
        now_ms: NOW,
        run_bytes_max: u32::MAX,
    }
}

/// A record: key and value.
pub(super) type Pair<'a> = (Option<&'a str>, Option<&'a str>);

/// A builder that was given these records, at rising offsets and times.
pub(super) fn builder(base: i64, codec: Codec, records: &[Pair<'_>]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec).base_offset(Offset(base));
    for (timestamp, (key, value)) in (base..).zip(records) {
        builder.append(
            timestamp,
            key.map(str::as_bytes),
            value.map(str::as_bytes),
            &[("h".as_bytes(), None)],
        );
    }
    builder
}

pub(super) fn read(batch: &RecordBatch) -> Batch {
    Batch {
        base_offset: batch.header.base_offset,
        end_offset: Offset(batch.header.last_offset().0 + 1),
        batch: batch.clone(),
    }
}

pub(super) fn plain(base: i64, records: &[Pair<'_>]) -> Batch {
    read(&builder(base, Codec::None, records).build().unwrap())
}

/// Offset, timestamp, key and value.
pub(super) type Row = (i64, i64, Option<String>, Option<String>);

pub(super) fn rows(batch: &RecordBatch) -> Vec<Row> {
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    open(&read(batch))
        .unwrap()
        .map(|record| {
            let record = record.unwrap();
            (
                batch.header.base_offset.0 + i64::from(record.offset_delta),
                record.timestamp,
                record.key.as_ref().map(text),
                record.value.as_ref().map(text),
            )
        })
        .collect()
}

/// A log, and what is written in its place.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryLog {
    pub(super) batches: Vec<Batch>,
    pub(super) extents: Vec<Extent>,
}

struct MemoryRun {
    batches: Vec<Batch>,
    next: usize,
}

#[async_trait]
impl RunSource for MemoryRun {
    async fn next(&mut self) -> Result<Option<Batch>, JobError> {
        let next = self.batches.get(self.next).cloned();
        self.next += 1;
        Ok(next)
    }

    async fn rewind(&mut self) -> Result<(), JobError> {
        self.next = 0;
        Ok(())
    }
}

impl Log for MemoryLog {
    fn run(&self, extents: &[Extent]) -> Box<dyn RunSource + '_> {
        let is_in = |batch: &&Batch| {
            extents
                .iter()
                .any(|extent| (extent.base_offset..extent.end_offset).contains(&batch.base_offset))
        };
        Box::new(MemoryRun {
            batches: self.batches.iter().filter(is_in).cloned().collect(),
            next: 0,
        })
    }
}

impl MemoryLog {
    /// One extent per group of batches.
    pub(super) fn of(groups: &[&[Batch]]) -> Self {
        let mut log = Self::default();
        for group in groups {
            log.add(group);
        }
        log
    }

    /// Appends an extent.
    pub(super) fn add(&mut self, batches: &[Batch]) {
        let (first, last) = (batches.first().unwrap(), batches.last().unwrap());
        let bytes: usize = batches.iter().map(|batch| batch.batch.bytes.len()).sum();
        let number = u64::try_from(self.extents.len()).unwrap();
        self.extents.push(Extent {
            raw_bytes: u32::try_from(bytes).unwrap(),
            ..extent(number, first.base_offset.0, last.end_offset.0)
        });
        self.batches.extend_from_slice(batches);
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.batches
            .iter()
            .flat_map(|batch| rows(&batch.batch))
            .collect()
    }
}

/// What a round writes.
#[derive(Debug, Default)]
pub(super) struct MemorySink {
    pub(super) open: Vec<RecordBatch>,
    pub(super) runs: Vec<(Vec<RecordBatch>, Vec<AbortedTransaction>)>,
    /// Ranges, and how many runs each has.
    pub(super) ranges: Vec<(CleanedRange, usize)>,
    pub(super) runs_of_ranges: usize,
    /// The range that is not swapped.
    pub(super) fails_at: Option<usize>,
    pub(super) finished: bool,
}

#[async_trait]
impl Sink for MemorySink {
    async fn begin_run(&mut self) -> Result<(), JobError> {
        assert!(self.open.is_empty(), "the run before was not ended");
        Ok(())
    }

    async fn push(&mut self, batch: &RecordBatch) -> Result<(), JobError> {
        batch.validate_integrity().unwrap();
        if let Some(last) = self.open.last() {
            assert!(last.header.last_offset() < batch.header.base_offset);
        }
        self.open.push(batch.clone());
        Ok(())
    }

    fn run_bytes(&self) -> usize {
        self.open.iter().map(|batch| batch.bytes.len()).sum()
    }

    async fn end_run(&mut self, aborted: Vec<AbortedTransaction>) -> Result<(), JobError> {
        assert!(!self.open.is_empty(), "an empty run");
        self.runs.push((std::mem::take(&mut self.open), aborted));
        Ok(())
    }

    async fn end_range(&mut self, range: CleanedRange) -> Result<bool, JobError> {
        assert!(self.open.is_empty(), "the run was not ended");
        let runs = self.runs.len() - self.runs_of_ranges;
        self.runs_of_ranges = self.runs.len();
        self.ranges.push((range, runs));
        Ok(self.fails_at != Some(self.ranges.len() - 1))
    }

    async fn finish(&mut self) -> Result<bool, JobError> {
        self.finished = true;
        Ok(true)
    }
}

impl MemorySink {
    /// The log that was written: an extent per run.
    pub(super) fn log(&self) -> MemoryLog {
        let mut log = MemoryLog::default();
        for (run, _) in &self.runs {
            let batches: Vec<_> = run.iter().map(read).collect();
            log.add(&batches);
        }
        log
    }
}

/// How a round is done.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) job: Clean,
    pub(super) memory_bytes: usize,
    pub(super) piece_bytes: u64,
    pub(super) aborted: Vec<AbortedTransaction>,
    pub(super) last_records: BTreeMap<ProducerId, LastRecord>,
}

impl Setup {
    pub(super) fn new(job: Clean) -> Self {
        Self {
            job,
            memory_bytes: 1 << 20,
            piece_bytes: u64::MAX,
            aborted: Vec::new(),
            last_records: BTreeMap::new(),
        }
    }

    pub(super) fn run(&self, log: &MemoryLog, sink: &mut MemorySink) -> Result<Ended, JobError> {
        let mut keys = KeyIndex::new(self.memory_bytes, Box::new(MemorySpill::default()));
        self.run_with(log, sink, &mut keys)
    }

    pub(super) fn run_with(
        &self,
        log: &MemoryLog,
        sink: &mut MemorySink,
        keys: &mut KeyIndex,
    ) -> Result<Ended, JobError> {
        let round = Round {
            job: self.job,
            extents: &log.extents,
            last_records: self.last_records.clone(),
            aborted: self.aborted.clone(),
            log,
            keys,
            sink,
            piece_bytes: self.piece_bytes,
        };
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(round.run())
    }
}
