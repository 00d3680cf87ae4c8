//! The extents of one partition, compact and in chunks. A chunk is one extent page.
//!
//! There are two kinds: the *tail*, to which commits add and which loses its first extents, and what
//! compactors merged ([`super::merged`]). Readers see both as one log.

use std::ops::Range;

use aquifer_format::{
    ids::{Offset, PartitionId},
    limits::PAGE_EXTENTS_MAX,
};
use aquifer_metadata_api::extent::Extent;

use super::{
    budget::{EXTENT_BYTES, Usage},
    entity::{Dirty, Position},
    object::{ObjectIndex, Objects},
    page::PageRef,
};

/// An extent in 48 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    pub(super) run_position: u64,
    pub(super) base_offset: i64,
    pub(super) max_timestamp: i64,
    pub(super) object: ObjectIndex,
    pub(super) run_bytes: u32,
    pub(super) raw_start: u32,
    pub(super) raw_bytes: u32,
    pub(super) records: u32,
    /// `max_timestamp` is the append time, to be patched into the batches.
    pub(super) log_append_time: bool,
}

impl Packed {
    pub(super) fn end(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.records))
    }

    pub(super) fn unpack(&self, objects: &Objects) -> Option<Extent> {
        Some(Extent {
            object: objects.id(self.object)?,
            run_position: self.run_position,
            run_bytes: self.run_bytes,
            raw_start: self.raw_start,
            raw_bytes: self.raw_bytes,
            base_offset: Offset(self.base_offset),
            end_offset: Offset(self.end()),
            max_timestamp: self.max_timestamp,
            log_append_time: self.log_append_time.then_some(self.max_timestamp),
        })
    }
}

/// Up to 512 extents, in offset order, never empty.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) at: Position,
    pub(super) dirty: bool,
    /// Base offset of its first extent, when it was begun: its name, also once that extent is gone.
    pub(super) first: i64,
    pub(super) max_timestamp: i64,
    /// Sum of the extents' expanded bytes.
    pub(super) raw_bytes: u64,
    /// How many extents it had beside those that it has: they count as if they were there, so that the
    /// boundaries of chunks do not depend on when a log start moved or a range was swapped. Only of the tail, whose
    /// chunks are filled one after the other.
    pub(super) dropped: u32,
    pub(super) extents: Vec<Packed>,
}

impl Chunk {
    pub(super) fn begun(at: Position, first: i64) -> Self {
        Self {
            at,
            dirty: false,
            first,
            max_timestamp: i64::MIN,
            raw_bytes: 0,
            dropped: 0,
            extents: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        let dropped = usize::try_from(self.dropped).unwrap_or(usize::MAX);
        dropped.saturating_add(self.extents.len()) >= PAGE_EXTENTS_MAX
    }

    pub(super) fn end(&self) -> i64 {
        self.extents.last().map_or(self.first, Packed::end)
    }

    pub(super) fn note(&mut self, extent: &Packed) {
        self.max_timestamp = self.max_timestamp.max(extent.max_timestamp);
        self.raw_bytes = self.raw_bytes.saturating_add(u64::from(extent.raw_bytes));
    }

    /// Drops some of its extents. Objects that lose their last reference by it are settled.
    fn drop_some(&mut self, which: Range<usize>, side: Side, context: &mut PushContext<'_>) {
        let dropped: Vec<Packed> = self.extents.drain(which).collect();
        for extent in &dropped {
            context.usage.extent_bytes = context.usage.extent_bytes.saturating_sub(EXTENT_BYTES);
            context.objects.remove(extent.object);
        }
        for extent in &dropped {
            context.objects.settle(extent.object, context.usage);
        }
        self.lost(dropped.len(), side);
        self.count_anew();
    }

    /// Notes that so many extents are not in it any more.
    pub(super) fn lost(&mut self, count: usize, side: Side) {
        if matches!(side, Side::Tail) {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.dropped = self.dropped.saturating_add(count);
        }
    }

    /// Counts what it has, after it lost something.
    pub(super) fn count_anew(&mut self) {
        let extents = self.extents.as_slice();
        let latest = extents.iter().map(|extent| extent.max_timestamp).max();
        let bytes = extents.iter().map(|extent| u64::from(extent.raw_bytes));
        self.raw_bytes = bytes.fold(0, u64::saturating_add);
        self.max_timestamp = latest.unwrap_or(i64::MIN);
        // what was there is counted no more, so it may not take memory either
        let wanted = self.extents.len().saturating_mul(2);
        if self.extents.capacity() > wanted.saturating_mul(2) {
            self.extents.shrink_to(wanted);
        }
    }
}

/// Which chunks of a partition: those of its tail, or those of what was merged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Tail,
    Merged,
}

impl Side {
    /// The page of the chunk of that name.
    pub(super) fn page(self, partition: PartitionId, first: i64) -> PageRef {
        match self {
            Self::Tail => PageRef::Extents(partition, Offset(first)),
            Self::Merged => PageRef::Merged(partition, Offset(first)),
        }
    }
}

