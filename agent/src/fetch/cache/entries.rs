//! What is in memory: units and the runs in them, and which of them go when there is no more room.

use std::{
    collections::{BTreeMap, btree_map},
    sync::{Arc, OnceLock},
};

use aquifer_format::map::FixedMap;
use aquifer_store::Payload;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::{
    fetch::run::{Run, RunError},
    peers::Unit,
};

type RunSlot = Arc<OnceLock<Result<Arc<Run>, RunError>>>;

/// Where the bytes of a unit came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This agent wrote it.
    Own,
    /// The bucket.
    Bucket,
    /// Another agent of the zone, by its address.
    Peer(String),
}

/// A unit in memory.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) source: Source,
    /// Whether others may have it: its checksums were right, or it is a part, of which who reads checks
    /// every block.
    shared: bool,
    /// Position of the first byte in the object.
    position: u64,
    /// Bytes as they are stored; empty = only what is in `runs` is there.
    stored: Payload,
    /// Expanded runs that begin here, by position in the object.
    runs: Mutex<BTreeMap<u64, RunSlot>>,
}

/// A run that was found, or why it cannot be; and the memory that it now takes in addition.
pub(super) type FoundRun = (Result<Arc<Run>, RunError>, u64);

impl Cached {
    pub(super) fn new(source: Source, shared: bool, position: u64, stored: Bytes) -> Self {
        Self {
            source,
            shared,
            position,
            stored: vec![stored],
            runs: Mutex::default(),
        }
    }

    /// An object that this agent wrote: all its runs, and its bytes where others will ask for them.
    pub(super) fn own(runs: impl IntoIterator<Item = (u64, Run)>, stored: Payload) -> Self {
        let runs = runs.into_iter().map(|(position, run)| {
            let slot = RunSlot::default();
            slot.get_or_init(|| Ok(Arc::new(run)));
            (position, slot)
        });
        Self {
            source: Source::Own,
            shared: true,
            position: 0,
            stored,
            runs: Mutex::new(runs.collect()),
        }
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        let bytes: usize = self.stored.iter().map(Bytes::len).sum();
        u64::try_from(bytes).expect("usize fits")
    }

    /// What others may have of it.
    pub(super) fn for_peers(&self) -> Option<Payload> {
        (self.shared && !self.stored.is_empty()).then(|| self.stored.clone())
    }

    /// The run, if somebody expanded it before.
    pub(super) fn expanded(&self, position: u64) -> Option<Result<Arc<Run>, RunError>> {
        self.runs.lock().get(&position)?.get().cloned()
    }

    /// Whether the run could be expanded from bytes of this unit.
    pub(super) fn has_bytes(&self) -> bool {
        !self.stored.is_empty()
    }

    /// Adds the bytes of `begin..end` (positions in the object) that are here to `out`.
    pub(super) fn gather(&self, begin: u64, end: u64, out: &mut Vec<Bytes>) {
        let mut at = self.position;
        for piece in &self.stored {
            let piece_end = at + u64::try_from(piece.len()).expect("usize fits");
            let (from, to) = (begin.clamp(at, piece_end), end.clamp(at, piece_end));
            if from < to {
                let within = |position: u64| usize::try_from(position - at).expect("in the piece");
                out.push(piece.slice(within(from)..within(to)));
            }
            at = piece_end;
        }
    }
}

/// Expands a run from the units that hold it, the first of which keeps it. It is cut where the object
/// ends, which the blocks' headers then show.
pub(super) fn expand(units: &[Arc<Cached>], position: u64, bytes: u32) -> Option<FoundRun> {
    let first = units.first()?;
    let slot = match first.runs.lock().entry(position) {
        btree_map::Entry::Occupied(slot) => Arc::clone(slot.get()),
        btree_map::Entry::Vacant(place) => {
            if !first.has_bytes() {
                return None;
            }
            Arc::clone(place.insert(RunSlot::default()))
        }
    };
    let mut grown = 0;
    let run = slot.get_or_init(|| {
        let end = position.saturating_add(u64::from(bytes));
        let mut pieces = Vec::new();
        for unit in units {
            unit.gather(position, end, &mut pieces);
        }
        let joined = pieces.len() > 1;
        let run = Run::expand(&join(pieces))?;
        // Runs that are not compressed are slices of the stored bytes, where those are in one piece.
        let slices = !joined && run.bytes() <= u64::from(bytes);
        let expanded = if slices { 0 } else { run.bytes() };
        grown = expanded + run.index_bytes();
        Ok(Arc::new(run))
    });
    Some((run.clone(), grown))
}

/// The pieces as one; no copy where there is only one.
pub(super) fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        joined.extend_from_slice(&piece);
    }
    joined.freeze()
}

