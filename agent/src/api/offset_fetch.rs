//! OffsetFetch (9), versions 1 to 10: passed to the metadata leader at its pinned version. Up to version 7 a
//! request is of one group; version 10 names topics by id, which travel as tagged fields.

pub(crate) mod v10;

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::{
    MetadataError,
    kafka::{LeaderApi, tags},
};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        OffsetFetchRequest, OffsetFetchResponse,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
        },
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, compact::Compact, errors};
use crate::{broker::Broker, group_calls};

/// First version with a list of groups.
const OF_GROUPS: i16 = 8;
/// First version that names topics by id.
const BY_ID: i16 = 10;
/// First version with an error of the whole group; before it each partition has it.
const GROUP_ERROR: i16 = 2;
/// How long this agent tries: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let version = context.api_version;
    let request = if version >= BY_ID {
        v10::decode(&mut Compact::new(body))?
    } else {
        pinned(context.decode(body)?, version)
    };
    let api = LeaderApi::OffsetFetch;
    let answered: Result<OffsetFetchResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let response = answered.unwrap_or_else(|error| failed(&request, &error));
    if version >= OF_GROUPS {
        return context.reply(&of_groups(response));
    }
    let groups = (
        request.groups.first(),
        response.groups.into_iter().next().unwrap_or_default(),
    );
    context.reply(&of_one(groups, version))
}

/// The request as the leader takes it: a list of groups, and no tags.
fn pinned(mut request: OffsetFetchRequest, version: i16) -> OffsetFetchRequest {
    if version < OF_GROUPS {
        let topics = request.topics.replace(Vec::new());
        let topics = topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic.name)
                    .with_partition_indexes(topic.partition_indexes)
            });
            topics.collect()
        });
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(std::mem::take(&mut request.group_id))
            .with_topics(topics);
        request.groups = vec![group];
    }
    request.unknown_tagged_fields.clear();
    for group in &mut request.groups {
        group.unknown_tagged_fields.clear();
        for topic in group.topics.iter_mut().flatten() {
            topic.unknown_tagged_fields.clear();
        }
    }
    request
}

/// The answer of version 8 and later.
fn of_groups(mut response: OffsetFetchResponse) -> OffsetFetchResponse {
    response.unknown_tagged_fields.clear();
    for group in &mut response.groups {
        group.unknown_tagged_fields.clear();
        for topic in &mut group.topics {
            if let Some(id) = tags::topic_id(&topic.unknown_tagged_fields) {
                topic.topic_id = id.0;
            }
            topic.unknown_tagged_fields.clear();
            for partition in &mut topic.partitions {
                partition.unknown_tagged_fields.clear();
            }
        }
    }
    response
}

/// The answer of versions up to 7: of the one group that was `asked` for.
fn of_one(
    (asked, group): (Option<&OffsetFetchRequestGroup>, OffsetFetchResponseGroup),
    version: i16,
) -> OffsetFetchResponse {
    if version < GROUP_ERROR && group.error_code != 0 {
        let topics = asked.and_then(|asked| asked.topics.as_ref());
        let topics = topics.into_iter().flatten();
        let topics = topics.map(|topic| refused(topic, group.error_code));
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default()
        .with_error_code(group.error_code)
        .with_topics(topics.collect())
}

fn refused(topic: &OffsetFetchRequestTopics, code: i16) -> OffsetFetchResponseTopic {
    let partitions = topic.partition_indexes.iter().map(|index| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(*index)
            .with_committed_offset(-1)
            .with_metadata(Some(StrBytes::new()))
            .with_error_code(code)
    });
    OffsetFetchResponseTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect())
}

fn failed(request: &OffsetFetchRequest, error: &MetadataError) -> OffsetFetchResponse {
    let code = errors::group_code(LeaderApi::OffsetFetch, error);
    let groups = request.groups.iter().map(|group| {
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id.clone())
            .with_error_code(code)
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}
