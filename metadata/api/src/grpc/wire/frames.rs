//! The watch.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::{
    codec::Codec,
    ids::{
        Incarnation, JournalSeq, LeaderEpoch, LeaderTerm, Offset, PartitionId, SessionId,
        UploadEpoch, WriterSlot,
    },
    limits::METADATA_MESSAGE_BYTES_MAX,
};
use bytes::Bytes;
use prost::Message;

use super::{
    super::proto::{self, watch_frame::Kind},
    Malformed, UNEVEN,
    columns::{
        deal, extents_from, extents_to, length, partitions_from, partitions_to, topics_from,
        topics_to, watermarks_from, watermarks_to,
    },
    ids::{agent_from, agent_to, hash_from, mark_from, mark_to, topic_from},
};
use crate::{
    mark::JournalMark,
    watch::{AgentView, CommonFrame, ExtentsFrame, Frame, InterestChange, TopicView},
};

/// Smaller frames are not worth compressing.
const COMPRESSED_BYTES_MIN: usize = 512;

/// What opens a watch.
#[must_use]
pub fn open_watch_to(session: SessionId, seen: Option<JournalMark>) -> proto::OpenWatch {
    proto::OpenWatch {
        session: session.0,
        seen: seen.map(mark_to),
    }
}

/// Reads what [`open_watch_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn open_watch_from(
    open: proto::OpenWatch,
) -> Result<(SessionId, Option<JournalMark>), Malformed> {
    let seen = open.seen.map(mark_from).transpose()?;
    Ok((SessionId(open.session), seen))
}

/// Changes of interests. Of several presences the last one is kept, behind the other changes.
#[must_use]
pub fn interests_to(changes: &[InterestChange]) -> proto::Interests {
    let partition = |change: &InterestChange| match change {
        InterestChange::Add { partition, .. } | InterestChange::Remove { partition } => {
            Some(*partition)
        }
        InterestChange::Presence { .. } => None,
    };
    let partitions: Vec<_> = changes.iter().filter_map(partition).collect();
    let mut to = proto::Interests {
        partitions: Some(partitions_to(partitions.into_iter())),
        wanted: Vec::with_capacity(changes.len()),
        from: Vec::new(),
        presence: proto::Presence::Unsaid.into(),
    };
    for change in changes {
        match change {
            InterestChange::Add { from, .. } => {
                to.wanted.push(true);
                to.from.push(from.0);
            }
            InterestChange::Remove { .. } => to.wanted.push(false),
            InterestChange::Presence { named } => {
                to.set_presence(match named {
                    true => proto::Presence::Named,
                    false => proto::Presence::Unnamed,
                });
            }
        }
    }
    to
}

/// Reads what [`interests_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn interests_from(from: proto::Interests) -> Result<Vec<InterestChange>, Malformed> {
    let presence = proto::Presence::try_from(from.presence);
    let presence = presence.map_err(|_| Malformed("a presence is of no kind"))?;
    let partitions = partitions_from(from.partitions)?;
    if partitions.len() != from.wanted.len() {
        return Err(UNEVEN);
    }
    let mut offsets = from.from.iter();
    let mut changes = Vec::with_capacity(partitions.len());
    for (partition, wanted) in partitions.into_iter().zip(&from.wanted) {
        changes.push(if *wanted {
            InterestChange::Add {
                partition,
                from: Offset(*offsets.next().ok_or(UNEVEN)?),
            }
        } else {
            InterestChange::Remove { partition }
        });
    }
    if offsets.len() > 0 {
        return Err(UNEVEN);
    }
    match presence {
        proto::Presence::Unsaid => {}
        proto::Presence::Unnamed => changes.push(InterestChange::Presence { named: false }),
        proto::Presence::Named => changes.push(InterestChange::Presence { named: true }),
    }
    Ok(changes)
}

/// A common frame, encoded and compressed: the same for every watcher, so this is done once.
#[must_use]
pub fn sealed_to(frame: &CommonFrame) -> proto::Sealed {
    let plain = common_to(frame).encode_to_vec();
    let compressed = if plain.len() < COMPRESSED_BYTES_MIN {
        None
    } else {
        Codec::Zstd.compress(&plain).ok()
    };
    let expanded_bytes = u32::try_from(plain.len()).ok();
    match (compressed, expanded_bytes) {
        (Some(body), Some(expanded_bytes)) if body.len() < plain.len() => proto::Sealed {
            expanded_bytes,
            body: Bytes::from(body),
        },
        _ => proto::Sealed {
            expanded_bytes: 0,
            body: Bytes::from(plain),
        },
    }
}

/// A frame of one watcher's extents.
#[must_use]
pub fn watch_extents_to(frame: &ExtentsFrame) -> proto::ExtentsFrame {
    let complete = &frame.complete_from;
    let extents = &frame.extents;
    proto::ExtentsFrame {
        seq: frame.seq.0,
        complete: Some(partitions_to(complete.iter().map(|(p, _)| *p))),
        complete_from: complete.iter().map(|(_, from)| from.0).collect(),
        partitions: Some(partitions_to(extents.iter().map(|(p, _)| *p))),
        rows: extents.iter().map(|(_, of)| length(of.len())).collect(),
        extents: Some(extents_to(extents.iter().flat_map(|(_, of)| of))),
    }
}

/// Reads a frame.
///
/// # Errors
/// Messages that [`sealed_to`] and [`watch_extents_to`] do not write.
pub fn frame_from(frame: proto::WatchFrame) -> Result<Frame, Malformed> {
    match frame.kind {
        Some(Kind::Common(sealed)) => {
            let common = common_from(unseal(sealed)?)?;
            Ok(Frame::Common(Arc::new(common)))
        }
        Some(Kind::Extents(extents)) => watch_extents_from(extents).map(Frame::Extents),
        None => Err(Malformed("a frame is of no kind")),
    }
}

