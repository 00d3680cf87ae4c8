//! What an agent can be told. Where the values come from (file, environment, flags) is the binary's
//! matter.

use std::time::Duration;

use aquifer_metadata_api::{config::Configs, register::AgentAddress};

use crate::{
    connection::zone::ZoneSettings, fence::FenceSettings, fetch::FetchSettings,
    produce::settings::ProduceSettings, telemetry::TelemetrySettings, view::ViewSettings,
};

/// Settings of one agent.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// What clients are told of this agent: host, port of node id index 0, how many node ids, zone.
    pub address: AgentAddress,
    /// Under which addresses clients are told of agents.
    pub advertise: Advertise,
    /// How the zones of clients are known.
    pub zones: ZoneSettings,
    /// When the agent fences itself.
    pub fence: FenceSettings,
    /// Name of the Kafka listener, as it appears in envelopes to the leader.
    pub listener_name: String,
    /// Whether a Metadata request may create the topics that it names
    /// (Kafka's `auto.create.topics.enable`, on by default there too).
    pub auto_create_topics: bool,
    /// Further broker configs that all processes of the cluster are started with, as Kafka's
    /// `server.properties` has them; dynamic ones go before them.
    pub broker_configs: Configs,
    /// What becomes of the metrics that clients push.
    pub telemetry: TelemetrySettings,
    /// Limits of Kafka connections.
    pub connections: ConnectionSettings,
    /// Bounds of what it keeps of the cluster's state.
    pub view: ViewSettings,
    /// Limits of what clients read.
    pub fetch: FetchSettings,
    /// When the produce path writes objects, and its bounds.
    pub produce: ProduceSettings,
}

impl AgentSettings {
    /// Defaults for an agent that is reached at `address`.
    #[must_use]
    pub fn new(address: AgentAddress) -> Self {
        Self {
            address,
            advertise: Advertise::default(),
            zones: ZoneSettings::default(),
            fence: FenceSettings::default(),
            listener_name: "PLAINTEXT".to_owned(),
            auto_create_topics: true,
            broker_configs: Configs::new(),
            telemetry: TelemetrySettings::default(),
            connections: ConnectionSettings::default(),
            view: ViewSettings::default(),
            fetch: FetchSettings::default(),
            produce: ProduceSettings::default(),
        }
    }
}

/// Under which addresses clients are told of agents. The same for all agents of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Advertise {
    /// Each agent under its own.
    #[default]
    Direct,
    /// All of them under that of a load balancer: clients need to reach no agent in particular, and which
    /// one they reach does not matter. It is told as node ids 0, 1, ..., one per port.
    LoadBalancer {
        /// Host name or address of the balancer.
        host: String,
        /// Port of node id 0; id i is at `port + i`. The balancer forwards each to the same index of
        /// an agent's ports.
        port: u16,
        /// How many node ids it has (1 to 16). Stock producers have at most five requests under way per
        /// connection, and one connection per node id.
        node_ids: u8,
    },
}

/// Limits of Kafka connections.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// Most connections at a time; one more is closed at once. 20,000: with their buffers they stay
    /// under 200 MB while idle.
    pub connections_max: usize,
    /// A connection on which no byte moved for this long is closed (Kafka's
    /// `connections.max.idle.ms`, 10 minutes).
    pub idle_max: Duration,
    /// A connection whose first request has not arrived after this long is closed. Clients send
    /// theirs at once; 30 s forgives a slow TLS-terminating balancer.
    pub first_request_max: Duration,
    /// Requests of one connection that wait for their answer; past it nothing more is read. 64: a
    /// stock producer has 5, librdkafka without idempotence many more.
    pub requests_in_flight_max: usize,
    /// Bytes of requests of one connection that wait for their answer; once reached, nothing more is
    /// read (so a single request may be larger).
    pub request_bytes_in_flight_max: usize,
    /// Bytes of all requests of all connections that are being read or wait for their answer. A
    /// connection that needs more waits, and is closed after 10 s in which it got none.
    pub request_bytes_total_max: usize,
    /// How long accepted requests may take to be answered once the agent was told to stop.
    pub drain_max: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            idle_max: Duration::from_secs(600),
            first_request_max: Duration::from_secs(30),
            requests_in_flight_max: 64,
            request_bytes_in_flight_max: 32 * 1024 * 1024,
            request_bytes_total_max: 512 * 1024 * 1024,
            drain_max: Duration::from_secs(10),
        }
    }
}
