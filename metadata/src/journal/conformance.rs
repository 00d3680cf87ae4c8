//! What every journal must do: one suite, run by all implementations.
//!
//! A test target of an implementation provides a [`Storage`] and expands
//! [`journal_conformance!`](crate::journal_conformance), which makes one test of each function here. The
//! functions panic where the contract is broken.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use super::{
    Appended, Journal, JournalError, Lease, LeaseOutcome, Loaded, NO_ROW, Page, PageKey, Row,
    RowHash,
};

mod copies;
mod leases;

pub use copies::{
    a_restored_journal_goes_on, a_restored_journal_keeps_lower_terms_out,
    a_snapshot_has_the_pages_that_are_wanted, a_snapshot_is_of_one_moment,
    a_snapshot_that_nobody_takes_ends, only_an_empty_journal_is_restored,
};
pub use leases::{
    a_holder_takes_its_own_lease_anew_with_a_higher_term, a_lease_is_taken_renewed_and_given_up,
    a_lease_that_ran_out_is_renewed_if_nobody_took_it, a_lease_that_ran_out_is_taken_by_another,
    of_many_that_take_the_lease_one_gets_it,
};

/// The storage of one empty journal.
#[async_trait]
pub trait Storage: Send + Sync {
    /// A handle on it: a new one where the implementation allows several at a time.
    async fn open(&self) -> Arc<dyn Journal>;

    /// Removes the rows after `seq` behind the journal's back, and opens it anew.
    async fn lose_rows_after(&self, seq: JournalSeq) -> Arc<dyn Journal>;

    /// Changes the bytes of the row at `seq` behind the journal's back, and opens it anew.
    async fn damage_row(&self, seq: JournalSeq) -> Arc<dyn Journal>;

    /// Returns when `duration` has passed on the clock that the leases run by.
    async fn pass(&self, duration: Duration);
}

/// Makes one `#[tokio::test]` of each function in [`conformance`](crate::journal::conformance);
/// `$storage` is an expression, awaited, that makes a new, empty [`Storage`].
#[macro_export]
macro_rules! journal_conformance {
    ($storage:expr) => {
        $crate::journal_conformance! { @each $storage;
            an_empty_journal_has_nothing
            rows_come_back_as_they_were_written
            the_same_append_again_is_durable
            two_tries_at_once_make_one_row
            a_row_that_does_not_follow_the_tail_is_lost_rows
            a_deposed_leader_appends_nothing
            a_fence_below_the_term_is_lost_rows
            of_leaders_of_different_terms_only_the_newest_appends
            a_successor_sees_what_its_predecessor_was_told_is_durable
            a_lost_tail_is_detected
            a_damaged_row_is_not_read
            a_lease_is_taken_renewed_and_given_up
            a_lease_that_ran_out_is_taken_by_another
            a_lease_that_ran_out_is_renewed_if_nobody_took_it
            a_holder_takes_its_own_lease_anew_with_a_higher_term
            of_many_that_take_the_lease_one_gets_it
            pages_are_written_together
            pages_of_a_deposed_leader_are_not_written
            pages_of_rows_that_are_lost_are_not_written
            pages_never_go_back
            a_load_is_consistent
            trimming_keeps_the_last_row_and_what_pages_do_not_cover
            rows_and_pages_may_be_large_or_empty
            everything_is_there_after_opening_anew
            a_snapshot_has_the_pages_that_are_wanted
            a_snapshot_is_of_one_moment
            a_snapshot_that_nobody_takes_ends
            a_restored_journal_goes_on
            a_restored_journal_keeps_lower_terms_out
            only_an_empty_journal_is_restored
        }
    };
    (@each $storage:expr; $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let storage = $storage.await;
                $crate::journal::conformance::$name(&storage).await;
            }
        )*
    };
}

const LONG: Duration = Duration::from_secs(600);

/// A leader that appends what its test tells it to.
#[derive(Debug)]
struct Leader {
    journal: Arc<dyn Journal>,
    term: LeaderTerm,
    seq: JournalSeq,
    hash: RowHash,
}

