//! AlterPartitionReassignments (45), versions 0 and 1: which agent a client uses for a partition follows from
//! which agents live, and cannot be chosen by hand.
//!
//! To ask for what Metadata shows is fine and changes nothing; other assignments are refused. There is never a
//! reassignment under way that could be cancelled.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
        alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
        alter_partition_reassignments_response::{
            ReassignablePartitionResponse, ReassignableTopicResponse,
        },
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, errors, nodes::Nodes, shown};
use crate::{broker::Broker, placement::Candidates};

/// Why a partition stays as it is.
type Refusal = (ResponseError, Option<String>);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: AlterPartitionReassignmentsRequest = context.decode(body)?;
    if request.topics.is_empty() {
        return context.reply(&AlterPartitionReassignmentsResponse::default());
    }
    let response = AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_error_message(None);
    if let Err(error) = broker.view.catch_up().await {
        let code = errors::controller_code(&error);
        let message = StrBytes::from_string(error.to_string());
        return context.reply(
            &response
                .with_error_code(code.code())
                .with_error_message(Some(message)),
        );
    }
    let nodes = Nodes::of(broker, context);
    let candidates = nodes.candidates();
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let judged = judge(broker, &nodes, &candidates, topic, partition);
            let described = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_message(None);
            match judged {
                Ok(()) => described,
                Err((error, message)) => described
                    .with_error_code(error.code())
                    .with_error_message(message.map(StrBytes::from_string)),
            }
        });
        ReassignableTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    let responses = responses.collect();
    context.reply(&response.with_responses(responses))
}

fn judge(
    broker: &Broker,
    nodes: &Nodes,
    candidates: &Candidates<'_>,
    asked: &ReassignableTopic,
    partition: &ReassignablePartition,
) -> Result<(), Refusal> {
    let unknown = |message| Err((ResponseError::UnknownTopicOrPartition, Some(message)));
    let name = asked.name.as_str();
    let index = partition.partition_index;
    let Some(topic) = broker.view.topic_by_name(name) else {
        return unknown(format!("Unable to find a topic named {}.", shown(name)));
    };
    let Some(id) = topic.partition(index) else {
        return unknown(format!("Unable to find partition {name}:{index}."));
    };
    let Some(replicas) = &partition.replicas else {
        return Err((ResponseError::NoReassignmentInProgress, None));
    };
    check_replicas(nodes, replicas)
        .map_err(|message| (ResponseError::InvalidReplicaAssignment, Some(message)))?;
    match candidates.leader(id) {
        Some(leader) if **replicas == [BrokerId(leader.id())] => Ok(()),
        _ => Err((
            ResponseError::InvalidReplicaAssignment,
            Some(
                "Partitions cannot be placed by hand: every broker serves every partition, and the bucket is \
                 the replica."
                    .to_owned(),
            ),
        )),
    }
}

/// What Kafka asks of assignments, in its words.
fn check_replicas(nodes: &Nodes, replicas: &[BrokerId]) -> Result<(), String> {
    if replicas.is_empty() {
        return Err("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted: Vec<i32> = replicas.iter().map(|replica| replica.0).collect();
    sorted.sort_unstable();
    let mut before = None;
    for id in sorted {
        if nodes.node(id).is_none() {
            return Err(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
        if before == Some(id) {
            return Err(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
        before = Some(id);
    }
    Ok(())
}
