//! The embedded journal: one SQLite file, open in one process at a time.
//!
//! The file is locked for as long as it is open, so a leader of another process can't exist; a lease
//! therefore lives in memory and only the fence is on disk. A process that was killed leaves no lock
//! behind, and the next one leads at once.
//!
//! An append is durable at power loss when it is answered: WAL, `synchronous = FULL`, and the folder is
//! synced when the file is created.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_store::{Clock, Monotonic};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{
    ConnectOptions, Connection, Row as _, SqliteConnection,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteRow, SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, MutexGuard, mpsc};

use super::{
    Appended, Journal, JournalError, Lease, LeaseOutcome, Loaded, Page, PageKey, Row, RowAt,
    Snapshot, WantedPages,
    chain::{Seen, Standing, check_rows, from_signed, hash_from, standing, to_signed},
    pieces::Pieces,
    schema,
};

mod error;
mod pages;
mod sql;

use error::{Effect, failure};

/// The shard of every key.
const SHARD: i64 = 0;

/// How long opening waits for a process that is just ending to let go of the file.
const OPEN_WAIT: Duration = Duration::from_secs(2);

/// The embedded journal.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// None once it is closed.
    writer: Mutex<Option<Writer>>,
}

/// The one connection, and the lease that is as long-lived as the lock on the file.
#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    lease: Option<Held>,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    expires: Monotonic,
}

impl SqliteJournal {
    /// Opens the journal in the file at `path`, which is created, with its folder, if it isn't there.
    /// Leases run out by `clock`.
    ///
    /// # Errors
    /// `Unavailable` if another process has the file open or a right is missing, `Unusable` if it is
    /// damaged, no journal, or of a newer version.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        create_folder(folder)?;
        let opening = |e: &sqlx::Error| error::opening(e, path);
        let mut connection = connect(path, true).await?;
        schema::migrate(&mut connection, schema::SQLITE, opening).await?;
        // Each time: the process that created the file may have died before it came to this.
        sync_folder(folder)?;
        Ok(Self::new(path, clock, connection))
    }

    /// Opens the journal in the file at `path` to look at it: the file must be there, and its schema is not
    /// brought up to date.
    ///
    /// # Errors
    /// As [`Self::open`]; `Unusable` also if its schema is of an older version.
    pub async fn open_existing(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let mut connection = connect(path, false).await?;
        let failed = |e: sqlx::Error| error::opening(&e, path);
        let has_schema: bool = sqlx::query_scalar(sql::HAS_SCHEMA)
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        let mut versions: Vec<i64> = Vec::new();
        if has_schema {
            versions = sqlx::query_scalar(sql::SCHEMA_VERSIONS)
                .fetch_all(&mut connection)
                .await
                .map_err(failed)?;
        }
        let remedy = "start `aquifer dev` on it first";
        schema::check(&versions, schema::SQLITE, remedy)?;
        Ok(Self::new(path, clock, connection))
    }

    fn new(path: &Path, clock: Arc<dyn Clock>, connection: SqliteConnection) -> Self {
        Self {
            path: path.to_owned(),
            clock,
            writer: Mutex::new(Some(Writer {
                connection,
                lease: None,
            })),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file: when this returns, another process can open it. Later calls answer
    /// `Unavailable`. Needed for nothing else; a journal that is dropped loses nothing.
    ///
    /// # Errors
    /// What the database says.
    pub async fn close(&self) -> Result<(), JournalError> {
        match self.writer.lock().await.take() {
            Some(writer) => {
                let closed = writer.connection.close().await;
                closed.map_err(|e| failure(&e, Effect::None))
            }
            None => Ok(()),
        }
    }

    async fn writer(&self) -> Open<'_> {
        Open(self.writer.lock().await)
    }
}

async fn connect(path: &Path, create: bool) -> Result<SqliteConnection, JournalError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // On macOS a plain fsync doesn't reach the disk.
        .pragma("fullfsync", "ON")
        .busy_timeout(OPEN_WAIT)
        .disable_statement_logging();
    let connected = options.connect().await;
    connected.map_err(|e| error::opening(&e, path))
}

/// The writer, locked.
struct Open<'a>(MutexGuard<'a, Option<Writer>>);

impl Open<'_> {
    fn get(&mut self) -> Result<&mut Writer, JournalError> {
        self.0.as_mut().ok_or_else(|| JournalError::Unavailable {
            reason: "the journal was closed".to_owned(),
        })
    }
}