impl Leader {
    /// Takes the lease and goes on at the tail.
    async fn start(journal: &Arc<dyn Journal>, holder: &str) -> Self {
        let lease = take(journal, holder, LONG).await;
        let (seq, hash) = load(journal).await.tail.unwrap_or((JournalSeq(0), NO_ROW));
        Self {
            journal: Arc::clone(journal),
            term: lease.term,
            seq,
            hash,
        }
    }

    fn next(&self, bytes: impl Into<Bytes>) -> Row {
        Row::new(
            self.term,
            JournalSeq(self.seq.0 + 1),
            self.hash,
            bytes.into(),
        )
    }

    /// Appends a row that must become durable.
    async fn append(&mut self, bytes: impl Into<Bytes>) -> Row {
        let row = self.next(bytes);
        assert_eq!(append(&self.journal, &row).await, Appended::Durable);
        self.seq = row.seq;
        self.hash = row.hash;
        row
    }

    async fn append_many(&mut self, rows: usize) -> Vec<Row> {
        let mut all = Vec::new();
        for _ in 0..rows {
            let bytes = format!("row {}", self.seq.0 + 1);
            all.push(self.append(bytes).await);
        }
        all
    }

    async fn put_pages(&self, pages: Vec<Page>, removed: Vec<PageKey>, through: u64) -> bool {
        self.journal
            .put_pages(
                self.term,
                (self.seq, self.hash),
                pages,
                removed,
                JournalSeq(through),
            )
            .await
            .expect("pages are written or the leader is deposed")
    }
}

async fn take(journal: &Arc<dyn Journal>, holder: &str, ttl: Duration) -> Lease {
    match lease(journal, None, holder, ttl).await {
        LeaseOutcome::Held(lease) => lease,
        LeaseOutcome::HeldBy(other) => panic!("{holder} must get the lease, {other:?} has it"),
    }
}

async fn lease(
    journal: &Arc<dyn Journal>,
    term: Option<LeaderTerm>,
    holder: &str,
    ttl: Duration,
) -> LeaseOutcome {
    journal
        .lease(term, holder, &format!("{holder}:9000"), ttl)
        .await
        .expect("the lease call answers")
}

async fn append(journal: &Arc<dyn Journal>, row: &Row) -> Appended {
    journal.append(row).await.expect("the append answers")
}

async fn load(journal: &Arc<dyn Journal>) -> Loaded {
    journal.load().await.expect("the journal loads")
}

async fn read(journal: &Arc<dyn Journal>, from: u64, limit: usize) -> Vec<Row> {
    journal
        .read(JournalSeq(from), limit)
        .await
        .expect("the rows are there")
}

fn page(key: &str, seq: u64, bytes: impl Into<Bytes>) -> Page {
    Page {
        key: PageKey(key.as_bytes().to_vec()),
        seq: JournalSeq(seq),
        bytes: bytes.into(),
    }
}

fn is_lost(outcome: &Appended) -> bool {
    matches!(outcome, Appended::LostRows { .. })
}

/// A new journal has no rows, no pages and no leader.
pub async fn an_empty_journal_has_nothing(storage: &dyn Storage) {
    let journal = storage.open().await;
    let loaded = load(&journal).await;
    assert_eq!(loaded.tail, None);
    assert_eq!(loaded.pages, []);
    assert_eq!(loaded.pages_through, JournalSeq(0));
    assert_eq!(read(&journal, 1, 10).await, []);
}

/// Rows have dense seqs and chained hashes, and a read is a section of them.
pub async fn rows_come_back_as_they_were_written(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    let rows = leader.append_many(20).await;
    assert_eq!(read(&journal, 1, 100).await, rows);
    assert_eq!(read(&journal, 5, 7).await, rows[4..11]);
    assert_eq!(read(&journal, 20, 7).await, rows[19..]);
    assert_eq!(read(&journal, 21, 7).await, []);
    assert_eq!(read(&journal, 1, 0).await, []);
    let tail = load(&journal).await.tail;
    assert_eq!(tail, Some((JournalSeq(20), rows[19].hash)));
}

