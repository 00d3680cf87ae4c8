mod steps;
mod week;

use std::collections::BTreeSet;

use aquifer_format::ids::{ObjectLevel, Offset, PartitionIndex, SessionId, TopicId, WriterSlot};
use aquifer_metadata_api::upkeep::{
    Inputs, InputsRequest, MergedExtent, RangeOutcome, SwapObject, SwapRange, SwapRequest,
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::state::{
    decide,
    tests::world::{World, plain},
};

const PARTITIONS: i32 = 3;

fn settings() -> PlannerSettings {
    PlannerSettings {
        scan_interval: Duration::from_secs(1),
        small_objects: 8,
        small_age_epochs: 2,
        small_objects_min: 2,
        merged_extents: 4,
        grace_epochs: 2,
        rest_epochs: 1,
        clean_rest_epochs: 0,
        ..PlannerSettings::default()
    }
}

/// A leader's state and planner, an agent, and workers that do in one go what real ones do in a minute.
struct Cluster {
    world: World,
    planner: Planner,
    now: Monotonic,
    topic: TopicId,
    session: SessionId,
    slot: WriterSlot,
    workers: Vec<(WorkerId, Option<Job>)>,
    unique: u64,
}

impl Cluster {
    fn new(settings: PlannerSettings, configs: &[(&str, &str)]) -> Self {
        let mut world = World::new();
        let topic = world.create_with("log", PARTITIONS, configs);
        let registration = world.register();
        let now = Monotonic(Duration::from_secs(1_000));
        Self {
            world,
            planner: Planner::new(LeaderTerm(1), now, settings),
            now,
            topic,
            session: registration.session,
            slot: registration.slot,
            workers: (1..=3).map(|id| (WorkerId(id), None)).collect(),
            unique: 0,
        }
    }

    fn time(&self) -> PlanTime {
        PlanTime {
            now: self.now,
            unix_millis: self.world.now.unix_millis,
        }
    }

    fn partition(&self, index: i32) -> PartitionId {
        PartitionId::new(self.topic, PartitionIndex(index))
    }

    /// One object with a batch for each of the first `partitions`.
    fn commit(&mut self, partitions: i32) {
        let runs: Vec<_> = (0..partitions)
            .map(|index| (self.partition(index), vec![plain(10)]))
            .collect();
        let commit = self.world.next_commit(self.session, self.slot, &runs);
        self.world.commit(self.session, &commit);
    }

    /// Time passes, and the planner looks at everything.
    fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        loop {
            let time = self.time();
            self.planner.step(&self.world.state, time);
            if self.planner.is_between_looks() {
                break;
            }
        }
        self.check_claims();
    }

    /// No input is in two jobs whose leases run.
    fn check_claims(&self) {
        let mut objects = BTreeSet::new();
        let mut partitions = BTreeSet::new();
        for job in self.planner.jobs.held(self.now) {
            match &job.kind {
                JobKind::MergeObjects { objects: of, .. } => {
                    assert!(of.len() > 1, "nothing shrinks: {job:?}");
                    assert!(of.iter().all(|(id, _)| objects.insert(*id)), "{job:?}");
                }
                JobKind::Delete { objects: of } => {
                    assert!(of.iter().all(|id| objects.insert(*id)), "{job:?}");
                }
                JobKind::MergeRanges { ranges, .. } => {
                    let of: BTreeSet<_> = ranges.iter().map(|range| range.partition).collect();
                    assert!(of.iter().all(|id| partitions.insert(*id)), "{job:?}");
                }
                JobKind::Clean(clean) => assert!(partitions.insert(clean.partition)),
            }
        }
    }

    fn lease(&mut self, worker: usize) -> bool {
        let time = self.time();
        let request = LeaseRequest {
            worker: self.workers[worker].0,
            kinds: WorkKinds::ALL,
        };
        let reply = self.planner.lease(&self.world.state, time, request);
        self.check_claims();
        let has = reply.job.is_some();
        self.workers[worker].1 = reply.job;
        has
    }

    fn renew(&mut self, worker: usize) {
        let time = self.time();
        let (id, job) = self.workers[worker].clone();
        let Some(job) = job else {
            return;
        };
        let renewal = Renewal {
            worker: id,
            job: job.clone(),
            read_bytes: 0,
        };
        let renewed = self.planner.renew(&self.world.state, time, &renewal);
        self.workers[worker].1 = match renewed {
            Renewed::Held {
                token,
                upload_epoch,
            } => Some(Job {
                token,
                upload_epoch,
                ..job
            }),
            Renewed::Lost => None,
        };
        self.check_claims();
    }

    /// Does what the worker has to do, however late that is.
    fn work(&mut self, worker: usize) {
        let (id, job) = self.workers[worker].clone();
        let Some(job) = job else {
            return;
        };
        self.workers[worker].1 = None;
        let deleted = match &job.kind {
            JobKind::Delete { objects } => objects.clone(),
            _ => {
                self.merge(id, &job);
                Vec::new()
            }
        };
        let finish = Finish {
            worker: id,
            token: job.token,
            outcome: JobOutcome::Done,
            deleted,
            read_bytes: 0,
            written_bytes: 0,
        };
        if self.planner.is_held_by(job.token, id) {
            let decided = decide::delete_objects(&self.world.state, &finish.deleted);
            self.world.decided(decided);
        }
        self.planner.finish(&self.world.state, &finish);
    }

    fn merge(&mut self, worker: WorkerId, job: &Job) {
        let request = InputsRequest {
            token: job.token,
            partitions: (0..PARTITIONS)
                .map(|index| (self.partition(index), Offset(0)))
                .collect(),
        };
        let reply = self.world.state.job_inputs(&job.kind, &request);
        assert_eq!(reply.next, None);
        let ranges: Vec<SwapRange> = reply.partitions.iter().flat_map(ranges).collect();
        let extents = reply.partitions.iter().flat_map(|inputs| &inputs.extents);
        let inputs: BTreeSet<ObjectId> = extents.map(|extent| extent.object).collect();
        if ranges.is_empty() || !self.planner.is_held_by(job.token, worker) {
            return;
        }
        self.unique += 1;
        let swap = SwapRequest {
            worker,
            token: job.token,
            objects: vec![SwapObject {
                id: ObjectId {
                    incarnation: job.incarnation,
                    upload_epoch: job.upload_epoch,
                    writer: WriterSlot::COMPACTOR,
                    level: job.kind.level().expect("it writes"),
                    unique: self.unique,
                },
                bytes: 1 << 20,
                locations: vec![0],
            }],
            inputs: inputs.into_iter().collect(),
            ranges,
        };
        let decided = decide::swap(&self.world.state, &swap).expect("it is well formed");
        let (reply, _) = self.world.decided(decided);
        for outcome in reply.outcomes {
            // a job that was taken over may have been done by another before
            let fine = matches!(
                outcome,
                RangeOutcome::Done | RangeOutcome::TooOld | RangeOutcome::Useless
            );
            assert!(fine, "{outcome:?} of {swap:?}");
        }
    }

    /// What is in the log, whatever objects it lies in.
    fn check_logs(&self) {
        for index in 0..PARTITIONS {
            let id = self.partition(index);
            let marks = self.world.state.watermarks(id).expect("it is there");
            let mut at = Offset(0);
            for extent in self.world.state.extents(id, Offset(0)) {
                assert_eq!(extent.base_offset, at, "of {id}");
                at = extent.end_offset;
            }
            assert_eq!(at, marks.high_watermark, "of {id}");
        }
    }

    /// A new leader has the same rows and no job.
    fn take_over(&mut self) {
        let term = LeaderTerm(self.planner.jobs.term.0 + 1);
        self.planner = Planner::new(term, self.now, self.planner.settings);
    }

    /// Lets one worker go on until there is nothing left to do for hours.
    fn drain(&mut self) {
        for worker in &mut self.workers {
            worker.1 = None;
        }
        self.workers[0].0 = WorkerId(1_000);
        for _ in 0..200 {
            self.pass(60);
            self.world.advance(1);
            while self.lease(0) {
                self.work(0);
            }
        }
    }

    fn levels(&self) -> Vec<ObjectLevel> {
        let page = self
            .world
            .state
            .objects_page(&aquifer_metadata_api::upkeep::ObjectsRequest {
                after: None,
                limit: 4_096,
            });
        let objects = page.expect("the cluster has begun").objects.into_iter();
        objects.map(|object| object.id.level).collect()
    }
}

