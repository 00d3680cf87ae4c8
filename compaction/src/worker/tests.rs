//! Workers beside a real leader, an agent and a bucket in memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::{
    codec::Codec,
    ids::{ObjectId, ObjectLevel, Offset, PartitionId},
    limits::COMMIT_AGE_EPOCHS_MAX,
};
use aquifer_metadata::planner::PlannerSettings;
use aquifer_metadata_api::{
    commit::BatchOutcome,
    extent::Extent,
    upkeep::{Inputs, ListedObject, Upkeep},
};
use aquifer_store::{ObjectStore, PutMode};
use bytes::Bytes;
use tokio::sync::Notify;

use self::{
    bed::{Bed, Read, partition, plain, random, sequenced},
    gate::Gate,
    probe::Stop,
};
use super::{JobError, Worker, WorkerSettings};

mod bed;
mod gate;
mod probe;

/// Merges a few objects as soon as there are so many.
fn eager(objects: usize) -> PlannerSettings {
    PlannerSettings {
        small_objects: objects,
        small_objects_min: objects,
        ..PlannerSettings::default()
    }
}

async fn logs(bed: &Bed, partitions: &[PartitionId]) -> BTreeMap<PartitionId, Vec<Read>> {
    let mut logs = BTreeMap::new();
    for partition in partitions {
        logs.insert(*partition, bed.log(*partition).await);
    }
    logs
}

async fn extents(bed: &Bed, partitions: &[PartitionId]) -> Vec<Extent> {
    let mut all = Vec::new();
    for partition in partitions {
        all.extend(bed.extents(*partition).await);
    }
    all
}

/// Objects of this level with live extents.
async fn live(bed: &Bed, level: ObjectLevel) -> Vec<ObjectId> {
    let objects = bed.objects().await.into_iter();
    objects
        .filter(|object| object.released_in.is_none() && object.id.level == level)
        .map(|object| object.id)
        .collect()
}

/// So many objects of one partition of plain batches.
async fn small_objects(bed: &mut Bed, objects: u64) -> PartitionId {
    let topic = bed.topic("plain", 1, &[]).await;
    let id = partition(topic, 0);
    for seed in 0..objects {
        bed.write(vec![(id, vec![plain(Codec::None, 3, seed)])])
            .await;
    }
    id
}

