//! ConsumerGroupHeartbeat (68), versions 0 and 1: passed to the metadata leader at its pinned version. Version 0
//! has no regular expression, and may leave it to the leader to name the member.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::{
    messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// How long this agent tries: less than the interval between two heartbeats (5 s by default).
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let mut request: ConsumerGroupHeartbeatRequest = context.decode(body)?;
    request.unknown_tagged_fields.clear();
    for topic in request.topic_partitions.iter_mut().flatten() {
        topic.unknown_tagged_fields.clear();
    }
    let api = LeaderApi::ConsumerGroupHeartbeat;
    let answered: Result<ConsumerGroupHeartbeatResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let response = answered.unwrap_or_else(|error| {
        ConsumerGroupHeartbeatResponse::default()
            .with_error_code(errors::group_code(api, &error))
            .with_error_message(Some(StrBytes::from_string(error.to_string())))
    });
    context.reply(&response)
}
