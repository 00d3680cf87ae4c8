//! Clients of classic groups on the bed.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerProtocolSubscription, DescribeGroupsRequest, GroupId, HeartbeatRequest,
        JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest,
        SyncGroupRequest, describe_groups_response::DescribedGroup,
        join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
        list_groups_response::ListedGroup, sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::{Encodable, StrBytes},
};

use super::bed::{Bed, Waiter, caller};
use crate::{
    coordinator::{Answer, Ledger},
    event::{Event, group::GroupNumber},
};

/// A JoinGroup to be sent: by default version 9 of a dynamic consumer with `range`.
#[derive(Clone)]
pub(super) struct Join {
    request: JoinGroupRequest,
    version: i16,
    client: String,
}

impl Join {
    pub(super) fn new(group: &str) -> Self {
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(group))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(60_000)
            .with_protocol_type(text("consumer"));
        let join = Self {
            request,
            version: 9,
            client: "test".to_owned(),
        };
        join.protocols(&["range"])
    }

    pub(super) fn version(mut self, version: i16) -> Self {
        self.version = version;
        self
    }

    pub(super) fn client(mut self, client: &str) -> Self {
        self.client = client.to_owned();
        self
    }

    pub(super) fn member(mut self, id: &str) -> Self {
        self.request.member_id = text(id);
        self
    }

    pub(super) fn instance(mut self, instance: &str) -> Self {
        self.request.group_instance_id = Some(text(instance));
        self
    }

    pub(super) fn kind(mut self, kind: &str) -> Self {
        self.request.protocol_type = text(kind);
        self
    }

    pub(super) fn session(mut self, millis: i32) -> Self {
        self.request.session_timeout_ms = millis;
        self
    }

    pub(super) fn rebalance(mut self, millis: i32) -> Self {
        self.request.rebalance_timeout_ms = millis;
        self
    }

    /// Protocols in which the member says that it subscribes to "t".
    pub(super) fn protocols(self, names: &[&str]) -> Self {
        let names: Vec<_> = names
            .iter()
            .map(|name| (*name, subscription(&["t"])))
            .collect();
        self.says(&names)
    }

    pub(super) fn says(mut self, protocols: &[(&str, Bytes)]) -> Self {
        let protocols = protocols.iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(metadata.clone())
        });
        self.request.protocols = protocols.collect();
        self
    }
}

/// A subscription of version 1 without partitions.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let message = ConsumerProtocolSubscription::default().with_topics(strings(topics));
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    message.encode(&mut bytes, 1).unwrap();
    bytes.freeze()
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn strings(all: &[&str]) -> Vec<StrBytes> {
    all.iter().map(|one| text(one)).collect()
}

pub(super) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

fn sync_request(
    group: &str,
    id: &str,
    generation: i32,
    assignments: &[(&str, Bytes)],
) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(assignment.clone())
    });
    SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(text(id))
        .with_generation_id(generation)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assignments.collect())
}

/// Clients, and what they were answered.
pub(super) struct Play {
    pub(super) bed: Bed,
    calls: Waiter,
    configs: BTreeMap<String, String>,
}

impl Play {
    pub(super) fn new() -> Self {
        Self {
            bed: Bed::new(),
            calls: 0,
            configs: BTreeMap::new(),
        }
    }

    /// Sets a config of all brokers.
    pub(super) fn configure(&mut self, name: &str, value: &str) {
        self.configs.insert(name.to_owned(), value.to_owned());
        let configs = self.configs.clone();
        self.bed.ledger.apply(Event::BrokerConfigsSet { configs });
    }

    fn next(&mut self) -> Waiter {
        self.calls += 1;
        self.calls
    }

    /// Takes what was answered by a call that was made directly.
    pub(super) fn take_answers(&mut self) {
        let answers = self.bed.coordinator.take_answers();
        self.bed.answered.extend(answers);
    }

    /// Sends a call of its own.
    pub(super) fn join(&mut self, join: &Join) -> Waiter {
        let call_id = (1u128 << 64) + u128::from(self.calls);
        self.join_by(join, call_id)
    }

    /// Sends the call of that id, perhaps again.
    pub(super) fn join_by(&mut self, join: &Join, call_id: u128) -> Waiter {
        let waiter = self.next();
        let mut caller = caller(join.version, call_id);
        caller.client_id = Arc::from(join.client.as_str());
        let (bed, request) = (&mut self.bed, join.request.clone());
        bed.coordinator
            .join(&mut bed.ledger, bed.at, &caller, request, waiter);
        self.take_answers();
        waiter
    }

    pub(super) fn sync(
        &mut self,
        group: &str,
        id: &str,
        generation: i32,
        assignments: &[(&str, &str)],
    ) -> Waiter {
        self.sync_as(group, id, None, generation, assignments)
    }

    pub(super) fn sync_as(
        &mut self,
        group: &str,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        assignments: &[(&str, &str)],
    ) -> Waiter {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let assignments = assignments.iter();
        let assignments: Vec<_> = assignments.map(|(id, text)| (*id, bytes(text))).collect();
        let request = sync_request(group, id, generation, &assignments);
        self.sync_request(5, request.with_group_instance_id(instance.map(text)))
    }

    pub(super) fn sync_bytes(
        &mut self,
        group: &str,
        id: &str,
        generation: i32,
        assignments: &[(&str, Bytes)],
    ) -> Waiter {
        self.sync_request(5, sync_request(group, id, generation, assignments))
    }

