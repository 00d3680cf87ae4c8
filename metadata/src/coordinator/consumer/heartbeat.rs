//! ConsumerGroupHeartbeat (version 1 in and out).

use std::sync::Arc;

use aquifer_format::ids::TopicId;
use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        consumer_group_heartbeat_response::{Assignment, TopicPartitions as AssignedTopic},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{LEAVES, LEAVES_FOR_A_WHILE, Update, heartbeat_interval_ms, request, session_timeout};
use crate::{
    coordinator::{At, Caller, Coordinator, Ledger, refusal::Refusal, timers::Timer},
    event::group::{
        ConsumerMember, GroupChange, GroupKind, GroupNumber, MemberId, TopicPartitions,
    },
    state::{
        State,
        group::{Body, ConsumerEntry, ConsumerGroup},
    },
};

/// What there is under the name of a group that a member heartbeats to.
enum Found {
    Nothing,
    Consumer(GroupNumber),
    /// A classic group without members, with its generation.
    EmptyClassic(GroupNumber, i32),
    /// A classic group with members.
    Classic(GroupNumber),
}

/// What a member was before, and whose place it takes.
#[derive(Default)]
struct Place {
    before: Option<ConsumerMember>,
    replaces: Option<MemberId>,
}

impl Place {
    fn was_classic(&self) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| before.classic.is_some())
    }

    /// The member as it describes itself: what it does not say is as before.
    fn member(
        &self,
        id: &MemberId,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerMember {
        let blank = || ConsumerMember {
            id: Arc::clone(id),
            instance: None,
            rack: None,
            client_id: Arc::clone(&caller.client_id),
            client_host: Arc::clone(&caller.host),
            rebalance_timeout_ms: -1,
            topics: Vec::new(),
            regex: None,
            assignor: None,
            classic: None,
        };
        let mut member = self.before.clone().unwrap_or_else(blank);
        member.id = Arc::clone(id);
        say(&mut member.instance, request.instance_id.as_ref());
        say(&mut member.rack, request.rack_id.as_ref());
        say(&mut member.assignor, request.server_assignor.as_ref());
        if request.rebalance_timeout_ms != -1 {
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(names) = &request.subscribed_topic_names {
            let names = names.iter().map(|name| Arc::from(name.as_str()));
            let mut topics: Vec<Arc<str>> = names.collect();
            topics.sort_unstable();
            topics.dedup();
            member.topics = topics;
        }
        if let Some(regex) = &request.subscribed_topic_regex {
            // an empty one takes an earlier one back
            member.regex = (!regex.is_empty()).then(|| Arc::from(regex.as_str()));
        }
        member.client_id = Arc::clone(&caller.client_id);
        member.client_host = Arc::clone(&caller.host);
        member.classic = None;
        member
    }
}

impl<W> Coordinator<W> {
    /// A member joins, lives, says what it owns, or leaves. Mostly without an event.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let settings = ledger.state().group_settings();
        let answered = match request::check(settings, caller.version, request) {
            Err(refusal) => Err(refusal),
            Ok(()) if matches!(request.member_epoch, LEAVES | LEAVES_FOR_A_WHILE) => {
                self.consumer_leave(ledger, at, request)
            }
            Ok(()) => self.consumer_alive(ledger, at, caller, request),
        };
        answered.unwrap_or_else(|refusal| {
            ConsumerGroupHeartbeatResponse::default()
                .with_error_code(refusal.code())
                .with_error_message(refusal.text())
        })
    }

    fn consumer_alive(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let name = request.group_id.as_str();
        let joins = request.member_epoch == 0;
        let owned = request::owned(request);
        let id = member_id(caller, request);
        let state = ledger.state();
        let found = find(state, name, joins)?;
        check_room(state, &found, &id)?;
        let existing = match &found {
            Found::Consumer(number) => Some(*number),
            Found::Nothing | Found::EmptyClassic(..) | Found::Classic(_) => None,
        };
        let group = existing.and_then(|number| state.group(number)?.consumer());
        let mut place = match group {
            Some(group) => place(group, name, &id, request, owned.as_ref())?,
            None => Place::default(),
        };
        let mut member = place.member(&id, caller, request);
        self.consumer_admits(state, existing, &member, place.replaces.as_ref())?;

        let number = self.consumer_begin(ledger, at, name, &found)?;
        let group = ledger
            .state()
            .group(number)
            .and_then(|group| group.consumer());
        if let (Found::Classic(_), Some(group)) = (&found, group) {
            // whoever was in it speaks the classic protocol: nothing of it refuses a member that joins
            place = place_of_joining(group, &id, request)?;
            member = place.member(&id, caller, request);
        }
        let known = group.is_some_and(|group| group.members.contains_key(&id));
        if place.was_classic() {
            self.consumer_dismiss(number, &id, ResponseError::RebalanceInProgress);
        }
        let update = Update {
            member,
            joins: joins && (place.replaces.is_some() || !known),
            replaces: place.replaces,
            owned,
        };
        let moved = self.consumer_take(ledger, at, number, update);
        let state = ledger.state();
        let session = at.now.plus(session_timeout(state, name));
        self.timers
            .set(Timer::Session(number, Arc::clone(&id)), session);
        let full = request.rebalance_timeout_ms != -1
            && request.topic_partitions.is_some()
            && (request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some());
        let with_assignment = joins || full || moved;
        Ok(answer(state, number, name, &id, with_assignment))
    }

    /// Makes the group a consumer group, be it there or not.
    fn consumer_begin(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        name: &str,
        found: &Found,
    ) -> Result<GroupNumber, Refusal> {
        match found {
            Found::Consumer(number) => Ok(*number),
            Found::Classic(number) => {
                self.upgrade(ledger, at, *number)?;
                Ok(*number)
            }
            Found::EmptyClassic(number, generation) => {
                self.classic.forget(*number);
                self.timers.cancel_group(*number);
                self.change(ledger, *number, consumer_from(*generation));
                Ok(*number)
            }
            Found::Nothing => {
                let number = self.group_or_new(ledger, name);
                self.change(ledger, number, consumer_from(0));
                Ok(number)
            }
        }
    }
}

