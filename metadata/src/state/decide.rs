//! Decisions: requests in, events and answers out. Nothing here changes the state; the caller applies
//! the events at once.

use aquifer_format::ids::SessionId;
use aquifer_metadata_api::{
    MetadataError,
    commit::{BatchOutcome, BatchRef},
};

use crate::event::Event;

mod accept_loss;
mod adopt;
mod alter_configs;
mod alteration;
mod assignment;
mod commit;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_log_dirs;
mod describe_producers;
mod draft;
mod epoch;
mod group_configs;
mod hold;
mod idempotence;
mod incremental_alter_configs;
mod init_producer_id;
mod log_start;
mod partition_budget;
mod refusal;
mod register;
mod restore_topic;
mod retention;
mod swap;
#[cfg(test)]
mod tests;
mod topic_name;
mod trash;

pub use accept_loss::{Loss, accept_loss};
pub use adopt::{FoundRun, adopt};
pub use alter_configs::alter_configs;
pub use commit::commit;
pub use create_partitions::create_partitions;
pub use create_topics::create_topics;
pub use delete_records::delete_records;
pub use delete_topics::delete_topics;
pub use describe_log_dirs::describe_log_dirs;
pub use describe_producers::describe_producers;
pub use epoch::{advance_upload_epoch, expire_producers, genesis};
pub(crate) use group_configs::{describe_group_configs, list_group_configs};
pub use hold::release_holds;
pub use incremental_alter_configs::incremental_alter_configs;
pub use init_producer_id::init_producer_id;
pub use register::{end_session, register};
pub use restore_topic::restore_topic;
pub use retention::{RetentionStep, retention};
pub use swap::{delete_objects, swap};
pub use trash::purge;

/// What the leader's clock says when a request is decided. Only for what clients see; no decision of
/// safety depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970.
    pub unix_millis: i64,
}

/// A decision whose answer is a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided<T> {
    /// What happens, to be applied at once and journaled; may be empty.
    pub events: Vec<Event>,
    /// What to answer once the events (and all before them) are durable.
    pub reply: T,
    /// Batches that had been held and are decided by this, of any session: further answers to their
    /// commits, once the events are durable.
    pub holds: Vec<HoldOutcome>,
}

impl<T> Decided<T> {
    /// A decision that changes nothing.
    pub(crate) fn only(reply: T) -> Self {
        Self {
            events: Vec::new(),
            reply,
            holds: Vec::new(),
        }
    }
}

/// The fate of a batch that had been held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldOutcome {
    /// Whose it is.
    pub session: SessionId,
    /// Which batch.
    pub batch: BatchRef,
    /// Never [`BatchOutcome::Held`].
    pub outcome: BatchOutcome,
}

/// Outcomes of a commit's batches, in the order of runs and batches.
pub type Outcomes = Vec<(BatchRef, BatchOutcome)>;

/// Why a commit was not taken. Its number is not used up by that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The session ended or never was.
    #[error("commit session {0} is unknown or has ended")]
    UnknownSession(SessionId),
    /// Commits are missing before it.
    #[error("commit {got} leaves a gap, {expected} is next")]
    Gap {
        /// The number that is next.
        expected: u64,
        /// The commit's number.
        got: u64,
    },
    /// The session said before that it needs no result of this commit any more.
    #[error("commit {number} was answered before, as the session acknowledged")]
    AnsweredBefore {
        /// The commit's number.
        number: u64,
    },
    /// An earlier commit of that number named another object.
    #[error("commit {number} named another object before")]
    ContentDiffers {
        /// The commit's number.
        number: u64,
    },
    /// The commit cannot be true.
    #[error("commit is malformed: {0}")]
    Malformed(&'static str),
    /// No room to remember its results; may be sent again once others were acknowledged.
    #[error("no room to remember more results; acknowledge earlier ones first")]
    NoRoom,
}

impl From<CommitError> for MetadataError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::UnknownSession(session) => Self::UnknownSession { session },
            CommitError::NoRoom => Self::Unavailable {
                reason: error.to_string(),
                may_have_happened: false,
            },
            other => Self::Refused {
                reason: other.to_string(),
            },
        }
    }
}
