//! Plans what compactors do.
//!
//! Pure: it looks at the state, a step at a time, and remembers what it gave out. All of it is soft: a new leader
//! begins with nothing, waits one lease for workers to say what they are at, and looks anew. Nothing that it
//! gets wrong can lose a record: [`crate::state::decide::swap`] decides by what lies in the log.

mod clean;
mod jobs;
mod levels;
mod merge;
mod policy;
mod release;
mod rest;
mod runs;
mod small;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use aquifer_format::{
    ids::{ClusterId, LeaderTerm, ObjectId, PartitionId, UploadEpoch},
    limits::{DELETE_OBJECTS_MAX, JOB_OBJECTS_MAX},
};
use aquifer_metadata_api::{
    MetadataError,
    upkeep::{
        Finish, Job, JobKind, JobOutcome, JobToken, LeaseReply, LeaseRequest, Renewal, Renewed,
        WorkKinds, WorkerId,
    },
};
use aquifer_store::Monotonic;

use self::{
    jobs::Jobs, levels::Levels, merge::Candidates, release::Deletable, rest::Resting, small::Small,
};
pub use self::{
    levels::Level,
    policy::{LevelShape, PlannerSettings},
};
use crate::state::State;

/// Time between two steps while there is something to look at.
const STEP_EVERY: Duration = Duration::from_millis(5);
/// Partitions that one step looks at: some hundred microseconds.
const STEP_PARTITIONS: usize = 2_048;
/// When a worker asks again for whom there is no job.
const AGAIN_IN: Duration = Duration::from_secs(1);
/// Most ranges of a job that is taken over.
const RANGES_MAX: usize = 4_096;

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
    /// Their bytes, about.
    pub small_bytes: u64,
    /// Upload epochs since the oldest of them was committed.
    pub small_age_epochs: u32,
    /// Ranges of merged extents that are worth merging again.
    pub partitions: u64,
    /// Logs that are due for compaction.
    pub dirty_logs: u64,
    /// Objects whose bytes may go now.
    pub deletable_objects: u64,
}

/// What one step looked at: the leader does nothing else meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Partitions.
    pub partitions: usize,
    /// Their extents.
    pub extents: usize,
    /// Released objects.
    pub released: usize,
    /// Live objects.
    pub objects: usize,
}

/// The planner.
#[derive(Debug)]
pub struct Planner {
    settings: PlannerSettings,
    jobs: Jobs,
    candidates: Candidates,
    deletable: Deletable,
    levels: Levels,
    /// What of the round is looked at to its end: partitions, released objects, live objects.
    looked: [bool; 3],
    last: Looked,
    /// Objects of level 0 that jobs left behind.
    resting: Resting<ObjectId>,
    /// Partitions whose merged extents jobs left as they were.
    resting_partitions: Resting<PartitionId>,
    /// Logs that were compacted a moment ago, until when they are not again.
    cleaned: BTreeMap<PartitionId, UploadEpoch>,
    /// In which epoch this leader began to look.
    began_in: Option<UploadEpoch>,
    /// Releases of earlier upload epochs are in a backup; None = no backup so far.
    backed_up: Option<UploadEpoch>,
    backlog: Backlog,
    due: Monotonic,
    /// When a worker asked for a job the last time.
    asked: Monotonic,
}

impl Planner {
    /// Of a leader of this term that begins now.
    #[must_use]
    pub fn new(term: LeaderTerm, now: Monotonic, settings: PlannerSettings) -> Self {
        // before the first leader nobody gave anything out
        let settles_at = if term.0 <= 1 {
            now
        } else {
            now.plus(settings.lease)
        };
        Self {
            jobs: Jobs::new(term, settles_at),
            candidates: Candidates::default(),
            deletable: Deletable::default(),
            levels: Levels::default(),
            looked: [false; 3],
            last: Looked::default(),
            resting: Resting::default(),
            resting_partitions: Resting::default(),
            cleaned: BTreeMap::new(),
            began_in: None,
            backed_up: None,
            backlog: Backlog::default(),
            due: now.plus(settings.scan_interval),
            asked: now,
            settings,
        }
    }

    /// When [`Self::step`] is to be called next.
    #[must_use]
    pub fn due(&self) -> Monotonic {
        self.due
    }

    /// When a worker asked for a job the last time, or when this leader began.
    #[must_use]
    pub fn asked(&self) -> Monotonic {
        self.asked
    }

