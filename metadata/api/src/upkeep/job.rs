//! Jobs: what a worker is to do, and for how long it has it.

use std::time::Duration;

use aquifer_format::ids::{
    ClusterId, Incarnation, LeaderEpoch, LeaderTerm, ObjectId, ObjectLevel, Offset, PartitionId,
    ProducerEpoch, ProducerId, UploadEpoch,
};

use crate::extent::{Extent, Watermarks};

/// A worker's name: random bits of its process, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// Fences a lease: who has an earlier one of the same inputs is told [`Renewed::Lost`], and its swaps are
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobToken {
    /// Term of the leader that gave the job out.
    pub term: LeaderTerm,
    /// Its number in that term, from 1.
    pub number: u64,
}

/// What kinds of work a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkKinds {
    /// Merges.
    pub merge: bool,
    /// Log compaction.
    pub clean: bool,
    /// Deletions.
    pub delete: bool,
}

impl WorkKinds {
    /// All of them.
    pub const ALL: Self = Self {
        merge: true,
        clean: true,
        delete: true,
    };
}

/// Asks for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Who asks. A process with several slots of work has an id for each.
    pub worker: WorkerId,
    /// What it takes.
    pub kinds: WorkKinds,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseReply {
    /// A job; None = there is none.
    pub job: Option<Job>,
    /// When to ask again if there is none.
    pub again_in: Duration,
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its lease.
    pub token: JobToken,
    /// How long the lease lasts without a renewal, from when the reply was asked for.
    pub lease: Duration,
    /// The cluster, for keys.
    pub cluster: ClusterId,
    /// The incarnation, for keys.
    pub incarnation: Incarnation,
    /// The upload epoch, for keys of objects that are begun now; renewals tell later ones.
    pub upload_epoch: UploadEpoch,
    /// What to do.
    pub kind: JobKind,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum JobKind {
    /// Merge small objects of level 0 into objects of level 1: the worker reads the objects' footers to learn
    /// which partitions they have, asks for their extents, and swaps what of them lies in these objects.
    MergeObjects {
        /// At most [`aquifer_format::limits::JOB_OBJECTS_MAX`], with their sizes, in order of their commits.
        objects: Vec<(ObjectId, u64)>,
        /// About how many bytes an output is to have (each has whole runs).
        object_bytes: u64,
    },
    /// Merge the extents of level 1 (or 2) of these ranges into objects of level 2, a run each (several where
    /// it is larger than `run_bytes_max`), in order of partitions.
    MergeRanges {
        /// Sorted. Together they lie in at most [`aquifer_format::limits::JOB_OBJECTS_MAX`] objects.
        ranges: Vec<MergeRange>,
        /// As above.
        object_bytes: u64,
    },
    /// Compact the log of one partition.
    Clean(Clean),
    /// Delete these objects' bytes, then say so by [`Finish::deleted`].
    Delete {
        /// At most [`aquifer_format::limits::DELETE_OBJECTS_MAX`].
        objects: Vec<ObjectId>,
    },
}

impl JobKind {
    /// The level of the objects that it writes; None = it writes none.
    #[must_use]
    pub fn level(&self) -> Option<ObjectLevel> {
        match self {
            Self::MergeObjects { .. } => Some(ObjectLevel::L1),
            Self::MergeRanges { .. } | Self::Clean(_) => Some(ObjectLevel::L2),
            Self::Delete { .. } => None,
        }
    }
}

/// A range of one partition to be merged; it begins and ends where extents do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRange {
    /// The partition.
    pub partition: PartitionId,
    /// First offset.
    pub from: Offset,
    /// One past the last offset.
    pub to: Offset,
    /// Most expanded bytes of one output run (the topic's `segment.bytes`, if that is less than the format's
    /// bound).
    pub run_bytes_max: u32,
}

/// A log to be compacted (Kafka's `LogToClean`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clean {
    /// The partition.
    pub partition: PartitionId,
    /// First offset of the log's first extent.
    pub from: Offset,
    /// Keys were compacted up to here: records before it have keys of their own.
    pub first_dirty: Offset,
    /// One past the last offset that may be compacted: never past the LSO, what is not merged yet, or
    /// `min.compaction.lag.ms`. The last batch before it stays, be it empty.
    pub to: Offset,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// The leader's clock when the job was given out: delete horizons are compared with it and set from it.
    pub now_ms: i64,
    /// As in [`MergeRange`].
    pub run_bytes_max: u32,
}

/// Asks for extents of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputsRequest {
    /// The job's lease.
    pub token: JobToken,
    /// Partitions, sorted, and from where on their extents are wanted.
    pub partitions: Vec<(PartitionId, Offset)>,
}

/// The extents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputsReply {
    /// In the order of the request, as far as there was room; a partition that is gone is left out, one
    /// without extents of the job has none.
    pub partitions: Vec<Inputs>,
    /// Where to go on (this partition, from this offset, then those after it); None = these are all.
    pub next: Option<(PartitionId, Offset)>,
}

/// What there is of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// The partition.
    pub partition: PartitionId,
    /// Its watermarks; batches of merged objects get its leader epoch.
    pub watermarks: Watermarks,
    /// The job's extents in offset order. Those that follow one another without another extent between them
    /// are one range (of the log; offsets may be missing between them).
    pub extents: Vec<Extent>,
    /// Whether another extent lies before each of `extents`, so that a new range begins there; as long as
    /// `extents`.
    pub breaks: Vec<bool>,
    /// For [`JobKind::Clean`]: the last record of each producer that is remembered, by id (Kafka's
    /// `lastRecordsOfActiveProducers`).
    pub last_records: Vec<(ProducerId, LastRecord)>,
}

/// The last thing that a producer wrote to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Offset of its last record; None = only markers are left.
    pub last_offset: Option<Offset>,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

/// Says that a worker is at its job.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewal {
    /// Who.
    pub worker: WorkerId,
    /// The job as it was leased: a leader that does not know it takes it over if nobody else has its inputs.
    pub job: Job,
    /// Bytes read so far, for people.
    pub read_bytes: u64,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Go on, with this token (a new leader gives a new one) and this upload epoch for objects begun later.
    Held {
        /// The token from now on.
        token: JobToken,
        /// The upload epoch.
        upload_epoch: UploadEpoch,
    },
    /// Somebody else has it, or what it is about is gone: stop.
    Lost,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Who.
    pub worker: WorkerId,
    /// Its lease.
    pub token: JobToken,
    /// How.
    pub outcome: JobOutcome,
    /// Objects whose bytes are confirmed to be gone; only of [`JobKind::Delete`].
    pub deleted: Vec<ObjectId>,
    /// Bytes read, for people.
    pub read_bytes: u64,
    /// Bytes written, for people.
    pub written_bytes: u64,
}

/// See [`Finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// All was done that could be.
    Done,
    /// It could not be; its inputs rest for a while.
    Failed {
        /// What was seen.
        reason: String,
    },
}

impl Inputs {
    /// The epoch that batches of merged objects get.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.watermarks.leader_epoch
    }
}
