//! The `uniform` assignor where all members subscribe to the same topics: each gets the same number of
//! partitions, or one more (Kafka's `UniformHomogeneousAssignmentBuilder`).

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};

use super::{Assignment, Spec};
use crate::event::group::{MemberId, TopicPartitions};

pub(super) fn assign(spec: &Spec) -> Assignment {
    let Some(first) = spec.members.values().next() else {
        return Assignment::new();
    };
    let subscribed = &first.topics;
    if subscribed.is_empty() {
        return Assignment::new();
    }
    let (mut unassigned, total) = unassigned(spec);
    let minimum = total / spec.members.len();
    let mut extra = total % spec.members.len();
    let mut assignment = Assignment::new();
    let mut unfilled: Vec<(&MemberId, usize)> = Vec::new();
    for (index, (id, member)) in spec.members.iter().enumerate() {
        let mut quota = minimum;
        let mut has_extra = extra > 0;
        if has_extra {
            quota += 1;
        }
        let mut kept = Vec::new();
        for partition in member.assigned.iter() {
            if !subscribed.contains(&partition.topic) {
                continue;
            }
            if quota > 0 {
                quota -= 1;
                kept.push(partition);
            } else {
                unassigned.push(partition);
            }
        }
        // left to another one, unless too few are left to take it
        if quota > 0 && has_extra && spec.members.len() - index > extra {
            quota -= 1;
            has_extra = false;
        }
        if quota > 0 {
            unfilled.push((id, quota));
        }
        if has_extra {
            extra -= 1;
        }
        assignment.insert(Arc::clone(id), kept.into_iter().collect());
    }
    let mut unassigned = unassigned.into_iter();
    for (id, quota) in unfilled {
        let Some(assigned) = assignment.get_mut(id) else {
            continue;
        };
        let more: TopicPartitions = unassigned.by_ref().take(quota).collect();
        *assigned = assigned.and(&more);
    }
    assignment
}

/// Partitions that no member has, in order, and how many there are of any kind.
fn unassigned(spec: &Spec) -> (Vec<PartitionId>, usize) {
    let mut free: BTreeMap<TopicId, Vec<bool>> = BTreeMap::new();
    for (topic, count) in &spec.topics {
        let count = usize::try_from(*count).unwrap_or(0);
        free.insert(*topic, vec![true; count]);
    }
    for partition in spec
        .members
        .values()
        .flat_map(|member| member.assigned.iter())
    {
        let of_topic = free.get_mut(&partition.topic);
        let index = usize::try_from(partition.partition.0).ok();
        if let (Some(of_topic), Some(index)) = (of_topic, index)
            && let Some(free) = of_topic.get_mut(index)
        {
            *free = false;
        }
    }
    let total = free.values().map(Vec::len).sum();
    let mut unassigned = Vec::new();
    for (topic, of_topic) in free {
        let indexed = (0..).map(PartitionIndex).zip(of_topic);
        let of_topic = indexed.filter(|(_, free)| *free);
        unassigned.extend(of_topic.map(|(index, _)| PartitionId::new(topic, index)));
    }
    (unassigned, total)
}
