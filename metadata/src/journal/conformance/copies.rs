//! Snapshots, which backups are made of, and what a restore makes of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use tokio::sync::mpsc;

use super::{
    super::{Journal, JournalError, LeaseOutcome, Page, PageKey, Row, Snapshot},
    Appended, LONG, Leader, Storage, append, lease, load, page, read,
};

fn key(name: &str) -> PageKey {
    PageKey(name.as_bytes().to_vec())
}

/// All pieces of a snapshot, put together.
async fn snapshot(
    journal: &Arc<dyn Journal>,
    wanted: Option<Vec<PageKey>>,
) -> (Vec<Page>, Snapshot) {
    let (to, mut pieces) = mpsc::channel(1);
    let take = async {
        let mut pages = Vec::new();
        while let Some(piece) = pieces.recv().await {
            pages.extend(piece);
        }
        pages
    };
    let (snapshot, mut pages) =
        futures::join!(journal.snapshot(Box::new(move || wanted), to), take);
    pages.sort_by(|a, b| a.key.cmp(&b.key));
    (pages, snapshot.expect("the snapshot is taken"))
}

async fn restore(journal: &Arc<dyn Journal>, pieces: Vec<Vec<Page>>, row: &Row) -> bool {
    let (to, pages) = mpsc::channel(1);
    let give = async {
        for piece in pieces {
            // who refuses takes none
            to.send(piece).await.ok();
        }
        drop(to);
    };
    let (restored, ()) = futures::join!(journal.restore(pages, row), give);
    restored.expect("the restore answers")
}

/// A snapshot has what is wanted of the pages, and what a load has beside them.
pub async fn a_snapshot_has_the_pages_that_are_wanted(storage: &dyn Storage) {
    let journal = storage.open().await;
    let nothing = snapshot(&journal, None).await;
    assert_eq!(nothing, (vec![], Snapshot::default()));
    let mut leader = Leader::start(&journal, "a").await;
    leader.append_many(5).await;
    let large: Vec<Page> = (0..40_u8)
        .map(|i| page(&format!("large {i:02}"), 3, vec![i; 300_000]))
        .collect();
    let small: Vec<Page> = (0..9_000)
        .map(|i| page(&format!("small {i:04}"), 4, ""))
        .collect();
    let all = [large.clone(), small.clone()].concat();
    assert!(leader.put_pages(all.clone(), vec![], 3).await);
    let expected = Snapshot {
        pages_through: JournalSeq(3),
        tail: Some((leader.seq, leader.hash)),
    };
    assert_eq!(snapshot(&journal, None).await, (all, expected));
    let names = ["large 07", "nobody", "small 0001"].map(key).to_vec();
    let some = vec![large[7].clone(), small[1].clone()];
    assert_eq!(snapshot(&journal, Some(names)).await, (some, expected));
    let none = snapshot(&journal, Some(vec![])).await;
    assert_eq!(none, (vec![], expected));
    let many: Vec<PageKey> = small.iter().map(|page| page.key.clone()).collect();
    assert_eq!(snapshot(&journal, Some(many)).await, (small, expected));
}

