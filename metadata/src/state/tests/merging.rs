//! Swaps: what becomes of each range, and of the log.

use aquifer_format::{
    ids::{ObjectLevel, Offset, PartitionId, PartitionIndex, UploadEpoch, WriterSlot},
    limits::{
        COMMIT_AGE_EPOCHS_MAX, JOB_EXTENTS_MAX, JOB_OBJECTS_MAX, MERGED_PAGE_EXTENTS,
        MERGED_PAGE_EXTENTS_MAX,
    },
};
use aquifer_metadata_api::{
    extent::Extent,
    locate::{OffsetSpec, OffsetsRequest},
    upkeep::{
        InputsRequest, JobKind, ListedObject, ObjectsRequest,
        RangeOutcome::{self, Changed, Done, Gone, TooOld, Useless},
        SwapRequest,
    },
};

use super::{
    merger::{self, TOKEN, assert_sound, ranges_job, request, request_of, small_job},
    world::{Log, batch, plain},
};
use crate::{
    event::Event,
    state::{Budgets, State, decide},
};

/// A log of so many extents of ten records, each in an object of its own.
fn log(extents: usize) -> Log {
    let mut log = Log::empty();
    for _ in 0..extents {
        log.send(plain(10));
    }
    log
}

fn extents(log: &Log) -> Vec<Extent> {
    let extents = log.world.state.extents(log.partition, Offset(0));
    extents.collect()
}

/// Base and end offsets, and levels.
fn shape(log: &Log) -> Vec<(i64, i64, u8)> {
    let level = |extent: &Extent| match extent.object.level {
        ObjectLevel::L0 => 0,
        ObjectLevel::L1 => 1,
        ObjectLevel::L2 => 2,
    };
    let shape = |e: &Extent| (e.base_offset.0, e.end_offset.0, level(e));
    extents(log).iter().map(shape).collect()
}

fn released(log: &Log) -> usize {
    log.world.state.released().count()
}

/// Merges the small objects but for `skip`, at most `count` of them.
fn small(log: &Log, skip: usize, count: usize) -> SwapRequest {
    let JobKind::MergeObjects {
        mut objects,
        object_bytes,
    } = small_job(&log.world.state, skip)
    else {
        panic!("it merges objects");
    };
    objects.truncate(count);
    let job = JobKind::MergeObjects {
        objects,
        object_bytes,
    };
    request(&log.world, &job)
}

#[track_caller]
fn swap(log: &mut Log, request: &SwapRequest, expected: &[RangeOutcome]) {
    assert_eq!(log.world.swap(request), expected);
    assert_sound(&log.world.state);
    let pages = log.world.state.all_pages();
    let loaded = State::from_pages(Budgets::default(), &pages).unwrap();
    assert!(loaded == log.world.state);
}

#[test]
fn extents_of_merged_objects_take_the_place_of_small_ones() {
    let mut log = log(4);
    let request = small(&log, 0, 3);
    swap(&mut log, &request, &[Done]);
    assert_eq!(shape(&log), [(0, 30, 1), (30, 40, 0)]);
    assert_eq!(released(&log), 3);
    // again, since the answer was lost
    let decided = decide::swap(&log.world.state, &request).unwrap();
    assert_eq!(
        (decided.reply.outcomes, decided.events),
        (vec![Done], vec![])
    );
    // what comes later lies behind it
    log.send(plain(10));
    assert_eq!(shape(&log).last(), Some(&(40, 50, 0)));
}

#[test]
fn swaps_may_come_in_any_order() {
    let mut log = log(9);
    let requests = [small(&log, 0, 3), small(&log, 3, 3), small(&log, 6, 3)];
    for at in [1, 2, 0] {
        swap(&mut log, &requests[at], &[Done]);
        log.send(plain(10));
    }
    let expected = [(0, 30, 1), (30, 60, 1), (60, 90, 1)];
    assert_eq!(shape(&log)[..3], expected);
    let all = request(&log.world, &ranges_job(&log.world.state, 3));
    swap(&mut log, &all, &[Done]);
    assert_eq!(shape(&log)[0], (0, 90, 2));
    assert_eq!(shape(&log)[1..].len(), 3);
}

