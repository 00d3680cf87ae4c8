//! Leases: who has what.

use std::{collections::BTreeMap, time::Duration};

use aquifer_format::ids::{LeaderTerm, ObjectId, PartitionId, UploadEpoch};
use aquifer_metadata_api::upkeep::{Job, JobKind, JobToken, WorkerId};
use aquifer_store::Monotonic;

/// A lease that ran out, and whose inputs nobody else got, is remembered for so long: what its worker may still
/// swap is refused as too old by then.
const REMEMBERED: Duration = Duration::from_secs(20 * 60);

/// A job that was given out.
#[derive(Clone, Debug)]
pub(super) struct Leased {
    pub(super) job: Job,
    pub(super) worker: WorkerId,
    /// After this another worker may get its inputs; until then the token is good, however late.
    pub(super) until: Monotonic,
}

/// All jobs that were given out and not ended.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) term: LeaderTerm,
    next_number: u64,
    /// Until then nothing is given out: workers of an earlier leader say what they are at.
    pub(super) settles_at: Monotonic,
    leased: BTreeMap<JobToken, Leased>,
    by_worker: BTreeMap<WorkerId, JobToken>,
    /// Objects of level 0, and objects to be deleted, that jobs have.
    objects: BTreeMap<ObjectId, JobToken>,
    /// Partitions whose merged extents a job has.
    partitions: BTreeMap<PartitionId, JobToken>,
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
        }
    }

    pub(super) fn get(&self, token: JobToken) -> Option<&Leased> {
        self.leased.get(&token)
    }

    /// What a worker has.
    pub(super) fn of_worker(&self, worker: WorkerId) -> Option<&Leased> {
        let token = self.by_worker.get(&worker)?;
        self.leased.get(token)
    }

    /// Whether a lease that did not run out has it.
    pub(super) fn has_object(&self, id: &ObjectId, now: Monotonic) -> bool {
        self.is_held(self.objects.get(id), now)
    }

    /// Whether a lease that did not run out has it.
    pub(super) fn has_partition(&self, id: &PartitionId, now: Monotonic) -> bool {
        self.is_held(self.partitions.get(id), now)
    }

    fn is_held(&self, token: Option<&JobToken>, now: Monotonic) -> bool {
        let leased = token.and_then(|token| self.leased.get(token));
        leased.is_some_and(|leased| now <= leased.until)
    }

    /// Whether somebody else has one of the inputs.
    pub(super) fn has_inputs_of(&self, kind: &JobKind, now: Monotonic) -> bool {
        inputs(kind).into_iter().any(|input| match input {
            Input::Object(id) => self.has_object(&id, now),
            Input::Partition(id) => self.has_partition(&id, now),
        })
    }

    /// Prolongs a lease, ran out or not.
    pub(super) fn prolong(&mut self, token: JobToken, until: Monotonic, epoch: UploadEpoch) {
        if let Some(leased) = self.leased.get_mut(&token) {
            leased.until = leased.until.max(until);
            leased.job.upload_epoch = epoch;
        }
    }

    /// Gives a job out; its token is made here. Leases that ran out and have one of its inputs end.
    pub(super) fn give(&mut self, worker: WorkerId, until: Monotonic, mut job: Job) -> Job {
        let token = JobToken {
            term: self.term,
            number: self.next_number,
        };
        self.next_number = self.next_number.saturating_add(1);
        job.token = token;
        for input in inputs(&job.kind) {
            let before = match input {
                Input::Object(id) => self.objects.insert(id, token),
                Input::Partition(id) => self.partitions.insert(id, token),
            };
            if let Some(before) = before.filter(|before| *before != token) {
                self.end(before);
            }
        }
        if let Some(before) = self.by_worker.insert(worker, token) {
            self.end(before);
        }
        let leased = Leased {
            job: job.clone(),
            worker,
            until,
        };
        self.leased.insert(token, leased);
        job
    }

    /// Ends a job.
    pub(super) fn end(&mut self, token: JobToken) -> Option<Leased> {
        let leased = self.leased.remove(&token)?;
        for input in inputs(&leased.job.kind) {
            match input {
                Input::Object(id) => {
                    if self.objects.get(&id) == Some(&token) {
                        self.objects.remove(&id);
                    }
                }
                Input::Partition(id) => {
                    if self.partitions.get(&id) == Some(&token) {
                        self.partitions.remove(&id);
                    }
                }
            }
        }
        if self.by_worker.get(&leased.worker) == Some(&token) {
            self.by_worker.remove(&leased.worker);
        }
        Some(leased)
    }

    /// Forgets leases that ran out long ago.
    pub(super) fn forget(&mut self, now: Monotonic) {
        let is_old = |leased: &Leased| leased.until.plus(REMEMBERED) < now;
        let old = self.leased.iter().filter(|(_, leased)| is_old(leased));
        let old: Vec<JobToken> = old.map(|(token, _)| *token).collect();
        for token in old {
            self.end(token);
        }
    }

    /// Jobs whose leases did not run out.
    pub(super) fn held(&self, now: Monotonic) -> impl Iterator<Item = &Job> + '_ {
        let held = self.leased.values();
        let held = held.filter(move |leased| now <= leased.until);
        held.map(|leased| &leased.job)
    }
}

enum Input {
    Object(ObjectId),
    Partition(PartitionId),
}

/// What no other job may have.
fn inputs(kind: &JobKind) -> Vec<Input> {
    match kind {
        JobKind::MergeObjects { objects, .. } => {
            objects.iter().map(|(id, _)| Input::Object(*id)).collect()
        }
        JobKind::Delete { objects } => objects.iter().copied().map(Input::Object).collect(),
        JobKind::MergeRanges { ranges, .. } => ranges
            .iter()
            .map(|range| Input::Partition(range.partition))
            .collect(),
        JobKind::Clean(clean) => vec![Input::Partition(clean.partition)],
    }
}
