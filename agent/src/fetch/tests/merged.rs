//! Runs of merged objects, which are read piece by piece.

use aquifer_format::{
    codec::Codec,
    ids::{Offset, PartitionId},
    key::object_key,
};
use aquifer_metadata_api::extent::Extent;
use aquifer_store::{ObjectStore, PutMode};
use bytes::Bytes;

use super::bed::{Bed, batch, batch_of, partition, ranges, request};
use crate::fetch::{
    FetchSettings,
    cache::CacheSettings,
    index::{WHOLE_RUN_BYTES, has_pieces},
};

/// A partition of `batches` batches of three records and about 300 KB each.
async fn filled(bed: &Bed, batches: usize) -> PartitionId {
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    for _ in 0..batches {
        bed.append_one(id, batch_of(3, 100_000)).await;
    }
    bed.settle().await;
    id
}

/// Reads from `offset` to the end as a consumer does; (base offset, last offset) of every batch.
async fn read_on(bed: &Bed, id: PartitionId, mut offset: i64, end: i64) -> Vec<(i64, i64)> {
    let mut read = Vec::new();
    while offset < end {
        let answer = bed.fetch_at(id, offset).await;
        assert_eq!(answer.error_code, 0, "at {offset}");
        let batches = ranges(&answer);
        let (_, last) = *batches.last().expect("something is below the end");
        assert!(last >= offset, "{batches:?} at {offset}");
        offset = last + 1;
        read.extend(batches);
    }
    read
}