/// A consumer group without members in place of a classic one: its epochs go on from the generation, so that
/// none is used twice.
fn consumer_from(generation: i32) -> Vec<GroupChange> {
    let mut changes = vec![GroupChange::Kind(GroupKind::Consumer)];
    if generation > 0 {
        changes.push(GroupChange::Epoch {
            epoch: generation,
            metadata_hash: 0,
        });
        changes.push(GroupChange::Target {
            epoch: generation,
            members: Vec::new(),
        });
    }
    changes
}

fn member_id(caller: &Caller, request: &ConsumerGroupHeartbeatRequest) -> MemberId {
    if request.member_id.is_empty() {
        // ids of topics are shown the same way
        Arc::from(TopicId(Uuid::from_u128(caller.call_id)).to_string())
    } else {
        Arc::from(request.member_id.as_str())
    }
}

fn find(state: &State, name: &str, joins: bool) -> Result<Found, Refusal> {
    let Some((number, group)) = state.group_by_name(name) else {
        return if joins {
            Ok(Found::Nothing)
        } else {
            Err(not_found(format!("Consumer group {name} not found.")))
        };
    };
    match &group.body {
        Body::Consumer(_) => Ok(Found::Consumer(number)),
        Body::Classic(_) if !joins => {
            Err(not_found(format!("Group {name} is not a consumer group.")))
        }
        Body::Classic(classic) if classic.members.is_empty() => {
            Ok(Found::EmptyClassic(number, classic.phase.generation))
        }
        Body::Classic(_) => Ok(Found::Classic(number)),
    }
}

/// Refuses a member that is one too many (`throwIfConsumerGroupIsFull`).
fn check_room(state: &State, found: &Found, id: &MemberId) -> Result<(), Refusal> {
    let number = match found {
        Found::Nothing => return Ok(()),
        Found::Consumer(number) | Found::EmptyClassic(number, _) | Found::Classic(number) => number,
    };
    let Some(group) = state.group(*number) else {
        return Ok(());
    };
    let known = match &group.body {
        Body::Classic(classic) => classic.members.contains_key(id),
        Body::Consumer(consumer) => consumer.members.contains_key(id),
    };
    let max = state.group_settings().consumer.members_max;
    if known || group.members() < max {
        return Ok(());
    }
    Err(Refusal::new(
        ResponseError::GroupMaxSizeReached,
        format!("The consumer group has reached its maximum capacity of {max} members."),
    ))
}

/// Which member the heartbeat is of (`getOrMaybeSubscribe{Dynamic,Static}ConsumerGroupMember`).
fn place(
    group: &ConsumerGroup,
    name: &str,
    id: &MemberId,
    request: &ConsumerGroupHeartbeatRequest,
    owned: Option<&TopicPartitions>,
) -> Result<Place, Refusal> {
    if request.member_epoch == 0 {
        return place_of_joining(group, id, request);
    }
    let entry = match request.instance_id.as_deref() {
        None => group
            .members
            .get(id)
            .ok_or_else(|| unknown_member(id, name))?,
        Some(instance) => static_member(group, id, instance)?,
    };
    check_epoch(entry, request.member_epoch, owned)?;
    Ok(Place {
        before: Some(entry.member.clone()),
        replaces: None,
    })
}

