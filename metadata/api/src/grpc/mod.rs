//! The metadata service over gRPC: messages, their conversions, and the client [`GrpcMetadata`]. The
//! server is in the `aquifer-metadata` crate.
//!
//! The client is given several endpoints and finds the leader from any of them. A call is made again
//! at another process only where that is harmless: where it surely did not happen, or only reads.

mod client;
mod connection;
mod endpoint;
mod finder;
mod process;
pub mod proto;
mod spawner;
mod status;
mod streams;
pub mod wire;

use std::time::Duration;

pub use client::GrpcMetadata;
pub use endpoint::{Endpoint, EndpointError};
pub use process::{CompactionBacklog, Leading, ProcessRole, ProcessStatus, ask_status};
pub use spawner::Spawner;
pub use status::{malformed, not_leader, status_of};

use crate::secret::ClusterSecret;

/// The header by which a leader says its term: with every answer, and with every error that says something
/// of its state.
pub const TERM_HEADER: &str = "aquifer-term";
/// Flow-control window of one stream, in bytes: what may be under way before the reader has taken it. A
/// common frame of a large cluster's reset fits.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Flow-control window of a connection, in bytes: a reader that takes nothing from one stream does not
/// stop the others.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Most bytes of a call's headers.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;

/// How agents and compactors reach the metadata service.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    /// Metadata processes, any of them; the leader is found from there.
    pub endpoints: Vec<Endpoint>,
    /// What admits this process.
    pub secret: ClusterSecret,
    /// How long a caller waits for an answer, the search for the leader included. Default 20 s: below
    /// the 25 s after which agents answer their clients.
    pub call_timeout: Duration,
    /// How long one endpoint may take to be connected to and to say what it is. Default 1 s: the others
    /// are asked at the same time, so this only bounds the wait for the last of them.
    pub connect_timeout: Duration,
    /// Silence after which a connection is asked for a sign of life. Default 1 s; with
    /// [`Self::keep_alive_timeout`] a process that stands still is noticed within 2 s.
    pub keep_alive_interval: Duration,
    /// How long that sign may take. Default 1 s: it is given by the connection, not by the leader's
    /// queue, so a busy leader gives it in time.
    pub keep_alive_timeout: Duration,
}

impl GrpcSettings {
    /// The defaults, for these endpoints.
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>, secret: ClusterSecret) -> Self {
        Self {
            endpoints,
            secret,
            call_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(1),
            keep_alive_interval: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(1),
        }
    }
}
