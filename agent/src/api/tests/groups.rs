//! Requests of groups in every version: what the leader is told, and what the client is answered.

use std::time::Duration;

use aquifer_format::ids::TopicId;
use aquifer_metadata_api::{
    fake::FAKE_START_UNIX_MILLIS,
    kafka::{KafkaCall, LeaderApi, tags},
};
use aquifer_store::Ports;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
    SyncGroupResponse, consumer_group_describe_response, describe_groups_response,
    join_group_request::JoinGroupRequestProtocol,
    leave_group_request::MemberIdentity,
    leave_group_response::MemberResponse,
    list_groups_response::ListedGroup,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    },
    offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
    },
};

use super::*;
use crate::testing::{
    groups::{self, GroupLeader, Outcome, answer, unavailable},
    patience, v10,
};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn group(text: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(text))
}

const TOPIC: TopicId = TopicId(Uuid::from_u128(77));

/// A client of an agent whose leader answers as `script` says.
async fn of(
    script: impl Fn(usize, &KafkaCall) -> Outcome + Send + Sync + 'static,
) -> (Client, std::sync::Arc<GroupLeader>) {
    let (broker, leader) = groups::broker(settings(), Ports::system(), script).await;
    (Client::connect(&broker), leader)
}

/// A leader that takes every commit, and answers as it is to: in the order of the request, with ids where the
/// request had them.
fn commits(_: usize, call: &KafkaCall) -> Outcome {
    let request: OffsetCommitRequest = groups::request(call);
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(28)
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
            .with_unknown_tagged_fields(topic.unknown_tagged_fields)
    });
    let response = OffsetCommitResponse::default().with_topics(topics.collect());
    answer(call.api, &response)
}

fn commit_request(version: i16) -> OffsetCommitRequest {
    let hostile = tags::TOPIC_ID;
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(3)
        .with_committed_offset(44)
        .with_committed_leader_epoch(if version >= 6 { 5 } else { -1 })
        .with_committed_metadata(Some(text("m")));
    let mut topic = OffsetCommitRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    // Clients cannot pass our own tags for theirs.
    tags::set_topic_id(&mut topic.unknown_tagged_fields, TOPIC);
    let request = OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(6)
        .with_member_id(text("me"))
        .with_unknown_tagged_field(hostile, bytes::Bytes::from_static(&[0; 16]))
        .with_topics(vec![topic]);
    let request = if version >= 7 {
        request.with_group_instance_id(Some(text("i")))
    } else {
        request
    };
    if (2..=4).contains(&version) {
        request.with_retention_time_ms(i64::from(version) * 1_000 - 3_000)
    } else {
        request
    }
}

#[tokio::test]
async fn commits_of_every_version_reach_the_leader_at_one() {
    let (mut client, leader) = of(commits).await;
    for version in versions_of(ApiKey::OffsetCommit) {
        let request = commit_request(version);
        let response: OffsetCommitResponse = if version >= 10 {
            let body = v10::offset_commit(&request);
            client.call_of(ApiKey::OffsetCommit, version, &body).await
        } else {
            client.call(ApiKey::OffsetCommit, version, &request).await
        };
        let told: OffsetCommitRequest = leader.last();
        let retention = match version {
            // below 0: as long as the broker says
            2 => None,
            3 => Some(0),
            4 => Some(1_000),
            _ => None,
        };
        let told_tags = &told.unknown_tagged_fields;
        assert_eq!(tags::retention_ms(told_tags), retention, "v{version}");
        assert_eq!(told_tags.len(), usize::from(retention.is_some()));
        assert_eq!(
            (told.group_id.as_str(), told.member_id.as_str()),
            ("g", "me")
        );
        assert_eq!(told.generation_id_or_member_epoch, 6);
        let instance = told.group_instance_id.as_deref();
        assert_eq!(instance, (version >= 7).then_some("i"));
        let topic = &told.topics[0];
        let by_id = (version >= 10).then_some(TOPIC);
        assert_eq!(tags::topic_id(&topic.unknown_tagged_fields), by_id);
        assert_eq!(topic.name.as_str(), if version >= 10 { "" } else { "t" });
        let partition = &topic.partitions[0];
        assert_eq!(
            (partition.partition_index, partition.committed_offset),
            (3, 44)
        );
        let epoch = if version >= 6 { 5 } else { -1 };
        assert_eq!(partition.committed_leader_epoch, epoch);
        assert_eq!(partition.committed_metadata.as_deref(), Some("m"));
        let answered = &response.topics[0];
        assert!(answered.unknown_tagged_fields.is_empty());
        assert_eq!(answered.name, topic.name);
        let id = if version >= 10 { TOPIC.0 } else { Uuid::nil() };
        assert_eq!(answered.topic_id, id, "v{version}");
        let partition = &answered.partitions[0];
        assert_eq!((partition.partition_index, partition.error_code), (3, 28));
    }
}

