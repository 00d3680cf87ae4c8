//! InitProducerId (22), versions 0 to 5: a producer id for idempotent producers, from the metadata
//! leader.
//!
//! Transactions do not work yet. A transactional id is refused with
//! TRANSACTIONAL_ID_AUTHORIZATION_FAILED: of the codes that fit it is the one at which both the Java
//! client and librdkafka give up at once instead of asking again.

use std::sync::Arc;

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId},
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, leader};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: InitProducerIdRequest = context.decode(body)?;
    if let Err(error) = check(&request) {
        return context.reply(&failed(error));
    }
    let answered: Result<InitProducerIdResponse, _> =
        leader::call(broker, context, LeaderApi::InitProducerId, &request, 0).await;
    context.reply(&answered.unwrap_or_else(|error| failed(errors::producer_id_code(&error))))
}

fn check(request: &InitProducerIdRequest) -> Result<(), ResponseError> {
    match request.transactional_id.as_ref().map(|id| id.as_str()) {
        Some("") => return Err(ResponseError::InvalidRequest),
        Some(_) => return Err(ResponseError::TransactionalIdAuthorizationFailed),
        None => {}
    }
    // Both or neither (KIP-360).
    if (request.producer_id.0 == -1) == (request.producer_epoch == -1) {
        Ok(())
    } else {
        Err(ResponseError::InvalidRequest)
    }
}

fn failed(error: ResponseError) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
