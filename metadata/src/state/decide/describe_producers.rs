//! DescribeProducers (version 0 in and out): who wrote to a partition with a producer id.
//!
//! Checks and texts follow Kafka's `KafkaApis.handleDescribeProducersRequest`.

use aquifer_format::ids::PartitionIndex;
use kafka_protocol::{
    ResponseError,
    messages::{
        self, DescribeProducersRequest, DescribeProducersResponse,
        describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
    },
};

use super::{refusal::Refusal, topic_name};
use crate::state::{entity::State, partition::Partition, producer::Producer, topic::Topic};

/// What is answered where there is no time, epoch or offset.
const NONE: i32 = -1;

/// Answers a DescribeProducers request, in its order.
#[must_use]
pub fn describe_producers(
    state: &State,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|wanted| {
        let topic = find(state, wanted.name.as_str());
        let partitions = wanted.partition_indexes.iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(*index);
            let partition = topic.clone().and_then(|topic| {
                let partition = topic.partition(PartitionIndex(*index));
                partition.ok_or(Refusal::bare(ResponseError::UnknownTopicOrPartition))
            });
            match partition {
                Ok(partition) => response.with_active_producers(producers(partition)),
                Err(refusal) => response
                    .with_error_code(refusal.code())
                    .with_error_message(refusal.text()),
            }
        });
        TopicResponse::default()
            .with_name(wanted.name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn find<'a>(state: &'a State, name: &str) -> Result<&'a Topic, Refusal> {
    topic_name::check(name)?;
    let id = state.names.get(name);
    let topic = id.and_then(|id| state.topics.get(&id));
    topic.ok_or_else(|| {
        let text = "This server does not host this topic-partition.";
        Refusal::new(ResponseError::UnknownTopicOrPartition, text)
    })
}

fn producers(partition: &Partition) -> Vec<ProducerState> {
    let known = partition
        .producers
        .iter()
        .flat_map(|producers| &producers.0);
    let states = known.map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(messages::ProducerId(id.0))
            .with_producer_epoch(i32::from(producer.epoch.0))
            .with_last_sequence(last_sequence(producer))
            .with_last_timestamp(last_timestamp(partition, producer))
            .with_coordinator_epoch(NONE)
            .with_current_txn_start_offset(i64::from(NONE))
    });
    states.collect()
}

/// The sequence before the next one; it may have wrapped.
fn last_sequence(producer: &Producer) -> i32 {
    let next = producer.batches.last().map(|batch| batch.next_sequence());
    match next.map(|next| next.0) {
        None => NONE,
        Some(0) => i32::MAX,
        Some(next) => next.saturating_sub(1),
    }
}

/// Time of the last batch. Where producers set it, this is the latest time of the extent that has the batch:
/// batches that were committed with it may be in there too. -1 once the extent is gone.
fn last_timestamp(partition: &Partition, producer: &Producer) -> i64 {
    let Some(last) = producer.batches.last() else {
        return i64::from(NONE);
    };
    last.append_time().unwrap_or_else(|| {
        let mut extents = partition.extents.iter_from(last.base_offset);
        let extent = extents
            .next()
            .filter(|extent| extent.base_offset <= last.base_offset);
        extent.map_or(i64::from(NONE), |extent| extent.max_timestamp)
    })
}