/// Which of two lists an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    /// What this agent wrote, owns, or could not get elsewhere.
    Hot,
    /// What another agent of the zone has in memory too, or a sequential read of old data passes by. It
    /// has a bound of its own and so never pushes out what is hot.
    Passing,
}

struct Slot {
    cached: Arc<Cached>,
    segment: Segment,
    bytes: u64,
    used_at: u64,
}

#[derive(Default)]
struct List {
    /// Least recently used first.
    order: BTreeMap<u64, Unit>,
    bytes: u64,
}

/// The entries, least recently used ones first to go.
pub(super) struct Entries {
    slots: FixedMap<Unit, Slot>,
    hot: List,
    passing: List,
    uses: u64,
    bytes_max: u64,
    passing_bytes_max: u64,
}

impl Entries {
    pub(super) fn new(bytes_max: u64, passing_bytes_max: u64) -> Self {
        Self {
            slots: FixedMap::default(),
            hot: List::default(),
            passing: List::default(),
            uses: 0,
            bytes_max,
            passing_bytes_max: passing_bytes_max.min(bytes_max),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.hot.bytes + self.passing.bytes
    }

    fn list(&mut self, segment: Segment) -> &mut List {
        match segment {
            Segment::Hot => &mut self.hot,
            Segment::Passing => &mut self.passing,
        }
    }

    pub(super) fn contains(&self, unit: &Unit) -> bool {
        self.slots.contains_key(unit)
    }

    /// The entry, used now; one that is used as `Hot` is that from now on.
    pub(super) fn touch(&mut self, unit: &Unit, as_hot: bool) -> Option<Arc<Cached>> {
        let mut slot = self.take(unit)?;
        if as_hot {
            slot.segment = Segment::Hot;
        }
        let cached = Arc::clone(&slot.cached);
        self.put(*unit, slot);
        self.make_room();
        Some(cached)
    }

    pub(super) fn insert(&mut self, unit: Unit, cached: Arc<Cached>, segment: Segment, bytes: u64) {
        self.take(&unit);
        if bytes > self.bytes_max {
            return;
        }
        let slot = Slot {
            cached,
            segment,
            bytes,
            used_at: 0,
        };
        self.put(unit, slot);
        self.make_room();
    }

    /// The entry takes more memory, if it is still this one.
    pub(super) fn grow(&mut self, unit: &Unit, cached: &Arc<Cached>, by: u64) {
        let Some(slot) = self.slots.get_mut(unit) else {
            return;
        };
        if by == 0 || !Arc::ptr_eq(&slot.cached, cached) {
            return;
        }
        slot.bytes += by;
        let segment = slot.segment;
        self.list(segment).bytes += by;
        self.make_room();
    }

    /// Drops the entry, if it is still this one.
    pub(super) fn remove(&mut self, unit: &Unit, cached: &Arc<Cached>) {
        let same = |slot: &Slot| Arc::ptr_eq(&slot.cached, cached);
        if self.slots.get(unit).is_some_and(same) {
            self.take(unit);
        }
    }

    fn take(&mut self, unit: &Unit) -> Option<Slot> {
        let slot = self.slots.remove(unit)?;
        let list = self.list(slot.segment);
        list.order.remove(&slot.used_at);
        list.bytes -= slot.bytes;
        Some(slot)
    }

    fn put(&mut self, unit: Unit, mut slot: Slot) {
        self.uses += 1;
        slot.used_at = self.uses;
        let list = self.list(slot.segment);
        list.order.insert(slot.used_at, unit);
        list.bytes += slot.bytes;
        self.slots.insert(unit, slot);
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge")]
    fn make_room(&mut self) {
        // The newest one stays: it is being read.
        while self.passing.bytes > self.passing_bytes_max && self.passing.order.len() > 1 {
            self.evict(Segment::Passing);
        }
        while self.bytes() > self.bytes_max {
            let oldest = |list: &List| list.order.first_key_value().map(|(used_at, _)| *used_at);
            let segment = match (oldest(&self.hot), oldest(&self.passing)) {
                (Some(hot), Some(passing)) if passing < hot => Segment::Passing,
                (None, _) => Segment::Passing,
                (Some(_), _) => Segment::Hot,
            };
            if !self.evict(segment) {
                break;
            }
        }
        metrics::gauge!("aquifer_cache_bytes").set(self.bytes() as f64);
    }

    fn evict(&mut self, segment: Segment) -> bool {
        let oldest = self.list(segment).order.first_key_value();
        let Some(oldest) = oldest.map(|(_, unit)| *unit) else {
            return false;
        };
        self.take(&oldest);
        metrics::counter!("aquifer_cache_evicted_total").increment(1);
        true
    }
}
