//! Watchers, sessions and time.

use aquifer_format::{ids::PartitionId, limits::SESSION_IDLE_EPOCHS_MAX};
use aquifer_metadata_api::{
    Metadata, MetadataError, WatchChannel,
    watch::{CommonFrame, Frame, InterestChange},
};

use super::{World, Writer, partition};

fn common(frame: Option<Frame>) -> std::sync::Arc<CommonFrame> {
    match frame {
        Some(Frame::Common(frame)) => frame,
        other => panic!("no common frame: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_keep_up_is_cut_and_reset() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let to: PartitionId = partition(topic, 0);
    let mut writer = Writer::new(&world.metadata).await;
    let session = writer.registration.session;
    let mut slow = world.metadata.watch(session, None).await.expect("watches");
    let mut quick = world.metadata.watch(session, None).await.expect("watches");
    assert!(common(quick.frames.recv().await).reset);
    // more group commits than a watcher's queue holds, one by one
    for n in 0..5_000 {
        assert_eq!(writer.append(to, 1).await.0, n);
        while quick.frames.try_recv().is_ok() {}
    }
    let mut frames = 0;
    while slow.frames.recv().await.is_some() {
        frames += 1;
    }
    assert!((4_000..4_200).contains(&frames), "{frames}");
    // the quick one was not cut
    writer.append(to, 1).await;
    assert!(quick.frames.recv().await.is_some());
    let mut again = world.metadata.watch(session, None).await.expect("watches");
    let reset = common(again.frames.recv().await);
    assert!(reset.reset);
    assert_eq!(reset.watermarks[0].1.high_watermark.0, 5_001);
}

#[tokio::test(start_paused = true)]
async fn a_small_tail_comes_with_the_acknowledgement() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&world.metadata).await;
    for _ in 0..30 {
        writer.append(to, 1).await;
    }
    let session = writer.registration.session;
    let mut watch = world.metadata.watch(session, None).await.expect("watches");
    watch.frames.recv().await.expect("a reset");
    for (from, complete_from, extents) in [(25, 25, 5), (2, 30, 0), (30, 30, 0), (70, 30, 0)] {
        let from = aquifer_format::ids::Offset(from);
        let add = InterestChange::Add {
            partition: to,
            from,
        };
        watch.interests.send(add).await.expect("the watch is open");
        let frame = loop {
            match watch.frames.recv().await.expect("the watch goes on") {
                Frame::Extents(frame) => break frame,
                Frame::Common(_) => {}
            }
        };
        assert_eq!(frame.complete_from.len(), 1);
        assert_eq!(frame.complete_from[0].1.0, complete_from, "from {from}");
        let count: usize = frame.extents.iter().map(|(_, e)| e.len()).sum();
        assert_eq!(count, extents, "from {from}");
    }
}

#[tokio::test(start_paused = true)]
async fn minutes_pass_and_silent_sessions_end() {
    let world = World::new().await;
    let writer = Writer::new(&world.metadata).await;
    let present = Writer::new(&world.metadata).await;
    let silent = writer.registration.session;
    drop(writer);
    let session = present.registration.session;
    let first = present.registration.upload_epoch;
    let minute = 60_000;
    world.sleep(minute * 9).await;
    // a look at it does no harm
    let stream = world.metadata.commits(silent).await;
    drop(stream.expect("it lives for ten minutes"));
    world
        .sleep(minute * u64::from(SESSION_IDLE_EPOCHS_MAX + 1))
        .await;
    let gone = world.metadata.commits(silent).await;
    assert_eq!(
        gone.err(),
        Some(MetadataError::UnknownSession { session: silent })
    );
    // one that is connected is not silent, be it without commits
    let mut watch = world.metadata.watch(session, None).await.expect("it lives");
    let reset = common(watch.frames.recv().await);
    assert!(reset.upload_epoch.0 >= first.0 + 19, "{reset:?}");
    world.sleep(minute).await;
    let next = loop {
        let frame = common(watch.frames.recv().await);
        if frame.upload_epoch > reset.upload_epoch {
            break frame;
        }
    };
    assert_eq!(next.upload_epoch.0, reset.upload_epoch.0 + 1);
}

/// What a watch said last of the agents since it was asked last: slots, and whether they are all.
fn agents(watch: &mut WatchChannel) -> Option<(Vec<u32>, bool)> {
    let mut said = None;
    while let Ok(frame) = watch.frames.try_recv() {
        if let Frame::Common(frame) = frame
            && let Some(agents) = &frame.agents
        {
            let slots = agents.iter().map(|agent| agent.slot.0).collect();
            said = Some((slots, frame.agents_complete));
        }
    }
    said
}

#[tokio::test(start_paused = true)]
async fn an_agent_outlives_a_short_break_of_its_watch_and_no_long_one() {
    let world = World::new().await;
    world.sleep(5_000).await;
    let (one, two) = (
        Writer::new(&world.metadata).await,
        Writer::new(&world.metadata).await,
    );
    let (first, second) = (one.registration.slot.0, two.registration.slot.0);
    let mut watch = world
        .metadata
        .watch(one.registration.session, None)
        .await
        .unwrap();
    let mut other = world
        .metadata
        .watch(two.registration.session, None)
        .await
        .unwrap();
    world.sleep(10).await;
    assert_eq!(agents(&mut watch), Some((vec![first, second], true)));
    for _ in 0..3 {
        drop(other);
        world.sleep(2_000).await;
        other = world
            .metadata
            .watch(two.registration.session, None)
            .await
            .unwrap();
        world.sleep(10).await;
        assert_eq!(agents(&mut watch), None, "nobody is told of the break");
        assert_eq!(agents(&mut other), Some((vec![first, second], true)));
    }
    // who speaks must go on speaking, though its watch stays open
    let presence = InterestChange::Presence { named: true };
    other.interests.send(presence).await.unwrap();
    world.sleep(2_900).await;
    assert_eq!(agents(&mut watch), None);
    world.sleep(700).await;
    assert_eq!(agents(&mut watch), Some((vec![first], true)));
    other.interests.send(presence).await.unwrap();
    world.sleep(10).await;
    assert_eq!(agents(&mut watch), Some((vec![first, second], true)));
    let unnamed = InterestChange::Presence { named: false };
    other.interests.send(unnamed).await.unwrap();
    world.sleep(10).await;
    assert_eq!(agents(&mut watch), Some((vec![first], true)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_calls_nobody_dead_before_all_could_find_it() {
    let world = World::new().await;
    let (one, two) = (
        Writer::new(&world.metadata).await,
        Writer::new(&world.metadata).await,
    );
    let (first, second) = (one.registration.slot.0, two.registration.slot.0);
    let world = world.restart().await;
    let mut watch = world
        .metadata
        .watch(one.registration.session, None)
        .await
        .unwrap();
    world.sleep(10).await;
    assert_eq!(agents(&mut watch), Some((vec![first], false)));
    world.sleep(3_000).await;
    let mut other = world
        .metadata
        .watch(two.registration.session, None)
        .await
        .unwrap();
    world.sleep(10).await;
    assert_eq!(agents(&mut watch), Some((vec![first, second], false)));
    assert_eq!(agents(&mut other), Some((vec![first, second], false)));
    world.sleep(1_500).await;
    assert_eq!(agents(&mut watch), Some((vec![first, second], true)));
}
