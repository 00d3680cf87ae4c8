//! From the journal to a state: load the pages, replay the rows after them, verify the chain.

use aquifer_format::ids::JournalSeq;

use crate::{
    event::{RowError, decode_row},
    hashes::Hashes,
    journal::{Journal, JournalError, Loaded, Row, RowHash, row_hash},
    state::{Budgets, PageError, State},
};

#[cfg(test)]
mod tests;

/// Rows that are read in one call.
const BATCH_ROWS: usize = 512;
/// Pages may be written, and rows trimmed, between the load and the replay; hardly this often.
const LOADS_MAX: u32 = 5;

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The journal does not answer, or cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A page cannot be used.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A row cannot be used.
    #[error("row {seq} of the metadata journal cannot be used: {error}")]
    Row {
        /// Which.
        seq: JournalSeq,
        /// Why.
        error: RowError,
    },
    /// The rows are not the chain that was written.
    #[error("the metadata journal is damaged at row {seq}: {reason}")]
    Chain {
        /// Where.
        seq: JournalSeq,
        /// What is wrong.
        reason: &'static str,
    },
    /// Rows that pages reflect are gone.
    #[error(
        "the metadata journal lost rows: its pages reflect row {pages}, its newest row is {tail}; a failover or restore went back in time, and serving from it would reissue offsets"
    )]
    LostRows {
        /// What the pages reflect.
        pages: JournalSeq,
        /// The newest row.
        tail: JournalSeq,
    },
}

/// A state and where its journal ends.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    /// Of the rows that were read; its tail is the journal's.
    pub(crate) hashes: Hashes,
    /// Up to where the pages are complete.
    pub(crate) pages_through: JournalSeq,
}

/// Reads everything that was there when it began.
pub(crate) async fn recover(
    journal: &dyn Journal,
    budgets: Budgets,
) -> Result<Recovered, RecoveryError> {
    let mut loads = 1;
    loop {
        match load_and_replay(journal, budgets).await {
            Err(RecoveryError::Journal(JournalError::Gap { .. })) if loads < LOADS_MAX => {
                loads += 1;
                tracing::info!("rows were trimmed while the journal was read; loading again");
            }
            other => return other,
        }
    }
}

async fn load_and_replay(
    journal: &dyn Journal,
    budgets: Budgets,
) -> Result<Recovered, RecoveryError> {
    let loaded = journal.load().await?;
    let (tail, tail_hash) = loaded.tail.unwrap_or_default();
    check_tail(&loaded, tail)?;
    let mut state = State::from_pages(budgets, &loaded.pages)?;
    let pages = loaded.pages.len();
    drop(loaded.pages);
    let mut at = loaded.pages_through;
    let mut previous: Option<RowHash> = None;
    let mut hashes = Hashes::default();
    while at < tail {
        let rows = journal.read(JournalSeq(at.0 + 1), BATCH_ROWS).await?;
        if rows.is_empty() {
            let reason = "rows before the newest one are missing";
            return Err(RecoveryError::Chain { seq: at, reason });
        }
        // rows that came since are not covered by the tail's hash
        for row in rows.into_iter().take_while(|row| row.seq <= tail) {
            let expected = JournalSeq(at.0 + 1);
            check_link(&row, expected, previous.as_ref())?;
            let events = decode_row(&row.bytes).map_err(|error| RecoveryError::Row {
                seq: row.seq,
                error,
            })?;
            for event in &events {
                state.apply(row.seq, event);
            }
            at = row.seq;
            previous = Some(row.hash);
            hashes.push(row.seq, row.hash);
        }
        // a long replay shares its thread
        tokio::task::yield_now().await;
    }
    if previous.is_some_and(|hash| hash != tail_hash) {
        let reason = "its newest row is not the one that was read";
        return Err(RecoveryError::Chain { seq: tail, reason });
    }
    tracing::info!(
        pages,
        rows = tail.0 - loaded.pages_through.0,
        %tail,
        "the metadata state is loaded"
    );
    Ok(Recovered {
        state,
        hashes: if previous.is_some() {
            hashes
        } else {
            Hashes::new(tail, tail_hash)
        },
        pages_through: loaded.pages_through,
    })
}

fn check_tail(loaded: &Loaded, tail: JournalSeq) -> Result<(), RecoveryError> {
    let newest = loaded.pages.iter().map(|page| page.seq).max();
    let pages = newest.unwrap_or_default().max(loaded.pages_through);
    if pages > tail {
        return Err(RecoveryError::LostRows { pages, tail });
    }
    Ok(())
}

/// Whether `row` is the one after those before: at `expected`, behind the row with the hash `previous`.
pub(crate) fn check_link(
    row: &Row,
    expected: JournalSeq,
    previous: Option<&RowHash>,
) -> Result<(), RecoveryError> {
    let reason = if row.seq != expected {
        "a row is missing"
    } else if previous.is_some_and(|hash| *hash != row.previous) {
        "it does not follow the row before it"
    } else if row_hash(&row.previous, row.term, row.seq, &row.bytes) != row.hash {
        "its hash does not fit its content"
    } else {
        return Ok(());
    };
    Err(RecoveryError::Chain {
        seq: expected,
        reason,
    })
}
