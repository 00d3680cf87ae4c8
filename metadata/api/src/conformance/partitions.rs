//! CreatePartitions.

use std::sync::Arc;

use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, TopicName,
    create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
};

use super::{
    fixture::{Watcher, Writer, locate, locate_all, partition, topic},
    kafka::{call, text},
};
use crate::{Metadata, kafka::LeaderApi};

fn more(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default()
        .with_name(TopicName(text(name)))
        .with_count(count)
        .with_assignments(None)
}

/// Name and code of each result.
async fn create_partitions(
    metadata: &dyn Metadata,
    topics: Vec<CreatePartitionsTopic>,
    validate_only: bool,
) -> Vec<(String, i16)> {
    let request = CreatePartitionsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(1_000)
        .with_validate_only(validate_only);
    let response: CreatePartitionsResponse =
        call(metadata, LeaderApi::CreatePartitions, &request).await;
    let results = response.results.iter();
    results
        .map(|result| (result.name.to_string(), result.error_code))
        .collect()
}

pub(super) async fn partitions_are_added(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[]).await;
    let mut writer = Writer::new(&metadata).await;
    writer.append(partition(orders, 0), 7).await;
    let mut watcher = Watcher::new(&writer).await;
    let tried = create_partitions(&*metadata, vec![more("orders", 9)], true).await;
    assert_eq!(tried, [("orders".to_owned(), 0)]);
    assert_eq!(locate(&*metadata, partition(orders, 1), 0, 1).await, None);
    let added = create_partitions(&*metadata, vec![more("orders", 3)], false).await;
    assert_eq!(added, [("orders".to_owned(), 0)]);
    watcher.catch_up(&*metadata).await;
    let view = &watcher.topics[&orders];
    assert_eq!((view.name.as_str(), view.partitions), ("orders", 3));
    assert_eq!(watcher.high[&partition(orders, 0)].0, 7);
    assert_eq!(watcher.high[&partition(orders, 2)].0, 0);
    assert_eq!(writer.append(partition(orders, 2), 4).await.0, 0);
    assert_eq!(writer.append(partition(orders, 0), 1).await.0, 7);
    let located = locate_all(&*metadata, partition(orders, 2), 0).await;
    assert_eq!(located.watermarks.high_watermark.0, 4);
    let epoch = watcher.topics[&orders].leader_epoch;
    assert_eq!(located.watermarks.leader_epoch, epoch);
    assert_eq!(locate(&*metadata, partition(orders, 3), 0, 1).await, None);
}

pub(super) async fn what_adds_no_partition_is_refused(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 3, &[]).await;
    topic(&*metadata, "payments", 1, &[]).await;
    let assigned = |name: &str, count: i32, brokers: &[&[i32]]| {
        let assignments = brokers.iter().map(|brokers| {
            let brokers = brokers.iter().map(|id| BrokerId(*id));
            CreatePartitionsAssignment::default().with_broker_ids(brokers.collect())
        });
        more(name, count).with_assignments(Some(assignments.collect()))
    };
    let cases = [
        (more("orders", 3), 37),
        (more("orders", 2), 37),
        (more("orders", 0), 37),
        (more("orders", -1), 37),
        (more("orders", i32::MAX), 37),
        (more("nothing", 5), 3),
        (assigned("orders", 5, &[&[0]]), 39),
        (assigned("orders", 3, &[]), 37),
    ];
    for (topic, code) in cases {
        let what = format!("{topic:?}");
        let results = create_partitions(&*metadata, vec![topic], false).await;
        let codes: Vec<i16> = results.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes, [code], "{what}");
    }
    let twice = vec![more("orders", 4), more("payments", 2), more("orders", 5)];
    let mut results = create_partitions(&*metadata, twice, false).await;
    results.sort();
    assert_eq!(
        results,
        [("orders".to_owned(), 42), ("payments".to_owned(), 0)]
    );
    assert_eq!(locate(&*metadata, partition(orders, 3), 0, 1).await, None);
}
