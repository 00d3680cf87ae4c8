//! From our errors to Kafka's codes, in one place.

use aquifer_metadata_api::{MetadataError, commit::Rejection, kafka::LeaderApi};
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

/// The code for a call of a group without an answer, after this agent has repeated it as often as it may. None
/// of them makes a client give its group up:
/// - a heartbeat is answered as by a coordinator that still loads, which is all that the Java client takes from
///   one; its member is fenced by the next one that is heard, if at all
/// - SyncGroup must not be answered COORDINATOR_LOAD_IN_PROGRESS, which the Java client does not expect there
/// - OffsetFetch has no effect, so it says what every release of the clients retries.
#[must_use]
pub fn group_code(api: LeaderApi, error: &MetadataError) -> i16 {
    if let MetadataError::Refused { .. } = error {
        return ResponseError::UnknownServerError.code();
    }
    let surely_not = matches!(
        error,
        MetadataError::Unavailable {
            may_have_happened: false,
            ..
        }
    );
    let code = match api {
        LeaderApi::Heartbeat => return 0,
        LeaderApi::ConsumerGroupHeartbeat | LeaderApi::JoinGroup | LeaderApi::OffsetFetch => {
            ResponseError::CoordinatorLoadInProgress
        }
        LeaderApi::SyncGroup | LeaderApi::OffsetCommit => ResponseError::CoordinatorNotAvailable,
        LeaderApi::LeaveGroup => ResponseError::NotCoordinator,
        _ if surely_not => ResponseError::CoordinatorLoadInProgress,
        _ => ResponseError::CoordinatorNotAvailable,
    };
    code.code()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(may_have_happened: bool) -> MetadataError {
        MetadataError::Unavailable {
            reason: "gone".to_owned(),
            may_have_happened,
        }
    }

    #[test]
    fn calls_of_groups_without_an_answer_are_retried_by_clients() {
        for (api, not_happened, may_have_happened) in [
            (LeaderApi::Heartbeat, 0, 0),
            (LeaderApi::ConsumerGroupHeartbeat, 14, 14),
            (LeaderApi::JoinGroup, 14, 14),
            (LeaderApi::SyncGroup, 15, 15),
            (LeaderApi::OffsetCommit, 15, 15),
            (LeaderApi::OffsetFetch, 14, 14),
            (LeaderApi::LeaveGroup, 16, 16),
            (LeaderApi::DescribeGroups, 14, 15),
            (LeaderApi::ListGroups, 14, 15),
            (LeaderApi::DeleteGroups, 14, 15),
            (LeaderApi::OffsetDelete, 14, 15),
            (LeaderApi::ConsumerGroupDescribe, 14, 15),
        ] {
            assert_eq!(
                group_code(api, &unavailable(false)),
                not_happened,
                "{api:?}"
            );
            assert_eq!(
                group_code(api, &unavailable(true)),
                may_have_happened,
                "{api:?}"
            );
            let lost = MetadataError::LostRows {
                reason: "lost".to_owned(),
            };
            assert_eq!(group_code(api, &lost), may_have_happened, "{api:?}");
            let refused = MetadataError::Refused {
                reason: "no".to_owned(),
            };
            assert_eq!(group_code(api, &refused), -1, "{api:?}");
        }
    }
}
