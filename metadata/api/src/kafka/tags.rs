//! Fields that a pinned version lacks, as tagged fields of our own: agents take away what clients sent
//! under these numbers, and the leader's answers lose them before a client sees them.

use std::collections::BTreeMap;

use aquifer_format::ids::TopicId;
use bytes::Bytes;
use uuid::Uuid;

/// Tagged fields of a message.
pub type Tags = BTreeMap<i32, Bytes>;

/// The id of a topic (16 bytes), in a topic of OffsetCommit and OffsetFetch, requests and responses. A request
/// that has it names the topic by it; its name is empty then.
pub const TOPIC_ID: i32 = 10_000;
/// For how long offsets are kept, in milliseconds (8 bytes, big endian): OffsetCommit requests of versions 2
/// to 4.
pub const RETENTION_MS: i32 = 10_001;

/// Sets a topic's id.
pub fn set_topic_id(tags: &mut Tags, topic: TopicId) {
    tags.insert(TOPIC_ID, Bytes::copy_from_slice(topic.0.as_bytes()));
}

/// A topic's id.
#[must_use]
pub fn topic_id(tags: &Tags) -> Option<TopicId> {
    let id = Uuid::from_slice(tags.get(&TOPIC_ID)?).ok()?;
    Some(TopicId(id))
}

/// Sets for how long offsets are kept.
pub fn set_retention_ms(tags: &mut Tags, millis: i64) {
    tags.insert(RETENTION_MS, Bytes::copy_from_slice(&millis.to_be_bytes()));
}

/// For how long offsets are kept.
#[must_use]
pub fn retention_ms(tags: &Tags) -> Option<i64> {
    let bytes: [u8; 8] = tags.get(&RETENTION_MS)?.as_ref().try_into().ok()?;
    Some(i64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_read_and_nothing_else() {
        let mut tags = Tags::new();
        assert_eq!((topic_id(&tags), retention_ms(&tags)), (None, None));
        let topic = TopicId(Uuid::from_u128(7));
        set_topic_id(&mut tags, topic);
        set_retention_ms(&mut tags, -5);
        assert_eq!(topic_id(&tags), Some(topic));
        assert_eq!(retention_ms(&tags), Some(-5));
        tags.insert(TOPIC_ID, Bytes::from_static(b"short"));
        tags.insert(RETENTION_MS, Bytes::new());
        assert_eq!((topic_id(&tags), retention_ms(&tags)), (None, None));
    }
}
