//! What a member's word changes in its group, whatever protocol it came by.

use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::{millis, reconcile, target};
use crate::{
    coordinator::{
        At, Coordinator, Ledger, limits, refusal::Refusal, subscriptions::Resolved, timers::Timer,
    },
    event::group::{
        ConsumerMember, CurrentAssignment, GroupChange, GroupNumber, MemberId, MemberState,
        TopicPartitions,
    },
    state::{
        State,
        group::{ConsumerEntry, ConsumerGroup},
    },
};

/// What a member brings.
#[derive(Clone, Debug)]
pub(in crate::coordinator) struct Update {
    /// The member as it describes itself now, whole.
    pub(in crate::coordinator) member: ConsumerMember,
    /// The static member whose place it takes; its current and target assignment are taken over
    /// (`replaceMember`).
    pub(in crate::coordinator) replaces: Option<MemberId>,
    /// What it says that it has; None = as before.
    pub(in crate::coordinator) owned: Option<TopicPartitions>,
    /// It begins from epoch 0: it is new, or takes another one's place.
    pub(in crate::coordinator) joins: bool,
}

impl<W> Coordinator<W> {
    /// Takes in what a member says: its subscription, a new group epoch where that or the topics changed, a new
    /// target assignment where it is behind, and its own step towards it (`maybeReconcile`); sets the revocation
    /// timer. Events only where something changed. Answers where the member stands.
    pub(in crate::coordinator) fn consumer_update(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        update: Update,
    ) -> Result<CurrentAssignment, Refusal> {
        let (member, replaces) = (&update.member, update.replaces.as_ref());
        self.consumer_admits(ledger.state(), Some(group), member, replaces)?;
        let id = Arc::clone(&member.id);
        self.consumer_take(ledger, at, group, update);
        let consumer = ledger
            .state()
            .group(group)
            .and_then(|group| group.consumer());
        let entry = consumer.and_then(|consumer| consumer.members.get(&id));
        Ok(entry.map(|entry| entry.current.clone()).unwrap_or_default())
    }

    /// Refuses a member whose expression is not valid, or for which there is no memory. `group` = None: it
    /// begins with this member, or has members that count already.
    pub(super) fn consumer_admits(
        &mut self,
        state: &State,
        group: Option<GroupNumber>,
        member: &ConsumerMember,
        replaces: Option<&MemberId>,
    ) -> Result<(), Refusal> {
        let consumer = group.and_then(|group| state.group(group)?.consumer());
        let old = replaces.unwrap_or(&member.id);
        let before = consumer.and_then(|consumer| consumer.members.get(old));
        if before.is_some_and(|before| before.member == *member) {
            return Ok(());
        }
        if let Some(regex) = &member.regex
            && before.is_none_or(|before| before.member.regex.as_ref() != Some(regex))
        {
            self.subscriptions.matching(state, regex)?;
        }
        let entry = alone(member);
        let said = before.map(|before| to_u64(alone(&before.member).weigh()));
        if !limits::has_memory(state, said, to_u64(entry.weigh())) {
            return Err(too_large("The memory budget for groups is used up."));
        }
        let members = consumer.into_iter().flat_map(|consumer| &consumer.members);
        let others = members.filter(|(id, _)| *id != old && **id != member.id);
        let others: usize = others.map(|(_, entry)| entry.weigh()).sum();
        if to_u64(others.saturating_add(entry.weigh())) > limits::GROUP_BYTES_MAX {
            return Err(too_large("What the group's members say is too large."));
        }
        Ok(())
    }

    /// [`Self::consumer_update`] of a member that is admitted. Tells whether other partitions are assigned to
    /// the member than before.
    pub(super) fn consumer_take(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        update: Update,
    ) -> bool {
        let stale = self.subscriptions.is_stale(ledger.state(), number);
        let id = Arc::clone(&update.member.id);
        let owned = update.owned.clone();
        let changed = self.consumer_describes(ledger, number, update);
        let resolved = self.consumer_epoch(ledger, number, changed, stale);
        self.consumer_target(ledger, number, resolved);
        self.consumer_step(ledger, at, number, &id, owned.as_ref(), changed)
    }

