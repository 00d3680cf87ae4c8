//! Acceptances that are disturbed half way, in virtual time.

use std::sync::atomic::{AtomicU32, Ordering};

use aquifer_format::witness::Witness;
use aquifer_store::memory::MemoryStore;

use super::*;
use crate::{
    journal::memory::{Call, Fault, MemoryJournal},
    leader::tests::batch,
    member::tests::{Cluster, hooked::Hooked, restored},
};

/// A cluster whose journal lost rows, which the bucket knows; nobody runs. The offset that was shown, and
/// where.
async fn lost() -> (Cluster, PartitionId, i64) {
    let cluster = Cluster::new();
    let (one, mut agent, to) = restored(&cluster, 4).await;
    let commit = agent.writer.commit(to, vec![batch(1)]);
    agent.writer.send(commit).await;
    one.refuses().await;
    one.member.stop().await;
    (cluster, to, 90)
}

async fn accept(cluster: &Cluster, settings: &AcceptSettings) -> Result<Accepted, AcceptError> {
    let journal = Arc::<MemoryJournal>::clone(&cluster.journal);
    let store = Arc::<MemoryStore>::clone(&cluster.store);
    accept_loss(journal, store, &cluster.ports, settings).await
}

async fn assert_the_lease_is_free(cluster: &Cluster) {
    let ttl = Duration::from_secs(1);
    let taken = cluster.journal.lease(None, "other", "", ttl).await;
    assert!(matches!(taken, Ok(LeaseOutcome::Held(_))), "{taken:?}");
}

/// What an agent left that was shown so much by a leader of `term`.
fn witness(cluster: &Cluster, marker: Marker, to: PartitionId, term: u64, shown: i64) -> Witness {
    let newest = cluster.switches.rows().pop().expect("there are rows");
    Witness {
        cluster: marker.cluster,
        mark: JournalMark {
            incarnation: marker.incarnation,
            term: LeaderTerm(term),
            seq: JournalSeq(newest.seq.0 + 50),
            hash: [5; 32],
        },
        upload_epoch: UploadEpoch(9),
        high_watermarks: vec![(to, Offset(shown))],
    }
}

async fn marker(cluster: &Cluster) -> Marker {
    let marker = Marker::read(&*cluster.store).await;
    marker.expect("it answers").expect("it is marked")
}

fn goes_on(accepted: &Accepted, to: PartitionId) -> i64 {
    let of = accepted.partitions.iter().find(|(id, ..)| *id == to);
    of.expect("it is there").2.0
}

#[tokio::test(start_paused = true)]
async fn regression_a_witness_that_is_left_while_the_lease_is_taken_counts() {
    let (cluster, to, _) = lost().await;
    let marker = marker(&cluster).await;
    let late = witness(&cluster, marker, to, 60, 7_000_000);
    let calls = AtomicU32::new(0);
    let store = Arc::<MemoryStore>::clone(&cluster.store);
    let journal = Hooked::around(&cluster.journal, move |call| {
        let first = call == Call::Lease && calls.fetch_add(1, Ordering::Relaxed) == 0;
        let (store, late) = (Arc::clone(&store), late.clone());
        Box::pin(async move {
            if first {
                let put = put_witness(&*store, 1, &late).await;
                put.expect("memory takes it");
            }
        })
    });
    let store = Arc::<MemoryStore>::clone(&cluster.store);
    let settings = AcceptSettings::default();
    let accepted = accept_loss(journal, store, &cluster.ports, &settings).await;
    let accepted = accepted.expect("something was lost");
    assert!(accepted.mark.term.0 > 60, "{accepted:?}");
    assert_eq!(goes_on(&accepted, to), 8_000_000);
    cluster.start().leads().await;
}

