//! ListPartitionReassignments (46), version 0: none is ever under way.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::{Close, Reply, RequestContext};
use crate::broker::Broker;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let _: ListPartitionReassignmentsRequest = context.decode(body)?;
    context.reply(&ListPartitionReassignmentsResponse::default().with_error_message(None))
}
