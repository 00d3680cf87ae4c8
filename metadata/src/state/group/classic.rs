//! Classic groups.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::event::group::{ClassicMember, ClassicPhase, MemberId};

/// A classic group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClassicGroup {
    /// How its generation stands.
    pub(crate) phase: ClassicPhase,
    /// Members by id.
    pub(crate) members: BTreeMap<MemberId, ClassicEntry>,
    /// Static members by instance id; follows from the members.
    pub(crate) instances: BTreeMap<Arc<str>, MemberId>,
}

/// A member of a classic group with what it is assigned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClassicEntry {
    /// The member.
    pub(crate) member: ClassicMember,
    /// What a leader assigned it last; empty = nothing yet. Of this generation where the group is stable.
    pub(crate) assignment: Bytes,
}

impl ClassicGroup {
    /// A member joins, or joins again with what is said here.
    pub(in crate::state) fn put(&mut self, member: ClassicMember) {
        let id = Arc::clone(&member.id);
        let assignment = self
            .removed(&id)
            .map_or_else(Bytes::new, |old| old.assignment);
        if let Some(instance) = &member.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        }
        self.members.insert(id, ClassicEntry { member, assignment });
    }

    /// A member is gone.
    pub(super) fn removed(&mut self, id: &str) -> Option<ClassicEntry> {
        let gone = self.members.remove(id)?;
        if let Some(instance) = &gone.member.instance
            && self.instances.get(instance).is_some_and(|now| **now == *id)
        {
            self.instances.remove(instance);
        }
        Some(gone)
    }

    /// The leader assigned; who is not named has nothing.
    pub(super) fn assign(&mut self, assignments: &[(MemberId, Bytes)]) {
        for entry in self.members.values_mut() {
            entry.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(entry) = self.members.get_mut(id) {
                entry.assignment = assignment.clone();
            }
        }
    }
}
