//! Heartbeat (12), versions 0 to 4: passed to the metadata leader at its pinned version.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// How long this agent tries: the stock clients' interval between two heartbeats.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let mut request: HeartbeatRequest = context.decode(body)?;
    request.unknown_tagged_fields.clear();
    let api = LeaderApi::Heartbeat;
    let answered: Result<HeartbeatResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let response = answered.unwrap_or_else(|error| {
        tracing::debug!(%error, "a heartbeat did not reach the metadata leader");
        HeartbeatResponse::default().with_error_code(errors::group_code(api, &error))
    });
    context.reply(&response)
}
