//! Neighbours in a partition's log that are worth merging.

use aquifer_format::{
    ids::{ObjectId, ObjectLevel, Offset, PartitionId, UploadEpoch},
    limits::JOB_OBJECTS_MAX,
};
use aquifer_metadata_api::upkeep::MergeRange;

use super::policy::{LevelShape, PlannerSettings};
use crate::state::PlannedExtent;

/// Most extents of a range: it is swapped by one request, and a step looks at some ranges to their ends.
const RANGE_EXTENTS_MAX: usize = 4_096;

/// A range that is worth merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) range: MergeRange,
    pub(super) extents: usize,
    /// Their expanded bytes.
    pub(super) bytes: u64,
}

/// What holds for all extents of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) partition: PartitionId,
    pub(super) run_bytes_max: u32,
    pub(super) last_stable: Offset,
    pub(super) epoch: UploadEpoch,
}

/// Takes extents in offset order.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    settings: &'a PlannerSettings,
    bounds: Bounds,
    open: Option<Run>,
    found: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    level: ObjectLevel,
    from: Offset,
    to: Offset,
    extents: usize,
    bytes: u64,
    /// At least as many as there are.
    objects: usize,
    last: ObjectId,
    oldest: UploadEpoch,
}

impl<'a> Runs<'a> {
    pub(super) fn new(settings: &'a PlannerSettings, bounds: Bounds) -> Self {
        Self {
            settings,
            bounds,
            open: None,
            found: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, extent: &PlannedExtent) {
        let bytes = u64::from(extent.raw_bytes);
        let level = extent.object.level;
        let is_large = level == ObjectLevel::L2 && bytes >= self.settings.large_bytes;
        let is_stable = extent.end_offset <= self.bounds.last_stable;
        if level == ObjectLevel::L0 || is_large || !is_stable {
            return self.close();
        }
        let goes_on = self.open.is_some_and(|run| {
            let is_new = run.last != extent.object;
            let has_objects = !is_new || run.objects < JOB_OBJECTS_MAX;
            let has_room =
                run.extents < RANGE_EXTENTS_MAX && run.bytes < self.settings.object_bytes;
            run.level == level && has_objects && has_room
        });
        if !goes_on {
            self.close();
        }
        let run = self.open.get_or_insert(Run {
            level,
            from: extent.base_offset,
            to: extent.base_offset,
            extents: 0,
            bytes: 0,
            objects: 1,
            last: extent.object,
            oldest: extent.object.upload_epoch,
        });
        if run.last != extent.object {
            run.objects = run.objects.saturating_add(1);
        }
        run.last = extent.object;
        run.to = extent.end_offset;
        run.extents = run.extents.saturating_add(1);
        run.bytes = run.bytes.saturating_add(bytes);
        run.oldest = run.oldest.min(extent.object.upload_epoch);
    }

    /// Where the neighbours begin that the next extent may follow, and how many they are.
    pub(super) fn open_from(&self) -> Option<(Offset, usize)> {
        self.open.map(|run| (run.from, run.extents))
    }

    /// All that was found, the neighbours at the end included.
    pub(super) fn into_found(mut self) -> Vec<Candidate> {
        self.close();
        self.found
    }

    /// What was found so far, without the neighbours at the end.
    pub(super) fn into_closed(self) -> Vec<Candidate> {
        self.found
    }

    fn close(&mut self) {
        let Some(run) = self.open.take() else {
            return;
        };
        let shape = LevelShape {
            extents: run.extents,
            bytes: run.bytes,
            age_epochs: self.bounds.epoch.0.saturating_sub(run.oldest.0),
        };
        let run_bytes_max = self.bounds.run_bytes_max;
        let is_worth_it = match run.level {
            ObjectLevel::L1 => self.settings.merges_level_1(shape, run_bytes_max),
            ObjectLevel::L2 => self.settings.merges_level_2(shape, run_bytes_max),
            ObjectLevel::L0 => false,
        };
        if is_worth_it {
            self.found.push(Candidate {
                range: MergeRange {
                    partition: self.bounds.partition,
                    from: run.from,
                    to: run.to,
                    run_bytes_max,
                },
                extents: run.extents,
                bytes: run.bytes,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Incarnation, PartitionIndex, TopicId, WriterSlot};
    use uuid::Uuid;

    use super::*;

    fn object(level: ObjectLevel, unique: u64) -> ObjectId {
        ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(10),
            writer: WriterSlot::COMPACTOR,
            level,
            unique,
        }
    }

    /// Extents of ten offsets each, with levels, unique numbers of objects, and MiB.
    fn found(extents: impl IntoIterator<Item = (ObjectLevel, u64, u32)>) -> Vec<(i64, i64, usize)> {
        let settings = PlannerSettings::default();
        let bounds = Bounds {
            partition: PartitionId::new(TopicId(Uuid::nil()), PartitionIndex(0)),
            run_bytes_max: 512 << 20,
            last_stable: Offset(5_000),
            epoch: UploadEpoch(20),
        };
        let mut runs = Runs::new(&settings, bounds);
        for (base, (level, unique, mib)) in (0..).step_by(10).zip(extents) {
            runs.push(&PlannedExtent {
                object: object(level, unique),
                base_offset: Offset(base),
                end_offset: Offset(base + 10),
                raw_bytes: mib << 20,
                max_timestamp: 0,
            });
        }
        let found = runs.into_found().into_iter();
        found
            .map(|found| (found.range.from.0, found.range.to.0, found.extents))
            .collect()
    }

    fn level_1(count: u64, mib: u32) -> impl Iterator<Item = (ObjectLevel, u64, u32)> {
        (0..count).map(move |unique| (ObjectLevel::L1, unique, mib))
    }

    #[test]
    fn neighbours_of_one_level_are_found() {
        use ObjectLevel::{L0, L1, L2};
        assert!(found(level_1(63, 1)).is_empty());
        assert_eq!(found(level_1(64, 1)), [(0, 640, 64)]);
        // what is not merged stands between
        let parted = level_1(40, 1).chain([(L0, 0, 1)]).chain(level_1(40, 1));
        assert!(found(parted).is_empty());
        let after = level_1(64, 1).chain([(L0, 0, 1), (L2, 0, 1), (L1, 0, 1)]);
        assert_eq!(found(after), [(0, 640, 64)]);
        // large ones of level 2 are done
        assert!(found((0..200).map(|unique| (L2, unique, 64))).is_empty());
        assert_eq!(found((0..64).map(|unique| (L2, unique, 1))), [(0, 640, 64)]);
        // above the last stable offset nothing is merged
        let many = found((0..600).map(|_| (L1, 7, 1)));
        assert_eq!(many, [(0, 5_000, 500)]);
    }

    #[test]
    fn a_range_fits_into_one_job() {
        assert_eq!(
            found(level_1(200, 1)),
            [(0, 1_280, 128), (1_280, 2_000, 72)]
        );
        // sixteen of 64 MiB are a gibibyte
        assert_eq!(found(level_1(32, 64)), [(0, 160, 16), (160, 320, 16)]);
    }
}
