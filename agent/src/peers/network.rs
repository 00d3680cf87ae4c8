//! How agents of a zone reach each other: the port, and what is said over it.

use std::{fmt::Debug, sync::Arc};

use aquifer_format::ids::ClusterId;
use aquifer_store::Ports;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{server::UnitServer, unit::Unit};

/// What an agent asks another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitRequest {
    /// The cluster of both.
    pub cluster: ClusterId,
    /// The zone of the asking agent.
    pub zone: String,
    /// The unit.
    pub unit: Unit,
}

/// An answer that has begun. The bytes are as they are stored in the bucket.
pub struct UnitAnswer {
    /// How many bytes will come, where that is known.
    pub bytes: Option<u64>,
    /// The bytes. An error, or an early end where `bytes` is known, makes those that came worthless.
    pub body: BoxStream<'static, Result<Bytes, PeerError>>,
}

impl Debug for UnitAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitAnswer")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Why a peer gives no unit. Never a reason to fail a read: the bucket has everything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// There is no connection to it, or it broke before the answer.
    #[error("cannot reach the agent: {reason}")]
    Unreachable {
        /// What was seen.
        reason: String,
    },
    /// It has no place for another answer now.
    #[error("the agent has too many answers under way")]
    Busy,
    /// It does not answer this agent: another secret, zone or cluster, or another protocol.
    #[error("the agent refuses to answer: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The answer ended before its end.
    #[error("the answer was cut off: {reason}")]
    Cut {
        /// What was seen.
        reason: String,
    },
}

/// The network between the agents of a zone.
///
/// Contract: `ask` returns as soon as the other agent has begun to answer, which it does before it reads
/// the bucket; it never waits for longer than the other agent takes, and bounds no time itself (the
/// caller does, by dropping the future or the answer; both are safe). Bytes arrive unchanged and in
/// order, or an error does. An answer ends without an error only if it is complete.
#[async_trait]
pub trait PeerNetwork: Send + Sync + Debug + 'static {
    /// Begins to answer other agents through `server`, until the node's tasks end. Called once, by the
    /// broker. What cannot listen does nothing.
    fn serve(&self, server: Arc<UnitServer>, ports: &Ports);

    /// Asks the agent at `peer` (`host:port`, as it registered).
    async fn ask(&self, peer: &str, request: &UnitRequest) -> Result<UnitAnswer, PeerError>;
}
