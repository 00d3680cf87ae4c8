//! A compactor without bytes: asks for inputs, and swaps what it would have made of them.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    ids::{LeaderTerm, ObjectId, ObjectLevel, Offset, PartitionId},
    limits::{JOB_OBJECTS_MAX, SWAP_RANGES_MAX},
};
use aquifer_metadata_api::{
    extent::Extent,
    upkeep::{
        Clean, Inputs, InputsRequest, JobKind, JobToken, MergeRange, MergedExtent, SwapObject,
        SwapRange, SwapRequest, WorkerId,
    },
};

use super::world::World;
use crate::state::{State, budget, extents::Chunk};

pub(crate) const TOKEN: JobToken = JobToken {
    term: LeaderTerm(1),
    number: 1,
};

/// The oldest small objects but for `skip`.
pub(crate) fn small_job(state: &State, skip: usize) -> JobKind {
    let objects = state.small_objects().skip(skip).take(JOB_OBJECTS_MAX);
    JobKind::MergeObjects {
        objects: objects.map(|(id, bytes, _)| (id, bytes)).collect(),
        object_bytes: 1 << 30,
    }
}

/// The first merged extents of each partition, up to `count` neighbours.
pub(crate) fn ranges_job(state: &State, count: usize) -> JobKind {
    let mut ranges: Vec<MergeRange> = Vec::new();
    for partition in state.planned_partitions(None) {
        let merged = |level: ObjectLevel| level != ObjectLevel::L0;
        let extents = partition.extents();
        let run: Vec<_> = extents
            .skip_while(|extent| !merged(extent.object.level))
            .take_while(|extent| merged(extent.object.level))
            .take(count)
            .collect();
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            ranges.push(MergeRange {
                partition: partition.id,
                from: first.base_offset,
                to: last.end_offset,
                run_bytes_max: 1 << 29,
            });
        }
    }
    ranges.sort_by_key(|range| range.partition);
    JobKind::MergeRanges {
        ranges,
        object_bytes: 1 << 30,
    }
}

/// All that is merged of a partition, up to the first extent that is not.
pub(crate) fn clean_job(state: &State, id: PartitionId) -> Option<JobKind> {
    let mut partitions = state.planned_partitions(None);
    let partition = partitions.find(|partition| partition.id == id)?;
    let merged = partition.extents();
    let merged: Vec<_> = merged
        .take_while(|extent| extent.object.level != ObjectLevel::L0)
        .collect();
    let (first, last) = (merged.first()?, merged.last()?);
    Some(JobKind::Clean(Clean {
        partition: id,
        from: first.base_offset,
        first_dirty: partition.cleaned_through().max(first.base_offset),
        to: last.end_offset,
        delete_retention_ms: 0,
        now_ms: 0,
        run_bytes_max: 1 << 29,
    }))
}

/// Inputs of a job in all partitions, answer by answer.
pub(crate) fn inputs(state: &State, kind: &JobKind) -> Vec<Inputs> {
    let ids: BTreeSet<PartitionId> = state.planned_partitions(None).map(|p| p.id).collect();
    let mut wanted: Vec<(PartitionId, Offset)> =
        ids.into_iter().map(|id| (id, Offset(0))).collect();
    let mut found: BTreeMap<PartitionId, Inputs> = BTreeMap::new();
    loop {
        let request = InputsRequest {
            token: TOKEN,
            partitions: wanted.clone(),
        };
        let reply = state.job_inputs(kind, &request);
        for inputs in reply.partitions {
            assert_eq!(inputs.extents.len(), inputs.breaks.len());
            if let Some(known) = found.get_mut(&inputs.partition) {
                known.extents.extend(inputs.extents);
                known.breaks.extend(inputs.breaks);
            } else {
                found.insert(inputs.partition, inputs);
            }
        }
        let Some(next) = reply.next else {
            return found.into_values().collect();
        };
        assert_ne!(wanted.first(), Some(&next), "it gets on");
        wanted.retain(|(id, _)| *id >= next.0);
        wanted[0] = next;
    }
}

/// Neighbours of a partition that become one range.
pub(crate) fn ranges(inputs: &Inputs) -> Vec<Vec<Extent>> {
    let mut ranges: Vec<Vec<Extent>> = Vec::new();
    for (extent, begins) in inputs.extents.iter().zip(&inputs.breaks) {
        match ranges.last_mut() {
            Some(range) if !begins => range.push(*extent),
            _ => ranges.push(vec![*extent]),
        }
    }
    ranges
}

