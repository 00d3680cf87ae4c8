//! Builds objects from record batches, copying only what is compressed.

use bytes::Bytes;
use thiserror::Error;

use super::footer::{BlockEntry, Footer, RunEntry};
use super::{OBJECT_MAGIC, TRAILER_BYTES, TRAILER_MAGIC};
use crate::batch::{BatchHeader, RecordBatch};
use crate::block::{BlockCompression, BlockWriter};
use crate::codec::Codec;
use crate::crc::Crc32c;
use crate::ids::{ClusterId, ObjectId, ObjectLevel, Offset, PartitionId};
use crate::limits::{BLOCK_BYTES, BLOCK_RAW_BYTES_MAX, FOOTER_BYTES_MAX, RUN_EXPANDED_BYTES_MAX};

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
    /// The footer is larger than [`FOOTER_BYTES_MAX`].
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
struct Pending {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// Bytes of batches that came uncompressed.
    plain_bytes: usize,
    entry: Option<BlockEntry>,
}

impl ObjectBuilder {
    /// An object without runs. `cluster` and `id` are written into the footer; the level says whether
    /// the batches have real offsets.
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
            blocks: Vec::new(),
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
        let Some(mut entry) = pending.entry else {
            return Ok(());
        };
        let too_large = BuildError::TooLarge {
            partition: run.partition,
        };
        let expanded_bytes = u32::try_from(pending.bytes).map_err(|_| too_large)?;
        // Where most bytes are compressed already, a second time gains nothing.
        let compress = pending.plain_bytes * 2 >= pending.bytes;
        entry.header =
            self.blocks
                .write(pending.pieces, expanded_bytes, compress, &mut self.payload);
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
        let footer = self.footer.encode();
        if footer.len() > FOOTER_BYTES_MAX {
            return Err(BuildError::Footer);
        }
        let footer_bytes = u32::try_from(footer.len()).map_err(|_| BuildError::Footer)?;
        let bytes = self.position + length(footer.len()) + length(TRAILER_BYTES);
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend_from_slice(&footer_bytes.to_le_bytes());
        trailer.extend_from_slice(&bytes.to_le_bytes());
        let mut digest = Crc32c::new();
        digest.update(&footer);
        digest.update(&trailer);
        trailer.extend_from_slice(&digest.finish().to_le_bytes());
        trailer.extend_from_slice(&TRAILER_MAGIC);
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
    fn add(&mut self, batch: BatchPieces, bytes: usize, base_offset: Offset) -> Offset {
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
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("lengths fit 64 bits")
}
