//! Builds objects of level 1 and up piece by piece, so that an object may be larger than the memory.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use super::builder::Pending;
use super::footer::{RunEntry, Version, count, head, trailer};
use super::{AbortedTransaction, BatchPieces, BuildError};
use crate::block::{BlockCompression, BlockWriter};
use crate::ids::{ClusterId, ObjectId, ObjectLevel, Offset, PartitionId};
use crate::limits::{
    BLOCK_BYTES, BLOCK_RAW_BYTES_MAX, FOOTER_BYTES_MAX, RUN_EXPANDED_BYTES_MAX, RUN_INDEX_BYTES_MAX,
};

/// A run that was ended: what extents say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamedRun {
    /// Its partition.
    pub partition: PartitionId,
    /// Byte position of its first block in the object.
    pub position: u64,
    /// Bytes of its blocks as stored, headers and index included.
    pub stored_bytes: u32,
    /// Bytes of its batches.
    pub expanded_bytes: u32,
    /// How many batches it has.
    pub batches: u32,
    /// How many records.
    pub records: u64,
    /// Base offset of its first batch.
    pub base_offset: Offset,
    /// One past the last offset of its last batch.
    pub end_offset: Offset,
    /// Largest timestamp of its batches.
    pub max_timestamp: i64,
}

/// Builds an object run by run, batch by batch. Batches have their absolute offsets; several runs of one
/// partition may follow one another, in order of their offsets. What is finished is taken out as it comes.
pub struct StreamBuilder {
    cluster: ClusterId,
    id: ObjectId,
    blocks: BlockWriter,
    /// Finished pieces that were not taken yet.
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// Where the next block goes in the object.
    position: u64,
    /// The footer's entries of the runs that were ended, encoded.
    entries: Vec<u8>,
    runs: usize,
    /// The partition of the last run that was ended, and the offset behind it.
    last: Option<(PartitionId, Offset)>,
    open: Option<OpenRun>,
}

/// The run that batches are added to.
struct OpenRun {
    entry: RunEntry,
    pending: Pending,
    expanded_bytes: usize,
    batches: u32,
    records: u64,
    base_offset: Option<Offset>,
    end_offset: Offset,
    max_timestamp: i64,
}

impl fmt::Debug for StreamBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBuilder")
            .field("id", &self.id)
            .field("position", &self.position)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}

impl StreamBuilder {
    /// An object without runs. `id.level` is 1 or 2.
    ///
    /// # Panics
    /// `id` is of level 0.
    #[must_use]
    pub fn new(cluster: ClusterId, id: ObjectId, compression: BlockCompression) -> Self {
        assert!(
            id.level != ObjectLevel::L0,
            "objects of level 0 are built whole"
        );
        let magic = Version::V2.magic();
        Self {
            cluster,
            id,
            blocks: BlockWriter::new(compression),
            ready: VecDeque::from([Bytes::from_static(magic)]),
            ready_bytes: magic.len(),
            position: count(magic.len()),
            entries: Vec::new(),
            runs: 0,
            last: None,
            open: None,
        }
    }

