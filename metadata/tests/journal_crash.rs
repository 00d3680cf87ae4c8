//! The embedded journal in a process that is killed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aquifer_format::ids::JournalSeq;
use aquifer_metadata::journal::{
    Appended, Journal, LeaseOutcome, NO_ROW, Page, PageKey, Row, sqlite::SqliteJournal,
};
use aquifer_store::{Ports, Rand, SeededRand};
use bytes::Bytes;

const KILLS: u64 = 20;
const FILE_VARIABLE: &str = "AQUIFER_JOURNAL_CRASH_FILE";

fn content(seq: u64) -> Bytes {
    let bytes = usize::try_from(seq * 7919 % 20_000).unwrap();
    Bytes::from(vec![u8::try_from(seq % 251).unwrap(); bytes])
}

async fn lead(journal: &SqliteJournal) -> (Row, aquifer_format::ids::LeaderTerm) {
    let outcome = journal
        .lease(None, "embedded", "", Duration::from_secs(3))
        .await;
    let Ok(LeaseOutcome::Held(lease)) = outcome else {
        panic!("the process before is dead, so the lease is free: {outcome:?}");
    };
    let (seq, hash) = journal
        .load()
        .await
        .unwrap()
        .tail
        .unwrap_or((JournalSeq(0), NO_ROW));
    let next = JournalSeq(seq.0 + 1);
    (
        Row::new(lease.term, next, hash, content(next.0)),
        lease.term,
    )
}

/// The process that is killed: it appends until then, and says which rows were acknowledged.
#[tokio::test]
async fn child_that_appends() {
    let Some(file) = std::env::var_os(FILE_VARIABLE) else {
        // Run by itself, not by the test below.
        return;
    };
    let clock = Ports::system().clock;
    let journal = SqliteJournal::open(Path::new(&file), clock).await.unwrap();
    let (mut row, term) = lead(&journal).await;
    let mut out = std::io::stdout();
    loop {
        assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
        writeln!(out, "\nacknowledged {}", row.seq).unwrap();
        if row.seq.0.is_multiple_of(64) {
            let page = Page {
                key: PageKey(b"page".to_vec()),
                seq: row.seq,
                bytes: content(row.seq.0),
            };
            let through = JournalSeq(row.seq.0 - 32);
            assert!(
                journal
                    .put_pages(term, (row.seq, row.hash), vec![page], vec![], through)
                    .await
                    .unwrap()
            );
            writeln!(out, "\npages {through}").unwrap();
        }
        let seq = JournalSeq(row.seq.0 + 1);
        row = Row::new(term, seq, row.hash, content(seq.0));
    }
}

/// Runs the child, kills it after about `milliseconds`, and returns the last row that it had
/// acknowledged and the position that its last page write had noted.
fn run_and_kill(file: &Path, milliseconds: u64) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_appends",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FILE_VARIABLE, file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut acknowledged, mut through) = (0, 0);
    let mut note = |line: &str| {
        if let Some(seq) = line.strip_prefix("acknowledged ") {
            acknowledged = seq.parse().unwrap();
        } else if let Some(seq) = line.strip_prefix("pages ") {
            through = seq.parse().unwrap();
        }
        acknowledged
    };
    // Not before it writes.
    while note(&lines.next().expect("it appends").unwrap()) == 0 {}
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap()
    });
    // A last line that is cut off counts for nothing, and is recognized by its missing end.
    let mut pending: Option<String> = None;
    for line in lines.map_while(Result::ok) {
        if let Some(line) = pending.replace(line) {
            note(&line);
        }
    }
    let status = killer.join().unwrap();
    assert!(!status.success(), "it appends until it is killed");
    (acknowledged, through)
}

#[tokio::test]
async fn every_acknowledged_row_survives_a_kill() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("metadata.db");
    let rand = SeededRand::new(2026);
    let clock = Ports::system().clock;
    for round in 0..KILLS {
        let (acknowledged, through) = run_and_kill(&file, 5 + rand.next_u64() % 300);
        let journal = SqliteJournal::open(&file, Arc::clone(&clock))
            .await
            .unwrap();
        let loaded = journal.load().await.unwrap();
        let (tail, hash) = loaded.tail.unwrap();
        let kill = format!("kill {round}: acknowledged {acknowledged}, tail {tail}");
        // One more may have been written whose answer nobody saw, and one line may have been lost.
        assert!(
            tail.0 >= acknowledged && tail.0 <= acknowledged + 2,
            "{kill}"
        );
        assert!(loaded.pages_through.0 >= through, "{kill}");
        let from = JournalSeq(loaded.pages_through.0 + 1);
        let rows = journal.read(from, usize::MAX).await.unwrap();
        assert_eq!(
            rows.last().map(|row| (row.seq, row.hash)),
            Some((tail, hash)),
            "{kill}"
        );
        for row in &rows {
            assert_eq!(row.bytes, content(row.seq.0), "{kill}");
        }
        for page in &loaded.pages {
            assert_eq!(page.bytes, content(page.seq.0), "{kill}");
        }
        let (next, _) = lead(&journal).await;
        assert_eq!(
            journal.append(&next).await.unwrap(),
            Appended::Durable,
            "{kill}"
        );
        journal.close().await.unwrap();
    }
}
