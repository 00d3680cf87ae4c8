use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{ClusterId, Incarnation, UploadEpoch};
use aquifer_store::Ports;
use uuid::Uuid;

use super::*;
use crate::{
    event::{Event, encode_row},
    journal::{
        Appended, LeaseOutcome, NO_ROW,
        memory::{MemoryJournal, MemorySwitches},
    },
    state::decide,
};

struct Log {
    journal: MemoryJournal,
    switches: MemorySwitches,
    term: LeaderTerm,
}

impl Log {
    async fn new() -> Self {
        let ports = Ports::simulated(1, 0);
        let journal = MemoryJournal::new(Arc::clone(&ports.clock));
        let taken = journal.lease(None, "a", "", Duration::from_secs(9)).await;
        let LeaseOutcome::Held(lease) = taken.unwrap() else {
            panic!("it is free");
        };
        Self {
            switches: journal.switches(),
            journal,
            term: lease.term,
        }
    }

    async fn append(&self, epoch: u32) {
        let last = self.switches.rows().pop();
        let (seq, previous) = last.map_or((1, NO_ROW), |row| (row.seq.0 + 1, row.hash));
        let event = if seq == 1 {
            let cluster = ClusterId(Uuid::from_u128(7));
            decide::genesis(cluster, Incarnation(1), UploadEpoch(epoch))
        } else {
            Event::UploadEpochAdvanced {
                upload_epoch: UploadEpoch(epoch),
            }
        };
        let row = Row::new(self.term, JournalSeq(seq), previous, encode_row(&[event]));
        let appended = self.journal.append(&row).await.unwrap();
        assert_eq!(appended, Appended::Durable);
    }

    async fn load(&self) -> Follower {
        Follower::load(&self.journal, Budgets::default())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn rows_are_followed_as_they_come() {
    let log = Log::new().await;
    let mut follower = log.load().await;
    assert_eq!(follower.witness(), None);
    assert_eq!(follower.advance(&log.journal).await.unwrap(), 0);
    for epoch in 1..=1_300 {
        log.append(epoch).await;
        if epoch % 600 == 1 {
            assert!(follower.advance(&log.journal).await.unwrap() > 0);
        }
    }
    assert_eq!(follower.advance(&log.journal).await.unwrap(), 99);
    assert_eq!(follower.state.upload_epoch(), UploadEpoch(1_300));
    let whole = log.load().await;
    assert_eq!(follower.state.fingerprint(), whole.state.fingerprint());
    assert_eq!(follower.witness(), whole.witness());
    let witness = whole.witness().unwrap();
    assert_eq!(witness.mark.seq, JournalSeq(1_300));
    assert_eq!(witness.mark.term, log.term);
}

#[tokio::test]
async fn rows_that_are_gone_or_others_now_are_noticed() {
    let log = Log::new().await;
    for epoch in 1..=10 {
        log.append(epoch).await;
    }
    let mut follower = log.load().await;
    log.switches.lose_rows_after(JournalSeq(8));
    let gone = follower.advance(&log.journal).await;
    assert!(
        matches!(gone, Err(FollowError::LostRows { .. })),
        "{gone:?}"
    );
    for epoch in 20..=25 {
        log.append(epoch).await;
    }
    let other = follower.advance(&log.journal).await;
    assert!(
        matches!(other, Err(FollowError::LostRows { .. })),
        "{other:?}"
    );
    // what it remembers is what it had
    assert_eq!(follower.witness().unwrap().mark.seq, JournalSeq(10));
}

#[tokio::test]
async fn trimmed_rows_mean_that_pages_are_loaded_again() {
    let log = Log::new().await;
    for epoch in 1..=3 {
        log.append(epoch).await;
    }
    let mut follower = log.load().await;
    for epoch in 4..=9 {
        log.append(epoch).await;
    }
    let newer = log.load().await;
    let pages = newer.state.all_pages();
    let through = JournalSeq(9);
    let newest = (through, newer.hashes.tail_hash());
    let put = log
        .journal
        .put_pages(log.term, newest, pages, Vec::new(), through);
    assert!(put.await.unwrap());
    let trimmed = follower.advance(&log.journal).await;
    assert!(matches!(trimmed, Err(FollowError::Trimmed)), "{trimmed:?}");
    assert_eq!(
        log.load().await.state.fingerprint(),
        newer.state.fingerprint()
    );
}

#[test]
fn a_follower_is_loaded_anew_only_where_that_helps() {
    let cases = [
        (0, 0, false),
        (4_000_000, 0, false),
        (4_000_001, 0, true),
        (5_000_000, 3_000_000, false),
        (6_000_001, 3_000_000, true),
    ];
    for (dirty, when_loaded, expected) in cases {
        assert_eq!(super::is_worn(dirty, when_loaded), expected, "{dirty}");
    }
}
