//! Which topic names are legal, as in Kafka's `org.apache.kafka.common.internals.Topic`.

use aquifer_format::limits::TOPIC_NAME_CHARS_MAX;

/// Why a topic name is refused; the texts are what Kafka's tools show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    #[error(
        "Topic name is invalid: the length of '{0}' is longer than the max allowed length {TOPIC_NAME_CHARS_MAX}"
    )]
    TooLong(String),
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    Illegal(String),
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collides { name: String, existing: String },
}

/// Longest part of a refused name that is sent back.
const SHOWN_CHARS_MAX: usize = 300;

pub(super) fn check(name: &str) -> Result<(), NameError> {
    let shown = || name.chars().take(SHOWN_CHARS_MAX).collect::<String>();
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name == "." || name == ".." {
        Err(NameError::Dots(shown()))
    } else if name.chars().count() > TOPIC_NAME_CHARS_MAX {
        Err(NameError::TooLong(shown()))
    } else if !name.chars().all(is_legal) {
        Err(NameError::Illegal(shown()))
    } else {
        Ok(())
    }
}