/// All extents of a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtentLog {
    /// The tail.
    pub(super) chunks: Vec<Chunk>,
    /// Merged extents; None = there are none. They lie before, between and in no case within those of the
    /// tail.
    #[allow(
        clippy::box_collection,
        reason = "many partitions have none: 8 bytes instead of 24"
    )]
    pub(super) merged: Option<Box<Vec<Chunk>>>,
}

/// What pushing extents needs beside the log.
pub(super) struct PushContext<'a> {
    pub(super) at: Position,
    pub(super) partition: PartitionId,
    pub(super) objects: &'a mut Objects,
    pub(super) usage: &'a mut Usage,
    pub(super) dirty: &'a mut Dirty,
}

impl ExtentLog {
    /// Adds the extents that one event brings, in offset order. Those that a chunk has already (its
    /// page is newer than the event) and those that would not be in order are left out.
    pub(super) fn push_all(&mut self, extents: &[Packed], context: &mut PushContext<'_>) {
        // The chunk of the extent before, by name, and whether this event is news to it.
        let mut current: Option<(i64, bool)> = None;
        for extent in extents {
            if extent.records == 0 {
                continue;
            }
            let Some(index) = self.chunk_for(extent, context.at) else {
                continue;
            };
            let chunk = &self.chunks[index];
            let fresh = match current {
                _ if chunk.extents.is_empty() => true,
                Some((first, fresh)) if first == chunk.first => fresh,
                _ => chunk.at < context.at,
            };
            current = Some((chunk.first, fresh));
            if fresh {
                self.push(index, *extent, context);
            }
        }
    }

    /// Adds a chunk from its page; pages come in order.
    pub(super) fn load_chunk(
        &mut self,
        first: Offset,
        dropped: u32,
        extents: &[Packed],
        context: &mut PushContext<'_>,
    ) -> Result<(), &'static str> {
        let in_order = extents
            .iter()
            .zip(extents.iter().skip(1))
            .all(|(a, b)| a.end() <= b.base_offset);
        let after_others = self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.end() <= first.0);
        let begins = extents.first().is_some_and(|extent| {
            extent.base_offset == first.0 || (dropped > 0 && extent.base_offset > first.0)
        });
        if !begins || !in_order || !after_others {
            return Err("its extents are not in order");
        }
        if extents.iter().any(|extent| extent.records == 0) {
            return Err("an extent has no record");
        }
        let mut chunk = Chunk::begun(context.at, first.0);
        chunk.dropped = dropped;
        let dropped = usize::try_from(dropped).unwrap_or(usize::MAX);
        if dropped.saturating_add(extents.len()) > PAGE_EXTENTS_MAX {
            return Err("it has too many extents");
        }
        for extent in extents {
            context.objects.add(extent.object, 1);
            context.usage.extent_bytes = context.usage.extent_bytes.saturating_add(EXTENT_BYTES);
            chunk.note(extent);
        }
        chunk.extents = extents.to_vec();
        self.chunks.push(chunk);
        Ok(())
    }

    /// Drops the extents that end at or below `offset`, from chunks to which the event is news. A chunk
    /// without extents is gone; one that lost only its first ones keeps its name.
    pub(super) fn drop_through(&mut self, offset: i64, context: &mut PushContext<'_>) {
        drop_through(&mut self.chunks, offset, Side::Tail, context);
        if let Some(merged) = self.merged.as_mut() {
            drop_through(merged, offset, Side::Merged, context);
            if merged.is_empty() {
                self.merged = None;
            }
        }
    }

    fn push(&mut self, index: usize, extent: Packed, context: &mut PushContext<'_>) {
        let chunk = &mut self.chunks[index];
        if extent.base_offset < chunk.end() {
            return;
        }
        chunk.at = context.at;
        chunk.note(&extent);
        chunk.extents.push(extent);
        context.objects.add(extent.object, 1);
        context.usage.extent_bytes = context.usage.extent_bytes.saturating_add(EXTENT_BYTES);
        let page = PageRef::Extents(context.partition, Offset(chunk.first));
        context.dirty.mark(&mut chunk.dirty, page);
    }

    /// The chunk that an extent belongs to: by name if there are later chunks, else the last one, or a
    /// new one after it if that is full. None = it does not fit in.
    fn chunk_for(&mut self, extent: &Packed, at: Position) -> Option<usize> {
        // Nearly always: behind everything that is there. Looks at no other chunk's memory.
        if let Some((last, before)) = self.chunks.split_last()
            && !last.is_full()
            && last.end() <= extent.base_offset
        {
            return Some(before.len());
        }
        let after = self
            .chunks
            .partition_point(|chunk| chunk.first <= extent.base_offset);
        if let Some(next) = self.chunks.get(after)
            && extent.end() > next.first
        {
            return None;
        }
        let before = after.checked_sub(1);
        if let Some(index) = before
            && !self.chunks[index].is_full()
        {
            return Some(index);
        }
        if let Some(index) = before
            && extent.base_offset < self.chunks[index].end()
        {
            return None;
        }
        self.chunks
            .insert(after, Chunk::begun(at, extent.base_offset));
        Some(after)
    }

    /// Extents from the one that holds `from` (or the next one) on.
    pub(super) fn iter_from(&self, from: i64) -> impl Iterator<Item = &Packed> + '_ {
        in_order(
            chunks_from(&self.chunks, from),
            chunks_from(self.merged(), from),
        )
    }

    /// The same of the tail only.
    pub(super) fn tail_from(&self, from: i64) -> impl Iterator<Item = &Packed> + '_ {
        chunks_from(&self.chunks, from)
    }

    /// The last extent that ends at or below `offset`.
    pub(super) fn before(&self, offset: i64) -> Option<&Packed> {
        let found = [
            last_before(&self.chunks, offset),
            last_before(self.merged(), offset),
        ];
        found
            .into_iter()
            .flatten()
            .max_by_key(|extent| extent.base_offset)
    }

    /// Whether a merged extent has some of these offsets.
    pub(super) fn is_merged_within(&self, offsets: Range<i64>) -> bool {
        let first = chunks_from(self.merged(), offsets.start).next();
        first.is_some_and(|extent| extent.base_offset < offsets.end)
    }

    /// The first extent at or after `from` that has a record with this timestamp or a later one.
    pub(super) fn first_at_or_after(&self, timestamp: i64, from: i64) -> Option<&Packed> {
        let first = |chunks: &'_ [Chunk]| {
            chunks
                .iter()
                .filter(|chunk| chunk.max_timestamp >= timestamp && chunk.end() > from)
                .flat_map(|chunk| &chunk.extents)
                .find(|extent| extent.max_timestamp >= timestamp && extent.end() > from)
                .copied()
        };
        let found = [first(&self.chunks), first(self.merged())];
        let base = found.into_iter().flatten().map(|e| e.base_offset).min()?;
        self.iter_from(base).next()
    }

    /// The first extent at or after `from` that has the largest timestamp.
    pub(super) fn first_with_max_timestamp(&self, from: i64) -> Option<&Packed> {
        let max = self
            .iter_from(from)
            .map(|extent| extent.max_timestamp)
            .max()?;
        self.first_at_or_after(max, from)
    }

    /// Expanded bytes of all extents: what Kafka calls the size of a log.
    pub(super) fn raw_bytes(&self) -> u64 {
        let chunks = self.chunks.iter().chain(self.merged());
        chunks.fold(0, |sum, chunk| sum.saturating_add(chunk.raw_bytes))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Packed> + '_ {
        let tail = self.chunks.iter().flat_map(|chunk| &chunk.extents);
        let merged = self.merged().iter().flat_map(|chunk| &chunk.extents);
        in_order(tail, merged)
    }

    /// Chunks of merged extents.
    pub(super) fn merged(&self) -> &[Chunk] {
        self.merged.as_ref().map_or(&[], |merged| merged.as_slice())
    }
}

