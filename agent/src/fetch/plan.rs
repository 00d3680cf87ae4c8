//! What there is for a request, and waiting for more.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aquifer_format::ids::{LeaderEpoch, Offset, PartitionId};
use aquifer_metadata_api::{
    MetadataError,
    extent::{Extent, Watermarks},
    locate::{LocatePartition, LocateRequest, Located},
};
use aquifer_store::Monotonic;
use kafka_protocol::ResponseError;
use tokio::sync::OwnedSemaphorePermit;

use super::{FetchPath, PartitionAnswer, TopicKey, Wanted};
use crate::{connection::ConnectionHandle, view::Topic};

/// Least and most expanded bytes of extents to locate at once for one partition: a reader that is
/// behind needs the next ones soon, and one that reads little should not make the leader send much.
const LOCATE_BYTES: (u64, u64) = (1024 * 1024, 64 * 1024 * 1024);
/// Times what is wanted now that is located, for the reads that follow.
const LOCATE_AHEAD: u64 = 4;
/// Requests for more partitions than this locate only what they need now.
const LOCATE_AHEAD_PARTITIONS_MAX: usize = 64;
/// Pause before an answer that says "try again", where clients would do so at once.
const UNAVAILABLE_PAUSE: Duration = Duration::from_millis(100);

/// What bounds a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Answer when there is this much.
    pub(crate) bytes_min: u64,
    /// Most bytes of records, except that one batch may be larger.
    pub(crate) bytes_max: u64,
    /// Answer by then whatever there is.
    pub(crate) until: Monotonic,
    /// Read below the last stable offset only.
    pub(crate) committed: bool,
}

/// Answers in the order of the request, and the right to hold their bytes.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) answers: Vec<PartitionAnswer>,
    /// To be dropped when the answer has been written.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// What was found out of one partition.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Not yet looked at.
    Unknown,
    /// An error is the answer.
    Error(ResponseError),
    /// Nothing can be read at the wanted offset yet.
    AtEnd { id: PartitionId, marks: Watermarks },
    /// The view does not say: the leader must be asked.
    Ask { id: PartitionId, marks: Watermarks },
    /// These extents can be read; the first one holds the wanted offset or the next one after it.
    Ready {
        id: PartitionId,
        marks: Watermarks,
        extents: Vec<Extent>,
    },
}

/// One past the last offset that a reader may see.
pub(crate) fn readable_end(marks: &Watermarks, committed: bool) -> Offset {
    if committed {
        marks.last_stable
    } else {
        marks.high_watermark
    }
}

impl Found {
    fn watched(&self) -> Option<(PartitionId, Watermarks)> {
        match self {
            Self::AtEnd { id, marks } | Self::Ready { id, marks, .. } => Some((*id, *marks)),
            Self::Unknown | Self::Error(_) | Self::Ask { .. } => None,
        }
    }

    /// About how many bytes a reader would get.
    pub(super) fn available(&self, bytes_max: u64) -> u64 {
        match self {
            Self::Ready { extents, .. } => {
                let bytes: u64 = extents.iter().map(|e| u64::from(e.raw_bytes)).sum();
                bytes.min(bytes_max)
            }
            Self::Unknown | Self::Error(_) | Self::AtEnd { .. } | Self::Ask { .. } => 0,
        }
    }
}

pub(super) fn bytes_max(wanted: &Wanted) -> u64 {
    u64::try_from(wanted.bytes_max).unwrap_or(0)
}

/// A request under way.
struct Plan<'a> {
    path: &'a FetchPath,
    wanted: &'a [Wanted],
    limits: Limits,
    found: Vec<Found>,
    /// The leader was asked for topics that the view does not have.
    caught_up: bool,
}

impl FetchPath {
    /// Answers a request: waits until there is enough, then reads. None = the client has gone.
    pub(crate) async fn fetch(
        &self,
        wanted: &[Wanted],
        limits: Limits,
        connection: &ConnectionHandle,
    ) -> Option<Fetched> {
        let mut plan = Plan {
            path: self,
            wanted,
            limits,
            found: vec![Found::Unknown; wanted.len()],
            caught_up: false,
        };
        tokio::select! {
            biased;
            () = plan.complete() => {}
            () = connection.closed() => return None,
        }
        let found = plan.found;
        tokio::select! {
            biased;
            fetched = self.read(wanted, found, &limits) => Some(fetched),
            () = connection.closed() => None,
        }
    }
}

