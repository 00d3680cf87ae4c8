//! An exhaustive model of what keeps records while compactors replace, release and delete what they are stored in:
//! merges, swaps, upload epochs, the sweeper, deletions, `DeleteRecords`, backups, a reader with old knowledge.
//!
//! Leases and tokens are left out on purpose: any worker may be at any job at any time, for any length of time, and
//! no promise rests on more than the fences. Left out, too: levels, log compaction, several leaders (a decision is a
//! row, and `model.rs` is about rows), and the grace between release and deletion, which spares readers a question.

#[path = "upkeep/world.rs"]
mod world;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};
use world::{Action, Bounds, Broken, Known, World};

/// The fences. Each can be taken away, and then the checker must find what it prevents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// A range is swapped only if what lies there is in the objects that the worker read.
    Inputs,
    /// An output is durable before its swap is asked for.
    OutputIsDurable,
    /// An output that was begun long ago is not swapped.
    OutputAge,
    /// The sweeper leaves young objects alone.
    SweepAge,
    /// Deletions wait for a backup that was begun after the release.
    NewerBackup,
    /// A backup counts from before its snapshot.
    EpochBeforeSnapshot,
    /// A reader that finds nothing asks where it is now.
    Relocation,
}

/// The model: bounds, and the fences that are missing.
#[derive(Clone, Debug)]
pub(crate) struct Upkeep {
    pub(crate) bounds: Bounds,
    without: &'static [Fence],
    reachable: &'static [&'static str],
}

impl Upkeep {
    pub(crate) fn has(&self, fence: Fence) -> bool {
        !self.without.contains(&fence)
    }
}

impl Model for Upkeep {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.bounds)]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        // what comes after a broken promise is of no interest
        if state.broken.is_none() {
            state.actions(self, actions);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        next.act(self, action).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = promises();
        let wanted = |property: &Property<Self>| self.reachable.contains(&property.name);
        properties.extend(situations().into_iter().filter(wanted));
        properties
    }
}

const LOG: &str = "every record is in the log, once";
const MISSING: &str = "every referenced object is there";
const READER: &str = "a reader is served whatever it was told before";
const BACKUP: &str = "what the newest backup refers to is there";

fn promises() -> Vec<Property<Upkeep>> {
    vec![
        Property::always(LOG, |_, world: &World| world.broken != Some(Broken::Log)),
        Property::always(MISSING, |_, world: &World| {
            world.broken != Some(Broken::Missing)
        }),
        Property::always(READER, |_, world: &World| {
            world.broken != Some(Broken::Reader)
        }),
        Property::always(BACKUP, |_, world: &World| {
            world.broken != Some(Broken::Backup)
        }),
    ]
}

const ONE_EXTENT: &str = "all records are in one extent";
const LOSER: &str = "two workers wrote the same, and one of them is swept";
const EXACT: &str = "the bucket has what is referenced and nothing else";
const DELETED: &str = "what is in no backup is deleted";
const STALE: &str = "a reader remembers an object that is gone";

fn situations() -> Vec<Property<Upkeep>> {
    vec![
        Property::sometimes(ONE_EXTENT, |model: &Upkeep, world: &World| {
            let whole =
                |extent: &world::Extent| extent.from == 0 && extent.to == model.bounds.records;
            world.log.iter().any(whole)
        }),
        Property::sometimes(LOSER, |model: &Upkeep, world: &World| {
            let outputs = &world.objects[usize::from(model.bounds.records)..];
            let swept = outputs.iter().find(|o| o.deleted && o.known == Known::No);
            let live = |records: &[u8]| {
                let of = |o: &&world::Object| o.known == Known::Live && o.records == records;
                outputs.iter().any(|o| of(&o))
            };
            swept.is_some_and(|swept| live(&swept.records))
        }),
        Property::sometimes(EXACT, |_, world: &World| {
            let exact = |o: &world::Object| o.in_bucket == (o.known == Known::Live);
            world.objects.iter().all(exact) && world.objects.iter().any(|o| o.deleted)
        }),
        Property::sometimes(DELETED, |_, world: &World| {
            world.backup.is_some() && world.objects.iter().any(|o| o.deleted)
        }),
        Property::sometimes(STALE, |_, world: &World| {
            let gone = |(_, at): &(u8, usize)| world.objects[*at].deleted;
            world.located.as_ref().is_some_and(gone)
        }),
    ]
}

