//! Flushes between seal and commit: which of them must wait for which.
//!
//! Uploads run in parallel and end in any order. Flush n+1 is committed after flush n only if both
//! hold batches of one (connection, partition), so that a slow upload delays nobody else.

use std::collections::{BTreeMap, BTreeSet};

use super::buffer::OrderKey;

/// Number of a flush, in order of seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FlightId(pub(super) u64);

#[derive(Debug)]
struct Flight<T> {
    keys: BTreeSet<OrderKey>,
    /// What came of the upload, once it is there.
    uploaded: Option<T>,
    waits_for: BTreeSet<FlightId>,
    dependents: Vec<FlightId>,
}

/// Flushes that were sealed and not yet committed. `T` is what an upload yields.
#[derive(Debug)]
pub(super) struct Flights<T> {
    next: u64,
    open: BTreeMap<FlightId, Flight<T>>,
    last_of: BTreeMap<OrderKey, FlightId>,
}

impl<T> Flights<T> {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            open: BTreeMap::new(),
            last_of: BTreeMap::new(),
        }
    }

    /// How many flushes are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// How many of them are being uploaded.
    pub(super) fn uploading(&self) -> usize {
        self.open
            .values()
            .filter(|flight| flight.uploaded.is_none())
            .count()
    }

    /// A flush was sealed.
    pub(super) fn insert(&mut self, keys: BTreeSet<OrderKey>) -> FlightId {
        let id = FlightId(self.next);
        self.next += 1;
        let mut waits_for = BTreeSet::new();
        for key in &keys {
            if let Some(before) = self.last_of.insert(*key, id)
                && waits_for.insert(before)
            {
                self.open
                    .get_mut(&before)
                    .expect("only open flushes are the last of a key")
                    .dependents
                    .push(id);
            }
        }
        let flight = Flight {
            keys,
            uploaded: None,
            waits_for,
            dependents: Vec::new(),
        };
        self.open.insert(id, flight);
        id
    }

    /// Its upload is done. Returns what is to be committed now, in order. (Nothing, if the flush was
    /// dropped meanwhile.)
    pub(super) fn uploaded(&mut self, id: FlightId, upload: T) -> Vec<T> {
        if let Some(flight) = self.open.get_mut(&id) {
            flight.uploaded = Some(upload);
        }
        self.release(BTreeSet::from([id]))
    }

    /// Its upload failed, so it will never be committed. Those that waited for it go on: whatever of
    /// an idempotent stream is missing now is held until the producer has sent it again. Returns what
    /// is to be committed now, in order.
    pub(super) fn failed(&mut self, id: FlightId) -> Vec<T> {
        let released = self.remove(id);
        self.release(released)
    }

    /// Drops all flushes.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.last_of.clear();
    }

    fn release(&mut self, mut candidates: BTreeSet<FlightId>) -> Vec<T> {
        let mut ready = Vec::new();
        while let Some(id) = candidates.pop_first() {
            let Some(flight) = self.open.get_mut(&id) else {
                continue;
            };
            if !flight.waits_for.is_empty() {
                continue;
            }
            if let Some(upload) = flight.uploaded.take() {
                ready.push(upload);
                candidates.append(&mut self.remove(id));
            }
        }
        ready
    }

    /// Removes a flush; returns those that waited for it.
    fn remove(&mut self, id: FlightId) -> BTreeSet<FlightId> {
        let Some(flight) = self.open.remove(&id) else {
            return BTreeSet::new();
        };
        for key in &flight.keys {
            if self.last_of.get(key) == Some(&id) {
                self.last_of.remove(key);
            }
        }
        for dependent in &flight.dependents {
            if let Some(dependent) = self.open.get_mut(dependent) {
                dependent.waits_for.remove(&id);
            }
        }
        flight.dependents.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};

    use super::*;
    use crate::connection::ConnectionId;

    fn key(connection: u64, partition: i32) -> OrderKey {
        let topic = TopicId(uuid::Uuid::from_u128(1));
        (
            ConnectionId(connection),
            PartitionId::new(topic, PartitionIndex(partition)),
        )
    }

    fn flights(keys: &[&[OrderKey]]) -> (Flights<usize>, Vec<FlightId>) {
        let mut flights = Flights::new();
        let ids = keys
            .iter()
            .map(|keys| flights.insert(keys.iter().copied().collect()))
            .collect();
        (flights, ids)
    }

    #[test]
    fn flushes_without_a_common_connection_and_partition_do_not_wait() {
        let (mut flights, ids) = flights(&[&[key(1, 0)], &[key(1, 1)], &[key(2, 0)]]);
        assert_eq!(flights.uploaded(ids[2], 2), [2]);
        assert_eq!(flights.uploaded(ids[1], 1), [1]);
        assert_eq!(flights.uploaded(ids[0], 0), [0]);
        assert_eq!(flights.len(), 0);
        assert!(flights.last_of.is_empty());
    }

    #[test]
    fn flushes_that_share_one_are_committed_in_order() {
        let (mut flights, ids) = flights(&[&[key(1, 0)], &[key(1, 0), key(2, 0)], &[key(2, 0)]]);
        assert_eq!(flights.uploaded(ids[2], 2), [] as [usize; 0]);
        assert_eq!(flights.uploaded(ids[1], 1), [] as [usize; 0]);
        assert_eq!(flights.uploading(), 1);
        assert_eq!(flights.uploaded(ids[0], 0), [0, 1, 2]);
    }

    #[test]
    fn those_behind_a_failed_upload_go_on() {
        let (mut flights, ids) = flights(&[&[key(1, 0)], &[key(1, 0)], &[key(1, 0)]]);
        assert_eq!(flights.uploaded(ids[1], 1), [] as [usize; 0]);
        assert_eq!(flights.failed(ids[0]), [1]);
        assert_eq!(flights.uploaded(ids[2], 2), [2]);
    }

    #[test]
    fn results_of_dropped_flushes_are_ignored() {
        let (mut flights, ids) = flights(&[&[key(1, 0)], &[key(1, 0)]]);
        flights.clear();
        assert_eq!(flights.uploaded(ids[0], 0), [] as [usize; 0]);
        assert_eq!(flights.failed(ids[1]), [] as [usize; 0]);
        assert_eq!(flights.uploading(), 0);
    }
}
