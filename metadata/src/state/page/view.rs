//! What single pages hold, for people: read by the code that a recovery reads them with.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{
        ClusterId, CommitNumber, Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId,
        ProducerEpoch, ProducerId, Sequence, SessionId, UploadEpoch, WriterSlot,
    },
    limits::TOPIC_PARTITIONS_MAX,
};
use aquifer_metadata_api::{
    config::Configs, extent::Extent, register::AgentAddress, watch::TopicView,
};

use super::{PageError, PageRef};
use crate::{
    event::group::{GroupConfigs, GroupNumber},
    journal::Page,
    state::{
        budget::Budgets,
        entity::{Position, Slot, State},
        held::HeldBatch,
        producer::Producer,
        topic::Topic,
    },
};

mod groups;

pub use groups::{ConsumerMemberView, GroupView, MembersView, OffsetView, OffsetsView};

/// A page, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum PageView {
    /// Who the cluster is, and counters that never go back.
    Counters {
        /// The cluster; None = it has not begun.
        cluster: Option<ClusterId>,
        /// Its incarnation.
        incarnation: Incarnation,
        /// The upload epoch.
        upload_epoch: UploadEpoch,
        /// The leader epoch of the next topic.
        next_leader_epoch: LeaderEpoch,
        /// The next producer id.
        next_producer_id: ProducerId,
        /// The number of the next group.
        next_group: GroupNumber,
    },
    /// Registration slots.
    Slots {
        /// The next slot that nobody ever had.
        next_slot: WriterSlot,
        /// The next session.
        next_session: SessionId,
        /// What the slots are doing.
        slots: BTreeMap<WriterSlot, Slot>,
    },
    /// A commit session.
    Session {
        /// The session.
        session: SessionId,
        /// Its slot.
        slot: WriterSlot,
        /// Whose it is.
        agent: AgentAddress,
        /// The last commit that was decided.
        last: CommitNumber,
        /// Results up to here are forgotten.
        answered_through: CommitNumber,
        /// Commits whose results are kept.
        remembered: Vec<CommitNumber>,
    },
    /// A topic.
    Topic(TopicView),
    /// A topic that was deleted and can come back.
    DeletedTopic {
        /// What it was.
        topic: TopicView,
        /// When it was deleted, milliseconds since 1970.
        deleted_at_ms: i64,
        /// When it goes for good, milliseconds since 1970.
        purge_at_ms: i64,
    },
    /// A partition without its extents.
    Head(HeadView),
    /// Some extents of a partition.
    Extents {
        /// The partition.
        partition: PartitionId,
        /// Base offset of the first extent that the page ever had.
        first: Offset,
        /// How many extents it had beside those that it has.
        dropped: u32,
        /// Those that it has.
        extents: Vec<Extent>,
    },
    /// Some merged extents of a partition.
    Merged {
        /// The partition.
        partition: PartitionId,
        /// The offset at which the page began.
        first: Offset,
        /// Those that it has.
        extents: Vec<Extent>,
    },
    /// Objects whose bytes may go after a grace.
    Released {
        /// The incarnation of the objects.
        incarnation: Incarnation,
        /// The upload epoch of the objects.
        upload_epoch: UploadEpoch,
        /// Object, size in bytes, and the upload epoch of the release.
        objects: Vec<(ObjectId, u64, UploadEpoch)>,
    },
    /// Cluster-wide dynamic broker configs.
    BrokerConfigs(Configs),
    /// A group without its offsets.
    Group(GroupView),
    /// Committed offsets of a group for some partitions of a topic.
    Offsets(OffsetsView),
    /// Configs of groups.
    GroupConfigs(GroupConfigs),
}

/// See [`PageView::Head`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadView {
    /// The partition.
    pub partition: PartitionId,
    /// First readable offset.
    pub log_start: Offset,
    /// One past the last committed offset.
    pub high_watermark: Offset,
    /// Whether it ever had a record.
    pub ever_held: bool,
    /// Keys were compacted up to here.
    pub cleaned_through: Offset,
    /// What is remembered of idempotent producers.
    pub producers: Vec<ProducerView>,
    /// Batches that wait for a predecessor, in order of arrival.
    pub held: Vec<HeldBatch>,
}

/// What a partition remembers of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerView {
    /// The producer.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Upload epoch of its last batch.
    pub last_seen: UploadEpoch,
    /// Its last batches, oldest first: first sequence, records, base offset.
    pub batches: Vec<(Sequence, u32, Offset)>,
}

