//! The SQL projection: tables for people, beside the journal, that the leader keeps up to date.
//!
//! Nothing depends on them. No recovery reads them, a failure to write them is told and tried again and
//! has no other consequence, and they may be dropped at any time. The leader walks its state in slices
//! ([`crate::state::State::walk`]), [`delta`] finds what differs from what the tables hold, and an
//! implementation of [`Tables`] writes that in one transaction, if no later leader has written.
//!
//! A further table takes: its rows in the walk, what differs of them in the delta, and its statements.

use std::{convert::Infallible, sync::Arc, time::Duration};

use aquifer_store::Ports;
use tokio::sync::watch;

use crate::{local::LocalMetadata, role::Role};

pub mod delta;
#[cfg(test)]
pub(crate) mod memory;
pub mod postgres;
mod projector;
mod schema_name;
mod tables;
#[cfg(test)]
mod tests;

pub use schema_name::SchemaName;
pub use tables::{Opened, Owner, ProjectionError, Tables};

use projector::Projector;

/// How the projection is kept up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionSettings {
    /// Rest between two refreshes. Default 5 s: what people and dashboards call current, and on an idle
    /// cluster one small transaction each time.
    pub interval: Duration,
}

impl Default for ProjectionSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
        }
    }
}

/// Keeps `tables` up to date whenever this process leads, until its role is known no more.
pub async fn while_leading(
    ports: Ports,
    mut role: watch::Receiver<Role>,
    mut tables: Box<dyn Tables>,
    settings: ProjectionSettings,
) {
    loop {
        let leader = match &*role.borrow_and_update() {
            Role::Leader(metadata) => Some(Arc::clone(metadata)),
            Role::Standby { .. } | Role::Refusing { .. } => None,
        };
        let changed = tokio::select! {
            biased;
            changed = role.changed() => changed,
            never = project(&ports, leader.as_deref(), &mut *tables, settings) => match never {},
        };
        tables.close();
        if changed.is_err() {
            return;
        }
    }
}

async fn project(
    ports: &Ports,
    leader: Option<&LocalMetadata>,
    tables: &mut dyn Tables,
    settings: ProjectionSettings,
) -> Infallible {
    match leader {
        Some(metadata) => {
            Projector::new(ports, metadata, tables, settings)
                .run()
                .await
        }
        None => std::future::pending().await,
    }
}