#[tokio::test]
async fn a_commit_that_is_refused_says_so_of_every_partition() {
    let (mut client, _leader) = of(|_, _| {
        Outcome::Fail(aquifer_metadata_api::MetadataError::Refused {
            reason: "no".to_owned(),
        })
    })
    .await;
    for version in versions_of(ApiKey::OffsetCommit) {
        let request = commit_request(version);
        let response: OffsetCommitResponse = if version >= 10 {
            let body = v10::offset_commit(&request);
            client.call_of(ApiKey::OffsetCommit, version, &body).await
        } else {
            client.call(ApiKey::OffsetCommit, version, &request).await
        };
        let topic = &response.topics[0];
        assert_eq!(topic.topic_id.is_nil(), version < 10);
        assert_eq!(topic.partitions[0].partition_index, 3);
        assert_eq!(topic.partitions[0].error_code, -1, "v{version}");
    }
}

/// A leader that knows offset 9 of every partition that is asked for, and of partition 1 of one topic where all
/// are asked for; the group `bad` has an error.
fn offsets(_: usize, call: &KafkaCall) -> Outcome {
    let request: OffsetFetchRequest = groups::request(call);
    let groups = request.groups.into_iter().map(|group| {
        let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
        if group.group_id.as_str() == "bad" {
            return response.with_error_code(25);
        }
        let all = || {
            let mut topic = OffsetFetchRequestTopics::default()
                .with_name(name("t"))
                .with_partition_indexes(vec![1]);
            tags::set_topic_id(&mut topic.unknown_tagged_fields, TOPIC);
            vec![topic]
        };
        let topics = group.topics.unwrap_or_else(all).into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(*index)
                    .with_committed_offset(9)
                    .with_committed_leader_epoch(4)
                    .with_metadata(Some(text("m")))
            });
            let mut tags = tags::Tags::new();
            tags::set_topic_id(&mut tags, TOPIC);
            OffsetFetchResponseTopics::default()
                .with_name(topic.name)
                .with_partitions(partitions.collect())
                .with_unknown_tagged_fields(tags)
        });
        response.with_topics(topics.collect())
    });
    let response = OffsetFetchResponse::default().with_groups(groups.collect());
    answer(call.api, &response)
}

/// Asks for partition 1 of a topic, or for all that is committed.
fn fetch_request(version: i16, of: &'static str, all: bool) -> OffsetFetchRequest {
    if version < 8 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(name("t"))
            .with_partition_indexes(vec![1]);
        return OffsetFetchRequest::default()
            .with_group_id(group(of))
            .with_topics((!all).then(|| vec![topic]))
            .with_require_stable(version >= 7);
    }
    let mut topic = OffsetFetchRequestTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![1]);
    tags::set_topic_id(&mut topic.unknown_tagged_fields, TOPIC);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(of))
        .with_member_epoch(if version >= 9 { 8 } else { -1 })
        .with_member_id((version >= 9).then(|| text("me")))
        .with_topics((!all).then(|| vec![topic]));
    OffsetFetchRequest::default()
        .with_groups(vec![asked])
        .with_require_stable(true)
}

