//! Static members (KIP-345) that join without a member id: new ones, and those that were restarted.

use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::{
    answers::{joined, text},
    classic_group,
    join::classic_number,
    joining::Joining,
    vote,
};
use crate::{
    coordinator::{At, Coordinator, Ledger, parked::ParkedCall, timers::Timer},
    event::group::{ClassicState, GroupChange, GroupNumber, MemberId},
};

/// The first version of JoinGroup by which a restarted leader is told that nothing is to be assigned.
const SKIPS_ASSIGNMENT: i16 = 9;

impl<W> Coordinator<W> {
    pub(super) fn join_first_static(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        joining: &Joining,
        call: ParkedCall<W>,
    ) {
        let number = classic_number(ledger.state(), &joining.group);
        let found =
            number.and_then(|number| Some((number, classic_group(ledger.state(), number)?)));
        let before = found.and_then(|(number, group)| {
            let instance = joining.instance.as_ref()?;
            let before = group.instances.get(instance)?;
            let leads = group.phase.leader.as_ref() == Some(before);
            let stable = group.phase.state == ClassicState::Stable;
            Some((number, Arc::clone(before), leads, stable))
        });
        match before {
            None => self.add_member(ledger, at, joining, call),
            // this very call came before, and caused no rebalance
            Some((number, before, _, true)) if before == joining.id => {
                self.restarted(ledger, at, number, joining, None, call);
            }
            Some((number, before, ..)) if before == joining.id => {
                self.join_again(ledger, at, Some(number), joining, call);
            }
            Some((number, before, leads, _)) => {
                self.replace_member(ledger, at, number, &before, &joining.id);
                let led = leads.then_some(before);
                self.restarted(ledger, at, number, joining, led, call);
            }
        }
    }

    /// The member's id is another one now; whoever waits under the old one is fenced (`replaceStaticMember`).
    fn replace_member(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        old: &MemberId,
        new: &MemberId,
    ) {
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        let Some(entry) = group.members.get(old) else {
            return;
        };
        let mut member = entry.member.clone();
        member.id = Arc::clone(new);
        let session_timeout_ms = member.session_timeout_ms;
        let mut changes = vec![
            GroupChange::Removed(Arc::clone(old)),
            GroupChange::Member(member),
        ];
        if !entry.assignment.is_empty() {
            let assigned = group.members.iter();
            let assigned = assigned.filter(|(_, entry)| !entry.assignment.is_empty());
            let mut assigned: Vec<_> = assigned
                .map(|(id, entry)| {
                    let id = if id == old { new } else { id };
                    (Arc::clone(id), entry.assignment.clone())
                })
                .collect();
            assigned.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            changes.push(GroupChange::Assigned(assigned));
        }
        if group.phase.leader.as_ref() == Some(old) {
            let mut phase = group.phase.clone();
            phase.leader = Some(Arc::clone(new));
            changes.push(GroupChange::Phase(phase));
        }
        if let Some(call) = self.parked.take_join(number, old) {
            self.refuse_join(call, old, ResponseError::FencedInstanceId);
        }
        if let Some(call) = self.parked.take_sync(number, old) {
            self.refuse_sync(call, ResponseError::FencedInstanceId);
        }
        self.change(ledger, number, changes);
        if let Some(syncing) = self.classic.syncing.get_mut(&number)
            && syncing.remove(old)
        {
            syncing.insert(Arc::clone(new));
        }
        self.classic.forget_member(number, old);
        self.timers.cancel(&Timer::Session(number, Arc::clone(old)));
        self.begin_session(at, number, new, session_timeout_ms);
    }

    /// A static member is there again: without a rebalance where the group is stable and would choose the same
    /// protocol (`updateStaticMemberThenRebalanceOrCompleteJoin`). `led`: its old id, if it is the leader.
    pub(super) fn restarted(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        joining: &Joining,
        led: Option<MemberId>,
        call: ParkedCall<W>,
    ) {
        let id = &joining.id;
        self.update_member(ledger, number, joining);
        let Some(group) = classic_group(ledger.state(), number) else {
            self.refuse_join(call, id, ResponseError::UnknownMemberId);
            return;
        };
        let is_stable = group.phase.state == ClassicState::Stable;
        if !is_stable || vote::chosen(group) != group.phase.protocol {
            self.park_join(number, id, call);
            self.rebalance_or_complete(ledger, at, number, "a static member joins");
            return;
        }
        let is_leader = group.phase.leader.as_ref() == Some(id);
        let response = joined(group, id);
        let response = if call.version >= SKIPS_ASSIGNMENT {
            response.with_skip_assignment(is_leader)
        } else if is_leader {
            // one that finds itself to be the leader would assign
            let leader = led.as_deref().unwrap_or_default();
            response.with_leader(text(leader)).with_members(Vec::new())
        } else {
            response
        };
        self.answer_join(call, response);
    }
}
