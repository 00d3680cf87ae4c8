//! Metadata (3), versions 0 to 13: brokers, topics, and which broker to use for each partition.
//!
//! Every agent can do everything, so "leader" is advice (see [`crate::placement`]); the leader epoch is
//! the topic's constant. A topic that this agent has not heard of is asked for at the metadata leader
//! before it is called unknown; if the client and the settings allow it, it is created, and the answer
//! describes it already.
//!
//! Version 0 asks for all topics by an empty list, later ones by null. Versions 10 and 11 have topic ids
//! on the wire but may not use them (KIP-516); from 12 on a request that names any id is by id. A request that
//! names a topic otherwise is refused as a whole, and not told of the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::ids::TopicId;
use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    error::ParseResponseErrorCode,
    messages::{
        BrokerId, CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse,
        TopicName,
        create_topics_request::CreatableTopic,
        metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
    },
    protocol::StrBytes,
};

use super::{
    Close, Reply, RequestContext,
    nodes::{CLUSTER_OPERATIONS, Nodes, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS},
    topic_name,
};
use crate::{broker::Broker, leader, placement::Candidates, view::Topic};

/// Most topics that one request creates; the rest is told to ask again.
const CREATED_MAX: usize = 1_000;
/// First version that may name topics by id (KIP-516).
const BY_ID_VERSION: i16 = 12;
/// First version with an error of the whole answer.
const TOP_ERROR_VERSION: i16 = 13;

/// A topic of the answer.
enum Found {
    Topic(Arc<Topic>),
    Error {
        name: Option<TopicName>,
        id: uuid::Uuid,
        error: ResponseError,
    },
}

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: MetadataRequest = context.decode(body)?;
    if is_misnamed(&request, context.api_version) {
        return context.reply(&refused(&request, context.api_version));
    }
    let found = find(broker, context, &request).await;
    let nodes = Nodes::of(broker, context);
    let candidates = nodes.candidates();
    let brokers = candidates
        .nodes()
        .map(|node| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(node.id()))
                .with_host(nodes.host(&node))
                .with_port(node.port())
                .with_rack(nodes.rack(&node))
        })
        .collect();
    let with_operations = request.include_topic_authorized_operations;
    let topics = found
        .into_iter()
        .map(|found| describe(&candidates, found, with_operations))
        .collect();
    let cluster = broker.session.registration().cluster;
    let controller = candidates.controller(cluster).map_or(-1, |node| node.id());
    let operations = if request.include_cluster_authorized_operations {
        CLUSTER_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    context.reply(
        &MetadataResponse::default()
            .with_brokers(brokers)
            .with_cluster_id(Some(StrBytes::from_string(cluster.to_string())))
            .with_controller_id(BrokerId(controller))
            .with_topics(topics)
            .with_cluster_authorized_operations(operations),
    )
}

/// Whether a topic is named by an id where it must not be, or by nothing.
fn is_misnamed(request: &MetadataRequest, version: i16) -> bool {
    let topics = request.topics.as_deref().unwrap_or_default();
    let by_id = topics.iter().any(|topic| !topic.topic_id.is_nil());
    let nameless = topics.iter().any(|topic| topic.name.is_none());
    if version < BY_ID_VERSION {
        by_id || nameless
    } else {
        nameless && !by_id
    }
}

fn refused(request: &MetadataRequest, version: i16) -> MetadataResponse {
    let error = ResponseError::InvalidRequest.code();
    let topics = request.topics.iter().flatten().map(|topic| {
        MetadataResponseTopic::default()
            .with_error_code(error)
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
    });
    let response = MetadataResponse::default()
        .with_controller_id(BrokerId(-1))
        .with_topics(topics.collect());
    if version < TOP_ERROR_VERSION {
        response
    } else {
        response.with_error_code(error)
    }
}

async fn find(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: &MetadataRequest,
) -> Vec<Found> {
    let version = context.api_version;
    let topics = match &request.topics {
        Some(topics) if version > 0 || !topics.is_empty() => topics,
        _ => return broker.view.topics().into_iter().map(Found::Topic).collect(),
    };
    let ids: BTreeSet<_> = topics
        .iter()
        .map(|topic| topic.topic_id)
        .filter(|id| !id.is_nil())
        .collect();
    if ids.is_empty() {
        let names = topics.iter().filter_map(|topic| topic.name.clone());
        let may_create = version < 4 || request.allow_auto_topic_creation;
        by_name(broker, context, names.collect(), may_create).await
    } else {
        by_id(broker, ids).await
    }
}

async fn by_id(broker: &Arc<Broker>, ids: BTreeSet<uuid::Uuid>) -> Vec<Found> {
    let unheard = ids
        .iter()
        .any(|id| broker.view.topic_by_id(TopicId(*id)).is_none());
    let unknown = if unheard {
        unknown_after_asking(broker, ResponseError::UnknownTopicId).await
    } else {
        ResponseError::UnknownTopicId
    };
    ids.into_iter()
        .map(|id| match broker.view.topic_by_id(TopicId(id)) {
            Some(topic) => Found::Topic(topic),
            None => Found::Error {
                name: None,
                id,
                error: unknown,
            },
        })
        .collect()
}

