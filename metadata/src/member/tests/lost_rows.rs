//! What a member had read is not forgotten, however it came to drop its state.

use aquifer_store::faults::Latency;

use super::*;
use crate::journal::memory::{Call, Fault, MemoryContent};

/// A leader, a standby that has read more than a copy of the journal, and that copy.
async fn standby_that_read_more(
    cluster: &Cluster,
    standby: impl FnOnce(&Cluster) -> Process,
) -> (Process, Process, MemoryContent) {
    let one = cluster.start();
    let metadata = one.leads().await;
    let two = standby(cluster);
    two.stands_by().await;
    let copy = cluster.switches.copy();
    let topic = create_topic(&*metadata, "orders", 1)
        .await
        .expect("creates");
    let mut writer = Writer::new(&metadata).await;
    writer.append(partition(topic, 0), 10).await;
    cluster.sleep(1_000).await;
    (one, two, copy)
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_read_more_leaves_its_witness() {
    let cluster = Cluster::new();
    let (one, two, copy) = standby_that_read_more(&cluster, Cluster::start).await;
    one.tasks.kill();
    cluster.switches.restore(copy);
    two.refuses().await;
    let status = status(&*cluster.journal, &*cluster.store, Budgets::default()).await;
    let status = status.expect("journal and bucket answer");
    assert_eq!(status.bucket.witnesses.len(), 1);
    let (_, witness) = &status.bucket.witnesses[0];
    assert_eq!(witness.high_watermarks[0].1.0, 10);
    assert!(witness.mark.seq > status.newest.seq);
}

#[tokio::test(start_paused = true)]
async fn regression_a_leader_tells_of_lost_rows_before_it_gives_the_lease_up() {
    let cluster = Cluster::new();
    let (store, faults) = cluster.faulty_store();
    let one = cluster.start_with(Arc::<MemoryJournal>::clone(&cluster.journal), store);
    let metadata = one.leads().await;
    let topic = create_topic(&*metadata, "orders", 1)
        .await
        .expect("creates");
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    let copy = cluster.switches.copy();
    writer.append(to, 10).await;
    cluster.switches.restore(copy);
    // it has read nothing of what is gone, and there is no tip of it
    let two = cluster.start();
    two.stands_by().await;
    faults.change(|plan| plan.put_latency = Latency::Fixed(Duration::from_secs(1)));
    let commit = writer.commit(to, vec![batch(1)]);
    writer.send(commit).await;
    let reason = one.refuses().await;
    assert!(reason.contains("lost rows"), "{reason}");
    let reason = two.refuses().await;
    assert!(reason.contains("lost rows"), "{reason}");
    let witnesses = cluster.witnesses().await;
    let mut ends = witnesses.iter().flat_map(|w| &w.high_watermarks);
    assert!(ends.any(|(_, end)| end.0 >= 10), "{witnesses:?}");
}

#[tokio::test(start_paused = true)]
async fn regression_a_standby_that_refuses_does_not_forget_what_it_read() {
    let cluster = Cluster::new();
    let (one, two, copy) = standby_that_read_more(&cluster, Cluster::start).await;
    one.tasks.kill();
    cluster.switches.fail_next(Call::Read, Fault::Unusable);
    let reason = two.refuses().await;
    assert!(reason.contains("for good"), "{reason}");
    cluster.switches.restore(copy);
    cluster.sleep(20_000).await;
    let reason = two.refuses().await;
    assert!(reason.contains("lost rows"), "{reason}");
    let witnesses = cluster.witnesses().await;
    assert_eq!(witnesses.len(), 1);
    assert_eq!(witnesses[0].high_watermarks[0].1.0, 10);
}

#[tokio::test(start_paused = true)]
async fn regression_a_lease_of_a_lower_term_means_that_rows_were_lost() {
    let cluster = Cluster::new();
    let (store, faults) = cluster.faulty_store();
    let journal = Arc::<MemoryJournal>::clone(&cluster.journal);
    let standby = |cluster: &Cluster| cluster.start_with(journal, store);
    let (one, two, copy) = standby_that_read_more(&cluster, standby).await;
    faults.change(|plan| plan.outage = true);
    one.tasks.kill();
    // until it has the lease, and waits for the bucket
    cluster.sleep(3_300).await;
    cluster.switches.restore(copy);
    let patience = Duration::from_secs(3);
    let refused = cluster.ports.timeout(patience, two.refuses()).await;
    let reason = refused.expect("it sees that the lease went back");
    assert!(reason.contains("lost rows"), "{reason}");
    assert!(cluster.witnesses().await.is_empty());
    faults.change(|plan| plan.outage = false);
    cluster.sleep(20_000).await;
    assert_eq!(cluster.witnesses().await.len(), 1);
    two.refuses().await;
}

#[tokio::test(start_paused = true)]
async fn regression_a_leader_that_sees_the_loss_while_it_stops_leaves_its_witness() {
    let cluster = Cluster::new();
    let (one, mut agent, to) = restored(&cluster, 4).await;
    cluster.switches.set_latency(Duration::from_millis(50));
    let commit = agent.writer.commit(to, vec![batch(1)]);
    agent.writer.send(commit).await;
    // its row is on its way
    cluster.sleep(10).await;
    one.member.stop().await;
    let witnesses = cluster.witnesses().await;
    assert_eq!(witnesses.len(), 1);
    assert!(witnesses[0].high_watermarks[0].1.0 >= 90);
}

#[tokio::test(start_paused = true)]
async fn regression_an_outage_does_not_end_a_refusal() {
    let cluster = Cluster::new();
    let (one, mut agent, to) = restored(&cluster, 4).await;
    let commit = agent.writer.commit(to, vec![batch(1)]);
    agent.writer.send(commit).await;
    one.refuses().await;
    cluster.switches.set_unavailable(true);
    for _ in 0..20 {
        cluster.sleep(1_000).await;
        assert!(one.is(|role| matches!(role, Role::Refusing { .. })));
    }
}