/// Extents from the one that holds `from` (or the next one) on.
fn chunks_from(chunks: &[Chunk], from: i64) -> impl Iterator<Item = &Packed> + '_ {
    let chunk = chunks.partition_point(|chunk| chunk.end() <= from);
    let within = chunks.get(chunk).map_or(0, |chunk| {
        chunk.extents.partition_point(|extent| extent.end() <= from)
    });
    chunks
        .iter()
        .skip(chunk)
        .flat_map(|chunk| &chunk.extents)
        .skip(within)
}

/// The last extent that ends at or below `offset`.
fn last_before(chunks: &[Chunk], offset: i64) -> Option<&Packed> {
    let begins = |chunk: &Chunk| chunk.extents.first().is_some_and(|e| e.end() <= offset);
    let reached = chunks.partition_point(begins);
    let extents = &chunks.get(reached.checked_sub(1)?)?.extents;
    let within = extents.partition_point(|extent| extent.end() <= offset);
    extents.get(within.checked_sub(1)?)
}

/// Both, in order of their offsets.
fn in_order<'a>(
    one: impl Iterator<Item = &'a Packed> + 'a,
    other: impl Iterator<Item = &'a Packed> + 'a,
) -> impl Iterator<Item = &'a Packed> + 'a {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(a), Some(b)) if b.base_offset < a.base_offset => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

/// See [`ExtentLog::drop_through`].
fn drop_through(chunks: &mut Vec<Chunk>, offset: i64, side: Side, context: &mut PushContext<'_>) {
    let reached = chunks.partition_point(|chunk| chunk.first < offset);
    for chunk in &mut chunks[..reached] {
        if chunk.at >= context.at {
            continue;
        }
        let count = chunk
            .extents
            .partition_point(|extent| extent.end() <= offset);
        if count == 0 {
            continue;
        }
        chunk.drop_some(0..count, side, context);
        chunk.at = context.at;
        let page = side.page(context.partition, chunk.first);
        if chunk.extents.is_empty() {
            context.dirty.gone(page);
        } else {
            context.dirty.mark(&mut chunk.dirty, page);
        }
    }
    chunks.retain(|chunk| !chunk.extents.is_empty());
}
