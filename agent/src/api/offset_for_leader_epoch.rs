//! OffsetForLeaderEpoch, versions 2 to 4: where a leader epoch ends, for clients that check whether
//! their position was cut off.
//!
//! A topic has one leader epoch, and accepted loss or restore, which alone raise it, never take back
//! an offset that was handed out. So the epoch, and every earlier one, ends at the high watermark,
//! which the leader is asked for: a stale one would tell clients that records are gone.

use std::sync::Arc;

use aquifer_metadata_api::{
    Metadata,
    locate::{OffsetSpec, OffsetsFound, OffsetsRequest},
};
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        offset_for_leader_epoch_request::OffsetForLeaderPartition,
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use super::{Close, Reply, RequestContext};
use crate::{broker::Broker, fetch::check_epoch, view::View};

/// Answers a request.
pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    offset_for_leader_epoch(&broker.view, &*broker.metadata, ctx, body).await
}

pub(crate) async fn offset_for_leader_epoch(
    view: &View,
    metadata: &dyn Metadata,
    ctx: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: OffsetForLeaderEpochRequest = ctx.decode(body)?;
    let known = |name: &str, index: i32| view.topic_by_name(name)?.partition(index);
    let missing = request.topics.iter().any(|topic| {
        let mut partitions = topic.partitions.iter();
        partitions.any(|p| known(&topic.topic, p.partition).is_none())
    });
    let reachable = !missing || view.catch_up().await.is_ok();
    let mut ask = OffsetsRequest::default();
    let mut asked = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let id = known(&topic.topic, partition.partition);
            asked.push(id.is_some());
            ask.partitions
                .extend(id.map(|id| (id, OffsetSpec::Watermarks)));
        }
    }
    let found = match ask.partitions.is_empty() {
        true => Some(Vec::new()),
        false => metadata.offsets(ask).await.ok().map(|r| r.partitions),
    };
    let mut found = found.map(Vec::into_iter);
    let mut asked = asked.into_iter();
    let mut answer = |partition: &OffsetForLeaderPartition| {
        let end = match (asked.next(), &mut found) {
            (Some(true), Some(found)) => end_of_epoch(partition, found.next().flatten()),
            (Some(true), None) => Err(ResponseError::OffsetNotAvailable),
            _ if reachable => Err(ResponseError::UnknownTopicOrPartition),
            _ => Err(ResponseError::OffsetNotAvailable),
        };
        let (code, (epoch, offset)) = match end {
            Ok(end) => (0, end),
            Err(code) => (code.code(), (-1, -1)),
        };
        EpochEndOffset::default()
            .with_error_code(code)
            .with_partition(partition.partition)
            .with_leader_epoch(epoch)
            .with_end_offset(offset)
    };
    let topics = request.topics.iter().map(|topic| {
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(topic.partitions.iter().map(&mut answer).collect())
    });
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    ctx.reply(&response)
}

/// (epoch, end offset); (-1, -1) for an epoch that is not known (Kafka's
/// `LeaderEpochFileCache.endOffsetFor`).
fn end_of_epoch(
    partition: &OffsetForLeaderPartition,
    found: Option<OffsetsFound>,
) -> Result<(i32, i64), ResponseError> {
    let marks = found
        .ok_or(ResponseError::UnknownTopicOrPartition)?
        .watermarks;
    check_epoch(partition.current_leader_epoch, marks.leader_epoch)?;
    let epoch = partition.leader_epoch;
    if epoch < 0 || epoch > marks.leader_epoch.0 {
        Ok((-1, -1))
    } else {
        Ok((epoch, marks.high_watermark.0))
    }
}
