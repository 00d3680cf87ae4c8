//! What the bucket says of the metadata: whose it is, and how far its journal was.
//!
//! The *marker* names the cluster. A *tip* is written by each leader before it first serves and at each
//! upload epoch; a *witness* by whoever remembers more than the journal has, and by an acceptance of that, of
//! where the partitions go on. None of them is ever needed while all goes well: they tell a journal that
//! lost rows from one that is just young.

use std::sync::Arc;

use aquifer_format::{
    ids::{ClusterId, Incarnation},
    witness::Witness,
};
use aquifer_store::{
    GetError, ObjectStore, PutError,
    witness::{self, Kept, ReadWitnessError, Which, WriteWitnessError},
};

use crate::hashes::{Hashes, Verdict};

mod marker;

pub use marker::Marker;

/// Why the bucket does not let a leader serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// It does not answer, or not what it should; trying again may help.
    #[error("the bucket cannot be used just now: {reason}")]
    Unreachable {
        /// What was seen.
        reason: String,
    },
    /// It does not belong to this journal, or needs an operator.
    #[error("{reason}")]
    Refused {
        /// What is wrong, and what to do about it.
        reason: String,
    },
}

impl From<GetError> for BucketError {
    fn from(error: GetError) -> Self {
        Self::Unreachable {
            reason: error.to_string(),
        }
    }
}

impl From<PutError> for BucketError {
    fn from(error: PutError) -> Self {
        Self::Unreachable {
            reason: error.to_string(),
        }
    }
}

impl From<ReadWitnessError> for BucketError {
    fn from(error: ReadWitnessError) -> Self {
        match error {
            ReadWitnessError::Unusable { .. } => Self::Refused {
                reason: format!("{error}; remove it only if you know that nothing was lost"),
            },
            ReadWitnessError::List(_) | ReadWitnessError::Get(_) => Self::Unreachable {
                reason: error.to_string(),
            },
        }
    }
}

impl From<WriteWitnessError> for BucketError {
    fn from(error: WriteWitnessError) -> Self {
        match error {
            WriteWitnessError::Differs { .. } => Self::Refused {
                reason: error.to_string(),
            },
            WriteWitnessError::Put(_) | WriteWitnessError::Get(_) => Self::Unreachable {
                reason: error.to_string(),
            },
        }
    }
}

/// Everything that the bucket says of the metadata.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Whose it is; None = nobody's yet.
    pub marker: Option<Marker>,
    /// Tips, the newest last.
    pub tips: Vec<Kept>,
    /// Witnesses.
    pub witnesses: Vec<Kept>,
}

impl Remembered {
    /// Reads it. Whoever compares it with a journal reads the journal afterwards.
    ///
    /// # Errors
    /// See [`BucketError`].
    pub async fn read(store: &dyn ObjectStore, which: Which) -> Result<Self, BucketError> {
        let Some(marker) = Marker::read(store).await? else {
            return Ok(Self::default());
        };
        let cluster = marker.cluster;
        let (tips, witnesses) = futures::join!(
            witness::tips(store, cluster, which),
            witness::witnesses(store, cluster, which)
        );
        Ok(Self {
            marker: Some(marker),
            tips: tips?,
            witnesses: witnesses?,
        })
    }

    /// Tips and witnesses.
    pub fn all(&self) -> impl Iterator<Item = &Witness> + '_ {
        let all = self.tips.iter().chain(&self.witnesses);
        all.map(|(_, witness)| witness)
    }

    /// Whether a journal of `cluster` and `incarnation` with these rows has everything that anybody was
    /// shown.
    pub(crate) fn judge(&self, incarnation: Incarnation, hashes: &Hashes) -> Verdict {
        if let Some(marker) = self.marker.filter(|m| m.incarnation > incarnation) {
            return Verdict::Missing {
                seen: format!(
                    "the bucket is of incarnation {}, the journal of {incarnation}",
                    marker.incarnation
                ),
            };
        }
        let verdicts = self.all().map(|w| hashes.judge(incarnation, &w.mark));
        let missing = verdicts.filter(|verdict| *verdict != Verdict::Holds).last();
        missing.unwrap_or(Verdict::Holds)
    }

    /// Whether a journal of `cluster` (None = it is empty) may use this bucket.
    pub(crate) fn check_owner(
        &self,
        cluster: Option<ClusterId>,
        store: &dyn ObjectStore,
    ) -> Result<(), BucketError> {
        match (self.marker, cluster) {
            (None, _) => Ok(()),
            (Some(marker), None) => Err(marker.refuse_without_cluster(store)),
            (Some(marker), Some(cluster)) => marker.check(cluster, store),
        }
    }
}

/// Writes tips, and removes those that a newer one makes superfluous.
#[derive(Debug)]
pub(crate) struct Tips {
    store: Arc<dyn ObjectStore>,
    superfluous: Vec<String>,
}

impl Tips {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, remembered: &Remembered) -> Self {
        let keys = remembered.tips.iter().map(|(key, _)| key.clone());
        Self {
            store,
            superfluous: keys.collect(),
        }
    }

    pub(crate) async fn write(&mut self, tip: &Witness) -> Result<(), BucketError> {
        let key = witness::put_tip(&*self.store, tip).await?;
        // what sorts behind is of a later leader: this one was deposed and doesn't know it yet
        let older: Vec<String> = self
            .superfluous
            .iter()
            .filter(|k| **k < key)
            .cloned()
            .collect();
        if !older.is_empty()
            && let Err(error) = self.store.delete(&older).await
        {
            tracing::warn!(%error, "an old tip could not be deleted; the next one tries again");
        } else {
            self.superfluous.retain(|k| *k > key);
        }
        if !self.superfluous.contains(&key) {
            self.superfluous.push(key);
        }
        Ok(())
    }
}
