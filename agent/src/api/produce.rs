//! Produce, versions 3 to 13 (13 names topics by id).
//!
//! Each partition's batch is validated ([`crate::produce::validate`]), all that pass go into the
//! agent's buffer together, and the answer waits for the bucket and the metadata leader. `acks=1` waits
//! as `acks=-1` does: there is no other replica. `acks=0` gets no answer; an error closes its
//! connection.
//!
//! The order of checks is Kafka's (`KafkaApis.handleProduceRequest`, `ReplicaManager.appendRecords`):
//! transactional rights for the whole request; then per partition whether it exists, the shape of its
//! records, `acks`, and the batch itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aquifer_format::ids::{PartitionId, TopicId};
use aquifer_store::UnixMillis;
use bytes::Bytes;
use futures::future::BoxFuture;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, ProduceRequest, ProduceResponse, TopicName,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{NodeEndpoint, TopicProduceResponse},
    },
    protocol::StrBytes,
};

use self::answer::{decided, failure, log_start, refused};
use super::{Close, Reply, RequestContext, nodes::Nodes};
use crate::{
    broker::Broker,
    produce::{
        BatchResult, ProduceBatch,
        validate::{self, Refusal},
    },
    view::{Topic, View},
};

mod answer;

/// First version that names topics by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// First version that hints at leaders (KIP-951).
const LEADER_HINT_VERSION: i16 = 10;

/// Where a request has fewer bytes of batches these are always copied: it costs nothing, and the buffer of
/// the smallest frame has half as many.
const COPIED_BYTES_MAX: usize = 1024;

/// An accepted request, waiting for its answer.
pub(crate) type ProducePending = BoxFuture<'static, Result<Reply, Close>>;

/// Takes a request in; returns when its batches are in the buffer. Requests of one connection must be
/// accepted one after the other; their answers may be awaited together.
pub(crate) async fn accept(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    body: Bytes,
) -> Result<ProducePending, Close> {
    let (view, produce) = (&broker.view, &broker.produce);
    let frame_bytes = body.len();
    let request: ProduceRequest = ctx.decode(body)?;
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let settings = produce.settings();
    let timeout = timeout.clamp(settings.answer_min, settings.answer_max);
    let throttle = if view.throttle_produce() {
        settings.throttle
    } else {
        Duration::ZERO
    };
    let acks = request.acks;
    let now = broker.ports.clock.unix_millis();
    // What is refused here was never taken in: it cannot turn visible later.
    let refused = broker.fence.check().err().map(|fenced| {
        let code = ResponseError::NotLeaderOrFollower;
        Refusal::new(code, format!("{fenced}; ask another one"))
    });
    let planner = Planner::new(view, ctx.api_version, now);
    let (plan, mut batches) = planner.plan(request, refused).await;
    cut_out(&mut batches, frame_bytes);
    let count = batches.len();
    let accepted = produce.accept(&ctx.connection, batches, ctx.received.plus(timeout));
    // The fence first: the agent may have fenced itself since it was asked above. What waits for room
    // has no place yet.
    let pending = tokio::select! {
        biased;
        _ = broker.fence.fenced() => None,
        pending = accepted => Some(pending),
    };
    let (broker, ctx) = (Arc::clone(broker), ctx.clone());
    Ok(Box::pin(async move {
        let results = match pending {
            Some(pending) => pending.await.map_err(|_| Close::SessionEnded)?,
            None => vec![BatchResult::NotLeader; count],
        };
        if acks == 0 {
            return plan.unacknowledged(&results, ctx.api_version);
        }
        let mut response = plan.response(&results, &broker.view, ctx.api_version, throttle);
        if ctx.api_version >= LEADER_HINT_VERSION {
            hint_at_leaders(&mut response, &broker, &ctx);
        }
        ctx.reply(&response)
    }))
}

/// Copies batches that are a small part of their frame. They stay in the cache for as long as somebody
/// reads them, and as slices they would keep all of it there, what was refused included.
fn cut_out(batches: &mut [ProduceBatch], frame_bytes: usize) {
    let kept: usize = batches.iter().map(|b| b.batch.bytes.len()).sum();
    if kept < COPIED_BYTES_MAX.max(frame_bytes / 2) {
        for ProduceBatch { batch, .. } in batches {
            batch.bytes = Bytes::copy_from_slice(&batch.bytes);
        }
    }
}

