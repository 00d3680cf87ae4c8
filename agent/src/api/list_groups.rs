//! ListGroups (16), versions 0 to 5: there are no groups. Kafka's tools for configs ask for them.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::{Close, Reply, RequestContext};
use crate::broker::Broker;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let _: ListGroupsRequest = context.decode(body)?;
    context.reply(&ListGroupsResponse::default())
}
