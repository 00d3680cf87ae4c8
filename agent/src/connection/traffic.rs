//! Bytes between clients and this agent, by whether they crossed a zone: these are what a cloud charges
//! for.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::counter;

/// Where a client is, seen from the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Not known of one of them.
    #[default]
    Unknown,
    /// In the same zone.
    Same,
    /// In another zone.
    Other,
}

impl Relation {
    /// How zones relate; an empty one is unknown.
    pub(crate) fn of(client: &str, agent: &str) -> Self {
        if client.is_empty() || agent.is_empty() {
            Self::Unknown
        } else if client == agent {
            Self::Same
        } else {
            Self::Other
        }
    }
}

/// Bytes of requests and answers, with their lengths and headers.
#[derive(Debug, Default)]
pub struct Traffic {
    same: AtomicU64,
    other: AtomicU64,
    unknown: AtomicU64,
}

impl Traffic {
    /// Bytes to and from clients of the agent's own zone.
    #[must_use]
    pub fn same_zone_bytes(&self) -> u64 {
        self.same.load(Ordering::Relaxed)
    }

    /// Bytes to and from clients that are known to be in another zone.
    #[must_use]
    pub fn other_zone_bytes(&self) -> u64 {
        self.other.load(Ordering::Relaxed)
    }

    /// Bytes to and from clients whose zone is not known.
    #[must_use]
    pub fn unknown_zone_bytes(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Bytes that came in.
    pub(super) fn received(&self, relation: Relation, bytes: usize) {
        let bytes = self.add(relation, bytes);
        match relation {
            Relation::Same => {
                counter!("aquifer_client_bytes_total", "direction" => "in", "zone" => "same")
                    .increment(bytes);
            }
            Relation::Other => {
                counter!("aquifer_client_bytes_total", "direction" => "in", "zone" => "other")
                    .increment(bytes);
            }
            Relation::Unknown => {
                counter!("aquifer_client_bytes_total", "direction" => "in", "zone" => "unknown")
                    .increment(bytes);
            }
        }
    }

    /// Bytes that went out.
    pub(super) fn sent(&self, relation: Relation, bytes: usize) {
        let bytes = self.add(relation, bytes);
        match relation {
            Relation::Same => {
                counter!("aquifer_client_bytes_total", "direction" => "out", "zone" => "same")
                    .increment(bytes);
            }
            Relation::Other => {
                counter!("aquifer_client_bytes_total", "direction" => "out", "zone" => "other")
                    .increment(bytes);
            }
            Relation::Unknown => {
                counter!("aquifer_client_bytes_total", "direction" => "out", "zone" => "unknown")
                    .increment(bytes);
            }
        }
    }

    fn add(&self, relation: Relation, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let total = match relation {
            Relation::Same => &self.same,
            Relation::Other => &self.other,
            Relation::Unknown => &self.unknown,
        };
        total.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }
}
