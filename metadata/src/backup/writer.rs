//! Writes backups while this process leads.

use std::sync::Arc;

use aquifer_store::{ObjectStore, Ports};
use tokio::sync::watch;

use super::BackupSettings;
use crate::{journal::Journal, role::Role};

/// Backs the metadata up whenever this process leads, until its role is known no more.
pub async fn while_leading(
    ports: Ports,
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    role: watch::Receiver<Role>,
    settings: BackupSettings,
) {
    let _ = (ports, journal, store, role, settings);
    todo!("builder F")
}
