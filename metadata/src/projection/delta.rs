//! What differs between the state and the tables. Pure: neither database nor clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use aquifer_format::ids::{JournalSeq, ObjectId, TopicId, UploadEpoch};
use aquifer_metadata_api::watch::TopicView;

use crate::state::{ObjectRow, PartitionRow, StateSlice, WalkFrom, WalkRequest};

/// What the tables hold, as far as is needed to tell what has changed and what is gone.
#[derive(Clone, Debug, Default)]
pub struct Known {
    topics: BTreeSet<TopicId>,
    /// None = it is there, with a content that nobody remembers.
    objects: BTreeMap<ObjectId, Option<ObjectContent>>,
    /// Topics and partitions are there as they were before this row; None = nobody knows how they are.
    through: Option<JournalSeq>,
}

/// What an object's row says beside its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ObjectContent {
    bytes: u64,
    extents: u32,
    released_in: Option<UploadEpoch>,
}

impl Known {
    /// Tables with these topics and objects, that somebody else wrote.
    #[must_use]
    pub fn of_others(
        topics: impl IntoIterator<Item = TopicId>,
        objects: impl IntoIterator<Item = ObjectId>,
    ) -> Self {
        Self {
            topics: topics.into_iter().collect(),
            objects: objects.into_iter().map(|id| (id, None)).collect(),
            through: None,
        }
    }
}

/// What makes the tables like the state. What is deleted goes first.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// Every topic and partition is told: rows of partitions whose topic has none go too.
    pub whole: bool,
    /// The state's row when the walk began, which more may have been added to: everything before it is told.
    pub seq: JournalSeq,
    /// The upload epoch at its end.
    pub upload_epoch: UploadEpoch,
    /// Topics that are gone, with their partitions.
    pub deleted_topics: Vec<TopicId>,
    /// Objects that are gone.
    pub deleted_objects: Vec<ObjectId>,
    /// Topics, new or changed, before their partitions.
    pub topics: Vec<TopicView>,
    /// Partitions, new or changed.
    pub partitions: Vec<PartitionRow>,
    /// Objects, new or changed.
    pub objects: Vec<ObjectRow>,
}

/// A walk over the state, on the way from one content of the tables to the next.
#[derive(Debug)]
pub struct Pass {
    known: Known,
    from: WalkFrom,
    began: Option<JournalSeq>,
    delta: Delta,
}

impl Pass {
    /// A walk over a state whose tables hold `known`.
    #[must_use]
    pub fn new(known: Known) -> Self {
        let delta = Delta {
            whole: known.through.is_none(),
            ..Delta::default()
        };
        Self {
            known,
            from: WalkFrom::START,
            began: None,
            delta,
        }
    }

    /// The slice that it needs next.
    #[must_use]
    pub fn wanted(&self) -> WalkRequest {
        WalkRequest {
            from: self.from,
            since: self.known.through,
        }
    }

    /// Takes the slice that it wanted; true = that was the last one.
    pub fn take(&mut self, slice: StateSlice) -> bool {
        self.began.get_or_insert(slice.seq);
        self.delta.upload_epoch = slice.upload_epoch;
        self.take_topics(&slice);
        self.delta.topics.extend(slice.changed_topics);
        self.delta.partitions.extend(slice.partitions);
        self.take_objects(slice.objects, slice.next);
        match slice.next {
            Some(next) => {
                self.from = next;
                false
            }
            None => true,
        }
    }

    /// What is to be written, and what the tables hold then. Of a walk that did not end: nothing is to be
    /// done with it.
    #[must_use]
    pub fn finish(mut self) -> (Delta, Known) {
        self.delta.seq = self.began.unwrap_or_default();
        self.known.through = self.began;
        (self.delta, self.known)
    }

    /// Of the topics that the slice went past, those that it did not see are gone. The one that it ends
    /// within is the next slice's, and seen if this one told some of its partitions.
    fn take_topics(&mut self, slice: &StateSlice) {
        let WalkFrom::Partition(from) = self.from else {
            return;
        };
        let end = match slice.next {
            Some(WalkFrom::Partition(next)) => Bound::Excluded(next.topic),
            Some(WalkFrom::Object(_)) | None => Bound::Unbounded,
        };
        let seen: BTreeSet<TopicId> = slice.topics.iter().copied().collect();
        let gone: Vec<TopicId> = match end {
            // it came no further than the topic that it began within
            Bound::Excluded(end) if end <= from.topic => Vec::new(),
            end => {
                let passed = self.known.topics.range((Bound::Included(from.topic), end));
                passed.filter(|id| !seen.contains(*id)).copied().collect()
            }
        };
        for id in &gone {
            self.known.topics.remove(id);
        }
        if gone.contains(&from.topic) {
            // an earlier slice told of some of its partitions
            self.delta.topics.retain(|topic| topic.id != from.topic);
            let stays = |row: &PartitionRow| row.id.topic != from.topic;
            self.delta.partitions.retain(stays);
        }
        self.delta.deleted_topics.extend(gone);
        self.known.topics.extend(seen);
    }

    fn take_objects(&mut self, objects: Vec<ObjectRow>, next: Option<WalkFrom>) {
        let begin = match self.from {
            WalkFrom::Partition(_) => Bound::Unbounded,
            WalkFrom::Object(from) => Bound::Included(from),
        };
        let end = match next {
            Some(WalkFrom::Partition(_)) => return,
            Some(WalkFrom::Object(next)) => Bound::Excluded(next),
            None => Bound::Unbounded,
        };
        let mut gone: BTreeSet<ObjectId> = match (begin, end) {
            // it came nowhere
            (Bound::Included(begin), Bound::Excluded(end)) if end <= begin => BTreeSet::new(),
            between => {
                let passed = self.known.objects.range(between);
                passed.map(|(id, _)| *id).collect()
            }
        };
        for row in objects {
            gone.remove(&row.id);
            let content = Some(ObjectContent {
                bytes: row.bytes,
                extents: row.extents,
                released_in: row.released_in,
            });
            if self.known.objects.insert(row.id, content) != Some(content) {
                self.delta.objects.push(row);
            }
        }
        for id in &gone {
            self.known.objects.remove(id);
        }
        self.delta.deleted_objects.extend(gone);
    }
}
