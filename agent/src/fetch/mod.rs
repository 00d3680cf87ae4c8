//! The fetch path: from what a client wants to the batches that it gets.
//!
//! A request is *planned* from the view's watermarks and extents; what the view does not hold is
//! located with one call for all partitions. If that is less than the client's minimum, the request
//! waits (*parked*) until the watch moves one of its partitions. Then the batches are *read*: from
//! memory where this agent wrote or read the object before, else from the bucket.

pub mod cache;
mod index;
mod plan;
mod read;
mod response;
pub mod run;
mod session;
#[cfg(test)]
mod tests;
mod timestamp;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use aquifer_format::ids::{Offset, PartitionId};
use aquifer_metadata_api::Metadata;
use aquifer_store::{ObjectStore, Ports};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::cache::{CacheSettings, ObjectCache};
pub use self::session::SessionSettings;
pub(crate) use self::{
    plan::{Fetched, Limits, check_epoch, leader_epoch, readable_end},
    response::{Endpoint, FetchAnswer, PartitionAnswer},
    session::{FetchSessions, SessionRequest, TopicKey, Wanted},
    timestamp::{SearchError, Target},
};
use crate::{peers::ZonePeers, session::AgentSession, view::View};

/// Unit of the budget of response bytes: semaphores count in 32 bits.
const BUDGET_UNIT: u64 = 1024;
/// Searches by timestamp that open batches at a time: one may take
/// [`aquifer_format::limits::BATCH_EXPANDED_BYTES_MAX`].
const SEARCHES_MAX: usize = 2;
/// Positions remembered to tell who reads on from where it stopped.
const POSITIONS_MAX: usize = 8192;

/// Bounds of the fetch path.
#[derive(Clone, Copy, Debug)]
pub struct FetchSettings {
    /// Memory and GETs.
    pub cache: CacheSettings,
    /// Fetch sessions.
    pub sessions: SessionSettings,
    /// Most bytes of records in one response (Kafka's `fetch.max.bytes` of brokers: 55 MiB); one
    /// batch may be larger.
    pub response_bytes_max: u32,
    /// Bytes of records in all responses that are being read or written. Past it, fetches wait for
    /// others to be written: clients that stop reading cannot fill the memory.
    pub responses_bytes_max: u64,
    /// Partitions of one request that are read at a time.
    pub partitions_read_at_once: usize,
    /// Objects of one partition that are read at a time, and read ahead for sequential readers (0: one,
    /// and none).
    pub objects_read_ahead: usize,
    /// Cold units that a reader reads one after the other before it counts as one who reads all there is:
    /// from then on its units go past the zone's owners and do not displace what is hot. 16 whole objects
    /// are about 128 MiB: more than a consumer that was away for a moment has to catch up with.
    pub scan_units: u32,
    /// Longest wait for data, whatever the client asks for.
    pub wait_max: Duration,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            cache: CacheSettings::default(),
            sessions: SessionSettings::default(),
            response_bytes_max: 55 * 1024 * 1024,
            responses_bytes_max: 512 * 1024 * 1024,
            partitions_read_at_once: 8,
            objects_read_ahead: 4,
            scan_units: 16,
            wait_max: Duration::from_secs(300),
        }
    }
}

/// See the module.
pub struct FetchPath {
    metadata: Arc<dyn Metadata>,
    view: Arc<View>,
    ports: Ports,
    settings: FetchSettings,
    cache: Arc<ObjectCache>,
    sessions: FetchSessions,
    budget: Arc<Semaphore>,
    /// Searches by timestamp, which open batches.
    searches: Arc<Semaphore>,
    positions: Mutex<Positions>,
}

impl fmt::Debug for FetchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchPath")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl FetchPath {
    /// A fetch path that follows `view` and reads `store`, or from the other agents of `zone`.
    #[must_use]
    pub(crate) fn start(
        metadata: Arc<dyn Metadata>,
        store: Arc<dyn ObjectStore>,
        session: &AgentSession,
        view: Arc<View>,
        ports: Ports,
        settings: FetchSettings,
        zone: Option<Arc<ZonePeers>>,
    ) -> Arc<Self> {
        let cluster = session.registration().cluster;
        let units = usize::try_from(settings.responses_bytes_max / BUDGET_UNIT);
        let units = units.unwrap_or(usize::MAX).clamp(1, 1 << 31);
        Arc::new(Self {
            cache: ObjectCache::new(store, cluster, ports.tasks.clone(), settings.cache, zone),
            sessions: FetchSessions::new(&ports, settings.sessions),
            budget: Arc::new(Semaphore::new(units)),
            searches: Arc::new(Semaphore::new(SEARCHES_MAX)),
            positions: Mutex::default(),
            metadata,
            view,
            ports,
            settings,
        })
    }

    /// The objects in memory; the produce path puts those that it wrote here.
    #[must_use]
    pub fn cache(&self) -> &Arc<ObjectCache> {
        &self.cache
    }

    pub(crate) fn sessions(&self) -> &FetchSessions {
        &self.sessions
    }

    pub(crate) fn settings(&self) -> &FetchSettings {
        &self.settings
    }
}

/// Where readers stopped lately: who begins at such a place reads on, and is worth reading ahead for.
#[derive(Debug, Default)]
struct Positions {
    ends: BTreeMap<(PartitionId, Offset), Stopped>,
    order: BTreeMap<u64, (PartitionId, Offset)>,
    added: u64,
}

/// A reader that stopped.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    added: u64,
    /// Cold units that it had read one after the other.
    cold_units: u32,
}

impl Positions {
    fn add(&mut self, partition: PartitionId, end: Offset, cold_units: u32) {
        self.added += 1;
        let stopped = Stopped {
            added: self.added,
            cold_units,
        };
        if let Some(earlier) = self.ends.insert((partition, end), stopped) {
            self.order.remove(&earlier.added);
        }
        self.order.insert(self.added, (partition, end));
        if self.ends.len() > POSITIONS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.ends.remove(&oldest);
        }
    }

    /// How many cold units whoever stopped here had read one after the other; None = nobody stopped
    /// here.
    fn cold_units(&self, partition: PartitionId, begin: Offset) -> Option<u32> {
        let stopped = self.ends.get(&(partition, begin))?;
        Some(stopped.cold_units)
    }
}
