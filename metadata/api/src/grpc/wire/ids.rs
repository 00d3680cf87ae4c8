//! Identities, addresses and registration.

use aquifer_format::ids::{
    ClusterId, Incarnation, JournalSeq, LeaderTerm, ObjectId, ObjectLevel, ProducerEpoch,
    SessionId, TopicId, UploadEpoch, WriterSlot,
};
use bytes::Bytes;
use uuid::Uuid;

use super::{super::proto, Malformed};
use crate::{
    mark::JournalMark,
    register::{AgentAddress, RegisterRequest, Registration},
};

pub(super) fn topic_from(bytes: &[u8]) -> Result<TopicId, Malformed> {
    uuid_from(bytes, "a topic id is not 16 bytes long").map(TopicId)
}

/// A cluster's id.
#[must_use]
pub fn cluster_to(cluster: ClusterId) -> Bytes {
    Bytes::copy_from_slice(cluster.0.as_bytes())
}

/// Reads what [`cluster_to`] wrote.
///
/// # Errors
/// Anything else.
pub fn cluster_from(bytes: &[u8]) -> Result<ClusterId, Malformed> {
    uuid_from(bytes, "a cluster id is not 16 bytes long").map(ClusterId)
}

fn uuid_from(bytes: &[u8], wrong: &'static str) -> Result<Uuid, Malformed> {
    Uuid::from_slice(bytes).map_err(|_| Malformed(wrong))
}

pub(super) fn object_to(id: ObjectId) -> proto::ObjectId {
    proto::ObjectId {
        incarnation: id.incarnation.0,
        upload_epoch: id.upload_epoch.0,
        writer: id.writer.0,
        level: level_to(id.level),
        unique: id.unique,
    }
}

pub(super) fn object_from(id: Option<proto::ObjectId>) -> Result<ObjectId, Malformed> {
    let id = id.ok_or(Malformed("an object has no id"))?;
    Ok(ObjectId {
        incarnation: Incarnation(id.incarnation),
        upload_epoch: UploadEpoch(id.upload_epoch),
        writer: WriterSlot(id.writer),
        level: level_from(id.level)?,
        unique: id.unique,
    })
}

pub(super) fn level_to(level: ObjectLevel) -> u32 {
    match level {
        ObjectLevel::L0 => 0,
        ObjectLevel::L1 => 1,
        ObjectLevel::L2 => 2,
    }
}

pub(super) fn level_from(level: u32) -> Result<ObjectLevel, Malformed> {
    match level {
        0 => Ok(ObjectLevel::L0),
        1 => Ok(ObjectLevel::L1),
        2 => Ok(ObjectLevel::L2),
        _ => Err(Malformed("an object has an unknown level")),
    }
}

pub(super) fn epoch_from(epoch: i32) -> Result<ProducerEpoch, Malformed> {
    i16::try_from(epoch)
        .map(ProducerEpoch)
        .map_err(|_| Malformed("a producer epoch is out of range"))
}

pub(super) fn agent_to(agent: &AgentAddress) -> proto::AgentAddress {
    proto::AgentAddress {
        host: agent.host.clone(),
        port: u32::from(agent.port),
        node_ids: u32::from(agent.node_ids),
        zone: agent.zone.clone(),
        peer: agent.peer.clone(),
    }
}

pub(super) fn agent_from(agent: Option<proto::AgentAddress>) -> Result<AgentAddress, Malformed> {
    let agent = agent.ok_or(Malformed("an agent has no address"))?;
    Ok(AgentAddress {
        host: agent.host,
        port: u16::try_from(agent.port).map_err(|_| Malformed("a port is over 65535"))?,
        node_ids: u8::try_from(agent.node_ids)
            .map_err(|_| Malformed("an agent has too many node ids"))?,
        zone: agent.zone,
        peer: agent.peer,
    })
}

pub(super) fn mark_to(mark: JournalMark) -> proto::JournalMark {
    proto::JournalMark {
        incarnation: mark.incarnation.0,
        term: mark.term.0,
        seq: mark.seq.0,
        hash: Bytes::copy_from_slice(&mark.hash),
    }
}

pub(super) fn mark_from(mark: proto::JournalMark) -> Result<JournalMark, Malformed> {
    Ok(JournalMark {
        incarnation: Incarnation(mark.incarnation),
        term: LeaderTerm(mark.term),
        seq: JournalSeq(mark.seq),
        hash: hash_from(&mark.hash)?,
    })
}

pub(super) fn hash_from(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes
        .try_into()
        .map_err(|_| Malformed("a row's hash is not 32 bytes long"))
}

/// A registration that is asked for.
#[must_use]
pub fn register_to(request: &RegisterRequest) -> proto::RegisterRequest {
    proto::RegisterRequest {
        previous_slot: request.previous_slot.map(|slot| slot.0),
        agent: Some(agent_to(&request.agent)),
        seen: request.seen.map(mark_to),
    }
}

/// Reads what [`register_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn register_from(request: proto::RegisterRequest) -> Result<RegisterRequest, Malformed> {
    Ok(RegisterRequest {
        previous_slot: request.previous_slot.map(WriterSlot),
        agent: agent_from(request.agent)?,
        seen: request.seen.map(mark_from).transpose()?,
    })
}

/// A registration.
#[must_use]
pub fn registration_to(registration: &Registration) -> proto::RegisterReply {
    proto::RegisterReply {
        slot: registration.slot.0,
        session: registration.session.0,
        cluster: cluster_to(registration.cluster),
        incarnation: registration.incarnation.0,
        upload_epoch: registration.upload_epoch.0,
    }
}

/// Reads what [`registration_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn registration_from(reply: &proto::RegisterReply) -> Result<Registration, Malformed> {
    Ok(Registration {
        slot: WriterSlot(reply.slot),
        session: SessionId(reply.session),
        cluster: cluster_from(&reply.cluster)?,
        incarnation: Incarnation(reply.incarnation),
        upload_epoch: UploadEpoch(reply.upload_epoch),
    })
}
