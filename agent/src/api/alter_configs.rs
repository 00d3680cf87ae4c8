//! AlterConfigs (33), versions 0 to 2: all configs of a resource at once. Passed to the metadata leader at
//! its pinned version; this agent waits until it has heard of what was altered.

use std::sync::Arc;

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        AlterConfigsRequest, AlterConfigsResponse,
        alter_configs_response::AlterConfigsResourceResponse,
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
    let request: AlterConfigsRequest = context.decode(body)?;
    let answered: Result<AlterConfigsResponse, _> =
        leader::call(broker, context, LeaderApi::AlterConfigs, &request, 0).await;
    let response = match answered {
        Ok(response) => response,
        Err(error) => failed(&request, &error),
    };
    let altered = response
        .responses
        .iter()
        .any(|resource| resource.error_code == 0);
    if altered
        && !request.validate_only
        && let Err(error) = broker.view.catch_up().await
    {
        tracing::debug!(%error, "configs were altered, but this agent has not heard of it yet");
    }
    context.reply(&response)
}

fn failed(request: &AlterConfigsRequest, error: &MetadataError) -> AlterConfigsResponse {
    let code = errors::controller_code(error).code();
    let responses = request
        .resources
        .iter()
        .map(|resource| {
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(Some(StrBytes::from_string(error.to_string())))
        })
        .collect();
    AlterConfigsResponse::default().with_responses(responses)
}
