//! Topics of the fake: created, deleted, given more partitions.

use aquifer_format::{ids::TopicId, limits::TOPIC_PARTITIONS_MAX};
use kafka_protocol::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
        CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic, create_topics_response::CreatableTopicResult,
        delete_topics_request::DeleteTopicState, delete_topics_response::DeletableTopicResult,
    },
    protocol::StrBytes,
};

use super::super::core::Core;
use crate::{
    config::{self, Configs},
    topic_name,
};

pub(super) fn create_topics(core: &mut Core, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let results = request
        .topics
        .iter()
        .map(|topic| create_topic(core, topic, request.validate_only));
    CreateTopicsResponse::default().with_topics(results.collect())
}

fn create_topic(core: &mut Core, topic: &CreatableTopic, dry: bool) -> CreatableTopicResult {
    let result = CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_message(None);
    let (partitions, configs) = match check_new(core, topic) {
        Ok(new) => new,
        Err((error, text)) => {
            return result
                .with_error_code(error.code())
                .with_error_message(text.map(StrBytes::from_string))
                .with_num_partitions(-1)
                .with_replication_factor(-1);
        }
    };
    let mut result = result
        .with_num_partitions(i32::try_from(partitions).unwrap_or(i32::MAX))
        .with_replication_factor(1);
    if !dry {
        let created = core.create_topic(&topic.name, partitions, configs);
        result.topic_id = created.expect("the name was looked up above").0;
    }
    result
}

/// A code, and a text where there is one.
type Refusal = (ResponseError, Option<String>);

fn check_new(core: &Core, topic: &CreatableTopic) -> Result<(u32, Configs), Refusal> {
    topic_name::check(&topic.name).map_err(|error| {
        (
            ResponseError::InvalidTopicException,
            Some(error.to_string()),
        )
    })?;
    if core.topic_by_name(&topic.name).is_some() {
        return Err((ResponseError::TopicAlreadyExists, None));
    }
    let configs = topic
        .configs
        .iter()
        .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())));
    let configs: Configs = configs.collect();
    config::validate_all(&configs, &core.broker_configs)
        .map_err(|error| (ResponseError::InvalidConfig, Some(error.to_string())))?;
    let partitions = match topic.num_partitions {
        -1 => 1,
        n => u32::try_from(n).unwrap_or(0),
    };
    if partitions == 0 || partitions > TOPIC_PARTITIONS_MAX {
        return Err((ResponseError::InvalidPartitions, None));
    }
    Ok((partitions, configs))
}

pub(super) fn delete_topics(core: &mut Core, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let results = request.topics.into_iter();
    let results = results.map(|topic| delete_topic(core, topic));
    DeleteTopicsResponse::default().with_responses(results.collect())
}

fn delete_topic(core: &mut Core, topic: DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id);
    let (found, unknown) = match &topic.name {
        Some(name) => (
            core.topic_by_name(name),
            ResponseError::UnknownTopicOrPartition,
        ),
        None => (
            core.topics.get(&TopicId(topic.topic_id)),
            ResponseError::UnknownTopicId,
        ),
    };
    let Some(found) = found.cloned() else {
        return result.with_error_code(unknown.code());
    };
    if core.config_of(&found.configs).deletion_protection {
        return result.with_error_code(ResponseError::PolicyViolation.code());
    }
    core.delete_topic(found.id);
    result
        .with_name(Some(TopicName(StrBytes::from_string(found.name.clone()))))
        .with_topic_id(found.id.0)
}

pub(super) fn create_partitions(
    core: &mut Core,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut response = CreatePartitionsResponse::default();
    for topic in &request.topics {
        let same = |result: &CreatePartitionsTopicResult| result.name == topic.name;
        if response.results.iter().any(same) {
            continue;
        }
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        let twice = request
            .topics
            .iter()
            .filter(|t| t.name == topic.name)
            .count()
            > 1;
        let added = match twice {
            true => Err(ResponseError::InvalidRequest),
            false => add_partitions(core, topic, request.validate_only),
        };
        response.results.push(match added {
            Ok(()) => result,
            Err(error) => result.with_error_code(error.code()),
        });
    }
    response
}

fn add_partitions(
    core: &mut Core,
    topic: &CreatePartitionsTopic,
    dry: bool,
) -> Result<(), ResponseError> {
    let found = core.topic_by_name(&topic.name).cloned();
    let found = found.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let wanted = u32::try_from(topic.count).unwrap_or(0);
    if wanted <= found.partitions {
        return Err(ResponseError::InvalidPartitions);
    }
    let added = usize::try_from(wanted - found.partitions).unwrap_or(usize::MAX);
    if let Some(assignments) = &topic.assignments
        && assignments.len() != added
    {
        return Err(ResponseError::InvalidReplicaAssignment);
    }
    if wanted > TOPIC_PARTITIONS_MAX {
        return Err(ResponseError::InvalidPartitions);
    }
    if !dry {
        core.add_partitions(&found, wanted);
    }
    Ok(())
}