    pub(super) fn sync_request(&mut self, version: i16, request: SyncGroupRequest) -> Waiter {
        let waiter = self.next();
        let caller = caller(version, (1u128 << 65) + u128::from(waiter));
        let bed = &mut self.bed;
        bed.coordinator
            .sync(&mut bed.ledger, bed.at, &caller, request, waiter);
        self.take_answers();
        waiter
    }

    pub(super) fn heartbeat(&mut self, group: &str, id: &str, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(text(id))
            .with_generation_id(generation);
        self.heartbeat_request(&request)
    }

    pub(super) fn heartbeat_request(&mut self, request: &HeartbeatRequest) -> i16 {
        let bed = &mut self.bed;
        let answer = bed.coordinator.heartbeat(&mut bed.ledger, bed.at, request);
        answer.error_code
    }

    /// The codes of those that leave: id and instance.
    pub(super) fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let members = members.iter().map(|(id, instance)| {
            MemberIdentity::default()
                .with_member_id(text(id))
                .with_group_instance_id(instance.map(text))
        });
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(group))
            .with_members(members.collect());
        let bed = &mut self.bed;
        let caller = caller(5, 1);
        let answer = bed
            .coordinator
            .leave(&mut bed.ledger, bed.at, &caller, &request);
        self.take_answers();
        assert_eq!(answer.error_code, 0);
        let members = request.members.iter().zip(&answer.members);
        let codes = members.map(|(asked, answered)| {
            assert_eq!(asked.member_id, answered.member_id);
            assert_eq!(asked.group_instance_id, answered.group_instance_id);
            answered.error_code
        });
        codes.collect()
    }

    /// The code of a LeaveGroup of nobody.
    pub(super) fn leave_code(&mut self, group: &str) -> i16 {
        let request = LeaveGroupRequest::default().with_group_id(group_id(group));
        let bed = &mut self.bed;
        let caller = caller(5, 1);
        let answer = bed
            .coordinator
            .leave(&mut bed.ledger, bed.at, &caller, &request);
        answer.error_code
    }

    pub(super) fn describe(&self, groups: &[&str]) -> Vec<DescribedGroup> {
        let groups = groups.iter().map(|name| group_id(name));
        let request = DescribeGroupsRequest::default().with_groups(groups.collect());
        let answer = self
            .bed
            .coordinator
            .describe(&self.bed.ledger.state, &request);
        answer.groups
    }

    pub(super) fn list(&self, states: Vec<StrBytes>, types: Vec<StrBytes>) -> Vec<ListedGroup> {
        let request = ListGroupsRequest::default()
            .with_states_filter(states)
            .with_types_filter(types);
        let answer = self.bed.coordinator.list(&self.bed.ledger.state, &request);
        answer.groups
    }

    /// Whether the call was not answered yet.
    pub(super) fn waits(&self, call: Waiter) -> bool {
        self.answer(call).is_none()
    }

    fn answer(&self, call: Waiter) -> Option<&Answer> {
        let mut answers = self.bed.answered.iter().filter(|(to, _)| *to == call);
        let answer = answers.next().map(|(_, answer)| answer);
        assert!(answers.next().is_none(), "a call is answered once");
        answer
    }

    /// What a JoinGroup was answered.
    pub(super) fn joined(&self, call: Waiter) -> JoinGroupResponse {
        match self.answer(call) {
            Some(Answer::Join(response)) => response.clone(),
            other => panic!("the join waits, or is none: {other:?}"),
        }
    }

    /// The code and the assignment that a SyncGroup was answered.
    pub(super) fn synced(&self, call: Waiter) -> (i16, Vec<u8>) {
        match self.answer(call) {
            Some(Answer::Sync(response)) => (response.error_code, response.assignment.to_vec()),
            other => panic!("the sync waits, or is none: {other:?}"),
        }
    }

    pub(super) fn number(&self, group: &str) -> GroupNumber {
        let (number, _) = self.bed.ledger.state.group_by_name(group).unwrap();
        number
    }

    /// The state of a classic group.
    pub(super) fn state(&self, group: &str) -> &'static str {
        let (_, group) = self.bed.ledger.state.group_by_name(group).unwrap();
        group.classic().unwrap().phase.state.name()
    }

    /// The generation of a classic group.
    pub(super) fn generation(&self, group: &str) -> i32 {
        let (_, group) = self.bed.ledger.state.group_by_name(group).unwrap();
        group.classic().unwrap().phase.generation
    }
}

/// Members by number, all in the first generation of "g", the first one its leader.
pub(super) fn stable(count: usize) -> (Play, Vec<String>) {
    let mut play = Play::new();
    let mut ids = Vec::new();
    let mut calls = Vec::new();
    for number in 0..count {
        // old versions are in the group with their first call, and ids go by the client's id
        let join = Join::new("g").version(3).client(&format!("c{number:03}"));
        calls.push(play.join(&join));
    }
    play.bed.pass(if count > 1 { 6_000 } else { 3_000 });
    for call in calls {
        ids.push(play.joined(call).member_id.to_string());
    }
    let all: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
    let generation = play.generation("g");
    for id in ids.iter().skip(1) {
        play.sync("g", id, generation, &[]);
    }
    play.sync("g", &ids[0], generation, &all);
    assert_eq!(play.state("g"), "Stable");
    (play, ids)
}
