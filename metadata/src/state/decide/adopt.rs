//! A restore finds runs of compactors in the bucket that the backup does not know yet.

use aquifer_format::ids::{JournalSeq, ObjectId, Offset, PartitionId};

use crate::{
    event::{
        Event, ObjectInfo,
        swapped::{Swapped, SwappedExtent, SwappedRange},
    },
    state::{entity::State, merged::Placing, partition::Partition},
};

/// A run of level 1 or 2. Compactors write none of records that were not committed, with the offsets that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundRun {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// One past the last offset of its last batch.
    pub end_offset: Offset,
    /// Its object.
    pub object: ObjectId,
    /// The object's size.
    pub object_bytes: u64,
    /// Byte position of the run in the object.
    pub run_position: u64,
    /// Stored bytes of the run, its index included.
    pub run_bytes: u32,
    /// Bytes of its batches.
    pub raw_bytes: u32,
    /// Largest record timestamp.
    pub max_timestamp: i64,
}

/// Takes the runs of a partition over that continue its log, which ends at `known`, without a hole; at each step the one
/// that reaches farthest. It is carried out in `state` at once, as events of row `seq`, which are added to `events`.
/// Returns where the log ends then.
///
/// What a run replaces of the log that is known must be whole extents, or it was made of others.
pub fn adopt(
    state: &mut State,
    seq: JournalSeq,
    id: PartitionId,
    known: Offset,
    runs: &[FoundRun],
    events: &mut Vec<Event>,
) -> Offset {
    let mut end = known;
    loop {
        let Some(partition) = state.any_partition(id) else {
            return end;
        };
        // somebody's batch has come there since
        if partition.high_watermark != known.0 {
            return end;
        }
        let continues = runs.iter().filter(|run| {
            run.base_offset <= end && run.end_offset > end && is_of_whole_extents(partition, run)
        });
        let placed = continues.filter_map(|run| {
            let (from, to) = (run.base_offset, run.end_offset);
            let into = Placing::default().place(&partition.extents, from.0, to.0, 1)?;
            let offsets = to.0.checked_sub(from.0)?;
            Some((run, Offset(into), u32::try_from(offsets).ok()?))
        });
        let Some((run, into, offsets)) = placed.max_by_key(|(run, ..)| (run.end_offset, *run))
        else {
            return end;
        };
        let event = Event::Swapped(Box::new(swapped(id, run, into, offsets)));
        state.apply(seq, &event);
        events.push(event);
        end = run.end_offset;
    }
}

fn is_of_whole_extents(partition: &Partition, run: &FoundRun) -> bool {
    let first = partition.extents.iter_from(run.base_offset.0).next();
    run.base_offset.0 >= 0 && first.is_none_or(|extent| extent.base_offset >= run.base_offset.0)
}

