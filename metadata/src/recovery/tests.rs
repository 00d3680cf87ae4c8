use std::time::Duration;

use aquifer_format::ids::{ClusterId, Incarnation, LeaderTerm, UploadEpoch};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::*;
use crate::{
    event::{Event, encode_row},
    journal::{Appended, LeaseOutcome, NO_ROW, Page, PageKey, RowAt, Snapshot, WantedPages},
    state::decide,
};

/// A journal that shows what it was made of.
#[derive(Debug)]
struct Canned {
    loaded: Loaded,
    rows: Vec<Row>,
}

#[async_trait]
impl Journal for Canned {
    async fn lease(
        &self,
        _: Option<LeaderTerm>,
        _: &str,
        _: &str,
        _: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        panic!("recovery takes no lease")
    }

    async fn release(&self, _: LeaderTerm) -> Result<(), JournalError> {
        panic!("recovery gives no lease up")
    }

    async fn append(&self, _: &Row) -> Result<Appended, JournalError> {
        panic!("recovery appends nothing")
    }

    async fn read(&self, from: JournalSeq, limit: usize) -> Result<Vec<Row>, JournalError> {
        let rows = self.rows.iter().filter(|row| row.seq >= from);
        Ok(rows.take(limit).cloned().collect())
    }

    async fn put_pages(
        &self,
        _: LeaderTerm,
        _: RowAt,
        _: Vec<Page>,
        _: Vec<PageKey>,
        _: JournalSeq,
    ) -> Result<bool, JournalError> {
        panic!("recovery writes no pages")
    }

    async fn load(&self) -> Result<Loaded, JournalError> {
        Ok(self.loaded.clone())
    }

    async fn snapshot(
        &self,
        _: WantedPages,
        _: mpsc::Sender<Vec<Page>>,
    ) -> Result<Snapshot, JournalError> {
        panic!("recovery takes no snapshot")
    }

    async fn restore(&self, _: mpsc::Receiver<Vec<Page>>, _: &Row) -> Result<bool, JournalError> {
        panic!("recovery restores nothing")
    }
}

/// A cluster that is `count` rows old.
fn rows(count: u64) -> Vec<Row> {
    let cluster = ClusterId(Uuid::from_u128(7));
    let mut event = decide::genesis(cluster, Incarnation(1), UploadEpoch(1));
    let mut rows: Vec<Row> = Vec::new();
    for seq in 1..=count {
        let previous = rows.last().map_or(NO_ROW, |row| row.hash);
        let bytes = encode_row(std::slice::from_ref(&event));
        rows.push(Row::new(LeaderTerm(1), JournalSeq(seq), previous, bytes));
        let upload_epoch = UploadEpoch(u32::try_from(seq).expect("few rows") + 1);
        event = Event::UploadEpochAdvanced { upload_epoch };
    }
    rows
}

fn journal(rows: Vec<Row>) -> Canned {
    let tail = rows.last().map(|row| (row.seq, row.hash));
    let loaded = Loaded {
        tail,
        ..Loaded::default()
    };
    Canned { loaded, rows }
}

async fn recovered(journal: Canned) -> Result<Recovered, RecoveryError> {
    recover(&journal, Budgets::default()).await
}

#[tokio::test]
async fn an_empty_journal_is_an_unborn_cluster() {
    let recovered = recovered(journal(Vec::new())).await.expect("recovers");
    assert!(!recovered.state.is_born());
    assert_eq!(recovered.hashes.tail(), JournalSeq(0));
    assert_eq!(recovered.hashes.tail_hash(), NO_ROW);
}

#[tokio::test]
async fn every_row_is_replayed() {
    let recovered = recovered(journal(rows(1_300))).await.expect("recovers");
    assert_eq!(recovered.hashes.tail(), JournalSeq(1_300));
    assert_eq!(recovered.state.upload_epoch(), UploadEpoch(1_300));
}

#[tokio::test]
async fn a_broken_chain_is_refused() {
    type Damage = fn(&mut Vec<Row>);
    let damages: [(&str, Damage); 5] = [
        ("a hole", |rows| {
            rows.remove(4);
        }),
        ("other bytes", |rows| {
            rows[4].bytes = Bytes::from_static(b"\x01");
        }),
        ("another predecessor", |rows| {
            rows[4] = Row::new(rows[4].term, rows[4].seq, NO_ROW, rows[4].bytes.clone());
        }),
        ("nothing to read", Vec::clear),
        ("no end", |rows| {
            rows.pop();
        }),
    ];
    for (name, damage) in damages {
        let mut journal = journal(rows(10));
        damage(&mut journal.rows);
        let refused = recovered(journal).await;
        assert!(
            matches!(refused, Err(RecoveryError::Chain { .. })),
            "{name}: {refused:?}"
        );
    }
    let mut other_tail = journal(rows(10));
    other_tail.loaded.tail = Some((JournalSeq(10), [7; 32]));
    let refused = recovered(other_tail).await;
    assert!(matches!(refused, Err(RecoveryError::Chain { .. })));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    let mut rows = rows(3);
    let previous = rows[2].hash;
    let bytes = Bytes::from_static(&[0xff; 40]);
    rows.push(Row::new(LeaderTerm(1), JournalSeq(4), previous, bytes));
    let refused = recovered(journal(rows)).await;
    assert!(
        matches!(
            refused,
            Err(RecoveryError::Row {
                seq: JournalSeq(4),
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_tail_behind_the_pages_is_a_loss() {
    let mut behind = journal(rows(10));
    behind.loaded.pages_through = JournalSeq(11);
    let refused = recovered(behind).await;
    assert!(matches!(refused, Err(RecoveryError::LostRows { .. })));
    let mut gone = journal(Vec::new());
    gone.loaded.pages_through = JournalSeq(3);
    let refused = recovered(gone).await;
    assert!(matches!(refused, Err(RecoveryError::LostRows { .. })));
}
