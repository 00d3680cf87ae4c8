//! The broker: everything that one agent is made of.

use std::sync::Arc;

use aquifer_metadata_api::Metadata;
use aquifer_store::{ObjectStore, Ports};

use crate::settings::AgentSettings;

/// One agent.
#[derive(Debug)]
pub struct Broker {
    /// What it was told.
    pub settings: AgentSettings,
    /// Time, randomness, tasks.
    pub ports: Ports,
    /// The metadata service.
    pub metadata: Arc<dyn Metadata>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
}
