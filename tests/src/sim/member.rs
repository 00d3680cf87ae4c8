//! A process of the metadata service, as it really runs: it stands by, leads when the lease is free, and
//! stands by again when it was deposed. The network follows its role.

use std::{convert::Infallible, sync::Arc};

use aquifer_compaction::{SweepSettings, SweepState, Sweeper, sweep::SweepError};
use aquifer_metadata::{
    LeaderSettings, LocalMetadata, Member as Process, MemberSettings, Role,
    backup::{self, BackupSettings},
    journal::Journal,
    planner::PlannerSettings,
};
use aquifer_metadata_api::Metadata;
use aquifer_store::{ObjectStore, Ports, Tasks};

use super::{
    compactors::{BACKUP_EVERY, EPOCH, LEASE, SWEEP_EVERY},
    world::World,
};

/// A running member.
pub(super) struct Member {
    pub(super) tasks: Tasks,
    pub(super) process: Arc<Process>,
}

impl Member {
    pub(super) fn start(world: &Arc<World>, index: usize) -> Self {
        let ports = world.ports.another_node();
        let tasks = ports.tasks.clone();
        let journal = Arc::new(world.journal.with_clock(Arc::clone(&ports.clock)));
        let store = world.store(&ports);
        let settings = MemberSettings {
            leader: settings(world, index),
            ..MemberSettings::default()
        };
        let backups = settings.leader.backup;
        let process = Process::start(
            Arc::clone(&journal) as Arc<dyn Journal>,
            Arc::clone(&store),
            &ports,
            settings,
        );
        let process = Arc::new(process);
        if let Some(settings) = backups {
            let (journal, store) = (Arc::clone(&journal) as Arc<dyn Journal>, Arc::clone(&store));
            let role = process.role();
            let backing = backup::while_leading(ports.clone(), journal, store, role, settings);
            tasks.spawn(backing);
        }
        let mut role = process.role();
        let world = Arc::clone(world);
        tasks.spawn(async move {
            loop {
                let now = role.borrow_and_update().clone();
                let mut sweeping = None;
                match now {
                    Role::Leader(leader) => {
                        let term = leader.facts().term;
                        world.trace(format!("member {index} leads, term {term}"));
                        let led: Arc<LocalMetadata> = Arc::clone(&leader);
                        sweeping = (world.plan.compactors > 0).then_some(led);
                        world.network.lead(index, term, leader);
                    }
                    Role::Standby { .. } => world.network.gone(index),
                    Role::Refusing { reason } => {
                        world.network.gone(index);
                        let text = format!("member {index} refuses without a cause: {reason}");
                        world.history().violations.push(text);
                    }
                }
                let changed = tokio::select! {
                    biased;
                    changed = role.changed() => changed,
                    never = sweep(&world, &ports, &store, sweeping) => match never {},
                };
                if changed.is_err() {
                    return;
                }
            }
        });
        Self { tasks, process }
    }
}

fn settings(world: &World, index: usize) -> LeaderSettings {
    let settings = LeaderSettings {
        holder: format!("member-{index}"),
        endpoint: format!("member-{index}"),
        ..LeaderSettings::default()
    };
    if world.plan.compactors == 0 {
        return settings;
    }
    LeaderSettings {
        upload_epoch: EPOCH,
        planner: PlannerSettings {
            lease: LEASE,
            scan_interval: EPOCH,
            small_objects: 8,
            small_objects_min: 3,
            small_age_epochs: 1,
            merged_extents: 8,
            merged_age_epochs: 20,
            ..PlannerSettings::default()
        },
        backup: Some(BackupSettings {
            interval: BACKUP_EVERY,
            increments_max: 4,
        }),
        ..settings
    }
}

/// Sweeps as a leader's process does. In a simulation the metadata is always the right one, so that a sweeper that
/// stops is wrong.
async fn sweep(
    world: &World,
    ports: &Ports,
    store: &Arc<dyn ObjectStore>,
    leader: Option<Arc<LocalMetadata>>,
) -> Infallible {
    let Some(leader) = leader else {
        return std::future::pending().await;
    };
    let sweeper = Sweeper::new(
        Arc::clone(store),
        leader as Arc<dyn Metadata>,
        ports.clone(),
        SweepSettings::default(),
    );
    loop {
        ports.sleep(SWEEP_EVERY).await;
        match sweeper.sweep().await {
            Ok(SweepState::Done(report)) => {
                if report.deleted_objects + report.aborted_uploads > 0 {
                    world.trace(format!("swept: {report:?}"));
                }
            }
            Ok(state) => {
                let text = format!("the sweeper stopped: {state:?}");
                world.history().violations.push(text);
            }
            Err(error @ SweepError::Halted { .. }) => {
                world.history().violations.push(error.to_string());
            }
            Err(error) => world.trace(format!("a sweep failed: {error}")),
        }
    }
}