    /// Whether the last step was the last one of a look at everything.
    #[must_use]
    pub fn is_between_looks(&self) -> bool {
        self.looked == [false; 3] && !self.candidates.is_under_way()
    }

    /// What is behind, as the last step saw it.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// What the last step looked at.
    #[must_use]
    pub fn looked(&self) -> Looked {
        self.last
    }

    /// What there was of levels 0, 1 and 2 at the last look at everything.
    #[must_use]
    pub fn levels(&self) -> [Level; 3] {
        self.levels.counted()
    }

    /// A backup has everything that was durable when the upload epoch was `epoch`.
    pub fn backed_up(&mut self, epoch: UploadEpoch) {
        self.backed_up = self.backed_up.max(Some(epoch));
    }

    /// Looks at the next [`STEP_PARTITIONS`] partitions, and at some thousand objects.
    pub fn step(&mut self, state: &State, time: PlanTime) -> Backlog {
        self.began_in.get_or_insert(state.upload_epoch());
        let [partitions, released, objects] = &mut self.looked;
        let mut last = Looked::default();
        if !*partitions {
            let (enabled, settings) = (self.settings.enabled, &self.settings);
            *partitions = !enabled || self.candidates.look(state, settings, time, &mut last);
        }
        if !*released {
            let jobs = &self.jobs;
            let taken = |id: &ObjectId| jobs.has_object(id, time.now);
            let of = (&self.settings, self.backed_up);
            *released = self.deletable.look(state, of, taken, &mut last.released);
        }
        if !*objects {
            *objects = self.levels.look(state, &mut last.objects);
        }
        self.last = last;
        if self.looked == [true; 3] {
            self.looked = [false; 3];
            self.due = time.now.plus(self.settings.scan_interval);
            self.forget(state.upload_epoch(), time.now);
        } else {
            self.due = time.now.plus(STEP_EVERY);
        }
        self.measure(state, time);
        self.backlog
    }

    fn forget(&mut self, epoch: UploadEpoch, now: Monotonic) {
        self.jobs.forget(now);
        self.resting.forget(epoch);
        self.resting_partitions.forget(epoch);
        self.cleaned.retain(|_, until| epoch < *until);
    }

    fn measure(&mut self, state: &State, time: PlanTime) {
        let long = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let epoch = state.upload_epoch();
        // the whole list is long where it matters: its beginning says enough
        let small = self.small(state, time, &Small::SHORT);
        let merging = self.jobs.held(time.now).map(|job| match &job.kind {
            JobKind::MergeObjects { objects, .. } => objects.len(),
            _ => 0,
        });
        let known = self.resting.count(epoch).saturating_add(merging.sum());
        let waiting = state.small_objects_count().saturating_sub(known);
        let waiting = waiting.max(small.objects.len());
        let bytes = small.bytes.saturating_mul(long(waiting));
        self.backlog = Backlog {
            small_objects: long(waiting),
            small_bytes: bytes / long(small.objects.len()).max(1),
            small_age_epochs: small.age_epochs,
            partitions: long(self.candidates.ranges_count()),
            dirty_logs: long(self.candidates.logs_count()),
            deletable_objects: long(self.deletable.count()),
        };
    }

    fn small(&self, state: &State, time: PlanTime, bounds: &Small) -> small::Waiting {
        let epoch = state.upload_epoch();
        bounds.gather(state, |id| {
            self.jobs.has_object(id, time.now) || self.resting.has(id, epoch)
        })
    }

