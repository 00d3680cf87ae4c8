//! Objects in memory: what readers of this agent (and later of its zone) read, and what this agent
//! wrote itself.
//!
//! An entry is a whole object of level 0, or one run of a larger one. It holds stored bytes, verified
//! and expanded run by run when a run is first read; runs that the agent wrote come expanded. At most
//! one GET per entry is under way, however many ask for it.
//!
//! This is a least-recently-used map of our own: `moka` keeps its own clock, a randomly seeded hash and
//! background maintenance, so what it evicts differs from run to run, and it fixes an entry's weight
//! when it is inserted, while ours grow as their runs are expanded.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    sync::{Arc, OnceLock},
};

use aquifer_format::{
    ids::{ClusterId, ObjectId, ObjectLevel},
    key::object_key,
    map::FixedMap,
};
use aquifer_metadata_api::extent::Extent;
use aquifer_store::{GetError, ObjectStore, Tasks};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use super::run::{Run, RunError};

/// Memory that an entry takes beside its bytes: map nodes, order, key.
const ENTRY_BYTES: u64 = 512;

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

/// What is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    object: ObjectId,
    /// None = the whole object; else the run that begins at this position.
    run: Option<(u64, u32)>,
}

impl Key {
    fn of(extent: &Extent) -> Self {
        let run = match extent.object.level {
            ObjectLevel::L0 => None,
            ObjectLevel::L1 | ObjectLevel::L2 => Some((extent.run_position, extent.run_bytes)),
        };
        Self {
            object: extent.object,
            run,
        }
    }
}

type RunSlot = Arc<OnceLock<Result<Arc<Run>, RunError>>>;

/// An object, or a part of it.
struct Cached {
    /// Bytes as they are stored, and their position in the object; None = every run is in `runs`.
    stored: Option<(u64, Bytes)>,
    /// By position in the object.
    runs: Mutex<BTreeMap<u64, RunSlot>>,
}

impl Cached {
    /// The run, if this holds it, and the memory that it now takes in addition.
    fn run(&self, position: u64, bytes: u32) -> Option<(Result<Arc<Run>, RunError>, u64)> {
        let slot = match self.runs.lock().entry(position) {
            btree_map::Entry::Occupied(slot) => Arc::clone(slot.get()),
            btree_map::Entry::Vacant(place) => {
                self.stored.as_ref()?;
                Arc::clone(place.insert(RunSlot::default()))
            }
        };
        let mut grown = 0;
        let run = slot.get_or_init(|| {
            let run = Run::expand(&self.stored_run(position, bytes))?;
            // Runs that are not compressed are slices of the stored bytes.
            let expanded = if run.bytes() > u64::from(bytes) {
                run.bytes()
            } else {
                0
            };
            grown = expanded + run.index_bytes();
            Ok(Arc::new(run))
        });
        Some((run.clone(), grown))
    }

    /// Bytes of a run as stored; cut where the object ends, which the blocks' headers then show.
    fn stored_run(&self, position: u64, bytes: u32) -> Bytes {
        let Some((begin, stored)) = &self.stored else {
            return Bytes::new();
        };
        let start = usize::try_from(position.saturating_sub(*begin))
            .unwrap_or(usize::MAX)
            .min(stored.len());
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        stored.slice(start..start.saturating_add(length).min(stored.len()))
    }
}

struct Slot {
    cached: Arc<Cached>,
    bytes: u64,
    used_at: u64,
}

type Found = Result<Arc<Cached>, ReadError>;

#[derive(Default)]
struct Inner {
    slots: FixedMap<Key, Slot>,
    /// Least recently used first.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: u64,
    /// GETs that are under way, and who waits for them.
    flights: FixedMap<Key, Vec<oneshot::Sender<Found>>>,
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
    /// never go to the bucket.
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
    gets: Arc<Semaphore>,
    bytes_max: u64,
    inner: Mutex<Inner>,
}

impl fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("ObjectCache")
            .field("entries", &inner.slots.len())
            .field("bytes", &inner.bytes)
            .finish_non_exhaustive()
    }
}

