//! Who leads: taking, renewing and giving up the lease.

use super::*;

/// The life of a lease.
pub async fn a_lease_is_taken_renewed_and_given_up(storage: &dyn Storage) {
    let (one, two) = (storage.open().await, storage.open().await);
    let first = take(&one, "a", LONG).await;
    assert_eq!(
        (first.holder.as_str(), first.endpoint.as_str()),
        ("a", "a:9000")
    );
    assert!(first.term > LeaderTerm(0));
    let taken = LeaseOutcome::HeldBy(first.clone());
    assert_eq!(lease(&two, None, "b", LONG).await, taken);
    let renewed = lease(&one, Some(first.term), "a", LONG).await;
    assert_eq!(renewed, LeaseOutcome::Held(first.clone()));
    // a database that went back in time gives a term twice: its last holder has it
    assert_eq!(lease(&two, Some(first.term), "b", LONG).await, taken);
    let wrong = LeaderTerm(first.term.0 + 7);
    assert_eq!(lease(&two, Some(wrong), "b", LONG).await, taken);
    two.release(wrong).await.expect("not ours: no effect");
    assert_eq!(lease(&two, None, "b", LONG).await, taken);

    one.release(first.term).await.expect("given up");
    one.release(first.term).await.expect("given up before");
    let gone = lease(&one, Some(first.term), "a", LONG).await;
    assert!(
        matches!(gone, LeaseOutcome::HeldBy(_)),
        "given up: {gone:?}"
    );
    let second = take(&two, "b", LONG).await;
    assert_eq!(second.term, LeaderTerm(first.term.0 + 1));
    let late = lease(&one, Some(first.term), "a", LONG).await;
    assert_eq!(late, LeaseOutcome::HeldBy(second.clone()));
    one.release(first.term).await.expect("no effect");
    assert_eq!(
        lease(&one, None, "a", LONG).await,
        LeaseOutcome::HeldBy(second)
    );
}

/// Nobody waits for a leader that died for longer than its time-to-live.
pub async fn a_lease_that_ran_out_is_taken_by_another(storage: &dyn Storage) {
    let (one, two) = (storage.open().await, storage.open().await);
    let first = take(&one, "a", Duration::from_millis(100)).await;
    storage.pass(Duration::from_millis(250)).await;
    let second = take(&two, "b", LONG).await;
    assert_eq!(second.term, LeaderTerm(first.term.0 + 1));
    let late = lease(&one, Some(first.term), "a", LONG).await;
    assert_eq!(late, LeaseOutcome::HeldBy(second));
}

/// Its fence still stands, so nothing happened meanwhile.
pub async fn a_lease_that_ran_out_is_renewed_if_nobody_took_it(storage: &dyn Storage) {
    let journal = storage.open().await;
    let first = take(&journal, "a", Duration::from_millis(50)).await;
    storage.pass(Duration::from_millis(150)).await;
    let renewed = lease(&journal, Some(first.term), "a", LONG).await;
    assert_eq!(renewed, LeaseOutcome::Held(first.clone()));
    let other = lease(&journal, None, "b", LONG).await;
    assert_eq!(other, LeaseOutcome::HeldBy(first));
}

/// After a take-over in doubt, the same call again leads to a term that the caller knows.
pub async fn a_holder_takes_its_own_lease_anew_with_a_higher_term(storage: &dyn Storage) {
    let journal = storage.open().await;
    let first = take(&journal, "a", LONG).await;
    let second = take(&storage.open().await, "a", LONG).await;
    assert_eq!(second.term, LeaderTerm(first.term.0 + 1));
    let row = Row::new(first.term, JournalSeq(1), NO_ROW, Bytes::new());
    let deposed = Appended::Deposed { by: second.term };
    assert_eq!(append(&journal, &row).await, deposed);
}

/// Several services start at once.
pub async fn of_many_that_take_the_lease_one_gets_it(storage: &dyn Storage) {
    for round in 1..=5 {
        let mut journals = Vec::new();
        for name in ["a", "b", "c", "d"] {
            journals.push((name, storage.open().await));
        }
        let calls = journals
            .iter()
            .map(|(name, journal)| lease(journal, None, name, LONG));
        let mut held = Vec::new();
        for outcome in join_all(calls).await {
            let (LeaseOutcome::Held(lease) | LeaseOutcome::HeldBy(lease)) = &outcome;
            assert_eq!(lease.term, LeaderTerm(round), "one take-over a round");
            if matches!(outcome, LeaseOutcome::Held(_)) {
                held.push(lease.clone());
            }
        }
        assert_eq!(held.len(), 1, "{held:?}");
        journals[0].1.release(held[0].term).await.expect("given up");
    }
}
