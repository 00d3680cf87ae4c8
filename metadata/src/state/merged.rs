//! Merged extents: those of level 1 and up, which swaps bring and replace.
//!
//! They lie in chunks of their own, each a page named by the offset at which it began. A swap takes extents out
//! of any number of chunks, the tail's among them, and puts new ones into exactly one, which its event names:
//! so what becomes of a chunk follows from the event and that chunk alone, and pages may be of different
//! ages. Order of names is order of extents once all events were applied (see [`placing`]); in the middle of a
//! replay, chunks may seem to overlap, so nothing here relies on more than names.

use aquifer_format::{ids::Offset, limits::MERGED_PAGE_EXTENTS_MAX};

use super::{
    budget::EXTENT_BYTES,
    extents::{Chunk, ExtentLog, Packed, PushContext, Side},
    object::ObjectIndex,
};

mod placing;

pub(super) use placing::Placing;

/// What takes the place of a range.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    /// Extents that lie between this offset
    pub(super) from: i64,
    /// and this one go.
    pub(super) to: i64,
    /// The chunk that gets the new ones.
    pub(super) into: i64,
    pub(super) extents: Vec<Packed>,
}

impl ExtentLog {
    /// Carries out what one event says of this partition, in the chunks to which that is news.
    pub(super) fn swap(&mut self, swaps: &[Swap], context: &mut PushContext<'_>) {
        let at = context.at;
        // chunks that swaps of the same event touch are news for all of them
        let knows = |chunks: &[Chunk]| -> Vec<i64> {
            let known = chunks.iter().filter(|chunk| chunk.at >= at);
            known.map(|chunk| chunk.first).collect()
        };
        let (tail_knows, merged_knows) = (knows(self.chunks.as_slice()), knows(self.merged()));
        let mut removed: Vec<ObjectIndex> = Vec::new();
        for swap in swaps {
            for extent in take_out(&mut self.chunks, swap, &tail_knows, Side::Tail, context) {
                removed.push(extent.object);
            }
            let merged = self.merged.get_or_insert_default();
            for extent in take_out(merged, swap, &merged_knows, Side::Merged, context) {
                removed.push(extent.object);
            }
            put_in(merged, swap, &merged_knows, context);
        }
        let bytes = EXTENT_BYTES.saturating_mul(u64::try_from(removed.len()).unwrap_or(u64::MAX));
        context.usage.extent_bytes = context.usage.extent_bytes.saturating_sub(bytes);
        for object in &removed {
            context.objects.remove(*object);
        }
        for object in removed {
            context.objects.settle(object, context.usage);
        }
        clear_up(&mut self.chunks, Side::Tail, context);
        if let Some(merged) = self.merged.as_mut() {
            clear_up(merged, Side::Merged, context);
            if merged.is_empty() {
                self.merged = None;
            }
        }
    }

    /// Adds a chunk from its page; pages come in order of names. What other chunks hold is not looked at: it
    /// may be of another age.
    pub(super) fn load_merged(
        &mut self,
        first: Offset,
        extents: &[Packed],
        context: &mut PushContext<'_>,
    ) -> Result<(), &'static str> {
        let in_order = extents
            .iter()
            .zip(extents.iter().skip(1))
            .all(|(a, b)| a.end() <= b.base_offset);
        let begins = extents.first().is_some_and(|e| e.base_offset >= first.0);
        if !begins || !in_order {
            return Err("its extents are not in order");
        }
        if extents.iter().any(|extent| extent.records == 0) {
            return Err("an extent takes no offset");
        }
        if extents.len() > MERGED_PAGE_EXTENTS_MAX {
            return Err("it has too many extents");
        }
        let mut chunk = Chunk::begun(context.at, first.0);
        for extent in extents {
            context.objects.add(extent.object, 1);
            context.usage.extent_bytes = context.usage.extent_bytes.saturating_add(EXTENT_BYTES);
            chunk.note(extent);
        }
        chunk.extents = extents.to_vec();
        self.merged.get_or_insert_default().push(chunk);
        Ok(())
    }
}

/// Takes what lies in the range out of chunks that don't know the event.
fn take_out(
    chunks: &mut [Chunk],
    swap: &Swap,
    knowing: &[i64],
    side: Side,
    context: &PushContext<'_>,
) -> Vec<Packed> {
    let mut taken = Vec::new();
    let reached = chunks.partition_point(|chunk| chunk.first < swap.to);
    for chunk in &mut chunks[..reached] {
        if knowing.binary_search(&chunk.first).is_ok() {
            continue;
        }
        let extents = &chunk.extents;
        let begin = extents.partition_point(|extent| extent.base_offset < swap.from);
        let end = extents.partition_point(|extent| extent.end() <= swap.to);
        if begin >= end {
            continue;
        }
        chunk.at = context.at;
        taken.extend(chunk.extents.drain(begin..end));
        chunk.lost(end - begin, side);
    }
    taken
}

fn put_in(chunks: &mut Vec<Chunk>, swap: &Swap, knowing: &[i64], context: &mut PushContext<'_>) {
    let (Some(first), Some(last)) = (swap.extents.first(), swap.extents.last()) else {
        return;
    };
    if knowing.binary_search(&swap.into).is_ok() {
        return;
    }
    let at = match chunks.binary_search_by_key(&swap.into, |chunk| chunk.first) {
        Ok(at) => at,
        Err(at) => {
            chunks.insert(at, Chunk::begun(context.at, swap.into));
            at
        }
    };
    let chunk = &mut chunks[at];
    let place = chunk
        .extents
        .partition_point(|extent| extent.base_offset < first.base_offset);
    let before = place.checked_sub(1).and_then(|at| chunk.extents.get(at));
    let after = chunk.extents.get(place);
    let fits = first.base_offset >= chunk.first
        && before.is_none_or(|extent| extent.end() <= first.base_offset)
        && after.is_none_or(|extent| last.end() <= extent.base_offset)
        && swap.extents.is_sorted_by(|a, b| a.end() <= b.base_offset)
        && swap.extents.iter().all(|extent| extent.records > 0)
        && chunk.extents.len().saturating_add(swap.extents.len()) <= MERGED_PAGE_EXTENTS_MAX;
    // only in a journal that no decision wrote
    if !fits {
        return;
    }
    chunk.at = context.at;
    for extent in &swap.extents {
        context.objects.add(extent.object, 1);
        context.usage.extent_bytes = context.usage.extent_bytes.saturating_add(EXTENT_BYTES);
    }
    chunk
        .extents
        .splice(place..place, swap.extents.iter().copied());
}

/// Notes which chunks this event changed, counts them anew, and forgets empty ones.
fn clear_up(chunks: &mut Vec<Chunk>, side: Side, context: &mut PushContext<'_>) {
    for chunk in chunks.iter_mut().filter(|chunk| chunk.at == context.at) {
        chunk.count_anew();
        let page = side.page(context.partition, chunk.first);
        if chunk.extents.is_empty() {
            context.dirty.gone(page);
        } else {
            context.dirty.mark(&mut chunk.dirty, page);
        }
    }
    chunks.retain(|chunk| !chunk.extents.is_empty());
}
