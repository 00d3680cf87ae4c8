//! Where the bytes come from: cache, bucket, other objects after a swap.

use std::time::Duration;

use aquifer_format::ids::Offset;
use aquifer_store::{ObjectStore, PutMode, faults::Latency};
use bytes::Bytes;

use super::bed::{Bed, batch_of, partition, ranges, request};
use crate::fetch::{
    FetchSettings,
    cache::{CacheSettings, FreshRun},
    run::Run,
};
use crate::peers::GetCause;

#[tokio::test(start_paused = true)]
async fn many_readers_of_one_object_make_one_get() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 4, &[]);
    let one = [batch_of(1, 1000)];
    let runs: Vec<_> = (0..4).map(|i| (partition(topic, i), &one[..])).collect();
    bed.append(&runs).await;
    bed.settle().await;
    bed.faults
        .change(|plan| plan.get_latency = Latency::Fixed(Duration::from_millis(30)));
    let fetches = (0..40).map(|i| bed.fetch_at(partition(topic, i % 4), 0));
    for answer in futures::future::join_all(fetches).await {
        assert_eq!(ranges(&answer), [(0, 0)]);
    }
    assert_eq!(bed.faults.counts().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_wrote_is_read_from_memory() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    let batches = [batch_of(3, 100), batch_of(2, 5000)];
    let object = bed.append(&[(id, &batches)]).await;
    bed.settle().await;
    let located = bed.view.extents(id, Offset(0), 1);
    let position = located.first().map_or(8, |extent| extent.run_position);
    bed.path.cache().insert(
        object,
        vec![FreshRun {
            position,
            run: Run::of_batches(&batches),
        }],
        Vec::new(),
    );
    assert_eq!(ranges(&bed.fetch_at(id, 0).await), [(0, 2), (3, 4)]);
    assert_eq!(bed.faults.counts().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_swapped_object_is_located_again() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    let mut objects = Vec::new();
    for _ in 0..4 {
        objects.push(bed.append_one(id, batch_of(10, 10)).await);
    }
    bed.settle().await;
    // The agent knows the extents, and not the bytes.
    bed.view
        .keep_extents(id, Offset(0), &located(&bed, id).await);
    bed.swap(objects[1]).await;
    bed.swap(objects[2]).await;
    let answer = bed.fetch_at(id, 0).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!(ranges(&answer), [(0, 9), (10, 19), (20, 29), (30, 39)]);
}

async fn located(
    bed: &Bed,
    id: aquifer_format::ids::PartitionId,
) -> Vec<aquifer_metadata_api::extent::Extent> {
    use aquifer_metadata_api::{
        Metadata,
        locate::{LocatePartition, LocateRequest},
    };
    let request = LocateRequest {
        partitions: vec![LocatePartition {
            partition: id,
            from: Offset(0),
            max_bytes: u64::MAX,
        }],
    };
    let reply = bed.fake.locate(request).await.unwrap();
    reply.partitions[0].clone().unwrap().extents
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_an_error_and_never_an_empty_success() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.append_one(id, batch_of(10, 10)).await;
    let lost = bed.append_one(id, batch_of(10, 10)).await;
    bed.append_one(id, batch_of(10, 10)).await;
    bed.settle().await;
    let key = aquifer_format::key::object_key(bed.cluster(), &lost);
    bed.memory.delete(&[key]).await.unwrap();
    // What comes before it can be read; never what comes after it.
    assert_eq!(ranges(&bed.fetch_at(id, 0).await), [(0, 9)]);
    assert_eq!(bed.fetch_at(id, 10).await.error_code, 56);
    assert_eq!(ranges(&bed.fetch_at(id, 20).await), [(20, 29)]);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_fails_is_an_error_and_heals() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.append_one(id, batch_of(10, 10)).await;
    bed.settle().await;
    bed.faults.change(|plan| plan.outage = true);
    assert_eq!(bed.fetch_at(id, 0).await.error_code, 56);
    bed.faults.change(|plan| plan.outage = false);
    assert_eq!(ranges(&bed.fetch_at(id, 0).await), [(0, 9)]);
}

#[tokio::test(start_paused = true)]
async fn damaged_bytes_are_never_served() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    let object = bed.append_one(id, batch_of(10, 200)).await;
    bed.settle().await;
    let key = aquifer_format::key::object_key(bed.cluster(), &object);
    let good = bed.memory.get(&key).await.unwrap();
    let extent = located(&bed, id).await[0];
    let start = usize::try_from(extent.run_position).unwrap();
    let length = usize::try_from(extent.run_bytes).unwrap();
    for at in (start..start + length).step_by(97) {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        bed.memory
            .put(&key, vec![Bytes::from(bad)], PutMode::Overwrite)
            .await
            .unwrap();
        assert_eq!(bed.fetch_at(id, 0).await.error_code, 56, "byte {at}");
    }
    bed.memory
        .put(&key, vec![good], PutMode::Overwrite)
        .await
        .unwrap();
    assert_eq!(ranges(&bed.fetch_at(id, 0).await), [(0, 9)]);
}