impl PageView {
    /// Reads a page.
    ///
    /// # Errors
    /// It is no page of ours, of a newer release, or damaged.
    pub fn read(page: &Page) -> Result<Self, PageError> {
        let damaged = |reason: &str| PageError::Damaged {
            key: page.key.clone(),
            reason: reason.to_owned(),
        };
        let name = PageRef::parse(&page.key).ok_or_else(|| PageError::UnknownKey {
            key: page.key.clone(),
        })?;
        let mut state = State::new(Budgets::default());
        if let PageRef::Head(id) | PageRef::Extents(id, _) | PageRef::Merged(id, _) = name {
            let topic = topic_with(id).ok_or_else(|| damaged("no topic has such a partition"))?;
            state.topics.insert(id.topic, topic);
        }
        if let PageRef::Offsets(key) = name {
            state.enter_group(key.group, groups::unnamed());
        }
        state.load(name, page)?;
        view(&state, name).ok_or_else(|| damaged("it holds nothing"))
    }
}

/// A topic that has this partition.
fn topic_with(id: PartitionId) -> Option<Topic> {
    let index = u32::try_from(id.partition.0).ok()?;
    let count = index.checked_add(1)?;
    (count <= TOPIC_PARTITIONS_MAX).then(|| {
        Topic::new(
            Position::default(),
            String::new(),
            count,
            LeaderEpoch(0),
            Configs::new(),
        )
    })
}

/// What `state` has of the page that was loaded into it.
fn view(state: &State, name: PageRef) -> Option<PageView> {
    Some(match name {
        PageRef::Counters => PageView::Counters {
            cluster: state.counters.cluster,
            incarnation: state.counters.incarnation,
            upload_epoch: state.counters.upload_epoch,
            next_leader_epoch: state.counters.next_leader_epoch,
            next_producer_id: state.counters.next_producer_id,
            next_group: state.counters.next_group,
        },
        PageRef::Slots => PageView::Slots {
            next_slot: state.slots.next_slot,
            next_session: state.slots.next_session,
            slots: state.slots.slots.clone(),
        },
        PageRef::Session(session) => {
            let found = state.sessions.get(&session)?;
            PageView::Session {
                session,
                slot: found.slot,
                agent: found.agent.clone(),
                last: found.last,
                answered_through: found.answered_through,
                remembered: found.remembered.keys().copied().collect(),
            }
        }
        PageRef::Topic(id) => match state.deleted_topic(id) {
            Some((topic, deleted)) => PageView::DeletedTopic {
                topic: topic.view(),
                deleted_at_ms: deleted.at_ms,
                purge_at_ms: deleted.purge_at_ms,
            },
            None => PageView::Topic(state.topic(id)?.view()),
        },
        PageRef::Head(id) => PageView::Head(head(state, id)?),
        PageRef::Extents(id, first) => {
            let chunk = state.partition(id)?.extents.chunks.first()?;
            let extents = chunk.extents.iter();
            PageView::Extents {
                partition: id,
                first,
                dropped: chunk.dropped,
                extents: extents.filter_map(|e| e.unpack(&state.objects)).collect(),
            }
        }
        PageRef::Merged(id, first) => {
            let chunk = state.partition(id)?.extents.merged().first()?;
            let extents = chunk.extents.iter();
            PageView::Merged {
                partition: id,
                first,
                extents: extents.filter_map(|e| e.unpack(&state.objects)).collect(),
            }
        }
        PageRef::Released(incarnation, upload_epoch) => PageView::Released {
            incarnation,
            upload_epoch,
            objects: state.released().collect(),
        },
        PageRef::BrokerConfigs => PageView::BrokerConfigs((*state.broker_configs()).clone()),
        PageRef::Group(number) => PageView::Group(groups::group(state, number)?),
        PageRef::Offsets(key) => PageView::Offsets(groups::offsets(state, key)?),
        PageRef::GroupConfigs => PageView::GroupConfigs(state.groups.configs.by_group.clone()),
    })
}

fn head(state: &State, id: PartitionId) -> Option<HeadView> {
    let partition = state.partition(id)?;
    let producers = partition.producers.iter().flat_map(|all| &all.0);
    Some(HeadView {
        partition: id,
        log_start: Offset(partition.log_start),
        high_watermark: Offset(partition.high_watermark),
        ever_held: partition.ever_held,
        cleaned_through: Offset(partition.cleaned_through),
        producers: producers.map(|(id, one)| producer(*id, one)).collect(),
        held: partition
            .holds()
            .iter()
            .map(|hold| HeldBatch {
                session: hold.session,
                batch: hold.batch,
                partition: id,
            })
            .collect(),
    })
}

fn producer(id: ProducerId, producer: &Producer) -> ProducerView {
    let batches = producer.batches.iter().map(|batch| {
        (
            Sequence(batch.first_sequence),
            batch.records,
            Offset(batch.base_offset),
        )
    });
    ProducerView {
        id,
        epoch: producer.epoch,
        last_seen: producer.last_seen,
        batches: batches.collect(),
    }
}