/// What is wanted is asked for when the snapshot stands: whatever is written later is not in it, and whatever was
/// written before it was asked is.
pub async fn a_snapshot_is_of_one_moment(storage: &dyn Storage) {
    let (one, two) = (storage.open().await, storage.open().await);
    let mut leader = Leader::start(&one, "a").await;
    leader.append("first").await;
    let done = AtomicBool::new(false);
    let write = async {
        for _ in 0..30 {
            leader.append_many(2).await;
            let seq = leader.seq.0;
            let pages = ["a", "m", "z"].map(|name| page(name, seq, seq.to_string()));
            assert!(leader.put_pages(pages.to_vec(), vec![], seq - 1).await);
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let check = async {
        let mut all = true;
        while !done.load(Ordering::SeqCst) {
            let wanted = (!all).then(|| ["z", "a"].map(key).to_vec());
            let (pages, snapshot) = snapshot(&two, wanted).await;
            all = !all;
            let (tail, _) = snapshot.tail.expect("the newest row is never trimmed");
            assert!(snapshot.pages_through <= tail);
            let seqs: BTreeMap<JournalSeq, usize> =
                pages.iter().map(|page| (page.seq, pages.len())).collect();
            assert!(seqs.len() <= 1, "written together: {seqs:?}");
            for seq in seqs.into_keys() {
                assert!(seq <= tail, "a page of row {seq}, the tail is {tail}");
                assert_eq!(JournalSeq(seq.0 - 1), snapshot.pages_through);
            }
            tokio::task::yield_now().await;
        }
    };
    futures::join!(write, check);
}

/// Nobody who waits for pages is kept waiting, and a snapshot that nobody takes ends.
pub async fn a_snapshot_that_nobody_takes_ends(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    leader.append("row").await;
    assert!(leader.put_pages(vec![page("a", 1, "")], vec![], 1).await);
    let (to, pieces) = mpsc::channel(1);
    drop(pieces);
    let ended = journal.snapshot(Box::new(|| None), to).await;
    assert!(
        matches!(ended, Err(JournalError::Unavailable { .. })),
        "{ended:?}"
    );
    let (pages, _) = snapshot(&journal, None).await;
    assert_eq!(pages, [page("a", 1, "")]);
}

/// Pages and a row become a journal that goes on after them, for leaders of higher terms.
pub async fn a_restored_journal_goes_on(storage: &dyn Storage) {
    let journal = storage.open().await;
    let row = Row::new(LeaderTerm(7), JournalSeq(42), [9; 32], "restored".into());
    let (a, b) = (page("a", 42, "a"), page("b", 3, vec![1; 2 << 20]));
    let pieces = vec![vec![b.clone()], vec![], vec![a.clone()]];
    assert!(restore(&journal, pieces, &row).await);
    let loaded = load(&journal).await;
    assert_eq!(loaded.pages, [a.clone(), b]);
    assert_eq!(loaded.pages_through, JournalSeq(41));
    assert_eq!(loaded.tail, Some((row.seq, row.hash)));
    assert_eq!(read(&journal, 42, 10).await, std::slice::from_ref(&row));
    let gap = journal.read(JournalSeq(1), 10).await;
    assert!(matches!(gap, Err(JournalError::Gap { .. })), "{gap:?}");
    drop(journal);
    let journal = storage.lose_rows_after(JournalSeq(u64::MAX >> 1)).await;
    let mut leader = Leader::start(&journal, "a").await;
    assert!(leader.term > row.term);
    assert_eq!((leader.seq, leader.hash), (row.seq, row.hash));
    let next = leader.append("next").await;
    assert_eq!(read(&journal, 42, 10).await, [row.clone(), next]);
    assert!(
        leader
            .put_pages(vec![page("a", 43, "on")], vec![], 43)
            .await
    );
    assert!(!restore(&journal, vec![vec![a]], &row).await, "once");
    assert_eq!(load(&journal).await.pages[0], page("a", 43, "on"));
}

/// A former leader of the lost database has a lower term than the restored fence.
pub async fn a_restored_journal_keeps_lower_terms_out(storage: &dyn Storage) {
    let journal = storage.open().await;
    let row = Row::new(LeaderTerm(7), JournalSeq(42), [9; 32], "restored".into());
    assert!(restore(&journal, vec![], &row).await);
    let late = Row::new(LeaderTerm(6), JournalSeq(43), row.hash, "late".into());
    let by = LeaderTerm(7);
    assert_eq!(append(&journal, &late).await, Appended::Deposed { by });
    assert_eq!(read(&journal, 42, 10).await, [row]);
}

/// What is there is never mixed with what comes back.
pub async fn only_an_empty_journal_is_restored(storage: &dyn Storage) {
    let journal = storage.open().await;
    let row = Row::new(LeaderTerm(7), JournalSeq(42), [9; 32], "restored".into());
    let pieces = || vec![vec![page("a", 3, "restored")]];
    let held = match lease(&journal, None, "a", LONG).await {
        LeaseOutcome::Held(lease) => lease,
        LeaseOutcome::HeldBy(other) => panic!("{other:?} has it"),
    };
    assert!(!restore(&journal, pieces(), &row).await, "led");
    journal.release(held.term).await.expect("released");
    let lower = Row::new(held.term, JournalSeq(42), [9; 32], "restored".into());
    assert!(!restore(&journal, pieces(), &lower).await, "fence");
    assert_eq!(load(&journal).await.pages, []);
    let mut leader = Leader::start(&journal, "a").await;
    let first = leader.append("first").await;
    journal.release(leader.term).await.expect("released");
    assert!(!restore(&journal, pieces(), &row).await, "rows");
    let loaded = load(&journal).await;
    assert_eq!(loaded.pages, []);
    assert_eq!(loaded.tail, Some((first.seq, first.hash)));
    assert_eq!(read(&journal, 1, 10).await, [first]);
}
