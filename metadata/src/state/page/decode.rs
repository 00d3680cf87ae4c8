//! From pages to the state.

use aquifer_format::{
    ids::{
        ClusterId, CommitNumber, Incarnation, LeaderEpoch, Offset, PartitionId, ProducerEpoch,
        ProducerId, SessionId, UploadEpoch, WriterSlot,
    },
    limits::{MERGED_PAGE_EXTENTS_MAX, PAGE_EXTENTS_MAX, PRODUCER_BATCHES_MAX},
};
use aquifer_metadata_api::commit::{BatchOutcome, Placement};
use prost::Message;
use uuid::Uuid;

use super::{PageError, PageRef, extents, proto, unframe};
use crate::{
    event::{
        agent_from, batch_from, configs_from, decision_code, group::GroupNumber, level_from,
        object_from, object_id_from, ref_from, rejection_of, topic_from,
    },
    journal::Page,
    state::{
        budget::Budgets,
        entity::{Position, Slot, State},
        extents::PushContext,
        held::Hold,
        producer::{Producer, Producers, Remembered},
        released::Bucket,
        session::{RememberedCommit, Session},
        topic::{Deleted, Topic},
    },
};

/// What is wrong with a page that could be unframed.
pub(super) enum Fault {
    Message(prost::DecodeError),
    Content(&'static str),
}

impl From<prost::DecodeError> for Fault {
    fn from(error: prost::DecodeError) -> Self {
        Self::Message(error)
    }
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Self {
        Self::Content(reason)
    }
}

pub(super) const UNEVEN: &str = "its columns differ in length";

impl State {
    /// The state that these pages hold, to be completed by replaying the journal from the row after the
    /// one up to which they are complete. Pages of topics and partitions that are not among them (created
    /// later, or deleted) are left out; the replay brings the former, and the latter count as dirty, to be
    /// removed.
    pub fn from_pages<'a>(
        budgets: Budgets,
        pages: impl IntoIterator<Item = &'a Page>,
    ) -> Result<Self, PageError> {
        let mut named = Vec::new();
        for page in pages {
            let name = PageRef::parse(&page.key).ok_or_else(|| PageError::UnknownKey {
                key: page.key.clone(),
            })?;
            named.push((name, page));
        }
        named.sort_by_key(|(name, _)| *name);
        let mut state = Self::new(budgets);
        for (name, page) in named {
            state.load(name, page)?;
        }
        state.resolve_topics();
        state.resolve_groups();
        Ok(state)
    }

    /// Takes in what the page holds; that of which it is a part came before.
    pub(super) fn load(&mut self, name: PageRef, page: &Page) -> Result<(), PageError> {
        let message = unframe(page)?;
        let loaded = self.load_page(name, message);
        loaded.map_err(|fault| PageError::Damaged {
            key: page.key.clone(),
            reason: match fault {
                Fault::Message(error) => error.to_string(),
                Fault::Content(reason) => reason.to_owned(),
            },
        })
    }

    fn load_page(&mut self, name: PageRef, message: &[u8]) -> Result<(), Fault> {
        match name {
            PageRef::Counters => self.load_counters(proto::CountersPage::decode(message)?),
            PageRef::Slots => self.load_slots(&proto::SlotsPage::decode(message)?),
            PageRef::Session(id) => self.load_session(id, proto::SessionPage::decode(message)?),
            PageRef::Topic(id) => {
                let page = proto::TopicPage::decode(message)?;
                if topic_from(&page.topic)? != id {
                    return Err(Fault::Content("its topic is another one than its key says"));
                }
                let configs = configs_from(page.configs);
                let mut topic = Topic::new(
                    Position::from_bits(page.position),
                    page.name,
                    page.partitions,
                    LeaderEpoch(page.leader_epoch),
                    configs,
                );
                topic.deleted = page.deleted_at_ms.map(|at_ms| Deleted {
                    at_ms,
                    purge_at_ms: page.purge_at_ms,
                });
                self.enter_topic(id, topic);
                Ok(())
            }
            PageRef::Head(id) => self.load_head(id, proto::HeadPage::decode(message)?),
            PageRef::Extents(id, first) => self.load_extents(id, first, message),
            PageRef::Merged(id, first) => self.load_merged(id, first, message),
            PageRef::Released(incarnation, epoch) => {
                let page = proto::ReleasedPage::decode(message)?;
                let bucket = released_from(&page)?;
                self.released.0.insert((incarnation, epoch), bucket);
                Ok(())
            }
            PageRef::BrokerConfigs => {
                let page = proto::BrokerConfigsPage::decode(message)?;
                let at = Position::from_bits(page.position);
                self.broker_configs.set(at, configs_from(page.configs));
                Ok(())
            }
            PageRef::Group(group) => self.load_group(group, proto::GroupPage::decode(message)?),
            PageRef::Offsets(key) => self.load_offsets(key, &proto::OffsetsPage::decode(message)?),
            PageRef::GroupConfigs => {
                self.load_group_configs(proto::GroupConfigsPage::decode(message)?);
                Ok(())
            }
        }
    }

