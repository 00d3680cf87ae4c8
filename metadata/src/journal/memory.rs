//! The journal in memory: the fake for tests and the simulation.
//!
//! Clones share one content, as processes share a database. [`MemoryJournal::switches`] makes it fail in
//! the ways in which databases do. Time is the clock port's, nothing is random: the same calls give the
//! same answers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_store::{Clock, Monotonic};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    Appended, Journal, JournalError, Lease, LeaseOutcome, Loaded, Page, PageKey, Row, RowAt,
    Snapshot, WantedPages,
    chain::{Seen, Standing, check_rows, standing},
    pieces::Pieces,
};

/// Everything that the fake holds; also what [`MemorySwitches::copy`] takes and
/// [`MemorySwitches::restore`] puts back.
#[derive(Clone, Debug, Default)]
pub struct MemoryContent {
    rows: VecDeque<Row>,
    pages: BTreeMap<PageKey, (JournalSeq, Bytes)>,
    pages_through: JournalSeq,
    fence: LeaderTerm,
    lease: Option<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    expires: Monotonic,
}

/// Calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Journal::lease`] and [`Journal::release`].
    Lease,
    /// [`Journal::append`].
    Append,
    /// [`Journal::read`].
    Read,
    /// [`Journal::put_pages`].
    PutPages,
    /// [`Journal::load`].
    Load,
    /// [`Journal::snapshot`].
    Snapshot,
    /// [`Journal::restore`].
    Restore,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes effect, and the answer is lost.
    InDoubtAfterEffect,
    /// It is lost on its way.
    InDoubtBeforeEffect,
    /// An append that is under way until [`MemorySwitches::deliver_late`]: reported as in doubt, and takes
    /// effect then. For other calls the same as [`Fault::InDoubtBeforeEffect`].
    InDoubtEffectLate,
    /// It is refused and may work later.
    Unavailable,
    /// It is refused for good.
    Unusable,
    /// It takes effect and never answers.
    Hang,
}

#[derive(Debug, Default)]
struct Inner {
    content: MemoryContent,
    faults: BTreeMap<Call, VecDeque<Fault>>,
    unavailable: bool,
    latency: Duration,
    late: Vec<Row>,
    appends: u64,
}

/// The fake.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    clock: Arc<dyn Clock>,
    inner: Arc<Mutex<Inner>>,
}

/// Handle on a fake's faults and content.
#[derive(Clone, Debug)]
pub struct MemorySwitches {
    inner: Arc<Mutex<Inner>>,
}

impl MemoryJournal {
    /// An empty journal; leases run out by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            inner: Arc::default(),
        }
    }

    /// The same content on another clock, as another process would see it.
    #[must_use]
    pub fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            inner: Arc::clone(&self.inner),
        }
    }

    /// The handle that makes this journal, and all its clones, fail.
    #[must_use]
    pub fn switches(&self) -> MemorySwitches {
        MemorySwitches {
            inner: Arc::clone(&self.inner),
        }
    }

    /// Runs `effect` as `call`, with the latency and the next fault that are switched on for it.
    async fn run<T: Send>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut MemoryContent, Monotonic) -> Result<T, JournalError> + Send,
    ) -> Result<T, JournalError> {
        let latency = self.inner.lock().latency;
        if !latency.is_zero() {
            self.clock.sleep_until(self.clock.now().plus(latency)).await;
        }
        let fault = {
            let now = self.clock.now();
            let mut inner = self.inner.lock();
            if inner.unavailable {
                return Err(unavailable());
            }
            let fault = inner.faults.get_mut(&call).and_then(VecDeque::pop_front);
            match fault {
                None => return effect(&mut inner.content, now),
                Some(Fault::InDoubtAfterEffect | Fault::Hang) => {
                    // What it answered is lost.
                    drop(effect(&mut inner.content, now));
                }
                Some(_) => {}
            }
            fault
        };
        match fault {
            Some(Fault::Unavailable) => Err(unavailable()),
            Some(Fault::Unusable) => Err(JournalError::Unusable {
                reason: "switched off for good".to_owned(),
            }),
            Some(Fault::Hang) => std::future::pending().await,
            _ => Err(in_doubt()),
        }
    }
}

fn page_of((key, (seq, bytes)): (&PageKey, &(JournalSeq, Bytes))) -> Page {
    Page {
        key: key.clone(),
        seq: *seq,
        bytes: bytes.clone(),
    }
}

fn unavailable() -> JournalError {
    JournalError::Unavailable {
        reason: "switched off".to_owned(),
    }
}

