//! How much a step looks at, counted: the leader does nothing else meanwhile.

use super::*;
use crate::{
    planner::{levels, merge, release, runs},
    state::tests::merger,
};

/// More than a step looks at.
const MANY_PARTITIONS: i32 = 5_000;
const MANY_EXTENTS: usize = 17_000;
const MANY_OBJECTS: usize = 9_000;

struct Bench {
    world: World,
    planner: Planner,
    now: Monotonic,
}

impl Bench {
    fn new() -> Self {
        let now = Monotonic(Duration::from_secs(1_000));
        Self {
            world: World::new(),
            planner: Planner::new(LeaderTerm(1), now, PlannerSettings::default()),
            now,
        }
    }

    /// So many objects, each with a batch of each of these partitions, merged without becoming fewer extents.
    fn write(&mut self, ids: &[PartitionId], objects: usize) {
        let registration = self.world.register();
        let (session, slot) = (registration.session, registration.slot);
        let runs: Vec<_> = ids.iter().map(|id| (*id, vec![plain(10)])).collect();
        for written in 1..=objects {
            let mut commit = self.world.next_commit(session, slot, &runs);
            commit.answered_through.0 = commit.number.0 - 1;
            self.world.commit(session, &commit);
            if written % 128 == 0 || written == objects {
                self.merge();
            }
        }
    }

    fn merge(&mut self) {
        while self.world.state.small_objects_count() > 0 {
            let job = merger::small_job(&self.world.state, 0);
            let request = merger::request_of(&self.world, &job, 1);
            let outcomes = self.world.swap(&request);
            assert!(outcomes.iter().all(|it| *it == RangeOutcome::Done));
        }
    }

    /// What the steps of a whole look looked at, each within its bounds.
    fn look(&mut self, extents_max: usize) -> Looked {
        let mut sum = Looked::default();
        for steps in 1.. {
            assert!(steps < 100, "a look has an end");
            self.now = self.now.plus(Duration::from_millis(5));
            let time = PlanTime {
                now: self.now,
                unix_millis: 0,
            };
            self.planner.step(&self.world.state, time);
            let last = self.planner.looked();
            assert!(last.partitions <= STEP_PARTITIONS, "{last:?}");
            assert!(last.extents <= extents_max, "{last:?}");
            assert!(last.released <= release::STEP_OBJECTS, "{last:?}");
            assert!(last.objects <= levels::STEP_OBJECTS, "{last:?}");
            sum.partitions += last.partitions;
            sum.extents += last.extents;
            sum.released += last.released;
            sum.objects += last.objects;
            if self.planner.is_between_looks() {
                break;
            }
        }
        sum
    }

    /// How many ranges of a partition are worth merging, looked at in one go.
    fn ranges(&self, id: PartitionId) -> u64 {
        let state = &self.world.state;
        let partition = state.planned_partition(id).unwrap();
        let bounds = runs::Bounds {
            partition: id,
            run_bytes_max: 512 << 20,
            last_stable: partition.last_stable(),
            epoch: state.upload_epoch(),
        };
        let settings = PlannerSettings::default();
        let mut runs = runs::Runs::new(&settings, bounds);
        for extent in partition.extents() {
            runs.push(&extent);
        }
        u64::try_from(runs.into_found().len()).unwrap()
    }

    /// The gauges' numbers are those of the objects, one by one.
    fn check_levels(&self) {
        let mut levels = [Level::default(); 3];
        for (id, bytes, references) in self.world.state.objects_from(None) {
            let level = &mut levels[match id.level {
                ObjectLevel::L0 => 0,
                ObjectLevel::L1 => 1,
                ObjectLevel::L2 => 2,
            }];
            level.objects += 1;
            level.extents += u64::from(references);
            level.bytes += bytes;
        }
        assert_eq!(self.planner.levels(), levels);
    }
}

fn ids(topic: TopicId, count: i32) -> Vec<PartitionId> {
    (0..count)
        .map(|index| PartitionId::new(topic, PartitionIndex(index)))
        .collect()
}

#[test]
fn many_partitions_are_looked_at_in_steps() {
    let mut bench = Bench::new();
    let topic = bench.world.create("wide", MANY_PARTITIONS);
    bench.write(&ids(topic, MANY_PARTITIONS), 4);
    let seen = bench.look(merge::STEP_EXTENTS);
    assert_eq!(seen.partitions, 5_000);
    // each of them once but for those at the end of a step
    assert!((20_000..20_100).contains(&seen.extents), "{seen:?}");
    bench.check_levels();
    let [_, merged, _] = bench.planner.levels();
    assert_eq!(merged.extents, 20_000);
}

#[test]
fn regression_a_partition_of_many_extents_is_looked_at_to_its_end() {
    for (policy, extents_max) in [
        ("delete", merge::STEP_EXTENTS),
        // a log that is compacted is looked at whole, but at no other with it
        ("compact", merge::STEP_EXTENTS + MANY_EXTENTS),
    ] {
        let mut bench = Bench::new();
        let topic = bench
            .world
            .create_with("long", 1, &[("cleanup.policy", policy)]);
        bench.write(&ids(topic, 1), MANY_EXTENTS);
        let seen = bench.look(extents_max);
        assert_eq!(seen.partitions, 1, "{policy}");
        assert!(seen.extents >= MANY_EXTENTS, "{policy}: {seen:?}");
        assert_eq!(seen.released, MANY_EXTENTS, "{policy}");
        // nothing is passed over where steps meet
        let found = bench.ranges(ids(topic, 1)[0]);
        assert!(found > 1, "{policy}");
        assert_eq!(bench.planner.backlog().partitions, found, "{policy}");
        bench.check_levels();
    }
}

#[test]
fn many_objects_are_looked_at_in_steps() {
    let mut bench = Bench::new();
    let topic = bench.world.create("small", 1);
    let registration = bench.world.register();
    let (session, slot) = (registration.session, registration.slot);
    let runs = [(ids(topic, 1)[0], vec![plain(1)])];
    for _ in 0..MANY_OBJECTS {
        let mut commit = bench.world.next_commit(session, slot, &runs);
        commit.answered_through.0 = commit.number.0 - 1;
        bench.world.commit(session, &commit);
    }
    let seen = bench.look(merge::STEP_EXTENTS);
    assert_eq!(seen.objects, MANY_OBJECTS);
    assert_eq!(seen.extents, 0, "nothing is merged");
    bench.check_levels();
}
