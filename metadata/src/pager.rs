//! The background page writer.
//!
//! From time to time it takes the list of dirty pages, encodes them slice by slice between requests, and
//! writes each slice once the rows that it reflects are durable. When the last slice is written, replay
//! may begin after the row that was the last closed one when the list was taken, and the journal trims.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_store::{Monotonic, Ports};
use tokio::sync::mpsc;

use crate::{
    backup::NotedPages,
    journal::{Journal, JournalError, Page, PageKey, RowAt},
    state::State,
};

/// How often pages are written: a bound on what a restart replays (a minute of rows takes well under a
/// second).
const INTERVAL: Duration = Duration::from_secs(15);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Pages that are encoded in one go; a full extent page takes some 20 us.
const SLICE_PAGES: usize = 64;
/// Pages are written earlier after this many rows.
const ROWS_MAX: u64 = 20_000;
/// A write of pages that takes longer has failed.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);
/// Slices that are written in one call.
const PUT_BYTES: usize = 4 << 20;

/// How far the sequencer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The last closed row, if the state shows nothing of the open one.
    pub(crate) closed: Option<JournalSeq>,
    /// The last row that the state shows something of.
    pub(crate) shown: JournalSeq,
    /// The last durable row.
    pub(crate) durable: RowAt,
}

/// How a write of pages went.
pub(crate) enum Put {
    Written,
    Deposed,
    Failed {
        reason: String,
        /// Whether it may still take effect.
        in_doubt: bool,
    },
}

/// Pages that are being written.
struct Round {
    keys: VecDeque<PageKey>,
    /// Of chunks that were empty when the round began; removed with its last slice.
    emptied: Vec<PageKey>,
    /// What the pages together reflect when all are written.
    through: JournalSeq,
}

/// Encoded pages.
#[derive(Default)]
struct Slice {
    keys: Vec<PageKey>,
    pages: Vec<Page>,
    removed: Vec<PageKey>,
    bytes: usize,
    /// The last row that they reflect something of.
    needs: JournalSeq,
}

/// The page writer, driven by the sequencer.
pub(crate) struct Pager {
    ports: Ports,
    journal: Arc<dyn Journal>,
    term: LeaderTerm,
    /// Up to where the written pages are complete.
    through: JournalSeq,
    next_at: Monotonic,
    round: Option<Round>,
    slice: Option<Slice>,
    writing: Option<Slice>,
    /// What backups are to have.
    noted: Arc<NotedPages>,
    put: mpsc::Sender<Put>,
    pub(crate) done: mpsc::Receiver<Put>,
}

impl Pager {
    pub(crate) fn new(
        ports: &Ports,
        journal: Arc<dyn Journal>,
        term: LeaderTerm,
        through: JournalSeq,
    ) -> Self {
        let (put, done) = mpsc::channel(1);
        Self {
            ports: ports.clone(),
            journal,
            term,
            through,
            next_at: ports.clock.now().plus(INTERVAL),
            round: None,
            slice: None,
            writing: None,
            noted: Arc::new(NotedPages::new(through)),
            put,
            done,
        }
    }

    /// The names of the pages that it writes, for backups.
    pub(crate) fn noted(&self) -> Arc<NotedPages> {
        Arc::clone(&self.noted)
    }

    /// Whether a write is under way.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// When it wants to be called again, if nothing else happens; `whole`: the state shows whole rows.
    pub(crate) fn next_at(&self, whole: bool) -> Monotonic {
        match &self.round {
            None if whole => self.next_at,
            // a round begins with whole rows: when the next one is closed, for which the sequencer wakes
            None => Monotonic(Duration::MAX),
            Some(round) if self.has_room() && !round.keys.is_empty() => Monotonic::default(),
            // waits for a row or a write, whose end wakes the sequencer, however long an outage lasts
            Some(_) => Monotonic(Duration::MAX),
        }
    }

    fn has_room(&self) -> bool {
        self.slice.as_ref().is_none_or(|s| s.bytes < PUT_BYTES)
    }

    /// Does a little.
    pub(crate) fn step(&mut self, now: Monotonic, state: &mut State, progress: Progress) {
        if self.round.is_none() {
            self.begin(now, state, progress.closed);
        }
        if self.has_room() {
            self.encode(state, progress.shown);
        }
        self.write(progress.durable);
    }

