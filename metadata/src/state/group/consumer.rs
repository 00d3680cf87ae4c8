//! Consumer groups (KIP-848).

use std::{collections::BTreeMap, sync::Arc};

use crate::event::group::{
    ConsumerMember, CurrentAssignment, MemberId, MemberState, TopicPartitions,
};

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConsumerGroup {
    /// The group epoch.
    pub(crate) epoch: i32,
    /// The epoch of the target assignment; behind the group epoch = another one is due.
    pub(crate) assignment_epoch: i32,
    /// Hash of the subscribed topics as of the group epoch.
    pub(crate) metadata_hash: u64,
    /// Members by id.
    pub(crate) members: BTreeMap<MemberId, ConsumerEntry>,
    /// Static members by instance id; follows from the members.
    pub(crate) instances: BTreeMap<Arc<str>, MemberId>,
}

/// A member of a consumer group with its assignments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConsumerEntry {
    /// The member.
    pub(crate) member: ConsumerMember,
    /// Where it stands.
    pub(crate) current: CurrentAssignment,
    /// Where it is to get.
    pub(crate) target: TopicPartitions,
}

/// States of a consumer group; they follow from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerState {
    /// No members.
    Empty,
    /// The target assignment is behind.
    Assigning,
    /// Members are on their way to it.
    Reconciling,
    /// All have what they are to have.
    Stable,
}

impl ConsumerState {
    /// As Kafka names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

impl ConsumerGroup {
    /// Its state (Kafka's `ConsumerGroup.maybeUpdateGroupState`).
    pub(crate) fn state(&self) -> ConsumerState {
        if self.members.is_empty() {
            return ConsumerState::Empty;
        }
        if self.epoch > self.assignment_epoch {
            return ConsumerState::Assigning;
        }
        let arrived = |entry: &ConsumerEntry| {
            entry.current.state == MemberState::Stable
                && entry.current.epoch == self.assignment_epoch
        };
        if self.members.values().all(arrived) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    /// A member joins, or its subscription changes.
    pub(in crate::state) fn put(&mut self, member: ConsumerMember) {
        let id = Arc::clone(&member.id);
        let (current, target) = self
            .removed(&id)
            .map(|old| (old.current, old.target))
            .unwrap_or_default();
        if let Some(instance) = &member.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        }
        let entry = ConsumerEntry {
            member,
            current,
            target,
        };
        self.members.insert(id, entry);
    }

    /// A member is gone.
    pub(super) fn removed(&mut self, id: &str) -> Option<ConsumerEntry> {
        let gone = self.members.remove(id)?;
        if let Some(instance) = &gone.member.instance
            && self.instances.get(instance).is_some_and(|now| **now == *id)
        {
            self.instances.remove(instance);
        }
        Some(gone)
    }
}
