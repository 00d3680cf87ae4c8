//! A run in memory: one partition's batches of one object, verified and expanded, with an index.

use aquifer_format::{
    batch::{BatchError, Batches, RecordBatch},
    block::{self, BlockError},
    ids::{LeaderEpoch, ObjectLevel, Offset},
    object::IndexError,
};
use aquifer_metadata_api::extent::Extent;
use bytes::Bytes;

/// Why the bytes of a run are of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A block is damaged.
    #[error("damaged block: {0}")]
    Block(#[from] BlockError),
    /// A block holds something else than batches.
    #[error("damaged record batch: {0}")]
    Batch(#[from] BatchError),
    /// The run does not end with an index that can be read.
    #[error("damaged index: {0}")]
    Index(#[from] IndexError),
    /// The extent names bytes that the run doesn't have.
    #[error("the run has no batch at byte {raw_start}, or not {raw_bytes} bytes of them")]
    NoSuchBytes {
        /// Where the extent begins.
        raw_start: u32,
        /// Its length.
        raw_bytes: u32,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    /// Where the batch begins in the run's expanded bytes.
    raw_start: u64,
    /// Offsets taken by the batches before it in the run.
    offsets_before: u64,
    /// Offsets that it takes.
    offsets: u32,
    bytes: Bytes,
}

/// The batches of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Run {
    entries: Vec<Entry>,
    bytes: u64,
}

/// A batch to be sent, and how its header is to be patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The whole batch as it is stored.
    pub(crate) bytes: Bytes,
    /// Offset of its first record.
    pub(crate) base_offset: Offset,
    /// One past the offset of its last record.
    pub(crate) end_offset: Offset,
    /// What to put into its header; None = the header is right as it is stored.
    pub(crate) patch: Option<Patch>,
}

/// What differs between a stored batch of level 0 and what readers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    /// The topic's leader epoch.
    pub(crate) leader_epoch: LeaderEpoch,
    /// The time of a LogAppendTime topic.
    pub(crate) log_append_time: Option<i64>,
}

/// What to take of an extent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    /// The first batch is the one with this offset, or the next after it.
    pub(crate) from: Offset,
    /// No batch that begins here or later.
    pub(crate) before: Offset,
    /// Most bytes.
    pub(crate) bytes_max: u64,
    /// Whether one batch is taken even if it alone is larger.
    pub(crate) at_least_one: bool,
    /// The topic's leader epoch.
    pub(crate) leader_epoch: LeaderEpoch,
}

impl Run {
    /// Verifies and expands a run as it is stored.
    ///
    /// # Errors
    /// Damaged blocks or batches.
    pub fn expand(stored: &Bytes) -> Result<Self, RunError> {
        let mut run = Self::default();
        for block in block::expand_run(stored)?.blocks {
            for batch in Batches::new(block) {
                run.push(&batch?);
            }
        }
        run.entries.shrink_to_fit();
        Ok(run)
    }

    /// A run of batches that were validated when they were received, in the order of the run.
    #[must_use]
    pub fn of_batches<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Self {
        let mut run = Self::default();
        for batch in batches {
            run.push(batch);
        }
        run
    }

    fn push(&mut self, batch: &RecordBatch) {
        let (before, offsets) = self.entries.last().map_or((0, 0), |last| {
            (last.offsets_before, u64::from(last.offsets))
        });
        self.entries.push(Entry {
            raw_start: self.bytes,
            offsets_before: before + offsets,
            offsets: batch.header.offsets(),
            bytes: batch.bytes.clone(),
        });
        self.bytes += u64::try_from(batch.bytes.len()).expect("usize fits");
    }

    /// Expanded bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory for the index, in bytes.
    pub(crate) fn index_bytes(&self) -> u64 {
        u64::try_from(self.entries.capacity() * size_of::<Entry>()).expect("usize fits")
    }

    /// The batches of `extent`, with the offset of the first record of each.
    fn of_extent(&self, extent: &Extent) -> Result<&[Entry], RunError> {
        let start = u64::from(extent.raw_start);
        let end = start + u64::from(extent.raw_bytes);
        let first = self.entries.partition_point(|e| e.raw_start < start);
        let last = self.entries.partition_point(|e| e.raw_start < end);
        let found = &self.entries[first..last];
        let begins = found.first().is_some_and(|entry| entry.raw_start == start);
        let ends = self.entries.get(last).map_or(self.bytes, |e| e.raw_start) == end;
        if begins && ends {
            Ok(found)
        } else {
            Err(RunError::NoSuchBytes {
                raw_start: extent.raw_start,
                raw_bytes: extent.raw_bytes,
            })
        }
    }

    /// Adds the wanted batches of `extent` to `out`; gives back their bytes.
    ///
    /// # Errors
    /// The extent is not one of this run.
    pub(crate) fn select(
        &self,
        extent: &Extent,
        take: &Take,
        out: &mut Vec<Selected>,
    ) -> Result<u64, RunError> {
        let entries = self.of_extent(extent)?;
        let absolute = extent.object.level != ObjectLevel::L0;
        let offsets_before = entries.first().map_or(0, |entry| entry.offsets_before);
        let mut taken = 0u64;
        let base_of = |entry: &Entry| {
            if absolute {
                stored_base_offset(&entry.bytes)
            } else {
                let within = i64::try_from(entry.offsets_before - offsets_before);
                Offset(
                    extent
                        .base_offset
                        .0
                        .saturating_add(within.unwrap_or(i64::MAX)),
                )
            }
        };
        // Offsets rise, so the first batch is found without a look at those before it.
        let first = entries.partition_point(|e| base_of(e).plus(e.offsets) <= take.from);
        for entry in &entries[first..] {
            let base_offset = base_of(entry);
            let bytes = u64::try_from(entry.bytes.len()).expect("usize fits");
            let fits = taken + bytes <= take.bytes_max || (take.at_least_one && taken == 0);
            if base_offset >= take.before || !fits {
                break;
            }
            taken += bytes;
            out.push(Selected {
                bytes: entry.bytes.clone(),
                base_offset,
                end_offset: base_offset.plus(entry.offsets),
                patch: (!absolute).then_some(Patch {
                    leader_epoch: take.leader_epoch,
                    log_append_time: extent.log_append_time,
                }),
            });
        }
        Ok(taken)
    }
}

/// The base offset in a batch's own header.
fn stored_base_offset(batch: &[u8]) -> Offset {
    Offset(batch.first_chunk().map_or(0, |b| i64::from_be_bytes(*b)))
}
