//! One partition's extents, batch by batch.

use std::collections::BTreeSet;

use aquifer_format::{
    batch::{Batches, RecordBatch},
    block::{BlockHeader, Blocks},
    ids::{LeaderEpoch, ObjectLevel, Offset},
    limits::BLOCK_HEADER_BYTES,
    object::{AbortedTransaction, IndexError, RunIndex},
};
use aquifer_metadata_api::extent::Extent;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{
    JobError,
    source::{Batch, RunSource, Source},
    windows::{Windows, damaged},
};

/// What to read of a run's end to have most indexes at once.
const INDEX_READ_BYTES: u64 = 16 << 10;

/// Where the reader is within a run.
#[derive(Debug)]
struct Place {
    run_position: u64,
    extent: Extent,
    /// Byte position of the next block in the object.
    position: u64,
    /// Where the blocks end, index included.
    end: u64,
    /// Expanded bytes before the next batch.
    raw: u64,
    batches: Option<Batches>,
}

/// What an extent says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// The extent.
    pub(crate) extent: Extent,
    /// Whether keys were compacted in it.
    pub(crate) cleaned: bool,
    /// Its aborted transactions.
    pub(crate) aborted: Vec<AbortedTransaction>,
}

/// Reads extents in order.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    source: &'a Source,
    leader_epoch: LeaderEpoch,
    with_indexes: bool,
    extents: Vec<Extent>,
    /// The one that comes next.
    next: usize,
    open: Option<Extent>,
    place: Option<Place>,
    /// The open extent's next batch begins here (level 0), or here or later.
    offset: Offset,
    is_first: bool,
    /// Where the batch before ended.
    end_offset: Offset,
}

impl<'a> Reader<'a> {
    /// `with_indexes`: what the indexes of merged runs say is wanted, too.
    pub(super) fn new(
        source: &'a Source,
        leader_epoch: LeaderEpoch,
        extents: &[Extent],
        with_indexes: bool,
    ) -> Self {
        Self {
            source,
            leader_epoch,
            with_indexes,
            extents: extents.to_vec(),
            next: 0,
            open: None,
            place: None,
            offset: Offset(0),
            is_first: true,
            end_offset: Offset(i64::MIN),
        }
    }

    /// Begins the next extent; None = there is no other.
    ///
    /// # Errors
    /// See [`JobError`].
    pub(crate) async fn begin(&mut self) -> Result<Option<Begun>, JobError> {
        let coming = self.extents.get(self.next..).unwrap_or_default();
        let Some(extent) = coming.first().copied() else {
            return Ok(None);
        };
        let continues = self.place.as_ref().is_some_and(|place| {
            place.extent.object == extent.object
                && place.run_position == extent.run_position
                && place.raw <= u64::from(extent.raw_start)
        });
        if !continues {
            self.source.fill(coming).await?;
            let run_bytes = u64::from(extent.run_bytes);
            self.place = Some(Place {
                run_position: extent.run_position,
                extent,
                position: extent.run_position,
                end: extent.run_position.saturating_add(run_bytes),
                raw: 0,
                batches: None,
            });
        }
        if extent.base_offset < self.end_offset || extent.end_offset <= extent.base_offset {
            return Err(damaged(&extent.object, "its extents are not in order"));
        }
        let has_index = extent.object.level != ObjectLevel::L0;
        let index = if self.with_indexes && has_index {
            read_index(self.source.windows(), &extent, true).await?
        } else {
            RunIndex::default()
        };
        self.next += 1;
        self.open = Some(extent);
        self.offset = extent.base_offset;
        self.is_first = true;
        if let Some(place) = self.place.as_mut() {
            skip(self.source.windows(), place, u64::from(extent.raw_start)).await?;
        }
        Ok(Some(Begun {
            extent,
            cleaned: index.cleaned,
            aborted: index.aborted,
        }))
    }