#[tokio::test]
async fn offsets_are_fetched_in_every_version() {
    let (mut client, leader) = of(offsets).await;
    for version in versions_of(ApiKey::OffsetFetch) {
        for (of, all) in [("g", false), ("g", true), ("bad", false)] {
            if all && version < 2 {
                continue;
            }
            let request = fetch_request(version, of, all);
            let response: OffsetFetchResponse = if version >= 10 {
                let body = v10::offset_fetch(&request);
                client.call_of(ApiKey::OffsetFetch, version, &body).await
            } else {
                client.call(ApiKey::OffsetFetch, version, &request).await
            };
            let told: OffsetFetchRequest = leader.last();
            assert_eq!(told.require_stable, version >= 7);
            let asked = &told.groups[0];
            assert_eq!(asked.group_id.as_str(), of);
            assert_eq!(asked.member_id.as_deref(), (version >= 9).then_some("me"));
            assert_eq!(asked.member_epoch, if version >= 9 { 8 } else { -1 });
            assert_eq!(asked.topics.is_none(), all, "v{version}");
            for topic in asked.topics.iter().flatten() {
                let by_id = (version >= 10).then_some(TOPIC);
                assert_eq!(tags::topic_id(&topic.unknown_tagged_fields), by_id);
                assert_eq!(topic.name.is_empty(), version >= 10);
                assert_eq!(topic.partition_indexes, [1]);
            }
            check_offsets(&response, version, of == "bad");
        }
    }
}

fn check_offsets(response: &OffsetFetchResponse, version: i16, bad: bool) {
    if version >= 8 {
        let group = &response.groups[0];
        assert_eq!(group.error_code, if bad { 25 } else { 0 });
        assert_eq!(group.topics.is_empty(), bad);
        for topic in &group.topics {
            assert!(topic.unknown_tagged_fields.is_empty());
            assert_eq!(topic.topic_id.is_nil(), version < 10);
            assert_eq!(topic.name.is_empty(), version >= 10);
            let partition = &topic.partitions[0];
            assert_eq!((partition.committed_offset, partition.error_code), (9, 0));
            assert_eq!(partition.committed_leader_epoch, 4);
        }
        return;
    }
    let top = if bad && version >= 2 { 25 } else { 0 };
    assert_eq!(response.error_code, top, "v{version}");
    if bad && version >= 2 {
        assert!(response.topics.is_empty());
        return;
    }
    let topic = &response.topics[0];
    assert_eq!(topic.name.as_str(), "t");
    let partition = &topic.partitions[0];
    let offset = if bad { (-1, 25) } else { (9, 0) };
    assert_eq!((partition.committed_offset, partition.error_code), offset);
    let epoch = if version >= 5 { 4 } else { -1 };
    assert_eq!(partition.committed_leader_epoch, epoch);
    assert_eq!(
        partition.metadata.as_deref(),
        Some(if bad { "" } else { "m" })
    );
}

#[tokio::test]
async fn members_join_in_every_version() {
    let (mut client, leader) = of(|n, call| {
        let joined = JoinGroupResponse::default()
            .with_generation_id(3)
            .with_member_id(text("me"))
            .with_leader(text("me"))
            .with_skip_assignment(true);
        let joined = if n % 2 == 0 {
            let kind = Some(text("consumer"));
            joined
                .with_protocol_type(kind)
                .with_protocol_name(Some(text("range")))
        } else {
            joined.with_error_code(25).with_protocol_name(None)
        };
        answer(call.api, &joined)
    })
    .await;
    for version in versions_of(ApiKey::JoinGroup) {
        let request = JoinGroupRequest::default()
            .with_group_id(group("g"))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(20_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![
                JoinGroupRequestProtocol::default().with_name(text("range")),
            ]);
        for good in [true, false] {
            let response: JoinGroupResponse =
                client.call(ApiKey::JoinGroup, version, &request).await;
            let told: JoinGroupRequest = leader.last();
            let rebalance = if version == 0 { 10_000 } else { 20_000 };
            assert_eq!(told.rebalance_timeout_ms, rebalance, "v{version}");
            let call = leader.calls().pop().expect("it was called");
            assert_eq!(call.envelope.client_api_version, version);
            let patience = u32::try_from(rebalance).unwrap() + 4_000;
            assert!(call.envelope.deadline_ms.abs_diff(patience) < 1_000);
            assert_eq!(response.generation_id, 3);
            assert_eq!(response.skip_assignment, version >= 9);
            let kind = (good && version >= 7).then_some("consumer");
            assert_eq!(response.protocol_type.as_deref(), kind, "v{version}");
            let protocol = match (good, version) {
                (true, _) => Some("range"),
                (false, 0..=6) => Some(""),
                (false, _) => None,
            };
            assert_eq!(response.protocol_name.as_deref(), protocol, "v{version}");
        }
    }
}

