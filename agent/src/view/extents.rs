//! Cached extents, per partition, within a budget of bytes.

use std::collections::{BTreeMap, VecDeque};

use aquifer_format::{
    ids::{ObjectId, Offset, PartitionId, PartitionIndex, TopicId, UploadEpoch},
    limits::{EXTENT_EPOCHS_MAX, LOCATE_EXTENTS_MAX},
};
use aquifer_metadata_api::extent::Extent;

/// Most extents kept of one partition, so that making room in the middle stays cheap.
const PARTITION_EXTENTS_MAX: usize = 8192;

/// An extent and the offsets that it answers for: `covers_from` is before its base offset where the log
/// has a gap in front of it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    covers_from: Offset,
    learnt_in: UploadEpoch,
    extent: Extent,
}

#[derive(Debug, Default)]
struct PartitionExtents {
    /// In offset order; what they cover does not overlap.
    entries: VecDeque<Entry>,
    used_at: u64,
}

/// The cache.
#[derive(Debug)]
pub(super) struct ExtentCache {
    partitions: BTreeMap<PartitionId, PartitionExtents>,
    /// Least recently used first.
    order: BTreeMap<u64, PartitionId>,
    uses: u64,
    entries: usize,
    entries_max: usize,
}

impl ExtentCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            partitions: BTreeMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            entries: 0,
            entries_max: bytes_max / size_of::<Entry>(),
        }
    }

    /// See [`super::View::extents`].
    pub(super) fn get(
        &mut self,
        partition: PartitionId,
        from: Offset,
        bytes_max: u64,
        now: UploadEpoch,
    ) -> Vec<Extent> {
        let Some(kept) = self.partitions.get_mut(&partition) else {
            return Vec::new();
        };
        touch(&mut self.order, &mut self.uses, partition, kept);
        let first = kept
            .entries
            .partition_point(|entry| entry.extent.end_offset <= from);
        let mut found = Vec::new();
        let mut bytes = 0u64;
        let mut next = from;
        for entry in kept.entries.range(first..) {
            let enough = bytes >= bytes_max || found.len() >= LOCATE_EXTENTS_MAX;
            let is_old = now.0.saturating_sub(entry.learnt_in.0) > EXTENT_EPOCHS_MAX;
            if is_old || entry.covers_from > next || (enough && !found.is_empty()) {
                break;
            }
            bytes = bytes.saturating_add(u64::from(entry.extent.raw_bytes));
            next = entry.extent.end_offset;
            found.push(entry.extent);
        }
        found
    }

    /// Keeps `extents`, which are in offset order and leave out nothing from `from` on. Older knowledge
    /// of the same offsets gives way. They are believed for [`EXTENT_EPOCHS_MAX`] from `now` on.
    pub(super) fn insert(
        &mut self,
        partition: PartitionId,
        from: Offset,
        extents: &[Extent],
        now: UploadEpoch,
    ) {
        if extents.is_empty() {
            return;
        }
        let kept = self.partitions.entry(partition).or_default();
        touch(&mut self.order, &mut self.uses, partition, kept);
        let before = kept.entries.len();
        let mut covers_from = from;
        for extent in extents {
            kept.put(Entry {
                covers_from: covers_from.min(extent.base_offset),
                learnt_in: now,
                extent: *extent,
            });
            covers_from = extent.end_offset;
        }
        while kept.entries.len() > PARTITION_EXTENTS_MAX {
            kept.entries.pop_front();
        }
        self.entries = self.entries + kept.entries.len() - before;
        self.make_room();
    }

    /// See [`super::View::forget_object`].
    pub(super) fn forget_object(&mut self, partition: PartitionId, object: &ObjectId) {
        let Some(kept) = self.partitions.get_mut(&partition) else {
            return;
        };
        let before = kept.entries.len();
        kept.entries.retain(|entry| entry.extent.object != *object);
        self.entries -= before - kept.entries.len();
    }

    /// Forgets every partition of a topic.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        let range = PartitionId::new(topic, PartitionIndex(i32::MIN))
            ..=PartitionId::new(topic, PartitionIndex(i32::MAX));
        let gone: Vec<PartitionId> = self.partitions.range(range).map(|(id, _)| *id).collect();
        for id in gone {
            self.remove(id);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.partitions.clear();
        self.order.clear();
        self.entries = 0;
    }

    fn remove(&mut self, partition: PartitionId) {
        if let Some(kept) = self.partitions.remove(&partition) {
            self.order.remove(&kept.used_at);
            self.entries -= kept.entries.len();
        }
    }

    /// Drops the older half of the least recently used partition's extents until the budget is kept.
    fn make_room(&mut self) {
        while self.entries > self.entries_max {
            let Some(partition) = self.order.first_entry().map(|first| *first.get()) else {
                return;
            };
            let kept = self
                .partitions
                .get_mut(&partition)
                .expect("the order names kept partitions only");
            let dropped = kept.entries.len().div_ceil(2);
            kept.entries.drain(..dropped);
            self.entries -= dropped;
            if kept.entries.is_empty() {
                self.remove(partition);
            }
        }
    }
}