    /// Jobs that workers have, by kind.
    #[must_use]
    pub fn jobs(&self, now: Monotonic) -> BTreeMap<&'static str, u64> {
        let mut jobs: BTreeMap<&'static str, u64> = JOB_KINDS.map(|kind| (kind, 0)).into();
        for job in self.jobs.held(now) {
            *jobs.entry(kind_name(&job.kind)).or_default() += 1;
        }
        jobs
    }

    /// Gives out the most urgent job: deletions that are due first, then level 0 by age and count, then log
    /// compaction by dirty ratio, then level 1 and 2 by count.
    pub fn lease(&mut self, state: &State, time: PlanTime, request: LeaseRequest) -> LeaseReply {
        self.asked = time.now;
        let none = |again_in: Duration| LeaseReply {
            job: None,
            again_in,
        };
        let until = time.now.plus(self.settings.lease);
        let of_worker = self.jobs.of_worker(request.worker);
        if let Some(token) = of_worker.map(|leased| leased.job.token) {
            self.jobs.prolong(token, until, state.upload_epoch());
            let job = self.jobs.get(token).map(|leased| leased.job.clone());
            let again_in = AGAIN_IN;
            return LeaseReply { job, again_in };
        }
        if time.now < self.jobs.settles_at {
            return none(self.jobs.settles_at.since(time.now).min(AGAIN_IN));
        }
        let Some(cluster) = state.cluster() else {
            return none(AGAIN_IN);
        };
        match self.next(state, time, request.kinds) {
            Some(kind) => LeaseReply {
                job: Some(self.give(state, time, cluster, request.worker, kind)),
                again_in: AGAIN_IN,
            },
            None => none(AGAIN_IN),
        }
    }

    fn give(
        &mut self,
        state: &State,
        time: PlanTime,
        cluster: ClusterId,
        worker: WorkerId,
        kind: JobKind,
    ) -> Job {
        let lease = self.settings.lease;
        let job = Job {
            token: JobToken {
                term: self.jobs.term,
                number: 0,
            },
            lease,
            cluster,
            incarnation: state.incarnation(),
            upload_epoch: state.upload_epoch(),
            kind,
        };
        self.jobs.give(worker, time.now.plus(lease), job)
    }

    fn next(&mut self, state: &State, time: PlanTime, kinds: WorkKinds) -> Option<JobKind> {
        let (settings, now, epoch) = (self.settings, time.now, state.upload_epoch());
        let jobs = &self.jobs;
        if kinds.delete {
            let taken = |id: &ObjectId| jobs.has_object(id, now);
            let objects = self.deletable.take(&settings, epoch, taken);
            if !objects.is_empty() {
                return Some(JobKind::Delete { objects });
            }
        }
        if !settings.enabled {
            return None;
        }
        let object_bytes = settings.object_bytes;
        if kinds.merge {
            let bounds = Small::of_job(&settings);
            let waiting = self.small(state, time, &bounds);
            let (count, age) = (waiting.objects.len(), waiting.age_epochs);
            if count > 0 && settings.merges_small(count, waiting.bytes, age) {
                return Some(JobKind::MergeObjects {
                    objects: waiting.objects,
                    object_bytes,
                });
            }
        }
        let jobs = &self.jobs;
        let resting = &self.resting_partitions;
        let free = |id: &PartitionId| !jobs.has_partition(id, now) && !resting.has(id, epoch);
        // what an earlier leader had compacted is not known
        let rests = settings.clean_rest_epochs;
        let cleans = |began: UploadEpoch| epoch.0 >= began.0.saturating_add(rests);
        if kinds.clean && self.began_in.is_some_and(cleans) {
            let cleaned = &self.cleaned;
            let waits = |id: &PartitionId| cleaned.get(id).is_some_and(|until| epoch < *until);
            let free = |id: &PartitionId| free(id) && !waits(id);
            let clean = self.candidates.take_log(state, &settings, time, free);
            if let Some(clean) = clean {
                return Some(JobKind::Clean(clean));
            }
        }
        if kinds.merge {
            let ranges = self.candidates.take_ranges(state, &settings, free);
            if !ranges.is_empty() {
                return Some(JobKind::MergeRanges {
                    ranges,
                    object_bytes,
                });
            }
        }
        None
    }

    /// Prolongs a lease, or takes a job of an earlier leader over.
    pub fn renew(&mut self, state: &State, time: PlanTime, renewal: &Renewal) -> Renewed {
        let epoch = state.upload_epoch();
        let known = self.jobs.get(renewal.job.token);
        let known = known.or_else(|| {
            // an answer with a later token was lost
            let now = self.jobs.of_worker(renewal.worker)?;
            (now.job.kind == renewal.job.kind).then_some(now)
        });
        let token = match known {
            Some(leased) if leased.worker == renewal.worker => Some(leased.job.token),
            Some(_) => None,
            None => self.adopt(state, time, renewal),
        };
        let Some(token) = token else {
            return Renewed::Lost;
        };
        let until = time.now.plus(self.settings.lease);
        self.jobs.prolong(token, until, epoch);
        Renewed::Held {
            token,
            upload_epoch: epoch,
        }
    }

    /// Takes over a job of an earlier leader whose inputs nobody else has.
    fn adopt(&mut self, state: &State, time: PlanTime, renewal: &Renewal) -> Option<JobToken> {
        let (worker, job) = (renewal.worker, &renewal.job);
        let cluster = state.cluster()?;
        let is_ours = job.cluster == cluster && job.incarnation == state.incarnation();
        let is_of_earlier = job.token.term < self.jobs.term;
        let is_busy = self.jobs.of_worker(worker).is_some();
        if !is_ours || !is_of_earlier || is_busy || self.jobs.has_inputs_of(&job.kind, time.now) {
            return None;
        }
        let is_there = match &job.kind {
            JobKind::MergeObjects { objects, .. } => {
                let ids: Vec<ObjectId> = objects.iter().map(|(id, _)| *id).collect();
                ids.len() <= JOB_OBJECTS_MAX
                    && self.settings.enabled
                    && !small::left(state, &ids).is_empty()
            }
            JobKind::MergeRanges { ranges, .. } => {
                ranges.len() <= RANGES_MAX && self.settings.enabled
            }
            JobKind::Clean(clean) => {
                self.settings.enabled && state.planned_partition(clean.partition).is_some()
            }
            JobKind::Delete { objects } => objects.len() <= DELETE_OBJECTS_MAX,
        };
        if !is_there {
            return None;
        }
        let job = self.give(state, time, cluster, worker, job.kind.clone());
        Some(job.token)
    }

    /// The job of a token that may swap: one that was not given to anybody else.
    ///
    /// # Errors
    /// [`MetadataError::Refused`]: it is fenced.
    pub fn admit(&self, token: JobToken) -> Result<&Job, MetadataError> {
        let leased = self.jobs.get(token);
        leased
            .map(|leased| &leased.job)
            .ok_or_else(|| MetadataError::Refused {
                reason: format!(
                    "nobody has the job {} of term {}: it ended, or was given to another; renew it",
                    token.number, token.term
                ),
            })
    }

    /// Whether this worker has the job of this token.
    #[must_use]
    pub fn is_held_by(&self, token: JobToken, worker: WorkerId) -> bool {
        let leased = self.jobs.get(token);
        leased.is_some_and(|leased| leased.worker == worker)
    }

    /// Ranges of a job were swapped, or may have been.
    pub fn swapped(&mut self, state: &State, token: JobToken) {
        let Some(leased) = self.jobs.get(token) else {
            return;
        };
        if let JobKind::Clean(clean) = &leased.job.kind {
            let partition = clean.partition;
            self.rest_log(state.upload_epoch(), partition);
        }
    }

    /// Agents read by what they know of a log that was compacted; it is not again before they know better.
    fn rest_log(&mut self, now: UploadEpoch, partition: PartitionId) {
        let until = now.0.saturating_add(self.settings.clean_rest_epochs);
        self.cleaned.insert(partition, UploadEpoch(until));
    }

    /// Ends a job. What stays of its inputs rests for a while before it is planned again.
    pub fn finish(&mut self, state: &State, finish: &Finish) {
        if !self.is_held_by(finish.token, finish.worker) {
            return;
        }
        let Some(leased) = self.jobs.end(finish.token) else {
            return;
        };
        let (settings, epoch) = (self.settings, state.upload_epoch());
        match leased.job.kind {
            JobKind::MergeObjects { objects, .. } => {
                let ids: Vec<ObjectId> = objects.into_iter().map(|(id, _)| id).collect();
                for id in small::left(state, &ids) {
                    self.resting.add(&settings, id, epoch);
                }
            }
            JobKind::MergeRanges { ranges, .. } => {
                for range in ranges {
                    if merge::is_unchanged(state, &settings, range) {
                        self.resting_partitions
                            .add(&settings, range.partition, epoch);
                    }
                }
            }
            JobKind::Clean(clean) => {
                self.rest_log(epoch, clean.partition);
                let now = state.planned_partition(clean.partition);
                let moved = now.is_some_and(|now| now.cleaned_through() > clean.first_dirty);
                if !moved || matches!(finish.outcome, JobOutcome::Failed { .. }) {
                    self.resting_partitions
                        .add(&settings, clean.partition, epoch);
                }
            }
            // what is still there is found again
            JobKind::Delete { .. } => {}
        }
    }
}

/// Kinds of jobs, as metrics name them.
const JOB_KINDS: [&str; 4] = ["clean", "delete", "merge_objects", "merge_ranges"];

/// A job's kind, as metrics name it.
#[must_use]
pub fn kind_name(kind: &JobKind) -> &'static str {
    match kind {
        JobKind::MergeObjects { .. } => "merge_objects",
        JobKind::MergeRanges { .. } => "merge_ranges",
        JobKind::Clean(_) => "clean",
        JobKind::Delete { .. } => "delete",
    }
}
