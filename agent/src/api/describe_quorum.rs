//! DescribeQuorum (55), versions 0 to 2: the metadata service, in the terms of Kafka's controllers.
//!
//! The metadata service is one leader with a journal, which clients reach through the node that is named as
//! controller. So that node is told as the only voter: epoch and log end are the leader's term and the last
//! row of the journal, asked for at the leader. Standby leaders hold no log of their own and are not told.

use std::sync::Arc;

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_metadata_api::MetadataError;
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName,
        describe_quorum_request::TopicData as TopicRequest,
        describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{Close, Reply, RequestContext, errors, nodes::Nodes};
use crate::broker::Broker;

/// The only topic that this API is about, with one partition.
const TOPIC: &str = "__cluster_metadata";
/// First version with nodes and directories.
const NODES_VERSION: i16 = 2;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DescribeQuorumRequest = context.decode(body)?;
    if !asks_for_metadata(&request.topics) {
        let topics = request.topics.iter().map(unknown).collect();
        return context.reply(&DescribeQuorumResponse::default().with_topics(topics));
    }
    match broker.metadata.barrier().await {
        Ok(position) => context.reply(&describe(broker, context, position)),
        Err(error) => context.reply(&failed(&error)),
    }
}

fn asks_for_metadata(topics: &[TopicRequest]) -> bool {
    match topics {
        [topic] => match topic.partitions.as_slice() {
            [partition] => topic.topic_name.as_str() == TOPIC && partition.partition_index == 0,
            _ => false,
        },
        _ => false,
    }
}

fn unknown(topic: &TopicRequest) -> TopicData {
    let message = "This server does not host this topic-partition.";
    let partitions = topic.partitions.iter().map(|partition| {
        PartitionData::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(ResponseError::UnknownTopicOrPartition.code())
            .with_error_message(Some(StrBytes::from_static_str(message)))
    });
    TopicData::default()
        .with_topic_name(topic.topic_name.clone())
        .with_partitions(partitions.collect())
}

fn failed(error: &MetadataError) -> DescribeQuorumResponse {
    DescribeQuorumResponse::default()
        .with_error_code(errors::controller_code(error).code())
        .with_error_message(Some(StrBytes::from_string(error.to_string())))
}

fn describe(
    broker: &Broker,
    context: &RequestContext,
    (term, seq): (LeaderTerm, JournalSeq),
) -> DescribeQuorumResponse {
    let nodes = Nodes::of(broker, context);
    let candidates = nodes.candidates();
    let cluster = broker.session.registration().cluster;
    let controller = candidates.controller(cluster);
    let id = BrokerId(controller.map_or(-1, |node| node.id()));
    // Rows count from 1, so that the last one's number is what Kafka calls the end: the offset after it.
    let end = i64::try_from(seq.0).unwrap_or(i64::MAX);
    let now = broker.ports.clock.unix_millis();
    let with_nodes = context.api_version >= NODES_VERSION;
    let voter = ReplicaState::default()
        .with_replica_id(id)
        .with_replica_directory_id(if with_nodes { cluster.0 } else { Uuid::nil() })
        .with_log_end_offset(end)
        .with_last_fetch_timestamp(now)
        .with_last_caught_up_timestamp(now);
    let partition = PartitionData::default()
        .with_leader_id(id)
        .with_leader_epoch(i32::try_from(term.0).unwrap_or(i32::MAX))
        .with_high_watermark(end)
        .with_current_voters(vec![voter]);
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    let node = controller.filter(|_| with_nodes).map(|node| {
        let listener = Listener::default()
            .with_name(StrBytes::from_string(broker.settings.listener_name.clone()))
            .with_host(nodes.host(&node))
            .with_port(u16::try_from(node.port()).unwrap_or(u16::MAX));
        Node::default()
            .with_node_id(id)
            .with_listeners(vec![listener])
    });
    response.with_nodes(node.into_iter().collect())
}