    /// Puts the member into the group as it describes itself; tells whether it subscribes to something else
    /// than before.
    fn consumer_describes(
        &mut self,
        ledger: &mut dyn Ledger,
        number: GroupNumber,
        update: Update,
    ) -> bool {
        let (member, joins) = (update.member, update.joins);
        let Some(group) = consumer_of(ledger.state(), number) else {
            return false;
        };
        let id = Arc::clone(&member.id);
        let replaces = update.replaces.filter(|old| *old != id);
        let before = group.members.get(replaces.as_ref().unwrap_or(&id));
        let changed = match before {
            Some(before) => {
                before.member.topics != member.topics || before.member.regex != member.regex
            }
            None => !member.topics.is_empty() || member.regex.is_some(),
        };
        let mut changes = Vec::new();
        if let (Some(old), Some(before)) = (&replaces, before) {
            changes.push(GroupChange::Removed(Arc::clone(old)));
            changes.push(GroupChange::ConsumerMember(Box::new(member)));
            changes.push(GroupChange::Target {
                epoch: group.assignment_epoch,
                members: vec![(Arc::clone(&id), before.target.clone())],
            });
        } else if before.is_none_or(|before| before.member != member) {
            changes.push(GroupChange::ConsumerMember(Box::new(member)));
        }
        // a static member that left for a while has the epoch of that
        let anew = before.filter(|before| joins || before.current.epoch < 0);
        if let Some(before) = before.filter(|_| replaces.is_some() || anew.is_some()) {
            let mut assignment = before.current.clone();
            if anew.is_some() {
                assignment.epoch = 0;
                assignment.previous_epoch = 0;
            }
            if replaces.is_some() || assignment != before.current {
                let member = id;
                changes.push(GroupChange::Current { member, assignment });
            }
        }
        self.change(ledger, number, changes);
        if let Some(old) = replaces {
            self.consumer_dismiss(number, &old, ResponseError::FencedInstanceId);
        }
        changed
    }

    /// Bumps the group epoch where the subscription changed, or what is known of the topics
    /// (`updateSubscriptionMetadata`).
    fn consumer_epoch(
        &mut self,
        ledger: &mut dyn Ledger,
        number: GroupNumber,
        subscription_changed: bool,
        stale: bool,
    ) -> Option<Resolved> {
        let group = consumer_of(ledger.state(), number)?;
        // a group that is new moves away from epoch 0
        let bump = group.epoch == 0 || subscription_changed;
        if !bump && !stale {
            return None;
        }
        let resolved = self.subscriptions.resolve(ledger.state(), group);
        let metadata_hash = resolved.hash();
        if bump || metadata_hash != group.metadata_hash {
            let epoch = group.epoch.saturating_add(1);
            let change = GroupChange::Epoch {
                epoch,
                metadata_hash,
            };
            self.change(ledger, number, vec![change]);
            *self.rebalances.entry("consumer").or_default() += 1;
        }
        Some(resolved)
    }

    /// Makes another target assignment where the group's is behind its epoch.
    fn consumer_target(
        &mut self,
        ledger: &mut dyn Ledger,
        number: GroupNumber,
        resolved: Option<Resolved>,
    ) {
        let state = ledger.state();
        let Some(group) = consumer_of(state, number) else {
            return;
        };
        if group.epoch <= group.assignment_epoch {
            return;
        }
        let resolved = resolved.unwrap_or_else(|| self.subscriptions.resolve(state, group));
        let assignors = &state.group_settings().consumer.assignors;
        let change = target::change(group, assignors, &resolved);
        self.change(ledger, number, vec![change]);
    }

    /// Moves the member towards its target; tells whether other partitions are assigned to it.
    fn consumer_step(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        id: &MemberId,
        owned: Option<&TopicPartitions>,
        subscription_changed: bool,
    ) -> bool {
        let state = ledger.state();
        let Some(group) = consumer_of(state, number) else {
            return false;
        };
        let Some(entry) = group.members.get(id) else {
            return false;
        };
        let current = &entry.current;
        let arrived =
            current.state == MemberState::Stable && current.epoch == group.assignment_epoch;
        if arrived && !subscription_changed {
            return false;
        }
        let subscribed = self.subscriptions.topics_of(state, &entry.member);
        let said = reconcile::Said {
            owned,
            subscription_changed,
            subscribed: &subscribed,
        };
        let Some(assignment) = reconcile::step(group, entry, &said) else {
            return false;
        };
        let moved = assignment.assigned != current.assigned;
        let unrevoked = assignment.state == MemberState::UnrevokedPartitions;
        let patience = millis(entry.member.rebalance_timeout_ms);
        // members of the classic protocol have times to join and to sync instead
        let timed = unrevoked && entry.member.classic.is_none();
        let member = Arc::clone(id);
        let change = GroupChange::Current { member, assignment };
        self.change(ledger, number, vec![change]);
        let timer = Timer::Revocation(number, Arc::clone(id));
        if timed {
            self.timers.set(timer, at.now.plus(patience));
        } else {
            self.timers.cancel(&timer);
        }
        moved
    }
}

fn consumer_of(state: &State, number: GroupNumber) -> Option<&ConsumerGroup> {
    state.group(number)?.consumer()
}

/// A member without what it is assigned.
fn alone(member: &ConsumerMember) -> ConsumerEntry {
    ConsumerEntry {
        member: member.clone(),
        current: CurrentAssignment::default(),
        target: TopicPartitions::new(),
    }
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn too_large(text: &str) -> Refusal {
    Refusal::new(ResponseError::GroupMaxSizeReached, text)
}
