//! What the zone cache did, counted: as metrics, and for those who hold the agent in the same process.

use parking_lot::Mutex;

/// Why the bucket was asked for a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GetCause {
    /// A reader of this agent, which shares with nobody in its zone.
    Alone,
    /// A reader of this agent, which is the unit's owner.
    Owner,
    /// Another agent of the zone asked for it.
    Peer,
    /// A sequential read of old data.
    Scan,
    /// What was read first was damaged.
    Damaged,
    /// The owner's answer did not begin, or did not go on, in time.
    PeerTimeout,
    /// The owner cannot be reached.
    PeerUnreachable,
    /// The owner did not answer lately and is left alone.
    PeerPaused,
    /// The owner does not want to answer: it has too much to do, or does not take this agent for one of
    /// its zone. Or this agent asks others for as much as it may.
    PeerRefused,
    /// The owner's answer ended early; perhaps it could not read the bucket.
    PeerCut,
    /// The owner's answer was not what was asked for.
    PeerWrong,
}

impl GetCause {
    const ALL: [Self; 11] = [
        Self::Alone,
        Self::Owner,
        Self::Peer,
        Self::Scan,
        Self::Damaged,
        Self::PeerTimeout,
        Self::PeerUnreachable,
        Self::PeerPaused,
        Self::PeerRefused,
        Self::PeerCut,
        Self::PeerWrong,
    ];

    /// Its label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Owner => "owner",
            Self::Peer => "peer",
            Self::Scan => "scan",
            Self::Damaged => "damaged",
            Self::PeerTimeout => "peer_timeout",
            Self::PeerUnreachable => "peer_unreachable",
            Self::PeerPaused => "peer_paused",
            Self::PeerRefused => "peer_refused",
            Self::PeerCut => "peer_cut",
            Self::PeerWrong => "peer_wrong",
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|c| *c == self).unwrap_or(0)
    }
}

/// Counted since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    gets: [u64; GetCause::ALL.len()],
    /// Units that were in memory.
    pub hits: u64,
    /// Units that were got from another agent.
    pub peer_hits: u64,
    /// Units that others got from this agent's memory.
    pub served_from_memory: u64,
    /// Units that this agent read from the bucket for others.
    pub served_from_bucket: u64,
    /// Requests of others that were refused.
    pub refused: u64,
    /// Bytes got from other agents.
    pub bytes_received: u64,
    /// Bytes sent to other agents.
    pub bytes_sent: u64,
}

impl CacheCounts {
    /// GETs for this cause.
    #[must_use]
    pub fn gets(&self, cause: GetCause) -> u64 {
        self.gets[cause.index()]
    }

    /// All GETs.
    #[must_use]
    pub fn all_gets(&self) -> u64 {
        self.gets.iter().sum()
    }

    /// Units that had to be read from the bucket because the owner did not give them.
    #[must_use]
    pub fn peer_misses(&self) -> u64 {
        GetCause::ALL[5..].iter().map(|c| self.gets(*c)).sum()
    }
}

/// Which way bytes go between agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Received,
    Sent,
}

/// Counts, and tells the process's metrics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<CacheCounts>,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> CacheCounts {
        self.counts.lock().clone()
    }

    pub(crate) fn hit(&self) {
        self.counts.lock().hits += 1;
        metrics::counter!("aquifer_cache_hits_total").increment(1);
    }

    pub(crate) fn get(&self, cause: GetCause) {
        self.counts.lock().gets[cause.index()] += 1;
        metrics::counter!("aquifer_cache_gets_total", "cause" => cause.name()).increment(1);
    }

    pub(crate) fn peer_hit(&self) {
        self.counts.lock().peer_hits += 1;
        metrics::counter!("aquifer_peer_hits_total").increment(1);
    }

    pub(crate) fn peer_miss(&self, cause: GetCause) {
        metrics::counter!("aquifer_peer_misses_total", "cause" => cause.name()).increment(1);
    }

    pub(crate) fn served(&self, from_memory: bool) {
        let mut counts = self.counts.lock();
        let source = if from_memory {
            counts.served_from_memory += 1;
            "memory"
        } else {
            counts.served_from_bucket += 1;
            "bucket"
        };
        drop(counts);
        metrics::counter!("aquifer_peer_served_total", "source" => source).increment(1);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.counts.lock().refused += 1;
        metrics::counter!("aquifer_peer_refused_total", "reason" => reason).increment(1);
    }

    pub(crate) fn bytes(&self, direction: Direction, bytes: u64) {
        let mut counts = self.counts.lock();
        let direction = match direction {
            Direction::Received => {
                counts.bytes_received += bytes;
                "received"
            }
            Direction::Sent => {
                counts.bytes_sent += bytes;
                "sent"
            }
        };
        drop(counts);
        metrics::counter!("aquifer_peer_bytes_total", "direction" => direction).increment(bytes);
    }
}