    fn load_counters(&mut self, page: proto::CountersPage) -> Result<(), Fault> {
        self.counters.at = Position::from_bits(page.position);
        self.counters.cluster = if page.cluster.is_empty() {
            None
        } else {
            let id = Uuid::from_slice(&page.cluster).map_err(|_| "a cluster id is not 16 bytes")?;
            Some(ClusterId(id))
        };
        self.counters.incarnation = Incarnation(page.incarnation);
        self.counters.upload_epoch = UploadEpoch(page.upload_epoch);
        self.counters.next_leader_epoch = LeaderEpoch(page.next_leader_epoch);
        self.counters.next_producer_id = ProducerId(page.next_producer_id);
        self.counters.next_group = GroupNumber(page.next_group);
        Ok(())
    }

    fn load_slots(&mut self, page: &proto::SlotsPage) -> Result<(), Fault> {
        let count = page.slot.len();
        if page.session.len() != count || page.resting_since.len() != count {
            return Err(Fault::Content(UNEVEN));
        }
        self.slots.at = Position::from_bits(page.position);
        self.slots.next_slot = WriterSlot(page.next_slot);
        self.slots.next_session = SessionId(page.next_session);
        for at in 0..count {
            let slot = match page.session[at] {
                0 => Slot::Resting {
                    since: UploadEpoch(page.resting_since[at]),
                },
                session => Slot::Live(SessionId(session)),
            };
            self.slots.slots.insert(WriterSlot(page.slot[at]), slot);
        }
        Ok(())
    }

    fn load_session(&mut self, id: SessionId, page: proto::SessionPage) -> Result<(), Fault> {
        let at = Position::from_bits(page.position);
        let mut session = Session::new(at, WriterSlot(page.slot), agent_from(page.agent)?);
        session.last = CommitNumber(page.last_number);
        session.answered_through = CommitNumber(page.answered_through);
        for commit in page.remembered {
            let number = CommitNumber(commit.number);
            let answered = session.answered_through;
            let commit = remembered_from(commit)?;
            session.remember(number, answered, commit, &mut self.usage);
        }
        self.sessions.insert(id, session);
        Ok(())
    }

    fn load_head(&mut self, id: PartitionId, page: proto::HeadPage) -> Result<(), Fault> {
        let producers = producers_from(&page)?;
        let mut holds = Vec::new();
        for hold in page.holds {
            let summary = batch_from(hold.batch)?;
            let object = object_from(hold.object)?;
            let batch = ref_from(hold.reference)?;
            holds.push((
                SessionId(hold.session),
                batch,
                summary,
                object,
                hold.run_position,
                hold.run_bytes,
                hold.raw_start,
            ));
        }
        if self.any_partition(id).is_none() {
            self.dirty.gone(PageRef::Head(id));
            return Ok(());
        }
        let mut kept = Vec::new();
        for (session, batch, summary, object, run_position, run_bytes, raw_start) in holds {
            if self.holds.insert((session, batch), id).is_some() {
                return Err(Fault::Content("it holds a batch that is held elsewhere"));
            }
            let object = self.objects.intern(&object, &mut self.usage);
            self.objects.add(object, 1);
            let bytes = u64::from(summary.bytes);
            self.usage.hold_bytes = self.usage.hold_bytes.saturating_add(bytes);
            kept.push(Hold {
                session,
                batch,
                summary,
                object,
                run_position,
                run_bytes,
                raw_start,
            });
        }
        let cost = producers.cost();
        self.usage.producer_bytes = self.usage.producer_bytes.saturating_add(cost);
        if let Some(partition) = self.partition_mut(id.topic, id.partition) {
            partition.at = Position::from_bits(page.position);
            partition.log_start = page.log_start;
            partition.high_watermark = page.high_watermark;
            partition.ever_held = page.ever_held;
            partition.cleaned_through = page.cleaned_through;
            partition.holds = (!kept.is_empty()).then(|| Box::new(kept));
            partition.producers = (!producers.0.is_empty()).then(|| Box::new(producers));
        }
        Ok(())
    }

    fn load_merged(&mut self, id: PartitionId, first: Offset, body: &[u8]) -> Result<(), Fault> {
        let topic = self.topics.get_mut(&id.topic);
        let topic = topic.or_else(|| self.trash.get_mut(&id.topic));
        let Some(partition) = topic.and_then(|topic| topic.partition_mut(id.partition)) else {
            self.dirty.gone(PageRef::Merged(id, first));
            return Ok(());
        };
        let (objects, usage) = (&mut self.objects, &mut self.usage);
        let table = extents::read(body, MERGED_PAGE_EXTENTS_MAX, |object| {
            objects.intern(object, usage)
        })?;
        let mut context = PushContext {
            at: table.at,
            partition: id,
            objects: &mut self.objects,
            usage: &mut self.usage,
            dirty: &mut self.dirty,
        };
        let loaded = partition
            .extents
            .load_merged(first, &table.extents, &mut context);
        for extent in &table.extents {
            self.objects.settle(extent.object, &mut self.usage);
        }
        loaded.map_err(Fault::Content)
    }

