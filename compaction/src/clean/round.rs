//! A round over one log: it is read once for keys, and once more to write what stays (Kafka's
//! `Cleaner.doClean`).

#[cfg(test)]
mod kafka;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aquifer_format::{
    batch::RecordBatch,
    ids::{Offset, ProducerId},
    limits::RUN_EXPANDED_BYTES_MAX,
    object::AbortedTransaction,
    record::RecordError,
};
use aquifer_metadata_api::{
    extent::Extent,
    upkeep::{Clean, LastRecord},
};
use async_trait::async_trait;

use super::{
    CleanedTransactions, Filter, FilterCounts, KeyIndex,
    filter::{damaged, observe, offset_of, open},
    pieces::pieces,
};
use crate::worker::{Batch, JobError, RunSource};

/// Bytes of batches after which other tasks get their turn.
const TURN_BYTES: usize = 1 << 20;

/// The log that is read.
pub(super) trait Log: Sync {
    /// The batches of these extents of it.
    fn run(&self, extents: &[Extent]) -> Box<dyn RunSource + '_>;
}

/// What is written.
#[async_trait]
pub(super) trait Sink: Send {
    async fn begin_run(&mut self) -> Result<(), JobError>;
    async fn push(&mut self, batch: &RecordBatch) -> Result<(), JobError>;
    /// Bytes of the open run's batches.
    fn run_bytes(&self) -> usize;
    async fn end_run(&mut self, aborted: Vec<AbortedTransaction>) -> Result<(), JobError>;
    /// Ends a range: the runs since the last one take the place of these extents. False = a range was not
    /// swapped, so none behind it may be: it may lack a tombstone of a record that is still there.
    async fn end_range(&mut self, range: CleanedRange) -> Result<bool, JobError>;
    /// Ends the log. False as above.
    async fn finish(&mut self) -> Result<bool, JobError>;
}

/// See [`Sink::end_range`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CleanedRange {
    pub(super) extents: Vec<Extent>,
    pub(super) cleaned_through: Offset,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Keys were compacted up to here.
    pub(super) end: Offset,
    /// Whether all ranges were swapped.
    pub(super) swapped: bool,
    pub(super) counts: FilterCounts,
}

/// See the module.
pub(super) struct Round<'a> {
    /// It ends where the last extent does.
    pub(super) job: Clean,
    /// The job's, in order.
    pub(super) extents: &'a [Extent],
    pub(super) last_records: BTreeMap<ProducerId, LastRecord>,
    /// Aborted transactions of the extents.
    pub(super) aborted: Vec<AbortedTransaction>,
    pub(super) log: &'a dyn Log,
    pub(super) keys: &'a mut KeyIndex,
    pub(super) sink: &'a mut dyn Sink,
    /// Bytes of a range that is swapped by itself.
    pub(super) piece_bytes: u64,
}

