//! Errors of metadata calls.

use aquifer_format::ids::SessionId;

/// Why a metadata call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No leader could be reached, it stopped, or its journal does not take writes just now. Retriable.
    #[error("the metadata service is unavailable ({reason}); the call {}", if *.may_have_happened { "may have happened" } else { "did not happen" })]
    Unavailable {
        /// What was seen.
        reason: String,
        /// True if the request may have been journaled all the same.
        may_have_happened: bool,
    },
    /// The session ended (silent for 10 upload epochs) or never was: register anew, and answer none
    /// of the requests whose commits were open.
    #[error("commit session {session} is unknown or has ended")]
    UnknownSession {
        /// The session that was named.
        session: SessionId,
    },
    /// The metadata journal is behind what the caller (or another agent, the bucket's tip or a witness)
    /// was shown: its database lost rows. Nobody serves until an operator accepted the loss; ask again
    /// from time to time. The call may have happened in what was lost.
    #[error(
        "the metadata journal lost rows ({reason}); nobody serves until the loss is accepted (aquifer metadata accept-loss)"
    )]
    LostRows {
        /// What was seen.
        reason: String,
    },
    /// The call breaks a rule of this interface (a bug of the caller), or shows that the caller is not
    /// admitted. Not to be retried blindly: until somebody does something about it the answer is the same.
    #[error("the metadata service refused the call: {reason}")]
    Refused {
        /// Which rule.
        reason: String,
    },
}
