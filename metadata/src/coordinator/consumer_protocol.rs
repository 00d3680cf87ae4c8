//! What consumers say in the classic protocol ("consumer" protocol type): subscriptions and assignments. The
//! bytes are clients'; this parser is total and reserves nothing by counts that it reads.

use crate::event::group::TopicPartitions;

/// A subscription (`ConsumerProtocolSubscription`, versions 0 to 3; of later ones what those have).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Topics, sorted, each once.
    pub(super) topics: Vec<String>,
    /// Partitions that the member has, by topic name (version 1 on).
    pub(super) owned: Vec<(String, Vec<i32>)>,
    /// Its generation (version 2 on); -1 = none.
    pub(super) generation: i32,
    /// Its rack (version 3 on).
    pub(super) rack: Option<String>,
}

/// Reads a subscription; None = malformed.
pub(super) fn subscription(_bytes: &[u8]) -> Option<Subscription> {
    todo!("builder A")
}

/// Reads an assignment (`ConsumerProtocolAssignment`): partitions by topic name; None = malformed.
pub(super) fn assignment(_bytes: &[u8]) -> Option<Vec<(String, Vec<i32>)>> {
    todo!("builder A")
}

/// Writes an assignment at the version of a member's subscription (its first two bytes, at most 3). Topics
/// that `name` does not know any more are left out.
pub(super) fn encode_assignment<'a>(
    _version: i16,
    _partitions: &TopicPartitions,
    _name: impl Fn(aquifer_format::ids::TopicId) -> Option<&'a str>,
) -> bytes::Bytes {
    todo!("builder A")
}

/// The version of a subscription: its first two bytes.
pub(super) fn version(bytes: &[u8]) -> Option<i16> {
    let (version, _) = bytes.split_first_chunk::<2>()?;
    Some(i16::from_be_bytes(*version))
}