    /// The next batch of the extent that was begun; None = it has no other.
    ///
    /// # Errors
    /// See [`JobError`].
    pub(crate) async fn batch(&mut self) -> Result<Option<Batch>, JobError> {
        let (Some(extent), Some(place)) = (self.open, self.place.as_mut()) else {
            return Ok(None);
        };
        let raw_end = u64::from(extent.raw_start) + u64::from(extent.raw_bytes);
        if place.raw >= raw_end {
            if place.raw > raw_end || self.offset != extent.end_offset {
                let what = "its batches do not end where an extent does";
                return Err(damaged(&extent.object, what));
            }
            self.open = None;
            return Ok(None);
        }
        let stored = stored_batch(self.source.windows(), place).await?;
        let batch = self.placed(&extent, &stored)?;
        (self.offset, self.end_offset) = (batch.end_offset, batch.end_offset);
        self.is_first = false;
        Ok(Some(batch))
    }

    /// The batch as readers get it.
    fn placed(&self, extent: &Extent, stored: &RecordBatch) -> Result<Batch, JobError> {
        let object = &extent.object;
        stored
            .validate_integrity()
            .map_err(|error| damaged(object, error.to_string()))?;
        let is_small = object.level == ObjectLevel::L0;
        let base_offset = if is_small {
            self.offset
        } else {
            stored.header.base_offset
        };
        let offsets = stored.header.offsets();
        let end_offset = base_offset.plus(offsets);
        let begins = !self.is_first || base_offset == extent.base_offset;
        let in_order = base_offset >= self.offset && end_offset <= extent.end_offset;
        if offsets == 0 || !begins || !in_order {
            let what = format!(
                "a batch takes the offsets from {base_offset} to {end_offset}, in an extent of {} to {}",
                extent.base_offset, extent.end_offset
            );
            return Err(damaged(object, what));
        }
        let batch = if is_small || stored.header.leader_epoch != self.leader_epoch {
            let time = extent.log_append_time;
            let pieces = stored.patched(base_offset, self.leader_epoch, time);
            let header = stored.patched_header(base_offset, self.leader_epoch, time);
            let bytes = joined(&pieces);
            RecordBatch { header, bytes }
        } else {
            stored.clone()
        };
        Ok(Batch {
            base_offset,
            end_offset,
            batch,
        })
    }
}

#[async_trait]
impl RunSource for Reader<'_> {
    async fn next(&mut self) -> Result<Option<Batch>, JobError> {
        loop {
            if let Some(batch) = self.batch().await? {
                return Ok(Some(batch));
            }
            if self.begin().await?.is_none() {
                return Ok(None);
            }
        }
    }

    async fn rewind(&mut self) -> Result<(), JobError> {
        (self.next, self.open, self.place) = (0, None, None);
        self.end_offset = Offset(i64::MIN);
        Ok(())
    }
}

/// Goes on to the batch that begins behind `raw_start` expanded bytes of the run.
async fn skip(windows: &Windows, place: &mut Place, raw_start: u64) -> Result<(), JobError> {
    while place.raw < raw_start {
        if place.batches.is_none() {
            let header = next_header(windows, place).await?;
            let behind = place.raw.saturating_add(u64::from(header.expanded_bytes));
            if behind <= raw_start {
                place.position = place.position.saturating_add(header.block_bytes());
                place.raw = behind;
                continue;
            }
        }
        stored_batch(windows, place).await?;
    }
    if place.raw == raw_start {
        Ok(())
    } else {
        Err(damaged(
            &place.extent.object,
            "an extent begins within a batch",
        ))
    }
}

/// The next batch of the run, as it is stored.
async fn stored_batch(windows: &Windows, place: &mut Place) -> Result<RecordBatch, JobError> {
    loop {
        if let Some(batches) = place.batches.as_mut() {
            let batch = batches.next();
            if batches.remaining() == 0 {
                place.batches = None;
            }
            if let Some(batch) = batch {
                let object = &place.extent.object;
                let batch = batch.map_err(|error| damaged(object, error.to_string()))?;
                let bytes = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
                place.raw = place.raw.saturating_add(bytes);
                return Ok(batch);
            }
        }
        let block = next_block(windows, place).await?;
        place.batches = Some(Batches::new(block));
        // Expanding a block takes a millisecond or two of a thread that others need.
        tokio::task::yield_now().await;
    }
}

