//! CreateTopics (19), versions 2 to 7: passed to the metadata leader at its pinned version. Once topics
//! were created, this agent waits until it has heard of them, so that what the client does next succeeds
//! here.

use std::sync::Arc;

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, create_topics_response::CreatableTopicResult,
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
    let request: CreateTopicsRequest = context.decode(body)?;
    let answered: Result<CreateTopicsResponse, _> = leader::call(
        broker,
        context,
        LeaderApi::CreateTopics,
        &request,
        request.timeout_ms,
    )
    .await;
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => failed(&request, &error),
    };
    let created = response.topics.iter().any(|topic| topic.error_code == 0);
    if created
        && !request.validate_only
        && let Err(error) = broker.view.catch_up().await
    {
        tracing::debug!(%error, "topics were created, but this agent has not heard of them yet");
    }
    if context.api_version < 5 {
        // Not in these versions, and not ignorable for the encoder.
        for topic in &mut response.topics {
            topic.topic_config_error_code = 0;
        }
    }
    context.reply(&response)
}

fn failed(request: &CreateTopicsRequest, error: &MetadataError) -> CreateTopicsResponse {
    let code = errors::controller_code(error).code();
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(code)
                .with_error_message(Some(StrBytes::from_string(error.to_string())))
        })
        .collect();
    CreateTopicsResponse::default().with_topics(topics)
}
