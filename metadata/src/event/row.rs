//! Rows: the events of one group commit, versioned.

use aquifer_format::ids::{
    ClusterId, Incarnation, LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerId,
    SessionId, UploadEpoch, WriterSlot,
};
use bytes::Bytes;
use prost::Message;
use proto::event::Kind;
use uuid::Uuid;

use super::{
    Decision, Event, HoldDecided, LossAccepted, TopicCreated,
    committed::{committed_from, committed_to},
    convert::{
        Malformed, agent_from, agent_to, batch_from, batch_to, configs_from, configs_to,
        decision_code, decision_to, moment_from, moment_to, object_from, object_id_from,
        object_id_to, object_to, ref_from, ref_to, rejection_of, topic_from,
    },
    group::GroupNumber,
    group_row::{change_from, change_to, offsets_from, offsets_to, removed_from, removed_to},
    partitions::{PartitionColumns, partitions_from},
    proto,
    swapped::{deleted_from, deleted_to, swapped_from, swapped_to},
};

/// The version of rows that this release writes, and the newest one that it reads.
pub const ROW_VERSION: u32 = 1;

/// Why a row cannot be read. Who cannot read a row does not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A newer release wrote it.
    #[error(
        "the journal row has format version {found}, this release reads up to {ROW_VERSION}: run a newer release"
    )]
    NewerVersion {
        /// The row's version.
        found: u32,
    },
    /// A newer release wrote a kind of event that this one does not know.
    #[error("the journal row has an event of an unknown kind: run a newer release")]
    UnknownEvent,
    /// It is damaged.
    #[error("the journal row is damaged: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

impl From<Malformed> for RowError {
    fn from(reason: Malformed) -> Self {
        Self::Malformed {
            reason: reason.to_owned(),
        }
    }
}

/// Encodes the events of a row.
#[must_use]
pub fn encode_row(events: &[Event]) -> Bytes {
    let row = proto::Row {
        version: ROW_VERSION,
        events: events.iter().map(event_to).collect(),
    };
    row.encode_to_vec().into()
}

/// Decodes a row.
pub fn decode_row(bytes: &[u8]) -> Result<Vec<Event>, RowError> {
    let row = proto::Row::decode(bytes).map_err(|error| RowError::Malformed {
        reason: error.to_string(),
    })?;
    match row.version {
        0 => return Err(RowError::from("it has no version")),
        1..=ROW_VERSION => {}
        found => return Err(RowError::NewerVersion { found }),
    }
    row.events.into_iter().map(event_from).collect()
}

