use aquifer_format::{
    batch::BatchBuilder,
    codec::Codec,
    ids::{ProducerEpoch, Sequence},
};

use super::*;
use crate::clean::{
    FolderSpill, MemorySpill,
    testing::{MemoryLog, MemorySink, Setup, builder, job, plain, read},
};

/// 10 batches of 10 records each in extents of two batches, of these many keys.
fn log_of(keys: i64) -> MemoryLog {
    let batches: Vec<_> = (0..10)
        .map(|i| {
            let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(10 * i));
            for offset in 10 * i..10 * i + 10 {
                let key = format!("key-{}", offset % keys);
                let value = format!("value-{offset}-{}", "x".repeat(50));
                batch.append(offset, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
            }
            read(&batch.build().unwrap())
        })
        .collect();
    let groups: Vec<_> = batches.chunks(2).collect();
    MemoryLog::of(&groups)
}

fn offsets(log: &MemoryLog) -> Vec<i64> {
    log.rows().into_iter().map(|row| row.0).collect()
}

#[test]
fn the_newest_record_of_each_key_stays() {
    let log = log_of(25);
    let mut sink = MemorySink::default();
    let ended = Setup::new(job(0, 100)).run(&log, &mut sink).unwrap();
    assert_eq!(ended.end, Offset(100));
    assert!(ended.swapped && sink.finished);
    assert_eq!(offsets(&sink.log()), (75..100).collect::<Vec<_>>());
    let (range, runs) = &sink.ranges[0];
    assert_eq!((sink.ranges.len(), *runs), (1, 1));
    assert_eq!(range.extents, log.extents);
    assert_eq!(range.cleaned_through, Offset(100));
    assert_eq!(
        (ended.counts.records_in, ended.counts.records_out),
        (100, 25)
    );
}

#[test]
fn only_keys_of_the_dirty_part_supersede() {
    // Offsets from 90 on are of the keys 15 to 24.
    let mut sink = MemorySink::default();
    let ended = Setup::new(job(90, 100))
        .run(&log_of(25), &mut sink)
        .unwrap();
    assert_eq!(ended.end, Offset(100));
    let superseded = |offset: i64| offset < 90 && (15..25).contains(&(offset % 25));
    let expected: Vec<i64> = (0..100).filter(|offset| !superseded(*offset)).collect();
    assert_eq!(offsets(&sink.log()), expected);
}

#[test]
fn ranges_are_swapped_in_order_and_end_where_one_was_not() {
    let log = log_of(100);
    let bytes = u64::from(log.extents[0].raw_bytes);
    let setup = Setup {
        piece_bytes: 2 * bytes + bytes / 2,
        ..Setup::new(job(0, 100))
    };
    let mut sink = MemorySink::default();
    let ended = setup.run(&log, &mut sink).unwrap();
    let ends = |sink: &MemorySink| -> Vec<i64> {
        let ranges = sink.ranges.iter();
        ranges.map(|(range, _)| range.cleaned_through.0).collect()
    };
    assert!(ended.swapped && sink.finished);
    assert_eq!(ends(&sink), [40, 80, 100]);
    assert_eq!(sink.log().rows(), log.rows());

    let mut sink = MemorySink {
        fails_at: Some(1),
        ..MemorySink::default()
    };
    let ended = setup.run(&log, &mut sink).unwrap();
    assert!(!ended.swapped && !sink.finished);
    assert_eq!(ends(&sink), [40, 80]);
}

#[test]
fn a_range_is_never_left_with_nothing() {
    // All of one key: only the last record stays.
    let log = log_of(1);
    let setup = Setup {
        piece_bytes: 1,
        ..Setup::new(job(0, 100))
    };
    let mut sink = MemorySink::default();
    let ended = setup.run(&log, &mut sink).unwrap();
    assert_eq!(offsets(&sink.log()), [99]);
    assert_eq!(ended.counts.empty_batches, 4);
    let runs: Vec<_> = sink.ranges.iter().map(|(_, runs)| *runs).collect();
    assert_eq!(runs, [1; 5]);
    // The next round in one piece takes them away.
    let left = sink.log();
    let mut sink = MemorySink::default();
    let ended = Setup::new(job(100, 100)).run(&left, &mut sink).unwrap();
    assert_eq!(ended.counts.empty_batches, 0);
    assert_eq!(sink.log().batches.len(), 1);
}

#[test]
fn runs_keep_to_their_size_and_are_never_more_than_the_extents() {
    let log = log_of(100);
    let bytes = log.extents[0].raw_bytes;
    for (run_bytes_max, runs) in [
        (1, 5),
        (bytes, 5),
        (3 * bytes - 1, 3),
        (3 * bytes + bytes / 2, 2),
        (u32::MAX, 1),
    ] {
        let mut setup = Setup::new(job(0, 100));
        setup.job.run_bytes_max = run_bytes_max;
        let mut sink = MemorySink::default();
        setup.run(&log, &mut sink).unwrap();
        assert_eq!(sink.runs.len(), runs, "{run_bytes_max}");
        assert_eq!(sink.log().rows(), log.rows());
    }
}

#[test]
fn a_run_spans_no_more_offsets_than_an_extent_can() {
    let far = i64::from(u32::MAX);
    let row = |key| [(Some(key), Some("1"))];
    let log = MemoryLog::of(&[
        &[plain(0, &row("a"))],
        &[plain(far - 1, &row("b"))],
        &[plain(far, &row("c"))],
        &[plain(far + 1, &row("d"))],
    ]);
    let mut sink = MemorySink::default();
    let setup = Setup::new(job(0, far + 2));
    setup.run(&log, &mut sink).unwrap();
    let ends: Vec<_> = sink
        .log()
        .extents
        .iter()
        .map(|extent| extent.end_offset.0)
        .collect();
    assert_eq!(ends, [far, far + 2]);
}