    fn load_extents(&mut self, id: PartitionId, first: Offset, body: &[u8]) -> Result<(), Fault> {
        let topic = self.topics.get_mut(&id.topic);
        let topic = topic.or_else(|| self.trash.get_mut(&id.topic));
        let Some(partition) = topic.and_then(|topic| topic.partition_mut(id.partition)) else {
            self.dirty.gone(PageRef::Extents(id, first));
            return Ok(());
        };
        let (objects, usage) = (&mut self.objects, &mut self.usage);
        let table = extents::read(body, PAGE_EXTENTS_MAX, |object| {
            objects.intern(object, usage)
        })?;
        let mut context = PushContext {
            at: table.at,
            partition: id,
            objects: &mut self.objects,
            usage: &mut self.usage,
            dirty: &mut self.dirty,
        };
        let loaded =
            partition
                .extents
                .load_chunk(first, table.dropped, &table.extents, &mut context);
        for extent in &table.extents {
            self.objects.settle(extent.object, &mut self.usage);
        }
        loaded.map_err(Fault::Content)
    }
}

fn producers_from(page: &proto::HeadPage) -> Result<Producers, Fault> {
    let count = page.producer_id.len();
    let batches = page.first_sequence.len();
    let even = page.producer_epoch.len() == count
        && page.last_seen.len() == count
        && page.remembered.len() == count
        && page.records.len() == batches
        && page.base_offset.len() == batches
        && page.append_time.len() == batches;
    if !even {
        return Err(Fault::Content(UNEVEN));
    }
    let mut producers = Producers::default();
    let mut id = 0i64;
    let mut next = 0usize;
    for at in 0..count {
        id = id.wrapping_add(page.producer_id[at]);
        let epoch = i16::try_from(page.producer_epoch[at])
            .map_err(|_| "a producer epoch is out of range")?;
        let remembered = usize::try_from(page.remembered[at]).unwrap_or(usize::MAX);
        if remembered > PRODUCER_BATCHES_MAX || remembered > batches.saturating_sub(next) {
            return Err(Fault::Content("a producer has too many batches"));
        }
        let all = (next..next + remembered).map(|batch| {
            Remembered::from_parts(
                page.first_sequence[batch].cast_signed(),
                page.records[batch],
                page.base_offset[batch],
                page.append_time[batch],
            )
        });
        let producer = Producer {
            epoch: ProducerEpoch(epoch),
            last_seen: UploadEpoch(page.last_seen[at]),
            batches: all.collect(),
        };
        next += remembered;
        producers.0.insert(ProducerId(id), Box::new(producer));
    }
    Ok(producers)
}

fn remembered_from(page: proto::RememberedCommit) -> Result<RememberedCommit, Fault> {
    let mut offsets = page.base_offset.iter().zip(&page.log_start);
    let mut times = page.append_time.iter();
    let mut place = |timed: bool| -> Result<Placement, Fault> {
        let (base_offset, log_start) = offsets.next().ok_or(UNEVEN)?;
        let log_append_time = if timed {
            Some(*times.next().ok_or(UNEVEN)?)
        } else {
            None
        };
        Ok(Placement {
            base_offset: Offset(*base_offset),
            log_append_time,
            log_start: Offset(*log_start),
        })
    };
    let mut outcomes = Vec::with_capacity(page.decision.len());
    for code in &page.decision {
        outcomes.push(match *code {
            decision_code::APPENDED => BatchOutcome::Appended(place(false)?),
            decision_code::APPENDED_WITH_TIME => BatchOutcome::Appended(place(true)?),
            decision_code::DUPLICATE => BatchOutcome::Duplicate(place(false)?),
            decision_code::DUPLICATE_WITH_TIME => BatchOutcome::Duplicate(place(true)?),
            decision_code::HELD => BatchOutcome::Held,
            rejected => BatchOutcome::Rejected(rejection_of(rejected)?),
        });
    }
    Ok(RememberedCommit {
        object: object_id_from(page.object)?,
        run_batches: page.run_batches,
        outcomes,
    })
}

fn released_from(page: &proto::ReleasedPage) -> Result<Bucket, Fault> {
    let count = page.writer.len();
    let lengths = [
        page.level.len(),
        page.unique.len(),
        page.bytes.len(),
        page.since.len(),
    ];
    if lengths.iter().any(|length| *length != count) {
        return Err(Fault::Content(UNEVEN));
    }
    let mut bucket = Bucket {
        at: Position::from_bits(page.position),
        ..Bucket::default()
    };
    for at in 0..count {
        let key = (
            WriterSlot(page.writer[at]),
            level_from(page.level[at])?,
            page.unique[at],
        );
        let value = (page.bytes[at], UploadEpoch(page.since[at]));
        bucket.objects.insert(key, value);
    }
    Ok(bucket)
}