impl Round<'_> {
    pub(super) async fn run(mut self) -> Result<Ended, JobError> {
        let end = self.find_superseded().await?;
        let read = self
            .extents
            .partition_point(|extent| extent.base_offset < end);
        let extents = &self.extents[..read];
        let mut writing = Writing {
            filter: Filter {
                job: &self.job,
                extents: self.extents,
                end,
                last_records: &self.last_records,
                transactions: self.transactions(extents),
                counts: FilterCounts::default(),
            },
            keys: self.keys,
            sink: self.sink,
            run_base: None,
            runs: 0,
            turn: Turn::default(),
        };
        let mut run = self.log.run(extents);
        let mut batch = run.next().await?;
        let mut begin = 0;
        let mut swapped = true;
        for piece in pieces(extents, self.piece_bytes) {
            let last_end = extents[piece.end - 1].end_offset;
            for extent in &extents[piece.clone()] {
                writing.fit(extent).await?;
                while let Some(next) = batch.take_if(|next| next.base_offset < extent.end_offset) {
                    writing.batch(&next, next.end_offset >= last_end).await?;
                    batch = run.next().await?;
                }
            }
            writing.end_run().await?;
            let range = &extents[begin..piece.end];
            // One that leaves nothing, or more than it takes, is not worth a swap by itself.
            if (1..=range.len()).contains(&writing.runs) || piece.end == extents.len() {
                begin = piece.end;
                writing.runs = 0;
                let range = CleanedRange {
                    extents: range.to_vec(),
                    cleaned_through: last_end.min(end),
                };
                swapped = writing.sink.end_range(range).await?;
            }
            if !swapped {
                break;
            }
        }
        Ok(Ended {
            end,
            swapped: swapped && writing.sink.finish().await?,
            counts: writing.filter.counts,
        })
    }

    /// Transactions before the first of these extents is read.
    fn transactions(&self, extents: &[Extent]) -> CleanedTransactions {
        let reaches = |aborted: &&AbortedTransaction| {
            extents
                .first()
                .is_some_and(|first| aborted.last_offset >= first.base_offset)
        };
        CleanedTransactions::new(self.aborted.iter().filter(reaches).copied().collect())
    }

    /// The first pass. Returns where the round ends: where the log does, or where there was no room for more
    /// keys.
    async fn find_superseded(&mut self) -> Result<Offset, JobError> {
        self.keys.clear()?;
        let to = self.job.to;
        let first_dirty = self.job.first_dirty;
        let dirty = self
            .extents
            .partition_point(|extent| extent.end_offset <= first_dirty);
        let mut end = self.note(dirty, first_dirty).await?;
        if end.is_some() {
            self.keys.begin_spill()?;
            end = self.note(0, Offset(i64::MIN)).await?;
        }
        if let Some(end) = end.filter(|end| *end <= first_dirty) {
            return Err(JobError::Spill {
                reason: format!(
                    "there is no room for the keys of partition {} behind offset {end}, and they are \
                     compacted up to {first_dirty} already; give the worker more memory or room to spill",
                    self.job.partition
                ),
            });
        }
        while !self.keys.settle()? {
            tokio::task::yield_now().await;
        }
        Ok(end.unwrap_or(to))
    }

    /// Notes the keys of these extents. Some = there was no room for those of the batches behind this offset.
    async fn note(&mut self, first: usize, from: Offset) -> Result<Option<Offset>, JobError> {
        let extents = self.extents.get(first..).unwrap_or_default();
        let mut transactions = self.transactions(extents);
        let mut turn = Turn::default();
        let mut end = from.max(self.job.from);
        let mut run = self.log.run(extents);
        while let Some(batch) = run.next().await? {
            turn.spend(batch.batch.bytes.len()).await;
            let is_aborted = observe(&mut transactions, &batch)
                .map_err(|error| damaged(&self.job, self.extents, batch.base_offset, error))?;
            let is_data = !batch.batch.header.is_control() && !is_aborted;
            if is_data && !self.note_batch(&batch, from)? {
                return Ok(Some(end));
            }
            end = batch.end_offset;
        }
        Ok(None)
    }

    /// False = there was no room.
    fn note_batch(&mut self, batch: &Batch, from: Offset) -> Result<bool, JobError> {
        let failed =
            |error: RecordError| damaged(&self.job, self.extents, batch.base_offset, error);
        let mut records = open(batch).map_err(failed)?;
        while let Some(record) = records.next_view() {
            let record = record.map_err(failed)?;
            let offset = offset_of(&record, batch.base_offset);
            if let Some(key) = record.key
                && offset >= from
                && !self.keys.note(key, offset)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The second pass.
struct Writing<'a> {
    filter: Filter<'a>,
    keys: &'a mut KeyIndex,
    sink: &'a mut dyn Sink,
    /// Where the open run begins.
    run_base: Option<Offset>,
    /// How many runs the range has.
    runs: usize,
    turn: Turn,
}

impl Writing<'_> {
    /// Ends the open run if an extent may not fit any more: an extent as it was read goes into one run as a whole
    /// (Kafka's `groupSegmentsBySize`), so there are never more runs than there were extents.
    async fn fit(&mut self, extent: &Extent) -> Result<(), JobError> {
        let run_bytes_max = usize::try_from(self.filter.job.run_bytes_max).unwrap_or(usize::MAX);
        let bytes_max = run_bytes_max.min(RUN_EXPANDED_BYTES_MAX);
        let more = usize::try_from(extent.raw_bytes).unwrap_or(usize::MAX);
        if self.fits(more, extent.end_offset, bytes_max) {
            Ok(())
        } else {
            self.end_run().await
        }
    }

    fn fits(&self, more: usize, end_offset: Offset, bytes_max: usize) -> bool {
        let Some(base) = self.run_base else {
            return true;
        };
        self.sink.run_bytes().saturating_add(more) <= bytes_max
            && end_offset.0.saturating_sub(base.0) <= i64::from(u32::MAX)
    }

    /// Writes what stays of a batch. `is_last`: of its range, which must not be left with nothing.
    async fn batch(&mut self, batch: &Batch, is_last: bool) -> Result<(), JobError> {
        self.turn.spend(batch.batch.bytes.len()).await;
        let keeps = is_last && self.runs == 0 && self.run_base.is_none();
        let Some(left) = self.filter.batch(batch, keeps, self.keys)? else {
            return Ok(());
        };
        // What is written anew may be compressed less well than it was.
        if !self.fits(left.bytes.len(), batch.end_offset, RUN_EXPANDED_BYTES_MAX) {
            self.end_run().await?;
        }
        if self.run_base.is_none() {
            self.sink.begin_run().await?;
            self.run_base = Some(batch.base_offset);
        }
        self.sink.push(&left).await
    }

    async fn end_run(&mut self) -> Result<(), JobError> {
        if self.run_base.take().is_some() {
            self.runs += 1;
            let aborted = self.filter.transactions.end_run();
            self.sink.end_run(aborted).await?;
        }
        Ok(())
    }
}

/// Lets other tasks have their turn: reading that never waits would keep them from it.
#[derive(Debug, Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    async fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= TURN_BYTES {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }
}
