//! DescribeConfigs (32), versions 1 to 4: from this agent's view, after it has seen everything that the
//! leader had decided, so that whoever altered a config through another agent sees it here.
//!
//! Configs are the same on every agent but for its address; so each can describe every live node. Those of
//! groups are the leader's to describe: no agent keeps them.

mod answer;
mod fixed;
mod groups;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aquifer_metadata_api::{
    MetadataError,
    config::{
        alter::resource_type::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC},
        describe::Described,
    },
    topic_name,
};
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{DescribeConfigsRequest, describe_configs_request::DescribeConfigsResource},
};

use self::{answer::Answer, groups::Groups};
use super::{Close, Reply, RequestContext, errors, nodes::Nodes, shown};
use crate::broker::Broker;

/// Most bytes of an answer; what does not fit is refused. librdkafka takes no answer above 100,000,000 bytes;
/// the configs of a topic take about 4,000.
const ANSWER_BYTES_MAX: usize = 96 * 1024 * 1024;
/// Resources that are described before other connections have their turn.
const RESOURCES_AT_ONCE: usize = 64;

/// Why a resource is not described.
type Refusal = (ResponseError, String);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DescribeConfigsRequest = context.decode(body)?;
    let current = broker.view.catch_up().await;
    let nodes = Nodes::of(broker, context);
    let resources = &request.resources;
    // Kafka refuses all of a request that names a type that it does not know.
    let known = resources.iter().all(|r| is_known(r.resource_type));
    let mut answer = Answer::new(&request, context.api_version);
    let mut groups = Groups::of(&request);
    for (i, resource) in resources.iter().enumerate() {
        let described = if answer.bytes() >= ANSWER_BYTES_MAX {
            invalid("the answer would be too large: ask for fewer resources at a time")
        } else if known && groups::is_asked(resource) {
            match groups.next(broker, context, &resources[i..]).await {
                Ok(result) => {
                    answer.pass(resource, result)?;
                    continue;
                }
                Err(refusal) => Err(refusal),
            }
        } else if known {
            describe(broker, &nodes, resource, &current)
        } else {
            invalid("the request names a type of resource that does not exist")
        };
        answer.push(resource, described)?;
        if i % RESOURCES_AT_ONCE == RESOURCES_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(answer.finish())
}

fn is_known(kind: i8) -> bool {
    matches!(
        kind,
        TOPIC | BROKER | BROKER_LOGGER | CLIENT_METRICS | GROUP
    )
}

fn invalid<T>(why: &str) -> Result<T, Refusal> {
    Err((ResponseError::InvalidRequest, why.to_owned()))
}

fn describe(
    broker: &Broker,
    nodes: &Nodes,
    resource: &DescribeConfigsResource,
    current: &Result<(), MetadataError>,
) -> Result<Vec<Described>, Refusal> {
    if let Err(error) = current {
        return Err((errors::controller_code(error), error.to_string()));
    }
    let name = resource.resource_name.as_str();
    let configs = broker.view.broker_configs();
    match resource.resource_type {
        TOPIC => {
            topic_name::check(name)
                .map_err(|error| (ResponseError::InvalidTopicException, error.to_string()))?;
            let topic = broker.view.topic_by_name(name);
            let topic = topic.ok_or((ResponseError::UnknownTopicOrPartition, String::new()))?;
            Ok(configs.describe_topic(&topic.view.configs))
        }
        BROKER if name.is_empty() => Ok(configs.describe_default()),
        BROKER => {
            let id = broker_id(name)?;
            let node = nodes.node(id).ok_or_else(|| unknown_broker(id))?;
            Ok(configs.describe_node(nodes, &node, &broker.settings.listener_name))
        }
        BROKER_LOGGER if name.is_empty() => invalid("Broker id must not be empty"),
        BROKER_LOGGER => {
            let id = broker_id(name)?;
            // Log levels are set where an agent is started, and its modules are not Kafka's classes.
            let node = nodes.node(id);
            node.map(|_| Vec::new()).ok_or_else(|| unknown_broker(id))
        }
        CLIENT_METRICS if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty")
        }
        CLIENT_METRICS => Ok(fixed::client_metrics()),
        // Those with a name are the leader's.
        GROUP => invalid("Group name must not be empty"),
        _ => invalid("there is no such type of resource"),
    }
}

fn broker_id(name: &str) -> Result<i32, Refusal> {
    name.parse().map_err(|_| {
        let why = format!("Broker id must be an integer, but it is: {}", shown(name));
        (ResponseError::InvalidRequest, why)
    })
}

fn unknown_broker(id: i32) -> Refusal {
    let why = format!("Unexpected broker id, expected that of a live broker, but received {id}");
    (ResponseError::InvalidRequest, why)
}
