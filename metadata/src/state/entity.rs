//! The state as a whole, and its small entities.

use std::collections::BTreeMap;

use aquifer_format::ids::{
    ClusterId, Incarnation, JournalSeq, LeaderEpoch, PartitionId, ProducerId, SessionId, TopicId,
    UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::commit::BatchRef;

use super::{
    broker_configs::BrokerConfigs,
    budget::{Budgets, Usage},
    group::Groups,
    object::Objects,
    page::PageRef,
    partition::Partition,
    released::Released,
    session::Session,
    topic::{Names, Topic},
};
use crate::event::group::GroupNumber;

/// Position of an event: the journal row and the event's index in it. Ordered as events are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Low bits that count the events of a row: 16 million of them.
    const EVENT_BITS: u32 = 24;
    /// Highest row that can be told: 2^40 rows are 34 years at 1,000 a second.
    const SEQ_MAX: u64 = (1 << (64 - Self::EVENT_BITS)) - 1;

    /// The first event of row `seq`.
    #[must_use]
    pub fn first_of(seq: JournalSeq) -> Self {
        Self(seq.0.min(Self::SEQ_MAX) << Self::EVENT_BITS)
    }

    /// The row.
    #[must_use]
    pub fn seq(self) -> JournalSeq {
        JournalSeq(self.0 >> Self::EVENT_BITS)
    }

    /// The position of the next event if that is in row `seq`.
    pub(super) fn step(self, seq: JournalSeq) -> Self {
        if self.seq().0 == seq.0.min(Self::SEQ_MAX) && self.0 != 0 {
            Self(self.0.saturating_add(1))
        } else {
            Self::first_of(seq)
        }
    }

    pub(super) fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Counters that never go back, and who the cluster is.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) at: Position,
    pub(super) dirty: bool,
    pub(super) cluster: Option<ClusterId>,
    pub(super) incarnation: Incarnation,
    pub(super) upload_epoch: UploadEpoch,
    pub(super) next_leader_epoch: LeaderEpoch,
    pub(super) next_producer_id: ProducerId,
    pub(super) next_group: GroupNumber,
}

/// What a registration slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A writer has it.
    Live(SessionId),
    /// Nobody has it; it may be given to somebody new a day later.
    Resting {
        /// The upload epoch in which its session ended.
        since: UploadEpoch,
    },
}

/// Registration slots and the counters behind them.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    pub(super) at: Position,
    pub(super) dirty: bool,
    pub(super) next_slot: WriterSlot,
    pub(super) next_session: SessionId,
    pub(super) slots: BTreeMap<WriterSlot, Slot>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            at: Position::default(),
            dirty: false,
            next_slot: WriterSlot(0),
            next_session: SessionId(1),
            slots: BTreeMap::new(),
        }
    }
}

/// Pages that differ from what was last written.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty(pub(super) Vec<PageRef>);

impl Dirty {
    /// Notes `page`, unless `flag` says that it is noted already.
    pub(super) fn mark(&mut self, flag: &mut bool, page: PageRef) {
        if !*flag {
            *flag = true;
            self.0.push(page);
        }
    }

    /// Notes that `page` is gone.
    pub(super) fn gone(&mut self, page: PageRef) {
        self.0.push(page);
    }
}

/// The state machine. See the module's documentation.
#[derive(Debug)]
pub struct State {
    pub(super) budgets: Budgets,
    pub(super) position: Position,
    pub(super) counters: Counters,
    pub(super) slots: Slots,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) topics: BTreeMap<TopicId, Topic>,
    /// Deleted topics that can come back: gone for decisions and readers, there for compactors. What events
    /// and pages say of a topic holds for it wherever it is.
    pub(super) trash: BTreeMap<TopicId, Topic>,
    pub(super) names: Names,
    pub(super) objects: Objects,
    pub(super) released: Released,
    pub(super) broker_configs: BrokerConfigs,
    pub(super) groups: Groups,
    /// Where each held batch is.
    pub(super) holds: BTreeMap<(SessionId, BatchRef), PartitionId>,
    pub(super) usage: Usage,
    pub(super) dirty: Dirty,
}

impl State {
    /// The state before anything happened. Its first event is
    /// [`crate::event::Event::Genesis`].
    #[must_use]
    pub fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            position: Position::default(),
            counters: Counters::default(),
            slots: Slots::default(),
            sessions: BTreeMap::new(),
            topics: BTreeMap::new(),
            trash: BTreeMap::new(),
            names: Names::default(),
            objects: Objects::default(),
            released: Released::default(),
            broker_configs: BrokerConfigs::default(),
            groups: Groups::default(),
            holds: BTreeMap::new(),
            usage: Usage::default(),
            dirty: Dirty::default(),
        }
    }

    pub(super) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.topics.get(&id.topic)?.partition(id.partition)
    }

    /// The topic, be it in the trash.
    pub(super) fn any_topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id).or_else(|| self.trash.get(&id))
    }

    /// The topic, be it in the trash.
    pub(super) fn any_topic_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.topics.get_mut(&id).or_else(|| self.trash.get_mut(&id))
    }

    /// The partition, be it of a topic in the trash.
    pub(super) fn any_partition(&self, id: PartitionId) -> Option<&Partition> {
        self.any_topic(id.topic)?.partition(id.partition)
    }
}
