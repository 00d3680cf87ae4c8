//! DescribeProducers (61), version 0: passed to the metadata leader, which alone knows who wrote.

use std::sync::Arc;

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        DescribeProducersRequest, DescribeProducersResponse,
        describe_producers_response::{PartitionResponse, TopicResponse},
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
    let request: DescribeProducersRequest = context.decode(body)?;
    let answered: Result<DescribeProducersResponse, _> =
        leader::call(broker, context, LeaderApi::DescribeProducers, &request, 0).await;
    let response = answered.unwrap_or_else(|error| failed(&request, &error));
    context.reply(&response)
}

fn failed(request: &DescribeProducersRequest, error: &MetadataError) -> DescribeProducersResponse {
    let code = errors::partition_code(error).code();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            PartitionResponse::default()
                .with_partition_index(*index)
                .with_error_code(code)
                .with_error_message(Some(StrBytes::from_string(error.to_string())))
        });
        TopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}
