//! DeleteRecords, DescribeProducers, DescribeLogDirs.

use std::sync::Arc;

use aquifer_format::ids::{Offset, PartitionId};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeProducersRequest, DescribeProducersResponse, TopicName,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    describe_log_dirs_request::DescribableLogDirTopic,
    describe_producers_request::TopicRequest,
    describe_producers_response::PartitionResponse,
};

use super::{
    fixture::{
        Watcher, Writer, assert_contiguous, locate, locate_all, partition, plain, sequenced, topic,
    },
    kafka::{call, text},
};
use crate::{
    Metadata,
    commit::BatchOutcome,
    extent::Extent,
    kafka::LeaderApi,
    locate::{OffsetSpec, OffsetsFound, OffsetsRequest},
};

/// The low watermark, or the code.
async fn delete(metadata: &dyn Metadata, name: &str, index: i32, offset: i64) -> Result<i64, i16> {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(index)
        .with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(TopicName(text(name)))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(1_000);
    let response: DeleteRecordsResponse = call(metadata, LeaderApi::DeleteRecords, &request).await;
    assert_eq!(response.topics.len(), 1);
    assert_eq!(*response.topics[0].name, text(name));
    assert_eq!(response.topics[0].partitions.len(), 1);
    let result = &response.topics[0].partitions[0];
    assert_eq!(result.partition_index, index);
    match result.error_code {
        0 => Ok(result.low_watermark),
        code => {
            assert_eq!(result.low_watermark, -1);
            Err(code)
        }
    }
}

async fn found(metadata: &dyn Metadata, id: PartitionId, spec: OffsetSpec) -> OffsetsFound {
    let request = OffsetsRequest {
        partitions: vec![(id, spec)],
    };
    let reply = metadata.offsets(request).await.expect("finds offsets");
    reply.partitions[0].expect("the partition exists")
}

pub(super) async fn deleted_records_are_gone(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(orders, 0);
    let mut writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    for time in [100, 500, 200, 300, 400] {
        writer.one(to, plain(10, time)).await;
    }
    assert_eq!(delete(&*metadata, "orders", 0, 0).await, Ok(0));
    // in the middle of a batch: it stays, and its first half cannot be read any more
    assert_eq!(delete(&*metadata, "orders", 0, 25).await, Ok(25));
    let located = locate_all(&*metadata, to, 25).await;
    assert_eq!(located.watermarks.log_start, Offset(25));
    assert_eq!(located.watermarks.high_watermark, Offset(50));
    let first = located.extents.first().map(|extent| extent.base_offset.0);
    let first = first.expect("there is something left");
    assert!(first <= 25, "the log has a gap: {located:?}");
    assert_contiguous(&located.extents, first, 50);
    let before = locate(&*metadata, to, 24, u64::MAX).await;
    assert!(before.expect("it exists").extents.is_empty());
    let latest = found(&*metadata, to, OffsetSpec::MaxTimestamp).await;
    assert_eq!(latest.watermarks.log_start, Offset(25));
    let time = |extent: Extent| extent.max_timestamp;
    assert_eq!(latest.extent.map(time), Some(400));
    watcher.catch_up(&*metadata).await;
    assert_eq!(watcher.starts[&to], Offset(25));
    assert_eq!(watcher.high[&to], Offset(50));
    // it never goes back
    assert_eq!(delete(&*metadata, "orders", 0, 10).await, Ok(25));
    assert_eq!(delete(&*metadata, "orders", 0, 25).await, Ok(25));
    assert_eq!(delete(&*metadata, "orders", 0, -1).await, Ok(50));
    let latest = found(&*metadata, to, OffsetSpec::MaxTimestamp).await;
    assert_eq!(
        (latest.watermarks.log_start, latest.extent),
        (Offset(50), None)
    );
    let outcome = writer.one(to, plain(3, 1)).await;
    let BatchOutcome::Appended(placement) = outcome else {
        panic!("not appended: {outcome:?}");
    };
    assert_eq!(
        (placement.base_offset, placement.log_start),
        (Offset(50), Offset(50))
    );
    let located = locate_all(&*metadata, to, 50).await;
    assert_contiguous(&located.extents, 50, 53);
    watcher.catch_up(&*metadata).await;
    assert_eq!(
        (watcher.starts[&to], watcher.high[&to]),
        (Offset(50), Offset(53))
    );
    // who watches from now on sees the same
    let late = Watcher::new(&writer).await;
    assert_eq!((late.starts[&to], late.high[&to]), (Offset(50), Offset(53)));
}

