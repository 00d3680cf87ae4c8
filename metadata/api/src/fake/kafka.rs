//! Kafka calls to the fake.

use std::{collections::BTreeMap, fmt::Display};

use aquifer_format::{
    ids::TopicId,
    limits::{TOPIC_NAME_CHARS_MAX, TOPIC_PARTITIONS_MAX},
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
        InitProducerIdRequest, InitProducerIdResponse, create_topics_request::CreatableTopic,
        create_topics_response::CreatableTopicResult, delete_topics_request::DeleteTopicState,
        delete_topics_response::DeletableTopicResult,
    },
    protocol::{Decodable, Encodable},
};

use super::core::Core;
use crate::{
    error::MetadataError,
    kafka::{KafkaCall, LeaderApi, pinned_version},
};

pub(super) fn answer(core: &mut Core, call: KafkaCall) -> Result<Bytes, MetadataError> {
    let version = pinned_version(call.api);
    match call.api {
        LeaderApi::CreateTopics => {
            let request = decode::<CreateTopicsRequest>(call.body, version)?;
            encode(&create_topics(core, request), version)
        }
        LeaderApi::DeleteTopics => {
            let request = decode::<DeleteTopicsRequest>(call.body, version)?;
            encode(&delete_topics(core, request), version)
        }
        LeaderApi::InitProducerId => {
            let request = decode::<InitProducerIdRequest>(call.body, version)?;
            encode(&init_producer_id(core, &request), version)
        }
    }
}

fn refused(why: impl Display) -> MetadataError {
    MetadataError::Refused {
        reason: why.to_string(),
    }
}

fn decode<T: Decodable>(mut body: Bytes, version: i16) -> Result<T, MetadataError> {
    T::decode(&mut body, version).map_err(refused)
}

fn encode(body: &impl Encodable, version: i16) -> Result<Bytes, MetadataError> {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes, version).map_err(refused)?;
    Ok(bytes.freeze())
}

fn create_topics(core: &mut Core, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut response = CreateTopicsResponse::default();
    for topic in request.topics {
        response
            .topics
            .push(create_topic(core, &topic, request.validate_only));
    }
    core.publish();
    response
}

fn create_topic(core: &mut Core, topic: &CreatableTopic, dry: bool) -> CreatableTopicResult {
    let name = topic.name.to_string();
    let mut result = CreatableTopicResult::default().with_name(topic.name.clone());
    let partitions = match topic.num_partitions {
        -1 => 1,
        n => u32::try_from(n).unwrap_or(0),
    };
    let error = if !legal_name(&name) {
        Some(ResponseError::InvalidTopicException)
    } else if core.topics.values().any(|t| t.name == name) {
        Some(ResponseError::TopicAlreadyExists)
    } else if partitions == 0 || partitions > TOPIC_PARTITIONS_MAX {
        Some(ResponseError::InvalidPartitions)
    } else {
        None
    };
    if let Some(error) = error {
        result.error_code = error.code();
        result.num_partitions = -1;
        result.replication_factor = -1;
        return result;
    }
    let configs: BTreeMap<String, String> = topic
        .configs
        .iter()
        .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())))
        .collect();
    if !dry {
        let created = core.create_topic(&name, partitions, configs);
        result.topic_id = created.expect("the name was looked up above").0;
    }
    result.num_partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    result.replication_factor = 1;
    result
}

fn legal_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= TOPIC_NAME_CHARS_MAX
        && name != "."
        && name != ".."
        && name.chars().all(legal)
}

fn delete_topics(core: &mut Core, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let mut response = DeleteTopicsResponse::default();
    for topic in request.topics {
        response.responses.push(delete_topic(core, topic));
    }
    core.publish();
    response
}

fn delete_topic(core: &mut Core, topic: DeleteTopicState) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id);
    let (id, unknown) = match &topic.name {
        Some(name) => {
            let found = core.topics.values().find(|t| **name == *t.name);
            let unknown = ResponseError::UnknownTopicOrPartition;
            (found.map(|t| t.id), unknown)
        }
        None => (Some(TopicId(topic.topic_id)), ResponseError::UnknownTopicId),
    };
    match id.and_then(|id| core.topics.get(&id)).cloned() {
        Some(found) => {
            result.name = Some(kafka_protocol::messages::TopicName(
                kafka_protocol::protocol::StrBytes::from_string(found.name.clone()),
            ));
            result.topic_id = found.id.0;
            core.delete_topic(found.id);
        }
        None => result.error_code = unknown.code(),
    }
    result
}

fn init_producer_id(core: &mut Core, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return InitProducerIdResponse::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
    }
    let id = core.next_producer_id();
    core.publish();
    InitProducerIdResponse::default()
        .with_producer_id(id.0.into())
        .with_producer_epoch(0)
}
