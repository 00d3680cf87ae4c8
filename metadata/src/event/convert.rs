//! Between domain types and their protobuf messages, for rows and pages alike.

use std::collections::BTreeMap;

use aquifer_format::ids::{
    CommitNumber, Incarnation, ObjectId, ObjectLevel, ProducerEpoch, ProducerId, Sequence, TopicId,
    UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::{
    commit::{BatchRef, BatchSummary, Rejection},
    register::AgentAddress,
};
use uuid::Uuid;

use super::{Decision, Moment, ObjectInfo, proto};

/// What is wrong with a message that protobuf itself could read.
pub(crate) type Malformed = &'static str;

/// Codes of decisions in `Committed`, `HoldDecided` and `RememberedCommit`.
pub(crate) mod decision_code {
    pub(crate) const APPENDED: u32 = 0;
    pub(crate) const DUPLICATE: u32 = 1;
    pub(crate) const HELD: u32 = 2;
    pub(crate) const DUPLICATE_WITH_TIME: u32 = 3;
    /// Only in remembered commits; in events the run says it.
    pub(crate) const APPENDED_WITH_TIME: u32 = 4;
    const REJECTED: u32 = 16;

    pub(crate) const UNKNOWN_PARTITION: u32 = REJECTED;
    pub(crate) const STALE_EPOCH: u32 = REJECTED + 1;
    pub(crate) const OUT_OF_ORDER: u32 = REJECTED + 2;
    pub(crate) const TOO_OLD: u32 = REJECTED + 3;
    pub(crate) const OVER_BUDGET: u32 = REJECTED + 4;

    /// The code of a rejection.
    pub(crate) fn rejected(rejection: super::Rejection) -> u32 {
        match rejection {
            super::Rejection::UnknownPartition => UNKNOWN_PARTITION,
            super::Rejection::StaleProducerEpoch => STALE_EPOCH,
            super::Rejection::OutOfOrderSequence => OUT_OF_ORDER,
            super::Rejection::TooOld => TOO_OLD,
            super::Rejection::OverBudget => OVER_BUDGET,
        }
    }
}

/// The rejection of a code.
pub(crate) fn rejection_of(code: u32) -> Result<Rejection, Malformed> {
    match code {
        decision_code::UNKNOWN_PARTITION => Ok(Rejection::UnknownPartition),
        decision_code::STALE_EPOCH => Ok(Rejection::StaleProducerEpoch),
        decision_code::OUT_OF_ORDER => Ok(Rejection::OutOfOrderSequence),
        decision_code::TOO_OLD => Ok(Rejection::TooOld),
        decision_code::OVER_BUDGET => Ok(Rejection::OverBudget),
        _ => Err("a decision has an unknown code"),
    }
}

pub(crate) fn topic_from(bytes: &[u8]) -> Result<TopicId, Malformed> {
    Uuid::from_slice(bytes)
        .map(TopicId)
        .map_err(|_| "a topic id is not 16 bytes long")
}

pub(crate) fn configs_to(configs: &BTreeMap<String, String>) -> Vec<proto::Config> {
    let configs = configs.iter().map(|(name, value)| proto::Config {
        name: name.clone(),
        value: value.clone(),
    });
    configs.collect()
}

pub(crate) fn configs_from(configs: Vec<proto::Config>) -> BTreeMap<String, String> {
    let configs = configs.into_iter();
    configs.map(|config| (config.name, config.value)).collect()
}

pub(crate) fn object_id_to(id: ObjectId) -> proto::ObjectId {
    proto::ObjectId {
        incarnation: id.incarnation.0,
        upload_epoch: id.upload_epoch.0,
        writer: id.writer.0,
        level: level_to(id.level),
        unique: id.unique,
    }
}

pub(crate) fn object_id_from(id: Option<proto::ObjectId>) -> Result<ObjectId, Malformed> {
    let id = id.ok_or("an object has no id")?;
    Ok(ObjectId {
        incarnation: Incarnation(id.incarnation),
        upload_epoch: UploadEpoch(id.upload_epoch),
        writer: WriterSlot(id.writer),
        level: level_from(id.level)?,
        unique: id.unique,
    })
}

pub(crate) fn level_to(level: ObjectLevel) -> u32 {
    match level {
        ObjectLevel::L0 => 0,
        ObjectLevel::L1 => 1,
        ObjectLevel::L2 => 2,
    }
}

pub(crate) fn level_from(level: u32) -> Result<ObjectLevel, Malformed> {
    match level {
        0 => Ok(ObjectLevel::L0),
        1 => Ok(ObjectLevel::L1),
        2 => Ok(ObjectLevel::L2),
        _ => Err("an object has an unknown level"),
    }
}

pub(crate) fn object_to(object: &ObjectInfo) -> proto::Object {
    proto::Object {
        id: Some(object_id_to(object.id)),
        bytes: object.bytes,
        locations: object.locations.clone(),
    }
}

pub(crate) fn object_from(object: Option<proto::Object>) -> Result<ObjectInfo, Malformed> {
    let object = object.ok_or("an object is missing")?;
    Ok(ObjectInfo {
        id: object_id_from(object.id)?,
        bytes: object.bytes,
        locations: object.locations,
    })
}

pub(crate) fn agent_to(agent: &AgentAddress) -> proto::AgentAddress {
    proto::AgentAddress {
        host: agent.host.clone(),
        port: u32::from(agent.port),
        node_ids: u32::from(agent.node_ids),
        zone: agent.zone.clone(),
        peer: agent.peer.clone(),
    }
}

pub(crate) fn agent_from(agent: Option<proto::AgentAddress>) -> Result<AgentAddress, Malformed> {
    let agent = agent.ok_or("an agent's address is missing")?;
    Ok(AgentAddress {
        host: agent.host,
        port: u16::try_from(agent.port).map_err(|_| "a port is over 65535")?,
        node_ids: u8::try_from(agent.node_ids).map_err(|_| "an agent has too many node ids")?,
        zone: agent.zone,
        peer: agent.peer,
    })
}

pub(crate) fn ref_to(reference: BatchRef) -> proto::BatchRef {
    proto::BatchRef {
        number: reference.number.0,
        run: reference.run,
        batch: reference.batch,
    }
}

pub(crate) fn ref_from(reference: Option<proto::BatchRef>) -> Result<BatchRef, Malformed> {
    let reference = reference.ok_or("a batch has no reference")?;
    Ok(BatchRef {
        number: CommitNumber(reference.number),
        run: reference.run,
        batch: reference.batch,
    })
}

pub(crate) fn batch_to(batch: &BatchSummary) -> proto::Batch {
    proto::Batch {
        producer_id: batch.producer_id.0,
        producer_epoch: i32::from(batch.producer_epoch.0),
        first_sequence: batch.first_sequence.0,
        records: batch.records,
        bytes: batch.bytes,
        max_timestamp: batch.max_timestamp,
    }
}

pub(crate) fn batch_from(batch: Option<proto::Batch>) -> Result<BatchSummary, Malformed> {
    let batch = batch.ok_or("a batch is missing")?;
    Ok(BatchSummary {
        producer_id: ProducerId(batch.producer_id),
        producer_epoch: epoch_from(batch.producer_epoch)?,
        first_sequence: Sequence(batch.first_sequence),
        records: batch.records,
        bytes: batch.bytes,
        max_timestamp: batch.max_timestamp,
    })
}

pub(crate) fn epoch_from(epoch: i32) -> Result<ProducerEpoch, Malformed> {
    i16::try_from(epoch)
        .map(ProducerEpoch)
        .map_err(|_| "a producer epoch is out of range")
}

pub(super) fn moment_to(moment: Moment) -> proto::Moment {
    proto::Moment {
        unix_millis: moment.unix_millis,
        upload_epoch: moment.upload_epoch.0,
    }
}

pub(super) fn moment_from(moment: Option<proto::Moment>) -> Result<Moment, Malformed> {
    let moment = moment.ok_or("an event has no time")?;
    Ok(Moment {
        unix_millis: moment.unix_millis,
        upload_epoch: UploadEpoch(moment.upload_epoch),
    })
}

pub(super) fn decision_to(decision: Decision) -> u32 {
    match decision {
        Decision::Appended { .. } => decision_code::APPENDED,
        Decision::Duplicate {
            log_append_time: None,
            ..
        } => decision_code::DUPLICATE,
        Decision::Duplicate {
            log_append_time: Some(_),
            ..
        } => decision_code::DUPLICATE_WITH_TIME,
        Decision::Held => decision_code::HELD,
        Decision::Rejected(rejection) => decision_code::rejected(rejection),
    }
}