fn swapped(partition: PartitionId, run: &FoundRun, into: Offset, offsets: u32) -> Swapped {
    Swapped {
        objects: vec![ObjectInfo {
            id: run.object,
            bytes: run.object_bytes,
            locations: vec![0],
        }],
        ranges: vec![SwappedRange {
            partition,
            from: run.base_offset,
            to: run.end_offset,
            into,
            cleaned_through: None,
            extents: vec![SwappedExtent {
                object: 0,
                run_position: run.run_position,
                run_bytes: run.run_bytes,
                raw_bytes: run.raw_bytes,
                base_offset: run.base_offset,
                offsets,
                max_timestamp: run.max_timestamp,
            }],
        }],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aquifer_format::ids::{
        ClusterId, Incarnation, LeaderEpoch, ObjectLevel, PartitionIndex, ProducerId, SessionId,
        TopicId, UploadEpoch, WriterSlot,
    };
    use uuid::Uuid;

    use super::*;
    use crate::{
        event::{LossAccepted, TopicCreated},
        state::{Budgets, decide::genesis},
    };

    fn partition() -> PartitionId {
        PartitionId::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0))
    }

    fn run(base: i64, end: i64) -> FoundRun {
        FoundRun {
            base_offset: Offset(base),
            end_offset: Offset(end),
            object: ObjectId {
                incarnation: Incarnation(1),
                upload_epoch: UploadEpoch(1),
                writer: WriterSlot::COMPACTOR,
                level: ObjectLevel::L1,
                unique: (base * 1_000 + end).unsigned_abs(),
            },
            object_bytes: 9,
            run_position: 8,
            run_bytes: 7,
            raw_bytes: 6,
            max_timestamp: 5,
        }
    }

    /// A log that the state knows up to 100, in two extents.
    fn state() -> State {
        let mut state = State::new(Budgets::default());
        let created = TopicCreated {
            topic: partition().topic,
            name: "orders".to_owned(),
            partitions: 1,
            leader_epoch: LeaderEpoch(1),
            configs: BTreeMap::new(),
        };
        let begun = LossAccepted {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(2),
            leader_epoch: LeaderEpoch(2),
            next_session: SessionId(1),
            next_producer_id: ProducerId(1),
            partitions: vec![(partition(), Offset(100))],
        };
        let of = |run: &FoundRun, into| {
            let offsets = u32::try_from(run.end_offset.0 - run.base_offset.0).unwrap();
            Event::Swapped(Box::new(swapped(partition(), run, into, offsets)))
        };
        for event in [
            genesis(
                ClusterId(Uuid::from_u128(2)),
                Incarnation(1),
                UploadEpoch(1),
            ),
            Event::TopicCreated(created),
            of(&run(0, 40), Offset(0)),
            of(&run(40, 100), Offset(0)),
            Event::LossAccepted(Box::new(begun)),
        ] {
            state.apply(JournalSeq(1), &event);
        }
        state
    }

    fn extents(state: &State) -> Vec<(i64, i64)> {
        let all = state.extents(partition(), Offset(0));
        all.map(|extent| (extent.base_offset.0, extent.end_offset.0))
            .collect()
    }

    #[test]
    fn runs_continue_a_log_without_a_hole() {
        for (name, runs, log) in [
            ("none", vec![], vec![(0, 40), (40, 100)]),
            (
                "next",
                vec![(100, 150)],
                vec![(0, 40), (40, 100), (100, 150)],
            ),
            (
                "in any order",
                vec![(200, 300), (100, 150), (150, 200)],
                vec![(0, 40), (40, 100), (100, 150), (150, 200), (200, 300)],
            ),
            ("a hole", vec![(101, 150)], vec![(0, 40), (40, 100)]),
            (
                "a hole later",
                vec![(100, 150), (151, 160)],
                vec![(0, 40), (40, 100), (100, 150)],
            ),
            (
                "of known ones",
                vec![(0, 40), (40, 100)],
                vec![(0, 40), (40, 100)],
            ),
            (
                "in the place of one",
                vec![(40, 150)],
                vec![(0, 40), (40, 150)],
            ),
            ("in the place of all", vec![(0, 150)], vec![(0, 150)]),
            ("of a part", vec![(50, 150)], vec![(0, 40), (40, 100)]),
            (
                "the longest",
                vec![(100, 120), (100, 180), (100, 150)],
                vec![(0, 40), (40, 100), (100, 180)],
            ),
            (
                "of a part of what was taken over",
                vec![(100, 180), (150, 200)],
                vec![(0, 40), (40, 100), (100, 180)],
            ),
            ("below nothing", vec![(-5, 150)], vec![(0, 40), (40, 100)]),
        ] {
            let runs: Vec<FoundRun> = runs.iter().map(|(base, end)| run(*base, *end)).collect();
            let (mut adopted, mut events) = (state(), Vec::new());
            let (seq, known) = (JournalSeq(2), Offset(100));
            let end = adopt(&mut adopted, seq, partition(), known, &runs, &mut events);
            assert_eq!(extents(&adopted), log, "{name}");
            assert_eq!(Some(end.0), log.last().map(|(_, end)| *end), "{name}");
            let mut replayed = state();
            for event in &events {
                replayed.apply(seq, event);
            }
            assert_eq!(replayed.fingerprint(), adopted.fingerprint(), "{name}");
        }
    }

    #[test]
    fn nothing_is_put_where_a_batch_has_come() {
        let (mut state, mut events) = (state(), Vec::new());
        let known = Offset(90);
        let seq = JournalSeq(2);
        let runs = [run(40, 150)];
        let end = adopt(&mut state, seq, partition(), known, &runs, &mut events);
        assert_eq!((end, events), (known, vec![]));
    }
}
