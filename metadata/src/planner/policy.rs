//! When what is worth doing: pure functions of counts, bytes and ages.

use std::time::Duration;

use aquifer_format::limits::{EXTENT_EPOCHS_MAX, JOB_OBJECTS_MAX, RELEASE_GRACE_EPOCHS};

/// How work is planned. Bytes are those of the bucket unless it is said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannerSettings {
    /// Whether there is any compaction at all (merges, log compaction). Deletions are always planned.
    pub enabled: bool,
    /// How long a lease lasts without a renewal. Default 30 s: workers renew three times in that.
    pub lease: Duration,
    /// Time between two looks at all partitions. Default 10 s.
    pub scan_interval: Duration,
    /// Objects of level 0 are merged once there are so many ... Default 128, the fan-in.
    pub small_objects: usize,
    /// ... or so many bytes of them ... Default 1 GiB: what a worker reads in a minute or two.
    pub small_bytes: u64,
    /// ... or the oldest is of so many upload epochs ago and there are at least `small_objects_min`. Default 5.
    pub small_age_epochs: u32,
    /// See above. Default 8: fewer shrink nothing worth a GET each. After 12 times that age two are enough.
    pub small_objects_min: usize,
    /// Extents of level 1 of a partition are merged once so many follow one another ... Default 64.
    pub merged_extents: usize,
    /// ... or they have so many expanded bytes ... Default 256 MiB.
    pub merged_bytes: u64,
    /// ... or the oldest is of so many upload epochs ago and there are at least 8. Default 60.
    pub merged_age_epochs: u32,
    /// Extents of level 2 that are smaller than this are merged again once there are 64 in a row. Default 64 MiB.
    pub large_bytes: u64,
    /// Aimed-at size of outputs. Default 1 GiB.
    pub object_bytes: u64,
    /// Upload epochs between the release of an object and its deletion.
    pub grace_epochs: u32,
    /// Whether deletions wait for a backup newer than the release.
    pub waits_for_backup: bool,
    /// How many upload epochs inputs rest that a job left behind, doubled up to 60. Default 2.
    pub rest_epochs: u32,
    /// Upload epochs between two compactions of one log, and before the first of a leader, who does not know when the
    /// last one was: agents read by what they knew for [`EXTENT_EPOCHS_MAX`]. Default one more than that.
    pub clean_rest_epochs: u32,
}

impl Default for PlannerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            lease: Duration::from_secs(30),
            scan_interval: Duration::from_secs(10),
            small_objects: JOB_OBJECTS_MAX,
            small_bytes: 1 << 30,
            small_age_epochs: 5,
            small_objects_min: 8,
            merged_extents: 64,
            merged_bytes: 256 << 20,
            merged_age_epochs: 60,
            large_bytes: 64 << 20,
            object_bytes: 1 << 30,
            grace_epochs: RELEASE_GRACE_EPOCHS,
            waits_for_backup: false,
            rest_epochs: 2,
            clean_rest_epochs: EXTENT_EPOCHS_MAX + 1,
        }
    }
}

/// Neighbours of one level in a partition's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelShape {
    /// How many extents follow one another.
    pub extents: usize,
    /// Their expanded bytes.
    pub bytes: u64,
    /// Upload epochs since the oldest of their objects was begun.
    pub age_epochs: u32,
}

/// Fewest extents that are merged only because they are old.
const OLD_EXTENTS_MIN: usize = 8;
/// After so many times [`PlannerSettings::small_age_epochs`] two objects are merged.
const LONG_AGES: u32 = 12;
/// From so many deletable objects on they are deleted at once.
const DELETABLE_MIN: usize = 256;
/// Upload epochs that fewer of them wait for others.
const DELETABLE_WAIT_EPOCHS: u32 = 2;
/// Most upload epochs that something rests.
const REST_EPOCHS_MAX: u32 = 60;

impl PlannerSettings {
    /// Whether objects of level 0 are worth a job: `waiting` of them with `bytes`, the oldest `age_epochs` old.
    #[must_use]
    pub fn merges_small(&self, waiting: usize, bytes: u64, age_epochs: u32) -> bool {
        let old = self.small_age_epochs;
        waiting >= self.small_objects.max(1)
            || (waiting > 0 && bytes >= self.small_bytes)
            || (age_epochs >= old && waiting >= self.small_objects_min.max(1))
            || (age_epochs >= old.saturating_mul(LONG_AGES) && waiting >= 2)
    }

