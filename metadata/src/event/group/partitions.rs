//! Sets of partitions by topic.

use std::collections::BTreeMap;

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};

/// Partitions by topic: sorted, each once; no topic without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartitions(BTreeMap<TopicId, Vec<PartitionIndex>>);

impl TopicPartitions {
    /// No partition.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many partitions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// The partitions of a topic.
    #[must_use]
    pub fn of(&self, topic: TopicId) -> &[PartitionIndex] {
        self.0.get(&topic).map_or(&[], Vec::as_slice)
    }

    /// Topics with their partitions.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &[PartitionIndex])> + '_ {
        self.0.iter().map(|(topic, all)| (*topic, all.as_slice()))
    }

    /// All partitions.
    pub fn iter(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.topics()
            .flat_map(|(topic, all)| all.iter().map(move |at| PartitionId::new(topic, *at)))
    }

    /// Whether it has this partition.
    #[must_use]
    pub fn contains(&self, id: PartitionId) -> bool {
        self.of(id.topic).binary_search(&id.partition).is_ok()
    }

    /// Adds a partition; false = it was there.
    pub fn insert(&mut self, id: PartitionId) -> bool {
        let all = self.0.entry(id.topic).or_default();
        match all.binary_search(&id.partition) {
            Ok(_) => false,
            Err(at) => {
                all.insert(at, id.partition);
                true
            }
        }
    }

    /// Takes a partition away; false = it was not there.
    pub fn remove(&mut self, id: PartitionId) -> bool {
        let Some(all) = self.0.get_mut(&id.topic) else {
            return false;
        };
        let Ok(at) = all.binary_search(&id.partition) else {
            return false;
        };
        all.remove(at);
        if all.is_empty() {
            self.0.remove(&id.topic);
        }
        true
    }

    /// Those that `other` has too.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Self {
        self.kept(|id| other.contains(id))
    }

    /// Those that `other` has not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.kept(|id| !other.contains(id))
    }

    /// Those of both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// Whether `other` has all of them.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.iter().all(|id| other.contains(id))
    }

    /// Those that `keep` says yes to.
    #[must_use]
    pub fn kept(&self, mut keep: impl FnMut(PartitionId) -> bool) -> Self {
        // in order already, so that nothing is sorted again
        let mut kept = BTreeMap::new();
        for (topic, all) in self.topics() {
            let of_topic = all.iter().copied();
            let of_topic: Vec<_> = of_topic
                .filter(|at| keep(PartitionId::new(topic, *at)))
                .collect();
            if !of_topic.is_empty() {
                kept.insert(topic, of_topic);
            }
        }
        Self(kept)
    }
}

impl FromIterator<PartitionId> for TopicPartitions {
    fn from_iter<T: IntoIterator<Item = PartitionId>>(partitions: T) -> Self {
        let mut all: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        for id in partitions {
            all.entry(id.topic).or_default().push(id.partition);
        }
        for of_topic in all.values_mut() {
            of_topic.sort_unstable();
            of_topic.dedup();
        }
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn set(partitions: &[(u128, i32)]) -> TopicPartitions {
        let id = |(topic, index): &(u128, i32)| {
            PartitionId::new(TopicId(Uuid::from_u128(*topic)), PartitionIndex(*index))
        };
        partitions.iter().map(id).collect()
    }

    #[test]
    fn sets_are_sets() {
        let one = set(&[(1, 2), (1, 0), (1, 2), (2, 5)]);
        let other = set(&[(1, 0), (3, 1)]);
        assert_eq!(one.len(), 3);
        assert_eq!(one.shared_with(&other), set(&[(1, 0)]));
        assert_eq!(one.without(&other), set(&[(1, 2), (2, 5)]));
        assert_eq!(one.and(&other), set(&[(1, 0), (1, 2), (2, 5), (3, 1)]));
        assert!(set(&[(2, 5)]).is_within(&one));
        assert!(!other.is_within(&one));
        assert!(TopicPartitions::new().is_within(&other));
    }

    #[test]
    fn a_topic_without_a_partition_is_no_part_of_a_set() {
        let mut some = set(&[(1, 0)]);
        let id = some.iter().next().unwrap();
        assert!(!some.insert(id));
        assert!(some.remove(id));
        assert!(!some.remove(id));
        assert_eq!(some, TopicPartitions::new());
        assert!(some.is_empty());
    }
}