/// Names the leaders of partitions that another agent should be asked about (KIP-951).
fn hint_at_leaders(response: &mut ProduceResponse, broker: &Broker, ctx: &RequestContext) {
    let moved = ResponseError::NotLeaderOrFollower.code();
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    if !partitions
        .into_iter()
        .any(|partition| partition.error_code == moved)
    {
        return;
    }
    let nodes = Nodes::of(broker, ctx);
    let candidates = nodes.candidates();
    let mut endpoints = BTreeMap::new();
    for topic in &mut response.responses {
        let known = if ctx.api_version >= TOPIC_ID_VERSION {
            broker.view.topic_by_id(TopicId(topic.topic_id))
        } else {
            broker.view.topic_by_name(topic.name.as_str())
        };
        let Some(known) = known else { continue };
        for answer in &mut topic.partition_responses {
            let leader = known
                .partition(answer.index)
                .and_then(|id| candidates.leader(id));
            if let Some(node) = leader.filter(|_| answer.error_code == moved) {
                answer.current_leader.leader_id = BrokerId(node.id());
                answer.current_leader.leader_epoch = known.view.leader_epoch.0;
                let endpoint = NodeEndpoint::default()
                    .with_node_id(BrokerId(node.id()))
                    .with_host(nodes.host(&node))
                    .with_port(node.port())
                    .with_rack(nodes.rack(&node));
                endpoints.insert(node.id(), endpoint);
            }
        }
    }
    response.node_endpoints = endpoints.into_values().collect();
}

/// What is to be answered, but for the results of accepted batches.
#[derive(Debug)]
struct Plan {
    topics: Vec<TopicPlan>,
}

#[derive(Debug)]
struct TopicPlan {
    name: String,
    id: uuid::Uuid,
    partitions: Vec<(i32, PartitionPlan)>,
}

#[derive(Debug)]
enum PartitionPlan {
    Refused(Refusal),
    Accepted {
        partition: PartitionId,
        /// Index into the batches that were accepted.
        at: usize,
    },
}

struct Planner<'a> {
    view: &'a View,
    version: i16,
    now: UnixMillis,
    batches: Vec<ProduceBatch>,
    seen: BTreeSet<(TopicId, i32)>,
}

