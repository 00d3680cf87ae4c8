//! Requests of groups, as the crate encodes them; version 10 of those of offsets, which it cannot, by hand.

use aquifer_format::ids::TopicId;
use aquifer_metadata_api::kafka::tags::set_topic_id;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
    DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
    consumer_group_heartbeat_request as consumer, join_group_request as join,
    leave_group_request as leave, offset_commit_request as commit, offset_delete_request as delete,
    offset_fetch_request as fetch, sync_group_request as sync,
};

use super::{
    ApiKey, BTreeMap, BoxedStrategy, Bytes, Just, StrBytes, Strategy, any, decode_as, encoded,
    long_text, option, tags, text, topic, uuid, vec,
};
use crate::{
    api::{Close, compact::Compact, offset_commit, offset_fetch},
    testing::v10,
};

/// First version of OffsetCommit and OffsetFetch that the crate cannot encode.
const BY_ID: i16 = 10;

/// A body of the API at the version; None = it is none of these.
pub(super) fn body(api: ApiKey, version: i16) -> Option<BoxedStrategy<Vec<u8>>> {
    Some(match api {
        ApiKey::OffsetCommit => offset_commit(version),
        ApiKey::OffsetFetch => offset_fetch(version),
        ApiKey::JoinGroup => join_group(version),
        ApiKey::SyncGroup => sync_group(version),
        ApiKey::LeaveGroup => leave_group(version),
        ApiKey::OffsetDelete => offset_delete(version),
        ApiKey::ConsumerGroupHeartbeat => consumer_group_heartbeat(version),
        ApiKey::Heartbeat
        | ApiKey::DescribeGroups
        | ApiKey::DeleteGroups
        | ApiKey::ConsumerGroupDescribe => of_names(api, version),
        _ => return None,
    })
}

/// Decodes as a handler does; None = it is none of these APIs.
pub(super) fn decode(api: ApiKey, version: i16, bytes: &[u8]) -> Option<Result<usize, String>> {
    Some(match api {
        ApiKey::OffsetCommit if version >= BY_ID => {
            by_hand(bytes, |body| offset_commit::v10::decode(body).map(drop))
        }
        ApiKey::OffsetFetch if version >= BY_ID => {
            by_hand(bytes, |body| offset_fetch::v10::decode(body).map(drop))
        }
        ApiKey::OffsetCommit => decode_as::<OffsetCommitRequest>(bytes, version),
        ApiKey::OffsetFetch => decode_as::<OffsetFetchRequest>(bytes, version),
        ApiKey::JoinGroup => decode_as::<JoinGroupRequest>(bytes, version),
        ApiKey::SyncGroup => decode_as::<SyncGroupRequest>(bytes, version),
        ApiKey::LeaveGroup => decode_as::<LeaveGroupRequest>(bytes, version),
        ApiKey::OffsetDelete => decode_as::<OffsetDeleteRequest>(bytes, version),
        ApiKey::Heartbeat => decode_as::<HeartbeatRequest>(bytes, version),
        ApiKey::DescribeGroups => decode_as::<DescribeGroupsRequest>(bytes, version),
        ApiKey::DeleteGroups => decode_as::<DeleteGroupsRequest>(bytes, version),
        ApiKey::ConsumerGroupHeartbeat => {
            decode_as::<ConsumerGroupHeartbeatRequest>(bytes, version)
        }
        ApiKey::ConsumerGroupDescribe => decode_as::<ConsumerGroupDescribeRequest>(bytes, version),
        _ => return None,
    })
}

fn by_hand(
    bytes: &[u8],
    read: impl FnOnce(&mut Compact) -> Result<(), Close>,
) -> Result<usize, String> {
    let mut body = Compact::new(Bytes::copy_from_slice(bytes));
    read(&mut body).map_err(|error| error.to_string())?;
    Ok(body.left())
}

