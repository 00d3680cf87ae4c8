//! The Postgres journal against a real server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_metadata::journal::{
    Appended, Journal, JournalError, LeaseOutcome, NO_ROW, Page, PageKey, Row,
    conformance::Storage,
    postgres::{PostgresJournal, PostgresSettings},
};
use aquifer_store::Ports;
use async_trait::async_trait;
use bytes::Bytes;
use cut::{Cut, CutProxy};
use postgres::{Database, PostgresServer};
use sqlx::{Connection, PgConnection};

#[path = "support/cut.rs"]
mod cut;
#[path = "support/postgres.rs"]
mod postgres;

struct OnServer {
    server: Arc<PostgresServer>,
    database: Database,
    ports: Ports,
}

async fn storage() -> OnServer {
    let server = PostgresServer::shared();
    OnServer {
        database: server.create_database(),
        server,
        ports: Ports::system(),
    }
}

/// For tests that disturb the whole server.
fn on_own_server() -> OnServer {
    let server = Arc::new(PostgresServer::start());
    OnServer {
        database: server.create_database(),
        server,
        ports: Ports::system(),
    }
}

impl OnServer {
    fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            // So few that the suite's trims truncate.
            table_rows: 8,
            ..PostgresSettings::new(self.database.url.clone())
        }
    }

    async fn connect(&self) -> Result<PostgresJournal, JournalError> {
        PostgresJournal::connect(self.settings(), self.ports.clone()).await
    }

    fn sql(&self, statements: &str) -> String {
        self.server.sql(&self.database.name, statements)
    }

    /// A journal whose connections go through a proxy, with its lease taken and one row written.
    async fn behind_proxy(&self) -> (CutProxy, PostgresJournal, Row) {
        let proxy = CutProxy::start(&self.ports, self.server.port()).await;
        let settings = PostgresSettings {
            url: format!(
                "postgres://postgres@127.0.0.1:{}/{}",
                proxy.port, self.database.name
            ),
            ..self.settings()
        };
        let journal = PostgresJournal::connect(settings, self.ports.clone())
            .await
            .unwrap();
        let row = first_row(&journal).await;
        (proxy, journal, row)
    }
}

#[async_trait]
impl Storage for OnServer {
    async fn open(&self) -> Arc<dyn Journal> {
        Arc::new(self.connect().await.unwrap())
    }

    async fn lose_rows_after(&self, seq: JournalSeq) -> Arc<dyn Journal> {
        for table in ["journal_a", "journal_b"] {
            self.sql(&format!("DELETE FROM {table} WHERE seq > {seq}"));
        }
        self.open().await
    }

    async fn damage_row(&self, seq: JournalSeq) -> Arc<dyn Journal> {
        for table in ["journal_a", "journal_b"] {
            self.sql(&format!(
                "UPDATE {table} SET bytes = 'damaged' WHERE seq = {seq}"
            ));
        }
        self.open().await
    }

    async fn pass(&self, duration: Duration) {
        self.ports.sleep(duration).await;
    }
}

aquifer_metadata::journal_conformance!(storage());

async fn take(journal: &PostgresJournal) -> LeaderTerm {
    match journal.lease(None, "a", "", Duration::from_secs(60)).await {
        Ok(LeaseOutcome::Held(lease)) => lease.term,
        other => panic!("{other:?}"),
    }
}

async fn first_row(journal: &PostgresJournal) -> Row {
    let term = take(journal).await;
    let row = Row::new(term, JournalSeq(1), NO_ROW, Bytes::from_static(b"first"));
    assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
    row
}

fn after(row: &Row) -> Row {
    let seq = JournalSeq(row.seq.0 + 1);
    Row::new(row.term, seq, row.hash, Bytes::from_static(b"next"))
}

fn is_in_doubt<T>(result: &Result<T, JournalError>) -> bool {
    matches!(result, Err(JournalError::InDoubt { .. }))
}