fn place_of_joining(
    group: &ConsumerGroup,
    id: &MemberId,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<Place, Refusal> {
    let instance = request.instance_id.as_deref();
    let earlier = instance.and_then(|instance| group.instances.get(instance));
    let Some(earlier) = earlier.and_then(|earlier| group.members.get(earlier)) else {
        let before = group.members.get(id).map(|entry| entry.member.clone());
        return Ok(Place {
            before,
            replaces: None,
        });
    };
    let other = earlier.member.id != *id;
    let left = earlier.current.epoch == LEAVES_FOR_A_WHILE;
    // A member that is there under the same id did not get the answer to its first request: it is let in,
    // where Kafka refuses it until its session ends.
    if other && earlier.member.classic.is_none() && !left {
        return Err(Refusal::new(
            ResponseError::UnreleasedInstanceId,
            format!(
                "Static member {id} with instance id {} cannot join the group because the instance id is \
                 owned by {} member.",
                instance.unwrap_or_default(),
                earlier.member.id
            ),
        ));
    }
    Ok(Place {
        before: Some(earlier.member.clone()),
        replaces: (other || left).then(|| Arc::clone(&earlier.member.id)),
    })
}

/// The static member that this is.
pub(super) fn static_member<'a>(
    group: &'a ConsumerGroup,
    id: &MemberId,
    instance: &str,
) -> Result<&'a ConsumerEntry, Refusal> {
    let owner = group.instances.get(instance);
    let owner = owner.and_then(|owner| group.members.get(owner));
    let owner = owner.ok_or_else(|| {
        let text = format!("Instance id {instance} is unknown.");
        Refusal::new(ResponseError::UnknownMemberId, text)
    })?;
    if owner.member.id == *id {
        return Ok(owner);
    }
    Err(Refusal::new(
        ResponseError::FencedInstanceId,
        format!(
            "Static member {id} with instance id {instance} was fenced by member {}.",
            owner.member.id
        ),
    ))
}

/// Checks the epoch of a member that does not join (`throwIfConsumerGroupMemberEpochIsInvalid`).
fn check_epoch(
    entry: &ConsumerEntry,
    received: i32,
    owned: Option<&TopicPartitions>,
) -> Result<(), Refusal> {
    let current = &entry.current;
    let relation = match received.cmp(&current.epoch) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Greater => "greater",
        std::cmp::Ordering::Less => {
            // the answer that had the new epoch may be lost
            let has_no_more = owned.is_some_and(|owned| owned.is_within(&current.assigned));
            if received == current.previous_epoch && has_no_more {
                return Ok(());
            }
            "smaller"
        }
    };
    Err(Refusal::new(
        ResponseError::FencedMemberEpoch,
        format!(
            "The consumer group member has a {relation} member epoch ({received}) than the one known by \
             the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            current.epoch
        ),
    ))
}

fn say(field: &mut Option<Arc<str>>, said: Option<&StrBytes>) {
    if let Some(said) = said {
        *field = Some(Arc::from(said.as_str()));
    }
}

fn answer(
    state: &State,
    number: GroupNumber,
    name: &str,
    id: &MemberId,
    with_assignment: bool,
) -> ConsumerGroupHeartbeatResponse {
    let group = state.group(number).and_then(|group| group.consumer());
    let entry = group.and_then(|group| group.members.get(id));
    let assignment = entry.filter(|_| with_assignment).map(|entry| {
        let topics = entry.current.assigned.topics().map(|(topic, partitions)| {
            AssignedTopic::default()
                .with_topic_id(topic.0)
                .with_partitions(partitions.iter().map(|index| index.0).collect())
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(StrBytes::from_string(id.to_string())))
        .with_member_epoch(entry.map_or(0, |entry| entry.current.epoch))
        .with_heartbeat_interval_ms(heartbeat_interval_ms(state, name))
        .with_assignment(assignment)
}

pub(super) fn not_found(text: String) -> Refusal {
    Refusal::new(ResponseError::GroupIdNotFound, text)
}

pub(super) fn unknown_member(id: &MemberId, group: &str) -> Refusal {
    Refusal::new(
        ResponseError::UnknownMemberId,
        format!("Member {id} is not a member of group {group}."),
    )
}