fn folder_error(folder: &Path, error: &std::io::Error) -> JournalError {
    JournalError::Unavailable {
        reason: format!(
            "cannot create the folder {}: {error}; choose another data folder or set its rights",
            folder.display()
        ),
    }
}

/// Creates `folder`, and syncs the folders above it that got a new entry.
fn create_folder(folder: &Path) -> Result<(), JournalError> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|f| !f.as_os_str().is_empty() && !f.exists())
        .collect();
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|e| folder_error(folder, &e))?;
    for created in missing {
        if let Some(parent) = created.parent() {
            sync_folder(parent)?;
        }
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    std::fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| folder_error(folder, &e))
}

impl Writer {
    async fn insert(&mut self, row: &Row) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(sql::APPEND)
            .bind(SHARD)
            .bind(to_signed(row.seq.0))
            .bind(to_signed(row.term.0))
            .bind(row.previous.as_slice())
            .bind(row.hash.as_slice())
            .bind(row.bytes.as_ref())
            .execute(&mut self.connection)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn look(&mut self, row: &Row) -> Result<Seen, JournalError> {
        let seen = sqlx::query(sql::LOOK)
            .bind(SHARD)
            .bind(to_signed(row.seq.0))
            .fetch_one(&mut self.connection)
            .await
            .map_err(|e| failure(&e, Effect::Possible))?;
        let hash = |column| {
            let bytes: Option<Vec<u8>> = seen.get(column);
            bytes.map(|b| hash_from(&b)).transpose()
        };
        Ok(Seen {
            fence: LeaderTerm(from_signed(seen.get("fence"))?),
            here: hash("here")?,
            before: hash("before")?,
            tail: match seen.get::<Option<i64>, _>("tail") {
                Some(tail) => Some(JournalSeq(from_signed(tail)?)),
                None => None,
            },
        })
    }

