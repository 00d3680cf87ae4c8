//! ElectLeaders (43), versions 0 to 2: any agent serves any partition, so that each has the leader that an
//! election would give it.
//!
//! Null asks for all partitions that need an election: each topic is listed, without partitions.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ElectLeadersRequest, ElectLeadersResponse, TopicName,
        elect_leaders_request::TopicPartitions,
        elect_leaders_response::{PartitionResult, ReplicaElectionResult},
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, errors, shown};
use crate::{broker::Broker, view::Topic};

/// Kafka's number of elections of preferred replicas, the only ones in version 0; 1 are unclean ones.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
/// First version with an error of the whole request.
const ERROR_VERSION: i16 = 1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: ElectLeadersRequest = context.decode(body)?;
    let answer = |error: Option<ResponseError>, results: Vec<ReplicaElectionResult>| {
        let mut response = ElectLeadersResponse::default().with_replica_election_results(results);
        if context.api_version >= ERROR_VERSION {
            response.error_code = error.map_or(0, |error| error.code());
        }
        context.reply(&response)
    };
    // What is wrong with the whole request is said of each partition, too.
    let fail = |code: ResponseError, why: String| {
        let asked = request.topic_partitions.as_deref().unwrap_or_default();
        let failed = |_: i32| (code, why.clone());
        answer(Some(code), asked.iter().map(|t| of(t, failed)).collect())
    };
    if !matches!(request.election_type, PREFERRED | UNCLEAN) {
        let kind = request.election_type;
        let why = format!("There is no election type {kind}: use 0 (preferred) or 1 (unclean).");
        return fail(ResponseError::InvalidRequest, why);
    }
    if let Err(error) = broker.view.catch_up().await {
        return fail(errors::controller_code(&error), error.to_string());
    }
    let results = match &request.topic_partitions {
        Some(asked) => asked.iter().map(|topic| judge(broker, topic)).collect(),
        None => {
            let topics = broker.view.topics();
            topics.iter().map(|topic| nothing_to_do(topic)).collect()
        }
    };
    answer(None, results)
}

fn nothing_to_do(topic: &Topic) -> ReplicaElectionResult {
    let name = StrBytes::from_string(topic.view.name.clone());
    ReplicaElectionResult::default().with_topic(TopicName(name))
}

fn judge(broker: &Broker, asked: &TopicPartitions) -> ReplicaElectionResult {
    let name = &asked.topic;
    let topic = broker.view.topic_by_name(name);
    of(asked, |index| match &topic {
        None => (
            ResponseError::UnknownTopicOrPartition,
            format!("No such topic as {}", shown(name)),
        ),
        Some(topic) if topic.partition(index).is_none() => (
            ResponseError::UnknownTopicOrPartition,
            format!("No such partition as {}-{index}", name.as_str()),
        ),
        Some(_) => (
            ResponseError::ElectionNotNeeded,
            "Leader election not needed for topic partition.".to_owned(),
        ),
    })
}

fn of(
    asked: &TopicPartitions,
    result: impl Fn(i32) -> (ResponseError, String),
) -> ReplicaElectionResult {
    let partitions = asked.partitions.iter().map(|index| {
        let (error, message) = result(*index);
        PartitionResult::default()
            .with_partition_id(*index)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(message)))
    });
    ReplicaElectionResult::default()
        .with_topic(asked.topic.clone())
        .with_partition_result(partitions.collect())
}
