//! Groups as raw requests: members of both protocols, committed offsets.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, DescribeGroupsRequest,
        GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        OffsetCommitRequest, OffsetFetchRequest, RequestHeader, SyncGroupRequest,
        consumer_group_heartbeat_request::TopicPartitions,
        describe_groups_response::DescribedGroup,
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::{Encodable, StrBytes},
};
use uuid::Uuid;

use crate::wire::{Connection, topic_name};

/// Error codes that members act upon.
pub mod code {
    /// OFFSET_METADATA_TOO_LARGE.
    pub const OFFSET_METADATA_TOO_LARGE: i16 = 12;
    /// ILLEGAL_GENERATION.
    pub const ILLEGAL_GENERATION: i16 = 22;
    /// INCONSISTENT_GROUP_PROTOCOL.
    pub const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
    /// INVALID_GROUP_ID.
    pub const INVALID_GROUP_ID: i16 = 24;
    /// UNKNOWN_MEMBER_ID.
    pub const UNKNOWN_MEMBER_ID: i16 = 25;
    /// INVALID_SESSION_TIMEOUT.
    pub const INVALID_SESSION_TIMEOUT: i16 = 26;
    /// REBALANCE_IN_PROGRESS.
    pub const REBALANCE_IN_PROGRESS: i16 = 27;
    /// NON_EMPTY_GROUP.
    pub const NON_EMPTY_GROUP: i16 = 68;
    /// GROUP_ID_NOT_FOUND.
    pub const GROUP_ID_NOT_FOUND: i16 = 69;
    /// MEMBER_ID_REQUIRED.
    pub const MEMBER_ID_REQUIRED: i16 = 79;
    /// FENCED_INSTANCE_ID.
    pub const FENCED_INSTANCE_ID: i16 = 82;
    /// FENCED_MEMBER_EPOCH.
    pub const FENCED_MEMBER_EPOCH: i16 = 110;
    /// UNRELEASED_INSTANCE_ID.
    pub const UNRELEASED_INSTANCE_ID: i16 = 111;
    /// UNSUPPORTED_ASSIGNOR.
    pub const UNSUPPORTED_ASSIGNOR: i16 = 112;
    /// STALE_MEMBER_EPOCH.
    pub const STALE_MEMBER_EPOCH: i16 = 113;
    /// INVALID_REGULAR_EXPRESSION.
    pub const INVALID_REGULAR_EXPRESSION: i16 = 128;
}

/// Text as the protocol crate has it.
#[must_use]
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A group's name as the protocol crate has it.
#[must_use]
pub fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Partitions by topic, as consumers of the classic protocol write them.
type ByTopic<'a> = &'a [(&'a str, &'a [i32])];

fn put_string(bytes: &mut BytesMut, text: &str) {
    bytes.put_i16(i16::try_from(text.len()).expect("a short text"));
    bytes.put_slice(text.as_bytes());
}

fn put_count(bytes: &mut BytesMut, count: usize) {
    bytes.put_i32(i32::try_from(count).expect("a short list"));
}

fn put_partitions(bytes: &mut BytesMut, partitions: ByTopic<'_>) {
    put_count(bytes, partitions.len());
    for (topic, indexes) in partitions {
        put_string(bytes, topic);
        put_count(bytes, indexes.len());
        indexes.iter().for_each(|index| bytes.put_i32(*index));
    }
}

/// What a consumer says of itself (`ConsumerProtocolSubscription` version 1).
#[must_use]
pub fn subscription(topics: &[&str], owned: ByTopic<'_>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    put_count(&mut bytes, topics.len());
    for topic in topics {
        put_string(&mut bytes, topic);
    }
    bytes.put_i32(-1);
    put_partitions(&mut bytes, owned);
    bytes.freeze()
}

