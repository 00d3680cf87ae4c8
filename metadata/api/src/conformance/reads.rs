//! Exact reads.

use std::sync::Arc;

use aquifer_format::ids::{Offset, PartitionId, TopicId};
use uuid::Uuid;

use super::fixture::{
    RUN_POSITION, Writer, appended, assert_contiguous, locate, locate_all, partition, plain,
    sequenced, topic,
};
use crate::{
    Metadata,
    commit::BatchOutcome,
    locate::{OffsetSpec, OffsetsFound, OffsetsRequest},
};

pub(super) async fn locate_finds_what_was_answered(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    let mut end = 0;
    for records in 1..20 {
        let base = writer.append(to, records).await;
        assert_eq!(base.0, end);
        end += i64::from(records);
        // no wait between the answer and the read
        let located = locate_all(&*metadata, to, 0).await;
        assert_eq!(located.watermarks.log_start.0, 0);
        assert_eq!(located.watermarks.high_watermark.0, end);
        assert_eq!(located.watermarks.last_stable.0, end);
        assert_contiguous(&located.extents, 0, end);
        let last = located.extents.last().expect("it is not empty");
        assert_eq!(last.object.unique, u64::from(records));
        assert_eq!(last.run_position, RUN_POSITION);
        assert_eq!((last.raw_start, last.raw_bytes), (0, records * 100));
        assert_eq!(last.run_bytes, records * 100 + 32);
    }
    let nowhere = partition(TopicId(Uuid::from_u128(u128::MAX)), 0);
    assert_eq!(locate(&*metadata, nowhere, 0, 1).await, None);
}

pub(super) async fn locate_obeys_its_limits(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    for _ in 0..6 {
        writer.append(to, 10).await;
    }
    for (from, max_bytes, first, last) in [
        (0, 1, 0, 10),
        (0, 1_000, 0, 10),
        (0, 1_001, 0, 20),
        (15, 1_500, 10, 30),
        (59, u64::MAX, 50, 60),
    ] {
        let located = locate(&*metadata, to, from, max_bytes).await;
        let extents = located.expect("the partition exists").extents;
        assert_contiguous(&extents, first, last);
    }
    for beyond in [60, 61, -1] {
        let located = locate(&*metadata, to, beyond, u64::MAX).await;
        let extents = located.expect("the partition exists").extents;
        assert!(extents.is_empty(), "from {beyond}: {extents:?}");
    }
}

pub(super) async fn dead_batches_leave_gaps_in_the_run(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    writer.one(to, sequenced(7, 1, 0, 2)).await;
    // new, duplicate, new, new, too old an epoch
    let batches = vec![
        plain(1, 1),
        sequenced(7, 1, 0, 2),
        sequenced(7, 1, 2, 3),
        plain(4, 1),
        sequenced(7, 0, 5, 1),
    ];
    let commit = writer.build(&[(to, batches)]);
    writer.send(commit.clone()).await;
    let outcomes = writer.finals(&commit).await;
    assert_eq!(appended(outcomes[0]), 2);
    assert!(matches!(outcomes[1], BatchOutcome::Duplicate(_)));
    assert_eq!(appended(outcomes[2]), 3);
    assert_eq!(appended(outcomes[3]), 6);
    assert!(matches!(outcomes[4], BatchOutcome::Rejected(_)));
    let located = locate_all(&*metadata, to, 2).await;
    assert_contiguous(&located.extents, 2, 10);
    // bytes 100..300 of the run are dead, and so are those from 1,000 on
    let live = |from: u32, to: u32| {
        let inside = located.extents.iter().filter(|e| e.raw_start >= from);
        let inside = inside.filter(|e| e.raw_start + e.raw_bytes <= to);
        inside.map(|e| e.raw_bytes).sum::<u32>()
    };
    assert_eq!(live(0, 100), 100);
    assert_eq!(live(300, 1_000), 700);
    assert_eq!(live(0, u32::MAX), 800);
}

pub(super) async fn offsets_are_found_by_time(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 2, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    // timestamps may go back and be negative
    for time in [-5, 100, 50, 300, 300, 200] {
        writer.one(to, plain(10, time)).await;
    }
    for (spec, base) in [
        (OffsetSpec::Watermarks, None),
        (OffsetSpec::Timestamp(-10), Some(0)),
        (OffsetSpec::Timestamp(-5), Some(0)),
        (OffsetSpec::Timestamp(0), Some(10)),
        (OffsetSpec::Timestamp(100), Some(10)),
        (OffsetSpec::Timestamp(101), Some(30)),
        (OffsetSpec::Timestamp(301), None),
        (OffsetSpec::MaxTimestamp, Some(30)),
    ] {
        let found = offsets(&*metadata, to, spec).await.expect("it exists");
        let extent = found.extent.map(|e| e.base_offset.0);
        assert_eq!(extent, base, "{spec:?}");
        assert_eq!(found.watermarks.high_watermark, Offset(60));
    }
    let empty = offsets(&*metadata, partition(topic, 1), OffsetSpec::MaxTimestamp).await;
    assert_eq!(empty.map(|found| found.extent), Some(None));
    let nowhere = offsets(&*metadata, partition(topic, 2), OffsetSpec::Watermarks).await;
    assert_eq!(nowhere, None);
}

async fn offsets(
    metadata: &dyn Metadata,
    partition: PartitionId,
    spec: OffsetSpec,
) -> Option<OffsetsFound> {
    let request = OffsetsRequest {
        partitions: vec![(partition, spec)],
    };
    let reply = metadata.offsets(request).await.expect("finds offsets");
    assert_eq!(reply.partitions.len(), 1);
    reply.partitions[0]
}

pub(super) async fn log_append_time_is_the_leaders(metadata: Arc<dyn Metadata>) {
    let configs = [("message.timestamp.type", "LogAppendTime")];
    let topic = topic(&*metadata, "orders", 1, &configs).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    let outcome = writer.one(to, sequenced(7, 0, 0, 1)).await;
    let BatchOutcome::Appended(placement) = outcome else {
        panic!("not appended: {outcome:?}");
    };
    let time = placement.log_append_time;
    assert!(time.is_some_and(|t| t > 1_000), "{placement:?}");
    let again = writer.one(to, sequenced(7, 0, 0, 1)).await;
    assert_eq!(again, BatchOutcome::Duplicate(placement));
    let located = locate_all(&*metadata, to, 0).await;
    assert_eq!(located.extents[0].log_append_time, time);
    assert_eq!(Some(located.extents[0].max_timestamp), time);
}
