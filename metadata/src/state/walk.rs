//! Walking the state slice by slice, for tables that people query: each slice is a bounded piece of work
//! between requests, so a walk takes as long as the state is large, and slices are of different ages.
//!
//! A walk goes over partitions in order of topics, then over objects in order of ids. What stands behind
//! the place that it has reached is looked at later, whatever happens meanwhile; what changes before that
//! place is the next walk's, which asks for all that changed since this one began.

use aquifer_format::ids::{
    Incarnation, JournalSeq, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, TopicId,
    UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::watch::TopicView;
use uuid::Uuid;

use super::{
    entity::{Position, State},
    partition::Partition,
};

/// What telling a topic counts as; looking at one that did not change counts as 1.
const TOPIC_COST: usize = 16;
/// The same for a partition. Its chunks of extents, of which it needs sums, count too.
const PARTITION_COST: usize = 4;
/// Chunks of extents that count as 1.
const CHUNKS_PER_COST: usize = 4;
/// Looking at an object, which is always told.
const OBJECT_COST: usize = 4;

const FIRST_OBJECT: ObjectId = ObjectId {
    incarnation: Incarnation(0),
    upload_epoch: UploadEpoch(0),
    writer: WriterSlot(0),
    level: ObjectLevel::L0,
    unique: 0,
};

/// A place in a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFrom {
    /// At this partition, or the first one behind it.
    Partition(PartitionId),
    /// Behind all partitions, at this object, or the first one behind it.
    Object(ObjectId),
}

impl WalkFrom {
    /// The beginning.
    pub const START: Self = Self::Partition(PartitionId {
        topic: TopicId(Uuid::nil()),
        partition: PartitionIndex(0),
    });
}

/// Which slice is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkRequest {
    /// Where it begins.
    pub from: WalkFrom,
    /// Topics and partitions are told if they changed in this row or a later one; None = all are.
    pub since: Option<JournalSeq>,
}

/// A partition, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Which one.
    pub id: PartitionId,
    /// Where its log begins.
    pub log_start: Offset,
    /// Where its log ends.
    pub high_watermark: Offset,
    /// Bytes of its record batches, as they expand.
    pub size_bytes: u64,
    /// How many extents it has.
    pub extents: u64,
    /// The largest timestamp of a record, in ms; None = no record has one.
    pub max_timestamp: Option<i64>,
    /// How many idempotent producers it remembers.
    pub producers: u64,
    /// How many batches wait for their predecessors.
    pub held_batches: u64,
}

/// An object, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// Which one.
    pub id: ObjectId,
    /// Its size in the bucket.
    pub bytes: u64,
    /// How many live extents (and held batches) it has.
    pub extents: u32,
    /// When the last of them went; None = it has some.
    pub released_in: Option<UploadEpoch>,
}

/// A piece of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSlice {
    /// The last row of which it shows something.
    pub seq: JournalSeq,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// Every topic between its beginning and its end.
    pub topics: Vec<TopicId>,
    /// Those of them that changed.
    pub changed_topics: Vec<TopicView>,
    /// The partitions that changed, and all of topics that did.
    pub partitions: Vec<PartitionRow>,
    /// Every object between its beginning and its end.
    pub objects: Vec<ObjectRow>,
    /// Where the next one begins; None = this is the last one.
    pub next: Option<WalkFrom>,
}

impl State {
    /// A slice of about `room` steps of work, in any case a piece of the way.
    #[must_use]
    pub fn walk(&self, request: &WalkRequest, room: usize) -> StateSlice {
        let mut walk = Walk {
            state: self,
            since: request.since,
            room,
            moved: false,
            slice: StateSlice {
                seq: self.seq(),
                upload_epoch: self.upload_epoch(),
                topics: Vec::new(),
                changed_topics: Vec::new(),
                partitions: Vec::new(),
                objects: Vec::new(),
                next: None,
            },
        };
        walk.slice.next = walk.go(request.from);
        walk.slice
    }
}

struct Walk<'a> {
    state: &'a State,
    since: Option<JournalSeq>,
    room: usize,
    /// Whether it is further than its beginning.
    moved: bool,
    slice: StateSlice,
}

