//! Objects in memory: what readers of this agent, and of its zone, read, and what this agent wrote
//! itself.
//!
//! An entry is a [`Unit`]: a whole object of level 0, or a part of a larger one. It holds stored bytes,
//! verified and expanded run by run when a run is first read; runs that the agent wrote come expanded. Of
//! a unit at most one read of the bucket is under way, and one request to another agent, however many ask
//! for it.
//!
//! What this agent does not own in its zone it gets from the owner ([`crate::peers`]), and keeps in a
//! small list of its own (*passing*): the owner has it in memory, and a zone's memory should hold it once.
//! Sequential reads of old data go to the bucket directly and through the same small list, so they push
//! nothing out that others use.
//!
//! This is a least-recently-used map of our own: `moka` keeps its own clock, a randomly seeded hash and
//! background maintenance, so what it evicts differs from run to run, and it fixes an entry's weight
//! when it is inserted, while ours grow as their runs are expanded.

mod entries;
mod indexes;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use aquifer_format::{
    ids::{ClusterId, ObjectId},
    key::object_key,
    map::FixedMap,
    object::check_sums,
};
use aquifer_metadata_api::{extent::Extent, watch::AgentView};
use aquifer_store::{GetError, ObjectStore, Payload, Tasks};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use self::{
    entries::{Cached, Entries, Segment, Source, expand},
    indexes::Indexes,
};
use super::run::{Run, RunError};
use crate::peers::{CacheCounts, Counters, GetCause, Place, Unit, ZonePeers};

/// Memory that an entry takes beside its bytes: map nodes, order, key.
const ENTRY_BYTES: u64 = 512;
/// What passes may take this part of the cache.
const PASSING_SHARE: u64 = 4;
/// Units of one run that are read at a time.
const PARTS_AT_ONCE: usize = 4;
/// How often a run is read that turns out to be damaged: from memory or another agent, then from the
/// bucket, and once more where somebody else had put it into memory again meanwhile.
const TRIES_MAX: usize = 3;

/// Why a run cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The object is not in the bucket (any more): its extents were swapped. Locate again.
    #[error("the object is gone")]
    Gone,
    /// The bucket gave no answer, or none of use. Retriable.
    #[error("{reason}")]
    Failed {
        /// What was seen.
        reason: String,
    },
    /// The bytes in the bucket are not what was written.
    #[error(transparent)]
    Damaged(#[from] RunError),
}

/// How a run is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// From memory, from the unit's owner in the zone, or, being the owner, from the bucket.
    Usual,
    /// As a part of a sequential read of old data: from memory, or from the bucket, past the zone's
    /// owners.
    Scan,
}

/// Where a unit that is not in memory is read.
#[derive(Clone, Debug)]
enum Route {
    Bucket { cause: GetCause, segment: Segment },
    Peer(AgentView),
}

impl Route {
    fn bucket(cause: GetCause) -> Self {
        Self::Bucket {
            cause,
            segment: Segment::Hot,
        }
    }
}

/// Requests under way, of which there is one per unit and way. Who answers another agent waits for
/// the bucket only, so that agents never wait for each other in a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Bucket,
    Peer,
}

type Found = Result<Arc<Cached>, ReadError>;

struct Inner {
    entries: Entries,
    /// Who waits for each request.
    flights: FixedMap<(Unit, Way), Vec<oneshot::Sender<Found>>>,
}

/// A run that the agent wrote itself.
#[derive(Clone, Debug)]
pub struct FreshRun {
    /// Its position in the object.
    pub position: u64,
    /// Its batches.
    pub run: Run,
}

/// Bounds of an [`ObjectCache`].
#[derive(Clone, Copy, Debug)]
pub struct CacheSettings {
    /// Memory for cached objects, in bytes. 256 MiB hold the last seconds of a busy agent: tail readers
    /// never go to the bucket. A quarter of it at most is for what passes.
    pub bytes_max: u64,
    /// Most GETs under way at a time. With objects of 8 MiB, 32 keep a 10 Gbit/s link busy at 200 ms.
    pub gets_in_flight_max: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            bytes_max: 256 * 1024 * 1024,
            gets_in_flight_max: 32,
        }
    }
}

/// See the module.
pub struct ObjectCache {
    store: Arc<dyn ObjectStore>,
    cluster: ClusterId,
    tasks: Tasks,
    gets: Semaphore,
    zone: Option<Arc<ZonePeers>>,
    counters: Arc<Counters>,
    inner: Mutex<Inner>,
    /// Those of merged runs.
    indexes: Mutex<Indexes>,
}

impl fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("ObjectCache")
            .field("entries", &inner.entries.len())
            .field("bytes", &inner.entries.bytes())
            .finish_non_exhaustive()
    }
}

