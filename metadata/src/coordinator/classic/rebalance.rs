//! Rebalances of classic groups: when they begin, who is waited for, how they end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kafka_protocol::ResponseError;

use super::{InitialDelay, answers::joined, classic_group, millis, rebalance_timeout, vote};
use crate::{
    coordinator::{At, Coordinator, Ledger, timers::Timer},
    event::group::{ClassicPhase, ClassicState, GroupChange, GroupNumber, MemberId},
    state::{State, group::ClassicGroup},
};

/// How long a group is let be at least that nobody joined in time, though it has static members.
const JOIN_AGAIN_MIN: Duration = Duration::from_secs(1);

impl<W> Coordinator<W> {
    /// The time to join is over, or a step of the initial delay.
    pub(in crate::coordinator) fn join_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
    ) {
        if !is_preparing(ledger.state(), group) {
            return;
        }
        let step = ledger.state().group_settings().initial_rebalance_delay_ms;
        if let Some(delay) = self.classic.initial.get_mut(&group)
            && std::mem::take(&mut delay.joined)
            && at.now < delay.until
        {
            let next = at.now.plus(millis(step)).min(delay.until);
            self.timers.set(Timer::Join(group), next);
            return;
        }
        self.complete_join(ledger, at, group);
    }

    /// The time to sync is over.
    pub(in crate::coordinator) fn sync_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
    ) {
        let late = self.classic.syncing.remove(&group);
        let late: Vec<MemberId> = late.into_iter().flatten().collect();
        let state = classic_group(ledger.state(), group).map(|group| group.phase.state);
        let began = matches!(
            state,
            Some(ClassicState::CompletingRebalance | ClassicState::Stable)
        );
        if began && !late.is_empty() {
            self.remove_members(ledger, group, &late);
            self.prepare_rebalance(ledger, at, group, "members did not sync in time");
        }
    }

    /// A member id that was given out was not used in time.
    pub(in crate::coordinator) fn pending_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        name: &Arc<str>,
        member: &MemberId,
    ) {
        self.forget_pending(name, member);
        if let Some((number, _)) = ledger.state().group_by_name(name) {
            self.complete_without(ledger, at, number);
        }
    }

    /// A member was silent for its session timeout.
    pub(in crate::coordinator) fn classic_session_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        member: &MemberId,
    ) {
        let Some(found) = classic_group(ledger.state(), group) else {
            return;
        };
        // whoever waits lives; of new members nobody knows, they cannot send heartbeats yet
        let waits = self.parked.joins(group, member) || self.parked.syncs(group, member);
        if !found.members.contains_key(member) || waits && !self.classic.is_new(group, member) {
            return;
        }
        let state = found.phase.state;
        self.remove_members(ledger, group, std::slice::from_ref(member));
        if state == ClassicState::PreparingRebalance {
            self.complete_without(ledger, at, group);
        } else {
            self.prepare_rebalance(ledger, at, group, "a member was silent");
        }
    }

    /// Takes members out: whoever waits is answered.
    pub(super) fn remove_members(
        &mut self,
        ledger: &mut dyn Ledger,
        number: GroupNumber,
        ids: &[MemberId],
    ) {
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        let gone = ids.iter().filter(|id| group.members.contains_key(*id));
        let gone: BTreeSet<MemberId> = gone.cloned().collect();
        let removed = gone.iter().map(Arc::clone).map(GroupChange::Removed);
        let mut changes: Vec<_> = removed.collect();
        if group
            .phase
            .leader
            .as_ref()
            .is_some_and(|id| gone.contains(id))
        {
            let mut phase = group.phase.clone();
            phase.leader = group.members.keys().find(|id| !gone.contains(*id)).cloned();
            changes.push(GroupChange::Phase(phase));
        }
        self.change(ledger, number, changes);
        for id in &gone {
            self.refuse_waiting(number, id);
            self.classic.forget_member(number, id);
            self.timers.cancel(&Timer::Session(number, Arc::clone(id)));
        }
    }

    /// Begins a rebalance; in one that is prepared already, ends it if all joined.
    pub(super) fn rebalance_or_complete(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        why: &str,
    ) {
        if is_preparing(ledger.state(), group) {
            self.complete_if_all_joined(ledger, at, group);
        } else {
            self.prepare_rebalance(ledger, at, group, why);
        }
    }

    /// Begins a rebalance if the group is not in one (`prepareRebalance`). For conversions too.
    pub(in crate::coordinator) fn prepare_rebalance(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        why: &str,
    ) {
        let Some(found) = classic_group(ledger.state(), group) else {
            return;
        };
        let before = found.phase.state;
        if before == ClassicState::PreparingRebalance {
            return;
        }
        tracing::debug!(
            group = group.0,
            generation = found.phase.generation,
            "rebalance: {why}"
        );
        let timeout = rebalance_timeout(found);
        let mut changes = Vec::new();
        let has_assignment = found
            .members
            .values()
            .any(|entry| !entry.assignment.is_empty());
        if before == ClassicState::CompletingRebalance && has_assignment {
            // those of an earlier generation
            changes.push(GroupChange::Assigned(Vec::new()));
        }
        changes.push(GroupChange::Phase(ClassicPhase {
            state: ClassicState::PreparingRebalance,
            since_ms: at.unix_millis,
            ..found.phase.clone()
        }));
        self.change(ledger, group, changes);
        self.end_syncs(
            ledger.state(),
            at,
            group,
            ResponseError::RebalanceInProgress,
        );
        self.timers.cancel(&Timer::Sync(group));
        self.classic.syncing.remove(&group);
        if before == ClassicState::Empty {
            // more members may come, and each would cause a rebalance of its own
            let delay = millis(ledger.state().group_settings().initial_rebalance_delay_ms);
            let delays = InitialDelay {
                until: at.now.plus(timeout.max(delay)),
                joined: false,
            };
            self.classic.initial.insert(group, delays);
            self.timers.set(Timer::Join(group), at.now.plus(delay));
        } else if self.all_joined(ledger.state(), group) {
            self.complete_join(ledger, at, group);
        } else {
            self.timers.set(Timer::Join(group), at.now.plus(timeout));
        }
    }

    /// Answers SyncGroups that wait with an error; their members' sessions begin anew.
    pub(super) fn end_syncs(
        &mut self,
        state: &State,
        at: At,
        number: GroupNumber,
        error: ResponseError,
    ) {
        for id in self.parked.syncers(number) {
            if let Some(call) = self.parked.take_sync(number, &id) {
                self.refuse_sync(call, error);
            }
            if let Some(group) = state.group(number) {
                self.classic_heard(at, number, group, &id);
            }
        }
    }

    /// Ends the time to join if nobody is waited for; the initial delay goes on (`maybeCompleteJoinPhase`).
    pub(super) fn complete_if_all_joined(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
    ) {
        if !self.classic.initial.contains_key(&group) {
            self.complete_without(ledger, at, group);
        }
    }

    /// As [`Self::complete_if_all_joined`], when somebody was waited for and is gone: also in the initial delay.
    fn complete_without(&mut self, ledger: &mut dyn Ledger, at: At, group: GroupNumber) {
        if is_preparing(ledger.state(), group) && self.all_joined(ledger.state(), group) {
            self.complete_join(ledger, at, group);
        }
    }

    /// Whether every member waits in JoinGroup, and nobody was told its id who did not come yet.
    fn all_joined(&self, state: &State, number: GroupNumber) -> bool {
        let Some(group) = state.group(number) else {
            return false;
        };
        self.parked.joining(number) == group.members() && self.classic.pending.is_empty(&group.name)
    }

    /// The time to join ends: dynamic members that did not join are out, the others are the next generation
    /// (`completeClassicGroupJoin`).
    fn complete_join(&mut self, ledger: &mut dyn Ledger, at: At, number: GroupNumber) {
        self.timers.cancel(&Timer::Join(number));
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        let dynamic = group.members.iter();
        let dynamic = dynamic.filter(|(_, entry)| entry.member.instance.is_none());
        let absent = dynamic.map(|(id, _)| id);
        let absent: Vec<_> = absent
            .filter(|id| !self.parked.joins(number, id))
            .cloned()
            .collect();
        self.remove_members(ledger, number, &absent);
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        let waits = |id: &&MemberId| self.parked.joins(number, id);
        let leader = group.phase.leader.as_ref().filter(waits);
        let leader = leader.or_else(|| group.members.keys().find(waits)).cloned();
        if leader.is_none() && !group.members.is_empty() {
            let again = rebalance_timeout(group).max(JOIN_AGAIN_MIN);
            self.timers.set(Timer::Join(number), at.now.plus(again));
            return;
        }
        self.begin_generation(ledger, at, number, leader);
    }

    /// The next generation begins; whoever waits is told.
    fn begin_generation(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        leader: Option<MemberId>,
    ) {
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        let phase = next_generation(group, at, leader);
        self.change(ledger, number, vec![GroupChange::Phase(phase)]);
        self.classic.forget(number);
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        tracing::debug!(
            group = number.0,
            generation = group.phase.generation,
            members = group.members.len(),
            "generation"
        );
        if group.members.is_empty() {
            return;
        }
        for (id, entry) in &group.members {
            if let Some(call) = self.parked.take_join(number, id) {
                self.answer_join(call, joined(group, id));
            }
            self.begin_session(at, number, id, entry.member.session_timeout_ms);
        }
        self.await_syncs(at, number, group);
    }

    /// Every member is to sync in time.
    pub(super) fn await_syncs(&mut self, at: At, number: GroupNumber, group: &ClassicGroup) {
        let all = group.members.keys().cloned().collect();
        self.classic.syncing.insert(number, all);
        let until = at.now.plus(rebalance_timeout(group));
        self.timers.set(Timer::Sync(number), until);
    }
}

fn is_preparing(state: &State, number: GroupNumber) -> bool {
    classic_group(state, number)
        .is_some_and(|group| group.phase.state == ClassicState::PreparingRebalance)
}

fn next_generation(group: &ClassicGroup, at: At, leader: Option<MemberId>) -> ClassicPhase {
    ClassicPhase {
        state: if group.members.is_empty() {
            ClassicState::Empty
        } else {
            ClassicState::CompletingRebalance
        },
        generation: group.phase.generation.checked_add(1).unwrap_or(1),
        protocol_type: group.phase.protocol_type.clone(),
        protocol: vote::chosen(group),
        leader,
        since_ms: at.unix_millis,
    }
}