fn in_doubt() -> JournalError {
    JournalError::InDoubt {
        reason: "the answer was switched off".to_owned(),
    }
}

impl MemorySwitches {
    /// Makes the next call of this kind that is not yet spoken for fail; several queue up.
    pub fn fail_next(&self, call: Call, fault: Fault) {
        let mut inner = self.inner.lock();
        inner.faults.entry(call).or_default().push_back(fault);
    }

    /// Whether every call is refused as unavailable until this is switched back.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.inner.lock().unavailable = unavailable;
    }

    /// How long every call takes before it has an effect (zero at first).
    pub fn set_latency(&self, latency: Duration) {
        self.inner.lock().latency = latency;
    }

    /// Lets the appends of [`Fault::InDoubtEffectLate`] reach the journal, in their order. What the fence
    /// or the chain no longer allows has no effect. Returns how many had one.
    pub fn deliver_late(&self) -> usize {
        let mut inner = self.inner.lock();
        let late = std::mem::take(&mut inner.late);
        let rows = inner.content.rows.len();
        for row in &late {
            inner.content.append(row);
        }
        inner.content.rows.len() - rows
    }

    /// Drops every row after `seq`, as a failover to a copy that lags does.
    pub fn lose_rows_after(&self, seq: JournalSeq) {
        self.inner.lock().content.rows.retain(|row| row.seq <= seq);
    }

    /// Sets the fence, as such a failover may.
    pub fn set_fence(&self, term: LeaderTerm) {
        self.inner.lock().content.fence = term;
    }

    /// A copy of everything.
    #[must_use]
    pub fn copy(&self) -> MemoryContent {
        self.inner.lock().content.clone()
    }

    /// Puts a copy back: a restore, or a failover to a copy that lags, pages and lease included.
    pub fn restore(&self, content: MemoryContent) {
        self.inner.lock().content = content;
    }

    /// The rows that are there, oldest first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.inner.lock().content.rows.iter().cloned().collect()
    }

    /// How many appends were called so far, tries of the same row counted each.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.inner.lock().appends
    }
}

impl MemoryContent {
    fn row(&self, seq: JournalSeq) -> Option<&Row> {
        let first = self.rows.front()?.seq;
        let index = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        self.rows.get(index)
    }

    fn append(&mut self, row: &Row) -> Appended {
        let before = row.seq.0.checked_sub(1).map(JournalSeq);
        let seen = Seen {
            fence: self.fence,
            here: self.row(row.seq).map(|r| r.hash),
            before: before.and_then(|seq| self.row(seq)).map(|r| r.hash),
            tail: self.rows.back().map(|r| r.seq),
        };
        match standing(row, &seen) {
            Standing::Known(outcome) => outcome,
            Standing::Appendable => {
                self.rows.push_back(row.clone());
                Appended::Durable
            }
        }
    }

    fn tail(&self) -> Option<RowAt> {
        self.rows.back().map(|row| (row.seq, row.hash))
    }

    /// Neither rows nor pages, and nobody holds the lease.
    fn is_empty(&self, now: Monotonic) -> bool {
        let led = self.lease.as_ref().is_some_and(|held| held.expires > now);
        self.rows.is_empty() && self.pages.is_empty() && !led
    }

    fn trim(&mut self) {
        while self.rows.len() > 1 && self.rows[0].seq <= self.pages_through {
            self.rows.pop_front();
        }
    }

    fn take(
        &mut self,
        holder: &str,
        endpoint: &str,
        now: Monotonic,
        ttl: Duration,
    ) -> LeaseOutcome {
        if let Some(held) = &self.lease
            && held.expires > now
            && held.lease.holder != holder
        {
            return LeaseOutcome::HeldBy(held.lease.clone());
        }
        self.fence = LeaderTerm(self.fence.0 + 1);
        let lease = Lease {
            term: self.fence,
            holder: holder.to_owned(),
            endpoint: endpoint.to_owned(),
        };
        self.lease = Some(Held {
            lease: lease.clone(),
            expires: now.plus(ttl),
        });
        LeaseOutcome::Held(lease)
    }

