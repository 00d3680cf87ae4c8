//! Reading inputs: a few ranged GETs per object, checked block by block, batch by batch.

use std::{collections::BTreeSet, sync::Arc};

use aquifer_format::{
    batch::RecordBatch,
    ids::{ObjectId, ObjectLevel, Offset, PartitionId},
    limits::{FOOTER_READ_BYTES, JOB_OBJECTS_MAX},
    object::{AbortedTransaction, Footer, FooterRead, read_footer},
};
use aquifer_metadata_api::{
    extent::Extent,
    upkeep::{Inputs, JobKind},
};
use aquifer_store::ObjectStore;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    JobError, JobLease,
    reader::{Reader, read_index},
    windows::{Windows, damaged},
};

/// GETs at once.
const PARALLEL_GETS: usize = 16;
/// Footers at once: a large one takes some MiB.
const PARALLEL_FOOTERS: usize = 8;
/// Windows of a job that reads one log: one extent after the other.
const LOG_WINDOWS: usize = 8;

/// A batch of a log as readers get it: with absolute offsets, leader epoch and append time in its header.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Of its first record.
    pub base_offset: Offset,
    /// One past that of its last one.
    pub end_offset: Offset,
    /// The whole batch, patched.
    pub batch: RecordBatch,
}

/// The batches of one partition's extents, in order. The real one reads objects; tests have others.
#[async_trait]
pub trait RunSource: Send {
    /// The next batch; None = that was the last. Its checksums were verified, and its offsets lie within its
    /// extent and behind the batch before.
    async fn next(&mut self) -> Result<Option<Batch>, JobError>;

    /// Begins anew with the first batch (log compaction reads twice).
    async fn rewind(&mut self) -> Result<(), JobError>;
}

/// Reads objects for a job, within a part of its memory.
#[derive(Debug)]
pub struct Source {
    windows: Windows,
    lease: JobLease,
}

impl Source {
    /// A source whose windows take up to `memory_bytes`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, lease: JobLease, memory_bytes: usize) -> Self {
        let windows_max = match &lease.job().kind {
            JobKind::MergeObjects { objects, .. } => objects.len(),
            JobKind::MergeRanges { .. } => JOB_OBJECTS_MAX,
            JobKind::Clean(_) | JobKind::Delete { .. } => LOG_WINDOWS,
        };
        Self {
            windows: Windows::new(store, lease.clone(), memory_bytes, windows_max),
            lease,
        }
    }

    /// Bytes read from the bucket.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.lease.read_bytes()
    }

    /// Most bytes of objects that it ever held at once, expanded blocks aside.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.windows.peak_bytes()
    }

    /// Says which extents will be read next, in place of those before, so that not more than that is read.
    pub fn plan<'a>(&self, extents: impl IntoIterator<Item = &'a Extent>) {
        let ranges = extents.into_iter().map(|extent| {
            let end = extent
                .run_position
                .saturating_add(u64::from(extent.run_bytes));
            (extent.object, extent.run_position..end)
        });
        self.windows.plan(ranges);
    }

    /// The batches of `extents` of a partition, which lie in order.
    pub fn run(&self, inputs: &Inputs, extents: &[Extent]) -> Box<dyn RunSource + '_> {
        Box::new(Reader::new(self, inputs.leader_epoch(), extents, false))
    }

    /// As [`Self::run`], extent by extent, with what the indexes of merged runs say.
    pub(crate) fn reader(&self, inputs: &Inputs, extents: &[Extent]) -> Reader<'_> {
        Reader::new(self, inputs.leader_epoch(), extents, true)
    }

    /// Transactions of which aborted records are in these extents, by first offset.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn aborted(&self, extents: &[Extent]) -> Result<Vec<AbortedTransaction>, JobError> {
        let merged = extents
            .iter()
            .filter(|extent| extent.object.level != ObjectLevel::L0);
        let indexes: Vec<_> = merged
            .map(|extent| read_index(&self.windows, extent, false))
            .collect();
        let lists: Vec<Vec<AbortedTransaction>> = stream::iter(indexes)
            .buffered(PARALLEL_GETS)
            .map_ok(|index| index.aborted)
            .try_collect()
            .await?;
        let all: BTreeSet<AbortedTransaction> = lists.into_iter().flatten().collect();
        Ok(all.into_iter().collect())
    }

    /// The partitions that have a run in any of these objects of level 0.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn partitions(
        &self,
        objects: &[(ObjectId, u64)],
    ) -> Result<Vec<PartitionId>, JobError> {
        let footers = objects.iter().map(|(id, bytes)| self.footer(*id, *bytes));
        let footers: Vec<_> = footers.collect();
        let mut footers = stream::iter(footers).buffered(PARALLEL_FOOTERS);
        let mut partitions = BTreeSet::new();
        while let Some(footer) = footers.next().await {
            partitions.extend(footer?.runs.iter().map(|run| run.partition));
        }
        Ok(partitions.into_iter().collect())
    }

    async fn footer(&self, object: ObjectId, bytes: u64) -> Result<Footer, JobError> {
        let mut tail_bytes = u64::try_from(FOOTER_READ_BYTES).unwrap_or(u64::MAX);
        // A tail as long as the footer says cannot be too short again.
        for _ in 0..2 {
            let tail = self.windows.tail(&object, bytes, tail_bytes).await?;
            match read_footer(&tail, bytes) {
                Ok(FooterRead::Footer(footer)) => {
                    let expected = (self.lease.job().cluster, object);
                    return if (footer.cluster, footer.id) == expected {
                        Ok(footer)
                    } else {
                        Err(damaged(&object, "its footer is that of another object"))
                    };
                }
                Ok(FooterRead::NeedMore { tail_bytes: more }) => tail_bytes = more,
                Err(error) => return Err(damaged(&object, error.to_string())),
            }
        }
        Err(damaged(&object, "its footer is longer than it says"))
    }

    pub(super) fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Reads the beginnings of the extents that come next, several at a time, unless the first one's is here.
    pub(super) async fn fill(&self, extents: &[Extent]) -> Result<(), JobError> {
        let begins = |extent: &Extent| self.windows.has(&extent.object, extent.run_position);
        if extents.first().is_none_or(begins) {
            return Ok(());
        }
        let mut reads = Vec::new();
        // A window serves one place of its object.
        let mut seen = BTreeSet::new();
        for extent in extents.iter().take(PARALLEL_GETS) {
            if seen.insert(extent.object) && !begins(extent) {
                reads.push(self.fill_one(extent));
            }
        }
        stream::iter(reads)
            .buffer_unordered(PARALLEL_GETS)
            .try_collect::<()>()
            .await
    }

    async fn fill_one(&self, extent: &Extent) -> Result<(), JobError> {
        let run_bytes = u64::from(extent.run_bytes);
        let end = extent.run_position.saturating_add(run_bytes);
        let (object, from) = (&extent.object, extent.run_position);
        self.windows.read(object, from, 1, end).await.map(drop)
    }
}