fn event_to(event: &Event) -> proto::Event {
    let kind = match event {
        Event::Genesis {
            cluster,
            incarnation,
            upload_epoch,
        } => Kind::Genesis(proto::Genesis {
            cluster: cluster.0.as_bytes().to_vec(),
            incarnation: incarnation.0,
            upload_epoch: upload_epoch.0,
        }),
        Event::UploadEpochAdvanced { upload_epoch } => {
            Kind::UploadEpochAdvanced(proto::UploadEpochAdvanced {
                upload_epoch: upload_epoch.0,
            })
        }
        Event::Registered {
            slot,
            session,
            agent,
        } => Kind::Registered(proto::Registered {
            slot: slot.0,
            session: session.0,
            agent: Some(agent_to(agent)),
        }),
        Event::SessionEnded {
            session,
            slot,
            upload_epoch,
        } => Kind::SessionEnded(proto::SessionEnded {
            session: session.0,
            slot: slot.0,
            upload_epoch: upload_epoch.0,
        }),
        Event::TopicCreated(created) => Kind::TopicCreated(topic_to(created)),
        Event::TopicDeleted { topic } => Kind::TopicDeleted(proto::TopicDeleted {
            topic: topic.0.as_bytes().to_vec(),
        }),
        Event::ProducerIdAllocated { producer_id } => {
            Kind::ProducerIdAllocated(proto::ProducerIdAllocated {
                producer_id: producer_id.0,
            })
        }
        Event::Committed(committed) => Kind::Committed(committed_to(committed)),
        Event::HoldsDecided { at, decisions } => Kind::HoldsDecided(proto::HoldsDecided {
            at: Some(moment_to(*at)),
            decisions: decisions.iter().map(hold_to).collect(),
        }),
        Event::ProducersExpired {
            last_seen_through,
            partitions,
        } => Kind::ProducersExpired(expired_to(*last_seen_through, partitions)),
        Event::ObjectsReleased { since, objects } => {
            Kind::ObjectsReleased(proto::ObjectsReleased {
                since: since.0,
                objects: objects
                    .iter()
                    .map(|(id, bytes)| proto::ReleasedObject {
                        id: Some(object_id_to(*id)),
                        bytes: *bytes,
                    })
                    .collect(),
            })
        }
        Event::LossAccepted(accepted) => Kind::LossAccepted(loss_to(accepted)),
        Event::TopicConfigsSet { topic, configs } => {
            Kind::TopicConfigsSet(proto::TopicConfigsSet {
                topic: topic.0.as_bytes().to_vec(),
                configs: configs_to(configs),
            })
        }
        Event::PartitionsAdded { topic, partitions } => {
            Kind::PartitionsAdded(proto::PartitionsAdded {
                topic: topic.0.as_bytes().to_vec(),
                partitions: *partitions,
            })
        }
        Event::LogStartMoved { partitions } => Kind::LogStartMoved(log_start_to(partitions)),
        Event::BrokerConfigsSet { configs } => Kind::BrokerConfigsSet(proto::BrokerConfigsSet {
            configs: configs_to(configs),
        }),
        Event::GroupCreated { group, name } => Kind::GroupCreated(proto::GroupCreated {
            group: group.0,
            name: name.clone(),
        }),
        Event::GroupChanged { group, changes } => Kind::GroupChanged(proto::GroupChanged {
            group: group.0,
            changes: changes.iter().map(change_to).collect(),
        }),
        Event::GroupDeleted { group } => Kind::GroupDeleted(proto::GroupDeleted { group: group.0 }),
        Event::OffsetsCommitted(committed) => Kind::OffsetsCommitted(offsets_to(committed)),
        Event::OffsetsRemoved { group, partitions } => {
            Kind::OffsetsRemoved(removed_to(*group, partitions))
        }
        Event::GroupConfigsSet { group, configs } => {
            Kind::GroupConfigsSet(proto::GroupConfigsSet {
                group: group.clone(),
                configs: configs_to(configs),
            })
        }
        Event::Swapped(swapped) => Kind::Swapped(swapped_to(swapped)),
        Event::ObjectsDeleted { objects } => Kind::ObjectsDeleted(deleted_to(objects)),
        Event::TopicSoftDeleted {
            topic,
            at_ms,
            purge_at_ms,
        } => Kind::TopicSoftDeleted(proto::TopicSoftDeleted {
            topic: topic.0.as_bytes().to_vec(),
            at_ms: *at_ms,
            purge_at_ms: *purge_at_ms,
        }),
        Event::TopicRestored {
            topic,
            leader_epoch,
        } => Kind::TopicRestored(proto::TopicRestored {
            topic: topic.0.as_bytes().to_vec(),
            leader_epoch: leader_epoch.0,
        }),
    };
    proto::Event { kind: Some(kind) }
}

