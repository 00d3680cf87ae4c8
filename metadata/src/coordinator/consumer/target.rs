//! Target assignments: which assignor, from which members and topics, and what differs from the last one
//! (Kafka's `TargetAssignmentBuilder`).

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::TopicId;

use crate::{
    coordinator::{
        assignor::{self, Spec, SpecMember},
        subscriptions::Resolved,
    },
    event::group::{GroupChange, TopicPartitions},
    state::group::ConsumerGroup,
};

/// The change that brings the group's target assignment up to its epoch. `assignors`: the configured ones.
pub(super) fn change(
    group: &ConsumerGroup,
    assignors: &[String],
    resolved: &Resolved,
) -> GroupChange {
    let name = preferred(group, assignors);
    let assignment = assignor::assign(name, &spec(group, resolved)).unwrap_or_default();
    let nothing = TopicPartitions::new();
    let members = group.members.iter().filter_map(|(id, entry)| {
        let target = assignment.get(id).unwrap_or(&nothing);
        (*target != entry.target).then(|| (Arc::clone(id), target.clone()))
    });
    GroupChange::Target {
        epoch: group.epoch,
        members: members.collect(),
    }
}

/// The assignor that most members prefer, else the default
/// (`ConsumerGroup.computePreferredServerAssignor`).
pub(super) fn preferred<'a>(group: &'a ConsumerGroup, assignors: &[String]) -> &'a str {
    let supported = assignor::supported(assignors);
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in group.members.values() {
        if let Some(name) = entry.member.assignor.as_deref()
            && supported.contains(&name)
        {
            *votes.entry(name).or_default() += 1;
        }
    }
    // of several that are first the one whose name is
    let most = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
    most.map_or_else(
        || supported.first().copied().unwrap_or(assignor::UNIFORM),
        |(name, _)| name,
    )
}

fn spec(group: &ConsumerGroup, resolved: &Resolved) -> Spec {
    // An assignment that a classic group's leader made may name partitions twice, or such that there are not.
    let mut taken: BTreeMap<TopicId, Vec<bool>> = resolved
        .topics
        .iter()
        .map(|(topic, count)| (*topic, vec![false; usize::try_from(*count).unwrap_or(0)]))
        .collect();
    let mut take = |id: aquifer_format::ids::PartitionId| {
        let index = usize::try_from(id.partition.0).ok();
        let of_topic = taken.get_mut(&id.topic);
        let slot = of_topic.and_then(|of_topic| of_topic.get_mut(index?));
        slot.is_some_and(|slot| !std::mem::replace(slot, true))
    };
    let members = group.members.iter().map(|(id, entry)| {
        let topics = resolved.members.get(id).cloned().unwrap_or_default();
        let member = SpecMember {
            instance: entry.member.instance.clone(),
            topics,
            assigned: entry.target.kept(&mut take),
        };
        (Arc::clone(id), member)
    });
    Spec {
        members: members.collect(),
        topics: resolved.topics.clone(),
        homogeneous: resolved.homogeneous,
    }
}
