//! The journal in Postgres: production.
//!
//! One row per group commit, appended by one statement that checks fence and predecessor. Each purpose
//! (appends, lease, pages, reads, copies) has a connection of its own, so that none waits for another.

use std::time::Duration;

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_store::Ports;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sqlx::{Connection, PgConnection, Row as _, postgres::PgRow};
use tokio::sync::mpsc;

use super::{
    Appended, Journal, JournalError, Lease, LeaseOutcome, Loaded, Page, PageKey, Row, RowAt,
    Snapshot, WantedPages,
    chain::{Seen, Standing, check_rows, from_signed, hash_from, standing, to_signed},
    schema,
    sqlstate::{Effect, failure},
};

mod connect;
mod copies;
mod lease;
mod pages;
mod sql;
mod tables;

use connect::{Connector, Line};
use tables::{Table, TableLimits, Upkeep};

/// The shard of every key.
const SHARD: i16 = 0;

/// How to reach the database, and how long to wait for it.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database`, with the parameters that libpq knows. Of the server
    /// itself or a pooler in session mode; the primary.
    pub url: String,
    /// Time to connect. Default 5 s: longer than a server under load takes, shorter than anybody's
    /// patience.
    pub connect_timeout: Duration,
    /// Time for an answer to an append or a lease call, after which it is in doubt and the connection is
    /// given up. Default 10 s.
    pub call_timeout: Duration,
    /// Time for a page write, a read or a load. Default 5 min: a load may be gigabytes.
    pub transfer_timeout: Duration,
    /// Rows after which the other journal table is used. Default 65,536: a truncation, which holds up
    /// appends for some milliseconds, each minute at full load.
    pub table_rows: u64,
    /// Bytes after which the other journal table is used (both limits are looked at with each page
    /// write). Default 512 MiB: bounds what the journal takes on the server's disk to about twice that,
    /// beyond what the pages don't reflect yet.
    pub table_bytes: u64,
    /// Whether a start creates the schema or brings it up to date. Default true. Where the service's role
    /// may not create tables, an operator runs [`PostgresJournal::migrate`] with one that may, and the
    /// service only checks.
    pub migrate: bool,
}

impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        f.debug_struct("PostgresSettings").finish_non_exhaustive()
    }
}

impl PostgresSettings {
    /// The defaults for the database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            transfer_timeout: Duration::from_secs(300),
            table_rows: 1 << 16,
            table_bytes: 512 << 20,
            migrate: true,
        }
    }
}

/// The journal in Postgres.
#[derive(Debug)]
pub struct PostgresJournal {
    settings: PostgresSettings,
    ports: Ports,
    connector: Connector,
    appends: Line,
    leases: Line,
    transfers: Line,
    reads: Line,
    copies: Line,
    /// The table that was last known to be the active one.
    active: Mutex<Table>,
}

impl PostgresJournal {
    /// Connects, checks the server, and brings the schema up to date or checks it.
    ///
    /// # Errors
    /// `Unavailable` if the server can't be reached or is no primary; `Unusable` if it is set to lose
    /// acknowledged rows, is behind a pooler in transaction mode, refuses the user, or its schema is of a
    /// newer version.
    pub async fn connect(settings: PostgresSettings, ports: Ports) -> Result<Self, JournalError> {
        let connector = Connector::new(&settings, ports.clone())?;
        connector.check_pooler().await?;
        let mut connection = connector.connect().await?;
        let preparing = prepare_schema(&mut connection, settings.migrate);
        ports
            .timeout(settings.transfer_timeout, preparing)
            .await
            .unwrap_or_else(|| Err(no_answer(settings.transfer_timeout, Effect::None)))?;
        // An error while saying good-bye changes nothing.
        connection.close().await.ok();
        Ok(Self {
            settings,
            ports,
            connector,
            appends: Line::default(),
            leases: Line::default(),
            transfers: Line::default(),
            reads: Line::default(),
            copies: Line::default(),
            active: Mutex::new(Table::A),
        })
    }

