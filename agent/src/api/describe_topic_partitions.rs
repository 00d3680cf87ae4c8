//! DescribeTopicPartitions (75), version 0: topics in pages (KIP-966).
//!
//! Topics come sorted by name; a page ends after the requested number of partitions, or after the broker
//! config `max.request.partition.size.limit`, and the cursor names the topic and partition with which the next
//! page begins. A request that names topics has to name the cursor's among them. The first page shows everything
//! that the leader had decided, so that whoever changed a topic through another agent sees it here.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
        describe_topic_partitions_request::TopicRequest,
        describe_topic_partitions_response::{
            Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
        },
    },
    protocol::StrBytes,
};

use super::{
    Close, Reply, RequestContext,
    metadata::unknown_after_asking,
    nodes::{Nodes, TOPIC_OPERATIONS},
    topic_name,
};
use crate::{broker::Broker, placement::Candidates, view::Topic};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DescribeTopicPartitionsRequest = context.decode(body)?;
    let all = request.topics.is_empty();
    let (first, first_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let is_named = |topic: &TopicRequest| topic.name.as_str() == first;
    let is_elsewhere = request.cursor.is_some() && !all && !request.topics.iter().any(is_named);
    if first_partition < 0 || is_elsewhere {
        // Kafka fails the whole request, for which this API has no field but each topic's.
        return refuse(context, &request);
    }
    let unknown = after_asking(broker, &request).await;
    let names = names(broker, &request, &first);
    let nodes = Nodes::of(broker, context);
    let limit_max = broker
        .view
        .broker_configs()
        .effective()
        .request_partitions_max;
    let limit_max = i32::try_from(limit_max).unwrap_or(i32::MAX).max(1);
    let limit = request.response_partition_limit.clamp(1, limit_max);
    let mut page = Page {
        candidates: nodes.candidates(),
        left: usize::try_from(limit).unwrap_or(1),
        unknown,
        topics: Vec::new(),
        next: None,
    };
    for name in names {
        let from = if name == first { first_partition } else { 0 };
        match broker.view.topic_by_name(&name) {
            None if all => {}
            _ if page.left == 0 => page.next = Some(cursor(&name, 0)),
            Some(topic) => page.push(&topic, from),
            None => page.push_unknown(name),
        }
        if page.next.is_some() {
            break;
        }
    }
    context.reply(
        &DescribeTopicPartitionsResponse::default()
            .with_topics(page.topics)
            .with_next_cursor(page.next),
    )
}

/// Asks the leader before a first page, and where names are unheard. Returns what is said of those that are
/// unknown then.
async fn after_asking(broker: &Broker, request: &DescribeTopicPartitionsRequest) -> ResponseError {
    let unknown = ResponseError::UnknownTopicOrPartition;
    let is_heard = |topic: &TopicRequest| {
        let name = topic.name.as_str();
        !topic_name::is_legal(name) || broker.view.topic_by_name(name).is_some()
    };
    if request.cursor.is_some() && request.topics.iter().all(is_heard) {
        return unknown;
    }
    unknown_after_asking(broker, unknown).await
}

/// The names to describe, sorted, from the cursor on.
fn names(
    broker: &Broker,
    request: &DescribeTopicPartitionsRequest,
    first: &str,
) -> BTreeSet<String> {
    let named = |name: &str| name >= first;
    if request.topics.is_empty() {
        return broker
            .view
            .topics()
            .iter()
            .map(|topic| topic.view.name.clone())
            .filter(|name| named(name))
            .collect();
    }
    request
        .topics
        .iter()
        .map(|topic| topic.name.to_string())
        .filter(|name| named(name))
        .collect()
}

fn refuse(
    context: &RequestContext,
    request: &DescribeTopicPartitionsRequest,
) -> Result<Reply, Close> {
    let topics = request
        .topics
        .iter()
        .map(|topic| failed(topic.name.clone(), ResponseError::InvalidRequest))
        .collect();
    context.reply(&DescribeTopicPartitionsResponse::default().with_topics(topics))
}

fn failed(name: TopicName, error: ResponseError) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(name))
        .with_error_code(error.code())
}

fn cursor(name: &str, partition: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(name.to_owned())))
        .with_partition_index(partition)
}

struct Page<'a> {
    candidates: Candidates<'a>,
    /// Partitions that still fit.
    left: usize,
    /// What is said of topics that are not there.
    unknown: ResponseError,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    fn push_unknown(&mut self, name: String) {
        let error = if topic_name::is_legal(&name) {
            self.unknown
        } else {
            ResponseError::InvalidTopicException
        };
        let is_internal = topic_name::is_internal(&name);
        let topic = failed(TopicName(StrBytes::from_string(name)), error);
        self.topics.push(
            topic
                .with_is_internal(is_internal)
                .with_topic_authorized_operations(TOPIC_OPERATIONS),
        );
    }

    fn push(&mut self, topic: &Topic, from: i32) {
        let name = &topic.view.name;
        let count = i32::try_from(topic.view.partitions).unwrap_or(i32::MAX);
        let until = from
            .saturating_add(i32::try_from(self.left).unwrap_or(i32::MAX))
            .min(count);
        let partitions: Vec<_> = (from..until)
            .filter_map(|index| self.partition(topic, index))
            .collect();
        self.left -= partitions.len().min(self.left);
        if until < count {
            self.next = Some(cursor(name, until));
        }
        self.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
                .with_topic_id(topic.view.id.0)
                .with_is_internal(topic_name::is_internal(name))
                .with_partitions(partitions)
                .with_topic_authorized_operations(TOPIC_OPERATIONS),
        );
    }

    fn partition(
        &self,
        topic: &Topic,
        index: i32,
    ) -> Option<DescribeTopicPartitionsResponsePartition> {
        let partition = topic.partition(index)?;
        let described = DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_epoch(topic.view.leader_epoch.0)
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()));
        Some(match self.candidates.leader(partition) {
            Some(node) => {
                let leader = BrokerId(node.id());
                described
                    .with_leader_id(leader)
                    .with_replica_nodes(vec![leader])
                    .with_isr_nodes(vec![leader])
            }
            None => described
                .with_error_code(ResponseError::LeaderNotAvailable.code())
                .with_leader_id(BrokerId(-1)),
        })
    }
}