fn unseal(sealed: proto::Sealed) -> Result<proto::CommonFrame, Malformed> {
    let body = if sealed.expanded_bytes == 0 {
        sealed.body
    } else {
        let expanded = usize::try_from(sealed.expanded_bytes).unwrap_or(usize::MAX);
        if expanded > METADATA_MESSAGE_BYTES_MAX {
            return Err(Malformed("a frame is too large"));
        }
        Codec::Zstd
            .expand(&sealed.body, expanded)
            .map_err(|_| Malformed("a frame does not expand"))?
    };
    proto::CommonFrame::decode(body).map_err(|_| Malformed("a frame is not a message"))
}

fn common_to(frame: &CommonFrame) -> proto::CommonFrame {
    let watermarks = &frame.watermarks;
    let agents = frame.agents.as_ref().map(|agents| proto::Agents {
        agents: agents.iter().map(agent_view_to).collect(),
    });
    proto::CommonFrame {
        term: frame.term.0,
        seq: frame.seq.0,
        incarnation: frame.incarnation.0,
        hash: Bytes::copy_from_slice(&frame.hash),
        reset: frame.reset,
        upload_epoch: frame.upload_epoch.0,
        topics: frame.topics.iter().map(|t| topic_view_to(t)).collect(),
        deleted_topics: topics_to(&frame.deleted_topics),
        partitions: Some(partitions_to(watermarks.iter().map(|(p, _)| *p))),
        watermarks: Some(watermarks_to(watermarks.iter().map(|(_, marks)| marks))),
        agents,
        throttle_produce: frame.throttle_produce,
        agents_incomplete: !frame.agents_complete,
        broker_configs: frame.broker_configs.as_deref().map(configs_to),
    }
}

fn common_from(from: proto::CommonFrame) -> Result<CommonFrame, Malformed> {
    let partitions = partitions_from(from.partitions)?;
    let watermarks = watermarks_from(from.watermarks, partitions.len())?;
    let topics = from.topics.into_iter().map(topic_view_from);
    let agents = match from.agents {
        Some(agents) => {
            let agents = agents.agents.into_iter().map(agent_view_from);
            Some(agents.collect::<Result<_, _>>()?)
        }
        None => None,
    };
    let broker_configs = from.broker_configs.map(configs_from).transpose()?;
    Ok(CommonFrame {
        term: LeaderTerm(from.term),
        seq: JournalSeq(from.seq),
        hash: hash_from(&from.hash)?,
        incarnation: Incarnation(from.incarnation),
        reset: from.reset,
        upload_epoch: UploadEpoch(from.upload_epoch),
        topics: topics.collect::<Result<_, _>>()?,
        deleted_topics: topics_from(&from.deleted_topics)?,
        watermarks: partitions.into_iter().zip(watermarks).collect(),
        agents,
        agents_complete: !from.agents_incomplete,
        throttle_produce: from.throttle_produce,
        broker_configs: broker_configs.map(Arc::new),
    })
}

fn configs_to(configs: &BTreeMap<String, String>) -> proto::Configs {
    proto::Configs {
        names: configs.keys().cloned().collect(),
        values: configs.values().cloned().collect(),
    }
}

fn configs_from(from: proto::Configs) -> Result<BTreeMap<String, String>, Malformed> {
    if from.names.len() != from.values.len() {
        return Err(UNEVEN);
    }
    Ok(from.names.into_iter().zip(from.values).collect())
}

fn topic_view_to(topic: &TopicView) -> proto::Topic {
    proto::Topic {
        id: topics_to(&[topic.id]),
        name: topic.name.clone(),
        partitions: topic.partitions,
        leader_epoch: topic.leader_epoch.0,
        config_names: topic.configs.keys().cloned().collect(),
        config_values: topic.configs.values().cloned().collect(),
    }
}

fn topic_view_from(from: proto::Topic) -> Result<Arc<TopicView>, Malformed> {
    if from.config_names.len() != from.config_values.len() {
        return Err(UNEVEN);
    }
    let configs: BTreeMap<String, String> = from
        .config_names
        .into_iter()
        .zip(from.config_values)
        .collect();
    Ok(Arc::new(TopicView {
        id: topic_from(&from.id)?,
        name: from.name,
        partitions: from.partitions,
        leader_epoch: LeaderEpoch(from.leader_epoch),
        configs,
    }))
}

fn agent_view_to(agent: &AgentView) -> proto::Agent {
    proto::Agent {
        slot: agent.slot.0,
        address: Some(agent_to(&agent.address)),
    }
}

fn agent_view_from(from: proto::Agent) -> Result<AgentView, Malformed> {
    Ok(AgentView {
        slot: WriterSlot(from.slot),
        address: agent_from(from.address)?,
    })
}

fn watch_extents_from(from: proto::ExtentsFrame) -> Result<ExtentsFrame, Malformed> {
    let complete = partitions_from(from.complete)?;
    let partitions = partitions_from(from.partitions)?;
    if complete.len() != from.complete_from.len() || partitions.len() != from.rows.len() {
        return Err(UNEVEN);
    }
    let extents = deal(extents_from(from.extents)?, &from.rows)?;
    let offsets = from.complete_from.into_iter().map(Offset);
    let complete_from: Vec<(PartitionId, Offset)> = complete.into_iter().zip(offsets).collect();
    Ok(ExtentsFrame {
        seq: JournalSeq(from.seq),
        complete_from,
        extents: partitions.into_iter().zip(extents).collect(),
    })
}
