//! Builds objects of level 0 from record batches, copying only what is compressed.

use bytes::Bytes;
use thiserror::Error;

use super::OBJECT_MAGIC;
use super::footer::{BlockEntry, Footer, RunEntry, Version, trailer};
use crate::batch::{BatchHeader, RecordBatch};
use crate::block::{BlockCompression, BlockWriter};
use crate::codec::Codec;
use crate::ids::{ClusterId, ObjectId, ObjectLevel, Offset, PartitionId};
use crate::limits::{BLOCK_BYTES, BLOCK_RAW_BYTES_MAX, RUN_EXPANDED_BYTES_MAX};

/// A record batch to be stored: as it was received, or patched.
#[derive(Clone, Debug)]
pub struct BatchPieces {
    /// The header as it stands in the pieces.
    pub header: BatchHeader,
    /// All bytes of the batch.
    pub pieces: [Bytes; 2],
}

impl From<RecordBatch> for BatchPieces {
    fn from(batch: RecordBatch) -> Self {
        Self {
            header: batch.header,
            pieces: [batch.bytes, Bytes::new()],
        }
    }
}

impl From<&RecordBatch> for BatchPieces {
    fn from(batch: &RecordBatch) -> Self {
        batch.clone().into()
    }
}

/// Why an object cannot be built as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Runs have to be added in order of their partitions, each once.
    #[error("run of {partition} was added after that of {last}")]
    Order {
        /// The run that was to be added.
        partition: PartitionId,
        /// The one before it.
        last: PartitionId,
    },
    /// A run without batches.
    #[error("run of {partition} has no batches")]
    Empty {
        /// Its partition.
        partition: PartitionId,
    },
    /// A batch, a run or the whole is larger than the format allows.
    #[error("run of {partition} is larger than a run can be")]
    TooLarge {
        /// The run's partition.
        partition: PartitionId,
    },
    /// A batch begins before the one in front of it ends, or takes no offsets.
    #[error("run of {partition} has a batch at {base_offset} behind one that ends at {end_offset}")]
    Offsets {
        /// The run's partition.
        partition: PartitionId,
        /// Base offset of the batch.
        base_offset: Offset,
        /// One past the last offset before it.
        end_offset: Offset,
    },
    /// Something is to follow a run that was not ended.
    #[error("run of {partition} was not ended")]
    Open {
        /// Its partition.
        partition: PartitionId,
    },
    /// A batch, or the end of a run, without a run that was begun.
    #[error("no run was begun")]
    NoRun,
    /// The footer is larger than [`crate::limits::FOOTER_BYTES_MAX`].
    #[error("object has more runs and blocks than its footer can hold")]
    Footer,
}

/// A run of a built object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltRun {
    /// Its partition.
    pub partition: PartitionId,
    /// Byte position of its first block in the object.
    pub position: u64,
    /// Bytes of its blocks as stored, headers included.
    pub stored_bytes: u32,
    /// Bytes of its batches.
    pub expanded_bytes: u32,
}

/// An object, ready to be uploaded.
#[derive(Clone, Debug)]
pub struct BuiltObject {
    /// Its bytes, in pieces.
    pub payload: Vec<Bytes>,
    /// Sum of their lengths.
    pub bytes: u64,
    /// Its runs, in order of their partitions.
    pub runs: Vec<BuiltRun>,
}

/// Builds an object run by run. Batches are stored as they are; where they came uncompressed, their
/// blocks are compressed as [`BlockCompression`] says.
pub struct ObjectBuilder {
    footer: Footer,
    blocks: BlockWriter,
    payload: Vec<Bytes>,
    position: u64,
}

/// Batches that will make a block.
#[derive(Default)]
pub(super) struct Pending {
    pieces: Vec<Bytes>,
    pub(super) bytes: usize,
    /// Bytes of batches that came uncompressed.
    plain_bytes: usize,
    entry: Option<BlockEntry>,
}

impl ObjectBuilder {
    /// An object of version 1 without runs. `cluster` and `id` are written into the footer; the level says whether
    /// the batches have real offsets (0 but in tests: what compactors write is built by
    /// [`super::StreamBuilder`]).
    #[must_use]
    pub fn new(cluster: ClusterId, id: ObjectId, compression: BlockCompression) -> Self {
        Self {
            footer: Footer {
                cluster,
                id,
                runs: Vec::new(),
            },
            blocks: BlockWriter::new(compression),
            payload: vec![Bytes::from_static(&OBJECT_MAGIC)],
            position: length(OBJECT_MAGIC.len()),
        }
    }

