//! A leader that is killed at any moment, and what its successor makes of the journal.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm, PartitionId};
use aquifer_metadata_api::commit::{BatchOutcome, BatchRef, Commit};
use aquifer_store::Ports;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{World, Writer, batch, locate, partition};
use crate::{
    event::decode_row,
    journal::{
        Appended, Journal, JournalError, LeaseOutcome, Loaded, Page, PageKey, Row, RowAt, Snapshot,
        WantedPages, memory::MemoryJournal,
    },
    recovery::recover,
    state::{Budgets, State},
};

/// A journal that also remembers every row that was ever durable.
#[derive(Debug)]
pub(super) struct Recorder {
    inner: MemoryJournal,
    rows: Mutex<Vec<Row>>,
    pub(super) page_writes: Mutex<u32>,
}

impl Recorder {
    pub(super) fn new(inner: MemoryJournal) -> Arc<Self> {
        Arc::new(Self {
            inner,
            rows: Mutex::default(),
            page_writes: Mutex::default(),
        })
    }
}

#[async_trait]
impl Journal for Recorder {
    async fn lease(
        &self,
        term: Option<LeaderTerm>,
        holder: &str,
        endpoint: &str,
        ttl: Duration,
    ) -> Result<LeaseOutcome, JournalError> {
        self.inner.lease(term, holder, endpoint, ttl).await
    }

    async fn release(&self, term: LeaderTerm) -> Result<(), JournalError> {
        self.inner.release(term).await
    }

    async fn append(&self, row: &Row) -> Result<Appended, JournalError> {
        let appended = self.inner.append(row).await;
        if matches!(appended, Ok(Appended::Durable)) {
            let mut rows = self.rows.lock();
            if rows.last().is_none_or(|last| last.seq < row.seq) {
                rows.push(row.clone());
            }
        }
        appended
    }

    async fn read(&self, from: JournalSeq, limit: usize) -> Result<Vec<Row>, JournalError> {
        self.inner.read(from, limit).await
    }

    async fn put_pages(
        &self,
        term: LeaderTerm,
        newest: RowAt,
        pages: Vec<Page>,
        removed: Vec<PageKey>,
        through: JournalSeq,
    ) -> Result<bool, JournalError> {
        *self.page_writes.lock() += 1;
        self.inner
            .put_pages(term, newest, pages, removed, through)
            .await
    }

    async fn load(&self) -> Result<Loaded, JournalError> {
        self.inner.load().await
    }

    async fn snapshot(
        &self,
        wanted: WantedPages,
        to: mpsc::Sender<Vec<Page>>,
    ) -> Result<Snapshot, JournalError> {
        self.inner.snapshot(wanted, to).await
    }

    async fn restore(
        &self,
        pages: mpsc::Receiver<Vec<Page>>,
        row: &Row,
    ) -> Result<bool, JournalError> {
        self.inner.restore(pages, row).await
    }
}

/// The state after every row that was recorded, from the beginning.
fn replayed(rows: &[Row]) -> State {
    let mut state = State::new(Budgets::default());
    for row in rows {
        for event in decode_row(&row.bytes).expect("it was written by this release") {
            state.apply(row.seq, &event);
        }
    }
    state
}

/// One round of traffic; keeps what was answered.
async fn traffic(
    writer: &mut Writer,
    open: &mut BTreeMap<u64, Commit>,
    answered: &mut BTreeMap<BatchRef, BatchOutcome>,
    partitions: &[PartitionId],
    random: u64,
) {
    for n in 0..(random % 7) {
        let index = usize::try_from((random >> 8) + n).unwrap_or(0) % partitions.len();
        let commit = writer.commit(partitions[index], vec![batch(3), batch(1)]);
        open.insert(commit.number.0, commit.clone());
        writer.send(commit).await;
    }
    while let Ok(answer) = writer.channel.answers.try_recv() {
        note(answer.expect("it is taken"), open, answered);
    }
}

