//! The Kafka APIs that an agent serves, one file each, and what they have in common: the request's
//! context, the reply, the reasons to close a connection.

use std::sync::Arc;

use aquifer_store::Monotonic;
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::connection::ConnectionHandle;

pub mod errors;

/// Who asks, and how.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The connection.
    pub connection: Arc<ConnectionHandle>,
    /// Index of the node id that the client connected to (each has a port of its own).
    pub node_index: u8,
    /// The client's `client.id`; empty where it sent none.
    pub client_id: String,
    /// The client's zone; empty = unknown.
    pub zone: String,
    /// API key of the request.
    pub api_key: i16,
    /// Version of the request.
    pub api_version: i16,
    /// When the request's last byte arrived.
    pub received: Monotonic,
}

impl RequestContext {
    /// Decodes the request's body. Only for frames that the guard has passed: the decoder reserves by
    /// the counts that it reads.
    pub(crate) fn decode<T: Decodable>(&self, mut body: Bytes) -> Result<T, Close> {
        T::decode(&mut body, self.api_version).map_err(|e| Close::Undecodable {
            reason: e.to_string(),
        })
    }

    /// Encodes a response at the request's version.
    pub(crate) fn reply<T: Encodable>(&self, response: &T) -> Result<Reply, Close> {
        let mut body = BytesMut::new();
        response
            .encode(&mut body, self.api_version)
            .map_err(|e| Close::Unencodable {
                reason: e.to_string(),
            })?;
        Ok(Reply::Body(vec![body.freeze()]))
    }
}

/// What a handler gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The encoded response body in pieces that are written one after the other; the connection puts
    /// length and response header before them.
    Body(Vec<Bytes>),
    /// No answer (Produce with acks=0).
    Nothing,
}

/// Why a connection is closed without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The body passed the guard and the decoder still refused it (text that is not UTF-8, say).
    #[error("the request cannot be decoded: {reason}")]
    Undecodable {
        /// What the decoder said.
        reason: String,
    },
    /// A response could not be encoded; a bug.
    #[error("the response cannot be encoded: {reason}")]
    Unencodable {
        /// What the encoder said.
        reason: String,
    },
    /// A Produce request with acks=0 failed: closing is the only way to say so.
    #[error("a produce request with acks=0 failed with error code {code}")]
    UnacknowledgedFailed {
        /// Kafka's error code.
        code: i16,
    },
    /// The commit session ended with the request's outcome unknown: the client finds out by trying
    /// again on a new connection.
    #[error("the commit session ended before the outcome was known")]
    SessionEnded,
    /// The agent stops.
    #[error("the agent is stopping")]
    Stopping,
}