fn group() -> impl Strategy<Value = GroupId> {
    text().prop_map(GroupId)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

/// Text that only some versions may have.
fn since(version: i16, first: i16) -> BoxedStrategy<Option<StrBytes>> {
    if version >= first {
        option::of(text()).boxed()
    } else {
        Just(None).boxed()
    }
}

fn tags_since(version: i16, first: i16) -> BoxedStrategy<BTreeMap<i32, Bytes>> {
    if version >= first {
        tags().boxed()
    } else {
        Just(BTreeMap::new()).boxed()
    }
}

fn offset_commit(version: i16) -> BoxedStrategy<Vec<u8>> {
    let partition = (
        any::<i32>(),
        any::<i64>(),
        option::of(long_text()),
        tags_since(version, 8),
    )
        .prop_map(|(index, offset, metadata, tags)| {
            commit::OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_metadata(metadata)
                .with_unknown_tagged_fields(tags)
        });
    let wanted = (topic(), uuid(), vec(partition, 0..4)).prop_map(|(name, id, partitions)| {
        let mut topic = commit::OffsetCommitRequestTopic::default()
            .with_name(name)
            .with_partitions(partitions);
        set_topic_id(&mut topic.unknown_tagged_fields, TopicId(id));
        topic
    });
    (group(), any::<i32>(), since(version, 7), vec(wanted, 0..4))
        .prop_map(move |(group, number, instance, topics)| {
            let request = OffsetCommitRequest::default()
                .with_group_id(group)
                .with_generation_id_or_member_epoch(number)
                .with_group_instance_id(instance)
                .with_topics(topics);
            if version >= BY_ID {
                return v10::offset_commit(&request).to_vec();
            }
            encoded(&request, version)
        })
        .boxed()
}

fn offset_fetch(version: i16) -> BoxedStrategy<Vec<u8>> {
    let wanted = || option::of(vec((topic(), uuid(), vec(any::<i32>(), 0..5)), 0..4));
    if version < 8 {
        return (group(), wanted())
            .prop_map(move |(group, topics)| {
                let topics = topics.map(|topics| {
                    let topics = topics.into_iter().map(|(name, _, indexes)| {
                        fetch::OffsetFetchRequestTopic::default()
                            .with_name(name)
                            .with_partition_indexes(indexes)
                    });
                    topics.collect::<Vec<_>>()
                });
                let topics = if version < 2 {
                    Some(topics.unwrap_or_default())
                } else {
                    topics
                };
                let request = OffsetFetchRequest::default()
                    .with_group_id(group)
                    .with_topics(topics)
                    .with_require_stable(version >= 7);
                encoded(&request, version)
            })
            .boxed();
    }
    let of = (group(), since(version, 9), wanted()).prop_map(move |(group, member, topics)| {
        let topics = topics.map(|topics| {
            let topics = topics.into_iter().map(|(name, id, indexes)| {
                let mut topic = fetch::OffsetFetchRequestTopics::default()
                    .with_name(name)
                    .with_partition_indexes(indexes);
                set_topic_id(&mut topic.unknown_tagged_fields, TopicId(id));
                topic
            });
            topics.collect()
        });
        fetch::OffsetFetchRequestGroup::default()
            .with_group_id(group)
            .with_member_id(member)
            .with_topics(topics)
    });
    (vec(of, 0..4), any::<bool>())
        .prop_map(move |(groups, stable)| {
            let request = OffsetFetchRequest::default()
                .with_groups(groups)
                .with_require_stable(stable);
            if version >= BY_ID {
                return v10::offset_fetch(&request).to_vec();
            }
            encoded(&request, version)
        })
        .boxed()
}

fn join_group(version: i16) -> BoxedStrategy<Vec<u8>> {
    let protocol =
        (long_text(), bytes(), tags_since(version, 6)).prop_map(|(name, metadata, tags)| {
            join::JoinGroupRequestProtocol::default()
                .with_name(name)
                .with_metadata(metadata)
                .with_unknown_tagged_fields(tags)
        });
    (
        group(),
        any::<i32>(),
        text(),
        since(version, 5),
        since(version, 8),
        vec(protocol, 0..4),
    )
        .prop_map(
            move |(group, timeout, member, instance, reason, protocols)| {
                let request = JoinGroupRequest::default()
                    .with_group_id(group)
                    .with_session_timeout_ms(timeout)
                    .with_rebalance_timeout_ms(timeout)
                    .with_member_id(member)
                    .with_group_instance_id(instance)
                    .with_reason(reason)
                    .with_protocols(protocols);
                encoded(&request, version)
            },
        )
        .boxed()
}

fn sync_group(version: i16) -> BoxedStrategy<Vec<u8>> {
    let assignment = (text(), bytes()).prop_map(|(member, assignment)| {
        sync::SyncGroupRequestAssignment::default()
            .with_member_id(member)
            .with_assignment(assignment)
    });
    (
        group(),
        any::<i32>(),
        since(version, 3),
        since(version, 5),
        vec(assignment, 0..4),
    )
        .prop_map(
            move |(group, generation, instance, protocol, assignments)| {
                let request = SyncGroupRequest::default()
                    .with_group_id(group)
                    .with_generation_id(generation)
                    .with_group_instance_id(instance)
                    .with_protocol_name(protocol.clone())
                    .with_protocol_type(protocol)
                    .with_assignments(assignments);
                encoded(&request, version)
            },
        )
        .boxed()
}

fn leave_group(version: i16) -> BoxedStrategy<Vec<u8>> {
    let member =
        (text(), since(version, 3), since(version, 5)).prop_map(|(member, instance, reason)| {
            leave::MemberIdentity::default()
                .with_member_id(member)
                .with_group_instance_id(instance)
                .with_reason(reason)
        });
    (group(), text(), vec(member, 0..4))
        .prop_map(move |(group, one, members)| {
            let request = LeaveGroupRequest::default().with_group_id(group);
            let request = if version < 3 {
                request.with_member_id(one)
            } else {
                request.with_members(members)
            };
            encoded(&request, version)
        })
        .boxed()
}

fn offset_delete(version: i16) -> BoxedStrategy<Vec<u8>> {
    let wanted = (topic(), vec(any::<i32>(), 0..5)).prop_map(|(name, indexes)| {
        let one =
            |index| delete::OffsetDeleteRequestPartition::default().with_partition_index(index);
        delete::OffsetDeleteRequestTopic::default()
            .with_name(name)
            .with_partitions(indexes.into_iter().map(one).collect())
    });
    (group(), vec(wanted, 0..4))
        .prop_map(move |(group, topics)| {
            let request = OffsetDeleteRequest::default().with_group_id(group);
            encoded(&request.with_topics(topics), version)
        })
        .boxed()
}

fn consumer_group_heartbeat(version: i16) -> BoxedStrategy<Vec<u8>> {
    let owned = (uuid(), vec(any::<i32>(), 0..5), tags()).prop_map(|(id, indexes, tags)| {
        consumer::TopicPartitions::default()
            .with_topic_id(id)
            .with_partitions(indexes)
            .with_unknown_tagged_fields(tags)
    });
    (
        group(),
        option::of(long_text()),
        any::<i32>(),
        option::of(vec(topic(), 0..4)),
        since(version, 1),
        option::of(vec(owned, 0..4)),
    )
        .prop_map(move |(group, name, epoch, topics, regex, owned)| {
            let request = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(group)
                .with_member_epoch(epoch)
                .with_instance_id(name.clone())
                .with_rack_id(name.clone())
                .with_server_assignor(name)
                .with_subscribed_topic_names(topics)
                .with_subscribed_topic_regex(regex)
                .with_topic_partitions(owned);
            encoded(&request, version)
        })
        .boxed()
}

/// Requests of one group or some, and little else.
fn of_names(api: ApiKey, version: i16) -> BoxedStrategy<Vec<u8>> {
    (vec(group(), 0..5), any::<bool>(), since(version, 3))
        .prop_map(move |(groups, flag, instance)| match api {
            ApiKey::Heartbeat => {
                let group = groups.into_iter().next().unwrap_or_default();
                let request = HeartbeatRequest::default()
                    .with_group_id(group)
                    .with_generation_id(7)
                    .with_group_instance_id(instance);
                encoded(&request, version)
            }
            ApiKey::DescribeGroups => {
                let request = DescribeGroupsRequest::default()
                    .with_groups(groups)
                    .with_include_authorized_operations(flag && version >= 3);
                encoded(&request, version)
            }
            ApiKey::DeleteGroups => {
                let request = DeleteGroupsRequest::default().with_groups_names(groups);
                encoded(&request, version)
            }
            _ => {
                let request = ConsumerGroupDescribeRequest::default()
                    .with_group_ids(groups)
                    .with_include_authorized_operations(flag);
                encoded(&request, version)
            }
        })
        .boxed()
}