    fn begin(&mut self, now: Monotonic, state: &mut State, closed: Option<JournalSeq>) {
        let Some(closed) = closed else { return };
        let rows = closed.0.saturating_sub(self.through.0);
        if now < self.next_at && rows < ROWS_MAX {
            return;
        }
        self.next_at = now.plus(INTERVAL);
        if rows == 0 {
            return;
        }
        let dirty = state.take_dirty().into_iter();
        let (emptied, keys): (Vec<_>, Vec<_>) = dirty.partition(|key| state.is_emptied_chunk(key));
        self.round = Some(Round {
            keys: keys.into(),
            emptied,
            through: closed,
        });
        self.slice = Some(Slice::default());
    }

    fn encode(&mut self, state: &mut State, shown: JournalSeq) {
        let Some(round) = &mut self.round else { return };
        for _ in 0..SLICE_PAGES {
            let Some(key) = round.keys.pop_front() else {
                return;
            };
            let slice = self.slice.get_or_insert_default();
            match state.encode_page(&key) {
                Some(page) => {
                    slice.needs = slice.needs.max(page.seq);
                    slice.bytes += page.bytes.len();
                    slice.pages.push(page);
                }
                None if state.is_emptied_chunk(&key) => {
                    // since the round began: its page stays for this round
                    state.mark_dirty(std::slice::from_ref(&key));
                    continue;
                }
                None => {
                    slice.needs = slice.needs.max(shown);
                    slice.removed.push(key.clone());
                }
            }
            slice.keys.push(key);
        }
    }

    fn write(&mut self, durable: RowAt) {
        let Some(round) = &mut self.round else {
            return;
        };
        let last = round.keys.is_empty();
        let full = self.slice.as_ref().is_some_and(|s| s.bytes >= PUT_BYTES);
        if self.writing.is_some() || !(last || full) {
            return;
        }
        let needs = if last { round.through } else { JournalSeq(0) };
        let ready = |slice: &mut Slice| slice.needs.max(needs) <= durable.0;
        let Some(mut slice) = self.slice.take_if(ready) else {
            return;
        };
        let through = if last { round.through } else { self.through };
        if last {
            slice.keys.extend(round.emptied.iter().cloned());
            slice.removed.append(&mut round.emptied);
        }
        let (pages, removed) = (
            std::mem::take(&mut slice.pages),
            std::mem::take(&mut slice.removed),
        );
        metrics::counter!("aquifer_metadata_pages_written_total")
            .increment(u64::try_from(pages.len()).unwrap_or(0));
        self.noted.begin(&slice.keys);
        self.writing = Some(slice);
        let (journal, ports) = (Arc::clone(&self.journal), self.ports.clone());
        let (term, put) = (self.term, self.put.clone());
        self.ports.tasks.spawn(async move {
            let writing = journal.put_pages(term, durable, pages, removed, through);
            let outcome = match ports.timeout(PUT_TIMEOUT, writing).await {
                Some(Ok(true)) => Put::Written,
                Some(Ok(false)) => Put::Deposed,
                Some(Err(error)) => Put::Failed {
                    reason: error.to_string(),
                    in_doubt: matches!(error, JournalError::InDoubt { .. }),
                },
                None => Put::Failed {
                    reason: format!("no answer in {PUT_TIMEOUT:?}"),
                    in_doubt: true,
                },
            };
            // the sequencer may have stopped
            let _ = put.send(outcome).await;
        });
    }

    /// A write has ended; true = this leader is deposed.
    pub(crate) fn finished(&mut self, put: Option<Put>, state: &mut State) -> bool {
        let Some(written) = self.writing.take() else {
            return false;
        };
        let in_doubt = match &put {
            Some(Put::Written | Put::Deposed) => false,
            Some(Put::Failed { in_doubt, .. }) => *in_doubt,
            None => true,
        };
        self.noted.ended(!in_doubt);
        match put {
            Some(Put::Written) => {
                let whole = self.round.as_ref().is_some_and(|r| r.keys.is_empty());
                if whole && self.slice.is_none() {
                    let round = self.round.take().expect("looked at just above");
                    tracing::debug!(through = %round.through, "the pages are written");
                    self.through = round.through;
                    self.noted.completed(round.through);
                }
            }
            Some(Put::Deposed) => return true,
            Some(Put::Failed { reason, .. }) => {
                tracing::warn!(reason, "pages could not be written; trying again later");
                let mut keys = written.keys;
                keys.extend(self.slice.take().into_iter().flat_map(|slice| slice.keys));
                if let Some(round) = self.round.take() {
                    keys.extend(round.keys);
                    keys.extend(round.emptied);
                }
                state.mark_dirty(&keys);
                self.next_at = self.ports.clock.now().plus(RETRY);
            }
            None => {}
        }
        false
    }
}