#[test]
fn keys_that_do_not_fit_are_spilled_with_the_same_outcome() {
    let log = log_of(40);
    // From 50 on every key is there.
    for first_dirty in [0, 50] {
        let mut setup = Setup::new(job(first_dirty, 100));
        let mut large = MemorySink::default();
        setup.run(&log, &mut large).unwrap();
        assert_eq!(offsets(&large.log()), (60..100).collect::<Vec<_>>());
        setup.memory_bytes = 200;
        let mut small = MemorySink::default();
        let ended = setup.run(&log, &mut small).unwrap();
        assert_eq!(ended.end, Offset(100));
        assert_eq!(small.log().rows(), large.log().rows(), "{first_dirty}");
    }
}

#[test]
fn a_round_ends_where_there_is_no_room_for_more_keys() {
    let log = log_of(100);
    let folder = tempfile::tempdir().unwrap();
    let with_room = |records: u64, first_dirty: i64| {
        let spill = FolderSpill::new(folder.path().to_path_buf(), 32 * records);
        let mut keys = KeyIndex::new(200, Box::new(spill));
        let mut sink = MemorySink::default();
        let setup = Setup::new(job(first_dirty, 100));
        let ended = setup.run_with(&log, &mut sink, &mut keys);
        (ended, sink)
    };
    // 35 records: three batches, so two extents are read, and the second one is clean up to its middle.
    let (ended, sink) = with_room(35, 0);
    assert_eq!(ended.unwrap().end, Offset(30));
    assert_eq!(sink.ranges.len(), 1);
    assert_eq!(sink.ranges[0].0.extents, log.extents[..2]);
    assert_eq!(sink.ranges[0].0.cleaned_through, Offset(30));
    assert_eq!(offsets(&sink.log()), (0..40).collect::<Vec<_>>());
    for (records, first_dirty) in [(9, 0), (35, 30)] {
        let (ended, sink) = with_room(records, first_dirty);
        let error = ended.unwrap_err();
        assert!(matches!(error, JobError::Spill { .. }), "{error}");
        assert!(sink.runs.is_empty());
    }
}

#[test]
fn aborted_records_supersede_nothing() {
    let producer = ProducerId(5);
    let newer = builder(10, Codec::None, &[(Some("a"), Some("2"))])
        .producer(producer, ProducerEpoch(0), Sequence(0))
        .transactional(true);
    let log = MemoryLog::of(&[
        &[plain(0, &[(Some("a"), Some("1"))])],
        &[read(&newer.build().unwrap())],
        &[plain(11, &[(Some("b"), Some("3"))])],
    ]);
    let mut setup = Setup::new(job(0, 12));
    let mut committed = MemorySink::default();
    setup.run(&log, &mut committed).unwrap();
    assert_eq!(offsets(&committed.log()), [10, 11]);
    setup.aborted = vec![AbortedTransaction {
        first_offset: Offset(10),
        producer_id: producer,
        last_offset: Offset(50),
    }];
    let mut aborted = MemorySink::default();
    setup.run(&log, &mut aborted).unwrap();
    assert_eq!(offsets(&aborted.log()), [0, 11]);
    assert_eq!(
        aborted.runs[0].1, setup.aborted,
        "it goes on behind the run"
    );
}

#[test]
fn a_producers_aborted_transaction_is_not_taken_for_its_next_one() {
    let producer = ProducerId(5);
    let of = |base: i64, value: &'static str| {
        let batch = builder(base, Codec::None, &[(Some("a"), Some(value))])
            .producer(producer, ProducerEpoch(0), Sequence(0))
            .transactional(true);
        read(&batch.build().unwrap())
    };
    // The aborted one and its marker at offset 1 are in the clean part.
    let log = MemoryLog::of(&[
        &[plain(0, &[(Some("b"), Some("1"))])],
        &[plain(5, &[(Some("a"), Some("1"))])],
        &[of(10, "2")],
        &[plain(11, &[(Some("c"), Some("1"))])],
    ]);
    let mut setup = Setup::new(job(10, 12));
    setup.aborted = vec![AbortedTransaction {
        first_offset: Offset(0),
        producer_id: producer,
        last_offset: Offset(1),
    }];
    let log = MemoryLog {
        extents: log.extents[1..].to_vec(),
        ..log
    };
    let mut sink = MemorySink::default();
    setup.run(&log, &mut sink).unwrap();
    assert_eq!(offsets(&sink.log()), [10, 11]);
}

/// More keys than fit into the memory. `AQUIFER_TEST_KEYS=10000000` is the long form.
#[test]
fn a_log_may_have_any_number_of_keys() {
    let keys = std::env::var("AQUIFER_TEST_KEYS").map_or(200_000, |keys| {
        keys.parse::<i64>().expect("AQUIFER_TEST_KEYS is a number")
    });
    // A table of them takes 32 bytes or more for each.
    let memory_bytes = usize::try_from(keys * 10).unwrap();
    let mut index = KeyIndex::new(memory_bytes, Box::new(MemorySpill::default()));
    index.begin_spill().unwrap();
    let name = |i: i64| (i % keys).to_be_bytes();
    let records = keys * 3 / 2;
    for i in 0..records {
        assert!(index.note(&name(i), Offset(2 * i)).unwrap());
    }
    while !index.settle().unwrap() {}
    for i in 0..records {
        let superseded = index.is_superseded(&name(i), Offset(2 * i)).unwrap();
        assert_eq!(superseded, i < records - keys, "record {i}");
    }
}
