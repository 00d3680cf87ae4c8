//! Member ids that were given out (MEMBER_ID_REQUIRED) and not used yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::event::group::MemberId;

/// Most ids that are remembered. They cost who asks nothing, so that there must be an end.
pub(super) const PENDING_MAX: usize = 100_000;

/// Ids by group name; the groups need not exist.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_group: BTreeMap<Arc<str>, BTreeSet<MemberId>>,
    count: usize,
}

impl Pending {
    /// Remembers an id; false = there are too many.
    pub(super) fn add(&mut self, group: &Arc<str>, id: &MemberId) -> bool {
        if self.contains(group, id) {
            return true;
        }
        if self.count >= PENDING_MAX {
            return false;
        }
        let of_group = self.by_group.entry(Arc::clone(group)).or_default();
        of_group.insert(Arc::clone(id));
        self.count += 1;
        true
    }

    /// Forgets an id; false = it was not there.
    pub(super) fn remove(&mut self, group: &str, id: &str) -> bool {
        let Some(of_group) = self.by_group.get_mut(group) else {
            return false;
        };
        if !of_group.remove(id) {
            return false;
        }
        self.count -= 1;
        if of_group.is_empty() {
            self.by_group.remove(group);
        }
        true
    }

    /// Whether the id was given out.
    pub(super) fn contains(&self, group: &str, id: &str) -> bool {
        self.by_group.get(group).is_some_and(|ids| ids.contains(id))
    }

    /// Whether the group waits for nobody who got an id.
    pub(super) fn is_empty(&self, group: &str) -> bool {
        !self.by_group.contains_key(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_and_bounded() {
        let group: Arc<str> = Arc::from("g");
        let mut pending = Pending::default();
        for number in 0..PENDING_MAX {
            assert!(pending.add(&group, &MemberId::from(number.to_string())));
        }
        assert!(pending.add(&group, &MemberId::from("7")), "it is there");
        assert!(!pending.add(&group, &MemberId::from("one too many")));
        assert!(pending.remove("g", "7"));
        assert!(!pending.remove("g", "7"));
        assert!(!pending.remove("h", "8"));
        assert!(pending.add(&Arc::from("h"), &MemberId::from("8")));
        assert!(pending.contains("h", "8") && !pending.contains("g", "7"));
        assert!(pending.remove("h", "8"));
        assert!(pending.is_empty("h") && !pending.is_empty("g"));
    }
}