fn event_from(event: proto::Event) -> Result<Event, RowError> {
    let event = match event.kind.ok_or(RowError::UnknownEvent)? {
        Kind::Genesis(from) => Event::Genesis {
            cluster: ClusterId(
                Uuid::from_slice(&from.cluster).map_err(|_| "a cluster id is not 16 bytes long")?,
            ),
            incarnation: Incarnation(from.incarnation),
            upload_epoch: UploadEpoch(from.upload_epoch),
        },
        Kind::UploadEpochAdvanced(from) => Event::UploadEpochAdvanced {
            upload_epoch: UploadEpoch(from.upload_epoch),
        },
        Kind::Registered(from) => Event::Registered {
            slot: WriterSlot(from.slot),
            session: SessionId(from.session),
            agent: agent_from(from.agent)?,
        },
        Kind::SessionEnded(from) => Event::SessionEnded {
            session: SessionId(from.session),
            slot: WriterSlot(from.slot),
            upload_epoch: UploadEpoch(from.upload_epoch),
        },
        Kind::TopicCreated(from) => Event::TopicCreated(created_from(from)?),
        Kind::TopicDeleted(from) => Event::TopicDeleted {
            topic: topic_from(&from.topic)?,
        },
        Kind::ProducerIdAllocated(from) => Event::ProducerIdAllocated {
            producer_id: ProducerId(from.producer_id),
        },
        Kind::Committed(from) => Event::Committed(Box::new(committed_from(from)?)),
        Kind::HoldsDecided(from) => Event::HoldsDecided {
            at: moment_from(from.at)?,
            decisions: from
                .decisions
                .into_iter()
                .map(hold_from)
                .collect::<Result<_, _>>()?,
        },
        Kind::ProducersExpired(from) => expired_from(&from)?,
        Kind::ObjectsReleased(from) => Event::ObjectsReleased {
            since: UploadEpoch(from.since),
            objects: from
                .objects
                .into_iter()
                .map(|object| Ok((object_id_from(object.id)?, object.bytes)))
                .collect::<Result<_, Malformed>>()?,
        },
        Kind::LossAccepted(from) => Event::LossAccepted(Box::new(loss_from(&from)?)),
        Kind::TopicConfigsSet(from) => Event::TopicConfigsSet {
            topic: topic_from(&from.topic)?,
            configs: configs_from(from.configs),
        },
        Kind::PartitionsAdded(from) => Event::PartitionsAdded {
            topic: topic_from(&from.topic)?,
            partitions: from.partitions,
        },
        Kind::LogStartMoved(from) => log_start_from(&from)?,
        Kind::BrokerConfigsSet(from) => Event::BrokerConfigsSet {
            configs: configs_from(from.configs),
        },
        Kind::GroupCreated(from) => Event::GroupCreated {
            group: GroupNumber(from.group),
            name: from.name,
        },
        Kind::GroupChanged(from) => Event::GroupChanged {
            group: GroupNumber(from.group),
            changes: from
                .changes
                .into_iter()
                .map(change_from)
                .collect::<Result<_, _>>()?,
        },
        Kind::GroupDeleted(from) => Event::GroupDeleted {
            group: GroupNumber(from.group),
        },
        Kind::OffsetsCommitted(from) => Event::OffsetsCommitted(Box::new(offsets_from(from)?)),
        Kind::OffsetsRemoved(from) => removed_from(&from)?,
        Kind::GroupConfigsSet(from) => Event::GroupConfigsSet {
            group: from.group,
            configs: configs_from(from.configs),
        },
        Kind::Swapped(from) => Event::Swapped(Box::new(swapped_from(from)?)),
        Kind::ObjectsDeleted(from) => Event::ObjectsDeleted {
            objects: deleted_from(&from)?,
        },
        Kind::TopicSoftDeleted(from) => Event::TopicSoftDeleted {
            topic: topic_from(&from.topic)?,
            at_ms: from.at_ms,
            purge_at_ms: from.purge_at_ms,
        },
        Kind::TopicRestored(from) => Event::TopicRestored {
            topic: topic_from(&from.topic)?,
            leader_epoch: LeaderEpoch(from.leader_epoch),
        },
    };
    Ok(event)
}

fn loss_to(accepted: &LossAccepted) -> proto::LossAccepted {
    let columns: PartitionColumns = accepted.partitions.iter().map(|(id, _)| *id).collect();
    proto::LossAccepted {
        incarnation: accepted.incarnation.0,
        upload_epoch: accepted.upload_epoch.0,
        leader_epoch: accepted.leader_epoch.0,
        next_session: accepted.next_session.0,
        next_producer_id: accepted.next_producer_id.0,
        topics: columns.topics,
        topic_partitions: columns.topic_partitions,
        partition: columns.partition,
        high_watermark: accepted.partitions.iter().map(|(_, at)| at.0).collect(),
    }
}

fn loss_from(from: &proto::LossAccepted) -> Result<LossAccepted, Malformed> {
    let partitions = partitions_from(&from.topics, &from.topic_partitions, &from.partition)?;
    if partitions.len() != from.high_watermark.len() {
        return Err("partitions and watermarks do not add up");
    }
    let marks = from.high_watermark.iter().map(|at| Offset(*at));
    Ok(LossAccepted {
        incarnation: Incarnation(from.incarnation),
        upload_epoch: UploadEpoch(from.upload_epoch),
        leader_epoch: LeaderEpoch(from.leader_epoch),
        next_session: SessionId(from.next_session),
        next_producer_id: ProducerId(from.next_producer_id),
        partitions: partitions.into_iter().zip(marks).collect(),
    })
}

fn topic_to(created: &TopicCreated) -> proto::TopicCreated {
    proto::TopicCreated {
        topic: created.topic.0.as_bytes().to_vec(),
        name: created.name.clone(),
        partitions: created.partitions,
        leader_epoch: created.leader_epoch.0,
        configs: configs_to(&created.configs),
    }
}

