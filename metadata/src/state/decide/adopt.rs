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
