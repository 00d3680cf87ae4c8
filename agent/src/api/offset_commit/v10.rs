//! OffsetCommit requests of version 10, which the protocol crate does not have: as version 9, but topics have
//! an id in place of the name.

use aquifer_format::ids::TopicId;
use aquifer_metadata_api::kafka::tags;
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
};

use crate::api::{Close, compact::Compact};

/// Reads a request; topics have their id as a tagged field.
///
/// # Errors
/// The body ends early, or has text that is not UTF-8.
pub(crate) fn decode(body: &mut Compact) -> Result<OffsetCommitRequest, Close> {
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(body.string()?))
        .with_generation_id_or_member_epoch(body.i32()?)
        .with_member_id(body.string()?)
        .with_group_instance_id(body.nullable_string()?)
        .with_topics(body.array(topic)?);
    body.skip_tags()?;
    Ok(request)
}

fn topic(body: &mut Compact) -> Result<OffsetCommitRequestTopic, Close> {
    let id = TopicId(body.uuid()?);
    let mut topic = OffsetCommitRequestTopic::default().with_partitions(body.array(partition)?);
    body.skip_tags()?;
    tags::set_topic_id(&mut topic.unknown_tagged_fields, id);
    Ok(topic)
}

fn partition(body: &mut Compact) -> Result<OffsetCommitRequestPartition, Close> {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(body.i32()?)
        .with_committed_offset(body.i64()?)
        .with_committed_leader_epoch(body.i32()?)
        .with_committed_metadata(body.nullable_string()?);
    body.skip_tags()?;
    Ok(partition)
}
