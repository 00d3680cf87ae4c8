//! Leases: who has what.

use std::collections::BTreeMap;

use aquifer_format::ids::{LeaderTerm, ObjectId, PartitionId, UploadEpoch};
use aquifer_metadata_api::upkeep::{Job, JobToken, WorkerId};
use aquifer_store::Monotonic;

/// A job that was given out.
#[derive(Clone, Debug)]
pub(super) struct Leased {
    pub(super) job: Job,
    pub(super) worker: WorkerId,
    /// After this another worker may get its inputs; until then the token is good, however late.
    pub(super) until: Monotonic,
    pub(super) since: Monotonic,
}

/// All jobs that were given out and not ended.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) term: LeaderTerm,
    pub(super) next_number: u64,
    /// Until then nothing is given out: workers of an earlier leader say what they are at.
    pub(super) settles_at: Monotonic,
    pub(super) leased: BTreeMap<JobToken, Leased>,
    pub(super) by_worker: BTreeMap<WorkerId, JobToken>,
    /// Objects of level 0, and objects to be deleted, that jobs have.
    pub(super) objects: BTreeMap<ObjectId, JobToken>,
    /// Partitions whose merged extents a job has.
    pub(super) partitions: BTreeMap<PartitionId, JobToken>,
    /// Inputs that a job left behind: until when they rest, and for how long the last time.
    pub(super) resting: BTreeMap<ObjectId, (UploadEpoch, u32)>,
}

impl Jobs {
    pub(super) fn new(term: LeaderTerm, settles_at: Monotonic) -> Self {
        Self {
            term,
            next_number: 1,
            settles_at,
            leased: BTreeMap::new(),
            by_worker: BTreeMap::new(),
            objects: BTreeMap::new(),
            partitions: BTreeMap::new(),
            resting: BTreeMap::new(),
        }
    }
}
