//! OffsetDelete (47), version 0: passed to the metadata leader.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// How long this agent tries: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: OffsetDeleteRequest = context.decode(body)?;
    let api = LeaderApi::OffsetDelete;
    let answered: Result<OffsetDeleteResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let response = answered.unwrap_or_else(|error| {
        OffsetDeleteResponse::default().with_error_code(errors::group_code(api, &error))
    });
    context.reply(&response)
}
