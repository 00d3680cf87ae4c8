//! The leader's memory has a bound. Where nobody compacts, producers are slowed down and then refused before it is
//! reached; once somebody does, all goes on.

use std::{sync::Arc, time::Duration};

use aquifer_compaction::WorkerSettings;
use aquifer_format::{batch::BatchBuilder, codec::Codec, record};
use aquifer_metadata::{LeaderSettings, planner::PlannerSettings, state::Budgets};
use aquifer_store::memory::MemoryStore;
use aquifer_tests::{
    fetch::{self, Ask},
    virtual_cluster::{VirtualAgent, VirtualCluster},
    wire::{first_result, produce_request, topic_name},
};
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, create_topics_request::CreatableTopic,
};

/// What an object of one extent costs.
const OBJECT: u64 = 256;
/// Room for so many.
const OBJECTS: u64 = 200;
/// Kafka's NOT_ENOUGH_REPLICAS: clients send it again later.
const REFUSED: i16 = 19;

/// A record; its error code, its offset, and for how long the producer is to wait.
async fn produce(agent: &mut VirtualAgent, value: &str) -> (i16, i64, i32) {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    let batch = builder.build().expect("a small batch").bytes;
    let request = produce_request("t", 0, -1, batch);
    let response = agent.call(9, &request).await;
    let (code, offset, _) = first_result(&response);
    (code, offset, response.throttle_time_ms)
}

#[tokio::test(start_paused = true)]
async fn without_compactors_producers_are_throttled_then_refused_and_go_on_with_them() {
    let mut cluster = VirtualCluster::new(Arc::new(MemoryStore::new()));
    let settings = LeaderSettings {
        budgets: Budgets {
            extent_bytes: OBJECTS * OBJECT,
            ..Budgets::default()
        },
        upload_epoch: Duration::from_secs(1),
        planner: PlannerSettings {
            small_objects: 16,
            small_objects_min: 8,
            small_age_epochs: 1,
            scan_interval: Duration::from_secs(1),
            ..PlannerSettings::default()
        },
        ..LeaderSettings::default()
    };
    cluster.lead(settings).await;
    let mut agent = cluster.agent().await;
    let topic = CreatableTopic::default()
        .with_name(topic_name("t"))
        .with_num_partitions(1)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let created = agent.call(7, &request).await;
    assert_eq!(created.topics[0].error_code, 0);

    // Nobody compacts.
    let mut acked: Vec<String> = Vec::new();
    let mut throttled_at = None;
    loop {
        let value = format!("record {}", acked.len());
        let (code, offset, throttle) = produce(&mut agent, &value).await;
        if throttle > 0 && throttled_at.is_none() {
            throttled_at = Some(acked.len());
        }
        if code != 0 {
            assert_eq!(code, REFUSED);
            break;
        }
        assert_eq!(usize::try_from(offset), Ok(acked.len()));
        acked.push(value);
        assert!(acked.len() < 1_000, "nothing is ever refused");
    }
    let throttled_at = throttled_at.expect("producers are throttled first");
    assert!(
        throttled_at < acked.len(),
        "{throttled_at} of {}",
        acked.len()
    );
    let used = u64::try_from(acked.len()).expect("few") * OBJECT;
    assert!(used <= (OBJECTS + 1) * OBJECT, "{used} bytes");
    cluster.ports.sleep(Duration::from_secs(60)).await;
    assert_eq!(produce(&mut agent, "too much").await.0, REFUSED);

    // Somebody compacts.
    cluster.worker(WorkerSettings::default()).start();
    let mut waited = 0;
    loop {
        let value = format!("record {}", acked.len());
        let (code, offset, throttle) = produce(&mut agent, &value).await;
        if code == 0 {
            assert_eq!(usize::try_from(offset), Ok(acked.len()));
            acked.push(value);
            if throttle == 0 {
                break;
            }
        }
        waited += 1;
        assert!(waited < 600, "error {code}, throttled for {throttle} ms");
        cluster.ports.sleep(Duration::from_secs(1)).await;
    }
    for _ in 0..2 * OBJECTS {
        let value = format!("record {}", acked.len());
        let (code, ..) = produce(&mut agent, &value).await;
        assert_eq!(code, 0, "record {}", acked.len());
        acked.push(value);
        cluster.ports.sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(read(&mut agent, acked.len()).await, acked);
}

/// The first `count` records.
async fn read(agent: &mut VirtualAgent, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let from = i64::try_from(values.len()).expect("few");
        let request = fetch::request("t", &[(0, from)], Ask::default());
        let response = agent.call::<FetchRequest>(12, &request).await;
        let data = fetch::partition(&response, 0);
        assert_eq!(data.error_code, 0, "at {from}");
        for batch in fetch::batches(data) {
            for record in record::records(&batch, 1 << 20).expect("records") {
                let record = record.expect("a readable record");
                let offset = batch.header.base_offset.0 + i64::from(record.offset_delta);
                if usize::try_from(offset) == Ok(values.len()) {
                    let value = record.value.unwrap_or_default().to_vec();
                    values.push(String::from_utf8(value).expect("text"));
                }
            }
        }
    }
    values
}
