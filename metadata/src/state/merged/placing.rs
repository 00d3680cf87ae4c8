//! Into which chunk of merged extents a swap's output goes.
//!
//! The chunk must have everything that lies before the range before it, and all that lies behind the range behind
//! it, or names would not order contents any more. So it is the first chunk that reaches beyond the beginning of the
//! range, if it is named by an offset before it; else the one before that, or a new one between the two, named
//! by the beginning of the range.

use std::collections::BTreeMap;

use aquifer_format::limits::{MERGED_PAGE_EXTENTS, MERGED_PAGE_EXTENTS_MAX};

use crate::state::extents::{Chunk, ExtentLog};

/// Places ranges of one event and partition, in offset order, none overlapping.
#[derive(Debug, Default)]
pub(in crate::state) struct Placing {
    /// By the chunk's name: how many extents those ranges put into it, and how many they take out.
    changes: BTreeMap<i64, (usize, usize)>,
    /// The last chunk that begins with one of the ranges.
    begun: Option<i64>,
}

impl Placing {
    /// The chunk that `count` extents of [`from`, `to`) go into. None = it has no room for them.
    pub(in crate::state) fn place(
        &mut self,
        log: &ExtentLog,
        from: i64,
        to: i64,
        count: usize,
    ) -> Option<i64> {
        let merged = log.merged();
        let reaching = merged.partition_point(|chunk| chunk.end() <= from);
        let behind = merged.get(reaching..).unwrap_or_default();
        let into = match behind.first().filter(|chunk| chunk.first <= from) {
            Some(chunk) => {
                let left = self.left(chunk.first, chunk.extents.len());
                let left = left.saturating_sub(within(chunk, from, to));
                let fits = left.saturating_add(count) <= MERGED_PAGE_EXTENTS_MAX;
                fits.then_some(chunk.first)
            }
            None => {
                let before = reaching.checked_sub(1).and_then(|at| merged.get(at));
                let before = before.map(|chunk| (chunk.first, chunk.extents.len()));
                let last = before.max(self.begun.map(|first| (first, 0)));
                self.at_end_of(last, from, count)
            }
        }?;
        for chunk in behind.iter().take_while(|chunk| chunk.first < to) {
            let gone = within(chunk, from, to);
            if gone > 0 {
                let (_, lost) = self.changes.entry(chunk.first).or_default();
                *lost = lost.saturating_add(gone);
            }
        }
        let (gained, _) = self.changes.entry(into).or_default();
        *gained = gained.saturating_add(count);
        Some(into)
    }

    /// That chunk, of which everything lies before the range, or a new one.
    fn at_end_of(&mut self, last: Option<(i64, usize)>, from: i64, count: usize) -> Option<i64> {
        if let Some((first, len)) = last {
            let left = self.left(first, len);
            let fits = left.saturating_add(count) <= MERGED_PAGE_EXTENTS_MAX;
            if left < MERGED_PAGE_EXTENTS && fits {
                return Some(first);
            }
        }
        if count > MERGED_PAGE_EXTENTS_MAX {
            return None;
        }
        self.begun = Some(from);
        Some(from)
    }

    /// How many extents the chunk has after the ranges so far.
    fn left(&self, first: i64, len: usize) -> usize {
        let (gained, lost) = self.changes.get(&first).copied().unwrap_or_default();
        len.saturating_add(gained).saturating_sub(lost)
    }
}

/// How many of the chunk's extents lie in the range.
fn within(chunk: &Chunk, from: i64, to: i64) -> usize {
    let begin = chunk
        .extents
        .partition_point(|extent| extent.base_offset < from);
    let end = chunk.extents.partition_point(|extent| extent.end() <= to);
    end.saturating_sub(begin)
}
