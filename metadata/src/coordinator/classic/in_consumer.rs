//! Members of the classic protocol in consumer groups: their JoinGroup, SyncGroup, Heartbeat and LeaveGroup
//! (`classicGroupJoinToConsumerGroup` and its siblings). Nobody waits there: each member goes its own way
//! from epoch to epoch, which it takes for generations.

use std::sync::Arc;

use aquifer_format::ids::{PartitionId, PartitionIndex};
use kafka_protocol::{
    ResponseError,
    messages::{
        HeartbeatRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
        leave_group_request::MemberIdentity, leave_group_response::MemberResponse,
    },
};

use super::{
    answers::text,
    joining::{Joining, protocols_bytes},
    leave, millis,
};
use crate::{
    coordinator::{
        At, Coordinator, Ledger,
        consumer::Update,
        consumer_protocol::{self, PROTOCOL_TYPE, Subscription},
        limits::{GROUP_BYTES_MAX, SUBSCRIBED_TOPICS_MAX, has_memory},
        parked::ParkedCall,
        timers::Timer,
    },
    event::group::{
        ClassicSubscription, ConsumerMember, GroupNumber, MemberId, MemberState, Protocol,
        TopicPartitions,
    },
    state::{
        State,
        group::{ConsumerEntry, ConsumerGroup},
    },
};