fn touch(
    order: &mut BTreeMap<u64, PartitionId>,
    uses: &mut u64,
    partition: PartitionId,
    kept: &mut PartitionExtents,
) {
    order.remove(&kept.used_at);
    *uses += 1;
    kept.used_at = *uses;
    order.insert(*uses, partition);
}

impl PartitionExtents {
    /// Puts an entry in its place and drops those that it overlaps.
    fn put(&mut self, entry: Entry) {
        let (from, to) = (entry.covers_from, entry.extent.end_offset);
        let first = self
            .entries
            .partition_point(|e| e.extent.end_offset <= from);
        let end = self.entries.partition_point(|e| e.covers_from < to);
        if first >= self.entries.len() {
            self.entries.push_back(entry);
        } else if end == first + 1 {
            self.entries[first] = entry;
        } else {
            if first < end {
                self.entries.drain(first..end);
            }
            self.entries.insert(first, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Incarnation, ObjectLevel, WriterSlot};
    use uuid::Uuid;

    use super::*;

    fn partition(index: i32) -> PartitionId {
        PartitionId::new(TopicId(Uuid::from_u128(7)), PartitionIndex(index))
    }

    fn extent(object: u64, base: i64, end: i64) -> Extent {
        Extent {
            object: ObjectId {
                incarnation: Incarnation(1),
                upload_epoch: UploadEpoch(1),
                writer: WriterSlot(1),
                level: ObjectLevel::L0,
                unique: object,
            },
            run_position: 0,
            run_bytes: 100,
            raw_start: 0,
            raw_bytes: 100,
            base_offset: Offset(base),
            end_offset: Offset(end),
            max_timestamp: 0,
            log_append_time: None,
        }
    }

    const NOW: UploadEpoch = UploadEpoch(7);

    fn found(cache: &mut ExtentCache, from: i64, bytes: u64) -> Vec<(i64, i64)> {
        cache
            .get(partition(0), Offset(from), bytes, NOW)
            .iter()
            .map(|e| (e.base_offset.0, e.end_offset.0))
            .collect()
    }

    #[test]
    fn what_is_found_has_no_gap_and_begins_at_the_offset() {
        let mut cache = ExtentCache::new(1 << 20);
        let extents = [extent(1, 0, 10), extent(2, 10, 20), extent(3, 20, 30)];
        cache.insert(partition(0), Offset(0), &extents, NOW);
        cache.insert(partition(0), Offset(50), &[extent(5, 50, 60)], NOW);
        for (from, bytes, want) in [
            (0, 1000, vec![(0, 10), (10, 20), (20, 30)]),
            (15, 1000, vec![(10, 20), (20, 30)]),
            (15, 0, vec![(10, 20)]),
            (15, 101, vec![(10, 20), (20, 30)]),
            (30, 1000, vec![]),
            (40, 1000, vec![]),
            (55, 1000, vec![(50, 60)]),
            (60, 1000, vec![]),
        ] {
            assert_eq!(found(&mut cache, from, bytes), want, "from {from}");
        }
    }

    #[test]
    fn a_located_gap_in_the_log_is_passed_over() {
        let mut cache = ExtentCache::new(1 << 20);
        let extents = [extent(1, 5, 10), extent(2, 15, 20)];
        cache.insert(partition(0), Offset(2), &extents, NOW);
        assert_eq!(found(&mut cache, 1, 1000), vec![]);
        assert_eq!(found(&mut cache, 2, 1000), vec![(5, 10), (15, 20)]);
        assert_eq!(found(&mut cache, 12, 1000), vec![(15, 20)]);
    }

    #[test]
    fn newer_knowledge_of_the_same_offsets_replaces_older() {
        let mut cache = ExtentCache::new(1 << 20);
        let small = [extent(1, 0, 10), extent(2, 10, 20), extent(3, 20, 30)];
        cache.insert(partition(0), Offset(0), &small, NOW);
        cache.insert(partition(0), Offset(0), &[extent(9, 0, 20)], NOW);
        assert_eq!(found(&mut cache, 0, 1000), vec![(0, 20), (20, 30)]);
        cache.insert(partition(0), Offset(5), &[extent(10, 5, 8)], NOW);
        assert_eq!(found(&mut cache, 6, 1000), vec![(5, 8)]);
        assert_eq!(cache.entries, 2);
        cache.forget_object(partition(0), &extent(10, 0, 0).object);
        assert_eq!(found(&mut cache, 6, 1000), vec![]);
        assert_eq!(cache.entries, 1);
        cache.forget_topic(partition(0).topic);
        assert_eq!((cache.entries, cache.order.len()), (0, 0));
    }

    #[test]
    fn the_budget_holds_and_the_least_recently_used_goes_first() {
        let mut cache = ExtentCache::new(8 * size_of::<Entry>());
        let four = |k| (0..4).map(move |i| extent(k, i * 10, i * 10 + 10));
        cache.insert(partition(0), Offset(0), &four(1).collect::<Vec<_>>(), NOW);
        cache.insert(partition(1), Offset(0), &four(2).collect::<Vec<_>>(), NOW);
        assert_eq!(found(&mut cache, 0, 1000).len(), 4);
        cache.insert(partition(2), Offset(0), &four(3).collect::<Vec<_>>(), NOW);
        assert!(cache.entries <= 8);
        assert_eq!(found(&mut cache, 0, 1000).len(), 4);
        assert!(!cache.partitions.contains_key(&partition(1)));
    }

    /// A log that was compacted was read as it had been for as long as its blocks were cached.
    #[test]
    fn regression_extents_are_believed_for_some_epochs_only() {
        let mut cache = ExtentCache::new(1 << 20);
        cache.insert(partition(0), Offset(0), &[extent(1, 0, 10)], NOW);
        let later = UploadEpoch(NOW.0 + EXTENT_EPOCHS_MAX);
        cache.insert(partition(0), Offset(10), &[extent(2, 10, 20)], later);
        let found = |cache: &mut ExtentCache, from, now| {
            cache.get(partition(0), Offset(from), 1_000, now).len()
        };
        assert_eq!(found(&mut cache, 0, later), 2);
        let too_late = UploadEpoch(later.0 + 1);
        assert_eq!(found(&mut cache, 0, too_late), 0);
        assert_eq!(found(&mut cache, 10, too_late), 1);
        // what is located again is believed again
        cache.insert(partition(0), Offset(0), &[extent(3, 0, 10)], too_late);
        assert_eq!(found(&mut cache, 0, too_late), 2);
    }
}
