//! What answers say of agents as Kafka's brokers, and of access rights.

use std::sync::Arc;

use aquifer_format::ids::WriterSlot;
use aquifer_metadata_api::{register::AgentAddress, watch::AgentView};
use kafka_protocol::protocol::StrBytes;

use super::RequestContext;
use crate::{
    broker::Broker,
    connection::zone::{ClientHints, ClientZone},
    placement::{Candidates, Node},
    settings::Advertise,
};

/// "Authorized operations were not asked for."
pub(super) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// Bits of every operation on a topic (Kafka's `AclOperation` codes 3 to 8, 10, 11): there is no access
/// control yet.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster (codes 5, 7 to 12).
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// The same for a group (codes 3, 6, 8, 10, 11).
pub(super) const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// A load balancer is told as the agent of this slot.
const BALANCER_SLOT: WriterSlot = WriterSlot(0);

/// The agents that this client is told of.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    agents: Arc<[AgentView]>,
    zone: ClientZone,
    host_override: Option<StrBytes>,
    without: Option<WriterSlot>,
}

impl Nodes {
    pub(super) fn of(broker: &Broker, context: &RequestContext) -> Self {
        let hints = ClientHints::of(&context.client_id);
        let (agents, without) = match &broker.settings.advertise {
            Advertise::Direct => (broker.view.agents(), broker.unnamed()),
            Advertise::LoadBalancer {
                host,
                port,
                node_ids,
            } => (balancer(host, *port, *node_ids), None),
        };
        Self {
            agents,
            zone: context.zone.clone(),
            host_override: hints.host_override.map(StrBytes::from_string),
            without,
        }
    }

    /// All of `agents`, for a client that gives no hint.
    #[cfg(test)]
    pub(crate) fn all(agents: Arc<[AgentView]>) -> Self {
        Self {
            agents,
            zone: ClientZone::default(),
            host_override: None,
            without: None,
        }
    }

    /// The same for a client that named its rack.
    pub(super) fn with_rack(mut self, rack: &str) -> Self {
        self.zone = self.zone.with_rack(rack);
        self
    }

    pub(super) fn candidates(&self) -> Candidates<'_> {
        Candidates::of(&self.agents, &self.zone.name, self.without)
    }

    /// The live node with this id, in whatever zone it is.
    pub(super) fn node(&self, id: i32) -> Option<Node<'_>> {
        let all = Candidates::of(&self.agents, "", None);
        all.nodes().find(|node| node.id() == id)
    }

    /// Whether the request came to the node that this client takes for the controller. Its answers are the
    /// whole cluster's where clients ask every node and add up.
    pub(super) fn at_controller(&self, broker: &Broker, context: &RequestContext) -> bool {
        let registration = broker.session.registration();
        let own = own_slot(broker);
        let controller = self.candidates().controller(registration.cluster);
        controller.is_some_and(|c| c.agent.slot == own && c.index == context.node_index)
    }

    /// The node that the request came to, if this client is told of it.
    pub(super) fn asked(&self, broker: &Broker, context: &RequestContext) -> Option<Node<'_>> {
        self.candidates().at(own_slot(broker), context.node_index)
    }

    pub(crate) fn host(&self, node: &Node<'_>) -> StrBytes {
        self.host_override
            .clone()
            .unwrap_or_else(|| StrBytes::from_string(node.agent.address.host.clone()))
    }

    pub(crate) fn rack(&self, node: &Node<'_>) -> Option<StrBytes> {
        let zone = &node.agent.address.zone;
        (!zone.is_empty()).then(|| StrBytes::from_string(zone.clone()))
    }
}

/// As which agent clients know this one.
fn own_slot(broker: &Broker) -> WriterSlot {
    match &broker.settings.advertise {
        Advertise::Direct => broker.session.registration().slot,
        Advertise::LoadBalancer { .. } => BALANCER_SLOT,
    }
}

/// A load balancer, which stands for all agents: its node ids begin at 0. Agents' own ids are told to
/// nobody then.
fn balancer(host: &str, port: u16, node_ids: u8) -> Arc<[AgentView]> {
    let address = AgentAddress {
        host: host.to_owned(),
        port,
        node_ids,
        zone: String::new(),
        peer: String::new(),
    };
    Arc::new([AgentView {
        slot: BALANCER_SLOT,
        address,
    }])
}
