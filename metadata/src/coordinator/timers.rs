//! Deadlines: one per thing that can be due.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_store::Monotonic;

use crate::event::group::{GroupNumber, MemberId};

/// What can be due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The session of a member, of either kind of group.
    Session(GroupNumber, MemberId),
    /// A member id that was given out (MEMBER_ID_REQUIRED) in the group of that name, which need not exist.
    Pending(Arc<str>, MemberId),
    /// Classic: the end of the time to join, or of a step of the initial delay.
    Join(GroupNumber),
    /// Classic: the end of the time to sync.
    Sync(GroupNumber),
    /// Consumer: the end of the time to give partitions up.
    Revocation(GroupNumber, MemberId),
    /// Consumer: a member of the classic protocol is to join again.
    ClassicJoin(GroupNumber, MemberId),
    /// Consumer: a member of the classic protocol is to sync.
    ClassicSync(GroupNumber, MemberId),
    /// Offsets are looked through for expired ones.
    OffsetExpiry,
}

impl Timer {
    fn group(&self) -> Option<GroupNumber> {
        match self {
            Self::Session(group, _)
            | Self::Join(group)
            | Self::Sync(group)
            | Self::Revocation(group, _)
            | Self::ClassicJoin(group, _)
            | Self::ClassicSync(group, _) => Some(*group),
            Self::Pending(..) | Self::OffsetExpiry => None,
        }
    }
}

/// Deadlines, by thing and in order of time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<Timer, Monotonic>,
    order: BTreeSet<(Monotonic, Timer)>,
}

impl Timers {
    /// Sets the deadline of a thing, in place of an earlier one.
    pub(super) fn set(&mut self, timer: Timer, at: Monotonic) {
        if let Some(before) = self.due.insert(timer.clone(), at) {
            self.order.remove(&(before, timer.clone()));
        }
        self.order.insert((at, timer));
    }

    /// Takes the deadline of a thing away; tells whether there was one.
    pub(super) fn cancel(&mut self, timer: &Timer) -> bool {
        let Some(before) = self.due.remove(timer) else {
            return false;
        };
        self.order.remove(&(before, timer.clone()))
    }

    /// Whether the thing has a deadline.
    pub(super) fn has(&self, timer: &Timer) -> bool {
        self.due.contains_key(timer)
    }

    /// The deadline of a thing.
    #[cfg(test)]
    pub(super) fn of(&self, timer: &Timer) -> Option<Monotonic> {
        self.due.get(timer).copied()
    }

    /// Takes away all deadlines of a group.
    pub(super) fn cancel_group(&mut self, group: GroupNumber) {
        let none = MemberId::from("");
        let firsts = [
            Timer::Session(group, Arc::clone(&none)),
            Timer::Join(group),
            Timer::Sync(group),
            Timer::Revocation(group, Arc::clone(&none)),
            Timer::ClassicJoin(group, Arc::clone(&none)),
            Timer::ClassicSync(group, none),
        ];
        let mut of_group: Vec<Timer> = Vec::new();
        for first in firsts {
            let kind = std::mem::discriminant(&first);
            let from_there = self.due.range(first..).map(|(timer, _)| timer);
            let same = from_there.take_while(|timer| {
                std::mem::discriminant(*timer) == kind && timer.group() == Some(group)
            });
            of_group.extend(same.cloned());
        }
        for timer in of_group {
            self.cancel(&timer);
        }
    }

    /// The first deadline.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first thing that is due at `now`.
    pub(super) fn pop(&mut self, now: Monotonic) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.due.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic(Duration::from_millis(millis))
    }

    #[test]
    fn things_are_due_in_order_of_time_and_once() {
        let (one, other) = (Timer::Join(GroupNumber(1)), Timer::Sync(GroupNumber(1)));
        let mut timers = Timers::default();
        timers.set(one.clone(), at(5));
        timers.set(other.clone(), at(3));
        timers.set(one.clone(), at(2));
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.pop(at(1)), None);
        assert_eq!(timers.pop(at(9)), Some(one.clone()));
        assert!(!timers.has(&one));
        assert_eq!(timers.of(&other), Some(at(3)));
        assert!(timers.cancel(&other));
        assert!(!timers.cancel(&other));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_group_that_is_gone_has_no_deadlines() {
        let member: MemberId = Arc::from("a");
        let mut timers = Timers::default();
        timers.set(Timer::Session(GroupNumber(1), Arc::clone(&member)), at(1));
        timers.set(Timer::Join(GroupNumber(1)), at(1));
        timers.set(Timer::Session(GroupNumber(2), Arc::clone(&member)), at(1));
        timers.set(Timer::OffsetExpiry, at(1));
        timers.cancel_group(GroupNumber(1));
        assert_eq!(
            timers.pop(at(1)),
            Some(Timer::Session(GroupNumber(2), member))
        );
        assert_eq!(timers.pop(at(1)), Some(Timer::OffsetExpiry));
        assert_eq!(timers.pop(at(1)), None);
    }
}