/// One output for each of the partition's ranges.
fn ranges(inputs: &Inputs) -> Vec<SwapRange> {
    let mut ranges: Vec<SwapRange> = Vec::new();
    for (extent, begins) in inputs.extents.iter().zip(&inputs.breaks) {
        if *begins || ranges.is_empty() {
            ranges.push(SwapRange {
                partition: inputs.partition,
                from: extent.base_offset,
                to: extent.end_offset,
                extents: vec![MergedExtent {
                    object: 0,
                    run_position: 8,
                    run_bytes: 100,
                    raw_bytes: 0,
                    base_offset: extent.base_offset,
                    end_offset: extent.end_offset,
                    max_timestamp: extent.max_timestamp,
                }],
                cleaned_through: None,
            });
        }
        let range = ranges.last_mut().expect("pushed just above");
        range.to = extent.end_offset;
        range.extents[0].end_offset = extent.end_offset;
        range.extents[0].raw_bytes += extent.raw_bytes;
    }
    ranges
}

#[test]
fn jobs_come_in_order_of_urgency_and_kinds_are_respected() {
    let mut cluster = Cluster::new(settings(), &[]);
    assert!(!cluster.lease(0), "nothing is there");
    for _ in 0..8 {
        cluster.commit(1);
    }
    let request = LeaseRequest {
        worker: WorkerId(9),
        kinds: WorkKinds {
            merge: false,
            clean: true,
            delete: true,
        },
    };
    let time = cluster.time();
    let reply = cluster.planner.lease(&cluster.world.state, time, request);
    assert_eq!(reply.job, None);
    assert!(cluster.lease(0));
    let job = cluster.workers[0].1.clone().expect("just leased");
    assert!(
        matches!(&job.kind, JobKind::MergeObjects { objects, .. } if objects.len() == 8),
        "{job:?}"
    );
    cluster.work(0);
    assert_eq!(cluster.world.state.small_objects_count(), 0);
    cluster.check_logs();
    // what was released waits for its grace
    cluster.pass(1);
    assert!(!cluster.lease(0));
    cluster.world.advance(4);
    cluster.pass(1);
    assert!(cluster.lease(0));
    let job = cluster.workers[0].1.clone().expect("just leased");
    assert!(
        matches!(&job.kind, JobKind::Delete { objects } if objects.len() == 8),
        "{job:?}"
    );
    cluster.work(0);
    assert_eq!(cluster.levels(), [ObjectLevel::L1]);
}

