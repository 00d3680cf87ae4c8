//! Carrying events out. Total: whatever the event says, the state stays sound and nothing panics.

use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, JournalSeq, LeaderEpoch, ObjectId, Offset, PartitionId,
    PartitionIndex, ProducerId, SessionId, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::{commit::BatchRef, register::AgentAddress};

use super::{
    entity::{Position, Slot, State},
    page::PageRef,
    partition::{RunOrigin, Surroundings},
    session::{RememberedCommit, Session},
    topic::Topic,
};
use crate::event::{Committed, Event, HoldDecided, LossAccepted, Moment};

mod topics;
mod upkeep;

/// What events changed that watchers are told of. Collected over as many events as the caller likes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Topics that are new.
    pub topics: Vec<TopicId>,
    /// Topics whose configs, partition count or leader epoch changed; may repeat, and be gone by now.
    pub altered_topics: Vec<TopicId>,
    /// Topics that are gone.
    pub deleted_topics: Vec<TopicId>,
    /// Partitions whose head (watermarks, producers, holds) changed; may repeat.
    pub partitions: Vec<PartitionId>,
    /// Partitions with new extents, and where the first of them begins; may repeat.
    pub appended: Vec<(PartitionId, Offset)>,
    /// Whether the set of live agents changed.
    pub agents: bool,
    /// Whether the upload epoch moved.
    pub upload_epoch: bool,
    /// Whether batches were held or are no longer.
    pub holds: bool,
    /// Whether the dynamic broker configs changed.
    pub broker_configs: bool,
}

impl State {
    /// Carries out the next event; it is the next one of row `seq` if that row was begun, else its
    /// first. Never fails and never panics.
    pub fn apply(&mut self, seq: JournalSeq, event: &Event) {
        self.apply_noting(seq, event, &mut Changes::default());
    }

    /// [`Self::apply`], adding what watchers must be told to `changes`.
    pub fn apply_noting(&mut self, seq: JournalSeq, event: &Event, changes: &mut Changes) {
        self.position = self.position.step(seq);
        match event {
            Event::Genesis {
                cluster,
                incarnation,
                upload_epoch,
            } => self.genesis(*cluster, *incarnation, *upload_epoch),
            Event::UploadEpochAdvanced { upload_epoch } => {
                changes.upload_epoch = true;
                self.advance(*upload_epoch);
            }
            Event::Registered {
                slot,
                session,
                agent,
            } => {
                changes.agents = true;
                self.registered(*slot, *session, agent);
            }
            Event::SessionEnded {
                session,
                slot,
                upload_epoch,
            } => {
                changes.agents = true;
                self.session_ended(*session, *slot, *upload_epoch);
            }
            Event::TopicCreated(created) => {
                self.topics_changed();
                changes.topics.push(created.topic);
                self.topic_created(created);
            }
            Event::TopicDeleted { topic } => {
                self.topics_changed();
                self.offsets_of_topic_deleted(*topic);
                changes.deleted_topics.push(*topic);
                self.topic_deleted(*topic, changes);
            }
            Event::ProducerIdAllocated { producer_id } => self.producer_id(*producer_id),
            Event::Committed(committed) => self.committed(committed, changes),
            Event::HoldsDecided { at, decisions } => self.holds_decided(*at, decisions, changes),
            Event::ProducersExpired {
                last_seen_through,
                partitions,
            } => self.producers_expired(*last_seen_through, partitions),
            Event::ObjectsReleased { since, objects } => self.objects_released(*since, objects),
            Event::LossAccepted(accepted) => self.loss_accepted(accepted, changes),
            Event::TopicConfigsSet { topic, configs } => {
                self.topic_configs_set(*topic, configs, changes);
            }
            Event::PartitionsAdded { topic, partitions } => {
                self.topics_changed();
                self.partitions_added(*topic, *partitions, changes);
            }
            Event::LogStartMoved { partitions } => self.log_start_moved(partitions, changes),
            Event::BrokerConfigsSet { configs } => self.broker_configs_set(configs, changes),
            Event::GroupCreated { group, name } => self.group_created(*group, name),
            Event::GroupChanged { group, changes } => self.group_changed(*group, changes),
            Event::GroupDeleted { group } => self.group_deleted(*group),
            Event::OffsetsCommitted(committed) => self.offsets_committed(committed),
            Event::OffsetsRemoved { group, partitions } => self.offsets_removed(*group, partitions),
            Event::GroupConfigsSet { group, configs } => self.group_configs_set(group, configs),
            Event::Swapped(swapped) => self.swapped(swapped, changes),
            Event::ObjectsDeleted { objects } => self.objects_deleted(objects),
            Event::TopicSoftDeleted {
                topic,
                at_ms,
                purge_at_ms,
            } => {
                self.topics_changed();
                self.topic_soft_deleted(*topic, *at_ms, *purge_at_ms, changes);
            }
            Event::TopicRestored {
                topic,
                leader_epoch,
            } => {
                self.topics_changed();
                self.topic_restored(*topic, *leader_epoch, changes);
            }
        }
    }

