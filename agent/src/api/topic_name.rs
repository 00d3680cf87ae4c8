//! Which topic names are legal (Kafka's `Topic.validate`).

use aquifer_format::limits::TOPIC_NAME_CHARS_MAX;

/// Whether a topic may have this name.
pub(super) fn is_legal(name: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    !name.is_empty()
        && name.len() <= TOPIC_NAME_CHARS_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(legal)
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
}