impl<'a> Planner<'a> {
    fn new(view: &'a View, version: i16, now: UnixMillis) -> Self {
        Self {
            view,
            version,
            now,
            batches: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    async fn plan(
        mut self,
        mut request: ProduceRequest,
        refused: Option<Refusal>,
    ) -> (Plan, Vec<ProduceBatch>) {
        // Kafka answers by partition, so nothing where there are none.
        request
            .topic_data
            .retain(|topic| !topic.partition_data.is_empty());
        let refused = refused.or_else(|| request_refusal(&request, self.version));
        let unknown = refused.is_none() && request.topic_data.iter().any(|t| !self.knows(t));
        // The leader is asked once, however many topics there are.
        let missing = if unknown {
            self.missing_refusal().await
        } else {
            None
        };
        let mut topics = Vec::with_capacity(request.topic_data.len());
        for data in request.topic_data {
            let found = match &refused {
                Some(refusal) => Err(refusal.clone()),
                None => self.find(&data).ok_or_else(|| {
                    missing
                        .clone()
                        .unwrap_or_else(|| unknown_topic(self.version))
                }),
            };
            let mut partitions = Vec::with_capacity(data.partition_data.len());
            for partition in data.partition_data {
                let index = partition.index;
                let plan = match &found {
                    Err(refusal) => PartitionPlan::Refused(refusal.clone()),
                    Ok(topic) => match self.partition(topic, partition, request.acks) {
                        Ok((partition, at)) => PartitionPlan::Accepted { partition, at },
                        Err(refusal) => PartitionPlan::Refused(refusal),
                    },
                };
                partitions.push((index, plan));
            }
            // Copied: a slice would keep the whole request in memory until it is answered.
            let name = data.name.as_str().to_owned();
            topics.push(TopicPlan {
                name,
                id: data.topic_id,
                partitions,
            });
        }
        (Plan { topics }, self.batches)
    }

    /// Whether the view has the topic and all its partitions that are named.
    fn knows(&self, data: &TopicProduceData) -> bool {
        let mut named = data.partition_data.iter().map(|partition| partition.index);
        self.find(data)
            .is_some_and(|topic| named.all(|index| topic.partition(index).is_some()))
    }

    fn find(&self, data: &TopicProduceData) -> Option<Arc<Topic>> {
        if self.version >= TOPIC_ID_VERSION {
            self.view.topic_by_id(TopicId(data.topic_id))
        } else {
            self.view.topic_by_name(data.name.as_str())
        }
    }

    /// Catches up with the leader. What is missing then does not exist, unless it cannot be told.
    async fn missing_refusal(&self) -> Option<Refusal> {
        let error = self.view.catch_up().await.err()?;
        Some(Refusal::new(
            ResponseError::LeaderNotAvailable,
            error.to_string(),
        ))
    }

    fn partition(
        &mut self,
        topic: &Topic,
        data: PartitionProduceData,
        acks: i16,
    ) -> Result<(PartitionId, usize), Refusal> {
        let Some(partition) = topic.partition(data.index) else {
            return Err(Refusal::new(
                ResponseError::UnknownTopicOrPartition,
                "the topic has no such partition",
            ));
        };
        let batch = validate::shape(data.records, self.version)?;
        if !matches!(acks, -1..=1) {
            return Err(Refusal::new(
                ResponseError::InvalidRequiredAcks,
                format!("acks must be -1, 0 or 1, not {acks}"),
            ));
        }
        if !self.seen.insert((topic.view.id, data.index)) {
            return Err(Refusal::new(
                ResponseError::InvalidRecord,
                "the request names the partition twice",
            ));
        }
        let checked = validate::check(batch, &topic.config, self.now);
        let batch = checked.map_err(|refusal| self.by_log(partition, refusal))?;
        self.batches.push(ProduceBatch { partition, batch });
        Ok((partition, self.batches.len() - 1))
    }

    /// With what of the partition's log is said beside the refusal (Kafka's `ReplicaManager.appendToLocalLog`).
    fn by_log(&self, partition: PartitionId, refusal: Refusal) -> Refusal {
        let log_start = match refusal.code {
            ResponseError::MessageTooLarge | ResponseError::CorruptMessage => None,
            _ => log_start(self.view, partition),
        };
        Refusal {
            log_start,
            ..refusal
        }
    }
}

/// What refuses the whole request. There are no transactions yet: the code is one that producers do
/// not retry, and `InitProducerId` has refused them before.
fn request_refusal(request: &ProduceRequest, version: i16) -> Option<Refusal> {
    let transactional = request.transactional_id.is_some()
        || request
            .topic_data
            .iter()
            .flat_map(|topic| &topic.partition_data)
            .any(|partition| {
                validate::shape(partition.records.clone(), version)
                    .is_ok_and(|batch| batch.header.is_transactional())
            });
    transactional.then(|| {
        Refusal::new(
            ResponseError::TransactionalIdAuthorizationFailed,
            "transactions are not supported; produce without a transactional id",
        )
    })
}

fn unknown_topic(version: i16) -> Refusal {
    if version >= TOPIC_ID_VERSION {
        Refusal::new(
            ResponseError::UnknownTopicId,
            "there is no topic with this id",
        )
    } else {
        Refusal::new(
            ResponseError::UnknownTopicOrPartition,
            "there is no such topic",
        )
    }
}

impl Plan {
    fn unacknowledged(&self, results: &[BatchResult], version: i16) -> Result<Reply, Close> {
        let refused = self
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .find_map(|(_, plan)| match plan {
                PartitionPlan::Refused(refusal) => Some(refusal.code),
                PartitionPlan::Accepted { .. } => None,
            });
        let by_id = version >= TOPIC_ID_VERSION;
        let failed = || results.iter().find_map(|result| failure(result, by_id));
        match refused.or_else(|| failed().map(|(code, _)| code)) {
            Some(code) => Err(Close::UnacknowledgedFailed { code: code.code() }),
            None => Ok(Reply::Nothing),
        }
    }

    fn response(
        &self,
        results: &[BatchResult],
        view: &View,
        version: i16,
        throttle: Duration,
    ) -> ProduceResponse {
        let by_id = version >= TOPIC_ID_VERSION;
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|(index, plan)| {
                let answer = match plan {
                    PartitionPlan::Refused(refusal) => refused(refusal),
                    PartitionPlan::Accepted { partition, at } => {
                        decided(&results[*at], *partition, view, by_id)
                    }
                };
                answer.with_index(*index)
            });
            TopicProduceResponse::default()
                .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
                .with_topic_id(topic.id)
                .with_partition_responses(partitions.collect())
        });
        ProduceResponse::default()
            .with_responses(topics.collect())
            .with_throttle_time_ms(i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests;
