use aquifer_store::Ports;

use super::*;
use crate::journal::{NO_ROW, conformance::Storage};

struct Shared {
    journal: MemoryJournal,
    ports: Ports,
}

async fn storage() -> Shared {
    let ports = Ports::system();
    Shared {
        journal: MemoryJournal::new(Arc::clone(&ports.clock)),
        ports,
    }
}

#[async_trait]
impl Storage for Shared {
    async fn open(&self) -> Arc<dyn Journal> {
        Arc::new(self.journal.clone())
    }

    async fn lose_rows_after(&self, seq: JournalSeq) -> Arc<dyn Journal> {
        self.journal.switches().lose_rows_after(seq);
        self.open().await
    }

    async fn damage_row(&self, seq: JournalSeq) -> Arc<dyn Journal> {
        {
            let mut inner = self.journal.inner.lock();
            let row = inner.content.rows.iter_mut().find(|row| row.seq == seq);
            row.unwrap().bytes = Bytes::from_static(b"damaged");
        }
        self.open().await
    }

    async fn pass(&self, duration: Duration) {
        self.ports.sleep(duration).await;
    }
}

crate::journal_conformance!(storage());

async fn with_leader() -> (MemoryJournal, MemorySwitches, Row) {
    let journal = storage().await.journal;
    let outcome = journal.lease(None, "a", "", Duration::from_secs(3)).await;
    let Ok(LeaseOutcome::Held(lease)) = outcome else {
        panic!("{outcome:?}");
    };
    let row = Row::new(lease.term, JournalSeq(1), NO_ROW, Bytes::from_static(b"x"));
    (journal.clone(), journal.switches(), row)
}

#[tokio::test]
async fn faults_happen_before_or_after_the_effect() {
    for (fault, rows) in [
        (Fault::InDoubtAfterEffect, 1),
        (Fault::InDoubtBeforeEffect, 0),
        (Fault::Unavailable, 0),
        (Fault::Unusable, 0),
    ] {
        let (journal, switches, row) = with_leader().await;
        switches.fail_next(Call::Append, fault);
        let error = journal.append(&row).await.unwrap_err();
        assert_eq!(switches.rows().len(), rows, "{fault:?}: {error}");
        assert_eq!(
            matches!(error, JournalError::InDoubt { .. }),
            matches!(
                fault,
                Fault::InDoubtAfterEffect | Fault::InDoubtBeforeEffect
            ),
        );
        assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
        assert_eq!(switches.rows(), [row]);
        assert_eq!(switches.appends(), 2);
    }
}

#[tokio::test]
async fn a_late_append_has_its_effect_only_where_the_journal_still_allows_it() {
    let (journal, switches, row) = with_leader().await;
    switches.fail_next(Call::Append, Fault::InDoubtEffectLate);
    assert!(journal.append(&row).await.is_err());
    assert_eq!(switches.rows(), []);
    assert_eq!(switches.deliver_late(), 1);
    assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);

    let next = Row::new(row.term, JournalSeq(2), row.hash, Bytes::new());
    switches.fail_next(Call::Append, Fault::InDoubtEffectLate);
    assert!(journal.append(&next).await.is_err());
    let second = journal.lease(None, "a", "", Duration::from_secs(3)).await;
    assert!(matches!(second, Ok(LeaseOutcome::Held(_))));
    assert_eq!(switches.deliver_late(), 0, "the fence keeps it out");
}

#[tokio::test]
async fn an_unavailable_journal_comes_back() {
    let (journal, switches, row) = with_leader().await;
    switches.set_unavailable(true);
    assert!(matches!(
        journal.append(&row).await,
        Err(JournalError::Unavailable { .. })
    ));
    assert!(journal.load().await.is_err());
    switches.set_unavailable(false);
    assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
}

#[tokio::test]
async fn a_restored_copy_lacks_what_came_after_it() {
    let (journal, switches, row) = with_leader().await;
    let copy = switches.copy();
    assert_eq!(journal.append(&row).await.unwrap(), Appended::Durable);
    switches.restore(copy);
    let next = Row::new(row.term, JournalSeq(2), row.hash, Bytes::new());
    let outcome = journal.append(&next).await.unwrap();
    assert!(matches!(outcome, Appended::LostRows { .. }));
}
