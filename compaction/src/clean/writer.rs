//! Writes a compacted log into objects, and swaps its ranges one after the other.

use std::collections::VecDeque;

use aquifer_format::{
    batch::RecordBatch,
    ids::{Offset, PartitionId},
    object::AbortedTransaction,
};
use async_trait::async_trait;

use super::round::{CleanedRange, Sink};
use crate::worker::{JobError, Outputs, Swaps, WrittenRun};

/// See the module.
pub(super) struct Writer<'a> {
    partition: PartitionId,
    outputs: &'a mut Outputs,
    swaps: &'a mut Swaps,
    /// What was pushed into the open run.
    pushed: Pushed,
    /// Runs of the open range.
    runs: Vec<WrittenRun>,
    /// Ranges whose objects are not durable yet.
    waiting: VecDeque<(CleanedRange, Vec<WrittenRun>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pushed {
    batches: u32,
    records: u64,
    bytes: u64,
    /// Base offset of the first batch, one past the last offset of the last one.
    offsets: Option<(Offset, Offset)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        partition: PartitionId,
        outputs: &'a mut Outputs,
        swaps: &'a mut Swaps,
    ) -> Self {
        Self {
            partition,
            outputs,
            swaps,
            pushed: Pushed::default(),
            runs: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Swaps ranges whose objects are durable, one at a time: none is swapped before the one in front of it was.
    async fn swap_durable(&mut self) -> Result<bool, JobError> {
        while let Some((_, runs)) = self.waiting.front() {
            let durable = u32::try_from(self.outputs.objects.len()).unwrap_or(u32::MAX);
            if runs.iter().any(|written| written.object >= durable) {
                break;
            }
            let Some((range, runs)) = self.waiting.pop_front() else {
                break;
            };
            let (Some(first), Some(last)) = (range.extents.first(), range.extents.last()) else {
                continue;
            };
            let dead = self.swaps.dead;
            self.swaps.add(
                self.partition,
                (first.base_offset, last.end_offset),
                runs,
                range.extents.iter().map(|extent| extent.object),
                Some(range.cleaned_through),
            );
            self.swaps.send(&self.outputs.objects, true).await?;
            if self.swaps.dead > dead {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl Sink for Writer<'_> {
    async fn begin_run(&mut self) -> Result<(), JobError> {
        self.pushed = Pushed::default();
        self.outputs.begin_run(self.partition, true).await
    }

    async fn push(&mut self, batch: &RecordBatch) -> Result<(), JobError> {
        let header = &batch.header;
        let pushed = &mut self.pushed;
        let end = Offset(header.last_offset().0.saturating_add(1));
        let base = pushed.offsets.map_or(header.base_offset, |(base, _)| base);
        pushed.offsets = Some((base, end));
        pushed.batches = pushed.batches.saturating_add(1);
        pushed.bytes = pushed.bytes.saturating_add(batch.bytes.len() as u64);
        let records = u64::try_from(header.record_count).unwrap_or(0);
        pushed.records = pushed.records.saturating_add(records);
        self.outputs.push(batch).await
    }

    fn run_bytes(&self) -> usize {
        self.outputs.run_expanded_bytes()
    }

    async fn end_run(&mut self, aborted: Vec<AbortedTransaction>) -> Result<(), JobError> {
        let written = self.outputs.end_run(aborted).await?;
        let run = &written.run;
        let told = Pushed {
            batches: run.batches,
            records: run.records,
            bytes: u64::from(run.expanded_bytes),
            offsets: Some((run.base_offset, run.end_offset)),
        };
        if told != self.pushed || run.partition != self.partition {
            return Err(JobError::Mismatch {
                partition: self.partition,
                what: format!("{:?} was written as {run:?}", self.pushed),
            });
        }
        self.runs.push(written);
        Ok(())
    }

    async fn end_range(&mut self, range: CleanedRange) -> Result<bool, JobError> {
        let runs = std::mem::take(&mut self.runs);
        self.waiting.push_back((range, runs));
        if self.outputs.is_old() {
            self.outputs.finish().await?;
        }
        self.swap_durable().await
    }

    async fn finish(&mut self) -> Result<bool, JobError> {
        self.outputs.finish().await?;
        self.swap_durable().await
    }
}
