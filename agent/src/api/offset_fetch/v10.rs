//! OffsetFetch requests of version 10, which the protocol crate does not have: as version 9, but topics have
//! an id in place of the name.

use aquifer_format::ids::TopicId;
use aquifer_metadata_api::kafka::tags;
use kafka_protocol::messages::{
    GroupId, OffsetFetchRequest,
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
};

use crate::api::{Close, compact::Compact};

/// Reads a request; topics have their id as a tagged field.
///
/// # Errors
/// The body ends early, or has text that is not UTF-8.
pub(crate) fn decode(body: &mut Compact) -> Result<OffsetFetchRequest, Close> {
    let request = OffsetFetchRequest::default()
        .with_groups(body.array(group)?)
        .with_require_stable(body.bool()?);
    body.skip_tags()?;
    Ok(request)
}

fn group(body: &mut Compact) -> Result<OffsetFetchRequestGroup, Close> {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(body.string()?))
        .with_member_id(body.nullable_string()?)
        .with_member_epoch(body.i32()?)
        .with_topics(body.nullable_array(topic)?);
    body.skip_tags()?;
    Ok(group)
}

fn topic(body: &mut Compact) -> Result<OffsetFetchRequestTopics, Close> {
    let id = TopicId(body.uuid()?);
    let indexes = body.array(Compact::i32)?;
    body.skip_tags()?;
    let mut topic = OffsetFetchRequestTopics::default().with_partition_indexes(indexes);
    tags::set_topic_id(&mut topic.unknown_tagged_fields, id);
    Ok(topic)
}
