//! DeleteTopics (20), versions 1 to 6: by name, from 6 on also by id. Passed to the metadata leader at its
//! pinned version; this agent waits until it has heard of the deletion.

use std::sync::Arc;

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        DeleteTopicsRequest, DeleteTopicsResponse, delete_topics_request::DeleteTopicState,
        delete_topics_response::DeletableTopicResult,
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
    let mut request: DeleteTopicsRequest = context.decode(body)?;
    // The pinned version has one list for names and ids.
    let names = std::mem::take(&mut request.topic_names);
    request.topics.extend(
        names
            .into_iter()
            .map(|name| DeleteTopicState::default().with_name(Some(name))),
    );
    let answered: Result<DeleteTopicsResponse, _> = leader::call(
        broker,
        context,
        LeaderApi::DeleteTopics,
        &request,
        request.timeout_ms,
    )
    .await;
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => failed(&request, &error),
    };
    if response.responses.iter().any(|topic| topic.error_code == 0)
        && let Err(error) = broker.view.catch_up().await
    {
        tracing::debug!(%error, "topics were deleted, but this agent has not heard of it yet");
    }
    if context.api_version < 6 {
        for topic in &mut response.responses {
            // Names are not nullable before version 6; a topic asked for by name has one.
            topic.name.get_or_insert_default();
        }
    }
    context.reply(&response)
}

fn failed(request: &DeleteTopicsRequest, error: &MetadataError) -> DeleteTopicsResponse {
    let code = errors::controller_code(error).code();
    let responses = request
        .topics
        .iter()
        .map(|topic| {
            DeletableTopicResult::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_error_code(code)
                .with_error_message(Some(StrBytes::from_string(error.to_string())))
        })
        .collect();
    DeleteTopicsResponse::default().with_responses(responses)
}
