//! Administration and retention, by a whole leader.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::PartitionId;
use aquifer_metadata_api::{
    Metadata, WatchChannel,
    config::Configs,
    kafka::LeaderApi,
    watch::{CommonFrame, Frame},
};
use aquifer_store::Ports;
use kafka_protocol::messages::{
    DeleteRecordsResponse, DeleteTopicsResponse, IncrementalAlterConfigsResponse,
};

use super::{
    World, Writer, call,
    kill::{Recorder, check_recovery},
    locate, partition,
};
use crate::{
    Leader, LeaderSettings,
    journal::{Journal, memory::MemoryJournal},
    state::tests::world::{Alterations, alter_request, delete_records_request, delete_request},
};

async fn alter(metadata: &dyn Metadata, kind: i8, name: &str, configs: Alterations<'_>) {
    let request = alter_request(kind, name, configs);
    let api = LeaderApi::IncrementalAlterConfigs;
    let response: IncrementalAlterConfigsResponse =
        call(metadata, api, &request).await.expect("answers");
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
}

/// The log start that is answered.
async fn delete_records(metadata: &dyn Metadata, topic: &str, offset: i64) -> i64 {
    let request = delete_records_request(topic, 0, offset);
    let response: DeleteRecordsResponse = call(metadata, LeaderApi::DeleteRecords, &request)
        .await
        .expect("answers");
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.error_code, 0, "{response:?}");
    partition.low_watermark
}

/// (log start, extents) as the leader tells them.
async fn log_of(world: &World, partition: PartitionId) -> (i64, usize) {
    let located = locate(&world.metadata, partition).await.expect("locates");
    let start = located.watermarks.log_start;
    let wanted = aquifer_metadata_api::locate::LocatePartition {
        partition,
        from: start,
        max_bytes: u64::MAX,
    };
    let request = aquifer_metadata_api::locate::LocateRequest {
        partitions: vec![wanted],
    };
    let mut reply = world.metadata.locate(request).await.expect("locates");
    let located = reply.partitions.remove(0).expect("it exists");
    (start.0, located.extents.len())
}

async fn common(watch: &mut WatchChannel) -> Arc<CommonFrame> {
    loop {
        if let Frame::Common(frame) = watch.frames.recv().await.expect("the watch goes on") {
            return frame;
        }
    }
}