/// A try whose answer was lost is done again: the row is there once.
pub async fn the_same_append_again_is_durable(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    for seq in 1..=3 {
        let row = leader.append("once").await;
        assert_eq!(append(&journal, &row).await, Appended::Durable);
        assert_eq!(append(&storage.open().await, &row).await, Appended::Durable);
        assert_eq!(read(&journal, 1, 10).await.len(), seq);
    }
    let first = read(&journal, 1, 1).await;
    assert_eq!(append(&journal, &first[0]).await, Appended::Durable);
}

/// A try that is still under way while the row is appended again.
pub async fn two_tries_at_once_make_one_row(storage: &dyn Storage) {
    let (one, two) = (storage.open().await, storage.open().await);
    let mut leader = Leader::start(&one, "a").await;
    for seq in 1..=20 {
        let row = leader.next("twice");
        let outcomes = join_all([append(&one, &row), append(&two, &row)]).await;
        assert_eq!(outcomes, [Appended::Durable, Appended::Durable]);
        leader.seq = row.seq;
        leader.hash = row.hash;
        // Whatever an implementation tidies up meanwhile.
        assert!(leader.put_pages(vec![], vec![], 0).await);
        assert_eq!(read(&one, 1, 100).await.len(), seq);
    }
}

/// A gap, another predecessor, another row at the same place: the database lost rows, and nothing is
/// written.
pub async fn a_row_that_does_not_follow_the_tail_is_lost_rows(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    let bytes = Bytes::from_static(b"x");
    let row = |seq, previous| Row::new(leader.term, JournalSeq(seq), previous, bytes.clone());
    for (seq, previous) in [(1, [1; 32]), (2, NO_ROW), (9, [1; 32])] {
        let outcome = append(&journal, &row(seq, previous)).await;
        assert!(
            is_lost(&outcome),
            "{outcome:?} for row {seq} of an empty journal"
        );
    }
    let rows = leader.append_many(3).await;
    let row = |seq, previous| Row::new(leader.term, JournalSeq(seq), previous, bytes.clone());
    for (seq, previous) in [
        (1, NO_ROW),
        (3, rows[1].hash),
        (4, rows[1].hash),
        (4, NO_ROW),
        (5, rows[2].hash),
        (6, [1; 32]),
    ] {
        let outcome = append(&journal, &row(seq, previous)).await;
        assert!(is_lost(&outcome), "{outcome:?} for row {seq} after 3");
    }
    assert_eq!(read(&journal, 1, 10).await, rows);
}

/// The fence keeps a former leader out, whatever it tries; of what it wrote before it learns the truth.
pub async fn a_deposed_leader_appends_nothing(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut old = Leader::start(&journal, "a").await;
    let written = old.append("old").await;
    journal.release(old.term).await.expect("released");
    let mut new = Leader::start(&storage.open().await, "b").await;
    assert!(new.term > old.term);
    let deposed = Appended::Deposed { by: new.term };
    let late = old.next("too late");
    assert_eq!(append(&journal, &late).await, deposed);
    assert_eq!(append(&journal, &written).await, Appended::Durable);
    let row = new.append("new").await;
    assert_eq!(append(&journal, &late).await, deposed);
    assert_eq!(read(&journal, 1, 10).await, [written, row]);
}

/// A fence that went back shows a database that lost its last writes.
pub async fn a_fence_below_the_term_is_lost_rows(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    leader.append("here").await;
    leader.term = LeaderTerm(leader.term.0 + 1);
    let outcome = append(&journal, &leader.next("of a forgotten term")).await;
    assert!(is_lost(&outcome), "{outcome:?}");
    assert_eq!(read(&journal, 1, 10).await.len(), 1);
}

