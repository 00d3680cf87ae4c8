//! What is in the logs of the fake: deleted, measured, asked who wrote it.

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex};
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse, DescribeLogDirsRequest,
        DescribeLogDirsResponse, DescribeProducersRequest, DescribeProducersResponse, TopicName,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        describe_log_dirs_response::{
            DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
        },
        describe_producers_response::{PartitionResponse, TopicResponse},
    },
    protocol::StrBytes,
};

use super::super::core::Core;
use crate::watch::TopicView;

pub(super) fn delete_records(
    core: &mut Core,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let results = topic.partitions.into_iter().map(|partition| {
            let index = partition.partition_index;
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            match move_start(core, &topic.name, index, partition.offset) {
                Ok(low_watermark) => result.with_low_watermark(low_watermark.0),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        let results = results.collect();
        DeleteRecordsTopicResult::default()
            .with_name(topic.name)
            .with_partitions(results)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn move_start(
    core: &mut Core,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<Offset, ResponseError> {
    let unknown = ResponseError::UnknownTopicOrPartition;
    let topic = core.topic_by_name(topic).ok_or(unknown)?;
    let config = core.config_of(&topic.configs);
    let id = PartitionId::new(topic.id, PartitionIndex(index));
    let log = core.logs.get(&id).ok_or(unknown)?;
    if config.cleanup_compact && !config.cleanup_delete {
        return Err(ResponseError::PolicyViolation);
    }
    let wanted = match offset {
        -1 => log.end,
        offset => Offset(offset),
    };
    if wanted.0 < 0 || wanted > log.end {
        return Err(ResponseError::OffsetOutOfRange);
    }
    core.set_log_start(id, wanted);
    Ok(core.logs[&id].log_start)
}

pub(super) fn describe_producers(
    core: &mut Core,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let known = core.topic_by_name(&topic.name).map(|known| known.id);
        let partitions = topic.partition_indexes.into_iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(index);
            let log = known.and_then(|id| {
                let id = PartitionId::new(id, PartitionIndex(index));
                core.logs.get(&id)
            });
            match log {
                Some(log) => response.with_active_producers(log.producers()),
                None => response.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            }
        });
        let partitions = partitions.collect();
        TopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

pub(super) fn describe_log_dirs(
    core: &mut Core,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let all = |topic: &TopicView| i32::try_from(topic.partitions).unwrap_or(i32::MAX);
    let topics: Vec<_> = match &request.topics {
        None => core
            .topics
            .values()
            .map(|topic| measured(core, topic, 0..all(topic)))
            .collect(),
        Some(wanted) => wanted
            .iter()
            .filter_map(|wanted| {
                let topic = core.topic_by_name(&wanted.topic)?;
                let measured = measured(core, topic, wanted.partitions.iter().copied());
                (!measured.partitions.is_empty()).then_some(measured)
            })
            .collect(),
    };
    let bucket = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_static_str("/bucket"))
        .with_topics(topics)
        .with_total_bytes(-1)
        .with_usable_bytes(-1);
    DescribeLogDirsResponse::default().with_results(vec![bucket])
}

fn measured(
    core: &Core,
    topic: &TopicView,
    partitions: impl Iterator<Item = i32>,
) -> DescribeLogDirsTopic {
    let partitions = partitions.filter_map(|index| {
        let id = PartitionId::new(topic.id, PartitionIndex(index));
        let extents = &core.logs.get(&id)?.extents;
        let bytes = extents
            .iter()
            .map(|extent| i64::from(extent.raw_bytes))
            .sum();
        let measured = DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(bytes);
        Some(measured)
    });
    DescribeLogDirsTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
        .with_partitions(partitions.collect())
}