    fn loss_accepted(&mut self, accepted: &LossAccepted, changes: &mut Changes) {
        let at = self.position;
        changes.upload_epoch = true;
        if self.counters.at < at {
            let counters = &mut self.counters;
            counters.incarnation = counters.incarnation.max(accepted.incarnation);
            counters.upload_epoch = counters.upload_epoch.max(accepted.upload_epoch);
            let next = LeaderEpoch(accepted.leader_epoch.0.saturating_add(1));
            counters.next_leader_epoch = counters.next_leader_epoch.max(next);
            let producer = accepted.next_producer_id;
            counters.next_producer_id = counters.next_producer_id.max(producer);
            self.touch_counters();
        }
        if self.slots.at < at {
            let next = accepted.next_session;
            self.slots.next_session = self.slots.next_session.max(next);
            self.slots.at = at;
            self.dirty.mark(&mut self.slots.dirty, PageRef::Slots);
        }
        for (id, topic) in self.topics.iter_mut().chain(&mut self.trash) {
            // later ones were created with a higher epoch
            if topic.at < at {
                topic.at = at;
                topic.leader_epoch = topic.leader_epoch.max(accepted.leader_epoch);
                self.dirty.mark(&mut topic.dirty, PageRef::Topic(*id));
                changes.altered_topics.push(*id);
            }
        }
        for (id, high_watermark) in &accepted.partitions {
            // fields, not a method: the pages' names are noted below
            let topic = self.topics.get_mut(&id.topic);
            let topic = topic.or_else(|| self.trash.get_mut(&id.topic));
            let partition = topic.and_then(|topic| topic.partition_mut(id.partition));
            let Some(partition) = partition.filter(|partition| partition.at < at) else {
                continue;
            };
            partition.go_on_at(*high_watermark);
            partition.at = at;
            self.dirty.mark(&mut partition.dirty, PageRef::Head(*id));
            changes.partitions.push(*id);
        }
    }

    fn genesis(&mut self, cluster: ClusterId, incarnation: Incarnation, epoch: UploadEpoch) {
        if self.counters.at < self.position {
            self.counters.cluster = Some(cluster);
            self.counters.incarnation = incarnation;
            self.counters.upload_epoch = self.counters.upload_epoch.max(epoch);
            self.touch_counters();
        }
    }

    fn advance(&mut self, epoch: UploadEpoch) {
        if self.counters.at < self.position {
            self.counters.upload_epoch = self.counters.upload_epoch.max(epoch);
            self.touch_counters();
        }
    }

    fn producer_id(&mut self, id: ProducerId) {
        if self.counters.at < self.position {
            let next = ProducerId(id.0.saturating_add(1));
            self.counters.next_producer_id = self.counters.next_producer_id.max(next);
            self.touch_counters();
        }
    }