    /// Whether neighbours of level 1 are worth a job. It must leave fewer extents than it takes.
    #[must_use]
    pub fn merges_level_1(&self, shape: LevelShape, run_bytes_max: u32) -> bool {
        let old = shape.age_epochs >= self.merged_age_epochs && shape.extents >= OLD_EXTENTS_MIN;
        let many = shape.extents >= self.merged_extents || shape.bytes >= self.merged_bytes;
        (many || old) && shape.shrinks(run_bytes_max)
    }

    /// Whether small neighbours of level 2 are.
    #[must_use]
    pub fn merges_level_2(&self, shape: LevelShape, run_bytes_max: u32) -> bool {
        shape.extents >= self.merged_extents && shape.shrinks(run_bytes_max)
    }

    /// Whether objects are worth a job that deletes them: so many, of which the first could have been deleted
    /// `due_epochs` ago.
    #[must_use]
    pub(super) fn deletes(count: usize, due_epochs: u32) -> bool {
        count >= DELETABLE_MIN || (count > 0 && due_epochs >= DELETABLE_WAIT_EPOCHS)
    }

    /// How long something rests that rested for `last` upload epochs before.
    pub(super) fn rest_after(&self, last: u32) -> u32 {
        if last == 0 {
            self.rest_epochs.min(REST_EPOCHS_MAX)
        } else {
            last.saturating_mul(2).min(REST_EPOCHS_MAX)
        }
    }
}

impl LevelShape {
    /// Whether a merge surely leaves fewer extents: runs are filled to at least 7/8, for a batch that does
    /// not fit begins the next one.
    fn shrinks(self, run_bytes_max: u32) -> bool {
        let run = u64::from(run_bytes_max / 8).saturating_mul(7).max(1);
        let outputs = (self.bytes / run).saturating_add(1);
        u64::try_from(self.extents).is_ok_and(|extents| outputs < extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn small_objects_are_merged_by_count_bytes_and_age() {
        let settings = PlannerSettings::default();
        for (waiting, bytes, age, merged) in [
            (0, 0, 1_000, false),
            (127, 127 * 8 * MIB - 1, 4, false),
            (128, 1, 0, true),
            (100, 1 << 30, 0, true),
            (7, MIB, 59, false),
            (8, MIB, 4, false),
            (8, MIB, 5, true),
            (1, MIB, 1_000, false),
            (2, MIB, 59, false),
            (2, MIB, 60, true),
        ] {
            let decided = settings.merges_small(waiting, bytes, age);
            assert_eq!(decided, merged, "{waiting} with {bytes} bytes of {age}");
        }
    }

    #[test]
    fn a_merge_of_level_1_leaves_fewer_extents() {
        let settings = PlannerSettings::default();
        let half = 512 << 20;
        for (extents, mib, age_epochs, run_bytes_max, merged) in [
            (63, 1, 0, half, false),
            (64, 1, 0, half, true),
            (2, 256, 0, half, true),
            (1, 256, 1_000, half, false),
            (2, 900, 0, half, false),
            (8, 1, 59, half, false),
            (8, 1, 60, half, true),
            (7, 1, 60, half, false),
            // runs as small as what is there
            (64, 64, 0, 1 << 20, false),
            (64, 64, 0, 2 << 20, true),
        ] {
            let shape = LevelShape {
                extents,
                bytes: mib * MIB,
                age_epochs,
            };
            let decided = settings.merges_level_1(shape, run_bytes_max);
            assert_eq!(decided, merged, "{shape:?} into {run_bytes_max}");
        }
    }

    #[test]
    fn level_2_is_merged_by_count_only() {
        let settings = PlannerSettings::default();
        for (extents, merged) in [(2, false), (63, false), (64, true)] {
            let shape = LevelShape {
                extents,
                bytes: 300 * MIB,
                age_epochs: 1_000,
            };
            let decided = settings.merges_level_2(shape, 512 << 20);
            assert_eq!(decided, merged, "{extents}");
        }
    }

    #[test]
    fn rests_double_up_to_an_hour() {
        let settings = PlannerSettings::default();
        let mut rest = 0;
        let rests: Vec<u32> = std::iter::repeat_with(|| {
            rest = settings.rest_after(rest);
            rest
        })
        .take(7)
        .collect();
        assert_eq!(rests, [2, 4, 8, 16, 32, 60, 60]);
    }
}