    fn renew(
        &mut self,
        term: LeaderTerm,
        holder: &str,
        endpoint: &str,
        now: Monotonic,
        ttl: Duration,
    ) -> LeaseOutcome {
        match &mut self.lease {
            Some(held) if held.lease.term == term && held.lease.holder == holder => {
                endpoint.clone_into(&mut held.lease.endpoint);
                held.expires = now.plus(ttl);
                LeaseOutcome::Held(held.lease.clone())
            }
            Some(held) => LeaseOutcome::HeldBy(held.lease.clone()),
            None => LeaseOutcome::HeldBy(Lease {
                term: self.fence,
                holder: String::new(),
                endpoint: String::new(),
            }),
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn lease(
        &self,
        term: Option<LeaderTerm>,
        holder: &str,
        endpoint: &str,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        self.run(Call::Lease, |content, now| {
            Ok(match term {
                None => content.take(holder, endpoint, now, ttl),
                Some(term) => content.renew(term, holder, endpoint, now, ttl),
            })
        })
        .await
    }

    async fn release(&self, term: LeaderTerm) -> Result<(), JournalError> {
        self.run(Call::Lease, |content, _| {
            content.lease.take_if(|held| held.lease.term == term);
            Ok(())
        })
        .await
    }

    async fn append(&self, row: &Row) -> Result<Appended, JournalError> {
        {
            let mut inner = self.inner.lock();
            inner.appends += 1;
            let next = inner.faults.get(&Call::Append).and_then(VecDeque::front);
            if next == Some(&Fault::InDoubtEffectLate) && !inner.unavailable {
                inner.late.push(row.clone());
            }
        }
        self.run(Call::Append, |content, _| Ok(content.append(row)))
            .await
    }

    async fn read(&self, from: JournalSeq, limit: usize) -> Result<Vec<Row>, JournalError> {
        self.run(Call::Read, |content, _| {
            let rows: Vec<Row> = content
                .rows
                .iter()
                .filter(|row| row.seq >= from)
                .take(limit)
                .cloned()
                .collect();
            check_rows(from, &rows)?;
            Ok(rows)
        })
        .await
    }

    async fn put_pages(
        &self,
        term: LeaderTerm,
        newest: RowAt,
        pages: Vec<Page>,
        removed: Vec<PageKey>,
        through: JournalSeq,
    ) -> Result<bool, JournalError> {
        self.run(Call::PutPages, |content, _| {
            let there = content.row(newest.0).map(|row| row.hash);
            let lost = newest.0.0 > 0 && there != Some(newest.1);
            if content.fence != term || lost {
                return Ok(false);
            }
            for page in pages {
                let there = content.pages.get(&page.key);
                if there.is_none_or(|(seq, _)| *seq <= page.seq) {
                    content.pages.insert(page.key, (page.seq, page.bytes));
                }
            }
            for key in &removed {
                content.pages.remove(key);
            }
            content.pages_through = content.pages_through.max(through);
            content.trim();
            Ok(true)
        })
        .await
    }

    async fn load(&self) -> Result<Loaded, JournalError> {
        self.run(Call::Load, |content, _| {
            Ok(Loaded {
                pages: content.pages.iter().map(page_of).collect(),
                pages_through: content.pages_through,
                tail: content.tail(),
            })
        })
        .await
    }

    async fn snapshot(
        &self,
        wanted: WantedPages,
        to: mpsc::Sender<Vec<Page>>,
    ) -> Result<Snapshot, JournalError> {
        let taken = self.run(Call::Snapshot, |content, _| {
            let there = &content.pages;
            let pages: Vec<Page> = match wanted() {
                None => there.iter().map(page_of).collect(),
                Some(keys) => {
                    let found = keys.iter().filter_map(|key| there.get_key_value(key));
                    found.map(page_of).collect()
                }
            };
            let snapshot = Snapshot {
                pages_through: content.pages_through,
                tail: content.tail(),
            };
            Ok((pages, snapshot))
        });
        let (pages, snapshot) = taken.await?;
        let mut pieces = Pieces::new(to);
        for page in pages {
            pieces.push(page).await?;
        }
        pieces.finish().await?;
        Ok(snapshot)
    }

    async fn restore(
        &self,
        mut pages: mpsc::Receiver<Vec<Page>>,
        row: &Row,
    ) -> Result<bool, JournalError> {
        let mut all = BTreeMap::new();
        while let Some(piece) = pages.recv().await {
            let piece = piece.into_iter();
            all.extend(piece.map(|page| (page.key, (page.seq, page.bytes))));
        }
        self.run(Call::Restore, |content, now| {
            if !content.is_empty(now) || content.fence >= row.term {
                return Ok(false);
            }
            *content = MemoryContent {
                rows: VecDeque::from([row.clone()]),
                pages: all,
                pages_through: JournalSeq(row.seq.0.saturating_sub(1)),
                fence: row.term,
                lease: None,
            };
            Ok(true)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