#[test]
fn of_two_workers_with_the_same_inputs_the_first_one_swaps() {
    let mut log = log(4);
    let (one, other) = (small(&log, 0, 4), small(&log, 1, 2));
    swap(&mut log, &other, &[Done]);
    swap(&mut log, &one, &[Changed]);
    assert_eq!(shape(&log), [(0, 10, 0), (10, 30, 1), (30, 40, 0)]);
}

#[test]
fn a_log_start_that_moved_meanwhile_cuts_off_what_it_does() {
    for (offset, outcome, left) in [
        (5, Done, vec![(0, 20, 1), (20, 40, 1)]),
        (15, Done, vec![(0, 20, 1), (20, 40, 1)]),
        (20, Done, vec![(20, 40, 1)]),
        (35, Done, vec![(20, 40, 1)]),
        (40, Gone, vec![]),
    ] {
        let mut log = log(4);
        let mut request = request_of(&log.world, &small_job(&log.world.state, 0), 2);
        // one range with two outputs
        let second = request.ranges.remove(1);
        request.ranges[0].to = second.to;
        request.ranges[0].extents.extend(second.extents);
        assert_eq!(log.world.delete_records("log", 0, offset), (0, offset));
        swap(&mut log, &request, &[outcome]);
        assert_eq!(shape(&log), left, "{offset}");
        assert_eq!(released(&log), 4, "{offset}");
    }
}

