//! Which topic names are legal, as in Kafka's `org.apache.kafka.common.internals.Topic`.

use aquifer_format::limits::TOPIC_NAME_CHARS_MAX;

/// Why a topic name is refused (Kafka's INVALID_TOPIC_EXCEPTION); the texts are what Kafka's tools show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// It is empty.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// It is `.` or `..`.
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    /// It is too long.
    #[error(
        "Topic name is invalid: the length of '{0}' is longer than the max allowed length {TOPIC_NAME_CHARS_MAX}"
    )]
    TooLong(String),
    /// It has other characters.
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    Illegal(String),
}

/// Longest part of a refused name that is sent back.
const SHOWN_CHARS_MAX: usize = 300;

/// Whether a topic may have this name; if not, why.
///
/// # Errors
/// It may not.
pub fn check(name: &str) -> Result<(), TopicNameError> {
    let shown = || name.chars().take(SHOWN_CHARS_MAX).collect::<String>();
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err(TopicNameError::Empty)
    } else if name == "." || name == ".." {
        Err(TopicNameError::Dots(shown()))
    } else if name.chars().count() > TOPIC_NAME_CHARS_MAX {
        Err(TopicNameError::TooLong(shown()))
    } else if !name.chars().all(is_legal) {
        Err(TopicNameError::Illegal(shown()))
    } else {
        Ok(())
    }
}

/// Whether a topic may have this name.
#[must_use]
pub fn is_legal(name: &str) -> bool {
    check(name).is_ok()
}

/// Names of the topics in which Kafka's coordinators keep what they know.
const INTERNAL: [&str; 3] = [
    "__consumer_offsets",
    "__share_group_state",
    "__transaction_state",
];

/// Whether clients are told that a topic is internal, so that those which subscribe by pattern leave it out. It
/// follows from the name, as in Kafka: here nothing keeps anything in such topics, but they may be copies of a
/// Kafka's.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kafka_does() {
        for (name, legal) in [
            ("a", true),
            ("a.b_c-D9", true),
            ("...", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a b", false),
            ("ä", false),
            ("a/b", false),
            (&"x".repeat(249), true),
            (&"x".repeat(250), false),
        ] {
            assert_eq!(is_legal(name), legal, "{name}");
        }
    }

    #[test]
    fn internal_is_what_kafkas_coordinators_write() {
        for (name, internal) in [
            ("__consumer_offsets", true),
            ("__share_group_state", true),
            ("__transaction_state", true),
            ("__cluster_metadata", false),
            ("__consumer_offsets2", false),
            ("_schemas", false),
            ("t", false),
        ] {
            assert_eq!(is_internal(name), internal, "{name}");
        }
    }

    #[test]
    fn a_refusal_quotes_no_more_than_a_bit_of_the_name() {
        let text = check(&"ä".repeat(100_000)).unwrap_err().to_string();
        assert!(text.chars().count() < 500, "{} characters", text.len());
    }
}