    /// Bytes of the object so far, without footer: what was taken, what is ready, and the open block.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.position + count(self.pending_bytes())
    }

    /// Memory that it holds: ready pieces, the open block, the footer so far.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.ready_bytes + self.pending_bytes() + self.footer_bytes()
    }

    /// Bytes of the footer so far, the open run's part not counted: whoever ends an object in time needs not find
    /// [`BuildError::Footer`].
    #[must_use]
    pub fn footer_bytes(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the open run's batches.
    #[must_use]
    pub fn run_expanded_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.expanded_bytes)
    }

    fn pending_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.pending.bytes)
    }

    /// Begins a run. `cleaned`: keys were compacted in it.
    ///
    /// # Errors
    /// [`BuildError::Order`], [`BuildError::Open`].
    pub fn begin_run(&mut self, partition: PartitionId, cleaned: bool) -> Result<(), BuildError> {
        if let Some(open) = &self.open {
            let partition = open.entry.partition;
            return Err(BuildError::Open { partition });
        }
        let end_offset = match self.last {
            Some((last, _)) if partition < last => {
                return Err(BuildError::Order { partition, last });
            }
            Some((last, end)) if partition == last => end,
            _ => Offset(0),
        };
        self.open = Some(OpenRun {
            entry: RunEntry {
                partition,
                position: self.position,
                stored_bytes: 0,
                index_bytes: 0,
                cleaned,
                blocks: Vec::new(),
                aborted: Vec::new(),
            },
            pending: Pending::default(),
            expanded_bytes: 0,
            batches: 0,
            records: 0,
            base_offset: None,
            end_offset,
            max_timestamp: i64::MIN,
        });
        Ok(())
    }

    /// Adds a batch to the open run; its base offset is at or above the end of the one before.
    ///
    /// # Errors
    /// [`BuildError::TooLarge`], [`BuildError::Offsets`], [`BuildError::NoRun`]; the builder is of no use
    /// afterwards.
    pub fn push(&mut self, batch: BatchPieces) -> Result<(), BuildError> {
        let open = self.open.as_mut().ok_or(BuildError::NoRun)?;
        let partition = open.entry.partition;
        let bytes = batch.pieces.iter().map(Bytes::len).sum::<usize>();
        let expanded_bytes = open.expanded_bytes.saturating_add(bytes);
        if bytes > BLOCK_RAW_BYTES_MAX || expanded_bytes > RUN_EXPANDED_BYTES_MAX {
            return Err(BuildError::TooLarge { partition });
        }
        let base_offset = batch.header.base_offset;
        if base_offset < open.end_offset || batch.header.offsets() == 0 {
            return Err(BuildError::Offsets {
                partition,
                base_offset,
                end_offset: open.end_offset,
            });
        }
        if open.pending.bytes > 0 && open.pending.bytes + bytes > BLOCK_BYTES {
            self.write_block()?;
        }
        let open = self.open.as_mut().ok_or(BuildError::NoRun)?;
        open.expanded_bytes = expanded_bytes;
        open.batches += 1;
        open.records += u64::try_from(batch.header.record_count).unwrap_or(0);
        open.base_offset.get_or_insert(base_offset);
        open.max_timestamp = open.max_timestamp.max(batch.header.max_timestamp);
        open.end_offset = open.pending.add(batch, bytes, base_offset);
        Ok(())
    }

    fn write_block(&mut self) -> Result<(), BuildError> {
        let open = self.open.as_mut().ok_or(BuildError::NoRun)?;
        let too_large = BuildError::TooLarge {
            partition: open.entry.partition,
        };
        let mut out = Vec::new();
        let pending = std::mem::take(&mut open.pending);
        let block = pending.write(&mut self.blocks, &mut out);
        if let Some(block) = block.ok_or(too_large)? {
            let stored = u64::from(open.entry.stored_bytes) + block.header.block_bytes();
            open.entry.stored_bytes = u32::try_from(stored).map_err(|_| too_large)?;
            open.entry.blocks.push(block);
            self.put_out(out);
        }
        Ok(())
    }

    fn put_out(&mut self, pieces: Vec<Bytes>) {
        let bytes = pieces.iter().map(Bytes::len).sum::<usize>();
        self.position += count(bytes);
        self.ready_bytes += bytes;
        self.ready.extend(pieces);
    }

    /// Ends the open run with its index.
    ///
    /// # Errors
    /// [`BuildError::Empty`], [`BuildError::TooLarge`], [`BuildError::Footer`], [`BuildError::NoRun`]; the builder
    /// is of no use afterwards.
    pub fn end_run(
        &mut self,
        mut aborted: Vec<AbortedTransaction>,
    ) -> Result<StreamedRun, BuildError> {
        self.write_block()?;
        let mut open = self.open.take().ok_or(BuildError::NoRun)?;
        let partition = open.entry.partition;
        let base_offset = open.base_offset.ok_or(BuildError::Empty { partition })?;
        aborted.sort_unstable();
        aborted.dedup();
        open.entry.aborted = aborted;
        let too_large = BuildError::TooLarge { partition };
        let index = open.entry.index().encode();
        if index.len() > RUN_INDEX_BYTES_MAX {
            return Err(too_large);
        }
        let index_bytes = u32::try_from(index.len()).map_err(|_| too_large)?;
        open.entry.index_bytes = index_bytes;
        open.entry.stored_bytes = open
            .entry
            .stored_bytes
            .checked_add(index_bytes)
            .ok_or(too_large)?;
        open.entry.encode(Version::V2, &mut self.entries);
        if self.entries.len() > FOOTER_BYTES_MAX {
            return Err(BuildError::Footer);
        }
        self.put_out(vec![index]);
        self.runs += 1;
        self.last = Some((partition, open.end_offset));
        Ok(StreamedRun {
            partition,
            position: open.entry.position,
            stored_bytes: open.entry.stored_bytes,
            expanded_bytes: u32::try_from(open.expanded_bytes).map_err(|_| too_large)?,
            batches: open.batches,
            records: open.records,
            base_offset,
            end_offset: open.end_offset,
            max_timestamp: open.max_timestamp,
        })
    }

    /// Bytes that can be taken now.
    #[must_use]
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Takes exactly `bytes` of what is ready, or all of it if that is less.
    pub fn take(&mut self, bytes: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut left = bytes.min(self.ready_bytes);
        self.ready_bytes -= left;
        while left > 0
            && let Some(mut piece) = self.ready.pop_front()
        {
            if piece.len() > left {
                let rest = piece.split_off(left);
                self.ready.push_front(rest);
            }
            left -= piece.len();
            taken.push(piece);
        }
        taken
    }

    /// Ends the object with footer and trailer; returns its size. What is ready then is the rest of it.
    ///
    /// # Errors
    /// [`BuildError::Footer`], [`BuildError::Open`].
    pub fn finish(&mut self) -> Result<u64, BuildError> {
        if let Some(open) = &self.open {
            let partition = open.entry.partition;
            return Err(BuildError::Open { partition });
        }
        let mut footer = head(self.cluster, &self.id, self.runs);
        footer.append(&mut self.entries);
        let (trailer, bytes) =
            trailer(Version::V2, &footer, self.position).ok_or(BuildError::Footer)?;
        self.put_out(vec![footer.into(), trailer.into()]);
        Ok(bytes)
    }
}
