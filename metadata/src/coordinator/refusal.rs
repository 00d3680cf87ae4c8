//! Refusals, as Kafka answers them.

use kafka_protocol::{ResponseError, protocol::StrBytes};

/// Longest text that is sent back, in characters: it may quote what the client sent.
const TEXT_CHARS_MAX: usize = 4_000;

/// An error code, and a text for people where Kafka has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: ResponseError,
    text: Option<String>,
}

impl Refusal {
    pub(super) fn new(error: ResponseError, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
            text.truncate(end);
        }
        Self {
            error,
            text: Some(text),
        }
    }

    /// One of which the code says it all.
    pub(super) fn bare(error: ResponseError) -> Self {
        Self { error, text: None }
    }

    pub(super) fn code(&self) -> i16 {
        self.error.code()
    }

    pub(super) fn text(self) -> Option<StrBytes> {
        self.text.map(StrBytes::from_string)
    }
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Self {
        Self::bare(error)
    }
}
