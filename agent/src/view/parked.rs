//! Interests in extents, and the fetches that wait for them.
//!
//! One entry per partition that somebody fetched lately: whether the leader sends its extents, and who
//! waits. A wake-up reaches only those who wait on the partition, and names it to them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex, TopicId};
use aquifer_metadata_api::watch::InterestChange;
use aquifer_store::{Clock, Monotonic};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long an interest outlives the last fetch of its partition: a consumer that is busy with what it
/// fetched (`max.poll.interval.ms` is minutes, but most polls follow within seconds) finds it in place.
const INTEREST_LINGER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interest {
    /// The leader has been, or will be, asked.
    Asked,
    /// Every extent of the partition from some offset on arrives by the watch.
    Complete,
}

#[derive(Debug)]
struct Entry {
    interest: Interest,
    /// Where the interest begins.
    from: Offset,
    waiters: Vec<(Arc<Waiter>, u32)>,
    /// When a fetch last asked for it.
    used: Monotonic,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<PartitionId, Entry>,
    /// What the leader must still be told; at most one change of each kind per partition.
    unsent: VecDeque<InterestChange>,
    /// Partitions whose watermark moved, and whose extents are expected with the next frame.
    expected: Vec<PartitionId>,
    /// Partitions that parked fetches wait on.
    parked: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Parked {
    inner: Mutex<Inner>,
    /// Signalled when there is something to tell the leader.
    pub(super) changed: Notify,
    clock: Arc<dyn Clock>,
    parked_max: usize,
}

#[derive(Debug)]
struct Waiter {
    notify: Notify,
    woken: Mutex<Woken>,
    /// How many partitions it waits on.
    partitions: usize,
}

/// What a parked fetch must look at again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Woken {
    /// Everything.
    pub(crate) all: bool,
    /// Indexes into the slice that was parked on; may repeat, and are no more than that has.
    pub(crate) indexes: Vec<u32>,
}

impl Woken {
    fn everything() -> Self {
        Self {
            all: true,
            indexes: Vec::new(),
        }
    }
}

impl Waiter {
    fn new(partitions: usize) -> Self {
        Self {
            notify: Notify::new(),
            woken: Mutex::default(),
            partitions,
        }
    }

    fn wake(&self, index: u32) {
        let mut woken = self.woken.lock();
        if woken.all || woken.indexes.len() >= self.partitions {
            *woken = Woken::everything();
        } else {
            woken.indexes.push(index);
        }
        drop(woken);
        self.notify.notify_one();
    }

    fn wake_all(&self) {
        *self.woken.lock() = Woken::everything();
        self.notify.notify_one();
    }
}

/// A fetch's place among those who wait; dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Parking<'a> {
    parked: &'a Parked,
    waiter: Arc<Waiter>,
    partitions: Vec<PartitionId>,
}

impl Parking<'_> {
    /// Returns when something happened to one of the partitions since the last call (or since parking).
    /// Cancel safe.
    pub(crate) async fn woken(&self) -> Woken {
        loop {
            let woken = std::mem::take(&mut *self.waiter.woken.lock());
            if woken != Woken::default() {
                return woken;
            }
            self.waiter.notify.notified().await;
        }
    }
}

impl Drop for Parking<'_> {
    fn drop(&mut self) {
        let mut inner = self.parked.inner.lock();
        inner.parked -= self.partitions.len();
        for partition in &self.partitions {
            if let Some(entry) = inner.entries.get_mut(partition) {
                entry
                    .waiters
                    .retain(|(waiter, _)| !Arc::ptr_eq(waiter, &self.waiter));
            }
        }
        metrics::gauge!("aquifer_fetch_parked_partitions").set(count(inner.parked));
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a gauge of something far below 2^53"
)]
fn count(n: usize) -> f64 {
    n as f64
}

