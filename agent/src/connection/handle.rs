//! What the rest of the agent holds of a connection.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use aquifer_store::Monotonic;
use tokio_util::sync::CancellationToken;

use super::traffic::Relation;

/// Longest rack that is taken for a zone.
const RACK_CHARS_MAX: usize = 253;

/// Number of a connection, unique within the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection, as the produce and fetch paths see it.
#[derive(Debug)]
pub struct ConnectionHandle {
    id: ConnectionId,
    peer: SocketAddr,
    closed: CancellationToken,
    active_at_ms: AtomicU64,
    rack: OnceLock<String>,
    relation: AtomicU8,
}

impl ConnectionHandle {
    /// A handle of an open connection.
    #[must_use]
    pub fn new(id: ConnectionId, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            closed: CancellationToken::new(),
            active_at_ms: AtomicU64::new(0),
            rack: OnceLock::new(),
            relation: AtomicU8::new(0),
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Closes the connection now; requests that wait for an answer get none.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Whether it was closed, by either side.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Returns once the connection is closed, by either side.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Notes the rack that the client named first (`client.rack`, a constant of a consumer).
    pub(crate) fn note_rack(&self, rack: &str) {
        if !rack.is_empty() && rack.len() <= RACK_CHARS_MAX {
            self.rack.get_or_init(|| rack.to_owned());
        }
    }

    /// The rack that the client named; empty = none.
    pub(super) fn rack(&self) -> &str {
        self.rack.get().map_or("", String::as_str)
    }

    /// Notes where the client is.
    pub(super) fn set_relation(&self, relation: Relation) {
        let code = match relation {
            Relation::Unknown => 0,
            Relation::Same => 1,
            Relation::Other => 2,
        };
        self.relation.store(code, Ordering::Relaxed);
    }

    /// Where the client is.
    pub(super) fn relation(&self) -> Relation {
        match self.relation.load(Ordering::Relaxed) {
            1 => Relation::Same,
            2 => Relation::Other,
            _ => Relation::Unknown,
        }
    }

    /// Notes that bytes moved.
    pub(super) fn touch(&self, now: Monotonic) {
        let ms = u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX);
        self.active_at_ms.store(ms, Ordering::Relaxed);
    }

    /// When bytes last moved.
    pub(super) fn active_at(&self) -> Monotonic {
        Monotonic(Duration::from_millis(
            self.active_at_ms.load(Ordering::Relaxed),
        ))
    }
}