/// Appenders with different terms at the same time.
pub async fn of_leaders_of_different_terms_only_the_newest_appends(storage: &dyn Storage) {
    let mut leaders = Vec::new();
    for _ in 0..5 {
        leaders.push(Leader::start(&storage.open().await, "a").await);
    }
    for round in 1..=5 {
        let newest = leaders.len() - 1;
        let rows: Vec<Row> = leaders.iter().map(|l| l.next("mine")).collect();
        let calls = leaders
            .iter()
            .zip(&rows)
            .map(|(l, row)| append(&l.journal, row));
        let outcomes = join_all(calls).await;
        let by = leaders[newest].term;
        for outcome in &outcomes[..newest] {
            assert_eq!(*outcome, Appended::Deposed { by });
        }
        assert_eq!(outcomes[newest], Appended::Durable);
        let there = read(&leaders[0].journal, 1, 100).await;
        assert_eq!(there.len(), round);
        assert_eq!(there.last(), rows.last());
        for leader in &mut leaders {
            (leader.seq, leader.hash) = (rows[newest].seq, rows[newest].hash);
        }
    }
}

/// An append races with a take-over: either the successor's load shows the row, or the predecessor is
/// told that it was deposed.
pub async fn a_successor_sees_what_its_predecessor_was_told_is_durable(storage: &dyn Storage) {
    let (one, two) = (storage.open().await, storage.open().await);
    let mut leader = Leader::start(&one, "a").await;
    for round in 0..30 {
        let row = leader.next(format!("round {round}"));
        let (successor, outcome) = if round % 2 == 0 {
            futures::join!(Leader::start(&two, "a"), append(&one, &row))
        } else {
            let (outcome, successor) = futures::join!(append(&one, &row), Leader::start(&two, "a"));
            (successor, outcome)
        };
        match outcome {
            Appended::Durable => assert_eq!((successor.seq, successor.hash), (row.seq, row.hash)),
            Appended::Deposed { by } => {
                assert_eq!(by, successor.term);
                assert_eq!((successor.seq, successor.hash), (leader.seq, leader.hash));
            }
            Appended::LostRows { seen } => panic!("round {round}: {seen}"),
        }
        leader = successor;
        leader.journal = Arc::clone(&one);
        leader.append("successor").await;
    }
}

/// A leader notices that rows that it wrote are gone, and nobody writes over their place.
pub async fn a_lost_tail_is_detected(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    let rows = leader.append_many(6).await;
    drop(journal);
    leader.journal = storage.lose_rows_after(JournalSeq(4)).await;
    let outcome = append(&leader.journal, &leader.next("after the loss")).await;
    assert!(is_lost(&outcome), "{outcome:?}");
    let outcome = append(&leader.journal, &rows[5]).await;
    assert!(is_lost(&outcome), "row 6 again: {outcome:?}");
    assert_eq!(read(&leader.journal, 1, 10).await, rows[..4]);
    let tail = load(&leader.journal).await.tail;
    assert_eq!(tail, Some((JournalSeq(4), rows[3].hash)));
}

/// A row whose bytes don't match its hash is never handed out.
pub async fn a_damaged_row_is_not_read(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    leader.append_many(3).await;
    drop((journal, leader));
    let journal = storage.damage_row(JournalSeq(2)).await;
    let error = journal.read(JournalSeq(1), 10).await;
    assert!(
        matches!(error, Err(JournalError::Unusable { .. })),
        "{error:?}"
    );
}

/// Written, replaced and removed in one step, and read in key order.
pub async fn pages_are_written_together(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    leader.append_many(5).await;
    let pages = vec![
        page("b", 2, "b2"),
        page("\u{ff}", 2, ""),
        page("a", 1, "a1"),
    ];
    assert!(leader.put_pages(pages, vec![], 2).await);
    let loaded = load(&storage.open().await).await;
    assert_eq!(loaded.pages_through, JournalSeq(2));
    let expected = [
        page("a", 1, "a1"),
        page("b", 2, "b2"),
        page("\u{ff}", 2, ""),
    ];
    assert_eq!(loaded.pages, expected);

    let removed = vec![PageKey(b"a".to_vec()), PageKey(b"unknown".to_vec())];
    assert!(
        leader
            .put_pages(vec![page("b", 4, "b4"), page("c", 3, "c3")], removed, 4)
            .await
    );
    let loaded = load(&journal).await;
    assert_eq!(loaded.pages_through, JournalSeq(4));
    let expected = [
        page("b", 4, "b4"),
        page("c", 3, "c3"),
        page("\u{ff}", 2, ""),
    ];
    assert_eq!(loaded.pages, expected);
    assert!(leader.put_pages(vec![], vec![], 5).await);
    assert_eq!(load(&journal).await.pages_through, JournalSeq(5));
}

