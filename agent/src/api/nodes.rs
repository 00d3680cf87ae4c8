//! What answers say of agents as Kafka's brokers, and of access rights.

use std::sync::Arc;

use aquifer_metadata_api::watch::AgentView;
use kafka_protocol::protocol::StrBytes;

use super::RequestContext;
use crate::{
    broker::Broker,
    connection::zone::ClientHints,
    placement::{Candidates, Node},
};

/// "Authorized operations were not asked for."
pub(super) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// Bits of every operation on a topic (Kafka's `AclOperation` codes 3 to 8, 10, 11): there is no access
/// control yet.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster (codes 5, 7 to 12).
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// The agents that this client is told of.
pub(super) struct Nodes {
    agents: Arc<[AgentView]>,
    zone: String,
    host_override: Option<StrBytes>,
    without: Option<aquifer_format::ids::WriterSlot>,
}

impl Nodes {
    pub(super) fn of(broker: &Broker, context: &RequestContext) -> Self {
        let hints = ClientHints::of(&context.client_id);
        Self {
            agents: broker.view.agents(),
            zone: context.zone.clone(),
            host_override: hints.host_override.map(StrBytes::from_string),
            without: broker.unnamed(),
        }
    }

    pub(super) fn candidates(&self) -> Candidates<'_> {
        Candidates::of(&self.agents, &self.zone, self.without)
    }

    pub(super) fn host(&self, node: &Node<'_>) -> StrBytes {
        self.host_override
            .clone()
            .unwrap_or_else(|| StrBytes::from_string(node.agent.address.host.clone()))
    }

    pub(super) fn rack(&self, node: &Node<'_>) -> Option<StrBytes> {
        let zone = &node.agent.address.zone;
        (!zone.is_empty()).then(|| StrBytes::from_string(zone.clone()))
    }
}
