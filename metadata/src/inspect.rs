//! A look at a journal without leading: for operators. Nothing is changed, and damage is told, not fatal.

use std::vec;

use aquifer_format::{ids::JournalSeq, mark::JournalMark};

use crate::{
    event::{Event, RowError, decode_row},
    follower::Follower,
    journal::{Journal, JournalError, Lease, NO_ROW, Row, RowHash},
    recovery::RecoveryError,
    state::{Budgets, State},
    status::last_lease,
};

/// Rows that are read in one call.
const BATCH_ROWS: u64 = 256;

/// Longest step of the search for the newest row: no journal has so many, but a damaged one may look so.
const STEP_MAX: u64 = 1 << 40;

/// Everything that a journal says.
#[derive(Debug)]
pub struct Looked {
    /// The state that it holds.
    pub state: State,
    /// Its newest row.
    pub newest: JournalMark,
    /// Up to where pages reflect it.
    pub pages_through: JournalSeq,
    /// Who held the lease last; it may have run out.
    pub lease: Option<Lease>,
}

/// Reads a whole journal.
///
/// # Errors
/// As a leader's start.
pub async fn look(journal: &dyn Journal) -> Result<Looked, RecoveryError> {
    let follower = Follower::load(journal, Budgets::default()).await?;
    let lease = last_lease(journal).await?;
    Ok(Looked {
        newest: follower.mark(),
        pages_through: follower.pages_through,
        lease,
        state: follower.state,
    })
}

/// The rows of a journal that are not trimmed, one after the other.
#[derive(Debug)]
pub struct Rows<'a> {
    journal: &'a dyn Journal,
    next: JournalSeq,
    left: u64,
    batch: vec::IntoIter<Row>,
    /// Hash of the row before, where that was read or there is none.
    previous: Option<RowHash>,
    /// Rows up to here are read one by one: one of them is damaged, and a reading that has it fails.
    singly_before: JournalSeq,
}

/// A row, or what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A row whose hash fits its content.
    Row {
        /// The row.
        row: Row,
        /// Its events, or why they cannot be read.
        events: Result<Vec<Event>, RowError>,
        /// Whether it follows the row before it, as far as that was read.
        follows: bool,
    },
    /// A row that is not there, though later ones are, or whose hash does not fit its content.
    Damaged {
        /// Which.
        seq: JournalSeq,
        /// What is wrong.
        reason: String,
    },
}

impl<'a> Rows<'a> {
    /// At most `limit` rows from `from` on; None = so that the last is the newest.
    ///
    /// # Errors
    /// The journal does not answer.
    pub async fn begin(
        journal: &'a dyn Journal,
        from: Option<JournalSeq>,
        limit: u64,
    ) -> Result<Self, JournalError> {
        let first = first(journal).await?;
        let from = match from {
            Some(from) => from.max(first),
            None => {
                let newest = newest(journal, first).await?;
                let from = newest.0.saturating_add(1).saturating_sub(limit);
                JournalSeq(from).max(first)
            }
        };
        Ok(Self {
            journal,
            next: from,
            left: limit,
            batch: Vec::new().into_iter(),
            previous: (from.0 == 1).then_some(NO_ROW),
            singly_before: JournalSeq(0),
        })
    }

    /// The next row; None = there is no more.
    ///
    /// # Errors
    /// The journal does not answer.
    pub async fn next(&mut self) -> Result<Option<Found>, JournalError> {
        if self.left == 0 {
            return Ok(None);
        }
        let row = match self.batch.next() {
            Some(row) => row,
            None => match self.read().await? {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(None),
                Err(damaged) => return Ok(Some(damaged)),
            },
        };
        self.left -= 1;
        self.next = JournalSeq(row.seq.0.saturating_add(1));
        let follows = self.previous.is_none_or(|hash| hash == row.previous);
        self.previous = Some(row.hash);
        let events = decode_row(&row.bytes);
        Ok(Some(Found::Row {
            row,
            events,
            follows,
        }))
    }

    /// Reads the next rows and returns the first, if there is one; or what is in its place.
    async fn read(&mut self) -> Result<Result<Option<Row>, Found>, JournalError> {
        let rows = if self.next < self.singly_before {
            1
        } else {
            self.left.min(BATCH_ROWS)
        };
        let limit = usize::try_from(rows).unwrap_or(usize::MAX);
        match self.journal.read(self.next, limit).await {
            Ok(rows) => {
                self.batch = rows.into_iter();
                Ok(Ok(self.batch.next()))
            }
            Err(JournalError::Unusable { .. }) if rows > 1 => {
                self.singly_before = JournalSeq(self.next.0.saturating_add(rows));
                Box::pin(self.read()).await
            }
            Err(JournalError::Unusable { reason }) => Ok(Err(self.damaged(reason))),
            // Trimmed since, or lost.
            Err(JournalError::Gap { first, .. }) => {
                let missing = self.damaged(format!("the next row that is there is {first}"));
                self.next = self.next.max(first);
                Ok(Err(missing))
            }
            Err(error) => Err(error),
        }
    }

    /// The next row is no row; the one after it follows nothing.
    fn damaged(&mut self, reason: String) -> Found {
        let seq = self.next;
        self.next = JournalSeq(seq.0.saturating_add(1));
        self.left -= 1;
        self.previous = None;
        Found::Damaged { seq, reason }
    }
}

/// The first row that is there, or the place of the first that will be.
async fn first(journal: &dyn Journal) -> Result<JournalSeq, JournalError> {
    match journal.read(JournalSeq(1), 1).await {
        Err(JournalError::Gap { first, .. }) => Ok(first),
        // Damage is told when the row itself is read.
        Ok(_) | Err(JournalError::Unusable { .. }) => Ok(JournalSeq(1)),
        Err(error) => Err(error),
    }
}

/// The newest row, by asking for single ones: steps that double, then halves. `first` is there, or none is.
async fn newest(journal: &dyn Journal, first: JournalSeq) -> Result<JournalSeq, JournalError> {
    let mut low = first.0;
    let mut step = 1u64;
    while step < STEP_MAX && is_there(journal, low.saturating_add(step)).await? {
        low = low.saturating_add(step);
        step = step.saturating_mul(2);
    }
    let mut high = low.saturating_add(step);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_there(journal, middle).await? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(JournalSeq(low))
}

/// Whether there is a row at `seq` or behind it.
async fn is_there(journal: &dyn Journal, seq: u64) -> Result<bool, JournalError> {
    match journal.read(JournalSeq(seq), 1).await {
        Ok(rows) => Ok(!rows.is_empty()),
        Err(JournalError::Gap { .. } | JournalError::Unusable { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