/// All or nothing: nothing.
pub async fn pages_of_a_deposed_leader_are_not_written(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut old = Leader::start(&journal, "a").await;
    old.append_many(4).await;
    assert!(old.put_pages(vec![page("a", 1, "kept")], vec![], 1).await);
    let new = Leader::start(&storage.open().await, "a").await;
    let removed = vec![PageKey(b"a".to_vec())];
    assert!(
        !old.put_pages(vec![page("b", 4, "not written")], removed, 4)
            .await
    );
    let loaded = load(&journal).await;
    assert_eq!(loaded.pages, [page("a", 1, "kept")]);
    assert_eq!(loaded.pages_through, JournalSeq(1));
    assert_eq!(read(&journal, 2, 10).await.len(), 3, "nothing was trimmed");
    assert!(new.put_pages(vec![page("a", 4, "new")], vec![], 4).await);
}

/// A database that went back under the same term: pages must not get ahead of its journal.
pub async fn pages_of_rows_that_are_lost_are_not_written(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    leader.append_many(3).await;
    assert!(
        leader
            .put_pages(vec![page("a", 3, "kept")], vec![], 0)
            .await
    );
    leader.append_many(2).await;
    leader.journal = storage.lose_rows_after(JournalSeq(4)).await;
    let removed = vec![PageKey(b"a".to_vec())];
    assert!(
        !leader
            .put_pages(vec![page("b", 5, "ahead")], removed, 5)
            .await
    );
    let loaded = load(&leader.journal).await;
    assert_eq!(loaded.pages, [page("a", 3, "kept")]);
    assert_eq!(loaded.pages_through, JournalSeq(0));
}

/// A late try of an earlier write undoes nothing.
pub async fn pages_never_go_back(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    leader.append_many(9).await;
    assert!(leader.put_pages(vec![page("a", 7, "new")], vec![], 7).await);
    let late = vec![page("a", 3, "old"), page("b", 3, "b")];
    assert!(leader.put_pages(late, vec![], 3).await);
    let loaded = load(&journal).await;
    assert_eq!(loaded.pages, [page("a", 7, "new"), page("b", 3, "b")]);
    assert_eq!(loaded.pages_through, JournalSeq(7));
    assert!(
        leader
            .put_pages(vec![page("a", 7, "same seq")], vec![], 7)
            .await
    );
    assert_eq!(load(&journal).await.pages[0], page("a", 7, "same seq"));
}

/// Loads beside appends, page writes and trims: pages written together are seen together, and the rows
/// that they don't reflect are there (or the read says that the load must be done again).
pub async fn a_load_is_consistent(storage: &dyn Storage) {
    let (one, two) = (storage.open().await, storage.open().await);
    let mut leader = Leader::start(&one, "a").await;
    leader.append("first").await;
    let done = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        for _ in 0..40 {
            leader.append_many(3).await;
            tokio::task::yield_now().await;
            let seq = leader.seq.0;
            let text = seq.to_string();
            let pages = vec![page("a", seq, text.clone()), page("z", seq, text)];
            assert!(leader.put_pages(pages, vec![], seq - 1).await);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let check = async {
        let mut checked = 0;
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            checked += usize::from(load_and_replay(&two).await);
            tokio::task::yield_now().await;
        }
        assert!(load_and_replay(&two).await, "nobody trims any more");
        assert!(
            checked > 0,
            "at least one load beside the writes was complete"
        );
    };
    futures::join!(write, check);
}

