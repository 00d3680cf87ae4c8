//! Sweeps the bucket in the process that leads the metadata service: so one sweeper works at a time, and
//! asks its questions without a network.

use std::sync::Arc;

use aquifer_compaction::sweep::{Approval, SweepSettings, Sweeper};
use aquifer_metadata::Role;
use aquifer_metadata_api::Metadata;
use aquifer_store::{ObjectStore, Ports};
use tokio::sync::watch;

use crate::arguments::cluster::Sweeping;

/// A sweeper's settings as the flags have them.
pub(crate) fn settings(arguments: &Sweeping) -> SweepSettings {
    SweepSettings {
        interval: arguments.sweep_interval.0,
        approval: arguments
            .sweep_approve
            .map_or_else(Approval::default, Approval::of),
        ..SweepSettings::default()
    }
}

/// Sweeps whenever this process leads, until its role is known no more.
pub(crate) async fn while_leading(
    ports: Ports,
    store: Arc<dyn ObjectStore>,
    mut role: watch::Receiver<Role>,
    settings: SweepSettings,
) {
    loop {
        let leads = match &*role.borrow_and_update() {
            Role::Leader(metadata) => Some(Arc::clone(metadata) as Arc<dyn Metadata>),
            Role::Standby { .. } | Role::Refusing { .. } => None,
        };
        let sweeps = leads.map(|metadata| {
            let node = ports.another_node();
            let store = Arc::clone(&store);
            Sweeper::new(store, metadata, node.clone(), settings.clone()).start();
            node
        });
        let changed = role.changed().await;
        if let Some(node) = sweeps {
            node.tasks.kill();
        }
        if changed.is_err() {
            return;
        }
    }
}
