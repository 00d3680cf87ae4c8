//! What a metadata process says of itself.

use aquifer_format::ids::{ClusterId, Incarnation, JournalSeq, LeaderTerm};
use aquifer_store::Ports;

use super::{
    Endpoint, GrpcSettings,
    connection::{Connection, TermsSeen},
    proto,
    status::{Failure, failure_of},
    wire,
};
use crate::error::MetadataError;

/// A metadata process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStatus {
    /// What it is.
    pub role: ProcessRole,
    /// Endpoint of the leader (`host:port`), as far as it knows.
    pub leader: Option<String>,
}

/// What a metadata process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessRole {
    /// It leads.
    Leader(Leading),
    /// It waits for the lease.
    Standby,
    /// It serves nobody.
    Refusing {
        /// Why, and what to do about it.
        reason: String,
    },
}

/// What a leader says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Its term.
    pub term: LeaderTerm,
    /// The last durable row of its journal.
    pub seq: JournalSeq,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's incarnation.
    pub incarnation: Incarnation,
    /// What compactors are behind with; None = it was not looked at yet, or the process does not say.
    pub backlog: Option<CompactionBacklog>,
}

/// What compactors are behind with, as of a moment ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionBacklog {
    /// Objects of level 0 with live extents that no job has.
    pub small_objects: u64,
    /// Their bytes, about.
    pub small_bytes: u64,
    /// Upload epochs since the oldest of them was committed.
    pub small_age_epochs: u32,
    /// Ranges of merged extents that are worth merging again.
    pub ranges: u64,
    /// Logs that are due for log compaction.
    pub dirty_logs: u64,
    /// Objects whose bytes may go now.
    pub deletable_objects: u64,
}

/// Asks one process what it is, whoever leads; for operators and readiness.
///
/// # Errors
/// It could not be reached within the settings' `connect_timeout`, or does not admit this one.
pub async fn ask_status(
    ports: &Ports,
    settings: &GrpcSettings,
    endpoint: &Endpoint,
) -> Result<ProcessStatus, MetadataError> {
    let terms = TermsSeen::default();
    let asked = async {
        let connection = Connection::open(ports, settings, endpoint, &terms).await;
        status_on(&connection.map_err(unreachable)?).await
    };
    let limit = settings.connect_timeout;
    let answer = ports.timeout(limit, asked).await;
    answer.unwrap_or_else(|| {
        Err(unreachable(format!(
            "{endpoint} did not answer within {limit:?}"
        )))
    })
}

/// Asks the process at the other end of a connection.
pub(super) async fn status_on(connection: &Connection) -> Result<ProcessStatus, MetadataError> {
    let asked = connection.client().status(proto::StatusRequest {}).await;
    let reply = asked.map_err(|status| match failure_of(&status) {
        Failure::Error(error) => error,
        Failure::NotLeader { .. } => unreachable(status.message().to_owned()),
    })?;
    Ok(wire::status_from(reply.into_inner())?)
}

fn unreachable(reason: String) -> MetadataError {
    MetadataError::Unavailable {
        reason,
        may_have_happened: false,
    }
}
