//! ListGroups (16), versions 0 to 5: passed to the metadata leader at its pinned version.
//!
//! Tools ask every node and add up, so the answer has all groups on the node that the client takes for the
//! controller and none on the others.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::{Close, Reply, RequestContext, errors, nodes::Nodes};
use crate::{broker::Broker, group_calls};

/// How long this agent tries: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let mut request: ListGroupsRequest = context.decode(body)?;
    if !Nodes::of(broker, context).at_controller(broker, context) {
        return context.reply(&ListGroupsResponse::default());
    }
    request.unknown_tagged_fields.clear();
    let api = LeaderApi::ListGroups;
    let answered: Result<ListGroupsResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let response = answered.unwrap_or_else(|error| {
        tracing::debug!(%error, "groups cannot be listed");
        ListGroupsResponse::default().with_error_code(errors::group_code(api, &error))
    });
    context.reply(&response)
}