#[tokio::test(start_paused = true)]
async fn the_cache_keeps_its_bound_and_what_is_used() {
    let settings = FetchSettings {
        cache: CacheSettings {
            bytes_max: 50_000,
            ..CacheSettings::default()
        },
        objects_read_ahead: 0,
        ..FetchSettings::default()
    };
    let bed = Bed::with(settings).await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    for _ in 0..10 {
        let mut value = vec![0u8; 10_000];
        for byte in &mut value {
            *byte = u8::try_from(bed.ports.rand.next_u64() & 0xff).unwrap();
        }
        let mut builder =
            aquifer_format::batch::BatchBuilder::new(aquifer_format::codec::Codec::None);
        builder.append(1, None, Some(&value), &[]);
        bed.append_one(id, builder.build().unwrap()).await;
    }
    bed.settle().await;
    let small = |offset| {
        let mut request = request(&[(id, offset)]);
        request.topics[0].partitions[0].partition_max_bytes = 1;
        request
    };
    bed.fetch(17, small(0)).await;
    for offset in 1..10 {
        bed.fetch(17, small(offset)).await;
        bed.fetch(17, small(0)).await;
    }
    let text = format!("{:?}", bed.path.cache());
    let bytes: u64 = text
        .split("bytes: ")
        .nth(1)
        .and_then(|t| t.split([',', ' ']).next())
        .and_then(|t| t.parse().ok())
        .unwrap_or_else(|| panic!("{text}"));
    assert!(bytes <= 50_000 && bytes > 20_000, "{text}");
    // Offset 0 was read all the time: it never left.
    assert_eq!(bed.faults.counts().requests, 10);
}

#[tokio::test(start_paused = true)]
async fn who_reads_on_from_where_it_stopped_is_read_ahead_for() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    for _ in 0..8 {
        bed.append_one(id, batch_of(1, 1000)).await;
    }
    bed.settle().await;
    let small = |offset| {
        let mut request = request(&[(id, offset)]);
        request.topics[0].partitions[0].partition_max_bytes = 1;
        request
    };
    bed.fetch(17, small(0)).await;
    assert_eq!(
        bed.faults.counts().requests,
        1,
        "the first read may be the only one"
    );
    bed.fetch(17, small(1)).await;
    bed.ports.sleep(Duration::from_millis(1)).await;
    assert_eq!(bed.faults.counts().requests, 6, "four are read ahead");
    for offset in 2..6 {
        bed.fetch(17, small(offset)).await;
    }
    assert_eq!(bed.faults.counts().requests, 6);
}

/// Reads objects of one record each, one after the other.
async fn read_one_by_one(bed: &Bed, offsets: std::ops::Range<i64>) {
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    for _ in offsets.clone() {
        bed.append_one(id, batch_of(1, 1000)).await;
    }
    bed.settle().await;
    for offset in offsets {
        let mut request = request(&[(id, offset)]);
        request.topics[0].partitions[0].partition_max_bytes = 1;
        bed.fetch(17, request).await;
    }
}

fn scanning_after(scan_units: u32) -> FetchSettings {
    FetchSettings {
        objects_read_ahead: 0,
        scan_units,
        ..FetchSettings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_many_old_objects_in_order_goes_past_the_zone() {
    let bed = Bed::with(scanning_after(3)).await;
    bed.fake.advance_upload_epoch(5);
    read_one_by_one(&bed, 0..10).await;
    let counts = bed.path.cache().counts();
    assert_eq!(counts.gets(GetCause::Alone), 4);
    assert_eq!(counts.gets(GetCause::Scan), 6);
}

#[tokio::test(start_paused = true)]
async fn who_reads_the_tail_never_counts_as_a_scan() {
    let bed = Bed::with(scanning_after(3)).await;
    read_one_by_one(&bed, 0..10).await;
    assert_eq!(bed.path.cache().counts().gets(GetCause::Alone), 10);
}
