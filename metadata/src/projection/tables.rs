//! The port that the tables are behind.

use std::fmt::Debug;

use aquifer_format::ids::{ClusterId, LeaderTerm};
use async_trait::async_trait;

use super::delta::{Delta, Known};

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The leader's term.
    pub term: LeaderTerm,
}

/// What opening the tables came to.
#[derive(Clone, Debug)]
pub enum Opened {
    /// They are the owner's now, and hold this.
    Ours(Known),
    /// A leader of a later term has them.
    Newer(LeaderTerm),
}

/// Why the tables could not be opened or written, and what to do about it, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProjectionError {
    /// What was seen.
    pub reason: String,
}

/// Tables that a leader keeps like its state. Whether a failed call had an effect does not matter: it is
/// followed by [`Self::open`].
#[async_trait]
pub trait Tables: Debug + Send {
    /// Makes the tables that are missing, and takes them for `owner`, unless a later term has them. From
    /// then on nothing that an earlier term writes takes effect.
    ///
    /// # Errors
    /// If they cannot be reached or made, or are another cluster's or somebody else's.
    async fn open(&mut self, owner: &Owner) -> Result<Opened, ProjectionError>;

    /// Carries `delta` out, all of it or nothing; returns how many rows changed. None = the tables are
    /// not this owner's any more, or not all there, and nothing was written.
    ///
    /// # Errors
    /// If they cannot be reached or are not as they were.
    async fn write(&mut self, owner: &Owner, delta: &Delta)
    -> Result<Option<u64>, ProjectionError>;

    /// Lets go of whatever is held open.
    fn close(&mut self);
}