/// Workers that get into one another's way, and records that go meanwhile.
const WORKERS: Upkeep = Upkeep {
    bounds: Bounds {
        records: 3,
        workers: 2,
        jobs: 3,
        swaps: 3,
        deaths: 0,
        epochs: 0,
        deletions: 1,
        backups: 0,
        reader: false,
    },
    without: &[],
    reachable: &[ONE_EXTENT, EXACT],
};

/// Workers that die or are late, and the sweeper.
const SWEEPER: Upkeep = Upkeep {
    bounds: Bounds {
        records: 2,
        deaths: 1,
        epochs: 2,
        deletions: 0,
        ..WORKERS.bounds
    },
    reachable: &[ONE_EXTENT, LOSER, EXACT],
    ..WORKERS
};

/// Backups, deletions and upload epochs.
const BACKUPS: Upkeep = Upkeep {
    bounds: Bounds {
        records: 2,
        workers: 1,
        jobs: 1,
        swaps: 1,
        epochs: 2,
        deletions: 1,
        backups: 2,
        ..WORKERS.bounds
    },
    reachable: &[DELETED, EXACT],
    ..WORKERS
};

/// A reader with old knowledge.
const READERS: Upkeep = Upkeep {
    bounds: Bounds {
        records: 3,
        workers: 1,
        jobs: 2,
        swaps: 2,
        deletions: 1,
        reader: true,
        ..WORKERS.bounds
    },
    reachable: &[ONE_EXTENT, STALE],
    ..WORKERS
};

#[test]
fn no_promise_of_upkeep_is_broken_in_any_order_of_steps() {
    for (name, model) in [
        ("workers", WORKERS),
        ("sweeper", SWEEPER),
        ("backups", BACKUPS),
        ("readers", READERS),
    ] {
        let begun = Instant::now();
        let checker = model.checker().threads(2).spawn_bfs().join();
        println!(
            "{name}: {} states, {} unique, depth {}, {:?}",
            checker.state_count(),
            checker.unique_state_count(),
            checker.max_depth(),
            begun.elapsed()
        );
        for (property, path) in checker.discoveries() {
            if promises().iter().any(|promise| promise.name == property) {
                println!("{property}: {:?}", path.into_actions());
            }
        }
        checker.assert_properties();
    }
}

/// Without the fences the checker finds that one of these promises is broken.
fn control(scope: Upkeep, without: &'static [Fence], breaks: &[&str]) {
    let model = Upkeep {
        without,
        reachable: &[],
        ..scope
    };
    let found = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let discoveries = found.discoveries();
    let broken: Vec<&str> = discoveries.keys().copied().collect();
    println!("without {without:?}: {broken:?}");
    assert!(
        broken.iter().any(|promise| breaks.contains(promise)),
        "without {without:?} this should break: {breaks:?}; found: {broken:?}"
    );
}

#[test]
fn without_a_look_at_the_inputs_a_record_is_replaced_that_nobody_read() {
    control(WORKERS, &[Fence::Inputs], &[LOG]);
}

#[test]
fn without_durable_outputs_a_dead_worker_takes_records_along() {
    control(SWEEPER, &[Fence::OutputIsDurable], &[MISSING]);
}

#[test]
fn without_an_age_limit_of_swaps_a_swept_output_is_swapped() {
    control(SWEEPER, &[Fence::OutputAge], &[MISSING]);
}

#[test]
fn without_an_age_limit_of_the_sweeper_a_fresh_output_is_deleted() {
    control(SWEEPER, &[Fence::SweepAge], &[MISSING]);
}

#[test]
fn without_waiting_for_a_backup_the_newest_one_refers_to_what_is_gone() {
    control(BACKUPS, &[Fence::NewerBackup], &[BACKUP]);
}

#[test]
fn without_the_epoch_from_before_the_snapshot_a_backup_refers_to_what_is_gone() {
    control(BACKUPS, &[Fence::EpochBeforeSnapshot], &[BACKUP]);
}

#[test]
fn without_relocation_a_reader_with_old_knowledge_is_not_served() {
    control(READERS, &[Fence::Relocation], &[READER]);
}
