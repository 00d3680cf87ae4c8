use aquifer_store::Ports;
use tempfile::TempDir;

use super::*;
use crate::journal::{NO_ROW, conformance::Storage};

struct InFolder {
    folder: TempDir,
    open: Mutex<Option<Arc<SqliteJournal>>>,
    ports: Ports,
}

async fn storage() -> InFolder {
    InFolder {
        folder: TempDir::new().unwrap(),
        open: Mutex::new(None),
        ports: Ports::system(),
    }
}

impl InFolder {
    fn path(&self) -> PathBuf {
        self.folder.path().join("a").join("b").join("metadata.db")
    }

    async fn journal(&self) -> Result<SqliteJournal, JournalError> {
        SqliteJournal::open(&self.path(), Arc::clone(&self.ports.clock)).await
    }

    /// Runs a statement on the closed file.
    async fn sql(&self, statement: &'static str, seq: JournalSeq) {
        if let Some(open) = self.open.lock().await.take() {
            open.close().await.unwrap();
        }
        let options = SqliteConnectOptions::new().filename(self.path());
        let mut connection = options.connect().await.unwrap();
        sqlx::query(statement)
            .bind(to_signed(seq.0))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

#[async_trait]
impl Storage for InFolder {
    async fn open(&self) -> Arc<dyn Journal> {
        let mut open = self.open.lock().await;
        if open.is_none() {
            *open = Some(Arc::new(self.journal().await.unwrap()));
        }
        Arc::clone(open.as_ref().unwrap()) as Arc<dyn Journal>
    }

    async fn lose_rows_after(&self, seq: JournalSeq) -> Arc<dyn Journal> {
        self.sql("DELETE FROM journal_rows WHERE seq > ?1", seq)
            .await;
        self.open().await
    }

    async fn damage_row(&self, seq: JournalSeq) -> Arc<dyn Journal> {
        self.sql("UPDATE journal_rows SET bytes = x'00' WHERE seq = ?1", seq)
            .await;
        self.open().await
    }

    async fn pass(&self, duration: Duration) {
        self.ports.sleep(duration).await;
    }
}

crate::journal_conformance!(storage());

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let storage = storage().await;
    let first = storage.journal().await.unwrap();
    let error = storage.journal().await.unwrap_err();
    assert!(matches!(error, JournalError::Unavailable { .. }), "{error}");
    assert!(
        error.to_string().contains("open in another process"),
        "{error}"
    );
    first.close().await.unwrap();
    storage.journal().await.unwrap();
}

#[tokio::test]
async fn every_commit_is_synced() {
    let storage = storage().await;
    let journal = storage.journal().await.unwrap();
    let mut open = journal.writer().await;
    let connection = &mut open.get().unwrap().connection;
    for (pragma, expected) in [
        ("PRAGMA journal_mode", "wal"),
        ("PRAGMA synchronous", "2"),
        ("PRAGMA locking_mode", "exclusive"),
        ("PRAGMA fullfsync", "1"),
    ] {
        let row = sqlx::query(pragma)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let value = match row.try_get::<String, _>(0) {
            Ok(text) => text,
            Err(_) => row.get::<i64, _>(0).to_string(),
        };
        assert_eq!(value, expected, "{pragma}");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let storage = storage().await;
    storage.journal().await.unwrap().close().await.unwrap();
    let insert = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time) VALUES (?1, '', TRUE, x'', 0)";
    storage.sql(insert, JournalSeq(99)).await;
    let error = storage.journal().await.unwrap_err();
    assert!(matches!(error, JournalError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("schema version 99"), "{error}");
}

#[tokio::test]
async fn what_is_no_journal_is_refused() {
    let storage = storage().await;
    std::fs::create_dir_all(storage.path().parent().unwrap()).unwrap();
    std::fs::write(storage.path(), vec![b'x'; 8192]).unwrap();
    let error = storage.journal().await.unwrap_err();
    assert!(matches!(error, JournalError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("not a journal"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file").join("metadata.db");
    let clock = Ports::system().clock;
    let error = SqliteJournal::open(&path, clock).await.unwrap_err();
    assert!(
        error.to_string().contains("choose another data folder"),
        "{error}"
    );
}

#[tokio::test]
async fn an_abandoned_call_leaves_a_journal_that_works() {
    let storage = storage().await;
    let journal = storage.journal().await.unwrap();
    let outcome = journal.lease(None, "a", "", Duration::from_secs(3)).await;
    let Ok(LeaseOutcome::Held(lease)) = outcome else {
        panic!("{outcome:?}");
    };
    let row = Row::new(lease.term, JournalSeq(1), NO_ROW, Bytes::from_static(b"x"));
    for nanoseconds in [0, 1_000, 20_000, 100_000] {
        let limit = Duration::from_nanos(nanoseconds);
        storage.ports.timeout(limit, journal.append(&row)).await;
        let pages = vec![Page {
            key: PageKey(vec![1]),
            seq: row.seq,
            bytes: Bytes::new(),
        }];
        let put = journal.put_pages(
            lease.term,
            (JournalSeq(0), NO_ROW),
            pages,
            vec![],
            JournalSeq(0),
        );
        storage.ports.timeout(limit, put).await;
        storage.ports.timeout(limit, journal.load()).await;
    }
    assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
    assert_eq!(journal.read(JournalSeq(1), 10).await.unwrap(), [row]);
}

#[tokio::test]
async fn looking_at_a_journal_creates_and_changes_nothing() {
    let storage = storage().await;
    let clock = || Arc::clone(&storage.ports.clock);
    let looked = SqliteJournal::open_existing(&storage.path(), clock()).await;
    assert!(matches!(looked, Err(JournalError::Unavailable { .. })));
    assert!(!storage.path().exists());
    let journal = storage.journal().await.unwrap();
    let held = journal.lease(None, "a", "", Duration::from_secs(3)).await;
    let LeaseOutcome::Held(lease) = held.unwrap() else {
        panic!("nobody else has it")
    };
    let row = Row::new(lease.term, JournalSeq(1), NO_ROW, Bytes::from_static(b"x"));
    assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
    journal.close().await.unwrap();
    let looked = SqliteJournal::open_existing(&storage.path(), clock()).await;
    let looked = looked.unwrap();
    assert_eq!(looked.read(JournalSeq(1), 9).await.unwrap(), [row]);
    looked.close().await.unwrap();
    storage
        .sql(
            "DELETE FROM _sqlx_migrations WHERE version > ?1",
            JournalSeq(0),
        )
        .await;
    let looked = SqliteJournal::open_existing(&storage.path(), clock()).await;
    assert!(
        matches!(&looked, Err(JournalError::Unusable { reason }) if reason.contains("aquifer dev")),
        "{looked:?}"
    );
}
