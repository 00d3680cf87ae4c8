use aquifer_format::{
    batch::TimestampType,
    codec::Codec,
    ids::{ProducerEpoch, Sequence},
    object::AbortedTransaction,
};

use super::*;
use crate::clean::{
    MemorySpill,
    testing::{NOW, Pair, RETENTION, builder, extent, job, plain, read, rows},
};

/// What stays of a batch if these keys have later records.
struct Case<'a> {
    job: Clean,
    later: &'a [&'a str],
    last: &'a [(i64, LastRecord)],
    aborted: &'a [AbortedTransaction],
    keeps: bool,
}

fn case<'a>(later: &'a [&'a str]) -> Case<'a> {
    Case {
        job: job(0, 1_000),
        later,
        last: &[],
        aborted: &[],
        keeps: false,
    }
}

impl Case<'_> {
    fn filter(&self, batch: &Batch) -> (Option<RecordBatch>, FilterCounts) {
        let mut keys = KeyIndex::new(1 << 16, Box::new(MemorySpill::default()));
        let mut opened = open(batch).unwrap();
        while let Some(record) = opened.next_view() {
            let record = record.unwrap();
            if let Some(key) = record.key {
                keys.note(key, offset_of(&record, batch.base_offset))
                    .unwrap();
            }
        }
        for key in self.later {
            keys.note(key.as_bytes(), Offset(100)).unwrap();
        }
        let last_records = self
            .last
            .iter()
            .map(|(id, last)| (ProducerId(*id), *last))
            .collect();
        let mut filter = Filter {
            job: &self.job,
            extents: &[],
            end: self.job.to,
            last_records: &last_records,
            transactions: CleanedTransactions::new(self.aborted.to_vec()),
            counts: FilterCounts::default(),
        };
        let left = filter.batch(batch, self.keeps, &mut keys).unwrap();
        (left, filter.counts)
    }

    fn offsets(&self, batch: &Batch) -> Option<Vec<i64>> {
        let left = self.filter(batch).0?;
        Some(rows(&left).into_iter().map(|row| row.0).collect())
    }
}

const A: Pair<'static> = (Some("a"), Some("1"));
const B: Pair<'static> = (Some("b"), Some("2"));
const TOMBSTONE: Pair<'static> = (Some("a"), None);
const KEYLESS: Pair<'static> = (None, Some("3"));

