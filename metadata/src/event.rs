//! Events: what the journal's rows hold.
//!
//! An event is an *effect*: it carries the offsets, ids and times that were assigned, so that
//! [`crate::state::State::apply`] needs neither a clock nor randomness nor another event's outcome to
//! repeat it. Whatever an event changes in one entity (a partition's head, one of its extent pages, a
//! session, ...) follows from the event and that entity alone, because after a restart each entity
//! comes from a page of its own age.

use std::collections::BTreeMap;

use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, ProducerId,
    SessionId, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::{
    commit::{BatchOutcome, BatchRef, BatchSummary, Placement, Rejection},
    register::AgentAddress,
};

use self::{
    group::{GroupChange, GroupNumber, OffsetsCommitted},
    swapped::Swapped,
};

mod committed;
mod convert;
#[cfg(test)]
pub(crate) mod golden;
pub mod group;
mod group_row;
mod partitions;
pub(crate) mod proto;
mod row;
#[cfg(test)]
pub(crate) mod strategy;
pub mod swapped;
#[cfg(test)]
mod tests;

pub(crate) use convert::{
    Malformed, agent_from, agent_to, batch_from, batch_to, configs_from, configs_to, decision_code,
    level_from, level_to, object_from, object_id_from, object_id_to, object_to, ref_from, ref_to,
    rejection_of, topic_from,
};
pub(crate) use group_row::{
    classic_member_from, classic_member_to, consumer_member_from, consumer_member_to, current_from,
    current_to, offset_metadata, partitions_from, partitions_to, phase_from, phase_to,
};
pub use row::{ROW_VERSION, RowError, decode_row, encode_row};

/// When something was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time of the leader, for what clients see (`LogAppendTime`), milliseconds since 1970.
    pub unix_millis: i64,
    /// The upload epoch then; ages are counted in it.
    pub upload_epoch: UploadEpoch,
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A cluster begins.
    Genesis {
        /// Its id.
        cluster: ClusterId,
        /// Its first incarnation.
        incarnation: Incarnation,
        /// Its first upload epoch.
        upload_epoch: UploadEpoch,
    },
    /// A minute passed.
    UploadEpochAdvanced {
        /// The new upload epoch.
        upload_epoch: UploadEpoch,
    },
    /// A writer registered.
    Registered {
        /// The slot that it has.
        slot: WriterSlot,
        /// Its new session.
        session: SessionId,
        /// Where it is.
        agent: AgentAddress,
    },
    /// A session ended; its slot rests.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// Its slot.
        slot: WriterSlot,
        /// The upload epoch from which the slot rests.
        upload_epoch: UploadEpoch,
    },
    /// A topic was created.
    TopicCreated(TopicCreated),
    /// A topic is gone with everything in it. Batches that were held in it were decided before.
    TopicDeleted {
        /// The topic.
        topic: TopicId,
    },
    /// A producer id was given out.
    ProducerIdAllocated {
        /// The id.
        producer_id: ProducerId,
    },
    /// A commit was decided.
    Committed(Box<Committed>),
    /// Held batches were decided.
    HoldsDecided {
        /// When.
        at: Moment,
        /// Which and how; those of one partition are adjacent, in log order.
        decisions: Vec<HoldDecided>,
    },
    /// Producers that were silent for too long are forgotten.
    ProducersExpired {
        /// Those whose last batch is of this upload epoch or an earlier one.
        last_seen_through: UploadEpoch,
        /// In these partitions, sorted.
        partitions: Vec<PartitionId>,
    },
    /// Objects lost their last live extent: after a grace their bytes may go.
    ObjectsReleased {
        /// The upload epoch in which that happened.
        since: UploadEpoch,
        /// Object and size in bytes.
        objects: Vec<(ObjectId, u64)>,
    },
    /// The configs of a topic changed.
    TopicConfigsSet {
        /// The topic.
        topic: TopicId,
        /// All that are set on it from now on.
        configs: BTreeMap<String, String>,
    },
    /// A topic got more partitions, without a record and with the topic's leader epoch.
    PartitionsAdded {
        /// The topic.
        topic: TopicId,
        /// How many it has from now on.
        partitions: u32,
    },
    /// Logs begin later: what ends at or below the new start is gone. Objects that nothing refers to any
    /// more are released by the same row.
    LogStartMoved {
        /// Where each log begins from now on, sorted.
        partitions: Vec<(PartitionId, Offset)>,
    },
    /// The cluster-wide dynamic broker configs changed.
    BrokerConfigsSet {
        /// All that are set from now on.
        configs: BTreeMap<String, String>,
    },
    /// A group begins, classic and empty, perhaps to have offsets only.
    GroupCreated {
        /// Its number.
        group: GroupNumber,
        /// Its name, which no other group has.
        name: String,
    },
    /// Something changed in a group.
    GroupChanged {
        /// The group.
        group: GroupNumber,
        /// What, in this order.
        changes: Vec<GroupChange>,
    },
    /// A group is gone, with its offsets.
    GroupDeleted {
        /// The group.
        group: GroupNumber,
    },
    /// Offsets were committed.
    OffsetsCommitted(Box<OffsetsCommitted>),
    /// Committed offsets expired or were deleted.
    OffsetsRemoved {
        /// The group.
        group: GroupNumber,
        /// Of these partitions, sorted.
        partitions: Vec<PartitionId>,
    },
    /// The configs of a group changed, whether or not it exists.
    GroupConfigsSet {
        /// The group's name.
        group: String,
        /// All that are set on it from now on.
        configs: BTreeMap<String, String>,
    },
    /// Merged extents take the place of others.
    Swapped(Box<Swapped>),
    /// Bytes of released objects are gone.
    ObjectsDeleted {
        /// Which, sorted.
        objects: Vec<ObjectId>,
    },
    /// A topic is gone for clients, and may come back. Batches that were held in it were decided before.
    TopicSoftDeleted {
        /// The topic.
        topic: TopicId,
        /// When, milliseconds since 1970.
        at_ms: i64,
        /// When it may go for good.
        purge_at_ms: i64,
    },
    /// A deleted topic is back.
    TopicRestored {
        /// The topic.
        topic: TopicId,
        /// Its leader epoch from now on: above that of every topic that had its name meanwhile.
        leader_epoch: LeaderEpoch,
    },
    /// An operator accepted that the journal lost rows. The sessions ended before, in the same row.
    LossAccepted(Box<LossAccepted>),
}

