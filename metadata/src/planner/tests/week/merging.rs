//! What a merge comes to: which ranges become which runs of which objects, and what is read for it.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    ids::{ObjectId, ObjectLevel, Offset, PartitionId, WriterSlot},
    limits::{JOB_OBJECTS_MAX, RUN_EXPANDED_BYTES_MAX, SWAP_EXTENTS_MAX, SWAP_RANGES_MAX},
};
use aquifer_metadata_api::{
    extent::Extent,
    upkeep::{Inputs, InputsReply, Job, JobKind, MergedExtent, SwapObject, SwapRange},
};

use super::MIB;

/// Half of a worker's memory, which it has for what it reads.
const WINDOWS_BYTES: u64 = 224 * MIB;
/// Bounds of what one GET brings.
const WINDOW_BYTES_MIN: u64 = MIB / 4;
const WINDOW_BYTES_MAX: u64 = 4 * MIB;
/// Bytes between two wanted places that are read along with them.
const GAP_BYTES: u64 = MIB / 4;
/// Most extents of a range, as of real workers.
const RANGE_EXTENTS_MAX: usize = SWAP_EXTENTS_MAX / 2;
/// Headers and index of a run, about.
const RUN_BYTES: u64 = 64;

/// What is to be swapped, and what was read for it.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) objects: Vec<SwapObject>,
    pub(super) inputs: Vec<ObjectId>,
    /// Ranges of each swap.
    pub(super) pieces: Vec<Vec<SwapRange>>,
    pub(super) gets: u64,
    pub(super) read_bytes: u64,
}

/// GETs of the windows of real workers.
struct Reads {
    window_bytes: u64,
    /// What is read of each object in one go, in the answer that is looked at.
    open: BTreeMap<ObjectId, (u64, u64)>,
    gets: u64,
    bytes: u64,
}

impl Reads {
    fn add(&mut self, extent: &Extent) {
        let run_bytes = u64::from(extent.run_bytes);
        let (start, end) = (extent.run_position, extent.run_position + run_bytes);
        if extent.object.level != ObjectLevel::L0 && run_bytes > self.window_bytes {
            // its index is read before it
            self.gets += 1;
        }
        let open = self.open.entry(extent.object).or_insert((start, start));
        if start < open.0 || start > open.1 + GAP_BYTES {
            self.gets += (open.1 - open.0).div_ceil(self.window_bytes);
            self.bytes += open.1 - open.0;
            *open = (start, start);
        }
        open.1 = open.1.max(end);
    }

    fn close(&mut self) {
        for (start, end) in std::mem::take(&mut self.open).into_values() {
            self.gets += (end - start).div_ceil(self.window_bytes);
            self.bytes += end - start;
        }
    }
}

/// A range that becomes a run.
struct Open {
    partition: PartitionId,
    from: Offset,
    to: Offset,
    raw_bytes: u64,
    extents: usize,
    max_timestamp: i64,
}

/// A merge, as real workers do it.
pub(super) struct Merging<'a> {
    level: ObjectLevel,
    job: &'a Job,
    unique: &'a mut u64,
    object_bytes: u64,
    run_bytes_max: u64,
    reads: Reads,
    open: Option<Open>,
    /// With their numbers of input extents.
    ranges: Vec<(SwapRange, usize)>,
    inputs: BTreeSet<ObjectId>,
    objects: Vec<SwapObject>,
}