impl Walk<'_> {
    fn go(&mut self, from: WalkFrom) -> Option<WalkFrom> {
        let object = match from {
            WalkFrom::Partition(from) => {
                if let Some(stopped) = self.partitions(from) {
                    return Some(stopped);
                }
                FIRST_OBJECT
            }
            WalkFrom::Object(from) => from,
        };
        self.objects(object)
    }

    fn is_full(&self) -> bool {
        self.room == 0 && self.moved
    }

    fn spend(&mut self, cost: usize) {
        self.room = self.room.saturating_sub(cost);
    }

    fn is_news(&self, at: Position) -> bool {
        self.since.is_none_or(|since| at.seq() >= since)
    }

    fn partitions(&mut self, from: PartitionId) -> Option<WalkFrom> {
        let state = self.state;
        for (id, topic) in state.topics.range(from.topic..) {
            let first = if *id == from.topic {
                from.partition
            } else {
                PartitionIndex(0)
            };
            if self.is_full() {
                return Some(WalkFrom::Partition(PartitionId::new(*id, first)));
            }
            self.spend(1);
            self.slice.topics.push(*id);
            let changed = self.is_news(topic.at);
            if changed && first.0 == 0 {
                self.spend(TOPIC_COST);
                let view = state.topic(*id).map(|topic| topic.view());
                self.slice.changed_topics.extend(view);
            }
            let skipped = usize::try_from(first.0).unwrap_or(0);
            for (index, partition) in topic.indexed().skip(skipped) {
                let id = PartitionId::new(*id, index);
                // the first one goes with its topic, which is told once
                if index > first && self.is_full() {
                    return Some(WalkFrom::Partition(id));
                }
                self.moved = true;
                self.spend(1);
                let log = &partition.extents;
                // a swap leaves the head as it is, and something in a chunk of merged extents
                let swapped = || log.merged().iter().any(|chunk| self.is_news(chunk.at));
                if changed || self.is_news(partition.at) || swapped() {
                    let chunks = log.chunks.len().saturating_add(log.merged().len());
                    self.spend(PARTITION_COST.saturating_add(chunks / CHUNKS_PER_COST));
                    self.slice.partitions.push(row(id, partition));
                }
            }
        }
        None
    }

    fn objects(&mut self, from: ObjectId) -> Option<WalkFrom> {
        let state = self.state;
        let mut live = state.objects.iter_from(from).peekable();
        let mut released = state.released.iter_from(from).peekable();
        loop {
            let id = match (live.peek(), released.peek()) {
                (None, None) => return None,
                (Some((id, ..)), None) | (None, Some((id, ..))) => *id,
                (Some((one, ..)), Some((other, ..))) => *one.min(other),
            };
            if self.is_full() {
                return Some(WalkFrom::Object(id));
            }
            self.moved = true;
            self.spend(OBJECT_COST);
            let live = live.next_if(|(live, ..)| *live == id);
            let released = released.next_if(|(released, ..)| *released == id);
            let (bytes, extents, released_in) = match (live, released) {
                (Some((_, bytes, references)), _) => (bytes, references, None),
                (None, Some((_, bytes, since))) => (bytes, 0, Some(since)),
                (None, None) => return None,
            };
            self.slice.objects.push(ObjectRow {
                id,
                bytes,
                extents,
                released_in,
            });
        }
    }
}

fn row(id: PartitionId, partition: &Partition) -> PartitionRow {
    let log = &partition.extents;
    let chunks = || log.chunks.iter().chain(log.merged());
    let extents = chunks().map(|chunk| chunk.extents.len());
    let max_timestamp = chunks().map(|chunk| chunk.max_timestamp).max();
    let producers = partition.producers.as_ref().map_or(0, |all| all.0.len());
    PartitionRow {
        id,
        log_start: Offset(partition.log_start),
        high_watermark: Offset(partition.high_watermark),
        size_bytes: partition.extents.raw_bytes(),
        extents: count(extents.fold(0, usize::saturating_add)),
        max_timestamp: max_timestamp.filter(|timestamp| *timestamp >= 0),
        producers: count(producers),
        held_batches: count(partition.holds().len()),
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