impl<W> Coordinator<W> {
    /// The member did not join again, or did not sync, in time.
    pub(in crate::coordinator) fn classic_in_consumer_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        member: &MemberId,
    ) {
        let found = consumer_group(ledger.state(), group);
        if found.is_some_and(|group| group.members.contains_key(member)) {
            self.consumer_fence(ledger, at, group, std::slice::from_ref(member));
        }
    }

    pub(super) fn join_consumer_group(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        joining: &Joining,
        call: ParkedCall<W>,
    ) {
        let planned = planned(ledger.state(), number, joining);
        let (update, downgrade) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                let told = error == ResponseError::MemberIdRequired;
                let id = if told { &*joining.id } else { "" };
                self.refuse_join(call, id, error);
                return;
            }
        };
        if let Some(downgrade) = downgrade {
            self.join_by_downgrade(ledger, at, number, joining, &downgrade, call);
            return;
        }
        let replaced = update.replaces.clone();
        let current = match self.consumer_update(ledger, at, number, update) {
            Ok(current) => current,
            Err(refusal) => {
                self.refuse_join(call, "", refusal.error);
                return;
            }
        };
        if let Some(replaced) = replaced {
            self.cancel_member(number, &replaced);
        }
        let id = &joining.id;
        let join = Timer::ClassicJoin(number, Arc::clone(id));
        self.timers.cancel(&join);
        self.begin_session(at, number, id, joining.session_timeout_ms);
        let until = at.now.plus(millis(joining.rebalance_timeout_ms));
        let sync = Timer::ClassicSync(number, Arc::clone(id));
        self.timers.set(sync, until);
        let best = joining.protocols.first();
        let response = JoinGroupResponse::default()
            .with_member_id(text(id))
            .with_generation_id(current.epoch)
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(best.map(|protocol| text(&protocol.name)));
        self.answer_join(call, response);
    }

    /// The last member of the consumer protocol was restarted with the classic one: the group is classic
    /// again.
    fn join_by_downgrade(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        joining: &Joining,
        downgrade: &Downgrade,
        call: ParkedCall<W>,
    ) {
        let joins = (&downgrade.replaced, joining.member());
        self.make_group_classic(ledger, at, number, &[], Some(joins));
        if downgrade.changes {
            self.park_join(number, &joining.id, call);
            let why = "a member takes its place by the classic protocol";
            self.prepare_rebalance(ledger, at, number, why);
        } else {
            self.restarted(ledger, at, number, joining, None, call);
        }
    }

    fn cancel_member(&mut self, number: GroupNumber, id: &MemberId) {
        for timer in [
            Timer::Session(number, Arc::clone(id)),
            Timer::Revocation(number, Arc::clone(id)),
            Timer::ClassicJoin(number, Arc::clone(id)),
            Timer::ClassicSync(number, Arc::clone(id)),
        ] {
            self.timers.cancel(&timer);
        }
    }

    pub(super) fn sync_in_consumer_group(
        &mut self,
        state: &State,
        at: At,
        number: GroupNumber,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ResponseError> {
        let group = consumer_group(state, number).ok_or(ResponseError::UnknownMemberId)?;
        let instance = request.group_instance_id.as_deref();
        let (id, entry, classic) = classic_member(group, &request.member_id, instance)?;
        if request.generation_id != entry.current.epoch {
            return Err(ResponseError::IllegalGeneration);
        }
        let best = classic.protocols.first();
        let (kind, name) = (&request.protocol_type, &request.protocol_name);
        let other_kind = kind.as_deref().is_some_and(|kind| kind != PROTOCOL_TYPE);
        let other_name = name
            .as_deref()
            .is_some_and(|name| best.is_none_or(|best| best.name != name));
        if other_kind || other_name {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let must_join = group.epoch > entry.current.epoch
            && entry.current.state != MemberState::UnrevokedPartitions;
        if must_join {
            self.await_join(at, number, id, entry);
            return Err(ResponseError::RebalanceInProgress);
        }
        let sync = Timer::ClassicSync(number, Arc::clone(id));
        self.timers.cancel(&sync);
        self.begin_session(at, number, id, classic.session_timeout_ms);
        let version = best.and_then(|best| consumer_protocol::version(&best.metadata));
        let assignment = consumer_protocol::encode_assignment(
            version.unwrap_or(0),
            &entry.current.assigned,
            |topic| state.topic(topic).map(|topic| topic.name()),
        );
        Ok(SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(assignment))
    }

    pub(super) fn heard_in_consumer_group(
        &mut self,
        state: &State,
        at: At,
        number: GroupNumber,
        request: &HeartbeatRequest,
    ) -> Result<(), ResponseError> {
        let group = consumer_group(state, number).ok_or(ResponseError::UnknownMemberId)?;
        let instance = request.group_instance_id.as_deref();
        let (id, entry, classic) = classic_member(group, &request.member_id, instance)?;
        if request.generation_id != entry.current.epoch {
            return Err(ResponseError::IllegalGeneration);
        }
        self.begin_session(at, number, id, classic.session_timeout_ms);
        let must_join = entry.current.epoch < group.epoch
            || match entry.current.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !waits_for_others(group, entry),
            };
        if must_join {
            self.await_join(at, number, id, entry);
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// The member was told to join again: it has its rebalance timeout for it, from the first time on.
    fn await_join(&mut self, at: At, number: GroupNumber, id: &MemberId, entry: &ConsumerEntry) {
        let timer = Timer::ClassicJoin(number, Arc::clone(id));
        if !self.timers.has(&timer) {
            let until = at.now.plus(millis(entry.member.rebalance_timeout_ms));
            self.timers.set(timer, until);
        }
    }

    pub(super) fn leave_consumer_group(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        members: &[MemberIdentity],
    ) -> Vec<MemberResponse> {
        let Some(group) = consumer_group(ledger.state(), number) else {
            return Vec::new();
        };
        let mut leaving: Vec<MemberId> = Vec::new();
        let mut answers = Vec::new();
        for member in members {
            let found = leaving_member(group, member);
            answers.push(leave::answer(member, found.as_ref().err().copied()));
            leaving.extend(found.ok().cloned());
        }
        leaving.sort_unstable();
        leaving.dedup();
        if !leaving.is_empty() {
            self.consumer_fence(ledger, at, number, &leaving);
        }
        answers
    }
}

/// A join that makes the group classic.
struct Downgrade {
    /// The member whose place is taken; perhaps of the same id.
    replaced: MemberId,
    /// Whether something else is to be assigned than the group has.
    changes: bool,
}

/// What a join changes, if it may.
fn planned(
    state: &State,
    number: GroupNumber,
    joining: &Joining,
) -> Result<(Update, Option<Downgrade>), ResponseError> {
    let group = consumer_group(state, number).ok_or(ResponseError::UnknownMemberId)?;
    let settings = state.group_settings();
    let is_member = group.members.contains_key(&joining.id);
    if !is_member && group.members.len() >= settings.consumer.members_max {
        return Err(ResponseError::GroupMaxSizeReached);
    }
    let others = group.members.values();
    let others = others.filter_map(|entry| entry.member.classic.as_ref());
    if !joining.suits(others.map(|classic| classic.protocols.as_slice())) {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    let is_first = joining.sent.is_empty();
    let is_dynamic = joining.instance.is_none();
    if joining.must_come_again() {
        return Err(ResponseError::MemberIdRequired);
    }
    let before = joining.instance.as_ref();
    let before = before.and_then(|instance| group.instances.get(instance));
    if !is_first && !is_dynamic {
        match before {
            None => return Err(ResponseError::UnknownMemberId),
            Some(before) if *before != joining.sent => return Err(ResponseError::FencedInstanceId),
            Some(_) => {}
        }
    }
    let replaces = before.filter(|before| **before != joining.id);
    let said = group.members.get(replaces.unwrap_or(&joining.id));
    let said = said.map(|entry| {
        let classic = entry.member.classic.as_ref();
        classic.map_or(0, |classic| protocols_bytes(&classic.protocols))
    });
    if !has_memory(state, said, protocols_bytes(&joining.protocols))
        || said_with(group, joining, replaces) > GROUP_BYTES_MAX
    {
        return Err(ResponseError::GroupMaxSizeReached);
    }
    let subscription = joining.protocols.first();
    let subscription =
        subscription.and_then(|said| consumer_protocol::subscription(&said.metadata));
    let subscription = subscription.ok_or(ResponseError::InconsistentGroupProtocol)?;
    if subscription.topics.len() > SUBSCRIBED_TOPICS_MAX {
        return Err(ResponseError::InvalidRequest);
    }
    let known = before.unwrap_or(&joining.id);
    let entry = group.members.get(known);
    let update = Update {
        owned: Some(partitions(state, &subscription.owned)),
        member: described(joining, entry, subscription),
        replaces: replaces.cloned(),
        joins: entry.is_none(),
    };
    let downgrade = before
        .filter(|before| downgrades_by(state, group, before))
        .map(|before| Downgrade {
            replaced: Arc::clone(before),
            changes: changes_assignment(group, entry, &update.member),
        });
    Ok((update, downgrade))
}

/// What the group's members say in the classic protocol, with this one in place of what it said before.
fn said_with(group: &ConsumerGroup, joining: &Joining, replaces: Option<&MemberId>) -> u64 {
    let others = group.members.iter();
    let others = others.filter(|(id, _)| **id != joining.id && Some(*id) != replaces);
    let classic = others.filter_map(|(_, entry)| entry.member.classic.as_ref());
    let said = classic.map(|classic| protocols_bytes(&classic.protocols));
    said.fold(protocols_bytes(&joining.protocols), u64::saturating_add)
}

/// The member as it is after its join.
fn described(
    joining: &Joining,
    before: Option<&ConsumerEntry>,
    subscription: Subscription,
) -> ConsumerMember {
    let before = before.map(|entry| &entry.member);
    let rack = subscription.rack.filter(|rack| !rack.is_empty());
    let rack: Option<Arc<str>> = rack.map(Arc::from);
    // -1 = as before
    let said = Some(joining.rebalance_timeout_ms).filter(|millis| *millis != -1);
    let timeout = said.or(before.map(|member| member.rebalance_timeout_ms));
    ConsumerMember {
        id: Arc::clone(&joining.id),
        instance: joining
            .instance
            .clone()
            .or_else(|| before.and_then(|member| member.instance.clone())),
        rack: rack.or_else(|| before.and_then(|member| member.rack.clone())),
        client_id: Arc::clone(&joining.caller.client_id),
        client_host: Arc::clone(&joining.caller.host),
        rebalance_timeout_ms: timeout.unwrap_or(joining.session_timeout_ms),
        topics: subscription.topics.into_iter().map(Arc::from).collect(),
        regex: None,
        assignor: before.and_then(|member| member.assignor.clone()),
        classic: Some(ClassicSubscription {
            session_timeout_ms: joining.session_timeout_ms,
            protocols: joining.protocols.clone(),
        }),
    }
}

/// Whether all but this member, which is of the consumer protocol, are classic, and the group may become so
/// (`validateOnlineDowngradeWithReplacedMember`).
fn downgrades_by(state: &State, group: &ConsumerGroup, before: &MemberId) -> bool {
    let settings = state.group_settings();
    let is_classic =
        |(id, entry): (&MemberId, &ConsumerEntry)| entry.member.classic.is_some() == (id != before);
    settings.consumer.migration.downgrades()
        && group.members.len() <= settings.members_max
        && group.members.iter().all(is_classic)
}

/// Whether a rebalance is due when the member comes in place of `before`: it subscribes to something else, or
/// not everybody has yet what it is to have.
fn changes_assignment(
    group: &ConsumerGroup,
    before: Option<&ConsumerEntry>,
    member: &ConsumerMember,
) -> bool {
    let same = before.is_some_and(|entry| {
        let regex = entry.member.regex.as_deref().unwrap_or_default();
        entry.member.topics == member.topics && regex.is_empty()
    });
    let arrived = |entry: &ConsumerEntry| {
        entry.current.state == MemberState::Stable && entry.current.epoch == group.epoch
    };
    !same || !group.members.values().all(arrived)
}

fn consumer_group(state: &State, number: GroupNumber) -> Option<&ConsumerGroup> {
    state.group(number)?.consumer()
}

/// A member that speaks the classic protocol, if it is who it says (`validateConsumerGroupMember`).
fn classic_member<'a>(
    group: &'a ConsumerGroup,
    id: &str,
    instance: Option<&str>,
) -> Result<(&'a MemberId, &'a ConsumerEntry, &'a ClassicSubscription), ResponseError> {
    if let Some(instance) = instance {
        check_instance(group, id, instance)?;
    }
    let found = group.members.get_key_value(id);
    let (id, entry) = found.ok_or(ResponseError::UnknownMemberId)?;
    let classic = entry.member.classic.as_ref();
    let classic = classic.ok_or(ResponseError::UnknownMemberId)?;
    Ok((id, entry, classic))
}

fn check_instance<'a>(
    group: &'a ConsumerGroup,
    id: &str,
    instance: &str,
) -> Result<&'a MemberId, ResponseError> {
    match group.instances.get(instance) {
        None => Err(ResponseError::UnknownMemberId),
        Some(now) if **now != *id => Err(ResponseError::FencedInstanceId),
        Some(now) => Ok(now),
    }
}