fn all(batches: i64) -> Vec<(i64, i64)> {
    (0..batches).map(|i| (3 * i, 3 * i + 2)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_merged_run_is_read_from_any_offset() {
    let bed = Bed::new().await;
    let id = filled(&bed, 12).await;
    let extent = bed.merge(id, |_| true).await;
    assert!(has_pieces(&extent));
    for offset in 0..36 {
        let first = usize::try_from(offset / 3).unwrap();
        let read = read_on(&bed, id, offset, 36).await;
        assert_eq!(read, all(12)[first..], "from {offset}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_merged_run_takes_one_get_per_unit() {
    let bed = Bed::new().await;
    let id = filled(&bed, 30).await;
    let extent = bed.merge(id, |_| true).await;
    let units = (extent.run_position + u64::from(extent.run_bytes)).div_ceil(4 << 20);
    assert_eq!(units, 3);
    assert_eq!(read_on(&bed, id, 0, 90).await, all(30));
    assert_eq!(bed.faults.counts().requests, units);
}

#[tokio::test(start_paused = true)]
async fn offsets_that_were_compacted_away_are_passed() {
    let bed = Bed::new().await;
    let id = filled(&bed, 24).await;
    bed.merge(id, |base| base % 4 == 3).await;
    let kept: Vec<(i64, i64)> = all(24).into_iter().filter(|(b, _)| b % 4 == 3).collect();
    let end = kept.last().unwrap().1 + 1;
    assert_eq!(read_on(&bed, id, 0, end).await, kept);
    let from_gap = read_on(&bed, id, 20, end).await;
    assert_eq!(from_gap, kept[2..]);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_merged_run_is_read_behind_all_of_it() {
    let bed = Bed::new().await;
    let id = filled(&bed, 12).await;
    bed.merge(id, |_| true).await;
    for _ in 0..4 {
        bed.append_one(id, batch_of(3, 10)).await;
    }
    bed.settle().await;
    assert_eq!(read_on(&bed, id, 0, 48).await, all(16));
}

#[tokio::test(start_paused = true)]
async fn a_read_of_committed_records_is_the_same() {
    let bed = Bed::new().await;
    let id = filled(&bed, 12).await;
    bed.merge(id, |_| true).await;
    let request = request(&[(id, 10)])
        .with_max_wait_ms(0)
        .with_isolation_level(1);
    let response = bed.fetch(17, request).await;
    let answer = &response.responses[0].partitions[0];
    assert_eq!(answer.error_code, 0);
    assert_eq!(ranges(answer)[0], (9, 11));
}

#[tokio::test(start_paused = true)]
async fn records_of_a_merged_run_are_found_by_timestamp() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    let value = "v".repeat(400_000);
    for i in 0..12 {
        // The largest one is in the middle.
        let late = if i == 5 { 9_000 } else { 100 * i };
        let records = [(100 * i, value.as_str()), (late, "x")];
        bed.append_one(id, batch(Codec::None, &records)).await;
    }
    bed.settle().await;
    let extent = bed.merge(id, |_| true).await;
    assert!(has_pieces(&extent));
    for (timestamp, found) in [
        (0, (0, 0, 0)),
        (1, (0, 100, 2)),
        (400, (0, 400, 8)),
        (450, (0, 500, 10)),
        (501, (0, 9_000, 11)),
        (9_000, (0, 9_000, 11)),
        (9_001, (0, -1, -1)),
        (-3, (0, 9_000, 11)),
    ] {
        assert_eq!(bed.list_offset("t", timestamp).await, found, "{timestamp}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_extents_from_before_a_merge_locates_again() {
    let bed = Bed::new().await;
    let id = filled(&bed, 12).await;
    let stale = bed.located(id).await;
    bed.view.keep_extents(id, Offset(0), &stale);
    bed.merge(id, |_| true).await;
    assert_eq!(read_on(&bed, id, 0, 36).await, all(12));
    assert!(bed.locates() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_index_is_in_memory_is_located_again_once_its_object_has_gone() {
    let settings = FetchSettings {
        // No unit fits.
        cache: CacheSettings {
            bytes_max: 1_000_000,
            ..CacheSettings::default()
        },
        ..FetchSettings::default()
    };
    let bed = Bed::with(settings).await;
    let id = filled(&bed, 12).await;
    bed.merge(id, |_| true).await;
    assert_eq!(read_on(&bed, id, 0, 36).await, all(12));
    let located = bed.locates();
    bed.move_merged(id).await;
    assert_eq!(read_on(&bed, id, 0, 36).await, all(12));
    assert!(bed.locates() > located);
}

/// Damages a byte of the run, `from_end` before its end.
async fn damage(bed: &Bed, extent: &Extent, from_end: u64) -> (String, Bytes) {
    let key = object_key(bed.cluster(), &extent.object);
    let good = bed.memory.get(&key).await.unwrap();
    let at = extent.run_position + u64::from(extent.run_bytes) - from_end;
    let mut bad = good.to_vec();
    bad[usize::try_from(at).unwrap()] ^= 0x10;
    let bad = vec![Bytes::from(bad)];
    bed.memory.put(&key, bad, PutMode::Overwrite).await.unwrap();
    (key, good)
}

#[tokio::test(start_paused = true)]
async fn a_damaged_index_is_an_error_and_heals() {
    for from_end in [1, 3, 5, 40] {
        let bed = Bed::new().await;
        let id = filled(&bed, 8).await;
        let extent = bed.merge(id, |_| true).await;
        let (key, good) = damage(&bed, &extent, from_end).await;
        assert_eq!(bed.fetch_at(id, 0).await.error_code, 56, "{from_end}");
        bed.memory
            .put(&key, vec![good], PutMode::Overwrite)
            .await
            .unwrap();
        assert_eq!(read_on(&bed, id, 0, 24).await, all(8), "{from_end}");
    }
}

#[tokio::test(start_paused = true)]
async fn small_merged_runs_are_read_whole() {
    let bed = Bed::new().await;
    let id = filled(&bed, 3).await;
    let extent = bed.merge(id, |_| true).await;
    assert!(!has_pieces(&extent) && extent.run_bytes < WHOLE_RUN_BYTES);
    assert_eq!(read_on(&bed, id, 0, 9).await, all(3));
    assert_eq!(bed.faults.counts().requests, 1);
}