impl ObjectCache {
    /// An empty cache in front of `store` and of the other agents of the zone, if it shares with any.
    #[must_use]
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        cluster: ClusterId,
        tasks: Tasks,
        settings: CacheSettings,
        zone: Option<Arc<ZonePeers>>,
    ) -> Arc<Self> {
        let counters = zone.as_ref().map(|zone| Arc::clone(zone.counters()));
        let entries = Entries::new(settings.bytes_max, settings.bytes_max / PASSING_SHARE);
        Arc::new(Self {
            store,
            cluster,
            tasks,
            gets: Semaphore::new(settings.gets_in_flight_max.max(1)),
            zone,
            counters: counters.unwrap_or_default(),
            inner: Mutex::new(Inner {
                entries,
                flights: FixedMap::default(),
            }),
            indexes: Mutex::default(),
        })
    }

    /// What it did since the agent's start.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        self.counters.snapshot()
    }

    /// Keeps an object that this agent wrote (level 0), with all its runs. `stored` are its bytes in the
    /// bucket; they are kept only if other agents may ask for them.
    pub fn insert(&self, object: ObjectId, runs: Vec<FreshRun>, stored: Payload) {
        let Some(unit) = Unit::new(object, 0) else {
            return;
        };
        let mut bytes = ENTRY_BYTES;
        for fresh in &runs {
            bytes += fresh.run.bytes() + fresh.run.index_bytes();
        }
        let stored = if self.zone.is_some() {
            bytes += own_bytes(&stored, &runs);
            stored
        } else {
            Payload::new()
        };
        let runs = runs.into_iter().map(|fresh| (fresh.position, fresh.run));
        let cached = Arc::new(Cached::own(runs, stored));
        self.keep(unit, cached, Segment::Hot, bytes);
    }

    /// The run that holds `extent`, and whether it, or a part of it, was not in memory.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn run(
        self: &Arc<Self>,
        extent: &Extent,
        reading: Reading,
    ) -> Result<(Arc<Run>, bool), ReadError> {
        let mut asked = false;
        let mut damage = None;
        let mut after_damage = false;
        for _ in 0..TRIES_MAX {
            let (units, fresh) = self.units(extent, reading, after_damage).await?;
            asked |= fresh;
            let cached: Vec<_> = units.iter().map(|(_, cached)| Arc::clone(cached)).collect();
            match expand(&cached, extent.run_position, extent.run_bytes) {
                Some((Ok(run), grown)) => {
                    if let Some((unit, cached)) = units.first() {
                        self.inner.lock().entries.grow(unit, cached, grown);
                    }
                    return Ok((run, asked));
                }
                Some((Err(error), _)) => {
                    self.damaged(extent, &units, &error);
                    let from_bucket = cached.iter().all(|c| c.source == Source::Bucket);
                    if fresh && from_bucket {
                        return Err(error.into());
                    }
                    damage = Some(error);
                }
                None => self.forget(&units),
            }
            after_damage = true;
        }
        Err(damage.map_or_else(
            || ReadError::Failed {
                reason: "the object does not hold the run".to_owned(),
            },
            ReadError::from,
        ))
    }

    /// The units of a run, and whether any was not in memory. Only the first one where the run was
    /// expanded before.
    async fn units(
        self: &Arc<Self>,
        extent: &Extent,
        reading: Reading,
        after_damage: bool,
    ) -> Result<(Vec<(Unit, Arc<Cached>)>, bool), ReadError> {
        let (first, rest) = Unit::of_run(extent.object, extent.run_position, extent.run_bytes);
        let one = |unit| self.unit(unit, reading, after_damage);
        let (_, cached, mut fresh) = one(first).await?;
        let complete = cached.expanded(extent.run_position).is_some() || !cached.has_bytes();
        let mut units = vec![(first, cached)];
        if !complete {
            let mut parts = stream::iter(rest).map(one).buffered(PARTS_AT_ONCE);
            while let Some((unit, cached, asked)) = parts.try_next().await? {
                fresh |= asked;
                units.push((unit, cached));
            }
        }
        Ok((units, fresh))
    }

    /// A unit, and whether it was not in memory.
    async fn unit(
        self: &Arc<Self>,
        unit: Unit,
        reading: Reading,
        after_damage: bool,
    ) -> Result<(Unit, Arc<Cached>, bool), ReadError> {
        if let Some(cached) = self.lookup(&unit) {
            return Ok((unit, cached, false));
        }
        let route = if after_damage {
            Route::bucket(GetCause::Damaged)
        } else {
            self.route(&unit, reading)
        };
        let cached = self.wait_for(unit, route, false).await?;
        Ok((unit, cached, true))
    }

    /// Bytes do not have their checksums: they are forgotten, and who alone sent them is not asked again
    /// for a while.
    fn damaged(&self, extent: &Extent, units: &[(Unit, Arc<Cached>)], error: &RunError) {
        let key = object_key(self.cluster, &extent.object);
        let position = extent.run_position;
        let mut sources: Vec<&Source> = units.iter().map(|(_, cached)| &cached.source).collect();
        sources.dedup();
        match (&sources[..], &self.zone) {
            ([Source::Peer(peer)], Some(zone)) => {
                zone.distrust(peer, error);
            }
            ([_], _) => tracing::error!(key, position, %error, "damaged bytes in the bucket"),
            _ => tracing::warn!(
                key, position, %error, ?sources,
                "damaged bytes, which came from several places; the bucket is read instead"
            ),
        }
        metrics::counter!("aquifer_cache_damaged_total").increment(1);
        self.forget(units);
    }

    fn forget(&self, units: &[(Unit, Arc<Cached>)]) {
        let mut inner = self.inner.lock();
        for (unit, cached) in units {
            inner.entries.remove(unit, cached);
        }
    }

    /// Starts to read what holds `extent`, unless it is there or the bucket is busy.
    pub(crate) fn read_ahead(self: &Arc<Self>, extent: &Extent, reading: Reading) {
        let (first, rest) = Unit::of_run(extent.object, extent.run_position, extent.run_bytes);
        for unit in std::iter::once(first).chain(rest.take(PARTS_AT_ONCE)) {
            {
                let inner = self.inner.lock();
                let flies = |way| inner.flights.contains_key(&(unit, way));
                if inner.entries.contains(&unit)
                    || flies(Way::Bucket)
                    || flies(Way::Peer)
                    || self.gets.available_permits() == 0
                {
                    continue;
                }
            }
            metrics::counter!("aquifer_cache_read_ahead_total").increment(1);
            let route = self.route(&unit, reading);
            self.join(unit, route, false, None);
        }
    }

    /// What this agent has in memory of a unit, for another agent.
    pub(crate) fn held(&self, unit: &Unit) -> Option<Payload> {
        self.inner.lock().entries.touch(unit, true)?.for_peers()
    }

    /// Reads a unit from the bucket for another agent.
    ///
    /// # Errors
    /// See [`ReadError`]; damaged objects are given to nobody.
    pub(crate) async fn read_for_peer(self: &Arc<Self>, unit: Unit) -> Result<Payload, ReadError> {
        let route = Route::bucket(GetCause::Peer);
        let cached = self.wait_for(unit, route, true).await?;
        cached.for_peers().ok_or_else(|| ReadError::Failed {
            reason: "the object is damaged".to_owned(),
        })
    }

    fn lookup(&self, unit: &Unit) -> Option<Arc<Cached>> {
        let cached = self.inner.lock().entries.touch(unit, false)?;
        self.counters.hit();
        Some(cached)
    }

    fn route(&self, unit: &Unit, reading: Reading) -> Route {
        if reading == Reading::Scan {
            return Route::Bucket {
                cause: GetCause::Scan,
                segment: Segment::Passing,
            };
        }
        match self.zone.as_ref().map(|zone| zone.place(unit)) {
            None => Route::bucket(GetCause::Alone),
            Some(Place::Here(cause)) => Route::bucket(cause),
            Some(Place::At(owner)) => Route::Peer(owner),
        }
    }

    /// The unit, when a request for it has ended. `to_share`: only as others may have it.
    async fn wait_for(self: &Arc<Self>, unit: Unit, route: Route, to_share: bool) -> Found {
        let (sender, receiver) = oneshot::channel();
        if let Some(cached) = self.join(unit, route, to_share, Some(sender)) {
            return Ok(cached);
        }
        receiver.await.unwrap_or_else(|_| {
            Err(ReadError::Failed {
                reason: "the agent is stopping".to_owned(),
            })
        })
    }

    /// Joins the request for a unit, or starts one, unless it is in memory by now. A request to the bucket
    /// is joined also by who would ask another agent.
    fn join(
        self: &Arc<Self>,
        unit: Unit,
        route: Route,
        to_share: bool,
        waiter: Option<oneshot::Sender<Found>>,
    ) -> Option<Arc<Cached>> {
        let way = {
            let mut inner = self.inner.lock();
            let cached = inner.entries.touch(&unit, false);
            if let Some(cached) = cached
                && (!to_share || cached.for_peers().is_some())
            {
                return Some(cached);
            }
            let way = match route {
                Route::Peer(_) if !inner.flights.contains_key(&(unit, Way::Bucket)) => Way::Peer,
                Route::Peer(_) | Route::Bucket { .. } => Way::Bucket,
            };
            match inner.flights.entry((unit, way)) {
                std::collections::hash_map::Entry::Occupied(mut waiting) => {
                    waiting.get_mut().extend(waiter);
                    return None;
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(waiter.into_iter().collect());
                    way
                }
            }
        };
        metrics::counter!("aquifer_cache_misses_total").increment(1);
        self.start(unit, way, route);
        None
    }

    /// A request goes on when those who wait for it give up: the next one finds its result.
    fn start(self: &Arc<Self>, unit: Unit, way: Way, route: Route) {
        let flight = Flight {
            cache: Arc::clone(self),
            unit,
            way,
            ended: false,
        };
        self.tasks.spawn(async move {
            let cache = &flight.cache;
            let found = match route {
                Route::Bucket { cause, segment } => cache.read_bucket(unit, cause, segment).await,
                Route::Peer(owner) => cache.read_peer(unit, &owner).await,
            };
            flight.end(&found);
        });
    }

    async fn read_bucket(&self, unit: Unit, cause: GetCause, segment: Segment) -> Found {
        let mut stored = self.get(unit, cause).await?;
        let mut sound = is_sound(unit, &stored);
        if !sound {
            metrics::counter!("aquifer_cache_damaged_total").increment(1);
            stored = self.get(unit, GetCause::Damaged).await?;
            // Runs that are not damaged can be read all the same.
            sound = is_sound(unit, &stored);
        }
        let cached = Cached::new(Source::Bucket, sound, unit.position(), stored);
        Ok(self.keep_stored(unit, cached, segment))
    }

    /// Asks the owner, and reads the bucket if it gives nothing.
    async fn read_peer(self: &Arc<Self>, unit: Unit, owner: &AgentView) -> Found {
        let fetched = match &self.zone {
            Some(zone) => zone.fetch(owner, unit).await,
            None => Err(GetCause::Alone),
        };
        match fetched {
            Ok(stored) => {
                let source = Source::Peer(owner.address.peer.clone());
                let whole = unit.range().is_none();
                let cached = Cached::new(source, whole, unit.position(), stored);
                Ok(self.keep_stored(unit, cached, Segment::Passing))
            }
            Err(cause) => self.wait_for(unit, Route::bucket(cause), false).await,
        }
    }

    async fn get(&self, unit: Unit, cause: GetCause) -> Result<Bytes, ReadError> {
        let _permit = self.gets.acquire().await.map_err(|_| ReadError::Failed {
            reason: "the agent is stopping".to_owned(),
        })?;
        let name = object_key(self.cluster, &unit.object());
        self.counters.get(cause);
        let stored = match unit.range() {
            None => self.store.get(&name).await,
            Some(range) => self.store.get_range(&name, range).await,
        };
        stored.map_err(|error| match error {
            GetError::NotFound { .. } => ReadError::Gone,
            GetError::Refused { .. } | GetError::Failed { .. } => ReadError::Failed {
                reason: error.to_string(),
            },
        })
    }

    fn keep_stored(&self, unit: Unit, cached: Cached, segment: Segment) -> Arc<Cached> {
        let cached = Arc::new(cached);
        let bytes = ENTRY_BYTES + cached.stored_bytes();
        self.keep(unit, Arc::clone(&cached), segment, bytes);
        cached
    }

    fn keep(&self, unit: Unit, cached: Arc<Cached>, segment: Segment, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.entries.insert(unit, cached, segment, bytes);
    }
}

