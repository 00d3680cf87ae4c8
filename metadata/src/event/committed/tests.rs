//! The table of a commit: what is not one is refused. (That rows come back as they were written is shown
//! with all events.)

use aquifer_format::ids::{Incarnation, ObjectId, ObjectLevel, UploadEpoch, WriterSlot};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::event::{Moment, ObjectInfo};

const NOW: i64 = 1_763_800_000_000;
/// Head of a run of another topic with one batch.
const ONE_BATCH: u8 = 5;

fn partition(topic: u8, index: i32) -> PartitionId {
    PartitionId::new(
        TopicId(Uuid::from_bytes([topic; 16])),
        PartitionIndex(index),
    )
}

/// A commit of so many partitions of one topic, a batch of an idempotent producer in each.
fn steady(partitions: i32) -> Committed {
    let position = |n: i32| u64::from(n.unsigned_abs()) * 8_000;
    let run = |n: i32| CommittedRun {
        partition: partition(7, n),
        position: position(n),
        stored_bytes: 8_000,
        log_start: Offset(0),
        log_append_time: false,
        batches: 1,
    };
    let batch = |n: i32| CommittedBatch {
        summary: BatchSummary {
            producer_id: ProducerId(4_000 + i64::from(n)),
            producer_epoch: ProducerEpoch(0),
            first_sequence: Sequence(1_000_000),
            records: 50,
            bytes: 7_900,
            max_timestamp: NOW - 300,
        },
        decision: Decision::Appended {
            base_offset: Offset(4_000_000),
        },
    };
    Committed {
        session: SessionId(1),
        number: CommitNumber(2),
        answered_through: CommitNumber(1),
        object: ObjectInfo {
            id: ObjectId {
                incarnation: Incarnation(1),
                upload_epoch: UploadEpoch(1),
                writer: WriterSlot(1),
                level: ObjectLevel::L0,
                unique: 1,
            },
            bytes: position(partitions),
            locations: vec![0],
        },
        at: Moment {
            unix_millis: NOW,
            upload_epoch: UploadEpoch(1),
        },
        runs: (0..partitions).map(run).collect(),
        batches: (0..partitions).map(batch).collect(),
    }
}

#[test]
fn a_batch_takes_about_20_bytes() {
    let bytes = table_to(&steady(1_000)).len();
    assert!(bytes <= 1_000 * 24, "{bytes}");
}

#[test]
fn what_is_no_table_is_refused() {
    let topic = [9u8; 16];
    let run_of = |head: u8| [&[1, 1, head][..], &topic, &[0, 0, 0, 0]].concat();
    let plain = [0, 1, 1, 0, 1];
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "it ends early"),
        (vec![1, 0], "it ends early"),
        (vec![1, 0, 0], "a commit's first run has no topic"),
        (vec![1, 0, 1, 5, 5], "it ends early"),
        (vec![0, 0, 0], "there is something behind its end"),
        (vec![0, 1], UNEVEN),
        (run_of(1), UNEVEN),
        (run_of(ONE_BATCH), "it ends early"),
        (
            [run_of(ONE_BATCH), vec![9, 1, 1, 0, 1]].concat(),
            "a decision has an unknown code",
        ),
        (
            [run_of(ONE_BATCH), vec![0, 1, 1, 0, 0, 0x80, 0x80, 4, 0, 0]].concat(),
            "a producer epoch is out of range",
        ),
        (
            [run_of(ONE_BATCH), plain.to_vec()].concat(),
            "it ends early",
        ),
    ];
    for (table, reason) in cases {
        assert_eq!(table_from(&table, NOW).err(), Some(reason), "{table:?}");
    }
    let whole = [run_of(ONE_BATCH), plain.to_vec(), vec![4]].concat();
    let (runs, batches) = table_from(&whole, NOW).expect("it is sound");
    assert_eq!(runs[0].partition, partition(9, 0));
    assert_eq!(batches[0].summary.producer_id, ProducerId::NONE);
    let base_offset = Offset(2);
    assert_eq!(batches[0].decision, Decision::Appended { base_offset });
}

proptest! {
    #[test]
    fn a_table_that_lost_its_end_or_goes_on_is_refused(
        partitions in 0i32..20,
        cut in any::<prop::sample::Index>(),
        more in vec(any::<u8>(), 1..9),
    ) {
        let table = table_to(&steady(partitions));
        prop_assert!(table_from(&table[..cut.index(table.len())], NOW).is_err());
        prop_assert!(table_from(&[&table[..], &more[..]].concat(), NOW).is_err());
    }

    #[test]
    fn other_bytes_never_panic_and_reserve_no_more_than_they_are(
        partitions in 0i32..20,
        keep in any::<prop::sample::Index>(),
        garbage in vec(any::<u8>(), 0..60),
    ) {
        let table = table_to(&steady(partitions));
        let mixed = [&table[..keep.index(table.len() + 1)], &garbage[..]].concat();
        if let Ok((runs, batches)) = table_from(&mixed, NOW) {
            prop_assert!(runs.capacity() <= mixed.len() / RUN_BYTES_MIN);
            prop_assert!(batches.capacity() <= mixed.len() / BATCH_BYTES_MIN);
        }
    }
}
