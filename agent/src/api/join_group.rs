//! JoinGroup (11), versions 0 to 9: passed to the metadata leader at its pinned version, where it waits for the
//! other members. Up to version 0 the session timeout is the rebalance timeout, too.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::{
    messages::{JoinGroupRequest, JoinGroupResponse},
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// First version with a rebalance timeout.
const REBALANCE_TIMEOUT: i16 = 1;
/// First version in which the name of the protocol may be null, and its type is told.
const NULLABLE_PROTOCOL: i16 = 7;
/// First version in which a leader may be told not to assign.
const SKIP_ASSIGNMENT: i16 = 9;
/// Clients wait for 5 s longer than the rebalance timeout: they shall hear why there is no answer.
const PATIENCE_BEYOND_REBALANCE: Duration = Duration::from_secs(4);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let version = context.api_version;
    let mut request: JoinGroupRequest = context.decode(body)?;
    if version < REBALANCE_TIMEOUT {
        request.rebalance_timeout_ms = request.session_timeout_ms;
    }
    request.unknown_tagged_fields.clear();
    for protocol in &mut request.protocols {
        protocol.unknown_tagged_fields.clear();
    }
    let rebalance_ms = u64::try_from(request.rebalance_timeout_ms).unwrap_or(0);
    let patience = Duration::from_millis(rebalance_ms) + PATIENCE_BEYOND_REBALANCE;
    let api = LeaderApi::JoinGroup;
    let answered: Result<JoinGroupResponse, _> =
        group_calls::call(broker, context, api, &request, patience).await;
    let mut response = answered.unwrap_or_else(|error| {
        JoinGroupResponse::default()
            .with_error_code(errors::group_code(api, &error))
            .with_member_id(request.member_id.clone())
            .with_protocol_name(None)
    });
    if version < SKIP_ASSIGNMENT {
        response.skip_assignment = false;
    }
    if version < NULLABLE_PROTOCOL {
        response.protocol_type = None;
        let name = response.protocol_name.take();
        response.protocol_name = Some(name.unwrap_or_else(StrBytes::new));
    }
    context.reply(&response)
}
