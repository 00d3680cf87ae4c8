//! Lists of objects, and the trash.

use aquifer_format::ids::{Incarnation, ObjectId, TopicId, UploadEpoch, WriterSlot};
use bytes::Bytes;

use super::super::{
    super::proto,
    Malformed, UNEVEN,
    ids::{cluster_from, cluster_to, level_from, level_to, object_from, object_to, topic_from},
};
use crate::upkeep::{
    DeletedTopic, DeletedTopics, ListedObject, ObjectsReply, ObjectsRequest, RestoreTopic,
    RestoredTopic,
};

pub(super) fn ids_to(objects: impl Iterator<Item = ObjectId>) -> proto::Objects {
    let mut to = proto::Objects::default();
    for object in objects {
        to.incarnation.push(object.incarnation.0);
        to.upload_epoch.push(object.upload_epoch.0);
        to.writer.push(object.writer.0);
        to.level.push(level_to(object.level));
        to.unique.push(object.unique);
    }
    to
}

pub(super) fn ids_from(objects: Option<proto::Objects>) -> Result<Vec<ObjectId>, Malformed> {
    let from = objects.unwrap_or_default();
    let count = from.unique.len();
    let columns = [
        from.incarnation.len(),
        from.upload_epoch.len(),
        from.writer.len(),
        from.level.len(),
    ];
    if columns != [count; 4] {
        return Err(UNEVEN);
    }
    let object = |at: usize| {
        Ok(ObjectId {
            incarnation: Incarnation(from.incarnation[at]),
            upload_epoch: UploadEpoch(from.upload_epoch[at]),
            writer: WriterSlot(from.writer[at]),
            level: level_from(from.level[at])?,
            unique: from.unique[at],
        })
    };
    (0..count).map(object).collect()
}

fn id_to(topic: TopicId) -> Bytes {
    Bytes::copy_from_slice(topic.0.as_bytes())
}

/// A question for objects.
#[must_use]
pub fn objects_to(request: &ObjectsRequest) -> proto::ObjectsRequest {
    proto::ObjectsRequest {
        after: request.after.map(object_to),
        limit: u32::try_from(request.limit).unwrap_or(u32::MAX),
    }
}

/// Reads what [`objects_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn objects_from(request: proto::ObjectsRequest) -> Result<ObjectsRequest, Malformed> {
    let after = request.after.map(|after| object_from(Some(after)));
    Ok(ObjectsRequest {
        after: after.transpose()?,
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
    })
}

/// An answer with objects.
#[must_use]
pub fn objects_reply_to(reply: &ObjectsReply) -> proto::ObjectsReply {
    let objects = &reply.objects;
    let released = |object: &ListedObject| object.released_in.map_or(-1, |e| i64::from(e.0));
    proto::ObjectsReply {
        cluster: cluster_to(reply.cluster),
        incarnation: reply.incarnation.0,
        upload_epoch: reply.upload_epoch.0,
        objects: Some(ids_to(objects.iter().map(|object| object.id))),
        bytes: objects.iter().map(|object| object.bytes).collect(),
        references: objects.iter().map(|object| object.references).collect(),
        released_in: objects.iter().map(released).collect(),
    }
}

/// Reads what [`objects_reply_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn objects_reply_from(reply: proto::ObjectsReply) -> Result<ObjectsReply, Malformed> {
    let ids = ids_from(reply.objects)?;
    let columns = [
        reply.bytes.len(),
        reply.references.len(),
        reply.released_in.len(),
    ];
    if columns != [ids.len(); 3] {
        return Err(UNEVEN);
    }
    let rows = ids.into_iter().zip(reply.bytes);
    let rows = rows.zip(reply.references).zip(reply.released_in);
    let object = |(((id, bytes), references), released_in)| {
        Ok(ListedObject {
            id,
            bytes,
            references,
            released_in: released_from(released_in)?,
        })
    };
    Ok(ObjectsReply {
        cluster: cluster_from(&reply.cluster)?,
        incarnation: Incarnation(reply.incarnation),
        upload_epoch: UploadEpoch(reply.upload_epoch),
        objects: rows.map(object).collect::<Result<_, Malformed>>()?,
    })
}

fn released_from(released_in: i64) -> Result<Option<UploadEpoch>, Malformed> {
    if released_in == -1 {
        return Ok(None);
    }
    u32::try_from(released_in)
        .map(|epoch| Some(UploadEpoch(epoch)))
        .map_err(|_| Malformed("an upload epoch is out of range"))
}

/// Topics in the trash.
#[must_use]
pub fn deleted_topics_to(topics: &DeletedTopics) -> proto::DeletedTopicsReply {
    let topics = topics.topics.iter().map(|topic| proto::DeletedTopic {
        id: id_to(topic.id),
        name: topic.name.clone(),
        partitions: topic.partitions,
        bytes: topic.bytes,
        deleted_at_ms: topic.deleted_at_ms,
        purged_at_ms: topic.purged_at_ms,
    });
    proto::DeletedTopicsReply {
        topics: topics.collect(),
    }
}

/// Reads what [`deleted_topics_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn deleted_topics_from(reply: proto::DeletedTopicsReply) -> Result<DeletedTopics, Malformed> {
    let topics = reply.topics.into_iter().map(|topic| {
        Ok(DeletedTopic {
            id: topic_from(&topic.id)?,
            name: topic.name,
            partitions: topic.partitions,
            bytes: topic.bytes,
            deleted_at_ms: topic.deleted_at_ms,
            purged_at_ms: topic.purged_at_ms,
        })
    });
    Ok(DeletedTopics {
        topics: topics.collect::<Result<_, Malformed>>()?,
    })
}

/// Which topic to bring back.
#[must_use]
pub fn restore_to(request: &RestoreTopic) -> proto::RestoreTopicRequest {
    use proto::restore_topic_request::Which;
    proto::RestoreTopicRequest {
        which: Some(match request {
            RestoreTopic::Id(id) => Which::Id(id_to(*id)),
            RestoreTopic::Name(name) => Which::Name(name.clone()),
        }),
    }
}

/// Reads what [`restore_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn restore_from(request: proto::RestoreTopicRequest) -> Result<RestoreTopic, Malformed> {
    use proto::restore_topic_request::Which;
    match request.which {
        Some(Which::Id(id)) => Ok(RestoreTopic::Id(topic_from(&id)?)),
        Some(Which::Name(name)) => Ok(RestoreTopic::Name(name)),
        None => Err(Malformed("a topic to be restored is not named")),
    }
}

/// A topic that is back.
#[must_use]
pub fn restored_to(restored: &RestoredTopic) -> proto::RestoreTopicReply {
    proto::RestoreTopicReply {
        id: id_to(restored.id),
        name: restored.name.clone(),
    }
}

/// Reads what [`restored_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn restored_from(reply: proto::RestoreTopicReply) -> Result<RestoredTopic, Malformed> {
    Ok(RestoredTopic {
        id: topic_from(&reply.id)?,
        name: reply.name,
    })
}