#[tokio::test(start_paused = true)]
async fn regression_an_acceptance_that_fails_gives_the_lease_up() {
    // while the fence is raised
    let (cluster, to, shown) = lost().await;
    let high = witness(&cluster, marker(&cluster).await, to, 60, shown);
    let put = put_witness(&*cluster.store, 1, &high).await;
    put.expect("memory takes it");
    let (calls, switches) = (AtomicU32::new(0), cluster.switches.clone());
    let journal = Hooked::around(&cluster.journal, move |call| {
        if call == Call::Lease && calls.fetch_add(1, Ordering::Relaxed) == 1 {
            switches.fail_next(Call::Lease, Fault::Unavailable);
        }
        Box::pin(async {})
    });
    let store = Arc::<MemoryStore>::clone(&cluster.store);
    let settings = AcceptSettings::default();
    let failed = accept_loss(journal, store, &cluster.ports, &settings).await;
    assert!(
        matches!(failed, Err(AcceptError::Recovery(_))),
        "{failed:?}"
    );
    assert_the_lease_is_free(&cluster).await;

    // when it is raised, and the bucket is read again
    let (cluster, ..) = lost().await;
    let (store, faults) = cluster.faulty_store();
    let journal = Hooked::around(&cluster.journal, move |call| {
        if call == Call::Lease {
            faults.change(|plan| plan.outage = true);
        }
        Box::pin(async {})
    });
    let failed = accept_loss(journal, store, &cluster.ports, &settings).await;
    assert!(matches!(failed, Err(AcceptError::Bucket(_))), "{failed:?}");
    assert_the_lease_is_free(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn regression_what_is_durable_is_accepted_whatever_the_bucket_says() {
    let (cluster, to, shown) = lost().await;
    let (store, faults) = cluster.faulty_store();
    let journal = Hooked::around(&cluster.journal, move |call| {
        if call == Call::Append {
            faults.change(|plan| plan.outage = true);
        }
        Box::pin(async {})
    });
    let settings = AcceptSettings::default();
    let accepted = accept_loss(journal, store, &cluster.ports, &settings).await;
    let accepted = accepted.expect("the row is there");
    assert_eq!(accepted.incarnation, Incarnation(2));
    assert!(goes_on(&accepted, to) >= shown + 1_000_000);
    assert_eq!(marker(&cluster).await.incarnation, Incarnation(1));
    cluster.start().leads().await;
    assert_eq!(marker(&cluster).await.incarnation, Incarnation(2));
}

#[tokio::test(start_paused = true)]
async fn regression_an_acceptance_that_is_lost_itself_is_remembered() {
    let (cluster, to, shown) = lost().await;
    let copy = cluster.switches.copy();
    let generous = AcceptSettings {
        gap: 10_000_000,
        ..AcceptSettings::default()
    };
    let first = accept(&cluster, &generous).await.expect("rows were lost");
    assert!(goes_on(&first, to) >= shown + 10_000_000);
    cluster.switches.restore(copy);
    let second = accept(&cluster, &AcceptSettings::default()).await;
    let second = second.expect("a whole incarnation was lost");
    assert_eq!(second.incarnation, Incarnation(3));
    assert!(second.mark.term > first.mark.term);
    assert!(goes_on(&second, to) > goes_on(&first, to));
    cluster.start().leads().await;
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_can_be_done_again() {
    let (cluster, to, shown) = lost().await;
    // it is there, and nobody is told
    cluster
        .switches
        .fail_next(Call::Append, Fault::InDoubtAfterEffect);
    cluster.switches.fail_next(Call::Append, Fault::Unusable);
    let settings = AcceptSettings::default();
    let told = accept(&cluster, &settings).await;
    assert!(matches!(told, Err(AcceptError::NotWritten(_))), "{told:?}");
    let again = accept(&cluster, &settings).await;
    assert!(
        matches!(again, Err(AcceptError::NothingIsMissing)),
        "{again:?}"
    );
    let insists = AcceptSettings {
        even_if_nothing_is_missing: true,
        ..settings
    };
    let more = accept(&cluster, &insists).await.expect("it insists");
    assert_eq!(more.incarnation, Incarnation(3));
    assert!(goes_on(&more, to) >= shown + 2_000_000);
    cluster.start().leads().await;
}
