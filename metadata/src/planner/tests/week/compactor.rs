//! Compactors that move no bytes: they ask the leader what real ones ask, in the same order, take as long, swap what a
//! merge would have written, and count what they would have asked the bucket.

use std::time::Duration;

use aquifer_format::{
    ids::{ObjectId, Offset, PartitionId},
    limits::{JOB_PARTITIONS_MAX, UPLOAD_PART_BYTES},
};
use aquifer_metadata_api::upkeep::{
    Finish, InputsRequest, Job, JobKind, JobOutcome, LeaseRequest, RangeOutcome, Renewal, Renewed,
    SwapRequest, WorkKinds, WorkerId,
};
use aquifer_store::Monotonic;

use super::{
    MIB,
    bed::{Bucket, Sample},
    leader::Leader,
    merging::{Merged, Merging},
};

/// What a worker reads in a second, and writes in the same.
const BYTES_PER_SECOND: u64 = 64 * MIB;
/// What a job takes beside that; a deletion takes that only.
const JOB_SECONDS: u64 = 2;
/// Time between two renewals: a third of a lease, or less.
const RENEW_EVERY: Duration = Duration::from_secs(8);
/// Of so many jobs one is lost with its worker, and the worker of one stands still.
const TROUBLE_EVERY: u64 = 300;
/// For how long it does: its lease runs out.
const STALL: Duration = Duration::from_secs(100);

/// Workers, as many as are needed and a third more.
pub(super) struct Compactors {
    workers: Vec<Worker>,
    names: u64,
    objects: u64,
    jobs: u64,
}

struct Worker {
    id: WorkerId,
    work: Option<Work>,
}

/// A job under way.
struct Work {
    /// Has the job.
    renewal: Renewal,
    renewed: Monotonic,
    ends: Monotonic,
    stalls: bool,
    merged: Merged,
}

impl Compactors {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        // each byte is merged up to three times
        let count = 2 + 4 * bytes_per_second.div_ceil(BYTES_PER_SECOND);
        Self {
            workers: (1..=count)
                .map(|id| Worker {
                    id: WorkerId(id),
                    work: None,
                })
                .collect(),
            names: count,
            objects: 0,
            jobs: 0,
        }
    }

    /// Some seconds passed.
    pub(super) fn turn(&mut self, leader: &mut Leader, bucket: &mut Bucket, sample: &mut Sample) {
        for worker in &mut self.workers {
            if let Some(work) = worker.work.take() {
                worker.work = work.go_on(leader, bucket, sample);
            }
        }
        for at in 0..self.workers.len() {
            let is_idle = self.workers[at].work.is_none();
            if is_idle && !self.ask(at, leader, bucket, sample) {
                return;
            }
        }
    }

    /// Whether there was a job.
    fn ask(
        &mut self,
        at: usize,
        leader: &mut Leader,
        bucket: &Bucket,
        sample: &mut Sample,
    ) -> bool {
        let worker = self.workers[at].id;
        let request = LeaseRequest {
            worker,
            kinds: WorkKinds::ALL,
        };
        let Some(job) = leader.lease(request) else {
            return false;
        };
        sample.calls += 1;
        self.jobs += 1;
        let trouble = self.jobs % TROUBLE_EVERY;
        if trouble == TROUBLE_EVERY / 2 {
            // another process takes its place
            self.names += 1;
            self.workers[at].id = WorkerId(self.names);
            sample.lost_jobs += 1;
            return true;
        }
        let stalls = trouble == 0;
        let merged = merge(&job, leader, bucket, &mut self.objects, sample);
        let seconds = JOB_SECONDS + merged.read_bytes / BYTES_PER_SECOND;
        let ends = leader.now.plus(Duration::from_secs(seconds));
        self.workers[at].work = Some(Work {
            renewal: Renewal {
                worker,
                job,
                read_bytes: 0,
            },
            renewed: leader.now,
            ends: if stalls { ends.plus(STALL) } else { ends },
            stalls,
            merged,
        });
        true
    }
}

impl Work {
    /// None = it ended.
    fn go_on(
        mut self,
        leader: &mut Leader,
        bucket: &mut Bucket,
        sample: &mut Sample,
    ) -> Option<Self> {
        if !self.stalls && leader.now >= self.renewed.plus(RENEW_EVERY) {
            sample.calls += 1;
            let Renewed::Held { token, .. } = leader.renew(&self.renewal) else {
                sample.lost_jobs += 1;
                return None;
            };
            self.renewal.job.token = token;
            self.renewed = leader.now;
        }
        if leader.now < self.ends {
            return Some(self);
        }
        self.end(leader, bucket, sample);
        None
    }