/// What a consumer is given (`ConsumerProtocolAssignment` version 0).
#[must_use]
pub fn assignment(partitions: ByTopic<'_>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_partitions(&mut bytes, partitions);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Partitions of a `ConsumerProtocolAssignment`, of all topics together.
///
/// # Panics
/// If it is cut.
#[must_use]
pub fn assigned(mut bytes: Bytes) -> Vec<i32> {
    let mut found = Vec::new();
    if bytes.is_empty() {
        return found;
    }
    bytes.advance(2);
    for _ in 0..bytes.get_i32() {
        let name = usize::try_from(bytes.get_i16()).expect("a name");
        bytes.advance(name);
        for _ in 0..bytes.get_i32() {
            found.push(bytes.get_i32());
        }
    }
    found.sort_unstable();
    found
}

/// A member of the classic protocol.
#[derive(Clone, Debug)]
pub struct Classic {
    /// Its group.
    pub group: String,
    /// Its id; empty before it has one.
    pub id: String,
    /// `group.instance.id`.
    pub instance: Option<String>,
    /// Its generation; -1 before it has one.
    pub generation: i32,
    /// Session timeout.
    pub session_timeout_ms: i32,
    /// Rebalance timeout.
    pub rebalance_timeout_ms: i32,
    /// Protocol type.
    pub kind: String,
    /// Protocols, best first.
    pub protocols: Vec<(String, Bytes)>,
}

impl Classic {
    /// A consumer of `topic` with long timeouts, that has not joined.
    #[must_use]
    pub fn new(group: &str, topic: &str) -> Self {
        Self {
            group: group.to_owned(),
            id: String::new(),
            instance: None,
            generation: -1,
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 60_000,
            kind: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), subscription(&[topic], &[]))],
        }
    }

    /// The same with a `group.instance.id`.
    #[must_use]
    pub fn called(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    fn instance(&self) -> Option<StrBytes> {
        self.instance.as_deref().map(text)
    }

    /// Its JoinGroup; of versions below 5 it has no instance id.
    #[must_use]
    pub fn join(&self) -> JoinGroupRequest {
        let protocols = self.protocols.iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(metadata.clone())
        });
        JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(self.session_timeout_ms)
            .with_rebalance_timeout_ms(self.rebalance_timeout_ms)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance())
            .with_protocol_type(text(&self.kind))
            .with_protocols(protocols.collect())
    }

    /// Its SyncGroup, with the assignments that a leader makes. Its protocol is the first one; versions below 5 do not
    /// name it, later ones must.
    #[must_use]
    pub fn sync(&self, assignments: &[(String, Bytes)]) -> SyncGroupRequest {
        let assignments = assignments.iter().map(|(member, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(assignment.clone())
        });
        let protocol = self.protocols.first();
        SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance())
            .with_protocol_type(Some(text(&self.kind)))
            .with_protocol_name(protocol.map(|(name, _)| text(name)))
            .with_assignments(assignments.collect())
    }

    /// Its Heartbeat.
    #[must_use]
    pub fn heartbeat(&self) -> HeartbeatRequest {
        HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance())
    }

    /// Its LeaveGroup, for versions from 3 on.
    #[must_use]
    pub fn leave(&self) -> LeaveGroupRequest {
        let member = MemberIdentity::default()
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance());
        LeaveGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_members(vec![member])
    }

    /// Its OffsetCommit of one partition.
    #[must_use]
    pub fn commit(&self, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
        commit(
            &self.group,
            (&self.id, self.generation),
            topic,
            &[(partition, offset)],
        )
        .with_group_instance_id(self.instance())
    }

    /// Takes the id and the generation of an answer over.
    pub fn joined(&mut self, answer: &JoinGroupResponse) {
        self.id = answer.member_id.to_string();
        self.generation = answer.generation_id;
    }
}

/// A member of the consumer protocol (KIP-848).
#[derive(Clone, Debug)]
pub struct Modern {
    /// Its group.
    pub group: String,
    /// Its id, which it chooses.
    pub id: String,
    /// `group.instance.id`.
    pub instance: Option<String>,
    /// Its epoch; 0 to join.
    pub epoch: i32,
    /// Topics that it names.
    pub topics: Vec<String>,
    /// What it has, and says that it has.
    pub owned: BTreeSet<(Uuid, i32)>,
}

impl Modern {
    /// A consumer of `topic` that has not joined.
    #[must_use]
    pub fn new(group: &str, id: &str, topic: &str) -> Self {
        Self {
            group: group.to_owned(),
            id: id.to_owned(),
            instance: None,
            epoch: 0,
            topics: vec![topic.to_owned()],
            owned: BTreeSet::new(),
        }
    }

