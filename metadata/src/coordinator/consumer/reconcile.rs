//! A member's next step towards its target (Kafka's `CurrentAssignmentBuilder`).
//!
//! Invariant: a partition is assigned or being revoked at one member at most. What a member is to give up
//! stays its own until it says that it has it no more; only then others get it.

use std::collections::BTreeSet;

use aquifer_format::ids::{PartitionId, TopicId};

use crate::{
    event::group::{CurrentAssignment, MemberState, TopicPartitions},
    state::group::{ConsumerEntry, ConsumerGroup},
};

/// What is known of the member in this step.
pub(super) struct Said<'a> {
    /// What it says that it has; None = it does not say.
    pub(super) owned: Option<&'a TopicPartitions>,
    /// Whether it subscribes to something else than before.
    pub(super) subscription_changed: bool,
    /// Existing topics that it subscribes to.
    pub(super) subscribed: &'a BTreeSet<TopicId>,
}

impl Said<'_> {
    /// Whether the member has any of these partitions yet, as far as it says.
    fn has_any(&self, of: &TopicPartitions) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        of.iter().any(|id| owned.contains(id))
    }
}

/// Where the member stands after it said what it owns; None = as before.
pub(super) fn step(
    group: &ConsumerGroup,
    entry: &ConsumerEntry,
    said: &Said<'_>,
) -> Option<CurrentAssignment> {
    let current = &entry.current;
    let stepped = match current.state {
        MemberState::Stable if current.epoch != group.assignment_epoch => next(group, entry, said),
        MemberState::UnrevokedPartitions if !said.has_any(&current.revoking) => {
            next(group, entry, said)
        }
        MemberState::UnreleasedPartitions => next(group, entry, said),
        MemberState::Stable | MemberState::UnrevokedPartitions if said.subscription_changed => {
            unsubscribed(current, said)
        }
        MemberState::Stable | MemberState::UnrevokedPartitions => return None,
    };
    (stepped != *current).then_some(stepped)
}

/// Takes away what the member is not subscribed to any more (`updateCurrentAssignment`).
fn unsubscribed(current: &CurrentAssignment, said: &Said<'_>) -> CurrentAssignment {
    let kept = current
        .assigned
        .kept(|id| said.subscribed.contains(&id.topic));
    if kept == current.assigned {
        return current.clone();
    }
    let revoking = current.revoking.and(&current.assigned.without(&kept));
    let mut stepped = CurrentAssignment {
        assigned: kept,
        ..current.clone()
    };
    if said.has_any(&revoking) {
        stepped.state = MemberState::UnrevokedPartitions;
        stepped.revoking = revoking;
    }
    stepped
}

/// Moves towards the target as far as others let it (`computeNextAssignment`).
fn next(group: &ConsumerGroup, entry: &ConsumerEntry, said: &Said<'_>) -> CurrentAssignment {
    let current = &entry.current;
    let target = entry.target.kept(|id| said.subscribed.contains(&id.topic));
    let kept = current.assigned.shared_with(&target);
    let revoking = current.assigned.without(&kept);
    if !revoking.is_empty() && said.has_any(&revoking) {
        return CurrentAssignment {
            epoch: current.epoch,
            previous_epoch: current.epoch,
            state: MemberState::UnrevokedPartitions,
            assigned: kept,
            revoking,
        };
    }
    let wanted = target.without(&kept);
    let free = wanted.kept(|id| is_free(group, entry, id));
    let state = if free.len() == wanted.len() {
        MemberState::Stable
    } else {
        MemberState::UnreleasedPartitions
    };
    CurrentAssignment {
        epoch: group.assignment_epoch,
        previous_epoch: current.epoch,
        state,
        assigned: kept.and(&free),
        revoking: TopicPartitions::new(),
    }
}

/// Whether no other member has the partition, or is yet to give it up.
fn is_free(group: &ConsumerGroup, of: &ConsumerEntry, id: PartitionId) -> bool {
    group.members.values().all(|other| {
        other.member.id == of.member.id
            || !(other.current.assigned.contains(id) || other.current.revoking.contains(id))
    })
}
