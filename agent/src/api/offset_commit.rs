//! OffsetCommit (8), versions 2 to 10: passed to the metadata leader at its pinned version. Version 10 names
//! topics by id, versions 2 to 4 say how long offsets are kept: both travel as tagged fields.

pub(crate) mod v10;

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::{
    MetadataError,
    kafka::{LeaderApi, tags},
};
use bytes::Bytes;
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse,
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
};

use super::{Close, Reply, RequestContext, compact::Compact, errors};
use crate::{broker::Broker, group_calls};

/// First version that names topics by id.
const BY_ID: i16 = 10;
/// How long this agent tries: clients give a commit up after 30 s, and a consumer that closes may wait for less.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request = if context.api_version >= BY_ID {
        v10::decode(&mut Compact::new(body))?
    } else {
        pinned(context.decode(body)?)
    };
    let api = LeaderApi::OffsetCommit;
    let answered: Result<OffsetCommitResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let mut response = answered.unwrap_or_else(|error| failed(&request, &error));
    response.unknown_tagged_fields.clear();
    for topic in &mut response.topics {
        if let Some(id) = tags::topic_id(&topic.unknown_tagged_fields) {
            topic.topic_id = id.0;
        }
        topic.unknown_tagged_fields.clear();
        for partition in &mut topic.partitions {
            partition.unknown_tagged_fields.clear();
        }
    }
    context.reply(&response)
}

/// The request as the leader takes it, with no tags but our own.
fn pinned(mut request: OffsetCommitRequest) -> OffsetCommitRequest {
    request.unknown_tagged_fields.clear();
    for topic in &mut request.topics {
        topic.unknown_tagged_fields.clear();
        for partition in &mut topic.partitions {
            partition.unknown_tagged_fields.clear();
        }
    }
    if request.retention_time_ms >= 0 {
        tags::set_retention_ms(
            &mut request.unknown_tagged_fields,
            request.retention_time_ms,
        );
        request.retention_time_ms = -1;
    }
    request
}

fn failed(request: &OffsetCommitRequest, error: &MetadataError) -> OffsetCommitResponse {
    let code = errors::group_code(LeaderApi::OffsetCommit, error);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
            .with_unknown_tagged_fields(topic.unknown_tagged_fields.clone())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
