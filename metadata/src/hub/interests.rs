//! Who wants to be sent the extents of which partitions.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    ids::{Offset, PartitionId},
    map::FixedMap,
};

use super::WatcherId;

/// Interests, to be found by partition (each extent that is appended asks) and by watcher.
#[derive(Debug, Default)]
pub(crate) struct Interests {
    /// Watchers of a partition, sorted, and from where on each wants extents. Nobody = not in it.
    by_partition: FixedMap<PartitionId, Vec<(WatcherId, Offset)>>,
    by_watcher: BTreeMap<WatcherId, BTreeSet<PartitionId>>,
}

impl Interests {
    /// Watchers of `partition`, sorted, and from where on each wants its extents.
    pub(crate) fn of(&self, partition: &PartitionId) -> &[(WatcherId, Offset)] {
        self.by_partition.get(partition).map_or(&[], Vec::as_slice)
    }

    /// How many partitions `watcher` is interested in.
    pub(super) fn count(&self, watcher: WatcherId) -> usize {
        self.by_watcher.get(&watcher).map_or(0, BTreeSet::len)
    }

    /// `watcher` wants extents of `partition` from `begin` on, whatever it wanted before.
    pub(super) fn add(&mut self, watcher: WatcherId, partition: PartitionId, begin: Offset) {
        self.by_watcher
            .entry(watcher)
            .or_default()
            .insert(partition);
        let of = self.by_partition.entry(partition).or_default();
        match of.binary_search_by_key(&watcher, |(watcher, _)| *watcher) {
            Ok(at) => of[at].1 = begin,
            Err(at) => of.insert(at, (watcher, begin)),
        }
    }

    /// `watcher` wants no more extents of `partition`.
    pub(super) fn remove(&mut self, watcher: WatcherId, partition: PartitionId) {
        if let Some(partitions) = self.by_watcher.get_mut(&watcher) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.by_watcher.remove(&watcher);
            }
        }
        self.leave(watcher, &partition);
    }

    /// `watcher` wants nothing any more.
    pub(super) fn forget(&mut self, watcher: WatcherId) {
        for partition in self.by_watcher.remove(&watcher).unwrap_or_default() {
            self.leave(watcher, &partition);
        }
    }

    fn leave(&mut self, watcher: WatcherId, partition: &PartitionId) {
        let Some(of) = self.by_partition.get_mut(partition) else {
            return;
        };
        of.retain(|(other, _)| *other != watcher);
        if of.is_empty() {
            self.by_partition.remove(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{PartitionIndex, TopicId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn partition(index: i32) -> PartitionId {
        PartitionId::new(TopicId(Uuid::from_u128(1)), PartitionIndex(index))
    }

    proptest! {
        /// Whatever is added, removed and forgotten, it is what a map of maps would say.
        #[test]
        fn both_ways_say_the_same(
            steps in prop::collection::vec((0u64..4, 0i32..4, 0i64..9, 0u8..5), 0..60),
        ) {
            let mut interests = Interests::default();
            let mut model: BTreeMap<(PartitionId, WatcherId), Offset> = BTreeMap::new();
            for (watcher, index, begin, step) in steps {
                let (watcher, partition) = (WatcherId(watcher), partition(index));
                match step {
                    0 => {
                        interests.forget(watcher);
                        model.retain(|(_, other), _| *other != watcher);
                    }
                    1 => {
                        interests.remove(watcher, partition);
                        model.remove(&(partition, watcher));
                    }
                    _ => {
                        interests.add(watcher, partition, Offset(begin));
                        model.insert((partition, watcher), Offset(begin));
                    }
                }
                for id in (0..4).map(self::partition) {
                    let of = model.iter().filter(|((p, _), _)| *p == id);
                    let of: Vec<_> = of.map(|((_, w), begin)| (*w, *begin)).collect();
                    prop_assert_eq!(interests.of(&id), of);
                }
                for id in (0..4).map(WatcherId) {
                    let of = model.keys().filter(|(_, w)| *w == id);
                    prop_assert_eq!(interests.count(id), of.count());
                }
            }
            for id in (0..4).map(WatcherId) {
                interests.forget(id);
            }
            prop_assert!(interests.by_partition.is_empty() && interests.by_watcher.is_empty());
        }
    }
}
