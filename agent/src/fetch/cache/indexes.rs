//! Indexes of merged runs: read through the units of the cache, kept decoded.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::{
    ids::ObjectId,
    object::{AbortedTransaction, IndexEntry, IndexError, RunIndex},
};
use aquifer_metadata_api::extent::Extent;
use bytes::Bytes;

use super::{Cached, ObjectCache, ReadError, Reading, RunError, Source, TRIES_MAX, Unit};

/// Memory for decoded indexes: those of some hundred gigabytes of runs.
const INDEXES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What is read of a run's end at first: most indexes are shorter.
const TAIL_BYTES: u32 = 64 * 1024;
/// Memory that an index takes beside its entries.
const INDEX_BYTES: usize = 256;

/// A run, by its object and position.
type Key = (ObjectId, u64);

#[derive(Debug)]
struct Kept {
    index: Arc<RunIndex>,
    bytes: usize,
    used_at: u64,
}

/// Decoded indexes, least recently used ones first to go.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    kept: BTreeMap<Key, Kept>,
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

impl Indexes {
    fn get(&mut self, key: &Key) -> Option<Arc<RunIndex>> {
        let kept = self.kept.get_mut(key)?;
        self.order.remove(&kept.used_at);
        self.uses += 1;
        kept.used_at = self.uses;
        self.order.insert(kept.used_at, *key);
        Some(Arc::clone(&kept.index))
    }

    fn keep(&mut self, key: Key, index: &Arc<RunIndex>, bytes_max: usize) {
        self.remove(&key);
        let bytes = INDEX_BYTES
            + index.blocks.len() * size_of::<IndexEntry>()
            + index.aborted.len() * size_of::<AbortedTransaction>();
        self.uses += 1;
        self.bytes += bytes;
        self.order.insert(self.uses, key);
        let kept = Kept {
            index: Arc::clone(index),
            bytes,
            used_at: self.uses,
        };
        self.kept.insert(key, kept);
        // The newest one stays: it is being used.
        while self.bytes > bytes_max && self.kept.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.order.remove(&kept.used_at);
            self.bytes -= kept.bytes;
        }
    }
}

impl ObjectCache {
    /// The index of a merged run. One that is damaged is read from the bucket once more.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) async fn index(
        self: &Arc<Self>,
        extent: &Extent,
        reading: Reading,
    ) -> Result<Arc<RunIndex>, ReadError> {
        let key = (extent.object, extent.run_position);
        if let Some(index) = self.indexes.lock().get(&key) {
            return Ok(index);
        }
        let index = Arc::new(self.read_index(extent, reading).await?);
        let mut indexes = self.indexes.lock();
        indexes.keep(key, &index, INDEXES_BYTES_MAX);
        Ok(index)
    }

    async fn read_index(
        self: &Arc<Self>,
        extent: &Extent,
        reading: Reading,
    ) -> Result<RunIndex, ReadError> {
        let mut tail_bytes = TAIL_BYTES.min(extent.run_bytes);
        let mut damage = None;
        let mut tries = 0;
        while tries < TRIES_MAX {
            let end = extent
                .run_position
                .saturating_add(u64::from(extent.run_bytes));
            let position = end - u64::from(tail_bytes);
            let after_damage = damage.is_some();
            let (units, fresh) = self
                .tail_units((extent.object, position, tail_bytes), reading, after_damage)
                .await?;
            let error = match RunIndex::read(&gathered(&units, position, end), extent.run_bytes) {
                Ok(index) if fits(&index, extent) => return Ok(index),
                Ok(_) => RunError::from(IndexError::Malformed {
                    what: "it is not that of the extent",
                }),
                Err(IndexError::NeedMore { tail_bytes: more })
                    if more > u64::from(tail_bytes) && more <= u64::from(extent.run_bytes) =>
                {
                    tail_bytes = u32::try_from(more).unwrap_or(extent.run_bytes);
                    continue;
                }
                Err(error) => RunError::from(error),
            };
            self.damaged(extent, &units, &error);
            let from_bucket = units.iter().all(|(_, c)| c.source == Source::Bucket);
            if fresh && from_bucket && after_damage {
                return Err(error.into());
            }
            damage = Some(error);
            tries += 1;
        }
        Err(damage.map_or_else(
            || ReadError::Failed {
                reason: "the run's index cannot be read".to_owned(),
            },
            ReadError::from,
        ))
    }

    /// The units that hold some bytes of an object, and whether any was not in memory.
    async fn tail_units(
        self: &Arc<Self>,
        (object, position, bytes): (ObjectId, u64, u32),
        reading: Reading,
        after_damage: bool,
    ) -> Result<(Vec<(Unit, Arc<Cached>)>, bool), ReadError> {
        let (first, rest) = Unit::of_run(object, position, bytes);
        let mut units = Vec::new();
        let mut fresh = false;
        for unit in std::iter::once(first).chain(rest) {
            let (unit, cached, asked) = self.unit(unit, reading, after_damage).await?;
            fresh |= asked;
            units.push((unit, cached));
        }
        Ok((units, fresh))
    }
}

/// Whether the blocks are what the extent names: all of its offsets, and no others.
fn fits(index: &RunIndex, extent: &Extent) -> bool {
    let base = index.blocks.first().map(|block| block.base_offset);
    let end = index.blocks.last().map(|block| block.end_offset);
    let raw = index.blocks.iter().map(|b| u64::from(b.expanded_bytes));
    (base, end) == (Some(extent.base_offset), Some(extent.end_offset))
        && raw.sum::<u64>() == u64::from(extent.raw_bytes)
}

/// The bytes of an object from `position` to `end`, as far as the units have them.
fn gathered(units: &[(Unit, Arc<Cached>)], position: u64, end: u64) -> Bytes {
    let mut pieces = Vec::new();
    for (_, cached) in units {
        cached.gather(position, end, &mut pieces);
    }
    super::entries::join(pieces)
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Incarnation, ObjectLevel, Offset, UploadEpoch, WriterSlot};

    use super::*;

    fn key(position: u64) -> Key {
        let object = ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
            writer: WriterSlot::COMPACTOR,
            level: ObjectLevel::L2,
            unique: 1,
        };
        (object, position)
    }

    #[test]
    fn the_least_recently_used_index_goes_first() {
        let mut indexes = Indexes::default();
        let block = IndexEntry {
            position: 0,
            stored_bytes: 100,
            expanded_bytes: 100,
            batches: 1,
            base_offset: Offset(0),
            end_offset: Offset(1),
            first_timestamp: 0,
            max_timestamp: 0,
        };
        let index = Arc::new(RunIndex {
            cleaned: false,
            blocks: vec![block; 10],
            aborted: Vec::new(),
        });
        let each = INDEX_BYTES + 10 * size_of::<IndexEntry>();
        for position in 0..3 {
            indexes.keep(key(position), &index, 3 * each);
        }
        assert!(indexes.get(&key(0)).is_some());
        // Put in again it counts once.
        indexes.keep(key(2), &index, 3 * each);
        indexes.keep(key(3), &index, 3 * each);
        let there: Vec<bool> = (0..4).map(|p| indexes.get(&key(p)).is_some()).collect();
        assert_eq!(there, [true, false, true, true]);
        assert_eq!((indexes.bytes, indexes.order.len()), (3 * each, 3));
        indexes.keep(key(9), &index, 1);
        assert!(indexes.get(&key(9)).is_some(), "what is used stays");
        assert_eq!(indexes.kept.len(), 1);
    }
}
