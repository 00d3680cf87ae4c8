//! Committing objects: what an agent says of an uploaded object, and what the leader makes of it.

use aquifer_format::ids::{
    CommitNumber, ObjectId, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence,
};

/// One call on a session's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitCall {
    /// Registers an object's batches.
    Commit(Commit),
    /// Ends the hold of batches before its time: five requests of their connection are held and none
    /// is in progress, so nothing can arrive that would fill the gap. Batches that are not held
    /// (any more) are ignored.
    ReleaseHolds(Vec<BatchRef>),
}

/// A batch of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchRef {
    /// The commit's number.
    pub number: CommitNumber,
    /// Index into [`Commit::runs`].
    pub run: u32,
    /// Index into [`Run::batches`].
    pub batch: u32,
}

/// An uploaded object, to be registered. (session, number) always names the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Dense within the session, from 1; given when the commit is sent (a failed flush has none).
    pub number: CommitNumber,
    /// Every commit up to and including this one has been completely answered and needs no
    /// remembered result any more.
    pub answered_through: CommitNumber,
    /// The object.
    pub object: ObjectId,
    /// Its size in bytes.
    pub object_bytes: u64,
    /// Where the object is stored; one location for now (index into the bucket set).
    pub locations: Vec<u8>,
    /// The object's runs, sorted by partition.
    pub runs: Vec<Run>,
}

/// One partition's section of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The partition.
    pub partition: PartitionId,
    /// Byte position of the run's first block in the object.
    pub position: u64,
    /// Stored bytes of the run.
    pub stored_bytes: u32,
    /// Its batches, in the order in which they lie in the run and were received.
    pub batches: Vec<BatchSummary>,
}

/// What the leader must know of a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    /// The producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub first_sequence: Sequence,
    /// How many offsets the batch takes (at least 1).
    pub records: u32,
    /// Its length in bytes, as the producer made it.
    pub bytes: u32,
    /// Largest record timestamp, milliseconds since 1970.
    pub max_timestamp: i64,
}

/// Decisions on batches of one commit. A commit is completely answered when each of its batches has
/// had an outcome other than [`BatchOutcome::Held`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitAnswer {
    /// The commit.
    pub number: CommitNumber,
    /// (run, batch, outcome), each a batch of this commit.
    pub outcomes: Vec<(BatchRef, BatchOutcome)>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is in the log.
    Appended(Placement),
    /// The producer sent it before; here is where it was put then.
    Duplicate(Placement),
    /// It is not in the log and never will be.
    Rejected(Rejection),
    /// It waits for a predecessor; another answer will follow.
    Held,
}

/// Where a batch was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The time that the leader gave it (`LogAppendTime` topics), in milliseconds since 1970.
    pub log_append_time: Option<i64>,
    /// The partition's log start when it was decided.
    pub log_start: Offset,
}

/// Why a batch was rejected. The agent maps these to Kafka's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The partition does not exist (any more): UNKNOWN_TOPIC_OR_PARTITION / UNKNOWN_TOPIC_ID.
    UnknownPartition,
    /// A newer epoch of the producer was seen: INVALID_PRODUCER_EPOCH.
    StaleProducerEpoch,
    /// The sequence leaves a gap or goes back: OUT_OF_ORDER_SEQUENCE_NUMBER.
    OutOfOrderSequence,
    /// The object's upload began more than 10 upload epochs ago: retriable error.
    TooOld,
    /// The metadata budget is used up: retriable error (THROTTLING_QUOTA_EXCEEDED is not known to
    /// producers, so agents answer NOT_ENOUGH_REPLICAS).
    OverBudget,
}
