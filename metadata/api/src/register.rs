//! Registration of agents.

use aquifer_format::ids::{ClusterId, Incarnation, SessionId, UploadEpoch, WriterSlot};

use crate::mark::JournalMark;

/// A writer introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterRequest {
    /// The slot that it had before, if any.
    pub previous_slot: Option<WriterSlot>,
    /// What clients and other agents are told of it.
    pub agent: AgentAddress,
    /// The newest row that it was shown ([`crate::watch::CommonFrame::mark`]), if any: a leader whose
    /// journal does not have it answers [`crate::MetadataError::LostRows`] and stops.
    pub seen: Option<JournalMark>,
}

impl RegisterRequest {
    /// Of a writer that had no slot and was shown nothing.
    #[must_use]
    pub fn new(agent: AgentAddress) -> Self {
        Self {
            previous_slot: None,
            agent,
            seen: None,
        }
    }
}

/// Where an agent can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAddress {
    /// Host name or address for Kafka clients.
    pub host: String,
    /// Port of node id index 0; index i is at `port + i`.
    pub port: u16,
    /// How many node ids it has (1 to 16).
    pub node_ids: u8,
    /// Its zone; empty = none.
    pub zone: String,
    /// `host:port` where the agents of its zone get from it what it has in memory; empty = nowhere.
    pub peer: String,
}

/// What a registered writer needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its slot: part of object keys, and node ids are `slot * 16 + i`.
    pub slot: WriterSlot,
    /// Its commit session.
    pub session: SessionId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's incarnation.
    pub incarnation: Incarnation,
    /// The current upload epoch (the watch tells of later ones).
    pub upload_epoch: UploadEpoch,
}