    async fn put_pages(
        &mut self,
        term: LeaderTerm,
        newest: RowAt,
        pages: &[Page],
        removed: &[PageKey],
        through: JournalSeq,
    ) -> Result<bool, sqlx::Error> {
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        // This lock keeps every other writer out, so the fence may be looked at first.
        let fence: i64 = sqlx::query_scalar(sql::FENCE)
            .bind(SHARD)
            .fetch_one(&mut *tx)
            .await?;
        let there: Option<Vec<u8>> = sqlx::query_scalar(sql::HASH_AT)
            .bind(SHARD)
            .bind(to_signed(newest.0.0))
            .fetch_optional(&mut *tx)
            .await?;
        let lost = newest.0.0 > 0 && there.as_deref() != Some(newest.1.as_slice());
        if fence != to_signed(term.0) || lost {
            tx.rollback().await?;
            return Ok(false);
        }
        for page in pages {
            sqlx::query(sql::PUT_PAGE)
                .bind(SHARD)
                .bind(page.key.0.as_slice())
                .bind(to_signed(page.seq.0))
                .bind(page.bytes.as_ref())
                .execute(&mut *tx)
                .await?;
        }
        for key in removed {
            sqlx::query(sql::REMOVE_PAGE)
                .bind(SHARD)
                .bind(key.0.as_slice())
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(sql::CHECKPOINT)
            .bind(SHARD)
            .bind(to_signed(through.0))
            .execute(&mut *tx)
            .await?;
        sqlx::query(sql::TRIM).bind(SHARD).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn take(
        &mut self,
        holder: &str,
        endpoint: &str,
        now: Monotonic,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        if let Some(held) = &self.lease
            && held.expires > now
            && held.lease.holder != holder
        {
            return Ok(LeaseOutcome::HeldBy(held.lease.clone()));
        }
        let term: i64 = sqlx::query_scalar(sql::RAISE_FENCE)
            .bind(SHARD)
            .fetch_one(&mut self.connection)
            .await
            .map_err(|e| failure(&e, Effect::Possible))?;
        let lease = Lease {
            term: LeaderTerm(from_signed(term)?),
            holder: holder.to_owned(),
            endpoint: endpoint.to_owned(),
        };
        self.lease = Some(Held {
            lease: lease.clone(),
            expires: now.plus(ttl),
        });
        Ok(LeaseOutcome::Held(lease))
    }

    async fn renew(
        &mut self,
        term: LeaderTerm,
        holder: &str,
        endpoint: &str,
        now: Monotonic,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        if let Some(held) = &mut self.lease {
            if held.lease.term != term || held.lease.holder != holder {
                return Ok(LeaseOutcome::HeldBy(held.lease.clone()));
            }
            endpoint.clone_into(&mut held.lease.endpoint);
            held.expires = now.plus(ttl);
            return Ok(LeaseOutcome::Held(held.lease.clone()));
        }
        let fence: i64 = sqlx::query_scalar(sql::FENCE)
            .bind(SHARD)
            .fetch_one(&mut self.connection)
            .await
            .map_err(|e| failure(&e, Effect::None))?;
        Ok(LeaseOutcome::HeldBy(Lease {
            term: LeaderTerm(from_signed(fence)?),
            holder: String::new(),
            endpoint: String::new(),
        }))
    }
}

fn row_from(row: &SqliteRow) -> Result<Row, JournalError> {
    Ok(Row {
        term: LeaderTerm(from_signed(row.get("term"))?),
        seq: JournalSeq(from_signed(row.get("seq"))?),
        previous: hash_from(row.get("previous"))?,
        hash: hash_from(row.get("hash"))?,
        bytes: Bytes::from(row.get::<Vec<u8>, _>("bytes")),
    })
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn lease(
        &self,
        term: Option<LeaderTerm>,
        holder: &str,
        endpoint: &str,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        let now = self.clock.now();
        let mut open = self.writer().await;
        let writer = open.get()?;
        match term {
            None => writer.take(holder, endpoint, now, ttl).await,
            Some(term) => writer.renew(term, holder, endpoint, now, ttl).await,
        }
    }

    async fn release(&self, term: LeaderTerm) -> Result<(), JournalError> {
        let mut open = self.writer().await;
        open.get()?.lease.take_if(|held| held.lease.term == term);
        Ok(())
    }

    async fn append(&self, row: &Row) -> Result<Appended, JournalError> {
        let mut open = self.writer().await;
        let writer = open.get()?;
        let inserted = writer.insert(row).await;
        if inserted.map_err(|e| failure(&e, Effect::Possible))? {
            return Ok(Appended::Durable);
        }
        match standing(row, &writer.look(row).await?) {
            Standing::Known(outcome) => Ok(outcome),
            Standing::Appendable => Err(JournalError::InDoubt {
                reason: "the row was refused, though it may follow".to_owned(),
            }),
        }
    }

    async fn read(&self, from: JournalSeq, limit: usize) -> Result<Vec<Row>, JournalError> {
        let mut open = self.writer().await;
        let rows = sqlx::query(sql::READ)
            .bind(SHARD)
            .bind(to_signed(from.0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut open.get()?.connection)
            .await
            .map_err(|e| failure(&e, Effect::None))?;
        let rows: Vec<Row> = rows.iter().map(row_from).collect::<Result<_, _>>()?;
        check_rows(from, &rows)?;
        Ok(rows)
    }

    async fn put_pages(
        &self,
        term: LeaderTerm,
        newest: RowAt,
        pages: Vec<Page>,
        removed: Vec<PageKey>,
        through: JournalSeq,
    ) -> Result<bool, JournalError> {
        let mut open = self.writer().await;
        let written = open
            .get()?
            .put_pages(term, newest, &pages, &removed, through)
            .await;
        written.map_err(|e| failure(&e, Effect::Possible))
    }

    async fn load(&self) -> Result<Loaded, JournalError> {
        let mut open = self.writer().await;
        pages::load(&mut open.get()?.connection).await
    }

    async fn snapshot(
        &self,
        wanted: WantedPages,
        to: mpsc::Sender<Vec<Page>>,
    ) -> Result<Snapshot, JournalError> {
        let taken = {
            let mut open = self.writer().await;
            pages::snapshot(&mut open.get()?.connection, wanted).await?
        };
        // Sent when the file is free again: it has one connection, and appends don't wait for whoever takes them.
        let mut pieces = Pieces::new(to);
        for page in taken.pages {
            pieces.push(page).await?;
        }
        pieces.finish().await?;
        Ok(Snapshot {
            pages_through: taken.pages_through,
            tail: taken.tail,
        })
    }

    async fn restore(
        &self,
        pages: mpsc::Receiver<Vec<Page>>,
        row: &Row,
    ) -> Result<bool, JournalError> {
        let now = self.clock.now();
        let mut open = self.writer().await;
        let writer = open.get()?;
        if writer.lease.as_ref().is_some_and(|held| held.expires > now) {
            return Ok(false);
        }
        pages::restore(&mut writer.connection, pages, row).await
    }
}

#[cfg(test)]
mod tests;
