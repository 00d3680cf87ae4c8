//! DeleteRecords (21), versions 0 to 2: passed to the metadata leader at its pinned version. Where log
//! starts moved, this agent waits until it has heard of it, so that it shows no deleted record any more.

use std::sync::Arc;

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
    },
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, leader};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DeleteRecordsRequest = context.decode(body)?;
    let answered: Result<DeleteRecordsResponse, _> = leader::call(
        broker,
        context,
        LeaderApi::DeleteRecords,
        &request,
        request.timeout_ms,
    )
    .await;
    let response = answered.unwrap_or_else(|error| {
        tracing::debug!(%error, "records cannot be deleted");
        failed(&request, errors::partition_code(&error))
    });
    let deleted = response
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .any(|partition| partition.error_code == 0);
    if deleted && let Err(error) = broker.view.catch_up().await {
        tracing::debug!(%error, "records were deleted, but this agent has not heard of it yet");
    }
    context.reply(&response)
}

fn failed(request: &DeleteRecordsRequest, code: ResponseError) -> DeleteRecordsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index)
                .with_low_watermark(-1)
                .with_error_code(code.code())
        });
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}