    /// A heartbeat that says everything.
    #[must_use]
    pub fn heartbeat(&self) -> ConsumerGroupHeartbeatRequest {
        let topics: BTreeSet<Uuid> = self.owned.iter().map(|(topic, _)| *topic).collect();
        let owned = topics.into_iter().map(|topic| {
            let of_topic = self.owned.iter().filter(|(of, _)| *of == topic);
            TopicPartitions::default()
                .with_topic_id(topic)
                .with_partitions(of_topic.map(|(_, index)| *index).collect())
        });
        self.beat()
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(self.topics.iter().map(|t| topic_name(t)).collect()))
            .with_topic_partitions(Some(owned.collect()))
    }

    /// A heartbeat that says nothing new.
    #[must_use]
    pub fn beat(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(text(&self.id))
            .with_member_epoch(self.epoch)
            .with_instance_id(self.instance.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None)
    }

    /// Takes the epoch and the assignment of an answer over.
    pub fn heard(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        self.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            let topics = assignment.topic_partitions.iter();
            self.owned = topics
                .flat_map(|t| t.partitions.iter().map(|index| (t.topic_id, *index)))
                .collect();
        }
    }

    /// Indexes of the partitions that it has.
    #[must_use]
    pub fn indexes(&self) -> Vec<i32> {
        self.owned.iter().map(|(_, index)| *index).collect()
    }
}

/// An OffsetCommit (versions 2 to 9) by a member with its generation or epoch; ("", -1) for none.
#[must_use]
pub fn commit(
    group: &str,
    (member, generation): (&str, i32),
    topic: &str,
    offsets: &[(i32, i64)],
) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("")))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.collect());
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![topic])
}

/// An OffsetFetch of one group (versions 8 and 9): some partitions of a topic, or everything.
#[must_use]
pub fn offset_fetch(group: &str, of: Option<(&str, &[i32])>) -> OffsetFetchRequest {
    let topics = of.map(|(topic, partitions)| {
        vec![
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions.to_vec()),
        ]
    });
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(topics);
    OffsetFetchRequest::default().with_groups(vec![group])
}

/// Version 10 of OffsetCommit as a whole frame, which names topics by id: (topic, partition, offset, metadata) each in
/// an element of its own.
#[must_use]
pub fn offset_commit_10(
    group: &str,
    (member, generation): (&str, i32),
    offsets: &[(Uuid, i32, i64, Option<&str>)],
) -> Bytes {
    let mut body = BytesMut::new();
    compact(&mut body, Some(group));
    body.put_i32(generation);
    compact(&mut body, Some(member));
    compact(&mut body, None);
    short_count(&mut body, offsets.len());
    for (topic, partition, offset, metadata) in offsets {
        body.put_slice(topic.as_bytes());
        short_count(&mut body, 1);
        body.put_i32(*partition);
        body.put_i64(*offset);
        body.put_i32(-1);
        compact(&mut body, *metadata);
        body.put_slice(&[0, 0]); // no tags, of the partition and of the topic
    }
    body.put_u8(0);
    frame(8, 10, &body)
}

/// Version 10 of OffsetFetch as a whole frame: partitions of topics by id; everything for None.
#[must_use]
pub fn offset_fetch_10(group: &str, of: Option<&[(Uuid, i32)]>) -> Bytes {
    let mut body = BytesMut::new();
    short_count(&mut body, 1);
    compact(&mut body, Some(group));
    compact(&mut body, None);
    body.put_i32(-1);
    match of {
        None => body.put_u8(0),
        Some(partitions) => {
            short_count(&mut body, partitions.len());
            for (topic, partition) in partitions {
                body.put_slice(topic.as_bytes());
                short_count(&mut body, 1);
                body.put_i32(*partition);
                body.put_u8(0);
            }
        }
    }
    body.put_slice(&[0, 0, 0]); // tags of the group, require_stable, tags
    frame(9, 10, &body)
}

/// A compact string of at most 126 bytes.
fn compact(bytes: &mut BytesMut, text: Option<&str>) {
    let Some(text) = text else {
        bytes.put_u8(0);
        return;
    };
    short_count(bytes, text.len());
    bytes.put_slice(text.as_bytes());
}

fn short_count(bytes: &mut BytesMut, count: usize) {
    assert!(count < 127, "{count} needs more than a byte");
    bytes.put_u8(u8::try_from(count + 1).expect("below 128"));
}

/// A frame with its length and a header of version 2.
fn frame(key: i16, version: i16, body: &[u8]) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("aquifer-tests")));
    let mut content = BytesMut::new();
    header.encode(&mut content, 2).expect("a header");
    content.put_slice(body);
    let mut frame = BytesMut::new();
    put_count(&mut frame, content.len());
    frame.put_slice(&content);
    frame.freeze()
}

