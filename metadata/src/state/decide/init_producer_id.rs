//! InitProducerId (version 5 in and out).
//!
//! Without a transactional id every call gets a new producer id with epoch 0, whatever id and epoch it
//! names: so does Kafka (`TransactionCoordinator.handleInitProducerId`), and idempotent producers raise
//! their epoch by themselves (KIP-360).
//!
//! A transactional id is refused with UNSUPPORTED_VERSION until there are transactions: producers stop
//! with an error that says so ("the version of API is not supported"), while retriable codes would let
//! them try for ever and authorization codes would send people to look for ACLs. An empty one is
//! INVALID_REQUEST, as in Kafka.

use aquifer_format::ids::ProducerId;
use kafka_protocol::{
    ResponseError,
    messages::{self, InitProducerIdRequest, InitProducerIdResponse},
};

use super::Decided;
use crate::{event::Event, state::entity::State};

/// Decides an InitProducerId request.
#[must_use]
pub fn init_producer_id(
    state: &State,
    request: &InitProducerIdRequest,
) -> Decided<InitProducerIdResponse> {
    let refused = match &request.transactional_id {
        None => None,
        Some(id) if id.0.is_empty() => Some(ResponseError::InvalidRequest),
        Some(_) => Some(ResponseError::UnsupportedVersion),
    };
    let producer_id = state.counters.next_producer_id;
    // The last id of all is never given out: the counter could not go past it.
    let refused = refused
        .or((producer_id == ProducerId(i64::MAX)).then_some(ResponseError::UnknownServerError));
    let none = messages::ProducerId(-1);
    let response = InitProducerIdResponse::default()
        .with_ongoing_txn_producer_id(none)
        .with_ongoing_txn_producer_epoch(-1);
    if let Some(error) = refused {
        return Decided::only(
            response
                .with_error_code(error.code())
                .with_producer_id(none)
                .with_producer_epoch(-1),
        );
    }
    let mut decided = Decided::only(
        response
            .with_producer_id(messages::ProducerId(producer_id.0))
            .with_producer_epoch(0),
    );
    decided
        .events
        .push(Event::ProducerIdAllocated { producer_id });
    decided
}