impl ObjectCache {
    /// An empty cache in front of `store`.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        cluster: ClusterId,
        tasks: Tasks,
        settings: CacheSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            cluster,
            tasks,
            gets: Arc::new(Semaphore::new(settings.gets_in_flight_max.max(1))),
            bytes_max: settings.bytes_max,
            inner: Mutex::default(),
        })
    }

    /// Keeps an object that this agent wrote (level 0), with all its runs.
    pub fn insert(&self, object: ObjectId, runs: Vec<FreshRun>) {
        let mut bytes = ENTRY_BYTES;
        let mut slots = BTreeMap::new();
        for fresh in runs {
            bytes += fresh.run.bytes() + fresh.run.index_bytes();
            let slot = RunSlot::default();
            slot.get_or_init(|| Ok(Arc::new(fresh.run)));
            slots.insert(fresh.position, slot);
        }
        let cached = Arc::new(Cached {
            stored: None,
            runs: Mutex::new(slots),
        });
        self.keep(Key { object, run: None }, cached, bytes);
    }

    /// The run that holds `extent`, and whether the bucket was asked for it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn run(self: &Arc<Self>, extent: &Extent) -> Result<(Arc<Run>, bool), ReadError> {
        let key = Key::of(extent);
        let mut asked = false;
        // A second look only where what was cached was damaged in memory, or lacks the run.
        for _ in 0..2 {
            let cached = match self.lookup(&key) {
                Some(cached) => cached,
                None => {
                    asked = true;
                    self.wait_for(key).await?
                }
            };
            match cached.run(extent.run_position, extent.run_bytes) {
                Some((Ok(run), grown)) => {
                    self.grow(&key, grown);
                    return Ok((run, asked));
                }
                Some((Err(error), _)) => {
                    tracing::error!(
                        key = object_key(self.cluster, &extent.object), position = extent.run_position, %error,
                        "damaged bytes in the bucket"
                    );
                    metrics::counter!("aquifer_cache_damaged_total").increment(1);
                    self.remove(&key);
                    if asked {
                        return Err(error.into());
                    }
                }
                None => self.remove(&key),
            }
        }
        Err(ReadError::Failed {
            reason: "the object does not hold the run".to_owned(),
        })
    }

    /// Starts to read what holds `extent`, unless it is there or the bucket is busy.
    pub(crate) fn read_ahead(self: &Arc<Self>, extent: &Extent) {
        let key = Key::of(extent);
        let mut inner = self.inner.lock();
        if inner.slots.contains_key(&key)
            || inner.flights.contains_key(&key)
            || self.gets.available_permits() == 0
        {
            return;
        }
        inner.flights.insert(key, Vec::new());
        drop(inner);
        metrics::counter!("aquifer_cache_read_ahead_total").increment(1);
        self.start(key);
    }

    fn lookup(&self, key: &Key) -> Option<Arc<Cached>> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let slot = inner.slots.get_mut(key)?;
        inner.order.remove(&slot.used_at);
        inner.uses += 1;
        slot.used_at = inner.uses;
        inner.order.insert(inner.uses, *key);
        metrics::counter!("aquifer_cache_hits_total").increment(1);
        Some(Arc::clone(&slot.cached))
    }

    /// Joins the GET of `key`, or starts it.
    async fn wait_for(self: &Arc<Self>, key: Key) -> Found {
        let (sender, receiver) = oneshot::channel();
        let first = {
            let mut inner = self.inner.lock();
            if let Some(slot) = inner.slots.get(&key) {
                return Ok(Arc::clone(&slot.cached));
            }
            match inner.flights.entry(key) {
                std::collections::hash_map::Entry::Occupied(mut waiting) => {
                    waiting.get_mut().push(sender);
                    false
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(vec![sender]);
                    true
                }
            }
        };
        metrics::counter!("aquifer_cache_misses_total").increment(1);
        if first {
            self.start(key);
        }
        receiver.await.unwrap_or_else(|_| {
            Err(ReadError::Failed {
                reason: "the agent is stopping".to_owned(),
            })
        })
    }

    /// A GET goes on when those who wait for it give up: the next one finds its result.
    fn start(self: &Arc<Self>, key: Key) {
        let cache = Arc::clone(self);
        self.tasks.spawn(async move {
            let found = cache.get(&key).await;
            let waiting = {
                if let Ok(cached) = &found {
                    let bytes = cached.stored.as_ref().map_or(0, |(_, stored)| stored.len());
                    let bytes = u64::try_from(bytes).expect("usize fits");
                    cache.keep(key, Arc::clone(cached), ENTRY_BYTES + bytes);
                }
                cache.inner.lock().flights.remove(&key)
            };
            for waiter in waiting.into_iter().flatten() {
                // Who no longer waits needs no answer.
                let _ = waiter.send(found.clone());
            }
        });
    }

    async fn get(&self, key: &Key) -> Found {
        let _permit = self.gets.acquire().await.map_err(|_| ReadError::Failed {
            reason: "the agent is stopping".to_owned(),
        })?;
        let name = object_key(self.cluster, &key.object);
        metrics::counter!("aquifer_cache_gets_total").increment(1);
        let (position, stored) = match key.run {
            None => (0, self.store.get(&name).await),
            Some((position, bytes)) => {
                let range = position..position.saturating_add(u64::from(bytes));
                (position, self.store.get_range(&name, range).await)
            }
        };
        match stored {
            Ok(stored) => Ok(Arc::new(Cached {
                stored: Some((position, stored)),
                runs: Mutex::default(),
            })),
            Err(GetError::NotFound { .. }) => Err(ReadError::Gone),
            Err(error @ (GetError::Refused { .. } | GetError::Failed { .. })) => {
                Err(ReadError::Failed {
                    reason: error.to_string(),
                })
            }
        }
    }

    fn keep(&self, key: Key, cached: Arc<Cached>, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.remove(&key);
        if bytes > self.bytes_max {
            return;
        }
        inner.uses += 1;
        let used_at = inner.uses;
        inner.order.insert(used_at, key);
        inner.bytes += bytes;
        inner.slots.insert(
            key,
            Slot {
                cached,
                bytes,
                used_at,
            },
        );
        inner.make_room(self.bytes_max);
    }

    fn grow(&self, key: &Key, by: u64) {
        if by == 0 {
            return;
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if let Some(slot) = inner.slots.get_mut(key) {
            slot.bytes += by;
            inner.bytes += by;
            inner.make_room(self.bytes_max);
        }
    }

    fn remove(&self, key: &Key) {
        self.inner.lock().remove(key);
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some(slot) = self.slots.remove(key) {
            self.order.remove(&slot.used_at);
            self.bytes -= slot.bytes;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge")]
    fn make_room(&mut self, bytes_max: u64) {
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.order.first_key_value() else {
                break;
            };
            let oldest = *oldest;
            self.remove(&oldest);
            metrics::counter!("aquifer_cache_evicted_total").increment(1);
        }
        metrics::gauge!("aquifer_cache_bytes").set(self.bytes as f64);
    }
}
