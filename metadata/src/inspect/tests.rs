use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{LeaderTerm, UploadEpoch};
use aquifer_store::Ports;
use bytes::Bytes;

use super::*;
use crate::{
    event::encode_row,
    journal::{Appended, LeaseOutcome, memory::MemoryJournal},
};

/// A journal of `rows` rows; those for which `damaged` says so have a hash that does not fit.
async fn journal(rows: u64, damaged: impl Fn(u64) -> bool) -> (MemoryJournal, LeaderTerm, Row) {
    let journal = MemoryJournal::new(Arc::clone(&Ports::system().clock));
    let outcome = journal.lease(None, "a", "", Duration::from_secs(3)).await;
    let Ok(LeaseOutcome::Held(lease)) = outcome else {
        panic!("{outcome:?}");
    };
    let mut last = Row::new(lease.term, JournalSeq(0), NO_ROW, Bytes::new());
    last.hash = NO_ROW;
    for seq in 1..=rows {
        let event = Event::UploadEpochAdvanced {
            upload_epoch: UploadEpoch(u32::try_from(seq).unwrap()),
        };
        let bytes = encode_row(&[event]);
        let mut row = Row::new(lease.term, JournalSeq(seq), last.hash, bytes);
        if damaged(seq) {
            row.hash = [7; 32];
        }
        assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
        last = row;
    }
    (journal, lease.term, last)
}

/// What is found: the row's number, or its number negated where it is damaged.
async fn found(journal: &MemoryJournal, from: Option<u64>, limit: u64) -> Vec<i64> {
    let from = from.map(JournalSeq);
    let mut rows = Rows::begin(journal, from, limit).await.unwrap();
    let mut found = Vec::new();
    while let Some(next) = rows.next().await.unwrap() {
        found.push(match next {
            Found::Row {
                row,
                events,
                follows,
            } => {
                assert!(follows, "{row:?}");
                assert_eq!(events.unwrap().len(), 1);
                i64::try_from(row.seq.0).unwrap()
            }
            Found::Damaged { seq, reason } => {
                assert!(!reason.is_empty());
                -i64::try_from(seq.0).unwrap()
            }
        });
    }
    found
}

#[tokio::test]
async fn rows_are_read_from_a_place_or_up_to_the_newest() {
    for rows in [1, 2, 3, 5, 8, 300, 1_000] {
        let (journal, ..) = journal(rows, |_| false).await;
        let all: Vec<i64> = (1..=i64::try_from(rows).unwrap()).collect();
        assert_eq!(found(&journal, Some(0), 2_000).await, all);
        assert_eq!(found(&journal, None, 2_000).await, all);
        let last = &all[all.len().saturating_sub(2)..];
        assert_eq!(found(&journal, None, 2).await, last, "{rows} rows");
        assert_eq!(found(&journal, Some(rows + 1), 2).await, Vec::<i64>::new());
    }
    let (empty, ..) = journal(0, |_| false).await;
    assert_eq!(found(&empty, None, 9).await, Vec::<i64>::new());
    let (some, ..) = journal(9, |_| false).await;
    assert_eq!(found(&some, Some(3), 2).await, [3, 4]);
}

#[tokio::test]
async fn trimmed_rows_are_passed_over() {
    let (journal, term, last) = journal(9, |_| false).await;
    let newest = (last.seq, last.hash);
    let put = journal.put_pages(term, newest, Vec::new(), Vec::new(), JournalSeq(4));
    assert!(put.await.unwrap());
    assert_eq!(found(&journal, Some(1), 3).await, [5, 6, 7]);
    assert_eq!(found(&journal, None, 100).await, [5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn damaged_rows_are_told_and_those_around_them_are_read() {
    let (journal, ..) = journal(9, |seq| seq == 3 || seq == 7).await;
    let expected = [1, 2, -3, 4, 5, 6, -7, 8, 9];
    assert_eq!(found(&journal, Some(1), 100).await, expected);
    assert_eq!(found(&journal, None, 4).await, [6, -7, 8, 9]);
}