fn note(
    answer: aquifer_metadata_api::commit::CommitAnswer,
    open: &mut BTreeMap<u64, Commit>,
    answered: &mut BTreeMap<BatchRef, BatchOutcome>,
) {
    for (reference, outcome) in answer.outcomes {
        let before = answered.insert(reference, outcome);
        assert!(
            before.is_none_or(|before| before == outcome),
            "{reference:?} was {before:?}, is {outcome:?}"
        );
    }
    open.remove(&answer.number.0);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_survives_a_kill_at_any_moment() {
    let ports = Ports::simulated(11, 1_704_067_200_000);
    let memory = MemoryJournal::new(Arc::clone(&ports.clock));
    let switches = memory.switches();
    let journal = Recorder::new(memory);
    let port: Arc<dyn Journal> = Arc::<Recorder>::clone(&journal);
    let mut world = World::on(ports.clone(), port, switches).await;
    let topic = world.topic("orders", 3).await;
    let partitions: Vec<PartitionId> = (0..3).map(|p| partition(topic, p)).collect();
    let mut writer = Writer::new(&world.metadata).await;
    let mut open = BTreeMap::new();
    let mut answered = BTreeMap::new();
    world.switches.set_latency(Duration::from_millis(3));
    for _ in 0..40 {
        for _ in 0..(ports.rand.next_u64() % 20) {
            let random = ports.rand.next_u64() >> 1;
            traffic(&mut writer, &mut open, &mut answered, &partitions, random).await;
            // long pauses let the page writer come to its turn
            world
                .sleep([0, 1, 2, 5, 20, 9_000][usize::try_from(random % 6).unwrap_or(0)])
                .await;
        }
        world = world.restart().await;
        check_recovery(&journal).await;
        // every commit without an answer is sent again, in order
        let session = writer.registration.session;
        let channel = aquifer_metadata_api::Metadata::commits(&*world.metadata, session).await;
        writer.channel = channel.expect("the session outlives the leader");
        let resent: Vec<Commit> = open.values().cloned().collect();
        for commit in resent {
            writer.send(commit).await;
        }
        while !open.is_empty() {
            let answer = writer.answer().await;
            note(answer, &mut open, &mut answered);
        }
    }
    assert!(*journal.page_writes.lock() > 5, "no pages were written");
    assert!(answered.len() > 500, "{}", answered.len());
    for partition in partitions {
        let located = locate(&world.metadata, partition).await.expect("locates");
        assert!(located.watermarks.high_watermark.0 > 0);
    }
    check_offsets(&answered);
}

/// What the pages and the rows after them give is what all rows give.
pub(super) async fn check_recovery(journal: &Recorder) {
    let recovered = recover(journal, Budgets::default())
        .await
        .expect("recovers");
    let rows = {
        let mut rows = journal.rows.lock().clone();
        // a row whose answer was lost with its leader is known only to the journal
        let known = rows.last().map_or(JournalSeq(0), |row| row.seq);
        rows.extend(
            journal
                .inner
                .switches()
                .rows()
                .into_iter()
                .filter(|row| row.seq > known),
        );
        *journal.rows.lock() = rows.clone();
        rows
    };
    assert_eq!(
        rows.last().map(|row| row.seq),
        Some(recovered.hashes.tail())
    );
    let replayed = replayed(&rows);
    assert_eq!(recovered.state.fingerprint(), replayed.fingerprint());
}

/// No offset was given twice. (Partitions are told apart by nothing but the number of records: three
/// partitions, so three batches may share a base offset.)
fn check_offsets(answered: &BTreeMap<BatchRef, BatchOutcome>) {
    let mut bases: BTreeMap<i64, u32> = BTreeMap::new();
    for outcome in answered.values() {
        let BatchOutcome::Appended(placement) = outcome else {
            panic!("a plain batch was {outcome:?}");
        };
        *bases.entry(placement.base_offset.0).or_default() += 1;
    }
    assert!(bases.values().all(|count| *count <= 3), "{bases:?}");
}
