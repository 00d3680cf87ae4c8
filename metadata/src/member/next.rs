//! What a member does next, and what follows from the errors of journal and bucket.

use crate::{
    bucket::BucketError, journal::JournalError, leader::StopReason, recovery::RecoveryError,
};

/// What comes next.
pub(super) enum Next {
    /// Look again, at once.
    Look,
    /// Rows are gone that somebody was shown: leave what this process remembers, and refuse for a while.
    Lost(String),
    /// Refuse, for a while.
    Refuse(String),
    /// Something does not answer: try again soon.
    Retry(String),
    /// It was asked to end.
    End,
}

pub(super) fn lost_rows(seen: &str) -> String {
    format!(
        "the metadata journal lost rows ({seen}); nobody serves until an operator has run `aquifer \
         metadata accept-loss`"
    )
}

pub(super) fn journal_next(error: &JournalError) -> Next {
    match error {
        JournalError::InDoubt { .. }
        | JournalError::Unavailable { .. }
        | JournalError::Gap { .. } => Next::Retry(error.to_string()),
        JournalError::Unusable { .. } => Next::Refuse(error.to_string()),
    }
}

/// What follows the end of a leader whose memory is kept.
pub(super) fn stopped_next(reason: StopReason) -> Next {
    match reason {
        StopReason::Requested => Next::End,
        StopReason::Deposed { .. } => Next::Look,
        StopReason::LostRows { seen } => Next::Lost(seen),
        StopReason::JournalUnusable { reason } => Next::Refuse(reason),
    }
}

pub(super) fn bucket_next(error: BucketError) -> Next {
    match error {
        BucketError::Unreachable { reason } => Next::Retry(reason),
        BucketError::Refused { reason } => Next::Refuse(reason),
    }
}

pub(super) fn recovery_next(error: RecoveryError) -> Next {
    match error {
        RecoveryError::Journal(error) => journal_next(&error),
        other => Next::Refuse(other.to_string()),
    }
}