impl Parked {
    pub(super) fn new(clock: Arc<dyn Clock>, parked_max: usize) -> Self {
        Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            clock,
            parked_max,
        }
    }

    /// See [`super::View::take_interest`].
    pub(super) fn take_interest(&self, partition: PartitionId, from: Offset) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        if inner.entry(partition, from, now) {
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// See [`super::View::park`]. Beyond the bound nobody is woken: the fetch waits for its time.
    pub(super) fn park(&self, partitions: &[(PartitionId, Offset)]) -> Parking<'_> {
        let waiter = Arc::new(Waiter::new(partitions.len()));
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let mut parked = Vec::new();
        let mut added = false;
        if inner.parked.saturating_add(partitions.len()) <= self.parked_max {
            for (index, (partition, from)) in (0u32..).zip(partitions) {
                added |= inner.entry(*partition, *from, now);
                if let Some(entry) = inner.entries.get_mut(partition) {
                    entry.waiters.push((Arc::clone(&waiter), index));
                }
                parked.push(*partition);
            }
            inner.parked += parked.len();
        } else {
            metrics::counter!("aquifer_fetch_parked_refused_total").increment(1);
        }
        metrics::gauge!("aquifer_fetch_parked_partitions").set(count(inner.parked));
        drop(inner);
        if added {
            self.changed.notify_one();
        }
        Parking {
            parked: self,
            waiter,
            partitions: parked,
        }
    }

    /// Watermarks moved. Who has a complete interest is woken with the extents, which come in the next
    /// frame; others at once.
    pub(super) fn moved(&self, partitions: &[PartitionId]) {
        let mut inner = self.inner.lock();
        inner.wake_expected();
        for partition in partitions {
            let Some(entry) = inner.entries.get(partition) else {
                continue;
            };
            if entry.waiters.is_empty() {
                continue;
            }
            if entry.interest == Interest::Complete {
                inner.expected.push(*partition);
            } else {
                inner.wake(*partition);
            }
        }
    }

    /// An extents frame was applied: acknowledged interests, then those who wait for what it brought.
    pub(super) fn extents_arrived(&self, complete: &[(PartitionId, Offset)]) {
        let mut inner = self.inner.lock();
        for (partition, from) in complete {
            if let Some(entry) = inner.entries.get_mut(partition)
                && *from <= entry.from
            {
                entry.interest = Interest::Complete;
            }
        }
        inner.wake_expected();
    }

    /// Whether someone waits for extents that have not come.
    pub(super) fn is_expecting(&self) -> bool {
        !self.inner.lock().expected.is_empty()
    }

    /// Wakes those who wait for extents that did not come (only a watermark moved).
    pub(super) fn wake_expected(&self) {
        self.inner.lock().wake_expected();
    }

    /// Wakes everybody who waits on a partition of `topic`.
    pub(super) fn wake_topic(&self, topic: TopicId) {
        let range = PartitionId::new(topic, PartitionIndex(i32::MIN))
            ..=PartitionId::new(topic, PartitionIndex(i32::MAX));
        let inner = self.inner.lock();
        for (_, entry) in inner.entries.range(range) {
            for (waiter, index) in &entry.waiters {
                waiter.wake(*index);
            }
        }
    }

    /// The leader sent its whole state and has forgotten the interests: they are all to be told again,
    /// each from `high_watermark(partition)` (None = no such partition any more), and everybody looks again.
    pub(super) fn reset(&self, high_watermark: impl Fn(PartitionId) -> Option<Offset>) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.unsent.clear();
        inner.expected.clear();
        for entry in inner.entries.values() {
            for (waiter, _) in &entry.waiters {
                waiter.wake_all();
            }
        }
        inner.entries.retain(|partition, entry| {
            let Some(from) = high_watermark(*partition) else {
                return !entry.waiters.is_empty();
            };
            entry.interest = Interest::Asked;
            entry.from = from;
            inner.unsent.push_back(InterestChange::Add {
                partition: *partition,
                from,
            });
            true
        });
    }

    /// The next change to tell the leader.
    pub(super) fn next_unsent(&self) -> Option<InterestChange> {
        self.inner.lock().unsent.pop_front()
    }

    /// Whether there is a change to tell the leader.
    pub(super) fn has_unsent(&self) -> bool {
        !self.inner.lock().unsent.is_empty()
    }

    /// Gives up interests that nobody used for a while.
    pub(super) fn drop_unused(&self) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.entries.retain(|partition, entry| {
            let keep = !entry.waiters.is_empty() || now.since(entry.used) < INTEREST_LINGER;
            if !keep {
                inner.unsent.push_back(InterestChange::Remove {
                    partition: *partition,
                });
            }
            keep
        });
    }
}

impl Inner {
    /// Makes sure that there is an entry; true if the leader must be told.
    fn entry(&mut self, partition: PartitionId, from: Offset, now: Monotonic) -> bool {
        if let Some(entry) = self.entries.get_mut(&partition) {
            entry.used = now;
            return false;
        }
        let entry = Entry {
            interest: Interest::Asked,
            from,
            waiters: Vec::new(),
            used: now,
        };
        self.entries.insert(partition, entry);
        self.unsent
            .push_back(InterestChange::Add { partition, from });
        true
    }

    fn wake(&self, partition: PartitionId) {
        if let Some(entry) = self.entries.get(&partition) {
            for (waiter, index) in &entry.waiters {
                waiter.wake(*index);
            }
        }
    }

    fn wake_expected(&mut self) {
        for partition in std::mem::take(&mut self.expected) {
            self.wake(partition);
        }
    }
}