#[test]
fn a_lease_that_ran_out_is_good_until_another_has_its_inputs() {
    let mut cluster = Cluster::new(settings(), &[]);
    for _ in 0..8 {
        cluster.commit(1);
    }
    assert!(cluster.lease(0));
    let job = cluster.workers[0].1.clone().expect("just leased");
    cluster.pass(31);
    assert!(cluster.planner.admit(job.token).is_ok(), "nobody has it");
    assert!(cluster.lease(1), "another one gets it");
    assert!(cluster.planner.admit(job.token).is_err(), "it is fenced");
    cluster.renew(0);
    assert!(cluster.workers[0].1.is_none(), "it is told");
    // the late one does nothing, the other all
    cluster.workers[0].1 = Some(job);
    cluster.work(0);
    assert_eq!(cluster.world.state.small_objects_count(), 8);
    cluster.work(1);
    assert_eq!(cluster.world.state.small_objects_count(), 0);
    cluster.check_logs();
}

#[test]
fn a_new_leader_waits_for_workers_and_adopts_their_jobs() {
    let mut cluster = Cluster::new(settings(), &[]);
    for _ in 0..16 {
        cluster.commit(1);
    }
    assert!(cluster.lease(0));
    let earlier = cluster.workers[0].1.clone().expect("just leased");
    cluster.take_over();
    assert!(!cluster.lease(1), "it waits");
    cluster.renew(0);
    let adopted = cluster.workers[0].1.clone().expect("nobody else has it");
    assert_eq!(adopted.token.term, LeaderTerm(2));
    // the answer was lost: the earlier token is renewed again
    cluster.workers[0].1 = Some(earlier.clone());
    cluster.renew(0);
    let again = cluster.workers[0].1.clone().expect("it has it");
    assert_eq!(again.token, adopted.token);
    // nobody else can have it
    cluster.workers[2].1 = Some(earlier);
    cluster.renew(2);
    assert!(cluster.workers[2].1.is_none());
    cluster.pass(29);
    cluster.renew(0);
    cluster.pass(2);
    assert!(cluster.lease(1), "the other eight");
    cluster.work(0);
    cluster.work(1);
    assert_eq!(cluster.world.state.small_objects_count(), 0);
    cluster.check_logs();
}

#[test]
fn what_a_job_leaves_behind_rests() {
    let mut cluster = Cluster::new(settings(), &[]);
    for _ in 0..8 {
        cluster.commit(1);
    }
    for epochs in [1, 2, 4] {
        assert!(cluster.lease(0));
        let job = cluster.workers[0].1.take().expect("just leased");
        let finish = Finish {
            worker: cluster.workers[0].0,
            token: job.token,
            outcome: JobOutcome::Failed {
                reason: "the bucket does not answer".to_owned(),
            },
            deleted: Vec::new(),
            read_bytes: 0,
            written_bytes: 0,
        };
        cluster.planner.finish(&cluster.world.state, &finish);
        cluster.world.advance(epochs - 1);
        assert!(!cluster.lease(0), "they rest for {epochs}");
        cluster.world.advance(1);
    }
}

