//! A journal that something happens to before each call.

use std::{fmt, sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::journal::{
    Appended, Journal, JournalError, LeaseOutcome, Loaded, Page, PageKey, Row, RowAt, Snapshot,
    WantedPages,
    memory::{Call, MemoryJournal},
};

type Before = dyn Fn(Call) -> BoxFuture<'static, ()> + Send + Sync;

pub(crate) struct Hooked {
    inner: MemoryJournal,
    before: Box<Before>,
}

impl Hooked {
    pub(crate) fn around(
        inner: &MemoryJournal,
        before: impl Fn(Call) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Arc<dyn Journal> {
        Arc::new(Self {
            inner: inner.clone(),
            before: Box::new(before),
        })
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").finish_non_exhaustive()
    }
}

#[async_trait]
impl Journal for Hooked {
    async fn lease(
        &self,
        term: Option<LeaderTerm>,
        holder: &str,
        endpoint: &str,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        (self.before)(Call::Lease).await;
        self.inner.lease(term, holder, endpoint, ttl).await
    }

    async fn release(&self, term: LeaderTerm) -> Result<(), JournalError> {
        (self.before)(Call::Lease).await;
        self.inner.release(term).await
    }

    async fn append(&self, row: &Row) -> Result<Appended, JournalError> {
        (self.before)(Call::Append).await;
        self.inner.append(row).await
    }

    async fn read(&self, from: JournalSeq, limit: usize) -> Result<Vec<Row>, JournalError> {
        (self.before)(Call::Read).await;
        self.inner.read(from, limit).await
    }

    async fn put_pages(
        &self,
        term: LeaderTerm,
        newest: RowAt,
        pages: Vec<Page>,
        removed: Vec<PageKey>,
        through: JournalSeq,
    ) -> Result<bool, JournalError> {
        (self.before)(Call::PutPages).await;
        self.inner
            .put_pages(term, newest, pages, removed, through)
            .await
    }

    async fn load(&self) -> Result<Loaded, JournalError> {
        (self.before)(Call::Load).await;
        self.inner.load().await
    }

    async fn snapshot(
        &self,
        wanted: WantedPages,
        to: mpsc::Sender<Vec<Page>>,
    ) -> Result<Snapshot, JournalError> {
        (self.before)(Call::Snapshot).await;
        self.inner.snapshot(wanted, to).await
    }

    async fn restore(
        &self,
        pages: mpsc::Receiver<Vec<Page>>,
        row: &Row,
    ) -> Result<bool, JournalError> {
        (self.before)(Call::Restore).await;
        self.inner.restore(pages, row).await
    }
}
