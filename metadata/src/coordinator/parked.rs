//! Calls that wait: of each member at most one JoinGroup and one SyncGroup.

use std::{collections::BTreeMap, sync::Arc};

use crate::event::group::{GroupNumber, MemberId};

/// A call that waits.
#[derive(Debug)]
pub(super) struct ParkedCall<W> {
    /// Who waits.
    pub(super) waiter: W,
    /// Names the call: one that comes again under this name takes the place of the first, of which nobody
    /// waits for the answer any more.
    pub(super) call_id: u128,
    /// The version that the client used.
    pub(super) version: i16,
}

type Calls<W> = BTreeMap<(GroupNumber, MemberId), ParkedCall<W>>;

/// Calls that wait.
#[derive(Debug)]
pub(super) struct Parked<W> {
    joins: Calls<W>,
    syncs: Calls<W>,
}

impl<W> Default for Parked<W> {
    fn default() -> Self {
        Self {
            joins: Calls::new(),
            syncs: Calls::new(),
        }
    }
}

impl<W> Parked<W> {
    /// Lets a JoinGroup wait. An earlier one of that member comes back: it is to be answered, unless it is the
    /// same call.
    pub(super) fn join(
        &mut self,
        group: GroupNumber,
        member: &MemberId,
        call: ParkedCall<W>,
    ) -> Option<ParkedCall<W>> {
        replaced(&mut self.joins, group, member, call)
    }

    /// As [`Self::join`] for a SyncGroup.
    pub(super) fn sync(
        &mut self,
        group: GroupNumber,
        member: &MemberId,
        call: ParkedCall<W>,
    ) -> Option<ParkedCall<W>> {
        replaced(&mut self.syncs, group, member, call)
    }

    /// Whether the member waits in JoinGroup (Kafka's `isAwaitingJoin`).
    pub(super) fn joins(&self, group: GroupNumber, member: &MemberId) -> bool {
        self.joins.contains_key(&(group, Arc::clone(member)))
    }

    /// Whether the member waits in SyncGroup (Kafka's `isAwaitingSync`).
    pub(super) fn syncs(&self, group: GroupNumber, member: &MemberId) -> bool {
        self.syncs.contains_key(&(group, Arc::clone(member)))
    }

    /// How many of the group wait in JoinGroup.
    pub(super) fn joining(&self, group: GroupNumber) -> usize {
        of(&self.joins, group).count()
    }

    /// Takes a member's JoinGroup, to be answered.
    pub(super) fn take_join(
        &mut self,
        group: GroupNumber,
        member: &MemberId,
    ) -> Option<ParkedCall<W>> {
        self.joins.remove(&(group, Arc::clone(member)))
    }

    /// Takes a member's SyncGroup, to be answered.
    pub(super) fn take_sync(
        &mut self,
        group: GroupNumber,
        member: &MemberId,
    ) -> Option<ParkedCall<W>> {
        self.syncs.remove(&(group, Arc::clone(member)))
    }

    /// How many wait in all: in JoinGroup, in SyncGroup.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.joins.len(), self.syncs.len())
    }

    /// Members of the group that wait in JoinGroup.
    pub(super) fn joiners(&self, group: GroupNumber) -> Vec<MemberId> {
        of(&self.joins, group).cloned().collect()
    }

    /// Members of the group that wait in SyncGroup.
    pub(super) fn syncers(&self, group: GroupNumber) -> Vec<MemberId> {
        of(&self.syncs, group).cloned().collect()
    }
}

fn replaced<W>(
    calls: &mut Calls<W>,
    group: GroupNumber,
    member: &MemberId,
    call: ParkedCall<W>,
) -> Option<ParkedCall<W>> {
    let id = call.call_id;
    let earlier = calls.insert((group, Arc::clone(member)), call);
    earlier.filter(|earlier| earlier.call_id != id || id == 0)
}

fn of<W>(calls: &Calls<W>, group: GroupNumber) -> impl Iterator<Item = &MemberId> {
    let first = (group, MemberId::from(""));
    let from_there = calls.range(first..).map(|((of, member), _)| (of, member));
    from_there
        .take_while(move |(of, _)| **of == group)
        .map(|(_, member)| member)
}
