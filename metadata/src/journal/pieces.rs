//! Pages of a snapshot on their way to whoever takes them, some MiB at a time.

use tokio::sync::mpsc;

use super::{JournalError, Page};

/// Bytes of pages that go together.
const PIECE_BYTES: usize = 4 << 20;

/// Collects pages into pieces and sends them.
#[derive(Debug)]
pub(super) struct Pieces {
    to: mpsc::Sender<Vec<Page>>,
    pages: Vec<Page>,
    bytes: usize,
}

impl Pieces {
    pub(super) fn new(to: mpsc::Sender<Vec<Page>>) -> Self {
        Self {
            to,
            pages: Vec::new(),
            bytes: 0,
        }
    }

    /// The next page; waits while the one who takes them is behind.
    pub(super) async fn push(&mut self, page: Page) -> Result<(), JournalError> {
        self.bytes += page.key.0.len() + page.bytes.len();
        self.pages.push(page);
        if self.bytes >= PIECE_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// The last page was pushed.
    pub(super) async fn finish(mut self) -> Result<(), JournalError> {
        self.send().await
    }

    async fn send(&mut self) -> Result<(), JournalError> {
        self.bytes = 0;
        let pages = std::mem::take(&mut self.pages);
        if pages.is_empty() {
            return Ok(());
        }
        let sent = self.to.send(pages).await;
        sent.map_err(|_| JournalError::Unavailable {
            reason: "nobody takes the pages of the snapshot any more".to_owned(),
        })
    }
}