#[tokio::test]
async fn members_sync_in_every_version() {
    let (mut client, leader) = of(|_, call| {
        let synced = SyncGroupResponse::default()
            .with_protocol_type(Some(text("consumer")))
            .with_assignment(bytes::Bytes::from_static(b"all"));
        answer(call.api, &synced)
    })
    .await;
    for version in versions_of(ApiKey::SyncGroup) {
        let calls = leader.calls().len();
        let mut request = SyncGroupRequest::default().with_group_id(group("g"));
        if version >= 5 {
            let nameless: SyncGroupResponse =
                client.call(ApiKey::SyncGroup, version, &request).await;
            assert_eq!((nameless.error_code, leader.calls().len()), (23, calls));
            request = request
                .with_protocol_type(Some(text("consumer")))
                .with_protocol_name(Some(text("range")));
        }
        let response: SyncGroupResponse = client.call(ApiKey::SyncGroup, version, &request).await;
        assert_eq!(&response.assignment[..], b"all");
        let told: SyncGroupRequest = leader.last();
        assert_eq!(told.protocol_name.is_some(), version >= 5);
    }
}

#[tokio::test]
async fn members_leave_in_every_version() {
    let (mut client, leader) = of(|_, call| {
        let request: LeaveGroupRequest = groups::request(call);
        if request.group_id.as_str() == "bad" {
            return answer(call.api, &LeaveGroupResponse::default().with_error_code(24));
        }
        let members = request.members.into_iter().map(|member| {
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_error_code(25)
        });
        let left = LeaveGroupResponse::default().with_members(members.collect());
        answer(call.api, &left)
    })
    .await;
    for version in versions_of(ApiKey::LeaveGroup) {
        for of in ["g", "bad"] {
            let request = LeaveGroupRequest::default().with_group_id(group(of));
            let request = if version < 3 {
                request.with_member_id(text("me"))
            } else {
                request.with_members(vec![MemberIdentity::default().with_member_id(text("me"))])
            };
            let response: LeaveGroupResponse =
                client.call(ApiKey::LeaveGroup, version, &request).await;
            let told: LeaveGroupRequest = leader.last();
            assert_eq!(told.members.len(), 1);
            assert_eq!(told.members[0].member_id.as_str(), "me");
            let (top, of_member) = match (of, version) {
                ("bad", _) => (24, None),
                (_, 0..=2) => (25, None),
                _ => (0, Some(25)),
            };
            assert_eq!(response.error_code, top, "v{version}");
            let member = response.members.first().map(|member| member.error_code);
            assert_eq!(member, of_member, "v{version}");
        }
    }
}

#[tokio::test]
async fn groups_are_described_in_every_version() {
    let (mut client, _leader) = of(|_, call| match call.api {
        LeaderApi::DescribeGroups => {
            use describe_groups_response::DescribedGroup;
            let good = DescribedGroup::default().with_group_id(group("g"));
            let absent = DescribedGroup::default()
                .with_error_code(69)
                .with_error_message(Some(text("no such group")));
            let groups = vec![good, absent];
            answer(
                call.api,
                &DescribeGroupsResponse::default().with_groups(groups),
            )
        }
        _ => {
            use consumer_group_describe_response::DescribedGroup;
            let good = DescribedGroup::default().with_group_id(group("g"));
            let absent = DescribedGroup::default().with_error_code(69);
            let groups = vec![good, absent];
            let described = ConsumerGroupDescribeResponse::default().with_groups(groups);
            answer(call.api, &described)
        }
    })
    .await;
    let operations = |asked: bool| if asked { 3_400 } else { i32::MIN };
    for version in versions_of(ApiKey::DescribeGroups) {
        for asked in [false, version >= 3] {
            let request =
                DescribeGroupsRequest::default().with_include_authorized_operations(asked);
            let response: DescribeGroupsResponse =
                client.call(ApiKey::DescribeGroups, version, &request).await;
            let told: Vec<_> = response
                .groups
                .iter()
                .map(|g| {
                    (
                        g.error_code,
                        g.authorized_operations,
                        g.error_message.is_some(),
                    )
                })
                .collect();
            // Up to version 5 such a group is Dead, which is no error.
            let absent = if version >= 6 {
                (69, i32::MIN, true)
            } else {
                (0, operations(asked), false)
            };
            let expected = [(0, operations(asked), false), absent];
            assert_eq!(told, expected, "v{version}");
        }
    }
    for version in versions_of(ApiKey::ConsumerGroupDescribe) {
        for asked in [false, true] {
            let request =
                ConsumerGroupDescribeRequest::default().with_include_authorized_operations(asked);
            let api = ApiKey::ConsumerGroupDescribe;
            let response: ConsumerGroupDescribeResponse = client.call(api, version, &request).await;
            let told: Vec<_> = response
                .groups
                .iter()
                .map(|g| (g.error_code, g.authorized_operations))
                .collect();
            assert_eq!(told, [(0, operations(asked)), (69, i32::MIN)]);
        }
    }
}