    /// Creates the schema or brings it up to date, and returns its version. Doing it again changes
    /// nothing; a service that runs goes on meanwhile.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn migrate(settings: PostgresSettings, ports: Ports) -> Result<i64, JournalError> {
        let settings = PostgresSettings {
            migrate: true,
            ..settings
        };
        Self::connect(settings, ports).await?;
        Ok(schema::newest(schema::POSTGRES))
    }

    /// The server and its database, for people (no credentials).
    #[must_use]
    pub fn describe(&self) -> String {
        self.connector.describe()
    }

    /// Runs `call` for at most `limit`.
    async fn within<T>(
        &self,
        limit: Duration,
        effect: Effect,
        call: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let answer = self.ports.timeout(limit, call).await;
        answer.unwrap_or_else(|| Err(no_answer(limit, effect)))
    }

    async fn append_on(
        &self,
        connection: &mut PgConnection,
        row: &Row,
    ) -> Result<Appended, JournalError> {
        // Which table is written is the fence row's to say; what is remembered of it may be old. It
        // changes once in a long while, so the third time would be somebody else's mistake.
        for _ in 0..3 {
            let table = *self.active.lock();
            if insert(connection, table, row).await? {
                return Ok(Appended::Durable);
            }
            let (seen, active) = look(connection, row).await?;
            if let Standing::Known(outcome) = standing(row, &seen) {
                return Ok(outcome);
            }
            *self.active.lock() = active;
        }
        Err(JournalError::InDoubt {
            reason: "the row was refused, though it may follow".to_owned(),
        })
    }

    /// Truncates the older table if it can go, or begins with the empty one if the other is full.
    async fn tidy(
        &self,
        connection: &mut PgConnection,
        term: LeaderTerm,
    ) -> Result<(), JournalError> {
        let limits = TableLimits {
            rows: self.settings.table_rows,
            bytes: self.settings.table_bytes,
        };
        match pages::tables(connection).await?.upkeep(limits) {
            Some(Upkeep::Truncate(table)) => pages::truncate(connection, table, limits).await,
            Some(Upkeep::SwitchTo(table)) => pages::switch_to(connection, table, term).await,
            None => Ok(()),
        }
    }
}

async fn prepare_schema(connection: &mut PgConnection, migrate: bool) -> Result<(), JournalError> {
    let failed = |e: &sqlx::Error| failure(e, Effect::None);
    if migrate {
        return schema::migrate(connection, schema::POSTGRES, failed).await;
    }
    let there: bool = sqlx::query_scalar(sql::HAS_SCHEMA)
        .fetch_one(&mut *connection)
        .await
        .map_err(|e| failed(&e))?;
    let mut versions: Vec<i64> = Vec::new();
    if there {
        versions = sqlx::query_scalar(sql::SCHEMA_VERSIONS)
            .fetch_all(connection)
            .await
            .map_err(|e| failed(&e))?;
    }
    let remedy = "run `aquifer metadata migrate` first";
    schema::check(&versions, schema::POSTGRES, remedy)
}

fn no_answer(limit: Duration, effect: Effect) -> JournalError {
    let reason = format!("no answer from the database in {limit:?}");
    match effect {
        Effect::None => JournalError::Unavailable { reason },
        Effect::Possible => JournalError::InDoubt { reason },
    }
}

/// True = the row was inserted and is durable.
async fn insert(
    connection: &mut PgConnection,
    table: Table,
    row: &Row,
) -> Result<bool, JournalError> {
    let done = sqlx::query(table.append())
        .bind(SHARD)
        .bind(to_signed(row.seq.0))
        .bind(to_signed(row.term.0))
        .bind(row.previous.as_slice())
        .bind(row.hash.as_slice())
        .bind(row.bytes.as_ref())
        .execute(connection)
        .await
        .map_err(|e| failure(&e, Effect::Possible))?;
    Ok(done.rows_affected() == 1)
}

/// What stands around `row`, and which table is the active one.
async fn look(connection: &mut PgConnection, row: &Row) -> Result<(Seen, Table), JournalError> {
    let seen = sqlx::query(sql::LOOK)
        .bind(SHARD)
        .bind(to_signed(row.seq.0))
        .fetch_one(connection)
        .await
        // Of the append that went before, nothing is known yet.
        .map_err(|e| failure(&e, Effect::Possible))?;
    let hash = |column| {
        let bytes: Option<&[u8]> = seen.get(column);
        bytes.map(hash_from).transpose()
    };
    let active = Table::active(&seen);
    let seen = Seen {
        fence: LeaderTerm(from_signed(seen.get("fence"))?),
        here: hash("here")?,
        before: hash("before")?,
        tail: match seen.get::<Option<i64>, _>("tail") {
            Some(tail) => Some(JournalSeq(from_signed(tail)?)),
            None => None,
        },
    };
    Ok((seen, active))
}

