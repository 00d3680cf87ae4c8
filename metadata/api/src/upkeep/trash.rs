//! Topics that were deleted and can come back.

use aquifer_format::ids::TopicId;

/// A topic that can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its id.
    pub id: TopicId,
    /// The name that it had.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Bytes of its batches.
    pub bytes: u64,
    /// When it was deleted, milliseconds since 1970.
    pub deleted_at_ms: i64,
    /// When it goes for good, milliseconds since 1970.
    pub purged_at_ms: i64,
}

/// All of them, by name, then by time of deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedTopics {
    /// See [`Self`].
    pub topics: Vec<DeletedTopic>,
}

/// Which topic to bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreTopic {
    /// The one of this id.
    Id(TopicId),
    /// The one of this name that was deleted last.
    Name(String),
}

/// It is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredTopic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
}
