//! From the state to pages.

use aquifer_format::ids::{SessionId, TopicId};
use aquifer_metadata_api::commit::BatchOutcome;
use bytes::Bytes;

use super::{PageRef, begin, extents, frame, proto, seal};
use crate::{
    event::{
        agent_to, batch_to, configs_to, decision_code, level_to, object_id_to, object_to, ref_to,
    },
    state::{
        entity::{Position, Slot, State},
        extents::Chunk,
        held::Hold,
        object::Objects,
        partition::Partition,
        producer::{Producers, Remembered},
        released::Bucket,
        session::{RememberedCommit, Session},
        topic::Topic,
    },
};

impl State {
    pub(super) fn encode_message(&self, page: PageRef) -> Option<(Position, Bytes)> {
        match page {
            PageRef::Counters => Some((self.counters.at, frame(&self.counters_page()))),
            PageRef::Slots => Some((self.slots.at, frame(&self.slots_page()))),
            PageRef::Session(id) => {
                let session = self.sessions.get(&id)?;
                Some((session.at, frame(&session_page(id, session))))
            }
            PageRef::Topic(id) => {
                let topic = self.any_topic(id)?;
                Some((topic.at, frame(&topic_page(id, topic))))
            }
            PageRef::Head(id) => {
                let partition = self.any_partition(id)?;
                let page = head_page(partition, &self.objects)?;
                Some((partition.at, frame(&page)))
            }
            PageRef::Extents(id, first) => {
                let chunks = &self.any_partition(id)?.extents.chunks;
                let at = chunks
                    .binary_search_by_key(&first.0, |chunk| chunk.first)
                    .ok()?;
                let chunk = chunks.get(at)?;
                Some((chunk.at, extents_page(chunk, &self.objects)?))
            }
            PageRef::Merged(id, first) => {
                let chunks = self.any_partition(id)?.extents.merged();
                let at = chunks
                    .binary_search_by_key(&first.0, |chunk| chunk.first)
                    .ok()?;
                let chunk = chunks.get(at)?;
                Some((chunk.at, extents_page(chunk, &self.objects)?))
            }
            PageRef::Released(incarnation, epoch) => {
                let bucket = self.released.0.get(&(incarnation, epoch))?;
                let mut page = released_page(bucket);
                page.incarnation = incarnation.0;
                page.upload_epoch = epoch.0;
                Some((bucket.at, frame(&page)))
            }
            PageRef::BrokerConfigs => {
                let configs = &self.broker_configs;
                let page = proto::BrokerConfigsPage {
                    position: configs.at.to_bits(),
                    configs: configs_to(configs.dynamic()),
                };
                (configs.at != Position::default()).then(|| (configs.at, frame(&page)))
            }
            PageRef::Group(group) => self.group_page(group),
            PageRef::Offsets(key) => self.offsets_page(key),
            PageRef::GroupConfigs => self.group_configs_page(),
        }
    }

    fn counters_page(&self) -> proto::CountersPage {
        let counters = &self.counters;
        proto::CountersPage {
            position: counters.at.to_bits(),
            cluster: counters
                .cluster
                .map_or_else(Vec::new, |id| id.0.as_bytes().to_vec()),
            incarnation: counters.incarnation.0,
            upload_epoch: counters.upload_epoch.0,
            next_leader_epoch: counters.next_leader_epoch.0,
            next_producer_id: counters.next_producer_id.0,
            next_group: counters.next_group.0,
        }
    }

    fn slots_page(&self) -> proto::SlotsPage {
        let mut page = proto::SlotsPage {
            position: self.slots.at.to_bits(),
            next_slot: self.slots.next_slot.0,
            next_session: self.slots.next_session.0,
            ..proto::SlotsPage::default()
        };
        for (slot, state) in &self.slots.slots {
            let (session, since) = match state {
                Slot::Live(session) => (session.0, 0),
                Slot::Resting { since } => (0, since.0),
            };
            page.slot.push(slot.0);
            page.session.push(session);
            page.resting_since.push(since);
        }
        page
    }
}

fn session_page(id: SessionId, session: &Session) -> proto::SessionPage {
    proto::SessionPage {
        position: session.at.to_bits(),
        session: id.0,
        slot: session.slot.0,
        agent: Some(agent_to(&session.agent)),
        last_number: session.last.0,
        answered_through: session.answered_through.0,
        remembered: session
            .remembered
            .iter()
            .map(|(number, commit)| remembered_commit(number.0, commit))
            .collect(),
    }
}