/// What a job comes to: an object with a run for each range, in order of partitions. A clean leaves nothing of a
/// range's first extent, where there are others.
pub(crate) fn request(world: &World, kind: &JobKind) -> SwapRequest {
    request_of(world, kind, usize::MAX)
}

/// The same with at most so many extents in a range.
pub(crate) fn request_of(world: &World, kind: &JobKind, extents_max: usize) -> SwapRequest {
    let object = world.merged_object(kind.level().unwrap());
    let cleans = matches!(kind, JobKind::Clean(_));
    let mut read: BTreeSet<ObjectId> = BTreeSet::new();
    let (mut swapped, mut position) = (Vec::new(), 8u64);
    for partition in inputs(&world.state, kind) {
        let all = ranges(&partition);
        for range in all.iter().flat_map(|range| range.chunks(extents_max)) {
            read.extend(range.iter().map(|extent| extent.object));
            let kept = match range {
                [_, rest @ ..] if cleans && !rest.is_empty() => rest,
                all => all,
            };
            let extent = run(kept, position);
            position += u64::from(extent.run_bytes);
            swapped.push(SwapRange {
                partition: partition.partition,
                from: range[0].base_offset,
                to: extent.end_offset,
                extents: vec![extent],
                cleaned_through: cleans.then_some(extent.end_offset),
            });
        }
    }
    swapped.truncate(SWAP_RANGES_MAX);
    SwapRequest {
        worker: WorkerId(7),
        token: TOKEN,
        objects: vec![SwapObject {
            id: object,
            bytes: position,
            locations: vec![0],
        }],
        inputs: read.into_iter().take(JOB_OBJECTS_MAX).collect(),
        ranges: swapped,
    }
}

/// The run that these extents make.
pub(crate) fn run(extents: &[Extent], run_position: u64) -> MergedExtent {
    let (first, last) = (extents.first().unwrap(), extents.last().unwrap());
    let raw_bytes: u32 = extents.iter().map(|extent| extent.raw_bytes).sum();
    MergedExtent {
        object: 0,
        run_position,
        run_bytes: raw_bytes + 20,
        raw_bytes,
        base_offset: first.base_offset,
        end_offset: last.end_offset,
        max_timestamp: extents.iter().map(|e| e.max_timestamp).max().unwrap(),
    }
}

/// What holds in every state that decisions led to.
#[track_caller]
pub(crate) fn assert_sound(state: &State) {
    let mut references: BTreeMap<ObjectId, u32> = BTreeMap::new();
    let mut count = 0u64;
    for topic in state.topics.values().chain(state.trash.values()) {
        for partition in &topic.partitions {
            let log = &partition.extents;
            let merged = log.merged();
            assert!(merged.is_sorted_by(|a, b| a.first < b.first));
            let begin = |chunk: &Chunk| chunk.extents.first().map(|e| e.base_offset);
            assert!(merged.is_sorted_by(|a, b| Some(a.end()) <= begin(b)));
            let all: Vec<_> = log.iter().collect();
            assert!(all.is_sorted_by(|a, b| a.end() <= b.base_offset), "{all:?}");
            let chunks = || log.chunks.iter().chain(merged);
            assert!(chunks().all(|chunk| !chunk.extents.is_empty()));
            assert!(merged.iter().all(|chunk| chunk.dropped == 0));
            let raw: u64 = all.iter().map(|extent| u64::from(extent.raw_bytes)).sum();
            assert_eq!(log.raw_bytes(), raw);
            for extent in all {
                count += 1;
                let object = state.objects.id(extent.object).unwrap();
                *references.entry(object).or_default() += 1;
            }
            for hold in partition.holds() {
                let object = state.objects.id(hold.object).unwrap();
                *references.entry(object).or_default() += 1;
            }
        }
    }
    let objects = state.objects.iter();
    let known: BTreeMap<ObjectId, u32> = objects.map(|(id, _, count)| (id, count)).collect();
    assert_eq!(known, references);
    let objects = u64::try_from(known.len()).unwrap();
    let bytes = count * budget::EXTENT_BYTES + objects * budget::OBJECT_BYTES;
    assert_eq!(state.usage().extent_bytes, bytes);
    let both = known.keys().find(|id| state.released.contains(id));
    assert_eq!(both, None, "what is released is not live");
}
