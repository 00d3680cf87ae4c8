//! Plans what compactors do.
//!
//! Pure: it looks at the state, a step at a time, and remembers what it gave out. All of it is soft: a new leader
//! begins with nothing, waits one lease for workers to say what they are at, and looks anew. Nothing that it
//! gets wrong can lose a record: [`crate::state::decide::swap`] decides by what lies in the log.

mod clean;
mod jobs;
mod merge;
mod policy;
mod release;

use std::time::Duration;

use aquifer_format::ids::{LeaderTerm, UploadEpoch};
use aquifer_metadata_api::{
    MetadataError,
    upkeep::{Finish, JobToken, LeaseReply, LeaseRequest, Renewal, Renewed},
};
use aquifer_store::Monotonic;

pub use self::{
    clean::{CleanBounds, CleanLog, LogExtent},
    policy::{LevelShape, PlannerSettings},
};
use self::{jobs::Jobs, merge::Candidates};
use crate::state::State;

/// Time between two steps while there is something to look at.
const STEP_EVERY: Duration = Duration::from_millis(5);
/// Partitions that one step looks at: some hundred microseconds.
const STEP_PARTITIONS: usize = 2_048;

/// What the planner must know of the moment.
#[derive(Clone, Copy, Debug)]
pub struct PlanTime {
    /// The monotonic clock.
    pub now: Monotonic,
    /// The wall clock, for lags and horizons.
    pub unix_millis: i64,
}

/// Behind-ness, for metrics and people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Objects of level 0 with live extents that no job has.
    pub small_objects: u64,
    /// Their bytes.
    pub small_bytes: u64,
    /// Upload epochs since the oldest of them was committed.
    pub small_age_epochs: u32,
    /// Partitions with merged extents that are worth merging again.
    pub partitions: u64,
    /// Logs that are due for compaction.
    pub dirty_logs: u64,
    /// Objects whose bytes may go now.
    pub deletable_objects: u64,
}

/// The planner.
#[derive(Debug)]
pub struct Planner {
    settings: PlannerSettings,
    jobs: Jobs,
    candidates: Candidates,
    /// Releases of earlier upload epochs are in a backup; None = no backup so far.
    backed_up: Option<UploadEpoch>,
    due: Monotonic,
}

impl Planner {
    /// Of a leader of this term that begins now.
    #[must_use]
    pub fn new(term: LeaderTerm, now: Monotonic, settings: PlannerSettings) -> Self {
        Self {
            jobs: Jobs::new(term, now.plus(settings.lease)),
            candidates: Candidates::default(),
            settings,
            backed_up: None,
            due: now.plus(settings.scan_interval),
        }
    }

    /// When [`Self::step`] is to be called next.
    #[must_use]
    pub fn due(&self) -> Monotonic {
        self.due
    }

    /// A backup has everything that was durable when the upload epoch was `epoch`.
    pub fn backed_up(&mut self, epoch: UploadEpoch) {
        self.backed_up = self.backed_up.max(Some(epoch));
    }

    /// Looks at the next [`STEP_PARTITIONS`] partitions and expires leases.
    pub fn step(&mut self, state: &State, time: PlanTime) -> Backlog {
        let _ = (
            state,
            time,
            STEP_EVERY,
            STEP_PARTITIONS,
            self.backed_up,
            self.settings,
        );
        todo!("builder C")
    }

    /// Gives out the most urgent job: deletions that are due first, then level 0 by age and count, then log
    /// compaction by dirty ratio, then level 1 and 2 by count.
    pub fn lease(&mut self, state: &State, time: PlanTime, request: LeaseRequest) -> LeaseReply {
        let _ = (state, time, request, &mut self.jobs, &mut self.candidates);
        todo!("builder C")
    }

    /// Prolongs a lease, or takes a job of an earlier leader over.
    pub fn renew(&mut self, state: &State, time: PlanTime, renewal: &Renewal) -> Renewed {
        let _ = (state, time, renewal);
        todo!("builder C")
    }

    /// The job of a token that may swap: one that was not given to anybody else.
    ///
    /// # Errors
    /// [`MetadataError::Refused`]: it is fenced.
    pub fn admit(
        &self,
        token: JobToken,
    ) -> Result<&aquifer_metadata_api::upkeep::Job, MetadataError> {
        let _ = token;
        todo!("builder C")
    }

    /// Ends a job. What stays of its inputs rests for a while before it is planned again.
    pub fn finish(&mut self, state: &State, time: PlanTime, finish: &Finish) {
        let _ = (state, time, finish);
        todo!("builder C")
    }
}