/// A request under way. Where its task ends before it does (the node stops, a bug), those who wait are
/// told, and the next reader starts another one.
struct Flight {
    cache: Arc<ObjectCache>,
    unit: Unit,
    way: Way,
    ended: bool,
}

impl Flight {
    fn end(mut self, found: &Found) {
        for waiter in self.take_waiting() {
            // Who no longer waits needs no answer.
            let _ = waiter.send(found.clone());
        }
    }

    fn take_waiting(&mut self) -> Vec<oneshot::Sender<Found>> {
        if std::mem::replace(&mut self.ended, true) {
            return Vec::new();
        }
        let key = (self.unit, self.way);
        let waiting = self.cache.inner.lock().flights.remove(&key);
        waiting.unwrap_or_default()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        drop(self.take_waiting());
    }
}

/// Whether a whole object has the bytes that were written. Parts are not checked here: their blocks are,
/// when they are read.
fn is_sound(unit: Unit, stored: &Bytes) -> bool {
    unit.range().is_some() || check_sums(stored).is_ok()
}

/// Memory that an object's stored bytes take beside those of its runs: blocks that were not compressed
/// are the batches themselves.
fn own_bytes(stored: &Payload, runs: &[FreshRun]) -> u64 {
    let stored: usize = stored.iter().map(Bytes::len).sum();
    let expanded: u64 = runs.iter().map(|fresh| fresh.run.bytes()).sum();
    let stored = u64::try_from(stored).expect("usize fits");
    if stored < expanded { stored } else { 0 }
}