fn remembered_commit(number: u64, commit: &RememberedCommit) -> proto::RememberedCommit {
    let mut page = proto::RememberedCommit {
        number,
        object: Some(object_id_to(commit.object)),
        run_batches: commit.run_batches.clone(),
        ..proto::RememberedCommit::default()
    };
    for outcome in &commit.outcomes {
        let (code, placement) = match outcome {
            BatchOutcome::Appended(placement) if placement.log_append_time.is_some() => {
                (decision_code::APPENDED_WITH_TIME, Some(placement))
            }
            BatchOutcome::Appended(placement) => (decision_code::APPENDED, Some(placement)),
            BatchOutcome::Duplicate(placement) if placement.log_append_time.is_some() => {
                (decision_code::DUPLICATE_WITH_TIME, Some(placement))
            }
            BatchOutcome::Duplicate(placement) => (decision_code::DUPLICATE, Some(placement)),
            BatchOutcome::Held => (decision_code::HELD, None),
            BatchOutcome::Rejected(rejection) => (decision_code::rejected(*rejection), None),
        };
        page.decision.push(code);
        if let Some(placement) = placement {
            page.base_offset.push(placement.base_offset.0);
            page.log_start.push(placement.log_start.0);
            page.append_time.extend(placement.log_append_time);
        }
    }
    page
}

fn topic_page(id: TopicId, topic: &Topic) -> proto::TopicPage {
    proto::TopicPage {
        position: topic.at.to_bits(),
        topic: id.0.as_bytes().to_vec(),
        name: topic.name.clone(),
        partitions: topic.partition_count(),
        leader_epoch: topic.leader_epoch.0,
        configs: configs_to(&topic.configs),
        deleted_at_ms: topic.deleted.map(|deleted| deleted.at_ms),
        purge_at_ms: topic.deleted.map_or(0, |deleted| deleted.purge_at_ms),
    }
}

/// None for a partition to which nothing ever happened: the topic's page says it all.
fn head_page(partition: &Partition, objects: &Objects) -> Option<proto::HeadPage> {
    if partition.at == Position::default() {
        return None;
    }
    let mut page = proto::HeadPage {
        position: partition.at.to_bits(),
        log_start: partition.log_start,
        high_watermark: partition.high_watermark,
        ever_held: partition.ever_held,
        cleaned_through: partition.cleaned_through,
        holds: partition
            .holds()
            .iter()
            .filter_map(|hold| hold_to(hold, objects))
            .collect(),
        ..proto::HeadPage::default()
    };
    if let Some(producers) = &partition.producers {
        producers_to(producers, &mut page);
    }
    Some(page)
}

fn producers_to(producers: &Producers, page: &mut proto::HeadPage) {
    let mut previous = 0i64;
    for (id, producer) in &producers.0 {
        page.producer_id.push(id.0.wrapping_sub(previous));
        previous = id.0;
        page.producer_epoch.push(i32::from(producer.epoch.0));
        page.last_seen.push(producer.last_seen.0);
        page.remembered
            .push(u32::try_from(producer.batches.len()).unwrap_or(u32::MAX));
        for batch in &producer.batches {
            page.first_sequence
                .push(batch.first_sequence.cast_unsigned());
            page.records.push(batch.records);
            page.base_offset.push(batch.base_offset);
            page.append_time
                .push(batch.append_time().unwrap_or(Remembered::NO_TIME));
        }
    }
}

fn hold_to(hold: &Hold, objects: &Objects) -> Option<proto::Hold> {
    Some(proto::Hold {
        session: hold.session.0,
        reference: Some(ref_to(hold.batch)),
        batch: Some(batch_to(&hold.summary)),
        object: Some(object_to(&objects.info(hold.object)?)),
        run_position: hold.run_position,
        run_bytes: hold.run_bytes,
        raw_start: hold.raw_start,
    })
}

fn extents_page(chunk: &Chunk, objects: &Objects) -> Option<Bytes> {
    let mut bytes = begin(extents::bytes_about(chunk));
    extents::put(&mut bytes, chunk, objects)?;
    Some(seal(bytes))
}

fn released_page(bucket: &Bucket) -> proto::ReleasedPage {
    let mut page = proto::ReleasedPage {
        position: bucket.at.to_bits(),
        ..proto::ReleasedPage::default()
    };
    for ((writer, level, unique), (bytes, since)) in &bucket.objects {
        page.writer.push(writer.0);
        page.level.push(level_to(*level));
        page.unique.push(*unique);
        page.bytes.push(*bytes);
        page.since.push(since.0);
    }
    page
}
