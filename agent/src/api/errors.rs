//! From our errors to Kafka's codes, in one place.

use aquifer_metadata_api::{MetadataError, commit::Rejection};
use kafka_protocol::ResponseError;

use crate::telemetry::TelemetryError;

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
        }
        | MetadataError::LostRows { .. } => ResponseError::RequestTimedOut,
        MetadataError::Unavailable { .. } | MetadataError::UnknownSession { .. } => {
            ResponseError::CoordinatorNotAvailable
        }
        MetadataError::Refused { .. } => ResponseError::UnknownServerError,
    }
}

/// The code for a call that a controller answers in Kafka. The admin client asks again upon
/// NOT_CONTROLLER, which is right only where nothing can have happened.
#[must_use]
pub fn controller_code(error: &MetadataError) -> ResponseError {
    match error {
        MetadataError::Unavailable {
            may_have_happened: false,
            ..
        } => ResponseError::NotController,
        other => metadata_code(other),
    }
}

/// The code for a call that the leader of each partition answers in Kafka, where asking again does no harm:
/// clients look for the leader again upon NOT_LEADER_OR_FOLLOWER.
#[must_use]
pub fn partition_code(error: &MetadataError) -> ResponseError {
    match error {
        MetadataError::Unavailable {
            may_have_happened: false,
            ..
        } => ResponseError::NotLeaderOrFollower,
        other => metadata_code(other),
    }
}

/// The code for InitProducerId without an answer. The Java client asks again upon
/// COORDINATOR_LOAD_IN_PROGRESS; upon COORDINATOR_NOT_AVAILABLE it would first look for the coordinator
/// of a transactional id that it does not have.
#[must_use]
pub fn producer_id_code(error: &MetadataError) -> ResponseError {
    match error {
        MetadataError::Refused { .. } => ResponseError::UnknownServerError,
        _ => ResponseError::CoordinatorLoadInProgress,
    }
}

/// The code for metrics of a client that are not taken.
pub(crate) fn telemetry_code(error: TelemetryError) -> ResponseError {
    match error {
        TelemetryError::Invalid => ResponseError::InvalidRequest,
        TelemetryError::Throttled => ResponseError::ThrottlingQuotaExceeded,
        TelemetryError::UnknownSubscription => ResponseError::UnknownSubscriptionId,
        TelemetryError::UnsupportedCodec => ResponseError::UnsupportedCompressionType,
        TelemetryError::TooLarge => ResponseError::TelemetryTooLarge,
        TelemetryError::Corrupt => ResponseError::InvalidRecord,
    }
}