#[test]
fn deletions_wait_for_a_backup_that_has_the_release() {
    let waiting = PlannerSettings {
        waits_for_backup: true,
        ..settings()
    };
    let mut cluster = Cluster::new(waiting, &[]);
    for _ in 0..8 {
        cluster.commit(1);
    }
    assert!(cluster.lease(0));
    cluster.work(0);
    let released_in = cluster.world.state.upload_epoch();
    cluster.world.advance(20);
    cluster.pass(1);
    assert!(!cluster.lease(0), "there is no backup");
    cluster.planner.backed_up(released_in);
    cluster.pass(1);
    assert!(!cluster.lease(0), "it may be of before the release");
    cluster.planner.backed_up(UploadEpoch(released_in.0 + 1));
    cluster.pass(1);
    assert!(cluster.lease(0));
}

#[test]
fn records_that_go_soon_are_merged_once() {
    for (retention_ms, levels) in [("60000", 4), ("604800000", 1)] {
        let mut cluster = Cluster::new(settings(), &[("retention.ms", retention_ms)]);
        for _ in 0..4 {
            for _ in 0..8 {
                cluster.commit(1);
            }
            assert!(cluster.lease(0));
            cluster.work(0);
        }
        cluster.pass(1);
        while cluster.lease(0) {
            cluster.work(0);
        }
        let extents = cluster.world.state.extents(cluster.partition(0), Offset(0));
        assert_eq!(extents.count(), levels, "{retention_ms}");
    }
}

#[test]
fn regression_neighbours_of_equal_length_are_merged_by_one_job() {
    let mut cluster = Cluster::new(settings(), &[]);
    for _ in 0..4 {
        for _ in 0..8 {
            cluster.commit(PARTITIONS);
        }
        assert!(cluster.lease(0));
        cluster.work(0);
    }
    cluster.pass(1);
    assert!(cluster.lease(0));
    let job = cluster.workers[0].1.clone().expect("just leased");
    assert!(
        matches!(&job.kind, JobKind::MergeRanges { ranges, .. } if ranges.len() == 3),
        "{job:?}"
    );
    cluster.work(0);
    cluster.check_logs();
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Commit(i32),
    Lease(usize),
    Renew(usize),
    Work(usize),
    /// The worker is another process from now on.
    Die(usize),
    Pass(u64),
    Epochs(u32),
    TakeOver,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..=PARTITIONS).prop_map(Op::Commit),
        4 => (0..3usize).prop_map(Op::Lease),
        2 => (0..3usize).prop_map(Op::Renew),
        3 => (0..3usize).prop_map(Op::Work),
        1 => (0..3usize).prop_map(Op::Die),
        2 => (1..40u64).prop_map(Op::Pass),
        1 => (1..4u32).prop_map(Op::Epochs),
        1 => Just(Op::TakeOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever workers and leaders do: jobs are disjoint, logs are whole, small objects are merged in the end,
    /// and what was released is deleted.
    #[test]
    fn all_is_merged_and_nothing_is_lost(ops in vec(op(), 0..200)) {
        let mut cluster = Cluster::new(settings(), &[]);
        for op in ops {
            match op {
                Op::Commit(partitions) => cluster.commit(partitions),
                Op::Lease(worker) => {
                    if cluster.workers[worker].1.is_none() {
                        cluster.lease(worker);
                    }
                }
                Op::Renew(worker) => cluster.renew(worker),
                Op::Work(worker) => cluster.work(worker),
                Op::Die(worker) => {
                    let id = cluster.workers[worker].0.0 + 10;
                    cluster.workers[worker] = (WorkerId(id), None);
                }
                Op::Pass(seconds) => cluster.pass(seconds),
                Op::Epochs(epochs) => cluster.world.advance(epochs),
                Op::TakeOver => cluster.take_over(),
            }
            cluster.check_logs();
        }
        cluster.drain();
        cluster.check_logs();
        let state = &cluster.world.state;
        prop_assert!(state.small_objects_count() <= 1, "small objects are left");
        prop_assert_eq!(state.released_objects().count(), 0);
        let backlog = cluster.planner.backlog();
        prop_assert_eq!(backlog.partitions, 0);
        prop_assert_eq!(backlog.deletable_objects, 0);
    }
}