    pub(super) fn touch_counters(&mut self) {
        self.counters.at = self.position;
        self.dirty.mark(&mut self.counters.dirty, PageRef::Counters);
    }

    fn registered(&mut self, slot: WriterSlot, session: SessionId, agent: &AgentAddress) {
        let at = self.position;
        if self.slots.at < at {
            self.slots.slots.insert(slot, Slot::Live(session));
            let next_slot = WriterSlot(slot.0.saturating_add(1));
            self.slots.next_slot = self.slots.next_slot.max(next_slot);
            let next_session = SessionId(session.0.saturating_add(1));
            self.slots.next_session = self.slots.next_session.max(next_session);
            self.slots.at = at;
            self.dirty.mark(&mut self.slots.dirty, PageRef::Slots);
        }
        let entry = self
            .sessions
            .entry(session)
            .or_insert_with(|| Session::new(Position::default(), slot, agent.clone()));
        if entry.at < at {
            entry.at = at;
            entry.slot = slot;
            entry.agent = agent.clone();
            self.dirty.mark(&mut entry.dirty, PageRef::Session(session));
        }
    }

    fn session_ended(&mut self, session: SessionId, slot: WriterSlot, epoch: UploadEpoch) {
        if self.slots.at < self.position {
            if self.slots.slots.get(&slot) == Some(&Slot::Live(session)) {
                self.slots
                    .slots
                    .insert(slot, Slot::Resting { since: epoch });
            }
            self.slots.at = self.position;
            self.dirty.mark(&mut self.slots.dirty, PageRef::Slots);
        }
        if let Some(ended) = self.sessions.remove(&session) {
            self.usage.result_bytes = self.usage.result_bytes.saturating_sub(ended.cost());
            self.dirty.gone(PageRef::Session(session));
        }
    }

