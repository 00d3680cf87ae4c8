//! Members of consumer groups that leave, or are fenced.

use std::sync::Arc;

use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupResponse,
        SyncGroupResponse,
    },
    protocol::StrBytes,
};

use super::{
    LEAVES_FOR_A_WHILE,
    heartbeat::{not_found, static_member, unknown_member},
    millis, session_timeout,
};
use crate::{
    coordinator::{Answer, At, Coordinator, Ledger, refusal::Refusal, timers::Timer},
    event::group::{
        CurrentAssignment, GroupChange, GroupNumber, MemberId, MemberState, TopicPartitions,
    },
    state::State,
};

impl<W> Coordinator<W> {
    /// A member says that it leaves, for good or for a while (`consumerGroupLeave`).
    pub(super) fn consumer_leave(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let name = request.group_id.as_str();
        let id: MemberId = Arc::from(request.member_id.as_str());
        let Some((number, group)) = ledger.state().group_by_name(name) else {
            return Err(not_found(format!("Group {name} not found.")));
        };
        let Some(group) = group.consumer() else {
            let text = format!("Group {name} is not a consumer group.");
            return Err(not_found(text));
        };
        match request.instance_id.as_deref() {
            None if !group.members.contains_key(&id) => return Err(unknown_member(&id, name)),
            None => {}
            Some(instance) => {
                static_member(group, &id, instance)?;
            }
        }
        // the epoch of a dynamic member cannot be this one: it needs an instance id
        if request.member_epoch == LEAVES_FOR_A_WHILE {
            self.consumer_pause(ledger, number, &id);
        } else {
            self.consumer_fence(ledger, at, number, std::slice::from_ref(&id));
        }
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(StrBytes::from_string(id.to_string())))
            .with_member_epoch(request.member_epoch))
    }

    /// A static member leaves and will be back within its session timeout, which goes on
    /// (`consumerGroupStaticMemberGroupLeave`). What it has stays its own.
    fn consumer_pause(&mut self, ledger: &mut dyn Ledger, number: GroupNumber, id: &MemberId) {
        let group = ledger
            .state()
            .group(number)
            .and_then(|group| group.consumer());
        let Some(entry) = group.and_then(|group| group.members.get(id)) else {
            return;
        };
        let assignment = CurrentAssignment {
            epoch: LEAVES_FOR_A_WHILE,
            revoking: TopicPartitions::new(),
            ..entry.current.clone()
        };
        if assignment != entry.current {
            let member = Arc::clone(id);
            let change = GroupChange::Current { member, assignment };
            self.change(ledger, number, vec![change]);
        }
        self.timers
            .cancel(&Timer::Revocation(number, Arc::clone(id)));
    }

    /// Takes members out of a consumer group, whatever protocol they speak: bumps its epoch, answers
    /// whoever of them waits, takes their timers away, and makes it a classic group where only such members
    /// are left ([`Coordinator::downgrades`]).
    pub(in crate::coordinator) fn consumer_fence(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        members: &[MemberId],
    ) {
        let Some(consumer) = ledger
            .state()
            .group(group)
            .and_then(|group| group.consumer())
        else {
            return;
        };
        let there = members.iter();
        let there = there.filter(|id| consumer.members.contains_key(*id));
        let there: Vec<MemberId> = there.cloned().collect();
        if there.is_empty() {
            return;
        }
        for id in &there {
            self.consumer_dismiss(group, id, ResponseError::UnknownMemberId);
        }
        if self.downgrades(&*ledger, group, &there) {
            self.downgrade(ledger, at, group, &there);
            return;
        }
        let removed = there.into_iter().map(GroupChange::Removed).collect();
        self.change(ledger, group, removed);
        let state = ledger.state();
        let Some(consumer) = state.group(group).and_then(|group| group.consumer()) else {
            return;
        };
        let change = GroupChange::Epoch {
            epoch: consumer.epoch.saturating_add(1),
            metadata_hash: self.subscriptions.resolve(state, consumer).hash(),
        };
        self.change(ledger, group, vec![change]);
    }

    /// Takes away what the leader remembers of a member that is gone, or speaks another protocol from now
    /// on: its timers; calls of it that wait are answered with `error`.
    pub(super) fn consumer_dismiss(
        &mut self,
        group: GroupNumber,
        member: &MemberId,
        error: ResponseError,
    ) {
        for timer in [
            Timer::Session(group, Arc::clone(member)),
            Timer::Revocation(group, Arc::clone(member)),
            Timer::ClassicJoin(group, Arc::clone(member)),
            Timer::ClassicSync(group, Arc::clone(member)),
        ] {
            self.timers.cancel(&timer);
        }
        if let Some(call) = self.parked.take_join(group, member) {
            let answer = JoinGroupResponse::default()
                .with_error_code(error.code())
                .with_member_id(StrBytes::from_string(member.to_string()));
            self.answers.push((call.waiter, Answer::Join(answer)));
        }
        if let Some(call) = self.parked.take_sync(group, member) {
            let answer = SyncGroupResponse::default().with_error_code(error.code());
            self.answers.push((call.waiter, Answer::Sync(answer)));
        }
    }

    /// A member did not give partitions up within its rebalance timeout.
    pub(in crate::coordinator) fn revocation_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        member: &MemberId,
    ) {
        let consumer = ledger
            .state()
            .group(group)
            .and_then(|group| group.consumer());
        let entry = consumer.and_then(|consumer| consumer.members.get(member));
        if entry.is_some_and(|entry| entry.current.state == MemberState::UnrevokedPartitions) {
            self.consumer_fence(ledger, at, group, std::slice::from_ref(member));
        }
    }

    /// Timers of a group that was recovered.
    pub(in crate::coordinator) fn resume_consumer(
        &mut self,
        state: &State,
        at: At,
        group: GroupNumber,
    ) {
        let Some(found) = state.group(group) else {
            return;
        };
        let Some(consumer) = found.consumer() else {
            return;
        };
        let session = session_timeout(state, &found.name);
        for (id, entry) in &consumer.members {
            let classic = entry.member.classic.as_ref();
            let session = classic.map_or(session, |classic| millis(classic.session_timeout_ms));
            self.timers
                .set(Timer::Session(group, Arc::clone(id)), at.now.plus(session));
            // a static member that left for a while gives up nothing
            if classic.is_none()
                && entry.current.state == MemberState::UnrevokedPartitions
                && entry.current.epoch >= 0
            {
                let revocation = millis(entry.member.rebalance_timeout_ms);
                self.timers.set(
                    Timer::Revocation(group, Arc::clone(id)),
                    at.now.plus(revocation),
                );
            }
        }
    }
}