#[tokio::test]
async fn groups_are_listed_by_the_controller_alone() {
    let mut settings = settings();
    settings.address.node_ids = 2;
    let (broker, leader) = groups::broker(settings, Ports::system(), |_, call| {
        let listed = ListedGroup::default()
            .with_group_id(group("g"))
            .with_group_state(text("Stable"))
            .with_group_type(text("classic"));
        answer(
            call.api,
            &ListGroupsResponse::default().with_groups(vec![listed]),
        )
    })
    .await;
    let mut at_controller = Client::connect(&broker);
    for version in versions_of(ApiKey::ListGroups) {
        let request = ListGroupsRequest::default();
        let response: ListGroupsResponse = at_controller
            .call(ApiKey::ListGroups, version, &request)
            .await;
        let listed = &response.groups[0];
        assert_eq!(listed.group_id.as_str(), "g");
        assert_eq!(listed.group_state.is_empty(), version < 4);
        assert_eq!(listed.group_type.is_empty(), version < 5);
    }
    let calls = leader.calls().len();
    // While it must not be named it is no controller.
    broker.fence.drain();
    let request = ListGroupsRequest::default();
    let response: ListGroupsResponse = at_controller.call(ApiKey::ListGroups, 5, &request).await;
    assert_eq!((response.error_code, response.groups.len()), (0, 0));
    assert_eq!(leader.calls().len(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_away_costs_no_client_its_group() {
    let ports = Ports::simulated(5, FAKE_START_UNIX_MILLIS);
    let script = |_: usize, _: &KafkaCall| Outcome::Fail(unavailable(false));
    let (broker, _leader) = groups::broker(settings(), ports, script).await;
    let mut client = Client::connect(&broker);
    let request = HeartbeatRequest::default();
    let beat: HeartbeatResponse = client.call(ApiKey::Heartbeat, 4, &request).await;
    let request = ConsumerGroupHeartbeatRequest::default();
    let api = ApiKey::ConsumerGroupHeartbeat;
    let told: ConsumerGroupHeartbeatResponse = client.call(api, 1, &request).await;
    let request = JoinGroupRequest::default()
        .with_rebalance_timeout_ms(1_000)
        .with_member_id(text("me"));
    let joined: JoinGroupResponse = client.call(ApiKey::JoinGroup, 9, &request).await;
    let request = LeaveGroupRequest::default();
    let left: LeaveGroupResponse = client.call(ApiKey::LeaveGroup, 5, &request).await;
    let codes = [
        beat.error_code,
        told.error_code,
        joined.error_code,
        left.error_code,
    ];
    assert_eq!(codes, [0, 14, 14, 16]);
    assert!(told.error_message.is_some_and(|text| !text.is_empty()));
    assert_eq!(joined.protocol_name, None);
    assert_eq!(joined.member_id.as_str(), "me");
}

#[tokio::test]
async fn groups_and_offsets_are_deleted() {
    let (mut client, leader) = of(|_, call| match call.api {
        LeaderApi::DeleteGroups => answer(call.api, &DeleteGroupsResponse::default()),
        _ => answer(
            call.api,
            &OffsetDeleteResponse::default().with_error_code(69),
        ),
    })
    .await;
    for version in versions_of(ApiKey::DeleteGroups) {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group("g")]);
        let response: DeleteGroupsResponse =
            client.call(ApiKey::DeleteGroups, version, &request).await;
        assert!(response.results.is_empty());
        let told: DeleteGroupsRequest = leader.last();
        assert_eq!(told.groups_names, [group("g")]);
    }
    let request = OffsetDeleteRequest::default().with_group_id(group("g"));
    let response: OffsetDeleteResponse = client.call(ApiKey::OffsetDelete, 0, &request).await;
    assert_eq!(response.error_code, 69);
}

/// However long the leader takes for each, what is sent first happens first.
#[tokio::test(start_paused = true)]
async fn commits_of_a_connection_keep_their_order() {
    const COMMITS: usize = 100;
    let ports = Ports::simulated(11, FAKE_START_UNIX_MILLIS);
    let rand = std::sync::Arc::clone(&ports.rand);
    let (broker, leader) = groups::broker(settings(), ports, move |_, call| {
        let delay = Duration::from_millis(rand.next_u64() % 50);
        match call.api {
            LeaderApi::OffsetCommit => match commits(0, call) {
                Outcome::Answer(body) => Outcome::After(delay, body),
                other => other,
            },
            api => Outcome::After(delay, groups::encoded(api, &LeaveGroupResponse::default())),
        }
    })
    .await;
    let mut client = Client::connect(&broker);
    let mut sent = Vec::new();
    for n in 0..COMMITS {
        let mut request = commit_request(9);
        let n = i64::try_from(n).unwrap();
        request.topics[0].partitions[0].committed_offset = n;
        sent.push(client.send(ApiKey::OffsetCommit, 9, &request).await);
    }
    let leave = LeaveGroupRequest::default();
    let left = client.send(ApiKey::LeaveGroup, 5, &leave).await;
    for id in sent {
        let api = ApiKey::OffsetCommit;
        let (answered, _) = client.receive::<OffsetCommitResponse>(api, 9).await;
        assert_eq!(answered, id);
    }
    let api = ApiKey::LeaveGroup;
    let (answered, _) = client.receive::<LeaveGroupResponse>(api, 5).await;
    assert_eq!(answered, left);
    let calls = leader.calls();
    let offsets = calls[..COMMITS].iter().map(|call| {
        let request: OffsetCommitRequest = groups::request(call);
        request.topics[0].partitions[0].committed_offset
    });
    let expected: Vec<_> = (0..i64::try_from(COMMITS).unwrap()).collect();
    assert_eq!(offsets.collect::<Vec<_>>(), expected);
    assert_eq!(calls[COMMITS].api, LeaderApi::LeaveGroup);
}

#[tokio::test]
async fn a_member_that_waits_holds_up_neither_producers_nor_a_drain() {
    let (broker, leader) = groups::broker(settings(), Ports::system(), |_, call| {
        if call.api == LeaderApi::JoinGroup {
            Outcome::Never
        } else {
            answer(call.api, &HeartbeatResponse::default())
        }
    })
    .await;
    let mut client = Client::connect(&broker);
    let join = JoinGroupRequest::default().with_rebalance_timeout_ms(60_000);
    client.send(ApiKey::JoinGroup, 9, &join).await;
    // Not dispatched before the member has joined, which it never does.
    client
        .send(ApiKey::Heartbeat, 4, &HeartbeatRequest::default())
        .await;
    let joined = async {
        while leader.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    patience(joined).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let calls = leader.calls();
    assert!(calls.iter().all(|call| call.api == LeaderApi::JoinGroup));
    assert_eq!(calls.len(), 1);
    let mut other = Client::connect(&broker);
    other.send(ApiKey::JoinGroup, 9, &join).await;
    let joined = async {
        while leader.calls().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    patience(joined).await;
    // A client that goes is noticed though its member waits.
    drop(other);
    let gone = async {
        while broker.open_connections() > 1 {
            tokio::task::yield_now().await;
        }
    };
    patience(gone).await;
    let places = crate::group_calls::WAITING_MAX;
    assert_eq!(broker.waiting_calls().available_permits(), places - 1);
    let mut last = Client::connect(&broker);
    last.send(ApiKey::JoinGroup, 9, &join).await;
    let joined = async {
        while leader.calls().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    patience(joined).await;
    patience(broker.drain()).await;
    assert!(last.is_closed().await && client.is_closed().await);
}