#[test]
fn what_a_swap_comes_to() {
    type Case = (&'static str, fn(&mut Log, &mut SwapRequest), RangeOutcome);
    let cases: [Case; 9] = [
        ("nothing", |_, _| {}, Done),
        (
            "topic_purged",
            |log, _| {
                log.world.delete("log");
            },
            Gone,
        ),
        (
            "topic_in_trash",
            |log, _| {
                log.world.trash("log");
            },
            Done,
        ),
        (
            "other_partition",
            |_, request| request.ranges[0].partition.partition = PartitionIndex(9),
            Gone,
        ),
        (
            "input_not_named",
            |_, request| {
                request.inputs.remove(1);
            },
            Changed,
        ),
        (
            "range_begins_within_an_extent",
            |_, request| {
                request.ranges[0].from = Offset(5);
                request.ranges[0].extents[0].base_offset = Offset(5);
            },
            Changed,
        ),
        (
            "range_ends_within_an_extent",
            |_, request| {
                request.ranges[0].to = Offset(35);
                request.ranges[0].extents[0].end_offset = Offset(35);
            },
            Changed,
        ),
        (
            "too_old",
            |log, _| log.world.advance(COMMIT_AGE_EPOCHS_MAX),
            TooOld,
        ),
        (
            "more_than_there_was",
            |_, request| {
                let extent = request.ranges[0].extents[0];
                let of = |at: i64| {
                    let mut extent = extent;
                    extent.base_offset = Offset(at * 8);
                    extent.end_offset = Offset(at * 8 + 8);
                    extent
                };
                request.ranges[0].extents = (0..5).map(of).collect();
            },
            Useless,
        ),
    ];
    for (name, change, expected) in cases {
        let mut log = log(4);
        let mut request = small(&log, 0, 4);
        change(&mut log, &mut request);
        let before = log.world.state.fingerprint();
        assert_eq!(log.world.swap(&request), [expected], "{name}");
        assert_sound(&log.world.state);
        let changed = log.world.state.fingerprint() != before;
        assert_eq!(changed, expected == Done, "{name}");
    }
}

#[test]
fn malformed_swaps_are_refused_as_a_whole() {
    let log = log(4);
    let fine = request_of(&log.world, &small_job(&log.world.state, 0), 2);
    type Case = (&'static str, fn(&mut SwapRequest));
    let cases: [Case; 14] = [
        ("ranges_overlap", |r| r.ranges[0].to = Offset(21)),
        ("ranges_turned", |r| r.ranges.reverse()),
        ("range_empty", |r| r.ranges[0].to = Offset(0)),
        ("range_negative", |r| r.ranges[0].from = Offset(-1)),
        ("no_extent", |r| r.ranges[0].extents.clear()),
        ("object_unknown", |r| r.ranges[0].extents[0].object = 1),
        ("extent_outside", |r| {
            r.ranges[0].extents[0].end_offset = Offset(21)
        }),
        ("extent_empty", |r| {
            r.ranges[0].extents[0].end_offset = Offset(0)
        }),
        ("cleaned_outside", |r| {
            r.ranges[0].cleaned_through = Some(Offset(21))
        }),
        ("writer", |r| r.objects[0].id.writer = WriterSlot(0)),
        ("level", |r| r.objects[0].id.level = ObjectLevel::L0),
        ("epoch", |r| r.objects[0].id.upload_epoch = UploadEpoch(99)),
        ("twice", |r| r.objects.push(r.objects[0].clone())),
        ("inputs_turned", |r| r.inputs.reverse()),
    ];
    for (name, change) in cases {
        let mut request = fine.clone();
        change(&mut request);
        let refused = decide::swap(&log.world.state, &request);
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    assert_eq!(
        decide::swap(&log.world.state, &fine).unwrap().events.len(),
        2
    );
}

#[test]
fn merges_that_shrink_nothing_are_not_made() {
    let mut log = log(2);
    let one = small(&log, 0, 1);
    swap(&mut log, &one, &[Done]);
    assert_eq!(released(&log), 1, "its small object can go");
    let again = request(&log.world, &ranges_job(&log.world.state, 1));
    swap(&mut log, &again, &[Useless]);
    let other = small(&log, 0, 1);
    swap(&mut log, &other, &[Done]);
    let two = request(&log.world, &ranges_job(&log.world.state, 2));
    swap(&mut log, &two, &[Done]);
    assert_eq!(shape(&log), [(0, 20, 2)]);
}

#[test]
fn a_held_batch_keeps_its_object_when_the_rest_is_merged() {
    let mut log = Log::used();
    log.send_run(vec![plain(1), batch(0, 5, 1)]);
    let request = small(&log, 0, 2);
    swap(&mut log, &request, &[Done]);
    assert_eq!(released(&log), 1);
    assert_eq!(log.world.state.held().count(), 1);
    let held = log.world.state.held().next().unwrap().batch;
    log.release(held);
    assert_eq!(shape(&log), [(0, 101, 1), (101, 102, 0)]);
    assert_sound(&log.world.state);
}

#[test]
fn a_clean_counts_only_if_nothing_before_it_was_left_out() {
    let mut log = log(6);
    let merge = request_of(&log.world, &small_job(&log.world.state, 0), 2);
    swap(&mut log, &merge, &[Done, Done, Done]);
    let job = merger::clean_job(&log.world.state, log.partition).unwrap();
    let mut parts = request_of(&log.world, &job, 1);
    let cleaned = |log: &Log| {
        let partition = log.world.state.partition(log.partition).unwrap();
        partition.cleaned_through
    };
    let first = parts.ranges.remove(0);
    swap(&mut log, &parts, &[Done, Done]);
    assert_eq!(cleaned(&log), 0, "0..20 is not clean");
    parts.ranges = vec![first];
    parts.objects[0].id = log.world.merged_object(ObjectLevel::L2);
    swap(&mut log, &parts, &[Done]);
    assert_eq!(
        cleaned(&log),
        20,
        "what was cleaned before it is cleaned again"
    );
    let job = merger::clean_job(&log.world.state, log.partition).unwrap();
    let all = request_of(&log.world, &job, 1);
    swap(&mut log, &all, &[Done, Done, Done]);
    assert_eq!(cleaned(&log), 60);
    assert_eq!(log.world.delete_records("log", 0, 60), (0, 60));
    assert_eq!(cleaned(&log), 60);
}

#[test]
fn a_clean_leaves_gaps_that_readers_get_over() {
    let mut log = log(4);
    let merge = request_of(&log.world, &small_job(&log.world.state, 0), 1);
    swap(&mut log, &merge, &[Done; 4]);
    let job = merger::clean_job(&log.world.state, log.partition).unwrap();
    // nothing is left of 0..10 and 20..30
    let clean = request_of(&log.world, &job, 2);
    swap(&mut log, &clean, &[Done, Done]);
    assert_eq!(shape(&log), [(10, 20, 2), (30, 40, 2)]);
    for (from, base) in [(0, 10), (15, 10), (20, 30), (29, 30), (39, 30)] {
        let mut found = log.world.state.extents(log.partition, Offset(from));
        assert_eq!(found.next().unwrap().base_offset.0, base, "{from}");
    }
}

#[test]
fn objects_whose_bytes_are_gone_are_forgotten() {
    let mut log = log(3);
    let request = small(&log, 0, 2);
    swap(&mut log, &request, &[Done]);
    let all: Vec<_> = extents(&log).iter().map(|e| e.object).collect();
    let gone: Vec<_> = request.inputs.iter().chain(&all).copied().collect();
    let decided = decide::delete_objects(&log.world.state, &gone);
    let expected = request.inputs.clone();
    assert_eq!(
        decided.events,
        [Event::ObjectsDeleted { objects: expected }]
    );
    log.world.take(decided.events);
    assert_eq!(released(&log), 0);
    assert_sound(&log.world.state);
    let again = decide::delete_objects(&log.world.state, &gone);
    assert_eq!(again.events, []);
}

#[test]
fn an_output_that_was_released_gets_no_reference_again() {
    let mut log = log(4);
    let mut request = request_of(&log.world, &small_job(&log.world.state, 0), 2);
    let second = request.ranges.remove(1);
    swap(&mut log, &request, &[Done]);
    assert_eq!(log.world.delete_records("log", 0, 20), (0, 20));
    assert_eq!(released(&log), 3, "two inputs, and the output");
    request.ranges = vec![second];
    swap(&mut log, &request, &[Gone]);
}

#[test]
fn inputs_say_where_another_extent_lies_between() {
    let mut log = log(6);
    // the third one is in no job
    let request = small(&log, 2, 1);
    swap(&mut log, &request, &[Done]);
    let job = small_job(&log.world.state, 0);
    let inputs = merger::inputs(&log.world.state, &job);
    let told: Vec<_> = inputs[0].extents.iter().map(|e| e.base_offset.0).collect();
    assert_eq!(told, [0, 10, 30, 40, 50]);
    assert_eq!(inputs[0].breaks, [true, false, true, false, false]);
    let from = |offset| InputsRequest {
        token: TOKEN,
        partitions: vec![(log.partition, Offset(offset))],
    };
    let breaks = |offset| {
        let reply = log.world.state.job_inputs(&job, &from(offset));
        assert_eq!(reply.next, None);
        reply.partitions[0].breaks.clone()
    };
    assert_eq!(
        breaks(20),
        [true, false, false],
        "a merged extent lies at 20..30"
    );
    assert_eq!(breaks(30), [false, false, false]);
    assert_eq!(breaks(60), [false; 0]);
    // of a partition that is not there nothing is told
    let mut gone = from(0);
    gone.partitions[0].0 = PartitionId::new(log.partition.topic, PartitionIndex(4));
    let reply = log.world.state.job_inputs(&job, &gone);
    assert!(reply.partitions.is_empty() && reply.next.is_none());
}

#[test]
fn inputs_come_in_answers_of_bounded_size() {
    const PARTITIONS: i32 = 200;
    let mut log = Log::empty();
    let topic = log.world.create("wide", PARTITIONS);
    let ids = (0..PARTITIONS).map(|index| PartitionId::new(topic, PartitionIndex(index)));
    let runs: Vec<_> = ids.map(|id| (id, vec![plain(1)])).collect();
    // so many that an answer ends within a partition
    let commits = JOB_OBJECTS_MAX - 1;
    for _ in 0..commits {
        let commit = log.world.next_commit(log.session, log.slot, &runs);
        log.world.commit(log.session, &commit);
    }
    let job = small_job(&log.world.state, 0);
    let request = InputsRequest {
        token: TOKEN,
        partitions: runs.iter().map(|(id, _)| (*id, Offset(0))).collect(),
    };
    let first = log.world.state.job_inputs(&job, &request);
    let told: usize = first.partitions.iter().map(|p| p.extents.len()).sum();
    assert_eq!(told, JOB_EXTENTS_MAX);
    assert!(first.next.is_some());
    let mut all = merger::inputs(&log.world.state, &job);
    all.retain(|inputs| inputs.partition.topic == topic);
    assert_eq!(all.len(), runs.len());
    for inputs in all {
        assert_eq!(inputs.extents.len(), commits, "{}", inputs.partition);
        assert_eq!(merger::ranges(&inputs).len(), 1, "nothing lies between");
    }
}

#[test]
fn timestamps_are_looked_for_in_both_kinds_of_extents() {
    let mut log = Log::empty();
    for timestamp in [900, 100, 200, 1_000, 300] {
        let mut batch = plain(1);
        batch.max_timestamp = timestamp;
        log.send(batch);
    }
    let request = small(&log, 1, 2);
    swap(&mut log, &request, &[Done]);
    let found = |log: &Log, spec| {
        let request = OffsetsRequest {
            partitions: vec![(log.partition, spec)],
        };
        let reply = log.world.state.offsets(&request);
        let extent = reply.partitions[0].unwrap().extent;
        extent.map(|extent| extent.base_offset.0)
    };
    for (timestamp, base) in [(0, Some(0)), (901, Some(3)), (1_001, None)] {
        let spec = OffsetSpec::Timestamp(timestamp);
        assert_eq!(found(&log, spec), base, "{timestamp}");
    }
    assert_eq!(found(&log, OffsetSpec::MaxTimestamp), Some(3));
    assert_eq!(log.world.delete_records("log", 0, 1), (0, 1));
    assert_eq!(found(&log, OffsetSpec::Timestamp(150)), Some(1));
    assert_eq!(found(&log, OffsetSpec::Timestamp(201)), Some(3));
}

#[test]
fn objects_are_listed_page_by_page() {
    let mut log = log(5);
    let request = small(&log, 1, 3);
    swap(&mut log, &request, &[Done]);
    let page = |after, limit| {
        let page = log
            .world
            .state
            .objects_page(&ObjectsRequest { after, limit });
        page.unwrap().objects
    };
    let all = page(None, 4_096);
    assert!(all.is_sorted_by(|a, b| a.id < b.id));
    let live = all.iter().filter(|object| object.released_in.is_none());
    let references: Vec<u32> = live.map(|object| object.references).collect();
    assert_eq!((all.len(), references), (6, vec![1, 1, 1]));
    for limit in 1..4 {
        let mut paged = Vec::new();
        while let Some(object) = page(paged.last().map(|o: &ListedObject| o.id), limit).first() {
            paged.push(*object);
        }
        assert_eq!(paged, all, "{limit}");
    }
}

/// Bases of the tail's chunks, and names and sizes of those of merged extents.
fn chunks(state: &State, id: PartitionId) -> (Vec<i64>, Vec<(i64, usize)>) {
    let log = &state.partition(id).unwrap().extents;
    let merged = log.merged().iter();
    (
        log.chunks.iter().map(|chunk| chunk.first).collect(),
        merged
            .map(|chunk| (chunk.first, chunk.extents.len()))
            .collect(),
    )
}

#[test]
fn regression_boundaries_of_tail_chunks_stay_after_swaps() {
    let mut swapped = log(500);
    let request = small(&swapped, 100, 128);
    swap(&mut swapped, &request, &[Done]);
    let mut other = log(500);
    for log in [&mut swapped, &mut other] {
        for _ in 0..600 {
            log.send(plain(10));
        }
    }
    let boundaries = |log: &Log| chunks(&log.world.state, log.partition).0;
    assert_eq!(boundaries(&swapped), [0, 5_120, 10_240]);
    assert_eq!(boundaries(&swapped), boundaries(&other));
    let replayed = replay(&swapped);
    assert!(replayed == swapped.world.state);
}

fn replay(log: &Log) -> State {
    let mut state = State::new(Budgets::default());
    for (seq, row) in (1u64..).zip(&log.world.rows) {
        for event in crate::event::decode_row(row).unwrap() {
            state.apply(aquifer_format::ids::JournalSeq(seq), &event);
        }
    }
    state
}

#[test]
fn regression_names_of_merged_chunks_order_what_they_have() {
    let mut log = log(8);
    // a chunk that begins at 40, and one before it that reaches behind that
    let late = small(&log, 4, 4);
    swap(&mut log, &late, &[Done]);
    log.send(plain(10));
    let early = request_of(&log.world, &small_job(&log.world.state, 0), 1);
    swap(&mut log, &early, &[Done; 5]);
    let mut parts = request(&log.world, &ranges_job(&log.world.state, 5));
    let whole = parts.ranges[0].extents[0];
    let part = |(base, end): (i64, i64)| {
        let mut part = whole;
        part.base_offset = Offset(base);
        part.end_offset = Offset(end);
        part
    };
    parts.ranges[0].extents = [(0, 45), (45, 60), (60, 80)].map(part).to_vec();
    swap(&mut log, &parts, &[Done]);
    assert_eq!(
        shape(&log),
        [(0, 45, 2), (45, 60, 2), (60, 80, 2), (80, 90, 1)]
    );
    let job = merger::clean_job(&log.world.state, log.partition).unwrap();
    let cleans = request_of(&log.world, &job, 1);
    // the one in the middle lies behind 40, and before something that the first chunk has
    for at in [1, 0, 3, 2] {
        let mut one = cleans.clone();
        one.objects[0].id = log.world.merged_object(ObjectLevel::L2);
        one.ranges = vec![cleans.ranges[at].clone()];
        swap(&mut log, &one, &[Done]);
    }
    let (_, merged) = chunks(&log.world.state, log.partition);
    assert!(merged.is_sorted(), "{merged:?}");
}

#[test]
fn pages_of_merged_extents_are_bounded() {
    let mut log = log(MERGED_PAGE_EXTENTS + 40);
    let total = MERGED_PAGE_EXTENTS + 40;
    // one by one, as they come
    while log.world.state.small_objects_count() > 0 {
        let request = request_of(&log.world, &small_job(&log.world.state, 0), 1);
        let outcomes = log.world.swap(&request);
        assert!(outcomes.iter().all(|outcome| *outcome == Done));
    }
    assert_sound(&log.world.state);
    let (_, merged) = chunks(&log.world.state, log.partition);
    assert_eq!(merged.len(), 2, "{merged:?}");
    assert!(
        merged
            .iter()
            .all(|(_, len)| *len <= MERGED_PAGE_EXTENTS_MAX)
    );
    assert_eq!(merged.iter().map(|(_, len)| len).sum::<usize>(), total);
    assert_eq!(merged[0].1, MERGED_PAGE_EXTENTS);
    assert!(replay(&log) == log.world.state);
}
