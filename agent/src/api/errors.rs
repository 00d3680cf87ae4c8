//! From our errors to Kafka's codes, in one place.

use aquifer_metadata_api::{MetadataError, commit::Rejection};
use kafka_protocol::ResponseError;

/// The code for a rejected batch. `by_id`: the request named its topics by id (Produce v13 and later).
#[must_use]
pub fn rejection_code(rejection: Rejection, by_id: bool) -> ResponseError {
    match rejection {
        Rejection::UnknownPartition if by_id => ResponseError::UnknownTopicId,
        Rejection::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        Rejection::StaleProducerEpoch => ResponseError::InvalidProducerEpoch,
        Rejection::OutOfOrderSequence => ResponseError::OutOfOrderSequenceNumber,
        // Producers retry both; a code of their own they would not know.
        Rejection::TooOld => ResponseError::NotLeaderOrFollower,
        Rejection::OverBudget => ResponseError::NotEnoughReplicas,
    }
}

/// The code for a metadata call without an answer. Clients retry all but the last.
#[must_use]
pub fn metadata_code(error: &MetadataError) -> ResponseError {
    match error {
        MetadataError::Unavailable {
            may_have_happened: true,
            ..
        } => ResponseError::RequestTimedOut,
        MetadataError::Unavailable { .. } | MetadataError::UnknownSession { .. } => {
            ResponseError::CoordinatorNotAvailable
        }
        MetadataError::Refused { .. } => ResponseError::UnknownServerError,
    }
}