/// See [`Event::LossAccepted`]. Everything in it is above what anybody may have been shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossAccepted {
    /// The new incarnation.
    pub incarnation: Incarnation,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// The leader epoch of every topic.
    pub leader_epoch: LeaderEpoch,
    /// The next session.
    pub next_session: SessionId,
    /// The next producer id.
    pub next_producer_id: ProducerId,
    /// Where each partition goes on, sorted. There are no records between its last one and that.
    pub partitions: Vec<(PartitionId, Offset)>,
}

/// See [`Event::TopicCreated`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCreated {
    /// The topic's id.
    pub topic: TopicId,
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Configs that were set on it.
    pub configs: BTreeMap<String, String>,
}

/// An object as a commit names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its id.
    pub id: ObjectId,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it is stored (indexes into the bucket set).
    pub locations: Vec<u8>,
}

/// See [`Event::Committed`]. Runs and batches are flat: the batches of run 0, then those of run 1, ...
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The session.
    pub session: SessionId,
    /// The commit's number in it.
    pub number: CommitNumber,
    /// Results up to here need not be remembered any more.
    pub answered_through: CommitNumber,
    /// The object.
    pub object: ObjectInfo,
    /// When it was decided.
    pub at: Moment,
    /// The object's runs, sorted by partition.
    pub runs: Vec<CommittedRun>,
    /// All batches.
    pub batches: Vec<CommittedBatch>,
}

/// A run of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedRun {
    /// The partition.
    pub partition: PartitionId,
    /// Byte position of the run in the object.
    pub position: u64,
    /// Stored bytes of the run.
    pub stored_bytes: u32,
    /// The partition's log start when it was decided.
    pub log_start: Offset,
    /// Whether the topic had `message.timestamp.type=LogAppendTime`: batches have the time of
    /// [`Committed::at`].
    pub log_append_time: bool,
    /// How many of [`Committed::batches`] are this run's.
    pub batches: u32,
}

/// A batch of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedBatch {
    /// What the agent said of it.
    pub summary: BatchSummary,
    /// What became of it.
    pub decision: Decision,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is in the log.
    Appended {
        /// Offset of its first record.
        base_offset: Offset,
    },
    /// It was sent before.
    Duplicate {
        /// Where it was put then.
        base_offset: Offset,
        /// The append time that it was given then.
        log_append_time: Option<i64>,
    },
    /// It waits for a predecessor.
    Held,
    /// It is dead.
    Rejected(Rejection),
}

impl Decision {
    /// The outcome as the client sees it: `append_time` is the time for batches that are appended now
    /// (None on CreateTime topics).
    #[must_use]
    pub fn outcome(self, append_time: Option<i64>, log_start: Offset) -> BatchOutcome {
        match self {
            Self::Appended { base_offset } => BatchOutcome::Appended(Placement {
                base_offset,
                log_append_time: append_time,
                log_start,
            }),
            Self::Duplicate {
                base_offset,
                log_append_time,
            } => BatchOutcome::Duplicate(Placement {
                base_offset,
                log_append_time,
                log_start,
            }),
            Self::Held => BatchOutcome::Held,
            Self::Rejected(rejection) => BatchOutcome::Rejected(rejection),
        }
    }
}

/// A held batch that was decided. It says everything again that the hold knew, because the hold may be
/// gone from a partition head that is newer than an extent page that still needs the extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldDecided {
    /// The partition.
    pub partition: PartitionId,
    /// Who committed it.
    pub session: SessionId,
    /// Which of the session's batches.
    pub batch: BatchRef,
    /// What the agent said of it.
    pub summary: BatchSummary,
    /// The object that has its bytes.
    pub object: ObjectInfo,
    /// Byte position of its run in the object.
    pub run_position: u64,
    /// Stored bytes of the run.
    pub run_bytes: u32,
    /// Where it begins in the run's expanded bytes.
    pub raw_start: u32,
    /// The partition's log start when it was decided.
    pub log_start: Offset,
    /// Whether it has the append time of [`Event::HoldsDecided`].
    pub log_append_time: bool,
    /// What became of it; never [`Decision::Held`].
    pub decision: Decision,
}

impl HoldDecided {
    /// The outcome as the client sees it.
    #[must_use]
    pub fn outcome(&self, at: Moment) -> BatchOutcome {
        let append_time = self.log_append_time.then_some(at.unix_millis);
        self.decision.outcome(append_time, self.log_start)
    }
}
