//! A state that follows the journal, row by row: what a standby has, and a leader begins with.

use aquifer_format::{
    ids::{JournalSeq, LeaderTerm, Offset, PartitionId},
    mark::JournalMark,
    witness::Witness,
};

use crate::{
    event::decode_row,
    hashes::Hashes,
    journal::{Journal, JournalError, Row},
    recovery::{self, RecoveryError},
    state::{Budgets, State},
};

#[cfg(test)]
mod tests;

/// Rows that are read in one call.
const BATCH_ROWS: usize = 512;
/// Names of changed pages that a follower collects, about 40 bytes each, before it loads the pages anew: it
/// writes none itself, and logs that begin later leave the names of what they lost.
const DIRTY_PAGES_MAX: usize = 4_000_000;

/// A load that leaves as much again to be written (pages could not be written for long) would not help.
fn is_worn(dirty: usize, when_loaded: usize) -> bool {
    dirty > DIRTY_PAGES_MAX.max(when_loaded.saturating_mul(2))
}

/// Why a state cannot go on following.
#[derive(Debug)]
pub(crate) enum FollowError {
    /// The journal's rows are not those that were read: some were lost.
    LostRows {
        /// What was seen.
        seen: String,
    },
    /// Rows that come next were trimmed: load the pages again.
    Trimmed,
    /// The journal does not answer, or cannot be used.
    Recovery(RecoveryError),
}

impl From<JournalError> for FollowError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Gap { .. } => Self::Trimmed,
            error => Self::Recovery(error.into()),
        }
    }
}

/// A state and where it stands in the journal.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) state: State,
    pub(crate) hashes: Hashes,
    /// Up to where the pages were complete when they were loaded.
    pub(crate) pages_through: JournalSeq,
    /// Term of the newest row.
    term: LeaderTerm,
    /// How many pages had changed since they were written when it was loaded.
    dirty_when_loaded: usize,
}

impl Follower {
    /// Loads pages and rows.
    pub(crate) async fn load(
        journal: &dyn Journal,
        budgets: Budgets,
    ) -> Result<Self, RecoveryError> {
        let recovered = recovery::recover(journal, budgets).await?;
        let mut follower = Self {
            state: recovered.state,
            hashes: recovered.hashes,
            pages_through: recovered.pages_through,
            term: LeaderTerm(0),
            dirty_when_loaded: 0,
        };
        follower.dirty_when_loaded = follower.state.dirty_pages();
        match follower.advance(journal).await {
            // who follows will see it
            Ok(_) | Err(FollowError::LostRows { .. } | FollowError::Trimmed) => Ok(follower),
            Err(FollowError::Recovery(error)) => Err(error),
        }
    }

    /// Whether it has followed for so long that it had better be loaded anew.
    pub(crate) fn is_worn(&self) -> bool {
        is_worn(self.state.dirty_pages(), self.dirty_when_loaded)
    }

    /// Reads what came since; returns how many rows. The row before them is read again, so that one that
    /// is gone, or is another one now, is noticed.
    pub(crate) async fn advance(&mut self, journal: &dyn Journal) -> Result<u64, FollowError> {
        let mut advanced = 0;
        loop {
            let tail = self.hashes.tail();
            let rows = journal.read(JournalSeq(tail.0.max(1)), BATCH_ROWS).await?;
            let full = rows.len() == BATCH_ROWS;
            let mut rows = rows.into_iter();
            if tail.0 > 0 {
                self.meet(rows.next())?;
            }
            for row in rows {
                self.take(&row)?;
                advanced += 1;
            }
            if !full {
                return Ok(advanced);
            }
            // a long replay shares its thread
            tokio::task::yield_now().await;
        }
    }

    /// Compares the row that should be this state's newest one.
    fn meet(&mut self, row: Option<Row>) -> Result<(), FollowError> {
        let tail = self.hashes.tail();
        let seen = match row {
            Some(row) if row.seq == tail && row.hash == self.hashes.tail_hash() => {
                self.term = row.term;
                return Ok(());
            }
            Some(row) if row.seq == tail => "another row stands there now".to_owned(),
            _ => "it is gone".to_owned(),
        };
        Err(FollowError::LostRows {
            seen: format!("this process has read row {tail}, and {seen}"),
        })
    }

    /// Carries out a row that comes next. The journal has checked that the rows of one reading are a
    /// chain.
    pub(crate) fn take(&mut self, row: &Row) -> Result<(), FollowError> {
        let events = decode_row(&row.bytes).map_err(|error| {
            FollowError::Recovery(RecoveryError::Row {
                seq: row.seq,
                error,
            })
        })?;
        for event in &events {
            self.state.apply(row.seq, event);
        }
        self.hashes.push(row.seq, row.hash);
        self.term = row.term;
        Ok(())
    }

    /// Its newest row.
    pub(crate) fn mark(&self) -> JournalMark {
        self.hashes.mark(self.state.incarnation(), self.term)
    }

    /// What this state remembers; None before the cluster began.
    pub(crate) fn witness(&self) -> Option<Witness> {
        witness(&self.state, self.mark())
    }
}

/// What `state` remembers of the journal up to `mark`; None before the cluster began.
pub(crate) fn witness(state: &State, mark: JournalMark) -> Option<Witness> {
    let marks = state.topics().flat_map(|topic| topic.watermarks());
    let high_watermarks: Vec<(PartitionId, Offset)> = marks
        .map(|(id, marks)| (id, marks.high_watermark))
        .collect();
    Some(Witness {
        high_watermarks,
        ..tip(state, mark)?
    })
}

/// The same without the watermarks.
pub(crate) fn tip(state: &State, mark: JournalMark) -> Option<Witness> {
    Some(Witness {
        cluster: state.cluster()?,
        mark,
        upload_epoch: state.upload_epoch(),
        high_watermarks: Vec::new(),
    })
}
