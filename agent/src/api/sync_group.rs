//! SyncGroup (14), versions 0 to 5: passed to the metadata leader at its pinned version, where it waits for the
//! assignment of the group's leader.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{SyncGroupRequest, SyncGroupResponse},
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// First version that must name the protocol and its type (KIP-559).
const NAMES_PROTOCOL: i16 = 5;
/// How long this agent waits: the stock clients' rebalance timeout, 5 minutes, and most of the 5 s that they
/// wait for longer.
const PATIENCE: Duration = Duration::from_secs(304);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let mut request: SyncGroupRequest = context.decode(body)?;
    let nameless = request.protocol_type.is_none() || request.protocol_name.is_none();
    if context.api_version >= NAMES_PROTOCOL && nameless {
        let code = ResponseError::InconsistentGroupProtocol.code();
        return context.reply(&SyncGroupResponse::default().with_error_code(code));
    }
    request.unknown_tagged_fields.clear();
    for assignment in &mut request.assignments {
        assignment.unknown_tagged_fields.clear();
    }
    let api = LeaderApi::SyncGroup;
    let answered: Result<SyncGroupResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let response = answered.unwrap_or_else(|error| {
        SyncGroupResponse::default().with_error_code(errors::group_code(api, &error))
    });
    context.reply(&response)
}