/// The member that leaves, of whatever protocol.
fn leaving_member<'a>(
    group: &'a ConsumerGroup,
    member: &MemberIdentity,
) -> Result<&'a MemberId, ResponseError> {
    let id = member.member_id.as_str();
    match member.group_instance_id.as_deref() {
        // an administrator names static members by their instances alone
        Some(instance) if id.is_empty() => {
            let found = group.instances.get(instance);
            found.ok_or(ResponseError::UnknownMemberId)
        }
        Some(instance) => check_instance(group, id, instance),
        None => {
            let found = group.members.get_key_value(id);
            found
                .map(|(id, _)| id)
                .ok_or(ResponseError::UnknownMemberId)
        }
    }
}

/// Whether others have partitions yet that the member is to get (`waitingOnUnreleasedPartition`).
fn waits_for_others(group: &ConsumerGroup, entry: &ConsumerEntry) -> bool {
    let missing = entry.target.without(&entry.current.assigned);
    let has = |other: &ConsumerEntry| {
        let current = &other.current;
        let mut missing = missing.iter();
        missing.any(|id| current.assigned.contains(id) || current.revoking.contains(id))
    };
    !missing.is_empty() && group.members.values().any(has)
}

/// Those of the partitions, by topic name, that there are.
pub(super) fn partitions(state: &State, named: &[(String, Vec<i32>)]) -> TopicPartitions {
    let topics = named.iter();
    let topics = topics.filter_map(|(name, all)| Some((state.topic_by_name(name)?, all)));
    let partitions = topics.flat_map(|(topic, all)| {
        let there =
            move |index: &&i32| u32::try_from(**index).is_ok_and(|at| at < topic.partitions());
        all.iter()
            .filter(there)
            .map(move |index| PartitionId::new(topic.id(), PartitionIndex(*index)))
    });
    partitions.collect()
}

/// What a member says by the group's protocol, or else by the one that it likes best.
pub(super) fn best<'a>(protocols: &'a [Protocol], name: Option<&str>) -> Option<&'a Protocol> {
    let named = protocols
        .iter()
        .find(|said| Some(said.name.as_str()) == name);
    named.or_else(|| protocols.first())
}
