//! DeleteRecords (version 2 in and out): logs begin later.
//!
//! Checks follow Kafka's `KafkaApis.handleDeleteRecordsRequest` and `Partition.deleteRecordsOnLeader`. The
//! answer has the log start after it, which never goes back. Records are gone at once; objects of which
//! nothing is left are journaled as released, and their bytes go later.

use std::collections::BTreeMap;

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex, TopicId};
use aquifer_metadata_api::config::TopicConfig;
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse, TopicName,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
    },
};

use super::{Decided, log_start::LogStarts};
use crate::state::{entity::State, topic::Topic};

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// What is answered where there is no low watermark.
const NO_LOW_WATERMARK: i64 = -1;

/// Decides a DeleteRecords request. A partition that is named twice is answered once, and its last offset
/// counts, as in Kafka.
#[must_use]
pub fn delete_records(
    state: &State,
    request: &DeleteRecordsRequest,
) -> Decided<DeleteRecordsResponse> {
    let mut wanted: BTreeMap<&TopicName, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in &request.topics {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|partition| (partition.partition_index, partition.offset));
        wanted.entry(&topic.name).or_default().extend(partitions);
    }
    let mut starts = LogStarts::default();
    let mut decided = Decided::only(DeleteRecordsResponse::default());
    for (name, partitions) in wanted {
        let known = known_topic(state, name);
        let results = partitions.into_iter().map(|(index, offset)| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            match move_start(known.as_ref(), PartitionIndex(index), offset, &mut starts) {
                Ok(low_watermark) => result.with_low_watermark(low_watermark.0),
                Err(error) => result
                    .with_low_watermark(NO_LOW_WATERMARK)
                    .with_error_code(error.code()),
            }
        });
        let topic = DeleteRecordsTopicResult::default()
            .with_name(name.clone())
            .with_partitions(results.collect());
        decided.reply.topics.push(topic);
    }
    decided.events = starts.into_events(state);
    decided
}

/// A topic that is there.
struct Known<'a> {
    id: TopicId,
    topic: &'a Topic,
    /// It is compacted only: nothing in it is ever too old.
    keeps_records: bool,
}

fn known_topic<'a>(state: &'a State, name: &str) -> Option<Known<'a>> {
    let id = state.names.get(name)?;
    let topic = state.topics.get(&id)?;
    let config = TopicConfig::resolve(&topic.configs, state.broker_configs.effective());
    Some(Known {
        id,
        topic,
        keeps_records: config.cleanup_compact && !config.cleanup_delete,
    })
}

/// The log start after it.
fn move_start(
    known: Option<&Known<'_>>,
    index: PartitionIndex,
    offset: i64,
    starts: &mut LogStarts,
) -> Result<Offset, ResponseError> {
    let known = known.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition = known.topic.partition(index);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if known.keeps_records {
        return Err(ResponseError::PolicyViolation);
    }
    let wanted = match offset {
        HIGH_WATERMARK => partition.high_watermark,
        offset => offset,
    };
    if wanted < 0 || wanted > partition.high_watermark {
        return Err(ResponseError::OffsetOutOfRange);
    }
    if wanted > partition.log_start {
        let id = PartitionId::new(known.id, index);
        starts.move_to(id, partition, Offset(wanted));
    }
    Ok(Offset(wanted.max(partition.log_start)))
}
