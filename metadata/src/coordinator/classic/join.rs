//! JoinGroup (version 9 in and out; the client's version decides whether a first join is told its member id
//! and to come again).

use std::sync::Arc;

use kafka_protocol::{ResponseError, messages::JoinGroupRequest};

use super::{
    answers::joined,
    classic_group,
    joining::{Joining, has_room},
    millis,
};
use crate::{
    coordinator::{
        At, Caller, Coordinator, Ledger, limits::NEW_MEMBER_TIMEOUT_MS, parked::ParkedCall,
        timers::Timer,
    },
    event::group::{ClassicPhase, ClassicState, GroupChange, GroupKind, GroupNumber, MemberId},
    state::{State, group::ClassicGroup},
};

impl<W> Coordinator<W> {
    /// A member joins. The answer comes among [`Coordinator::take_answers`], at once or later.
    pub(crate) fn join(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        caller: &Caller,
        request: JoinGroupRequest,
        waiter: W,
    ) {
        let mut joining = Joining::of(caller, &request);
        let call = ParkedCall {
            waiter,
            call_id: caller.call_id,
            version: caller.version,
        };
        if let Err(error) = joining.check(ledger.state()) {
            self.refuse_join(call, &joining.sent, error);
            return;
        }
        let found = ledger.state().group_by_name(&joining.group);
        let consumer = found
            .filter(|(_, group)| group.consumer().is_some() && group.members() > 0)
            .map(|(number, _)| number);
        match consumer {
            Some(number) => {
                joining.name_for_consumer_group();
                self.join_consumer_group(ledger, at, number, &joining, call);
            }
            None => self.join_classic_group(ledger, at, &joining, call),
        }
    }

    fn join_classic_group(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        joining: &Joining,
        call: ParkedCall<W>,
    ) {
        let is_first = joining.sent.is_empty();
        // whoever was told its id has no instance
        let is_pending = joining.instance.is_none()
            && self.classic.pending.contains(&joining.group, &joining.sent);
        if is_first || is_pending {
            self.make_classic(ledger, at, &joining.group);
        }
        let number = classic_number(ledger.state(), &joining.group);
        if number.is_none() && !is_first && !is_pending {
            self.refuse_join(call, &joining.sent, ResponseError::UnknownMemberId);
            return;
        }
        if let Some(number) = number
            && !self.has_room_for(ledger.state(), number, &joining.id)
        {
            self.leave_out(ledger, at, number, joining);
            self.refuse_join(call, "", ResponseError::GroupMaxSizeReached);
            return;
        }
        let none = ClassicGroup::default();
        let group = number.and_then(|number| classic_group(ledger.state(), number));
        if let Err(error) = joining.fits_in(ledger.state(), group.unwrap_or(&none)) {
            self.refuse_join(call, &joining.sent, error);
        } else if is_first && joining.instance.is_some() {
            self.join_first_static(ledger, at, joining, call);
        } else if is_first {
            self.join_first(ledger, at, number, joining, call);
        } else if is_pending {
            self.add_member(ledger, at, joining, call);
        } else {
            self.join_again(ledger, at, number, joining, call);
        }
    }

    /// A consumer group without members becomes a classic one; its epoch goes on as the generation.
    fn make_classic(&mut self, ledger: &mut dyn Ledger, at: At, name: &str) {
        let Some((number, group)) = ledger.state().group_by_name(name) else {
            return;
        };
        let Some(group) = group.consumer().filter(|group| group.members.is_empty()) else {
            return;
        };
        let phase = ClassicPhase {
            generation: group.epoch,
            since_ms: at.unix_millis,
            ..ClassicPhase::default()
        };
        let changes = vec![
            GroupChange::Kind(GroupKind::Classic),
            GroupChange::Phase(phase),
        ];
        self.change(ledger, number, changes);
        self.timers.cancel_group(number);
        self.subscriptions.forget(number);
    }

    fn has_room_for(&self, state: &State, number: GroupNumber, id: &MemberId) -> bool {
        let members_max = state.group_settings().members_max;
        classic_group(state, number).is_none_or(|group| {
            let waits = self.parked.joins(number, id);
            has_room(group, id, waits, self.parked.joining(number), members_max)
        })
    }

    /// Takes out whom the group has no room for any more.
    fn leave_out(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        joining: &Joining,
    ) {
        self.forget_pending(&joining.group, &joining.id);
        let group = classic_group(ledger.state(), number);
        if group.is_some_and(|group| group.members.contains_key(&joining.id)) {
            self.remove_members(ledger, number, std::slice::from_ref(&joining.id));
        }
        self.complete_if_all_joined(ledger, at, number);
    }