/// Whether the load was complete; false = rows were trimmed meanwhile.
async fn load_and_replay(journal: &Arc<dyn Journal>) -> bool {
    let loaded = load(journal).await;
    let (tail, hash) = loaded.tail.expect("the newest row is never trimmed");
    if let [a, z] = loaded.pages.as_slice() {
        assert_eq!((a.seq, &a.bytes), (z.seq, &z.bytes), "written together");
        assert!(
            a.seq <= tail,
            "a page reflects row {}, the tail is {tail}",
            a.seq
        );
    }
    assert!(loaded.pages_through <= tail);
    match journal
        .read(JournalSeq(loaded.pages_through.0 + 1), 1000)
        .await
    {
        Ok(rows) => {
            let at_tail = rows.iter().find(|row| row.seq == tail);
            assert!(loaded.pages_through == tail || at_tail.is_some_and(|row| row.hash == hash));
            true
        }
        Err(JournalError::Gap { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Rows that pages reflect go, at some time; the others stay.
pub async fn trimming_keeps_the_last_row_and_what_pages_do_not_cover(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    for round in 0..12 {
        let rows = leader.append_many(10).await;
        let middle = leader.seq.0 - 5;
        assert!(
            leader
                .put_pages(vec![page("a", middle, "")], vec![], middle)
                .await
        );
        assert_eq!(read(&journal, middle + 1, 100).await, rows[5..]);
        if round % 3 == 2 {
            assert!(leader.put_pages(vec![], vec![], leader.seq.0).await);
            let tail = load(&journal).await.tail;
            assert_eq!(
                tail,
                Some((leader.seq, leader.hash)),
                "the newest row is never trimmed"
            );
            assert_eq!(read(&journal, leader.seq.0, 10).await, rows[9..]);
        }
        if round % 4 == 3 {
            let journal = storage.open().await;
            leader = Leader::start(&journal, "a").await;
        }
    }
    match journal.read(JournalSeq(1), 10).await {
        Err(JournalError::Gap { wanted, first }) => {
            assert_eq!(wanted, JournalSeq(1));
            assert!(first > wanted && first <= leader.seq);
        }
        other => panic!("120 rows and none was trimmed: {other:?}"),
    }
}

/// Sizes from nothing to more than one network packet or database page.
pub async fn rows_and_pages_may_be_large_or_empty(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    let mut rows = Vec::new();
    for bytes in [0, 1, 8191, 1 << 20, 5 << 20] {
        let pattern: Vec<u8> = (0..=250).cycle().take(bytes).collect();
        rows.push(leader.append(pattern).await);
    }
    assert_eq!(read(&journal, 1, 10).await, rows);
    let mut pages: Vec<Page> = (0..2000)
        .map(|i| page(&format!("{i:05}"), 1, "small"))
        .collect();
    pages.push(page("x", 1, vec![7u8; 12 << 20]));
    pages.push(page("y", 1, vec![8u8; 3 << 20]));
    assert!(leader.put_pages(pages.clone(), vec![], 1).await);
    assert_eq!(load(&journal).await.pages, pages);
}

/// What was answered is there for the next process.
pub async fn everything_is_there_after_opening_anew(storage: &dyn Storage) {
    let journal = storage.open().await;
    let mut leader = Leader::start(&journal, "a").await;
    let mut rows = leader.append_many(4).await;
    assert!(
        leader
            .put_pages(vec![page("a", 1, "page")], vec![], 0)
            .await
    );
    let term = leader.term;
    drop((journal, leader));
    let journal = storage.lose_rows_after(JournalSeq(u64::MAX >> 1)).await;
    assert_eq!(read(&journal, 1, 10).await, rows);
    let loaded = load(&journal).await;
    assert_eq!(loaded.pages, [page("a", 1, "page")]);
    let mut leader = Leader::start(&journal, "a").await;
    assert!(leader.term > term, "terms never come back");
    rows.push(leader.append("on").await);
    assert_eq!(read(&journal, 1, 10).await, rows);
}
