//! CreatePartitions (37), versions 0 to 3: passed to the metadata leader at its pinned version; this agent
//! waits until it has heard of the new partitions.

use std::sync::Arc;

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse,
        create_partitions_response::CreatePartitionsTopicResult,
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, leader};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: CreatePartitionsRequest = context.decode(body)?;
    let answered: Result<CreatePartitionsResponse, _> = leader::call(
        broker,
        context,
        LeaderApi::CreatePartitions,
        &request,
        request.timeout_ms,
    )
    .await;
    let response = match answered {
        Ok(response) => response,
        Err(error) => failed(&request, &error),
    };
    let created = response.results.iter().any(|topic| topic.error_code == 0);
    if created
        && !request.validate_only
        && let Err(error) = broker.view.catch_up().await
    {
        tracing::debug!(%error, "partitions were created, but this agent has not heard of them yet");
    }
    context.reply(&response)
}

fn failed(request: &CreatePartitionsRequest, error: &MetadataError) -> CreatePartitionsResponse {
    let code = errors::controller_code(error).code();
    let results = request
        .topics
        .iter()
        .map(|topic| {
            CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(code)
                .with_error_message(Some(StrBytes::from_string(error.to_string())))
        })
        .collect();
    CreatePartitionsResponse::default().with_results(results)
}
