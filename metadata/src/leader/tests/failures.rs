//! Journals that fail, leaders that are deposed.

use std::time::Duration;

use aquifer_format::ids::JournalSeq;
use aquifer_metadata_api::{Metadata, MetadataError, mark::JournalMark, register::RegisterRequest};

use super::{World, Writer, agent, create_topic, locate, partition};
use crate::{
    Leader, LeaderSettings,
    journal::memory::{Call, Fault},
    leader::StopReason,
};

#[tokio::test(start_paused = true)]
async fn callers_are_told_while_the_journal_is_away() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writer = Writer::new(&world.metadata).await;
    world.switches.set_unavailable(true);
    let created = create_topic(&*world.metadata, "payments", 1).await;
    assert!(
        matches!(
            created,
            Err(MetadataError::Unavailable {
                may_have_happened: true,
                ..
            })
        ),
        "{created:?}"
    );
    world.switches.set_unavailable(false);
    // the row was tried all the while: the topic is there once the journal is back
    world.sleep(3_000).await;
    assert_eq!(writer.append(partition(topic, 0), 2).await.0, 0);
    let (_, barrier) = world.metadata.barrier().await.expect("a barrier");
    let rows = world.switches.rows();
    assert_eq!(rows.last().map(|r| r.seq), Some(barrier));
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_stops_and_says_so() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writer = Writer::new(&world.metadata).await;
    let term = world.leader.term();
    world
        .switches
        .set_fence(aquifer_format::ids::LeaderTerm(term.0 + 1));
    let commit = writer.commit(partition(topic, 0), vec![super::batch(1)]);
    writer.send(commit).await;
    assert!(writer.channel.answers.recv().await.is_none());
    let reason = world.leader.stopped().await;
    assert!(matches!(reason, StopReason::Deposed { .. }), "{reason:?}");
    let refused = world.metadata.barrier().await;
    assert!(
        matches!(refused, Err(MetadataError::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn lost_rows_stop_everything() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writer = Writer::new(&world.metadata).await;
    for _ in 0..5 {
        writer.append(partition(topic, 0), 1).await;
    }
    world.switches.lose_rows_after(JournalSeq(2));
    let commit = writer.commit(partition(topic, 0), vec![super::batch(1)]);
    writer.send(commit).await;
    assert!(writer.channel.answers.recv().await.is_none());
    let reason = world.leader.stopped().await;
    assert!(matches!(reason, StopReason::LostRows { .. }), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_when_the_lease_has_run_out() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writer = Writer::new(&world.metadata).await;
    assert_eq!(writer.append(partition(topic, 0), 4).await.0, 0);
    world.ports.tasks.kill();
    let started = world.ports.clock.now();
    let ports = world.ports.another_node();
    let settings = LeaderSettings {
        holder: "standby".to_owned(),
        ..LeaderSettings::default()
    };
    let standby = Leader::start(world.journal, ports.clone(), settings).await;
    let standby = standby.expect("the lease runs out");
    let took = ports.clock.now().since(started);
    assert!(took <= Duration::from_millis(3_600), "{took:?}");
    assert!(standby.term() > world.leader.term());
    let located = locate(&standby.metadata(), partition(topic, 0)).await;
    let located = located.expect("locates");
    assert_eq!(located.watermarks.high_watermark.0, 4);
}

#[tokio::test(start_paused = true)]
async fn reads_that_append_nothing_wait_for_a_sure_lease() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    for _ in 0..30 {
        world.switches.fail_next(Call::Lease, Fault::Unavailable);
    }
    world.sleep(3_000).await;
    let patience = Duration::from_secs(1);
    let read = locate(&world.metadata, partition(topic, 0));
    let early = world.ports.timeout(patience, read).await;
    assert!(early.is_none(), "answered without a lease: {early:?}");
    // the lease comes back after a while
    let read = locate(&world.metadata, partition(topic, 0)).await;
    assert!(read.is_ok(), "{read:?}");
    // and a lease that another one took ends it
    let held = world.journal.release(world.leader.term()).await;
    held.expect("releases");
    let other = std::sync::Arc::clone(&world.journal);
    let ttl = Duration::from_secs(60);
    other.lease(None, "other", "", ttl).await.expect("takes");
    let reason = world.leader.stopped().await;
    assert!(matches!(reason, StopReason::Deposed { by: Some(_) }));
}

async fn watch_having_seen(world: &World, mark: JournalMark) -> Result<(), MetadataError> {
    let writer = Writer::new(&world.metadata).await;
    let session = writer.registration.session;
    let watched = world.metadata.watch(session, Some(mark)).await;
    watched.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_row_of_a_later_term_means_deposed_or_lost_and_the_lease_tells_which() {
    for taken_over in [true, false] {
        let world = World::new().await;
        world.topic("orders", 1).await;
        // a renewal that was asked for before says nothing
        let newest = world.switches.rows().pop().expect("there are rows");
        let mark = JournalMark {
            incarnation: aquifer_format::ids::Incarnation(1),
            term: aquifer_format::ids::LeaderTerm(world.leader.term().0 + 1),
            seq: JournalSeq(newest.seq.0 + 5),
            hash: [5; 32],
        };
        if taken_over {
            let released = world.journal.release(world.leader.term()).await;
            released.expect("releases");
            let ttl = Duration::from_secs(60);
            let taken = world.journal.lease(None, "other", "", ttl).await;
            taken.expect("takes");
            // what registers below would be refused by the fence
            let request = RegisterRequest {
                seen: Some(mark),
                ..RegisterRequest::new(agent())
            };
            let told = world.metadata.register(request).await;
            assert!(
                matches!(told, Err(MetadataError::Unavailable { .. })),
                "{told:?}"
            );
            let reason = world.leader.stopped().await;
            assert!(matches!(reason, StopReason::Deposed { .. }), "{reason:?}");
        } else {
            let told = watch_having_seen(&world, mark).await;
            assert!(
                matches!(
                    told,
                    Err(MetadataError::Unavailable { .. } | MetadataError::LostRows { .. })
                ),
                "{told:?}"
            );
            let reason = world.leader.stopped().await;
            assert!(matches!(reason, StopReason::LostRows { .. }), "{reason:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_rows_are_lost_is_told_so() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    world.switches.lose_rows_after(JournalSeq(1));
    let told = create_topic(&*world.metadata, "payments", 1).await;
    assert!(
        matches!(told, Err(MetadataError::LostRows { .. })),
        "{told:?}"
    );
}