#[tokio::test(start_paused = true)]
async fn merged_objects_read_as_the_small_ones_did() {
    let mut bed = Bed::new(PlannerSettings::default()).await;
    let by_producers = bed.topic("by-producers", 4, &[]).await;
    let by_broker = [("message.timestamp.type", "LogAppendTime")];
    let by_broker = bed.topic("by-broker", 1, &by_broker).await;
    let mut ids: Vec<PartitionId> = (0..4).map(|index| partition(by_producers, index)).collect();
    ids.push(partition(by_broker, 0));
    ids.sort_unstable();
    let codecs = [Codec::None, Codec::Zstd, Codec::Lz4, Codec::Gzip];
    let mut held = 0;
    for seed in 0..130u64 {
        let codec = codecs[usize::try_from(seed % 4).unwrap()];
        let mut runs: Vec<(PartitionId, Vec<_>)> = Vec::new();
        for (place, id) in (0u64..).zip(&ids) {
            if place > 0 && (seed + place).is_multiple_of(3) {
                continue;
            }
            let mut batches = vec![plain(codec, 1 + seed % 5, seed)];
            if place == 0 && seed < 40 {
                // One is sent twice, and each third comes before the second.
                let step = i32::try_from(seed / 3).unwrap() * 9;
                let first = [step, step + 6, step + 3][usize::try_from(seed % 3).unwrap()];
                batches.insert(0, sequenced(7, first, 3));
                batches.push(sequenced(7, first, 3));
            }
            runs.push((*id, batches));
        }
        let outcomes = bed.write(runs).await;
        held += outcomes
            .iter()
            .filter(|outcome| **outcome == BatchOutcome::Held)
            .count();
    }
    assert!(held > 0, "nothing was held");
    let before = logs(&bed, &ids).await;
    let extents_before = extents(&bed, &ids).await.len();
    let small = live(&bed, ObjectLevel::L0).await;
    assert_eq!(small.len(), 130);
    bed.store.watch(None);

    assert!(bed.settle().await >= 1);

    for object in &small {
        let gets = bed.store.gets(&bed.key(object));
        assert!(gets.len() <= 1, "{object:?} was read {} times", gets.len());
    }
    assert!(!live(&bed, ObjectLevel::L1).await.is_empty());
    assert!(live(&bed, ObjectLevel::L0).await.len() <= 2);
    assert!(extents(&bed, &ids).await.len() < extents_before / 5);
    assert!(before == logs(&bed, &ids).await, "readers see another log");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_input_is_never_swapped() {
    for damage in [Damage::Flip, Damage::Cut, Damage::Gone] {
        let mut bed = Bed::new(eager(8)).await;
        let id = small_objects(&mut bed, 8).await;
        let before = bed.extents(id).await;
        let key = bed.key(&before[3].object);
        let mut bytes = bed.store.get(&key).await.unwrap().to_vec();
        match damage {
            // within the first block
            Damage::Flip => bytes[40] ^= 1,
            Damage::Cut => bytes.truncate(bytes.len() - 7),
            Damage::Gone => bed.store.delete(std::slice::from_ref(&key)).await.unwrap(),
        }
        if damage != Damage::Gone {
            let payload = vec![Bytes::from(bytes)];
            let put = bed.store.put(&key, payload, PutMode::Overwrite).await;
            put.unwrap();
        }
        let worker = bed.worker(&bed.ports, WorkerSettings::default());
        let mut failed = None;
        for _ in 0..90 {
            match worker.run_once().await {
                Ok(true) => panic!("{damage:?}: a job was done"),
                Ok(false) => bed.ports.sleep(Duration::from_secs(1)).await,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        match failed {
            Some(JobError::Damaged { .. }) if damage != Damage::Gone => {}
            Some(JobError::Get { .. }) if damage == Damage::Gone => {}
            failed => panic!("{damage:?}: {failed:?}"),
        }
        assert_eq!(bed.extents(id).await, before, "{damage:?}");
        assert!(live(&bed, ObjectLevel::L1).await.is_empty(), "{damage:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Flip,
    Cut,
    Gone,
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_die_at_any_call_of_the_bucket() {
    for call in 0..12 {
        let mut bed = Bed::new(eager(8)).await;
        let id = small_objects(&mut bed, 8).await;
        let before = bed.log(id).await;
        let node = bed.ports.another_node();
        let kill = Stop::Kill(node.tasks.clone());
        bed.store.watch(Some((call, kill)));
        bed.worker(&node, WorkerSettings::default()).start();
        bed.ports.sleep(Duration::from_secs(60)).await;
        assert!(call > 8 || bed.store.is_stopped(), "call {call}");
        node.tasks.kill();
        bed.store.watch(None);
        // The lease of the dead one ends before anybody else gets its job.
        bed.ports.sleep(Duration::from_secs(60)).await;
        bed.settle().await;
        assert!(before == bed.log(id).await, "call {call}: another log");
        assert!(live(&bed, ObjectLevel::L0).await.is_empty(), "call {call}");
        assert_eq!(live(&bed, ObjectLevel::L1).await.len(), 1, "call {call}");
    }
}

/// It is stopped for longer than its lease right before it swaps, and another one gets its job.
#[tokio::test(start_paused = true)]
async fn of_a_stopped_worker_and_its_successor_one_swaps() {
    let mut bed = Bed::new(eager(8)).await;
    let id = small_objects(&mut bed, 8).await;
    let before = bed.log(id).await;
    let go = Arc::new(Notify::new());
    // The eighth GET was the last; what comes then is the output.
    bed.store.watch(Some((8, Stop::Wait(Arc::clone(&go)))));
    let (opens, gate) = Gate::new(Arc::clone(&bed.metadata) as Arc<dyn Upkeep>);
    let stopped = Worker::new(
        Arc::clone(&bed.store) as Arc<dyn ObjectStore>,
        gate,
        bed.ports.another_node(),
        WorkerSettings::default(),
    );
    let meanwhile = async {
        bed.ports.sleep(Duration::from_secs(1)).await;
        assert!(bed.store.is_stopped());
        opens.send_replace(false);
        go.notify_one();
        bed.ports.sleep(Duration::from_secs(1)).await;
        let written = listed(&bed).await;
        assert_eq!(written.len(), 9, "eight inputs and an output");
        bed.ports.sleep(Duration::from_secs(60)).await;
        bed.settle().await;
        let successor = live(&bed, ObjectLevel::L1).await;
        assert_eq!(successor.len(), 1);
        opens.send_replace(true);
        (written, successor)
    };
    let (ended, (written, successor)) = tokio::join!(stopped.run_once(), meanwhile);
    assert!(matches!(ended, Err(JobError::Lost)), "{ended:?}");

    bed.settle().await;
    assert_eq!(live(&bed, ObjectLevel::L1).await, successor);
    assert!(before == bed.log(id).await, "another log");
    // What it wrote is nobody's: the sweeper's, by its upload epoch.
    let key = |object: &ListedObject| bed.key(&object.id);
    let known: Vec<String> = bed.objects().await.iter().map(key).collect();
    let left = listed(&bed).await;
    let orphans: Vec<_> = left.iter().filter(|key| !known.contains(key)).collect();
    assert_eq!(orphans.len(), 1, "{orphans:?}");
    assert!(written.contains(orphans[0]));
}

async fn listed(bed: &Bed) -> Vec<String> {
    let all = bed.store.list("", None, 1_000).await.expect("a list");
    all.into_iter().map(|object| object.key).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_while_it_is_merged_stays_deleted() {
    let mut bed = Bed::new(eager(8)).await;
    let kept = partition(bed.topic("kept", 1, &[]).await, 0);
    let gone = partition(bed.topic("gone", 1, &[]).await, 0);
    for seed in 0..8 {
        let mut runs = vec![
            (kept, vec![plain(Codec::None, 3, seed)]),
            (gone, vec![plain(Codec::None, 3, seed)]),
        ];
        runs.sort_unstable_by_key(|run| run.0);
        bed.write(runs).await;
    }
    let before = bed.log(kept).await;
    let node = bed.ports.another_node();
    let go = Arc::new(Notify::new());
    // The eighth GET was the last; what comes then is the output.
    bed.store.watch(Some((8, Stop::Wait(Arc::clone(&go)))));
    bed.worker(&node, WorkerSettings::default()).start();
    bed.ports.sleep(Duration::from_secs(60)).await;
    assert!(bed.store.is_stopped());
    bed.delete_topic("gone").await;
    bed.delete_records("kept", 0, 10).await;
    go.notify_one();
    bed.ports.sleep(Duration::from_secs(60)).await;
    node.tasks.kill();

    assert!(bed.log(gone).await.is_empty());
    let located = bed.located(kept, Offset(0)).await.unwrap();
    assert_eq!(located.watermarks.log_start, Offset(10));
    // One run from the first record on: it has what lies before the log start, which nobody is shown.
    let merged = bed.extents(kept).await;
    assert_eq!(merged.len(), 1, "{merged:?}");
    assert_eq!(merged[0].object.level, ObjectLevel::L1);
    assert_eq!(merged[0].end_offset, Offset(24));
    let after = bed.log(kept).await;
    assert!(after.ends_with(&before[3..]), "another log");
}

#[tokio::test(start_paused = true)]
async fn released_objects_are_deleted_once_nobody_can_read_them() {
    let mut bed = Bed::new(eager(8)).await;
    let id = small_objects(&mut bed, 8).await;
    let small: Vec<String> = live(&bed, ObjectLevel::L0)
        .await
        .iter()
        .map(|object| bed.key(object))
        .collect();
    bed.settle().await;
    for key in &small {
        assert!(bed.store.head(key).await.is_ok(), "{key} went at once");
    }
    let minutes = u64::from(COMMIT_AGE_EPOCHS_MAX) + 10;
    bed.ports.sleep(Duration::from_secs(60 * minutes)).await;
    bed.settle().await;
    for key in &small {
        assert!(bed.store.head(key).await.is_err(), "{key} is left");
    }
    assert_eq!(bed.objects().await.len(), 1);
    assert_eq!(bed.log(id).await.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_large_run_is_read_once_and_in_windows() {
    let mut bed = Bed::new(PlannerSettings::default()).await;
    let id = partition(bed.topic("large", 1, &[]).await, 0);
    let batches: Vec<_> = (0..24).map(|seed| random(700_000, seed)).collect();
    bed.write(vec![(id, batches)]).await;
    let extents = bed.extents(id).await;
    let located = bed.located(id, Offset(0)).await.unwrap();
    let inputs = Inputs {
        partition: id,
        watermarks: located.watermarks,
        extents: extents.clone(),
        breaks: vec![true],
        last_records: Vec::new(),
    };
    bed.store.watch(None);
    let source = bed.source(16 << 20).await;
    let mut run = source.run(&inputs, &extents);
    let mut offset = 0;
    while let Some(batch) = run.next().await.unwrap() {
        assert_eq!(batch.base_offset, Offset(offset));
        offset += 1;
    }
    assert_eq!(offset, 24);
    let gets = bed.store.gets(&bed.key(&extents[0].object));
    let read: u64 = gets.iter().map(|range| range.end - range.start).sum();
    assert_eq!(read, u64::from(extents[0].run_bytes), "{gets:?}");
    assert!(gets.len() <= 16, "{gets:?}");
    // A window, and the part of a block that was left of the one before.
    assert!(source.peak_bytes() <= 4 << 20, "{}", source.peak_bytes());
}