fn row_from(row: &PgRow) -> Result<Row, JournalError> {
    Ok(Row {
        term: LeaderTerm(from_signed(row.get("term"))?),
        seq: JournalSeq(from_signed(row.get("seq"))?),
        previous: hash_from(row.get("previous"))?,
        hash: hash_from(row.get("hash"))?,
        bytes: Bytes::from(row.get::<Vec<u8>, _>("bytes")),
    })
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn lease(
        &self,
        term: Option<LeaderTerm>,
        holder: &str,
        endpoint: &str,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        let mut line = self.leases.checkout(&self.connector).await?;
        let connection = &mut line.connection;
        let call = async {
            match term {
                None => lease::take(connection, holder, endpoint, ttl).await,
                Some(term) => lease::renew(connection, term, holder, endpoint, ttl).await,
            }
        };
        let limit = self.settings.call_timeout;
        let outcome = self.within(limit, Effect::Possible, call).await?;
        line.give_back();
        Ok(outcome)
    }

    async fn release(&self, term: LeaderTerm) -> Result<(), JournalError> {
        let mut line = self.leases.checkout(&self.connector).await?;
        let call = lease::release(&mut line.connection, term);
        let limit = self.settings.call_timeout;
        self.within(limit, Effect::Possible, call).await?;
        line.give_back();
        Ok(())
    }

    async fn append(&self, row: &Row) -> Result<Appended, JournalError> {
        let mut line = self.appends.checkout(&self.connector).await?;
        let call = self.append_on(&mut line.connection, row);
        let limit = self.settings.call_timeout;
        let outcome = self.within(limit, Effect::Possible, call).await?;
        line.give_back();
        Ok(outcome)
    }

    async fn read(&self, from: JournalSeq, limit: usize) -> Result<Vec<Row>, JournalError> {
        let mut line = self.reads.checkout(&self.connector).await?;
        let call = async {
            sqlx::query(sql::READ)
                .bind(SHARD)
                .bind(to_signed(from.0))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&mut line.connection)
                .await
                .map_err(|e| failure(&e, Effect::None))
        };
        let time = self.settings.transfer_timeout;
        let rows = self.within(time, Effect::None, call).await?;
        line.give_back();
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
        let mut line = self.transfers.checkout(&self.connector).await?;
        let limit = self.settings.transfer_timeout;
        let call = async {
            pages::put(
                &mut line.connection,
                (term, newest),
                pages,
                &removed,
                through,
            )
            .await
            .map_err(|e| failure(&e, Effect::Possible))
        };
        if !self.within(limit, Effect::Possible, call).await? {
            line.give_back();
            return Ok(false);
        }
        let call = self.tidy(&mut line.connection, term);
        match self.within(limit, Effect::Possible, call).await {
            Ok(()) => line.give_back(),
            Err(error) => {
                tracing::warn!(%error, "the journal tables were not tidied; the next page write tries again");
            }
        }
        Ok(true)
    }

    async fn load(&self) -> Result<Loaded, JournalError> {
        let mut line = self.reads.checkout(&self.connector).await?;
        let limit = self.settings.transfer_timeout;
        let call = pages::load(&mut line.connection);
        let loaded = self.within(limit, Effect::None, call).await?;
        line.give_back();
        Ok(loaded)
    }

    async fn snapshot(
        &self,
        wanted: WantedPages,
        to: mpsc::Sender<Vec<Page>>,
    ) -> Result<Snapshot, JournalError> {
        let mut line = self.copies.checkout(&self.connector).await?;
        let patience = (&self.ports, self.settings.transfer_timeout);
        let snapshot = copies::snapshot(&mut line.connection, patience, wanted, to).await?;
        line.give_back();
        Ok(snapshot)
    }

    async fn restore(
        &self,
        pages: mpsc::Receiver<Vec<Page>>,
        row: &Row,
    ) -> Result<bool, JournalError> {
        let mut line = self.copies.checkout(&self.connector).await?;
        let patience = (&self.ports, self.settings.transfer_timeout);
        let restored = copies::restore(&mut line.connection, patience, pages, row).await?;
        line.give_back();
        Ok(restored)
    }
}
