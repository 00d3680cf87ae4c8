//! What was read of objects and is not used up: one window per object, so that a few ranged GETs serve all the
//! runs of an object that are read in ascending order.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use aquifer_format::{ids::ObjectId, key::object_key};
use aquifer_store::ObjectStore;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{JobError, JobLease};

/// Largest window: what one GET brings at about the full speed of its connection.
const WINDOW_BYTES_MAX: u64 = 4 << 20;
/// Smallest one, whatever the memory: below it requests cost more than their bytes.
const WINDOW_BYTES_MIN: u64 = 256 << 10;
/// Bytes between two wanted ranges that are read along with them.
const GAP_BYTES_MAX: u64 = 256 << 10;

#[derive(Clone, Debug)]
struct Window {
    start: u64,
    bytes: Bytes,
    used: u64,
}

impl Window {
    /// What it has from `position` on; None = it does not have that position.
    fn from(&self, position: u64) -> Option<Bytes> {
        let within = usize::try_from(position.checked_sub(self.start)?).ok()?;
        (within < self.bytes.len()).then(|| self.bytes.slice(within..))
    }
}

#[derive(Debug, Default)]
struct Held {
    windows: BTreeMap<ObjectId, Window>,
    /// Ranges that will be read, by object: sorted, none touching.
    plan: BTreeMap<ObjectId, Vec<Range<u64>>>,
    /// Counts uses, to tell which window was used last.
    uses: u64,
    /// Most bytes that windows ever had.
    peak: usize,
}

impl Held {
    fn bytes(&self) -> usize {
        self.windows.values().map(|window| window.bytes.len()).sum()
    }

    fn find(&mut self, object: &ObjectId, position: u64) -> Option<Bytes> {
        self.uses += 1;
        let used = self.uses;
        let window = self.windows.get_mut(object)?;
        window.used = used;
        window.from(position)
    }