impl Plan<'_> {
    /// Looks at every partition, and again at those that move, until the request can be answered.
    async fn complete(&mut self) {
        let all: Vec<usize> = (0..self.wanted.len()).collect();
        self.look(&all).await;
        if self.is_enough() {
            return;
        }
        let indexes: Vec<usize> = (0..self.wanted.len())
            .filter(|i| self.found[*i].watched().is_some())
            .collect();
        let partitions: Vec<(PartitionId, Offset)> = indexes
            .iter()
            .filter_map(|i| self.found[*i].watched())
            .map(|(id, marks)| (id, marks.high_watermark))
            .collect();
        let view = &self.path.view;
        let ports = &self.path.ports;
        let began = ports.clock.now();
        let parking = view.park(&partitions);
        metrics::gauge!("aquifer_fetch_parked").increment(1.0);
        let _parked = Defer(|| metrics::gauge!("aquifer_fetch_parked").decrement(1.0));
        // What moved between the look and the parking woke nobody.
        let mut moved: Vec<usize> = indexes
            .iter()
            .copied()
            .filter(|i| {
                self.found[*i]
                    .watched()
                    .is_some_and(|(id, marks)| view.watermarks(id) != Some(marks))
            })
            .collect();
        loop {
            if !moved.is_empty() {
                self.look(&moved).await;
                if self.is_enough() {
                    break;
                }
            }
            let woken = tokio::select! {
                biased;
                woken = parking.woken() => woken,
                () = ports.clock.sleep_until(self.limits.until) => break,
            };
            moved = if woken.all {
                indexes.clone()
            } else {
                let unique: BTreeSet<u32> = woken.indexes.into_iter().collect();
                let positions = unique.into_iter().filter_map(|i| usize::try_from(i).ok());
                positions.filter_map(|i| indexes.get(i).copied()).collect()
            };
        }
        let waited = ports.clock.now().since(began);
        metrics::histogram!("aquifer_fetch_wait_seconds").record(waited.as_secs_f64());
    }

    fn is_enough(&self) -> bool {
        let mut available = 0u64;
        for (found, wanted) in self.found.iter().zip(self.wanted) {
            if matches!(found, Found::Error(_)) {
                return true;
            }
            // A batch that is larger than the partition's bound is sent all the same.
            available += found.available(bytes_max(wanted).max(1));
        }
        available >= self.limits.bytes_min
            || self.wanted.is_empty()
            || self.path.ports.clock.now() >= self.limits.until
    }

    /// Looks at partitions, first in the view, then by asking the leader for those that need it.
    async fn look(&mut self, indexes: &[usize]) {
        for i in indexes {
            self.found[*i] = self.look_at(*i);
        }
        let unknown = indexes.iter().any(|i| self.is_unknown(*i));
        if unknown && !self.caught_up {
            self.caught_up = true;
            match self.path.view.catch_up().await {
                Ok(()) => {
                    for i in indexes
                        .iter()
                        .filter(|i| self.is_unknown(**i))
                        .copied()
                        .collect::<Vec<_>>()
                    {
                        self.found[i] = self.look_at(i);
                    }
                }
                Err(error) => {
                    let code = self.unavailable(&error).await;
                    for i in indexes {
                        if self.is_unknown(*i) {
                            self.found[*i] = Found::Error(code);
                        }
                    }
                }
            }
        }
        self.ask(indexes).await;
    }

    fn is_unknown(&self, i: usize) -> bool {
        matches!(
            self.found[i],
            Found::Error(
                ResponseError::UnknownTopicOrPartition
                    | ResponseError::UnknownTopicId
                    | ResponseError::UnknownLeaderEpoch
            )
        )
    }

    /// The error for a call without an answer, after a pause: clients ask for metadata and then again
    /// at once.
    async fn unavailable(&self, error: &MetadataError) -> ResponseError {
        tracing::debug!(%error, "a fetch cannot be answered");
        metrics::counter!("aquifer_fetch_metadata_unavailable_total").increment(1);
        self.path.ports.sleep(UNAVAILABLE_PAUSE).await;
        ResponseError::OffsetNotAvailable
    }

    fn look_at(&self, i: usize) -> Found {
        let wanted = &self.wanted[i];
        let view = &self.path.view;
        let topic = match &wanted.topic {
            TopicKey::Id(id) => view.topic_by_id(*id),
            TopicKey::Name(name) => view.topic_by_name(name),
        };
        let Some(topic) = topic else {
            return Found::Error(unknown_topic(&wanted.topic));
        };
        let Some(id) = topic.partition(wanted.index) else {
            return Found::Error(ResponseError::UnknownTopicOrPartition);
        };
        let Some(marks) = view.watermarks(id) else {
            // Fenced, or deleted this moment.
            return Found::Error(ResponseError::NotLeaderOrFollower);
        };
        if let Err(code) = check_epoch(wanted.leader_epoch, leader_epoch(&topic, &marks)) {
            return Found::Error(code);
        }
        let offset = Offset(wanted.offset);
        if offset < marks.log_start {
            return Found::Error(ResponseError::OffsetOutOfRange);
        }
        if offset > marks.high_watermark {
            return Found::Ask { id, marks };
        }
        let end = readable_end(&marks, self.limits.committed);
        if offset >= end {
            return Found::AtEnd { id, marks };
        }
        let mut extents = view.extents(id, offset, self.ahead(wanted));
        extents.retain(|extent| extent.base_offset < end);
        if extents.is_empty() {
            Found::Ask { id, marks }
        } else {
            Found::Ready { id, marks, extents }
        }
    }

    /// How many bytes of extents to look for.
    fn ahead(&self, wanted: &Wanted) -> u64 {
        let now = bytes_max(wanted).min(self.limits.bytes_max);
        if self.wanted.len() > LOCATE_AHEAD_PARTITIONS_MAX {
            now
        } else {
            now.saturating_mul(LOCATE_AHEAD)
                .clamp(LOCATE_BYTES.0, LOCATE_BYTES.1)
        }
    }

    /// Locates what the view does not hold, with one call.
    async fn ask(&mut self, indexes: &[usize]) {
        let mut asked = Vec::new();
        let mut request = LocateRequest::default();
        for i in indexes {
            if let Found::Ask { id, marks } = &self.found[*i] {
                self.path.view.take_interest(*id, marks.high_watermark);
                request.partitions.push(LocatePartition {
                    partition: *id,
                    from: Offset(self.wanted[*i].offset),
                    max_bytes: self.ahead(&self.wanted[*i]),
                });
                asked.push((*i, *id));
            }
        }
        if asked.is_empty() {
            return;
        }
        metrics::counter!("aquifer_fetch_locates_total").increment(1);
        match self.path.metadata.locate(request).await {
            Ok(reply) => {
                for ((i, id), located) in asked.into_iter().zip(reply.partitions) {
                    self.found[i] = self.take_located(i, id, located);
                }
            }
            Err(error) => {
                let code = self.unavailable(&error).await;
                for (i, _) in asked {
                    self.found[i] = Found::Error(code);
                }
            }
        }
    }

    fn take_located(&self, i: usize, id: PartitionId, located: Option<Located>) -> Found {
        let wanted = &self.wanted[i];
        let Some(located) = located else {
            return Found::Error(unknown_topic(&wanted.topic));
        };
        let offset = Offset(wanted.offset);
        let marks = located.watermarks;
        self.path.view.observe(id, &marks);
        if offset < marks.log_start || offset > marks.high_watermark {
            return Found::Error(ResponseError::OffsetOutOfRange);
        }
        self.path.view.keep_extents(id, offset, &located.extents);
        let end = readable_end(&marks, self.limits.committed);
        let mut extents = located.extents;
        extents.retain(|extent| extent.base_offset < end);
        if extents.is_empty() {
            Found::AtEnd { id, marks }
        } else {
            Found::Ready { id, marks, extents }
        }
    }
}

/// Runs something when a scope is left, also where its future is dropped.
struct Defer<F: Fn()>(F);

impl<F: Fn()> Drop for Defer<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// The code for a topic that is not there, as the request named it.
fn unknown_topic(topic: &TopicKey) -> ResponseError {
    match topic {
        TopicKey::Id(_) => ResponseError::UnknownTopicId,
        TopicKey::Name(_) => ResponseError::UnknownTopicOrPartition,
    }
}

/// A topic's leader epoch, where watermarks and topic may be from two frames.
pub(crate) fn leader_epoch(topic: &Arc<Topic>, marks: &Watermarks) -> LeaderEpoch {
    topic.view.leader_epoch.max(marks.leader_epoch)
}

/// Compares the leader epoch that a client knows (-1 = none) with the real one: older is
/// FENCED_LEADER_EPOCH (74), newer UNKNOWN_LEADER_EPOCH (75) (Kafka's `Partition.checkCurrentLeaderEpoch`).
pub(crate) fn check_epoch(known: i32, real: LeaderEpoch) -> Result<(), ResponseError> {
    match known {
        -1 => Ok(()),
        known if known < real.0 => Err(ResponseError::FencedLeaderEpoch),
        known if known > real.0 => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