    /// The first join of a dynamic member: it is told its id, or by old versions joins at once.
    fn join_first(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: Option<GroupNumber>,
        joining: &Joining,
        call: ParkedCall<W>,
    ) {
        let id = &joining.id;
        let group = number.and_then(|number| classic_group(ledger.state(), number));
        // this very call came before
        let is_member = group.is_some_and(|group| group.members.contains_key(id));
        if !joining.must_come_again() {
            if is_member {
                self.join_again(ledger, at, number, joining, call);
            } else {
                self.add_member(ledger, at, joining, call);
            }
            return;
        }
        if !is_member {
            if !self.classic.pending.add(&joining.group, id) {
                self.refuse_join(call, "", ResponseError::CoordinatorLoadInProgress);
                return;
            }
            let timer = Timer::Pending(Arc::clone(&joining.group), Arc::clone(id));
            let until = at.now.plus(millis(joining.session_timeout_ms));
            self.timers.set(timer, until);
        }
        self.refuse_join(call, id, ResponseError::MemberIdRequired);
    }

    /// A member is new in the group, which begins if need be.
    pub(super) fn add_member(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        joining: &Joining,
        call: ParkedCall<W>,
    ) {
        let id = &joining.id;
        let number = self.group_or_new(ledger, &joining.group);
        let Some(group) = classic_group(ledger.state(), number) else {
            self.refuse_join(call, id, ResponseError::UnknownMemberId);
            return;
        };
        let mut phase = group.phase.clone();
        if group.members.is_empty() {
            phase.protocol_type = Some(joining.protocol_type.clone());
        }
        phase.leader.get_or_insert_with(|| Arc::clone(id));
        let mut changes = vec![GroupChange::Member(joining.member())];
        if phase != group.phase {
            changes.push(GroupChange::Phase(phase));
        }
        self.change(ledger, number, changes);
        self.forget_pending(&joining.group, id);
        if let Some(delay) = self.classic.initial.get_mut(&number) {
            delay.joined = true;
        }
        let new = self.classic.new.entry(number).or_default();
        new.insert(Arc::clone(id));
        self.park_join(number, id, call);
        // it cannot send heartbeats before it knows its id; one that gave up must not stay for ever
        let until = std::time::Duration::from_millis(NEW_MEMBER_TIMEOUT_MS);
        let timer = Timer::Session(number, Arc::clone(id));
        self.timers.set(timer, at.now.plus(until));
        self.rebalance_or_complete(ledger, at, number, "a member joins");
    }

    /// A member that is in the group joins.
    pub(super) fn join_again(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: Option<GroupNumber>,
        joining: &Joining,
        call: ParkedCall<W>,
    ) {
        let id = &joining.id;
        let found =
            number.and_then(|number| Some((number, classic_group(ledger.state(), number)?)));
        let Some((number, group)) = found else {
            self.refuse_join(call, id, ResponseError::UnknownMemberId);
            return;
        };
        if let Err(error) = super::check_member(group, id, joining.instance.as_deref()) {
            self.refuse_join(call, id, error);
            return;
        }
        let says_the_same = group
            .members
            .get(id)
            .is_some_and(|entry| entry.member.protocols == joining.protocols);
        let is_leader = group.phase.leader.as_ref() == Some(id);
        let stays = match group.phase.state {
            ClassicState::Empty => {
                self.refuse_join(call, id, ResponseError::UnknownMemberId);
                return;
            }
            ClassicState::PreparingRebalance => false,
            // perhaps the answer to its first JoinGroup was lost
            ClassicState::CompletingRebalance => says_the_same,
            // a leader that joins wants to assign anew
            ClassicState::Stable => says_the_same && !is_leader,
        };
        if stays {
            let response = joined(group, id);
            self.answer_join(call, response);
            return;
        }
        self.update_member(ledger, number, joining);
        self.park_join(number, id, call);
        self.rebalance_or_complete(ledger, at, number, "a member joins again");
    }

    /// Takes in what a member says now.
    pub(super) fn update_member(
        &mut self,
        ledger: &mut dyn Ledger,
        number: GroupNumber,
        joining: &Joining,
    ) {
        let group = classic_group(ledger.state(), number);
        let Some(entry) = group.and_then(|group| group.members.get(&joining.id)) else {
            return;
        };
        let member = joining.updated(&entry.member);
        if member != entry.member {
            self.change(ledger, number, vec![GroupChange::Member(member)]);
        }
    }

    pub(super) fn forget_pending(&mut self, group: &Arc<str>, id: &MemberId) {
        if self.classic.pending.remove(group, id) {
            let timer = Timer::Pending(Arc::clone(group), Arc::clone(id));
            self.timers.cancel(&timer);
        }
    }
}

/// The number of a group that is classic.
pub(super) fn classic_number(state: &State, name: &str) -> Option<GroupNumber> {
    let (number, group) = state.group_by_name(name)?;
    group.classic().map(|_| number)
}
