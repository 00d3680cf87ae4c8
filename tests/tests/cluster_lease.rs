//! The lease is the lease: a leader that was stopped, and goes on after another one took over, can neither
//! append nor answer an exact read that was sent to it after the new leader's first answer with anything
//! older than that.
//!
//! `AQUIFER_TEST_LEASE_ROUNDS` sets how often (default 2).

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::time::{Duration, Instant};

use aquifer_metadata_api::{Metadata, MetadataError};
use aquifer_tests::{
    clients::Client,
    cluster::{Cluster, client_of},
    load::Load,
};

/// Exact reads that wait in the stopped leader's socket.
const READS: usize = 50;

fn rounds() -> usize {
    std::env::var("AQUIFER_TEST_LEASE_ROUNDS").map_or(2, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_says_nothing_old_and_writes_nothing() {
    let mut cluster = Cluster::start(&["a"], 2, "none");
    let rounds = rounds();
    let seconds = 10 * u64::try_from(rounds).expect("few") + 5;
    let load = Load::start(&cluster, "lease", &[(Client::Python, "")], seconds, &[]);
    let (mut refused, mut newer) = (0, 0);
    for round in 0..rounds {
        let old = cluster.wait_for_leader();
        let new = 1 - old;
        let to_old = std::sync::Arc::new(client_of(cluster.metadata[old].port));
        let first = to_old.barrier().await.expect("the leader answers");
        cluster.metadata[old].process.pause();
        let paused = Instant::now();
        let to_new = client_of(cluster.metadata[new].port);
        let answered = loop {
            match to_new.barrier().await {
                Ok(answered) if answered.0 > first.0 => break answered,
                // a signal takes a moment to stop every thread
                Ok(_) | Err(MetadataError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let took_over = paused.elapsed();
        assert!(answered > first, "{answered:?} after {first:?}");
        // These are sent now, over the connection that is open, and answered once it goes on.
        let reads: Vec<_> = (0..READS)
            .map(|_| {
                let to_old = std::sync::Arc::clone(&to_old);
                tokio::spawn(async move { to_old.barrier().await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.metadata[old].process.resume();
        for read in reads {
            match read.await.expect("a read does not panic") {
                Ok(read) => {
                    assert!(read >= answered, "{read:?} was answered after {answered:?}");
                    newer += 1;
                }
                Err(MetadataError::Unavailable { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        println!(
            "round {round}: term {} took over from {} within {took_over:.2?} of the stop",
            answered.0, first.0
        );
    }
    let _ = load.check(&cluster);
    // Terms never go back along the journal: nobody wrote after a later leader had begun.
    let back = cluster.postgres.sql(
        &cluster.database.name,
        "SELECT count(*) FROM (SELECT term, lag(term) OVER (ORDER BY seq) AS before FROM \
         (SELECT seq, term FROM journal_a UNION ALL SELECT seq, term FROM journal_b) rows) pairs \
         WHERE term < before",
    );
    assert_eq!(
        back, "0",
        "rows of a deposed leader stand behind its successor's"
    );
    println!(
        "{} exact reads sent to a stopped leader: {refused} refused, {newer} answered by its successor, \
         none old; no row of a deposed leader",
        refused + newer
    );
}
