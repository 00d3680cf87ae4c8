//! Nothing is shown or answered before it is durable, and one row takes everything that waited.

use std::time::Duration;

use super::{World, Writer, batch, locate, partition};
use crate::{
    journal::{
        LeaseOutcome,
        memory::{Call, Fault},
    },
    leader::StopReason,
};

#[tokio::test(start_paused = true)]
async fn commits_that_wait_together_share_a_row() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writers = Vec::new();
    for _ in 0..4 {
        writers.push(Writer::new(&world.metadata).await);
    }
    let before = world.switches.rows().len();
    world.switches.set_latency(Duration::from_millis(10));
    for _ in 0..50 {
        for writer in &mut writers {
            let commit = writer.commit(partition(topic, 0), vec![batch(2)]);
            writer.send(commit).await;
        }
    }
    for writer in &mut writers {
        for _ in 0..50 {
            writer.answer().await;
        }
    }
    let rows = world.switches.rows().len() - before;
    assert!(rows <= 12, "200 commits took {rows} rows");
    let located = locate(&world.metadata, partition(topic, 0)).await;
    let located = located.expect("locates");
    assert_eq!(located.watermarks.high_watermark.0, 400);
}

#[tokio::test(start_paused = true)]
async fn no_answer_leaves_before_its_row_is_durable() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writer = Writer::new(&world.metadata).await;
    let session = writer.registration.session;
    let mut watch = aquifer_metadata_api::Metadata::watch(&*world.metadata, session, None)
        .await
        .expect("watches");
    watch.frames.recv().await.expect("a reset");
    world.switches.set_latency(Duration::from_secs(2));
    let commit = writer.commit(partition(topic, 0), vec![batch(3)]);
    writer.send(commit).await;
    world.sleep(1_000).await;
    assert!(writer.channel.answers.try_recv().is_err(), "answered");
    while let Ok(frame) = watch.frames.try_recv() {
        let aquifer_metadata_api::watch::Frame::Common(frame) = frame else {
            panic!("extents that nobody asked for");
        };
        assert_eq!(frame.watermarks, [], "watchers were told too early");
    }
    // an exact read waits for what it would show
    let patience = Duration::from_millis(500);
    let read = locate(&world.metadata, partition(topic, 0));
    let early = world.ports.timeout(patience, read).await;
    assert!(early.is_none(), "{early:?}");
    let read = locate(&world.metadata, partition(topic, 0)).await;
    let located = read.expect("it is durable now");
    assert_eq!(located.watermarks.high_watermark.0, 3);
    assert!(writer.channel.answers.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_row_in_doubt_is_tried_until_its_fate_is_known() {
    for faults in [
        vec![Fault::InDoubtAfterEffect],
        vec![Fault::InDoubtBeforeEffect, Fault::Unavailable],
        vec![Fault::Hang],
        vec![
            Fault::Unavailable,
            Fault::InDoubtAfterEffect,
            Fault::Unavailable,
        ],
    ] {
        let world = World::new().await;
        let topic = world.topic("orders", 1).await;
        let mut writer = Writer::new(&world.metadata).await;
        let before = world.switches.rows().len();
        for fault in &faults {
            world.switches.fail_next(Call::Append, *fault);
        }
        let base = writer.append(partition(topic, 0), 3).await;
        assert_eq!(base.0, 0);
        assert_eq!(world.switches.rows().len(), before + 1, "{faults:?}");
        assert_eq!(writer.append(partition(topic, 0), 1).await.0, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_what_was_decided_and_gives_the_lease_up() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writer = Writer::new(&world.metadata).await;
    world.switches.set_latency(Duration::from_millis(50));
    let commit = writer.commit(partition(topic, 0), vec![batch(3)]);
    writer.send(commit).await;
    world.sleep(10).await;
    let reason = world.leader.stop(Duration::from_secs(5)).await;
    assert_eq!(reason, StopReason::Requested);
    writer.answer().await;
    assert!(writer.channel.answers.recv().await.is_none());
    let refused = locate(&world.metadata, partition(topic, 0)).await;
    assert!(
        matches!(
            refused,
            Err(aquifer_metadata_api::MetadataError::Unavailable {
                may_have_happened: false,
                ..
            })
        ),
        "{refused:?}"
    );
    // another holder need not wait
    let started = world.ports.clock.now();
    let settings = crate::LeaderSettings {
        holder: "other".to_owned(),
        ..crate::LeaderSettings::default()
    };
    let ports = world.ports.another_node();
    let other = crate::Leader::start(world.journal, ports.clone(), settings).await;
    assert!(other.is_ok());
    let took = ports.clock.now().since(started);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn regression_a_leader_that_is_not_done_in_time_keeps_its_lease() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let mut writer = Writer::new(&world.metadata).await;
    world.switches.fail_next(Call::Append, Fault::Hang);
    let commit = writer.commit(partition(topic, 0), vec![batch(3)]);
    writer.send(commit).await;
    world.sleep(10).await;
    let reason = world.leader.stop(Duration::from_secs(1)).await;
    assert!(
        matches!(reason, StopReason::JournalUnusable { .. }),
        "{reason:?}"
    );
    // what it may still answer is right for as long as nobody else leads
    let ttl = Duration::from_secs(1);
    let taken = world.journal.lease(None, "other", "", ttl).await;
    assert!(matches!(taken, Ok(LeaseOutcome::HeldBy(_))), "{taken:?}");
    // the same row is tried again
    writer.answer().await;
    assert_eq!(world.leader.stopped().await, StopReason::Requested);
    world.sleep(3_000).await;
    let taken = world.journal.lease(None, "other", "", ttl).await;
    assert!(matches!(taken, Ok(LeaseOutcome::Held(_))), "{taken:?}");
}