#[tokio::test]
async fn an_append_whose_connection_is_lost_is_in_doubt_and_the_same_again_tells() {
    let storage = storage().await;
    let (proxy, journal, mut last) = storage.behind_proxy().await;
    for (cut, written) in [
        (Cut::Reply, true),
        (Cut::Request, false),
        (Cut::Reply, true),
    ] {
        let row = after(&last);
        proxy.cut(cut);
        let lost = journal.append(&row).await;
        assert!(is_in_doubt(&lost) && proxy.was_cut(), "{cut:?}: {lost:?}");
        if written {
            let other = storage.open().await;
            storage.ports.sleep(Duration::from_millis(200)).await;
            assert_eq!(other.load().await.unwrap().tail, Some((row.seq, row.hash)));
        }
        assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
        assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
        last = row;
    }
    assert_eq!(journal.read(JournalSeq(1), 100).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_commit_whose_connection_is_lost_is_in_doubt() {
    let storage = storage().await;
    let (proxy, journal, row) = storage.behind_proxy().await;
    let pages = |text: &'static str| {
        vec![Page {
            key: PageKey(b"a".to_vec()),
            seq: JournalSeq(1),
            bytes: Bytes::from_static(text.as_bytes()),
        }]
    };
    for (cut, text) in [(Cut::CommitReply, "one"), (Cut::CommitRequest, "two")] {
        proxy.cut(cut);
        let lost = journal
            .put_pages(row.term, (row.seq, row.hash), pages(text), vec![], row.seq)
            .await;
        assert!(is_in_doubt(&lost) && proxy.was_cut(), "{cut:?}: {lost:?}");
        let again = journal
            .put_pages(row.term, (row.seq, row.hash), pages(text), vec![], row.seq)
            .await;
        assert!(again.unwrap());
        assert_eq!(journal.load().await.unwrap().pages, pages(text));
    }
    let mut term = row.term;
    for cut in [Cut::CommitReply, Cut::CommitRequest] {
        proxy.cut(cut);
        let lost = journal.lease(None, "a", "", Duration::from_secs(60)).await;
        assert!(is_in_doubt(&lost) && proxy.was_cut(), "{cut:?}: {lost:?}");
        let again = take(&journal).await;
        assert!(again > term, "the same holder gets a term that it knows");
        term = again;
    }
    let deposed = journal.append(&after(&row)).await.unwrap();
    assert_eq!(deposed, Appended::Deposed { by: term });
}

#[tokio::test]
async fn an_append_that_hangs_is_in_doubt_after_its_time() {
    let storage = storage().await;
    let settings = PostgresSettings {
        call_timeout: Duration::from_millis(500),
        ..storage.settings()
    };
    let journal = PostgresJournal::connect(settings, storage.ports.clone())
        .await
        .unwrap();
    let row = first_row(&journal).await;
    let mut other = PgConnection::connect(&storage.database.url).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM fences FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let next = after(&row);
    let stuck = journal.append(&next).await;
    assert!(is_in_doubt(&stuck), "{stuck:?}");
    held.rollback().await.unwrap();
    assert_eq!(journal.append(&next).await.unwrap(), Appended::Durable);
    assert_eq!(journal.read(JournalSeq(1), 10).await.unwrap(), [row, next]);
}

#[tokio::test]
async fn an_abandoned_call_leaves_a_journal_that_works() {
    let storage = storage().await;
    let journal = storage.connect().await.unwrap();
    let row = first_row(&journal).await;
    let next = after(&row);
    for nanoseconds in [0, 1_000, 50_000, 200_000] {
        let limit = Duration::from_nanos(nanoseconds);
        storage.ports.timeout(limit, journal.append(&next)).await;
        storage.ports.timeout(limit, journal.load()).await;
    }
    assert_eq!(journal.append(&next).await.unwrap(), Appended::Durable);
    assert_eq!(journal.read(JournalSeq(1), 10).await.unwrap(), [row, next]);
}

#[tokio::test]
async fn a_read_only_server_is_unavailable_until_it_is_not() {
    let storage = on_own_server();
    let journal = storage.connect().await.unwrap();
    let row = first_row(&journal).await;
    storage.server.set("default_transaction_read_only", "on");
    storage.ports.sleep(Duration::from_millis(500)).await;
    let next = after(&row);
    // First in the session that is open, then in a new one.
    for text in ["25006", "read-only: connect to the primary"] {
        let refused = journal.append(&next).await.unwrap_err();
        let unavailable = matches!(refused, JournalError::Unavailable { .. });
        assert!(
            unavailable && refused.to_string().contains(text),
            "{refused}"
        );
    }
    storage.server.set("default_transaction_read_only", "off");
    assert_eq!(journal.append(&next).await.unwrap(), Appended::Durable);
    assert_eq!(journal.read(JournalSeq(1), 10).await.unwrap(), [row, next]);
}

#[tokio::test]
async fn a_server_that_crashes_keeps_every_acknowledged_row() {
    let storage = on_own_server();
    let server = &storage.server;
    let journal = storage.connect().await.unwrap();
    let mut rows = vec![first_row(&journal).await];
    for _ in 0..3 {
        for _ in 0..20 {
            let next = after(&rows[rows.len() - 1]);
            assert_eq!(journal.append(&next).await.unwrap(), Appended::Durable);
            rows.push(next);
        }
        server.crash();
        let next = after(&rows[rows.len() - 1]);
        assert!(
            is_in_doubt(&journal.append(&next).await),
            "the session is gone"
        );
        let refused = journal.append(&next).await.unwrap_err();
        assert!(
            matches!(refused, JournalError::Unavailable { .. }),
            "{refused}"
        );
        server.restart();
        assert_eq!(journal.append(&next).await.unwrap(), Appended::Durable);
        rows.push(next);
        // The connection for reads may be one of before.
        let read = match journal.read(JournalSeq(1), 100).await {
            Err(JournalError::Unavailable { .. }) => journal.read(JournalSeq(1), 100).await,
            read => read,
        };
        assert_eq!(read.unwrap(), rows);
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_told_apart_from_one_that_is_away() {
    let storage = storage().await;
    let connect =
        |url: String| PostgresJournal::connect(PostgresSettings::new(url), storage.ports.clone());
    let port = storage.server.port();
    for (url, unusable, text) in [
        (
            "postgres://postgres@127.0.0.1:1/x".to_owned(),
            false,
            "127.0.0.1:1",
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/nowhere"),
            true,
            "create the database",
        ),
        (
            format!("postgres://nobody@127.0.0.1:{port}/postgres"),
            true,
            "check user and password",
        ),
        ("what?".to_owned(), true, "postgres://"),
    ] {
        let error = connect(url.clone()).await.unwrap_err();
        let is_unusable = matches!(error, JournalError::Unusable { .. });
        assert_eq!(is_unusable, unusable, "{url}: {error}");
        assert!(error.to_string().contains(text), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_loses_acknowledged_rows_is_refused() {
    let storage = storage().await;
    let name = &storage.database.name;
    let set = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    storage.server.sql("postgres", &set);
    let error = storage.connect().await.unwrap_err();
    assert!(matches!(error, JournalError::Unusable { .. }), "{error}");
    assert!(
        error.to_string().contains("synchronous_commit is off"),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let storage = storage().await;
    drop(storage.connect().await.unwrap());
    storage.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'future', TRUE, '', 0)",
    );
    let error = storage.connect().await.unwrap_err();
    assert!(matches!(error, JournalError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("schema version 99"), "{error}");
}

#[tokio::test]
async fn services_that_start_at_once_on_an_empty_database_all_come_up() {
    let storage = storage().await;
    let starts = (0..4).map(|_| storage.connect());
    for started in futures::future::join_all(starts).await {
        started.unwrap();
    }
}

#[tokio::test]
async fn a_truncation_gives_way_to_a_reader_and_comes_later() {
    let storage = storage().await;
    let journal = storage.connect().await.unwrap();
    let mut last = first_row(&journal).await;
    let counts =
        || storage.sql("SELECT (SELECT count(*) FROM journal_a), (SELECT count(*) FROM journal_b)");
    let put = |last: &Row| {
        let newest = (last.seq, last.hash);
        journal.put_pages(last.term, newest, vec![], vec![], last.seq)
    };

    append_many(&journal, &mut last, 7).await;
    assert!(put(&last).await.unwrap(), "the first table is full");
    append_many(&journal, &mut last, 5).await;
    assert_eq!(counts(), "8|5");
    let mut other = PgConnection::connect(&storage.database.url).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM journal_a")
        .execute(&mut *held)
        .await
        .unwrap();
    assert!(put(&last).await.unwrap());
    assert_eq!(counts(), "8|5", "it gave way");
    append_many(&journal, &mut last, 1).await;
    held.commit().await.unwrap();
    assert!(put(&last).await.unwrap());
    assert_eq!(counts(), "0|6");
    append_many(&journal, &mut last, 2).await;
    assert!(put(&last).await.unwrap(), "the second table is full");
    append_many(&journal, &mut last, 1).await;
    assert_eq!(counts(), "1|8", "the tables are used in turn");
}

async fn append_many(journal: &PostgresJournal, last: &mut Row, rows: usize) {
    for _ in 0..rows {
        *last = after(last);
        assert_eq!(journal.append(last).await.unwrap(), Appended::Durable);
    }
}