/// Asks the leader, so that what is unknown afterwards is really unknown: then `unknown`, else an error
/// that makes clients try again.
pub(super) async fn unknown_after_asking(broker: &Broker, unknown: ResponseError) -> ResponseError {
    match broker.view.catch_up().await {
        Ok(()) => unknown,
        Err(error) => {
            tracing::debug!(%error, "cannot make sure that a topic is unknown");
            ResponseError::LeaderNotAvailable
        }
    }
}

async fn by_name(
    broker: &Arc<Broker>,
    context: &RequestContext,
    names: BTreeSet<TopicName>,
    may_create: bool,
) -> Vec<Found> {
    let unheard = |names: &BTreeSet<TopicName>| -> Vec<TopicName> {
        names
            .iter()
            .filter(|name| topic_name::is_legal(name) && broker.view.topic_by_name(name).is_none())
            .cloned()
            .collect()
    };
    let mut unknown = ResponseError::UnknownTopicOrPartition;
    let mut refusals = BTreeMap::new();
    if !unheard(&names).is_empty() {
        unknown = unknown_after_asking(broker, unknown).await;
        let missing = unheard(&names);
        let asked = unknown == ResponseError::UnknownTopicOrPartition;
        if asked && !missing.is_empty() && may_create && auto_create(broker) {
            unknown = ResponseError::LeaderNotAvailable;
            refusals = create(broker, context, missing).await;
        }
    }
    names
        .into_iter()
        .map(|name| match broker.view.topic_by_name(&name) {
            Some(topic) => Found::Topic(topic),
            None => {
                let error = match refusals.get(&name) {
                    _ if !topic_name::is_legal(&name) => ResponseError::InvalidTopicException,
                    Some(refusal) => *refusal,
                    None => unknown,
                };
                Found::Error {
                    name: Some(name),
                    id: uuid::Uuid::nil(),
                    error,
                }
            }
        })
        .collect()
}

/// Whether topics come into being by being asked for.
fn auto_create(broker: &Broker) -> bool {
    broker.view.broker_configs().effective().auto_create_topics
}

/// Creates topics with the cluster's defaults and waits until this agent has heard of them. Returns
/// those that the leader refused.
async fn create(
    broker: &Arc<Broker>,
    context: &RequestContext,
    mut names: Vec<TopicName>,
) -> BTreeMap<TopicName, ResponseError> {
    names.truncate(CREATED_MAX);
    let topics = names
        .into_iter()
        .map(|name| {
            CreatableTopic::default()
                .with_name(name)
                .with_num_partitions(-1)
                .with_replication_factor(-1)
        })
        .collect();
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(5_000);
    let response: Result<CreateTopicsResponse, _> =
        leader::call(broker, context, LeaderApi::CreateTopics, &request, 5_000).await;
    let refused = match response {
        Ok(response) => response
            .topics
            .into_iter()
            .filter_map(|topic| {
                let error = topic.error_code.err()?;
                (error != ResponseError::TopicAlreadyExists).then_some((topic.name, error))
            })
            .collect(),
        Err(error) => {
            tracing::info!(%error, "topics could not be created automatically");
            BTreeMap::new()
        }
    };
    if let Err(error) = broker.view.catch_up().await {
        tracing::debug!(%error, "topics were created, but this agent has not heard of them yet");
    }
    refused
}

fn describe(
    candidates: &Candidates<'_>,
    found: Found,
    with_operations: bool,
) -> MetadataResponseTopic {
    let operations = if with_operations {
        TOPIC_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    let topic = match found {
        Found::Topic(topic) => topic,
        Found::Error { name, id, error } => {
            let is_internal = name
                .as_ref()
                .is_some_and(|name| topic_name::is_internal(name));
            // Rights go by name: nothing is known of them where only an id is.
            let operations = match name {
                Some(_) => operations,
                None => OPERATIONS_NOT_ASKED,
            };
            return MetadataResponseTopic::default()
                .with_error_code(error.code())
                .with_name(name)
                .with_topic_id(id)
                .with_is_internal(is_internal)
                .with_topic_authorized_operations(operations);
        }
    };
    let partitions = (0..i32::try_from(topic.view.partitions).unwrap_or(i32::MAX))
        .filter_map(|index| topic.partition(index))
        .map(|partition| {
            let leader = candidates.leader(partition).map(|node| BrokerId(node.id()));
            let described = MetadataResponsePartition::default()
                .with_partition_index(partition.partition.0)
                .with_leader_epoch(topic.view.leader_epoch.0);
            match leader {
                Some(leader) => described
                    .with_leader_id(leader)
                    .with_replica_nodes(vec![leader])
                    .with_isr_nodes(vec![leader]),
                None => described
                    .with_error_code(ResponseError::LeaderNotAvailable.code())
                    .with_leader_id(BrokerId(-1)),
            }
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(
            topic.view.name.clone(),
        ))))
        .with_topic_id(topic.view.id.0)
        .with_is_internal(topic_name::is_internal(&topic.view.name))
        .with_partitions(partitions)
        .with_topic_authorized_operations(operations)
}