fn created_from(from: proto::TopicCreated) -> Result<TopicCreated, Malformed> {
    Ok(TopicCreated {
        topic: topic_from(&from.topic)?,
        name: from.name,
        partitions: from.partitions,
        leader_epoch: LeaderEpoch(from.leader_epoch),
        configs: configs_from(from.configs),
    })
}

fn hold_to(decided: &HoldDecided) -> proto::HoldDecided {
    let (base_offset, duplicate_append_time) = match decided.decision {
        Decision::Appended { base_offset } => (base_offset, None),
        Decision::Duplicate {
            base_offset,
            log_append_time,
        } => (base_offset, log_append_time),
        Decision::Held | Decision::Rejected(_) => (Offset(0), None),
    };
    proto::HoldDecided {
        topic: decided.partition.topic.0.as_bytes().to_vec(),
        partition: decided.partition.partition.0.cast_unsigned(),
        session: decided.session.0,
        reference: Some(ref_to(decided.batch)),
        batch: Some(batch_to(&decided.summary)),
        object: Some(object_to(&decided.object)),
        run_position: decided.run_position,
        run_bytes: decided.run_bytes,
        raw_start: decided.raw_start,
        log_start: decided.log_start.0,
        log_append_time: decided.log_append_time,
        decision: decision_to(decided.decision),
        base_offset: base_offset.0,
        duplicate_append_time,
    }
}

fn hold_from(from: proto::HoldDecided) -> Result<HoldDecided, Malformed> {
    let decision = decision_from(&from)?;
    Ok(HoldDecided {
        partition: PartitionId::new(
            topic_from(&from.topic)?,
            PartitionIndex(from.partition.cast_signed()),
        ),
        session: SessionId(from.session),
        batch: ref_from(from.reference)?,
        summary: batch_from(from.batch)?,
        object: object_from(from.object)?,
        run_position: from.run_position,
        run_bytes: from.run_bytes,
        raw_start: from.raw_start,
        log_start: Offset(from.log_start),
        log_append_time: from.log_append_time,
        decision,
    })
}

fn decision_from(from: &proto::HoldDecided) -> Result<Decision, Malformed> {
    let base_offset = Offset(from.base_offset);
    Ok(match from.decision {
        decision_code::APPENDED => Decision::Appended { base_offset },
        decision_code::DUPLICATE => Decision::Duplicate {
            base_offset,
            log_append_time: None,
        },
        decision_code::DUPLICATE_WITH_TIME => {
            let time = from.duplicate_append_time;
            Decision::Duplicate {
                base_offset,
                log_append_time: Some(time.ok_or("a duplicate has no append time")?),
            }
        }
        decision_code::HELD => Decision::Held,
        rejected => Decision::Rejected(rejection_of(rejected)?),
    })
}

fn expired_to(through: UploadEpoch, partitions: &[PartitionId]) -> proto::ProducersExpired {
    let columns: PartitionColumns = partitions.iter().copied().collect();
    proto::ProducersExpired {
        last_seen_through: through.0,
        topics: columns.topics,
        topic_partitions: columns.topic_partitions,
        partition: columns.partition,
    }
}

fn expired_from(from: &proto::ProducersExpired) -> Result<Event, Malformed> {
    Ok(Event::ProducersExpired {
        last_seen_through: UploadEpoch(from.last_seen_through),
        partitions: partitions_from(&from.topics, &from.topic_partitions, &from.partition)?,
    })
}

fn log_start_to(partitions: &[(PartitionId, Offset)]) -> proto::LogStartMoved {
    let columns: PartitionColumns = partitions.iter().map(|(id, _)| *id).collect();
    proto::LogStartMoved {
        topics: columns.topics,
        topic_partitions: columns.topic_partitions,
        partition: columns.partition,
        log_start: partitions.iter().map(|(_, at)| at.0).collect(),
    }
}

fn log_start_from(from: &proto::LogStartMoved) -> Result<Event, Malformed> {
    let partitions = partitions_from(&from.topics, &from.topic_partitions, &from.partition)?;
    if partitions.len() != from.log_start.len() {
        return Err("partitions and log starts do not add up");
    }
    let starts = from.log_start.iter().map(|at| Offset(*at));
    Ok(Event::LogStartMoved {
        partitions: partitions.into_iter().zip(starts).collect(),
    })
}
