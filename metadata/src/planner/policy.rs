//! When what is worth doing: pure functions of counts, bytes and ages.

use std::time::Duration;

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
    /// Shortest time between two compactions of one log. Default 15 s (Kafka's `log.cleaner.backoff.ms`).
    pub clean_backoff: Duration,
}

impl Default for PlannerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            lease: Duration::from_secs(30),
            scan_interval: Duration::from_secs(10),
            small_objects: aquifer_format::limits::JOB_OBJECTS_MAX,
            small_bytes: 1 << 30,
            small_age_epochs: 5,
            small_objects_min: 8,
            merged_extents: 64,
            merged_bytes: 256 << 20,
            merged_age_epochs: 60,
            large_bytes: 64 << 20,
            object_bytes: 1 << 30,
            grace_epochs: aquifer_format::limits::RELEASE_GRACE_EPOCHS,
            waits_for_backup: false,
            rest_epochs: 2,
            clean_backoff: Duration::from_secs(15),
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

impl PlannerSettings {
    /// Whether objects of level 0 are worth a job: `waiting` of them with `bytes`, the oldest `age_epochs` old.
    #[must_use]
    pub fn merges_small(&self, waiting: usize, bytes: u64, age_epochs: u32) -> bool {
        let _ = (waiting, bytes, age_epochs);
        todo!("builder C")
    }

    /// Whether neighbours of level 1 are worth a job. It must leave fewer extents than it takes.
    #[must_use]
    pub fn merges_level_1(&self, shape: LevelShape, run_bytes_max: u32) -> bool {
        let _ = (shape, run_bytes_max);
        todo!("builder C")
    }

    /// Whether small neighbours of level 2 are.
    #[must_use]
    pub fn merges_level_2(&self, shape: LevelShape, run_bytes_max: u32) -> bool {
        let _ = (shape, run_bytes_max);
        todo!("builder C")
    }
}