    /// All is uploaded, or deleted: says so to the leader.
    fn end(self, leader: &mut Leader, bucket: &mut Bucket, sample: &mut Sample) {
        let Self {
            renewal, merged, ..
        } = self;
        let (worker, token) = (renewal.worker, renewal.job.token);
        let is_there = |id: &ObjectId| bucket.objects.contains_key(id);
        assert!(
            merged.inputs.iter().all(is_there),
            "nothing is deleted that a job reads"
        );
        let written_bytes: u64 = merged.objects.iter().map(|object| object.bytes).sum();
        sample.written_bytes += written_bytes;
        sample.gets += merged.gets;
        for object in &merged.objects {
            bucket.objects.insert(object.id, 0..0);
            sample.puts += puts(object.bytes);
        }
        let mut deleted = Vec::new();
        if let JobKind::Delete { objects } = &renewal.job.kind {
            sample.deletes += 1;
            deleted.clone_from(objects);
            // who stood still deletes what another one deleted
            for id in objects {
                bucket.objects.remove(id);
            }
        }
        for ranges in merged.pieces {
            let request = SwapRequest {
                worker,
                token,
                objects: merged.objects.clone(),
                inputs: merged.inputs.clone(),
                ranges,
            };
            sample.calls += 1;
            let Some(outcomes) = leader.swap(&request) else {
                sample.lost_jobs += 1;
                break;
            };
            for outcome in outcomes {
                if outcome == RangeOutcome::Done {
                    sample.done += 1;
                } else {
                    sample.not_done += 1;
                }
            }
        }
        sample.calls += 1;
        leader.finish(&Finish {
            worker,
            token,
            outcome: JobOutcome::Done,
            deleted,
            read_bytes: merged.read_bytes,
            written_bytes,
        });
        let ids: Vec<ObjectId> = merged.objects.iter().map(|object| object.id).collect();
        let known = leader.state.live_objects(&ids).expect("the cluster began");
        for (id, is_known) in ids.iter().zip(known.live) {
            if !is_known {
                bucket.objects.remove(id);
                sample.swept += 1;
            }
        }
    }
}

/// Requests of an upload: in parts where it is larger than one.
fn puts(bytes: u64) -> u64 {
    let part = u64::try_from(UPLOAD_PART_BYTES).expect("some MiB");
    if bytes <= part {
        1
    } else {
        bytes.div_ceil(part) + 2
    }
}

/// Asks for a job's inputs until there are no more.
fn merge(
    job: &Job,
    leader: &mut Leader,
    bucket: &Bucket,
    unique: &mut u64,
    sample: &mut Sample,
) -> Merged {
    let Some(mut merging) = Merging::new(job, unique) else {
        return Merged::default();
    };
    for chunk in partitions(&job.kind, bucket).chunks(JOB_PARTITIONS_MAX) {
        let mut request = InputsRequest {
            token: job.token,
            partitions: chunk.to_vec(),
        };
        loop {
            sample.calls += 1;
            let reply = leader.inputs(&request);
            merging.take(&reply);
            let Some((id, offset)) = reply.next else {
                break;
            };
            let wanted = &mut request.partitions;
            let done = wanted.iter().position(|(wanted, _)| *wanted == id);
            let done = done.expect("it was asked for");
            assert!(done > 0 || offset > wanted[0].1, "it gets on");
            wanted.drain(..done);
            wanted[0].1 = offset;
        }
    }
    merging.into_merged()
}

/// The partitions that a job has, sorted, and from where on.
fn partitions(kind: &JobKind, bucket: &Bucket) -> Vec<(PartitionId, Offset)> {
    let mut partitions: Vec<(PartitionId, Offset)> = match kind {
        JobKind::MergeObjects { objects, .. } => objects
            .iter()
            .flat_map(|(id, _)| bucket.partitions(id))
            .map(|id| (id, Offset(0)))
            .collect(),
        JobKind::MergeRanges { ranges, .. } => ranges
            .iter()
            .map(|range| (range.partition, range.from))
            .collect(),
        JobKind::Clean(_) | JobKind::Delete { .. } => Vec::new(),
    };
    partitions.sort_unstable();
    partitions.dedup_by_key(|(id, _)| *id);
    partitions
}