impl Connection {
    /// Gets a member id for a member that has none (MEMBER_ID_REQUIRED); static members need none.
    ///
    /// # Panics
    /// If it gets another answer.
    pub fn member_id(&mut self, member: &mut Classic) {
        if member.id.is_empty() && member.instance.is_none() {
            let answer = self.call(9, &member.join());
            assert_eq!(answer.error_code, code::MEMBER_ID_REQUIRED, "{answer:?}");
            member.id = answer.member_id.to_string();
        }
    }

    /// Joins and syncs a member that is alone in its group, and gives it these partitions of a topic.
    ///
    /// # Panics
    /// If it does not get all of them.
    pub fn alone(&mut self, member: &mut Classic, topic: &str, partitions: &[i32]) {
        self.member_id(member);
        let answer = self.call(9, &member.join());
        assert_eq!(answer.error_code, 0, "{answer:?}");
        assert_eq!(answer.leader, answer.member_id, "it is alone");
        member.joined(&answer);
        let given = assignment(&[(topic, partitions)]);
        let answer = self.call(5, &member.sync(&[(member.id.clone(), given.clone())]));
        assert_eq!((answer.error_code, answer.assignment), (0, given));
    }

    /// Commits one offset; the error code of its partition.
    pub fn commit(&mut self, request: &OffsetCommitRequest) -> i16 {
        self.call(9, request).topics[0].partitions[0].error_code
    }

    /// What a group committed of a partition; -1 for nothing.
    ///
    /// # Panics
    /// If the broker answers with an error.
    pub fn committed(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        let request = offset_fetch(group, Some((topic, &[partition])));
        let answer = self.call(8, &request);
        let group = &answer.groups[0];
        let found = &group.topics[0].partitions[0];
        assert_eq!((group.error_code, found.error_code), (0, 0), "{answer:?}");
        found.committed_offset
    }

    /// A classic group as DescribeGroups has it.
    pub fn described(&mut self, group: &str) -> DescribedGroup {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        self.call(6, &request).groups.remove(0)
    }
}

/// Members, each with a connection, that get into one generation: all join, the leader shares `partitions` of `topic`
/// out in turn, and all sync. Returns what each got.
///
/// # Panics
/// If they do not.
pub fn settle(
    members: &mut [(Connection, Classic)],
    topic: &str,
    partitions: i32,
) -> Vec<Vec<i32>> {
    for (connection, member) in members.iter_mut() {
        connection.member_id(member);
    }
    let sent = members
        .iter_mut()
        .map(|(connection, member)| connection.send(9, &member.join()));
    let sent: Vec<i32> = sent.collect();
    let mut leader = String::new();
    for ((connection, member), sent) in members.iter_mut().zip(sent) {
        let answer = connection.receive::<JoinGroupRequest>(9, sent);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        member.joined(&answer);
        leader = answer.leader.to_string();
    }
    let generations: BTreeSet<i32> = members.iter().map(|(_, m)| m.generation).collect();
    assert_eq!(generations.len(), 1, "one generation: {generations:?}");
    let ids: Vec<String> = members.iter().map(|(_, m)| m.id.clone()).collect();
    let shares = share(&ids, topic, partitions);
    let sent = members.iter_mut().map(|(connection, member)| {
        let assignments: &[(String, Bytes)] = if member.id == leader { &shares } else { &[] };
        connection.send(5, &member.sync(assignments))
    });
    let sent: Vec<i32> = sent.collect();
    let mut got = Vec::new();
    for ((connection, _), sent) in members.iter_mut().zip(sent) {
        let answer = connection.receive::<SyncGroupRequest>(5, sent);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        got.push(assigned(answer.assignment));
    }
    got
}

/// Partitions 0 to `partitions`, each to one of the members in turn.
#[must_use]
pub fn share(members: &[String], topic: &str, partitions: i32) -> Vec<(String, Bytes)> {
    let count = i32::try_from(members.len()).expect("few members");
    let of = |place: i32| {
        let mine: Vec<i32> = (0..partitions).filter(|p| p % count == place).collect();
        assignment(&[(topic, mine.as_slice())])
    };
    (0..)
        .zip(members)
        .map(|(i, id)| (id.clone(), of(i)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_assigned_is_read() {
        let given = assignment(&[("a", &[4, 1]), ("b", &[0])]);
        assert_eq!(assigned(given), [0, 1, 4]);
        assert_eq!(assigned(Bytes::new()), [0; 0]);
        let shares = share(&["x".to_owned(), "y".to_owned()], "t", 3);
        let got: Vec<_> = shares.into_iter().map(|(_, s)| assigned(s)).collect();
        assert_eq!(got, [vec![0, 2], vec![1]]);
    }
}
