//! ListConfigResources (74), versions 0 and 1: what has configs, by name (KIP-1142). Version 0 asks for
//! subscriptions to clients' metrics (KIP-714), of which there are none. Which groups have configs of their own
//! the metadata leader says.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::{
    MetadataError,
    config::alter::resource_type::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC},
    kafka::LeaderApi,
};
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ListConfigResourcesRequest, ListConfigResourcesResponse,
        list_config_resources_response::ConfigResource,
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, errors, nodes::Nodes};
use crate::{broker::Broker, group_calls};

/// Every type, in the order of the answer (Kafka's).
const TYPES: [i8; 5] = [GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];
/// How long this agent tries to ask for groups: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: ListConfigResourcesRequest = context.decode(body)?;
    let asked = match (context.api_version, request.resource_types) {
        (0, _) => vec![CLIENT_METRICS],
        (_, types) if types.is_empty() => TYPES.to_vec(),
        (_, types) => types,
    };
    let mut response = ListConfigResourcesResponse::default();
    if asked.iter().any(|asked| !TYPES.contains(asked)) {
        response.error_code = ResponseError::UnsupportedVersion.code();
        return context.reply(&response);
    }
    if asked.contains(&TOPIC)
        && let Err(error) = broker.view.catch_up().await
    {
        tracing::debug!(%error, "cannot make sure that all topics are listed");
        response.error_code = errors::controller_code(&error).code();
        return context.reply(&response);
    }
    let nodes = Nodes::of(broker, context);
    for kind in TYPES.into_iter().filter(|kind| asked.contains(kind)) {
        let names: Vec<String> = match kind {
            TOPIC => topic_names(broker),
            BROKER | BROKER_LOGGER => {
                let nodes = nodes.candidates();
                nodes.nodes().map(|node| node.id().to_string()).collect()
            }
            GROUP => match group_names(broker, context).await {
                Ok(names) => names,
                Err(error) => {
                    tracing::debug!(%error, "groups that have configs cannot be listed");
                    let code = errors::controller_code(&error).code();
                    let failed = ListConfigResourcesResponse::default().with_error_code(code);
                    return context.reply(&failed);
                }
            },
            _ => Vec::new(),
        };
        response
            .config_resources
            .extend(names.into_iter().map(|name| {
                ConfigResource::default()
                    .with_resource_type(kind)
                    .with_resource_name(StrBytes::from_string(name))
            }));
    }
    context.reply(&response)
}

/// The groups that have configs of their own.
async fn group_names(
    broker: &Broker,
    context: &RequestContext,
) -> Result<Vec<String>, MetadataError> {
    let request = ListConfigResourcesRequest::default().with_resource_types(vec![GROUP]);
    let api = LeaderApi::ListConfigResources;
    let answered: ListConfigResourcesResponse =
        group_calls::call(broker, context, api, &request, PATIENCE).await?;
    let groups = answered.config_resources.into_iter();
    Ok(groups
        .map(|group| group.resource_name.to_string())
        .collect())
}

fn topic_names(broker: &Broker) -> Vec<String> {
    let topics = broker.view.topics();
    topics.iter().map(|topic| topic.view.name.clone()).collect()
}
