//! Objects that live extents or held batches are in, each stored once and counted.

use std::collections::BTreeMap;

use aquifer_format::ids::{Incarnation, ObjectId, ObjectLevel, UploadEpoch};

use super::budget::{OBJECT_BYTES, Usage};
use crate::event::ObjectInfo;

/// Index of an interned object; means nothing outside this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectIndex(u32);

#[derive(Clone, Debug)]
struct Entry {
    id: ObjectId,
    bytes: u64,
    locations: Box<[u8]>,
    /// Extents and held batches in it; 0 = the entry is free.
    references: u32,
    /// Its place among those of its upload epoch, by when they were entered.
    arrival: u64,
}

/// Orders small objects about as they were committed: logs lie in them in this order, so those that follow one
/// another are merged together. No part of the state: after pages were loaded, it is the order of the first log
/// that names them.
type SmallPlace = (Incarnation, UploadEpoch, u64);

/// The table of objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    entries: Vec<Entry>,
    free: Vec<u32>,
    index: BTreeMap<ObjectId, u32>,
    /// Objects of level 0.
    small: BTreeMap<SmallPlace, u32>,
    arrivals: u64,
}

impl Objects {
    /// The index of an object, which is entered without a reference if it is new. Whoever calls this
    /// calls [`Self::settle`] afterwards.
    pub(super) fn intern(&mut self, object: &ObjectInfo, usage: &mut Usage) -> ObjectIndex {
        if let Some(at) = self.index.get(&object.id) {
            return ObjectIndex(*at);
        }
        let entry = Entry {
            id: object.id,
            bytes: object.bytes,
            locations: object.locations.as_slice().into(),
            references: 0,
            arrival: self.arrivals,
        };
        self.arrivals = self.arrivals.saturating_add(1);
        let small = small_place(&entry);
        let at = match self.free.pop() {
            Some(at) => at,
            None => u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
        };
        match self.entries.get_mut(position(at)) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        self.index.insert(object.id, at);
        if let Some(place) = small {
            self.small.insert(place, at);
        }
        usage.extent_bytes = usage.extent_bytes.saturating_add(OBJECT_BYTES);
        ObjectIndex(at)
    }

    pub(super) fn add(&mut self, object: ObjectIndex, references: u32) {
        if let Some(entry) = self.entries.get_mut(position(object.0)) {
            entry.references = entry.references.saturating_add(references);
        }
    }

    /// Takes one reference away; the entry stays until [`Self::settle`].
    pub(super) fn remove(&mut self, object: ObjectIndex) {
        if let Some(entry) = self.entries.get_mut(position(object.0)) {
            entry.references = entry.references.saturating_sub(1);
        }
    }

    /// Frees the entry if nothing refers to it.
    pub(super) fn settle(&mut self, object: ObjectIndex, usage: &mut Usage) {
        let Some(entry) = self.entries.get(position(object.0)) else {
            return;
        };
        if entry.references == 0 && self.index.get(&entry.id) == Some(&object.0) {
            self.index.remove(&entry.id);
            if let Some(place) = small_place(entry) {
                self.small.remove(&place);
            }
            self.free.push(object.0);
            usage.extent_bytes = usage.extent_bytes.saturating_sub(OBJECT_BYTES);
        }
    }

    pub(super) fn id(&self, object: ObjectIndex) -> Option<ObjectId> {
        self.entries.get(position(object.0)).map(|entry| entry.id)
    }

    pub(super) fn info(&self, object: ObjectIndex) -> Option<ObjectInfo> {
        let (id, bytes, locations) = self.parts(object)?;
        Some(ObjectInfo {
            id,
            bytes,
            locations: locations.to_vec(),
        })
    }

    /// What [`Self::info`] says, without a copy: id, size in bytes, locations.
    pub(super) fn parts(&self, object: ObjectIndex) -> Option<(ObjectId, u64, &[u8])> {
        let entry = self.entries.get(position(object.0))?;
        Some((entry.id, entry.bytes, &entry.locations))
    }

    pub(super) fn references(&self, object: ObjectIndex) -> u32 {
        self.entries
            .get(position(object.0))
            .map_or(0, |entry| entry.references)
    }

    pub(super) fn find(&self, id: &ObjectId) -> Option<ObjectIndex> {
        self.index.get(id).copied().map(ObjectIndex)
    }

    /// Every object with its size and references, in order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ObjectId, u64, u32)> + '_ {
        self.described(self.index.iter())
    }

    /// The same from `from` on.
    pub(super) fn iter_from(
        &self,
        from: ObjectId,
    ) -> impl Iterator<Item = (ObjectId, u64, u32)> + '_ {
        self.described(self.index.range(from..))
    }

    fn described<'a>(
        &'a self,
        places: impl Iterator<Item = (&'a ObjectId, &'a u32)> + 'a,
    ) -> impl Iterator<Item = (ObjectId, u64, u32)> + 'a {
        places.filter_map(move |(id, at)| {
            let entry = self.entries.get(position(*at))?;
            Some((*id, entry.bytes, entry.references))
        })
    }
}

impl Objects {
    /// Objects of level 0 with their sizes and references, about in order of their commits.
    pub(super) fn small(&self) -> impl Iterator<Item = (ObjectId, u64, u32)> + '_ {
        self.small.values().filter_map(|at| {
            let entry = self.entries.get(position(*at))?;
            Some((entry.id, entry.bytes, entry.references))
        })
    }

    /// How many there are.
    pub(super) fn small_count(&self) -> usize {
        self.small.len()
    }
}

fn small_place(entry: &Entry) -> Option<SmallPlace> {
    let id = &entry.id;
    (id.level == ObjectLevel::L0).then_some((id.incarnation, id.upload_epoch, entry.arrival))
}

fn position(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