async fn next_header(windows: &Windows, place: &Place) -> Result<BlockHeader, JobError> {
    let object = &place.extent.object;
    let header_bytes = u64::try_from(BLOCK_HEADER_BYTES).unwrap_or(u64::MAX);
    if place.position.saturating_add(header_bytes) > place.end {
        return Err(damaged(object, "a run ends before its extent does"));
    }
    let bytes = windows
        .read(object, place.position, header_bytes, place.end)
        .await?;
    bytes
        .first_chunk::<BLOCK_HEADER_BYTES>()
        .and_then(BlockHeader::decode)
        .filter(|header| place.position.saturating_add(header.block_bytes()) <= place.end)
        .ok_or_else(|| {
            let what = format!("no block lies at byte {}", place.position);
            damaged(object, what)
        })
}

/// The next block of the run, verified and expanded.
async fn next_block(windows: &Windows, place: &mut Place) -> Result<Bytes, JobError> {
    let header = next_header(windows, place).await?;
    let object = place.extent.object;
    let block_bytes = header.block_bytes();
    let bytes = windows
        .read(&object, place.position, block_bytes, place.end)
        .await?;
    let block = usize::try_from(block_bytes)
        .ok()
        .filter(|length| *length <= bytes.len())
        .map(|length| bytes.slice(..length))
        .ok_or_else(|| damaged(&object, "a block is cut short"))?;
    let expanded = Blocks::new(block)
        .next()
        .ok_or_else(|| damaged(&object, "a run ends before its extent does"))?
        .map_err(|error| damaged(&object, format!("byte {}: {error}", place.position)))?;
    place.position = place.position.saturating_add(block_bytes);
    Ok(expanded.bytes)
}

/// The index of an extent of level 1 and up.
///
/// `is_wanted`: so is the rest of the run, of which what fits into a window is read along with it.
pub(super) async fn read_index(
    windows: &Windows,
    extent: &Extent,
    is_wanted: bool,
) -> Result<RunIndex, JobError> {
    let object = &extent.object;
    let run_bytes = u64::from(extent.run_bytes);
    let end = extent.run_position.saturating_add(run_bytes);
    let mut tail_bytes = INDEX_READ_BYTES.min(run_bytes);
    for _ in 0..2 {
        let from = end.saturating_sub(tail_bytes);
        let tail = if is_wanted && run_bytes <= windows.window_bytes() {
            let run = windows.read(object, extent.run_position, run_bytes, end);
            let length = usize::try_from(run_bytes).unwrap_or(usize::MAX);
            let run = run.await?;
            run.slice(..length.min(run.len()))
        } else {
            windows.get(object, from..end).await?
        };
        match RunIndex::read(&tail, extent.run_bytes) {
            Ok(index) => return Ok(index),
            Err(IndexError::NeedMore { tail_bytes: more }) => tail_bytes = more.min(run_bytes),
            Err(error) => return Err(damaged(object, error.to_string())),
        }
    }
    Err(damaged(object, "a run's index is longer than it says"))
}

/// The aborted transactions that have records in `[from, to)`.
pub(crate) fn overlapping(
    aborted: &BTreeSet<AbortedTransaction>,
    from: Offset,
    to: Offset,
) -> Vec<AbortedTransaction> {
    let overlaps = |transaction: &&AbortedTransaction| {
        transaction.first_offset < to && transaction.last_offset >= from
    };
    aborted.iter().filter(overlaps).copied().collect()
}

fn joined(pieces: &[Bytes; 2]) -> Bytes {
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        all.extend_from_slice(piece);
    }
    all.freeze()
}