    fn committed(&mut self, committed: &Committed, changes: &mut Changes) {
        let object = self.objects.intern(&committed.object, &mut self.usage);
        changes.partitions.reserve(committed.runs.len());
        changes.appended.reserve(committed.runs.len());
        let mut around = Surroundings {
            at: self.position,
            objects: &mut self.objects,
            usage: &mut self.usage,
            dirty: &mut self.dirty,
            holds: &mut self.holds,
            changes,
            extents: Vec::new(),
        };
        let mut topic: Option<(TopicId, Option<&mut Topic>)> = None;
        let mut rest = committed.batches.as_slice();
        for (index, run) in (0u32..).zip(&committed.runs) {
            let count = usize::try_from(run.batches).unwrap_or(usize::MAX);
            let (batches, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            let id = run.partition;
            if topic.as_ref().is_none_or(|(cached, _)| *cached != id.topic) {
                let found = self.topics.get_mut(&id.topic);
                let found = found.or_else(|| self.trash.get_mut(&id.topic));
                topic = Some((id.topic, found));
            }
            let partition = topic
                .as_mut()
                .and_then(|(_, found)| found.as_mut())
                .and_then(|found| found.partition_mut(id.partition));
            let Some(partition) = partition else {
                continue;
            };
            let origin = RunOrigin {
                session: committed.session,
                first: BatchRef {
                    number: committed.number,
                    run: index,
                    batch: 0,
                },
                object,
                moment: committed.at,
            };
            partition.apply_run(run, batches, origin, &mut around);
        }
        self.objects.settle(object, &mut self.usage);
        self.remember(committed);
    }

    fn remember(&mut self, committed: &Committed) {
        let Some(session) = self.sessions.get_mut(&committed.session) else {
            return;
        };
        if session.at >= self.position {
            return;
        }
        session.at = self.position;
        let answered: CommitNumber = committed.answered_through;
        session.remember(
            committed.number,
            answered,
            remembered(committed),
            &mut self.usage,
        );
        let page = PageRef::Session(committed.session);
        self.dirty.mark(&mut session.dirty, page);
    }

    fn holds_decided(&mut self, at: Moment, decisions: &[HoldDecided], changes: &mut Changes) {
        let mut around = Surroundings {
            at: self.position,
            objects: &mut self.objects,
            usage: &mut self.usage,
            dirty: &mut self.dirty,
            holds: &mut self.holds,
            changes,
            extents: Vec::new(),
        };
        for group in decisions.chunk_by(|a, b| a.partition == b.partition) {
            let Some(id) = group.first().map(|decided| decided.partition) else {
                continue;
            };
            let partition = self
                .topics
                .get_mut(&id.topic)
                .or_else(|| self.trash.get_mut(&id.topic))
                .and_then(|topic| topic.partition_mut(id.partition));
            if let Some(partition) = partition {
                partition.apply_holds(id, group, at, &mut around);
            }
        }
        for decided in decisions {
            let Some(session) = self.sessions.get_mut(&decided.session) else {
                continue;
            };
            // Equal = this very event, or a page that has it: to do it again changes nothing.
            if session.at > self.position {
                continue;
            }
            if session.decide(decided.batch, decided.outcome(at)) {
                session.at = self.position;
                let page = PageRef::Session(decided.session);
                self.dirty.mark(&mut session.dirty, page);
            }
        }
    }

    fn log_start_moved(&mut self, partitions: &[(PartitionId, Offset)], changes: &mut Changes) {
        let mut around = Surroundings {
            at: self.position,
            objects: &mut self.objects,
            usage: &mut self.usage,
            dirty: &mut self.dirty,
            holds: &mut self.holds,
            changes,
            extents: Vec::new(),
        };
        for (id, log_start) in partitions {
            let partition = self
                .topics
                .get_mut(&id.topic)
                .or_else(|| self.trash.get_mut(&id.topic))
                .and_then(|topic| topic.partition_mut(id.partition));
            if let Some(partition) = partition {
                partition.move_log_start(*id, *log_start, &mut around);
            }
        }
    }

    fn producers_expired(&mut self, through: UploadEpoch, partitions: &[PartitionId]) {
        for id in partitions {
            let partition = self
                .topics
                .get_mut(&id.topic)
                .or_else(|| self.trash.get_mut(&id.topic))
                .and_then(|topic| topic.partition_mut(id.partition));
            let Some(partition) = partition else {
                continue;
            };
            if partition.at >= self.position {
                continue;
            }
            let Some(producers) = partition.producers.as_mut() else {
                continue;
            };
            if producers.expire(through, &mut self.usage) {
                if producers.0.is_empty() {
                    partition.producers = None;
                }
                partition.at = self.position;
                self.dirty.mark(&mut partition.dirty, PageRef::Head(*id));
            }
        }
    }

    fn objects_released(&mut self, since: UploadEpoch, objects: &[(ObjectId, u64)]) {
        for (object, bytes) in objects {
            self.released
                .add(self.position, *object, *bytes, since, &mut self.dirty);
        }
    }

    /// The partition, to be changed.
    pub(super) fn partition_mut(
        &mut self,
        topic: TopicId,
        partition: PartitionIndex,
    ) -> Option<&mut super::partition::Partition> {
        self.any_topic_mut(topic)?.partition_mut(partition)
    }
}

fn remembered(committed: &Committed) -> RememberedCommit {
    let mut outcomes = Vec::with_capacity(committed.batches.len());
    let mut run_batches = Vec::with_capacity(committed.runs.len());
    let mut rest = committed.batches.as_slice();
    for run in &committed.runs {
        let count = usize::try_from(run.batches).unwrap_or(usize::MAX);
        let (batches, after) = rest.split_at(count.min(rest.len()));
        rest = after;
        run_batches.push(u32::try_from(batches.len()).unwrap_or(u32::MAX));
        let append_time = run.log_append_time.then_some(committed.at.unix_millis);
        outcomes.extend(
            batches
                .iter()
                .map(|batch| batch.decision.outcome(append_time, run.log_start)),
        );
    }
    RememberedCommit {
        object: committed.object.id,
        run_batches,
        outcomes,
    }
}