#[test]
fn records_stay_if_they_are_the_newest_of_their_key() {
    type Table<'a> = [(&'a [Pair<'a>], &'a [&'a str], Option<Vec<i64>>); 7];
    let table: Table<'_> = [
        (&[A, B], &[], Some(vec![10, 11])),
        (&[A, B], &["a"], Some(vec![11])),
        (&[A, B], &["b"], Some(vec![10])),
        (&[A, B], &["a", "b"], None),
        (&[A, B, A], &[], Some(vec![11, 12])),
        (&[A, KEYLESS, B], &[], Some(vec![10, 12])),
        (&[KEYLESS], &[], None),
    ];
    for (row, (records, later, stays)) in table.into_iter().enumerate() {
        assert_eq!(case(later).offsets(&plain(10, records)), stays, "row {row}");
    }
}

#[test]
fn a_batch_that_stays_as_it_is_is_not_written_anew() {
    for codec in Codec::ALL {
        let batch = read(&builder(10, codec, &[A, B]).build().unwrap());
        let (left, counts) = case(&[]).filter(&batch);
        assert_eq!(left.unwrap().bytes, batch.batch.bytes, "{codec}");
        assert_eq!((counts.records_in, counts.records_out), (2, 2));
    }
}

#[test]
fn a_batch_that_is_written_anew_keeps_its_frame() {
    for codec in Codec::ALL {
        let batch = builder(10, codec, &[A, B, (Some("c"), Some("4"))])
            .producer(ProducerId(5), ProducerEpoch(1), Sequence(70))
            .leader_epoch(aquifer_format::ids::LeaderEpoch(9));
        let batch = read(&batch.build().unwrap());
        let (left, counts) = case(&["a", "c"]).filter(&batch);
        let left = left.unwrap();
        let expected = BatchHeader {
            batch_length: left.header.batch_length,
            crc: left.header.crc,
            record_count: 1,
            max_timestamp: 11,
            ..batch.batch.header
        };
        assert_eq!(left.header, expected, "{codec}");
        assert_eq!(left.validate_integrity(), Ok(()));
        assert_eq!(rows(&left), rows(&batch.batch)[1..2]);
        assert_eq!((counts.records_in, counts.records_out), (3, 1));
        let records: Vec<_> = records(&left, 1 << 20).unwrap().collect();
        assert_eq!(records[0].as_ref().unwrap().headers.len(), 1);
    }
}

#[test]
fn append_times_stay() {
    let batch = builder(10, Codec::None, &[A, B]).log_append_time(777);
    let batch = read(&batch.build().unwrap());
    let left = case(&["a"]).filter(&batch).0.unwrap();
    assert_eq!(left.header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(left.header.max_timestamp, 777);
    assert_eq!(rows(&left)[0].1, 777);
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    let batch = plain(10, &[TOMBSTONE, B]);
    let first = case(&[]).filter(&batch).0.unwrap();
    assert_eq!(first.header.delete_horizon(), Some(NOW + RETENTION));
    assert_eq!(rows(&first), rows(&batch.batch), "times stay as they are");

    let at = |now_ms: i64| {
        let mut case = case(&[]);
        case.job.now_ms = now_ms;
        case.filter(&read(&first)).0.unwrap()
    };
    // Looking at it again does not move the horizon, nor write it anew.
    assert_eq!(at(NOW + 1).bytes, first.bytes);
    assert_eq!(at(NOW + RETENTION - 1).bytes, first.bytes);
    let last = at(NOW + RETENTION);
    assert_eq!(rows(&last), rows(&batch.batch)[1..]);
    assert_eq!(last.header.delete_horizon(), Some(NOW + RETENTION));

    // Superseded ones need no horizon.
    let left = case(&["a"]).filter(&batch).0.unwrap();
    assert_eq!(left.header.delete_horizon(), None);

    let mut longest = case(&[]);
    longest.job.delete_retention_ms = i64::MAX;
    let left = longest.filter(&batch).0.unwrap();
    assert_eq!(left.header.delete_horizon(), Some(i64::MAX));
}

#[test]
fn nothing_at_or_behind_the_end_goes() {
    let mut filter = case(&["a", "b"]);
    let batch = plain(10, &[A, KEYLESS, B]);
    filter.job.to = Offset(11);
    assert_eq!(filter.offsets(&batch), Some(vec![11, 12]));
    filter.job.to = Offset(10);
    assert_eq!(filter.offsets(&batch), Some(vec![10, 11, 12]));
}

#[test]
fn some_batches_stay_empty() {
    let batch =
        builder(10, Codec::Zstd, &[A, B]).producer(ProducerId(5), ProducerEpoch(1), Sequence(70));
    let batch = read(&batch.build().unwrap());
    let all = ["a", "b"];
    let last = |offset: Option<i64>| LastRecord {
        last_offset: offset.map(Offset),
        epoch: ProducerEpoch(1),
    };
    let mut of_job = case(&all);
    of_job.job.to = Offset(12);
    let (its, others, earlier) = (
        [(5, last(Some(11)))],
        [(6, last(Some(11)))],
        [(5, last(Some(10)))],
    );
    let only_markers = [(5, last(None))];
    let with = |last| Case { last, ..case(&all) };
    let kept = Case {
        keeps: true,
        ..case(&all)
    };
    for (name, case, stays) in [
        ("none of them", case(&all), false),
        ("the last one of the job", of_job, true),
        ("the last one of a range", kept, true),
        ("the last one of its producer", with(&its), true),
        ("the last one of another producer", with(&others), false),
        ("an earlier one of its producer", with(&earlier), false),
        (
            "of a producer that left markers only",
            with(&only_markers),
            false,
        ),
    ] {
        let (left, counts) = case.filter(&batch);
        assert_eq!(left.is_some(), stays, "{name}");
        assert_eq!(counts.empty_batches, u64::from(stays), "{name}");
        if let Some(left) = left {
            assert_eq!(left.header.record_count, 0);
            assert_eq!(left.header.last_offset(), Offset(11));
            assert_eq!(left.header.base_sequence, Sequence(70));
            assert_eq!(left.bytes.len(), 61);
        }
    }
}

fn marker(kind: i16) -> Batch {
    let key = [[0, 0], kind.to_be_bytes()].concat();
    let mut batch = BatchBuilder::new(Codec::None)
        .base_offset(Offset(20))
        .producer(ProducerId(5), ProducerEpoch(1), Sequence::NONE)
        .transactional(true)
        .control(true);
    batch.append(0, Some(&key), Some(&[0; 6]), &[]);
    read(&batch.build().unwrap())
}

#[test]
fn markers_without_records_wait_as_tombstones_do() {
    for kind in [ABORT, COMMIT] {
        let left = case(&[]).filter(&marker(kind)).0.unwrap();
        assert_eq!(left.header.delete_horizon(), Some(NOW + RETENTION));
        assert_eq!(left.header.record_count, 1);
        let mut later = case(&[]);
        later.job.now_ms = NOW + RETENTION;
        assert_eq!(later.filter(&read(&left)).0, None);
        // Its producer's last epoch is in it.
        let last = LastRecord {
            last_offset: None,
            epoch: ProducerEpoch(1),
        };
        let (left, _) = Case {
            last: &[(5, last)],
            ..later
        }
        .filter(&read(&left));
        assert_eq!(left.unwrap().header.record_count, 0);
    }
    let other = marker(9);
    assert_eq!(case(&[]).filter(&other).0.unwrap().bytes, other.batch.bytes);
}

#[test]
fn aborted_records_go_and_their_marker_stays() {
    let batch = builder(10, Codec::None, &[A, B])
        .producer(ProducerId(5), ProducerEpoch(1), Sequence(0))
        .transactional(true);
    let batch = read(&batch.build().unwrap());
    let aborted = [AbortedTransaction {
        first_offset: Offset(10),
        producer_id: ProducerId(5),
        last_offset: Offset(20),
    }];
    assert!(case(&[]).filter(&batch).0.is_some());
    let case = Case {
        aborted: &aborted,
        ..case(&[])
    };
    assert_eq!(case.filter(&batch).0, None);

    let job = case.job;
    let last_records = BTreeMap::new();
    let mut filter = Filter {
        job: &job,
        extents: &[],
        end: job.to,
        last_records: &last_records,
        transactions: CleanedTransactions::new(aborted.to_vec()),
        counts: FilterCounts::default(),
    };
    let mut keys = KeyIndex::new(1 << 16, Box::new(MemorySpill::default()));
    assert_eq!(filter.batch(&batch, false, &mut keys).unwrap(), None);
    let marker = marker(ABORT);
    let left = filter.batch(&marker, false, &mut keys).unwrap().unwrap();
    assert_eq!(left.bytes, marker.batch.bytes, "it may not go yet");
    assert_eq!(filter.transactions.end_run(), aborted);
}

#[test]
fn records_that_cannot_be_read_are_told_of_their_object() {
    let mut batch = plain(10, &[A]);
    let mut bytes = batch.batch.bytes.to_vec();
    bytes.push(0);
    batch.batch.bytes = bytes.into();
    let extents = [extent(3, 0, 10), extent(4, 10, 20)];
    let job = job(0, 1_000);
    let last_records = BTreeMap::new();
    let mut filter = Filter {
        job: &job,
        extents: &extents,
        end: job.to,
        last_records: &last_records,
        transactions: CleanedTransactions::default(),
        counts: FilterCounts::default(),
    };
    let mut keys = KeyIndex::new(1 << 16, Box::new(MemorySpill::default()));
    let error = filter.batch(&batch, false, &mut keys).unwrap_err();
    let object = extents[1].object;
    assert!(
        matches!(&error, JobError::Damaged { object: named, .. } if *named == object),
        "{error}"
    );
}