    /// Bytes of the object so far, without footer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.position
    }

    /// Adds a partition's batches, in the order that they are to have.
    ///
    /// # Errors
    /// Partitions out of order, no batches, or more than a run can hold; the builder is of no use
    /// afterwards.
    pub fn add_run<B: Into<BatchPieces>>(
        &mut self,
        partition: PartitionId,
        batches: impl IntoIterator<Item = B>,
    ) -> Result<(), BuildError> {
        if let Some(last) = self.footer.runs.last().map(|run| run.partition)
            && partition <= last
        {
            return Err(BuildError::Order { partition, last });
        }
        let mut run = RunEntry {
            partition,
            position: self.position,
            stored_bytes: 0,
            index_bytes: 0,
            cleaned: false,
            blocks: Vec::new(),
            aborted: Vec::new(),
        };
        let mut next_offset = Offset(0);
        let mut expanded = 0usize;
        let mut pending = Pending::default();
        for batch in batches {
            let batch = batch.into();
            let bytes = batch.pieces.iter().map(Bytes::len).sum::<usize>();
            expanded += bytes;
            if bytes > BLOCK_RAW_BYTES_MAX || expanded > RUN_EXPANDED_BYTES_MAX {
                return Err(BuildError::TooLarge { partition });
            }
            if pending.bytes > 0 && pending.bytes + bytes > BLOCK_BYTES {
                self.write_block(&mut run, std::mem::take(&mut pending))?;
            }
            if self.footer.id.level != ObjectLevel::L0 {
                next_offset = batch.header.base_offset;
            }
            next_offset = pending.add(batch, bytes, next_offset);
        }
        self.write_block(&mut run, pending)?;
        if run.blocks.is_empty() {
            return Err(BuildError::Empty { partition });
        }
        self.footer.runs.push(run);
        Ok(())
    }

    fn write_block(&mut self, run: &mut RunEntry, pending: Pending) -> Result<(), BuildError> {
        let too_large = BuildError::TooLarge {
            partition: run.partition,
        };
        let Some(entry) = pending
            .write(&mut self.blocks, &mut self.payload)
            .ok_or(too_large)?
        else {
            return Ok(());
        };
        let stored = u64::from(run.stored_bytes) + entry.header.block_bytes();
        run.stored_bytes = u32::try_from(stored).map_err(|_| too_large)?;
        self.position += entry.header.block_bytes();
        run.blocks.push(entry);
        Ok(())
    }

    /// Ends the object with its footer and trailer.
    ///
    /// # Errors
    /// [`BuildError::Footer`].
    pub fn finish(mut self) -> Result<BuiltObject, BuildError> {
        let footer = self.footer.encode(Version::V1);
        let (trailer, bytes) =
            trailer(Version::V1, &footer, self.position).ok_or(BuildError::Footer)?;
        self.payload.push(footer.into());
        self.payload.push(trailer.into());
        let runs = self.footer.runs.iter().map(RunEntry::built).collect();
        Ok(BuiltObject {
            payload: self.payload,
            bytes,
            runs,
        })
    }
}

impl Pending {
    /// Adds a batch whose offsets begin at `base_offset`; returns the offset behind it.
    pub(super) fn add(&mut self, batch: BatchPieces, bytes: usize, base_offset: Offset) -> Offset {
        let header = &batch.header;
        let end_offset = base_offset.plus(header.offsets());
        let entry = self
            .entry
            .get_or_insert_with(|| BlockEntry::starting_at(base_offset));
        entry.batches += 1;
        entry.end_offset = end_offset;
        entry.first_timestamp = entry.first_timestamp.min(header.base_timestamp);
        entry.max_timestamp = entry.max_timestamp.max(header.max_timestamp);
        if header.codec() == Ok(Codec::None) {
            self.plain_bytes += bytes;
        }
        self.bytes += bytes;
        self.pieces
            .extend(batch.pieces.into_iter().filter(|piece| !piece.is_empty()));
        end_offset
    }

    /// Appends the block to `out`; the inner None = there are no batches, the outer one = they are larger than
    /// any block.
    pub(super) fn write(
        self,
        blocks: &mut BlockWriter,
        out: &mut Vec<Bytes>,
    ) -> Option<Option<BlockEntry>> {
        let Some(mut entry) = self.entry else {
            return Some(None);
        };
        let expanded_bytes = u32::try_from(self.bytes).ok()?;
        // Where most bytes are compressed already, a second time gains nothing.
        let compress = self.plain_bytes * 2 >= self.bytes;
        entry.header = blocks.write(self.pieces, expanded_bytes, compress, out);
        Some(Some(entry))
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("lengths fit 64 bits")
}