impl<'a> Merging<'a> {
    /// None = the job merges nothing.
    pub(super) fn new(job: &'a Job, unique: &'a mut u64) -> Option<Self> {
        let run_bytes_max = u64::try_from(RUN_EXPANDED_BYTES_MAX).expect("some MiB");
        let (object_bytes, run_bytes_max, footers) = match &job.kind {
            JobKind::MergeObjects {
                objects,
                object_bytes,
            } => (*object_bytes, run_bytes_max, Some(objects.len())),
            JobKind::MergeRanges {
                ranges,
                object_bytes,
            } => {
                // there is one topic
                let first = ranges.first().expect("a job has a range");
                (*object_bytes, u64::from(first.run_bytes_max), None)
            }
            JobKind::Clean(_) | JobKind::Delete { .. } => return None,
        };
        let windows = footers.unwrap_or(JOB_OBJECTS_MAX).max(1);
        let share = WINDOWS_BYTES / u64::try_from(windows).expect("a count");
        Some(Self {
            level: job.kind.level().expect("it writes"),
            job,
            unique,
            object_bytes,
            run_bytes_max,
            reads: Reads {
                window_bytes: share.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX),
                open: BTreeMap::new(),
                gets: u64::try_from(footers.unwrap_or(0)).expect("a count"),
                bytes: 0,
            },
            open: None,
            ranges: Vec::new(),
            inputs: BTreeSet::new(),
            objects: Vec::new(),
        })
    }

    /// An answer of the leader.
    pub(super) fn take(&mut self, reply: &InputsReply) {
        for inputs in &reply.partitions {
            let goes_on = reply.next.is_some_and(|(id, _)| id == inputs.partition);
            self.take_partition(inputs, goes_on);
        }
        self.reads.close();
    }

    fn take_partition(&mut self, inputs: &Inputs, goes_on: bool) {
        let (extents, breaks) = (&inputs.extents, &inputs.breaks);
        let mut begin = 0;
        while begin < extents.len() {
            let further = breaks[begin + 1..].iter();
            let end = begin + 1 + further.take_while(|breaks| !**breaks).count();
            let open = self.open.as_ref();
            let joins =
                !breaks[begin] && open.is_some_and(|open| open.partition == inputs.partition);
            if !joins {
                self.end_range();
            }
            let is_last = end == extents.len();
            let is_alone = end == begin + 1 && !joins && !(is_last && goes_on);
            // one merged extent alone would become one merged extent
            if !(is_alone && self.level == ObjectLevel::L2) {
                for extent in &extents[begin..end] {
                    self.push(inputs.partition, extent);
                }
            }
            begin = end;
        }
    }

    fn push(&mut self, partition: PartitionId, extent: &Extent) {
        self.reads.add(extent);
        self.inputs.insert(extent.object);
        let raw_bytes = u64::from(extent.raw_bytes);
        // larger ones are cut, which is not done here
        assert!(raw_bytes <= self.run_bytes_max / 8, "{extent:?}");
        let is_full = self.open.as_ref().is_some_and(|open| {
            open.raw_bytes + raw_bytes > self.run_bytes_max || open.extents >= RANGE_EXTENTS_MAX
        });
        if is_full {
            self.end_range();
        }
        let open = self.open.get_or_insert(Open {
            partition,
            from: extent.base_offset,
            to: extent.base_offset,
            raw_bytes: 0,
            extents: 0,
            max_timestamp: i64::MIN,
        });
        open.to = extent.end_offset;
        open.raw_bytes += raw_bytes;
        open.extents += 1;
        open.max_timestamp = open.max_timestamp.max(extent.max_timestamp);
    }

    /// Its run goes into the open object, or a new one where that is large enough.
    fn end_range(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        let last = self.objects.last();
        if last.is_none_or(|object| object.bytes >= self.object_bytes) {
            *self.unique += 1;
            self.objects.push(SwapObject {
                id: ObjectId {
                    incarnation: self.job.incarnation,
                    upload_epoch: self.job.upload_epoch,
                    writer: WriterSlot::COMPACTOR,
                    level: self.level,
                    unique: *self.unique,
                },
                bytes: RUN_BYTES,
                locations: vec![0],
            });
        }
        let object = u32::try_from(self.objects.len() - 1).expect("few objects");
        let written = self.objects.last_mut().expect("pushed just above");
        let run_bytes = open.raw_bytes + RUN_BYTES;
        let extent = MergedExtent {
            object,
            run_position: written.bytes,
            run_bytes: u32::try_from(run_bytes).expect("a run is smaller"),
            raw_bytes: u32::try_from(open.raw_bytes).expect("a run is smaller"),
            base_offset: open.from,
            end_offset: open.to,
            max_timestamp: open.max_timestamp,
        };
        written.bytes += run_bytes;
        let range = SwapRange {
            partition: open.partition,
            from: open.from,
            to: open.to,
            extents: vec![extent],
            cleaned_through: None,
        };
        self.ranges.push((range, open.extents));
    }

    pub(super) fn into_merged(mut self) -> Merged {
        self.end_range();
        let mut pieces: Vec<Vec<SwapRange>> = Vec::new();
        let mut room = 0;
        for (range, extents) in self.ranges {
            match pieces.last_mut() {
                Some(piece) if piece.len() < SWAP_RANGES_MAX && extents <= room => {
                    room -= extents;
                    piece.push(range);
                }
                _ => {
                    room = SWAP_EXTENTS_MAX - extents;
                    pieces.push(vec![range]);
                }
            }
        }
        Merged {
            objects: self.objects,
            inputs: self.inputs.into_iter().collect(),
            pieces,
            gets: self.reads.gets,
            read_bytes: self.reads.bytes,
        }
    }
}
