//! How large an answer may become.

use aquifer_format::limits::METADATA_MESSAGE_BYTES_MAX;
use kafka_protocol::ResponseError;

use super::refusal::Refusal;

/// What of an answer there is room for. A request may name a group or a partition many times, and each time
/// all of it is told: without a limit a small request would take more memory than the leader has.
#[derive(Debug)]
pub(super) struct AnswerRoom {
    left: usize,
}

impl AnswerRoom {
    /// Room for what one message can hold.
    pub(super) fn new() -> Self {
        Self {
            left: METADATA_MESSAGE_BYTES_MAX,
        }
    }

    /// Takes room for this many bytes; false = there is no room for them.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let Some(left) = self.left.checked_sub(bytes) else {
            return false;
        };
        self.left = left;
        true
    }

    /// What is answered of a group that there is no room for.
    pub(super) fn refusal() -> Refusal {
        Refusal::new(
            ResponseError::UnknownServerError,
            "The answer is too large; ask for fewer groups at a time.",
        )
    }
}