async fn with_configs(configs: &[(&str, &str)]) -> World {
    let ports = Ports::simulated(7, 1_704_067_200_000);
    let journal = MemoryJournal::new(Arc::clone(&ports.clock));
    let switches = journal.switches();
    let journal: Arc<dyn Journal> = Arc::new(journal);
    let configs = configs.iter();
    let settings = LeaderSettings {
        broker_configs: configs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Configs>(),
        ..LeaderSettings::default()
    };
    let leader = Leader::start(Arc::clone(&journal), ports.clone(), settings).await;
    let leader = leader.expect("the leader starts");
    World {
        metadata: leader.metadata(),
        ports,
        journal,
        switches,
        leader,
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_are_too_old_go_by_themselves_and_watchers_hear_of_it() {
    let world = with_configs(&[("log.retention.check.interval.ms", "1000")]).await;
    let topic = world.topic("orders", 1).await;
    let to = partition(topic, 0);
    let minute = ("retention.ms", 0, Some("60000"));
    alter(&*world.metadata, 2, "orders", &[minute]).await;
    let mut writer = Writer::new(&world.metadata).await;
    for _ in 0..3 {
        writer.append(to, 10).await;
    }
    let session = writer.registration.session;
    let mut watch = world.metadata.watch(session, None).await.expect("watches");
    common(&mut watch).await;
    world.sleep(50_000).await;
    assert_eq!(log_of(&world, to).await, (0, 3));
    world.sleep(15_000).await;
    assert_eq!(log_of(&world, to).await, (30, 0));
    let seen = loop {
        let frame = common(&mut watch).await;
        if let Some((_, marks)) = frame.watermarks.iter().find(|(id, _)| *id == to) {
            break *marks;
        }
    };
    assert_eq!((seen.log_start.0, seen.high_watermark.0), (30, 30));
    assert_eq!(writer.append(to, 1).await.0, 30, "offsets go on");
}

#[tokio::test(start_paused = true)]
async fn more_than_a_step_of_old_records_goes_in_one_go() {
    let world = with_configs(&[("log.retention.check.interval.ms", "60000")]).await;
    let topic = world.topic("orders", 1).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&world.metadata).await;
    for _ in 0..5_000 {
        writer.append(to, 1).await;
    }
    let little = ("retention.bytes", 0, Some("500"));
    alter(&*world.metadata, 2, "orders", &[little]).await;
    world.sleep(61_000).await;
    // batches of 100 bytes
    assert_eq!(log_of(&world, to).await, (4_995, 5));
}

#[tokio::test(start_paused = true)]
async fn retention_waits_while_the_journal_does_not_answer() {
    let world = with_configs(&[("log.retention.check.interval.ms", "100")]).await;
    let topic = world.topic("orders", 1).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&world.metadata).await;
    for _ in 0..100 {
        writer.append(to, 1).await;
    }
    let little = ("retention.bytes", 0, Some("500"));
    alter(&*world.metadata, 2, "orders", &[little]).await;
    world.switches.set_latency(Duration::from_secs(2));
    world.sleep(10_000).await;
    world.switches.set_latency(Duration::ZERO);
    world.sleep(3_000).await;
    assert_eq!(log_of(&world, to).await, (95, 5));
    // what nothing is left to do for writes no row
    let appends = world.switches.appends();
    world.sleep(5_000).await;
    assert_eq!(world.switches.appends(), appends);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_altered_and_deleted_in_one_row_is_told_as_deleted() {
    let world = World::new().await;
    let topic = world.topic("orders", 1).await;
    let writer = Writer::new(&world.metadata).await;
    let session = writer.registration.session;
    let mut watch = world.metadata.watch(session, None).await.expect("watches");
    assert_eq!(common(&mut watch).await.topics.len(), 1);
    // what comes while a row is on its way shares the next one
    world.switches.set_latency(Duration::from_millis(100));
    let first = world.topic("other", 1);
    let second = async {
        world.sleep(10).await;
        alter(
            &*world.metadata,
            2,
            "orders",
            &[("retention.ms", 0, Some("5"))],
        )
        .await;
    };
    let third = async {
        world.sleep(20).await;
        let request = delete_request("orders");
        let response: DeleteTopicsResponse =
            call(&*world.metadata, LeaderApi::DeleteTopics, &request)
                .await
                .expect("answers");
        assert_eq!(response.responses[0].error_code, 0);
    };
    tokio::join!(first, second, third);
    let frame = loop {
        let frame = common(&mut watch).await;
        if !frame.deleted_topics.is_empty() {
            break frame;
        }
        assert!(frame.topics.iter().all(|view| view.id != topic));
    };
    assert_eq!(frame.deleted_topics, [topic]);
    assert!(frame.topics.is_empty());
}

#[tokio::test(start_paused = true)]
async fn broker_configs_and_altered_topics_reach_watchers_without_their_watermarks() {
    let world = World::new().await;
    world.topic("orders", 3).await;
    let writer = Writer::new(&world.metadata).await;
    let session = writer.registration.session;
    let mut watch = world.metadata.watch(session, None).await.expect("watches");
    let reset = common(&mut watch).await;
    assert_eq!(reset.broker_configs.as_deref(), Some(&Configs::new()));
    alter(
        &*world.metadata,
        2,
        "orders",
        &[("retention.ms", 0, Some("5"))],
    )
    .await;
    let frame = common(&mut watch).await;
    assert_eq!(frame.topics[0].configs["retention.ms"], "5");
    assert!(frame.watermarks.is_empty() && frame.broker_configs.is_none());
    alter(
        &*world.metadata,
        4,
        "",
        &[("log.retention.ms", 0, Some("9"))],
    )
    .await;
    let frame = common(&mut watch).await;
    let configs = frame.broker_configs.as_ref().expect("they changed");
    assert_eq!(configs["log.retention.ms"], "9");
    let world = world.restart().await;
    let mut watch = world.metadata.watch(session, None).await.expect("watches");
    let reset = common(&mut watch).await;
    assert_eq!(reset.broker_configs.as_ref().map(|c| c.len()), Some(1));
}

#[tokio::test(start_paused = true)]
async fn deleted_records_stay_deleted_whenever_the_leader_is_killed() {
    let ports = Ports::simulated(23, 1_704_067_200_000);
    let memory = MemoryJournal::new(Arc::clone(&ports.clock));
    let switches = memory.switches();
    let journal = Recorder::new(memory);
    let port: Arc<dyn Journal> = Arc::<Recorder>::clone(&journal);
    let mut world = World::on(ports.clone(), port, switches).await;
    let topic = world.topic("orders", 1).await;
    let to = partition(topic, 0);
    let mut end = 0;
    let mut start = 0;
    for _ in 0..25 {
        let mut writer = Writer::new(&world.metadata).await;
        for _ in 0..(ports.rand.next_u64() % 5) {
            for _ in 0..(ports.rand.next_u64() % 300) {
                assert_eq!(writer.append(to, 1).await.0, end);
                end += 1;
            }
            let keep = i64::try_from(ports.rand.next_u64() % 700).expect("it is small");
            let offset = (end - keep).max(0);
            start = start.max(offset);
            assert_eq!(
                delete_records(&*world.metadata, "orders", offset).await,
                start
            );
            // long pauses let the page writer come to its turn
            let pause = [0, 1, 20, 9_000, 16_000];
            let pause = pause[usize::try_from(ports.rand.next_u64() % 5).expect("it is small")];
            world.sleep(pause).await;
        }
        world = world.restart().await;
        check_recovery(&journal).await;
        let expected = usize::try_from(end - start).expect("it is small").min(512);
        assert_eq!(log_of(&world, to).await, (start, expected));
    }
    assert!(*journal.page_writes.lock() > 5, "no pages were written");
}
