//! Compactors of a simulation, and what must be true of its bucket in the end.

use std::{sync::Arc, time::Duration};

use aquifer_compaction::{
    Worker, WorkerSettings,
    fsck::{FsckReport, fsck},
};
use aquifer_format::{ids::ObjectLevel, limits::LIVE_OBJECTS_MAX};
use aquifer_metadata_api::{MetadataError, Upkeep, upkeep::ObjectsRequest};
use aquifer_store::Tasks;

use super::world::World;

/// Length of an upload epoch: an object is merged, released and deleted while a run lasts.
pub(super) const EPOCH: Duration = Duration::from_secs(3);
/// Lease of a job: shorter than the longest time for which a compactor stands still.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// Time between two sweeps.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Time between two backups.
pub(super) const BACKUP_EVERY: Duration = Duration::from_secs(8);
/// Until then everything must be settled: an orphan is swept after 60 upload epochs, what is released a moment
/// later is deleted after 10, and there may be some rounds of merges before.
const SETTLED: Duration = Duration::from_secs(600);

/// Starts a compactor; it ends with its tasks.
pub(super) fn start(world: &World, index: usize) -> Tasks {
    let ports = world.ports.another_node();
    let tasks = ports.tasks.clone();
    let settings = WorkerSettings {
        memory_bytes: 64 << 20,
        rest: Duration::from_secs(1),
        ..WorkerSettings::default()
    };
    let metadata = world.network.of_node(world.plan.compactor_node(index));
    Worker::new(world.store(&ports), metadata, ports, settings).start();
    tasks
}

/// Waits until the bucket has what is referenced and nothing else; that it never comes to this is a violation.
///
/// An object that was deleted while it was referenced is missing then: what it had can be merged by nobody, and
/// nothing in a simulation deletes records.
pub(super) async fn settle(world: &World) {
    if world.plan.compactors == 0 {
        return;
    }
    let until = world.ports.clock.now().plus(SETTLED);
    let metadata = world.network.of_node(world.plan.observer_node());
    loop {
        let comparing = fsck(Arc::clone(&world.bucket), Arc::clone(&metadata), false);
        let compared = Box::pin(comparing).await;
        let seen = match compared {
            Ok(report) if is_settled(&report) => {
                world.trace(format!("settled: {} objects", report.live.0));
                break;
            }
            Ok(report) if report.missing_objects > 0 => {
                let text = format!("deleted and referenced: {:?}", report.missing);
                world.history().violations.push(text);
                return;
            }
            Ok(report) => format!("{report:?}"),
            Err(error) => error.to_string(),
        };
        if world.ports.clock.now() >= until {
            let text = format!("not settled within {SETTLED:?}: {seen}");
            world.history().violations.push(text);
            return;
        }
        world.ports.sleep(EPOCH).await;
    }
    match merged_objects(&*metadata).await {
        Ok(objects) => world.note_merged(objects),
        Err(error) => world.trace(format!("nobody says what was merged: {error}")),
    }
}

/// Whether the listing is exactly what is referenced.
fn is_settled(report: &FsckReport) -> bool {
    let others = [report.released.0, report.young.0, report.leaked.0];
    report.is_clean() && others == [0; 3] && report.uploads == 0 && report.foreign == 0
}

/// How many objects compactors wrote of those that are there.
async fn merged_objects(metadata: &dyn Upkeep) -> Result<usize, MetadataError> {
    let request = ObjectsRequest {
        after: None,
        limit: LIVE_OBJECTS_MAX,
    };
    let listed = metadata.objects(request).await?.objects;
    let merged = listed.iter().filter(|o| o.id.level != ObjectLevel::L0);
    Ok(merged.count())
}
