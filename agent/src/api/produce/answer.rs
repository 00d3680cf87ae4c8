//! What is answered for one partition.

use aquifer_format::ids::{Offset, PartitionId};
use aquifer_metadata_api::commit::Rejection;
use kafka_protocol::{
    ResponseError,
    messages::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse},
    protocol::StrBytes,
};

use crate::{
    api::errors::rejection_code,
    produce::{BatchResult, validate::Refusal},
    view::View,
};

/// Where a partition's log begins, as far as this agent knows.
pub(super) fn log_start(view: &View, partition: PartitionId) -> Option<Offset> {
    view.watermarks(partition).map(|marks| marks.log_start)
}

/// The code and text for a batch that is not in the log, or not surely.
pub(super) fn failure(result: &BatchResult, by_id: bool) -> Option<(ResponseError, &'static str)> {
    match result {
        BatchResult::Placed(_) => None,
        BatchResult::Rejected(rejection) => {
            let text = match rejection {
                Rejection::UnknownPartition => "the topic was deleted",
                Rejection::StaleProducerEpoch => "a newer epoch of the producer was seen",
                Rejection::OutOfOrderSequence => "the batch's sequence is not the next one",
                Rejection::TooOld => "the upload took too long; send it again",
                Rejection::OverBudget => "the metadata budget is used up; send it again later",
            };
            Some((rejection_code(*rejection, by_id), text))
        }
        BatchResult::NotLeader => Some((
            ResponseError::NotLeaderOrFollower,
            "the agent has fenced itself; ask another one",
        )),
        BatchResult::NotStored => Some((
            ResponseError::NotEnoughReplicas,
            "the bucket did not take the records; send them again",
        )),
        BatchResult::NotCommitted => Some((
            ResponseError::NotEnoughReplicas,
            "the records were not committed; send them again",
        )),
        BatchResult::TimedOut => Some((
            ResponseError::RequestTimedOut,
            "no answer in time; the records may still become part of the log",
        )),
    }
}

/// The answer to records that were never taken in.
pub(super) fn refused(refusal: &Refusal) -> PartitionProduceResponse {
    let records = refusal.records.iter().map(|(index, message)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(*index)
            .with_batch_index_error_message(Some(StrBytes::from_string(message.clone())))
    });
    error(refusal.code, refusal.message.clone(), refusal.log_start)
        .with_record_errors(records.collect())
}

fn error(
    code: ResponseError,
    message: String,
    log_start: Option<Offset>,
) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_error_code(code.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(log_start.map_or(-1, |offset| offset.0))
        .with_error_message(Some(StrBytes::from_string(message)))
}

/// The answer to a batch that was.
pub(super) fn decided(
    result: &BatchResult,
    partition: PartitionId,
    view: &View,
    by_id: bool,
) -> PartitionProduceResponse {
    if let BatchResult::Placed(placement) = result {
        return PartitionProduceResponse::default()
            .with_base_offset(placement.base_offset.0)
            .with_log_append_time_ms(placement.log_append_time.unwrap_or(-1))
            .with_log_start_offset(placement.log_start.0);
    }
    let (code, text) = failure(result, by_id).expect("every other result is a failure");
    let log_start = match result {
        BatchResult::Rejected(Rejection::StaleProducerEpoch | Rejection::OutOfOrderSequence) => {
            log_start(view, partition)
        }
        _ => None,
    };
    error(code, text.to_owned(), log_start)
}