    fn put(&mut self, object: ObjectId, start: u64, bytes: Bytes, windows_max: usize) {
        self.windows.remove(&object);
        while self.windows.len() >= windows_max {
            let oldest = self.windows.iter().min_by_key(|(_, window)| window.used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.windows.remove(&oldest);
        }
        self.uses += 1;
        let used = self.uses;
        self.windows.insert(object, Window { start, bytes, used });
        self.peak = self.peak.max(self.bytes());
    }

    /// Where a read ahead from `position` ends: with the wanted range that it lies in.
    fn wanted_until(&self, object: &ObjectId, position: u64) -> Option<u64> {
        let ranges = self.plan.get(object)?;
        let next = ranges.partition_point(|range| range.end <= position);
        let range = ranges.get(next)?;
        range.contains(&position).then_some(range.end)
    }
}

/// Reads objects, a window of each at a time.
#[derive(Debug)]
pub(super) struct Windows {
    store: Arc<dyn ObjectStore>,
    lease: JobLease,
    window_bytes: u64,
    windows_max: usize,
    held: Mutex<Held>,
}

impl Windows {
    /// Windows of `windows_max` objects that share `memory_bytes`.
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        lease: JobLease,
        memory_bytes: usize,
        windows_max: usize,
    ) -> Self {
        let windows_max = windows_max.max(1);
        let share = u64::try_from(memory_bytes / windows_max).unwrap_or(u64::MAX);
        Self {
            store,
            lease,
            window_bytes: share.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX),
            windows_max,
            held: Mutex::default(),
        }
    }

    /// Bytes of one window.
    pub(super) fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    /// Most bytes that they ever had together.
    pub(super) fn peak_bytes(&self) -> usize {
        self.held.lock().peak
    }

    /// Says what will be read next, in place of what was said before; nothing is read ahead of it.
    pub(super) fn plan(&self, wanted: impl IntoIterator<Item = (ObjectId, Range<u64>)>) {
        let mut plan: BTreeMap<ObjectId, Vec<Range<u64>>> = BTreeMap::new();
        for (object, range) in wanted {
            plan.entry(object).or_default().push(range);
        }
        for ranges in plan.values_mut() {
            *ranges = joined(std::mem::take(ranges));
        }
        self.held.lock().plan = plan;
    }

    /// Whether bytes from `position` on are here.
    pub(super) fn has(&self, object: &ObjectId, position: u64) -> bool {
        self.held.lock().find(object, position).is_some()
    }

    /// At least `needed` bytes of the object from `position` on, and what of those behind is here, too. `end`:
    /// what is there to be read ends here at the earliest.
    pub(super) async fn read(
        &self,
        object: &ObjectId,
        position: u64,
        needed: u64,
        end: u64,
    ) -> Result<Bytes, JobError> {
        let (rest, wanted_until) = {
            let mut held = self.held.lock();
            let rest = held.find(object, position).unwrap_or_default();
            if length(&rest) >= needed {
                return Ok(rest);
            }
            let from = position.saturating_add(length(&rest));
            (rest, held.wanted_until(object, from))
        };
        let from = position.saturating_add(length(&rest));
        let ahead = from
            .saturating_add(self.window_bytes.saturating_sub(length(&rest)))
            .min(wanted_until.unwrap_or(end).max(end));
        let until = ahead.max(position.saturating_add(needed));
        let read = self.get(object, from..until).await?;
        let bytes = if rest.is_empty() {
            read
        } else {
            let mut both = BytesMut::with_capacity(rest.len().saturating_add(read.len()));
            both.extend_from_slice(&rest);
            both.extend_from_slice(&read);
            both.freeze()
        };
        if length(&bytes) < needed {
            return Err(damaged(object, "it is shorter than its extents say"));
        }
        self.held
            .lock()
            .put(*object, position, bytes.clone(), self.windows_max);
        Ok(bytes)
    }

    /// The last `bytes` bytes of an object; all of it, which is kept, where it is not larger than a window.
    pub(super) async fn tail(
        &self,
        object: &ObjectId,
        object_bytes: u64,
        bytes: u64,
    ) -> Result<Bytes, JobError> {
        if object_bytes <= self.window_bytes {
            return self.read(object, 0, object_bytes, object_bytes).await;
        }
        let from = object_bytes.saturating_sub(bytes);
        let tail = self.get(object, from..object_bytes).await?;
        if length(&tail) == object_bytes.saturating_sub(from) {
            Ok(tail)
        } else {
            Err(damaged(object, "it is shorter than the metadata says"))
        }
    }

    /// Reads a range that no window is made of.
    pub(super) async fn get(
        &self,
        object: &ObjectId,
        range: Range<u64>,
    ) -> Result<Bytes, JobError> {
        let key = object_key(self.lease.job().cluster, object);
        let got = tokio::select! {
            biased;
            lost = self.lease.lost() => return Err(lost),
            got = self.store.get_range(&key, range) => got,
        };
        let bytes = got.map_err(|source| JobError::Get {
            object: *object,
            source,
        })?;
        self.lease.count_read(length(&bytes));
        Ok(bytes)
    }
}

/// The ranges in order, those that touch or nearly do as one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES_MAX) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

pub(super) fn damaged(object: &ObjectId, what: impl Into<String>) -> JobError {
    JobError::Damaged {
        object: *object,
        what: what.into(),
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::single_range_in_vec_init,
        reason = "lists of one range are meant"
    )]
    fn ranges_that_nearly_touch_are_read_as_one() {
        let far = 10 * GAP_BYTES_MAX;
        for (ranges, expected) in [
            (vec![], vec![]),
            (vec![5..9, 0..5], vec![0..9]),
            (vec![0..100, 10..20], vec![0..100]),
            (vec![0..10, 10 + GAP_BYTES_MAX..far], vec![0..far]),
            (
                vec![
                    far..far + 1,
                    0..10,
                    11 + GAP_BYTES_MAX..far - GAP_BYTES_MAX - 1,
                ],
                vec![
                    0..10,
                    11 + GAP_BYTES_MAX..far - GAP_BYTES_MAX - 1,
                    far..far + 1,
                ],
            ),
        ] {
            assert_eq!(joined(ranges.clone()), expected, "{ranges:?}");
        }
    }
}
