//! The `uniform` assignor where members subscribe to different topics: as equal as subscriptions allow, in a
//! bounded number of rounds (Kafka's `UniformHeterogeneousAssignmentBuilder`).

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};

use super::{Assignment, Spec, balancer::Balancer};
use crate::event::group::MemberId;

/// Rounds of balancing over all topics. Where subscribers of a topic have the same subscriptions the first one
/// is enough; else each is taken to halve the imbalance.
const ROUNDS_MAX: usize = 16;

pub(super) fn assign(spec: &Spec) -> Assignment {
    let mut building = Building::begin(spec);
    if building.topics.is_empty() {
        return Assignment::new();
    }
    building.assign_remaining();
    building.balance();
    building.finish()
}

/// A topic while it is assigned.
struct Topic {
    /// Members that subscribe to it, ascending.
    subscribers: Vec<usize>,
    /// The member that has each partition.
    owners: Vec<Option<usize>>,
}

struct Building<'a> {
    /// Members, which are numbers elsewhere.
    members: Vec<&'a MemberId>,
    /// How many partitions each member has.
    sizes: Vec<i64>,
    topics: BTreeMap<TopicId, Topic>,
}

impl<'a> Building<'a> {
    /// Members have what they had, of topics that they subscribe to.
    fn begin(spec: &'a Spec) -> Self {
        let mut topics: BTreeMap<TopicId, Topic> = BTreeMap::new();
        for (index, member) in spec.members.values().enumerate() {
            for topic in member.topics.iter() {
                let of_topic = topics.entry(*topic).or_insert_with(|| {
                    let count = spec.topics.get(topic).copied().unwrap_or(0);
                    Topic {
                        subscribers: Vec::new(),
                        owners: vec![None; usize::try_from(count).unwrap_or(0)],
                    }
                });
                of_topic.subscribers.push(index);
            }
        }
        let mut building = Self {
            members: spec.members.keys().collect(),
            sizes: vec![0; spec.members.len()],
            topics,
        };
        for (index, member) in spec.members.values().enumerate() {
            for partition in member.assigned.iter() {
                if member.topics.contains(&partition.topic)
                    && let Ok(at) = usize::try_from(partition.partition.0)
                {
                    building.give(partition.topic, at, index);
                }
            }
        }
        building
    }

    /// Gives a partition to a member, whoever has it.
    fn give(&mut self, topic: TopicId, partition: usize, member: usize) {
        let of_topic = self.topics.get_mut(&topic);
        let Some(owner) = of_topic.and_then(|of_topic| of_topic.owners.get_mut(partition)) else {
            return;
        };
        let before = owner.replace(member);
        if let Some(size) = before.and_then(|before| self.sizes.get_mut(before)) {
            *size -= 1;
        }
        if let Some(size) = self.sizes.get_mut(member) {
            *size += 1;
        }
    }

    /// Topics by partitions per subscriber, the most first; by subscribers, the fewest first; by id.
    fn in_order(&self, topics: impl Iterator<Item = TopicId>) -> Vec<TopicId> {
        let weigh = |id: &TopicId| {
            let topic = self.topics.get(id);
            let count = |all: usize| u64::try_from(all).unwrap_or(u64::MAX);
            topic.map_or((0, 1), |topic| {
                (count(topic.owners.len()), count(topic.subscribers.len()))
            })
        };
        let by_load = |a: &TopicId, b: &TopicId| -> Ordering {
            let ((a_partitions, a_members), (b_partitions, b_members)) = (weigh(a), weigh(b));
            // partitions / members, without the division
            let a_load = a_partitions.saturating_mul(b_members);
            let b_load = b_partitions.saturating_mul(a_members);
            let order = b_load.cmp(&a_load).then(a_members.cmp(&b_members));
            order.then_with(|| as_java(*a).cmp(&as_java(*b)))
        };
        let mut topics: Vec<TopicId> = topics.collect();
        topics.sort_by(by_load);
        topics
    }

    /// Gives partitions that nobody has to the members with the least.
    fn assign_remaining(&mut self) {
        let open = |topic: &Topic| topic.owners.iter().any(Option::is_none);
        let topics = self.topics.iter().filter(|(_, topic)| open(topic));
        let topics: BTreeSet<TopicId> = topics.map(|(id, _)| *id).collect();
        for id in self.in_order(topics.into_iter()) {
            let Some(topic) = self.topics.get(&id) else {
                continue;
            };
            let owners = topic.owners.iter().enumerate();
            let free = owners.filter(|(_, owner)| owner.is_none());
            let free: Vec<usize> = free.map(|(at, _)| at).collect();
            let mut balancer = Balancer::new(&topic.subscribers, &self.sizes);
            for partition in free {
                if let Some(member) = balancer.next_least(&self.sizes) {
                    self.give(id, partition, member);
                }
            }
        }
    }

    /// Moves partitions from members with many to members with few, topic by topic, until a whole round moves
    /// none.
    fn balance(&mut self) {
        let shared = self.topics.iter();
        let shared = shared.filter(|(_, topic)| topic.subscribers.len() >= 2);
        let shared: BTreeSet<TopicId> = shared.map(|(id, _)| *id).collect();
        let topics = self.in_order(shared.into_iter());
        let mut last_moved = None;
        for _ in 0..ROUNDS_MAX {
            for topic in &topics {
                if last_moved == Some(*topic) {
                    return;
                }
                if self.balance_topic(*topic) || last_moved.is_none() {
                    last_moved = Some(*topic);
                }
            }
        }
    }

    /// Balances the subscribers of a topic by its partitions; tells whether it moved any.
    fn balance_topic(&mut self, id: TopicId) -> bool {
        let Some(topic) = self.topics.get(&id) else {
            return false;
        };
        let mut balancer = Balancer::new(&topic.subscribers, &self.sizes);
        if balancer.imbalance() <= 1 {
            return false;
        }
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in topic.owners.iter().enumerate() {
            if let Some(owner) = owner {
                owned.entry(*owner).or_default().push(partition);
            }
        }
        let mut moved = false;
        while !balancer.is_balanced() {
            let Some(from) = balancer.next_most(&self.sizes) else {
                break;
            };
            let Some(partition) = owned.get_mut(&from).and_then(Vec::pop) else {
                balancer.exclude_most();
                continue;
            };
            let Some(to) = balancer.next_least(&self.sizes) else {
                break;
            };
            if balancer.is_balanced() {
                break;
            }
            self.give(id, partition, to);
            moved = true;
        }
        moved
    }

    fn finish(self) -> Assignment {
        let mut assigned: Vec<Vec<PartitionId>> = vec![Vec::new(); self.members.len()];
        for (id, topic) in self.topics {
            for (index, owner) in (0..).map(PartitionIndex).zip(topic.owners) {
                if let Some(of_owner) = owner.and_then(|owner| assigned.get_mut(owner)) {
                    of_owner.push(PartitionId::new(id, index));
                }
            }
        }
        let members = self.members.into_iter().zip(assigned);
        members
            .map(|(id, partitions)| (Arc::clone(id), partitions.into_iter().collect()))
            .collect()
    }
}

/// Ids in Kafka's order, which compares two signed numbers.
fn as_java(id: TopicId) -> (i64, i64) {
    let (high, low) = id.0.as_u64_pair();
    (high.cast_signed(), low.cast_signed())
}