pub(super) async fn what_cannot_be_deleted_is_refused(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[]).await;
    topic(&*metadata, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    topic(
        &*metadata,
        "both",
        1,
        &[("cleanup.policy", "compact,delete")],
    )
    .await;
    topic(&*metadata, "kept", 1, &[("cleanup.policy", "")]).await;
    let mut writer = Writer::new(&metadata).await;
    writer.append(partition(orders, 0), 5).await;
    for (name, index, offset, expected) in [
        ("orders", 0, 6, Err(1)),
        ("orders", 0, -2, Err(1)),
        ("orders", 0, i64::MAX, Err(1)),
        ("orders", 0, i64::MIN, Err(1)),
        ("orders", 1, 0, Err(3)),
        ("orders", -1, 0, Err(3)),
        ("nothing", 0, 0, Err(3)),
        ("compacted", 0, 0, Err(44)),
        ("both", 0, -1, Ok(0)),
        ("kept", 0, 0, Ok(0)),
        ("orders", 0, 5, Ok(5)),
    ] {
        let deleted = delete(&*metadata, name, index, offset).await;
        assert_eq!(deleted, expected, "{name}-{index} before {offset}");
    }
}

async fn producers(metadata: &dyn Metadata, name: &str, indexes: &[i32]) -> Vec<PartitionResponse> {
    let wanted = TopicRequest::default()
        .with_name(TopicName(text(name)))
        .with_partition_indexes(indexes.to_vec());
    let request = DescribeProducersRequest::default().with_topics(vec![wanted]);
    let mut response: DescribeProducersResponse =
        call(metadata, LeaderApi::DescribeProducers, &request).await;
    assert_eq!(response.topics.len(), 1);
    let partitions = response.topics.remove(0).partitions;
    let answered = partitions.iter().map(|p| p.partition_index);
    assert!(answered.eq(indexes.iter().copied()), "{partitions:?}");
    partitions
}

pub(super) async fn producers_are_described(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 2, &[]).await;
    let to = partition(orders, 0);
    let mut writer = Writer::new(&metadata).await;
    writer.one(to, plain(1, 1)).await;
    writer.one(to, sequenced(8, 3, 0, 4)).await;
    writer.one(to, sequenced(7, 0, 0, 2)).await;
    writer.one(to, sequenced(7, 0, 2, 5)).await;
    let described = producers(&*metadata, "orders", &[0, 1, 2]).await;
    let codes: Vec<i16> = described.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, 0, 3]);
    let mut active: Vec<_> = described[0]
        .active_producers
        .iter()
        .map(|p| {
            (
                p.producer_id.0,
                p.producer_epoch,
                p.last_sequence,
                p.last_timestamp,
            )
        })
        .collect();
    active.sort_unstable();
    assert_eq!(active, [(7, 0, 6, 1_000), (8, 3, 3, 1_000)]);
    for producer in &described[0].active_producers {
        assert_eq!(producer.coordinator_epoch, -1);
        assert_eq!(producer.current_txn_start_offset, -1);
    }
    assert!(described[1].active_producers.is_empty());
    let unknown = producers(&*metadata, "nothing", &[0]).await;
    assert_eq!(unknown[0].error_code, 3);
}

/// Partitions of the only log directory: topic, index, bytes.
async fn sizes(
    metadata: &dyn Metadata,
    wanted: Option<&[(&str, &[i32])]>,
) -> Vec<(String, i32, i64)> {
    let topics = wanted.map(|wanted| {
        let topic = |(name, partitions): &(&str, &[i32])| {
            DescribableLogDirTopic::default()
                .with_topic(TopicName(text(name)))
                .with_partitions(partitions.to_vec())
        };
        wanted.iter().map(topic).collect()
    });
    let request = DescribeLogDirsRequest::default().with_topics(topics);
    let response: DescribeLogDirsResponse =
        call(metadata, LeaderApi::DescribeLogDirs, &request).await;
    assert_eq!((response.error_code, response.results.len()), (0, 1));
    let bucket = &response.results[0];
    assert_eq!(bucket.error_code, 0);
    assert!(!bucket.log_dir.is_empty());
    let mut sizes = Vec::new();
    for topic in &bucket.topics {
        for partition in &topic.partitions {
            assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
            sizes.push((
                topic.name.to_string(),
                partition.partition_index,
                partition.partition_size,
            ));
        }
    }
    sizes.sort();
    sizes
}

pub(super) async fn partitions_are_measured(metadata: Arc<dyn Metadata>) {
    assert!(sizes(&*metadata, None).await.is_empty());
    let orders = topic(&*metadata, "orders", 2, &[]).await;
    topic(&*metadata, "payments", 1, &[]).await;
    let mut writer = Writer::new(&metadata).await;
    for _ in 0..4 {
        // 100 bytes per record
        writer.append(partition(orders, 1), 5).await;
    }
    let size = |name: &str, index, bytes| (name.to_owned(), index, bytes);
    let all = sizes(&*metadata, None).await;
    let expected = [
        size("orders", 0, 0),
        size("orders", 1, 2_000),
        size("payments", 0, 0),
    ];
    assert_eq!(all, expected);
    let wanted: &[(&str, &[i32])] = &[("orders", &[1, 9]), ("nothing", &[0])];
    let some = sizes(&*metadata, Some(wanted)).await;
    assert_eq!(some, [size("orders", 1, 2_000)]);
    assert!(sizes(&*metadata, Some(&[])).await.is_empty());
    assert_eq!(delete(&*metadata, "orders", 1, -1).await, Ok(20));
    let some = sizes(&*metadata, Some(wanted)).await;
    assert_eq!(some, [size("orders", 1, 0)]);
}
