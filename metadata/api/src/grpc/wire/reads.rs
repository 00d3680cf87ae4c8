//! Exact reads: locate and offsets.

use aquifer_format::ids::{Incarnation, ObjectId, Offset, UploadEpoch, WriterSlot};

use super::{
    super::proto,
    Malformed, UNEVEN,
    columns::{
        deal, extents_from, extents_to, length, partitions_from, partitions_to, watermarks_from,
        watermarks_to,
    },
    ids::{cluster_from, cluster_to, level_from, level_to},
};
use crate::{
    live::LiveObjects,
    locate::{
        LocatePartition, LocateReply, LocateRequest, Located, OffsetSpec, OffsetsFound,
        OffsetsReply, OffsetsRequest,
    },
};

/// A question for extents.
#[must_use]
pub fn locate_to(request: &LocateRequest) -> proto::LocateRequest {
    let wanted = &request.partitions;
    proto::LocateRequest {
        partitions: Some(partitions_to(wanted.iter().map(|w| w.partition))),
        from: wanted.iter().map(|w| w.from.0).collect(),
        max_bytes: wanted.iter().map(|w| w.max_bytes).collect(),
    }
}

/// Reads what [`locate_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn locate_from(request: proto::LocateRequest) -> Result<LocateRequest, Malformed> {
    let partitions = partitions_from(request.partitions)?;
    if [request.from.len(), request.max_bytes.len()] != [partitions.len(); 2] {
        return Err(UNEVEN);
    }
    let rows = partitions.into_iter().zip(&request.from);
    let wanted = rows.zip(&request.max_bytes);
    let wanted = wanted.map(|((partition, from), max_bytes)| LocatePartition {
        partition,
        from: Offset(*from),
        max_bytes: *max_bytes,
    });
    Ok(LocateRequest {
        partitions: wanted.collect(),
    })
}

/// An answer with extents.
#[must_use]
pub fn locate_reply_to(reply: &LocateReply) -> proto::LocateReply {
    let found: Vec<&Located> = reply.partitions.iter().flatten().collect();
    proto::LocateReply {
        exists: reply.partitions.iter().map(Option::is_some).collect(),
        watermarks: Some(watermarks_to(found.iter().map(|f| &f.watermarks))),
        rows: found.iter().map(|f| length(f.extents.len())).collect(),
        extents: Some(extents_to(found.iter().flat_map(|f| &f.extents))),
    }
}

/// Reads what [`locate_reply_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn locate_reply_from(reply: proto::LocateReply) -> Result<LocateReply, Malformed> {
    let watermarks = watermarks_from(reply.watermarks, reply.rows.len())?;
    let extents = deal(extents_from(reply.extents)?, &reply.rows)?;
    let located = watermarks.into_iter().zip(extents);
    let located = located.map(|(watermarks, extents)| Located {
        watermarks,
        extents,
    });
    Ok(LocateReply {
        partitions: spread(&reply.exists, located)?,
    })
}

/// One of `values` for each true, None for each false.
fn spread<T>(
    exists: &[bool],
    mut values: impl ExactSizeIterator<Item = T>,
) -> Result<Vec<Option<T>>, Malformed> {
    let mut spread = Vec::with_capacity(exists.len());
    for exists in exists {
        spread.push(if *exists {
            Some(values.next().ok_or(UNEVEN)?)
        } else {
            None
        });
    }
    if values.len() > 0 {
        return Err(UNEVEN);
    }
    Ok(spread)
}

/// A question which objects are live.
#[must_use]
pub fn live_to(objects: &[ObjectId]) -> proto::LiveObjectsRequest {
    proto::LiveObjectsRequest {
        incarnation: objects.iter().map(|o| o.incarnation.0).collect(),
        upload_epoch: objects.iter().map(|o| o.upload_epoch.0).collect(),
        writer: objects.iter().map(|o| o.writer.0).collect(),
        level: objects.iter().map(|o| level_to(o.level)).collect(),
        unique: objects.iter().map(|o| o.unique).collect(),
    }
}

/// Reads what [`live_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn live_from(request: &proto::LiveObjectsRequest) -> Result<Vec<ObjectId>, Malformed> {
    let columns = [
        request.incarnation.len(),
        request.upload_epoch.len(),
        request.writer.len(),
        request.level.len(),
    ];
    let count = request.unique.len();
    if columns != [count; 4] {
        return Err(UNEVEN);
    }
    let object = |at: usize| {
        Ok(ObjectId {
            incarnation: Incarnation(request.incarnation[at]),
            upload_epoch: UploadEpoch(request.upload_epoch[at]),
            writer: WriterSlot(request.writer[at]),
            level: level_from(request.level[at])?,
            unique: request.unique[at],
        })
    };
    (0..count).map(object).collect()
}

/// An answer which objects are live.
#[must_use]
pub fn live_reply_to(reply: &LiveObjects) -> proto::LiveObjectsReply {
    proto::LiveObjectsReply {
        cluster: cluster_to(reply.cluster),
        incarnation: reply.incarnation.0,
        upload_epoch: reply.upload_epoch.0,
        live: reply.live.clone(),
    }
}

/// Reads what [`live_reply_to`] wrote, of a question for `asked` objects: an answer about fewer would leave
/// some that nobody said anything of.
///
/// # Errors
/// Messages that it does not write.
pub fn live_reply_from(
    reply: proto::LiveObjectsReply,
    asked: usize,
) -> Result<LiveObjects, Malformed> {
    if reply.live.len() != asked {
        return Err(UNEVEN);
    }
    Ok(LiveObjects {
        cluster: cluster_from(&reply.cluster)?,
        incarnation: Incarnation(reply.incarnation),
        upload_epoch: UploadEpoch(reply.upload_epoch),
        live: reply.live,
    })
}

const WATERMARKS: u32 = 0;
const TIMESTAMP: u32 = 1;
const MAX_TIMESTAMP: u32 = 2;

/// A question for offsets.
#[must_use]
pub fn offsets_to(request: &OffsetsRequest) -> proto::OffsetsRequest {
    let wanted = &request.partitions;
    let mut to = proto::OffsetsRequest {
        partitions: Some(partitions_to(
            wanted.iter().map(|(partition, _)| *partition),
        )),
        spec: Vec::with_capacity(wanted.len()),
        timestamp: Vec::new(),
    };
    for (_, spec) in wanted {
        to.spec.push(match spec {
            OffsetSpec::Watermarks => WATERMARKS,
            OffsetSpec::MaxTimestamp => MAX_TIMESTAMP,
            OffsetSpec::Timestamp(timestamp) => {
                to.timestamp.push(*timestamp);
                TIMESTAMP
            }
        });
    }
    to
}

/// Reads what [`offsets_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn offsets_from(request: proto::OffsetsRequest) -> Result<OffsetsRequest, Malformed> {
    let partitions = partitions_from(request.partitions)?;
    if partitions.len() != request.spec.len() {
        return Err(UNEVEN);
    }
    let mut timestamps = request.timestamp.iter();
    let mut wanted = Vec::with_capacity(partitions.len());
    for (partition, code) in partitions.into_iter().zip(&request.spec) {
        let spec = match *code {
            WATERMARKS => OffsetSpec::Watermarks,
            TIMESTAMP => OffsetSpec::Timestamp(*timestamps.next().ok_or(UNEVEN)?),
            MAX_TIMESTAMP => OffsetSpec::MaxTimestamp,
            _ => return Err(Malformed("an offset is specified in an unknown way")),
        };
        wanted.push((partition, spec));
    }
    if timestamps.len() > 0 {
        return Err(UNEVEN);
    }
    Ok(OffsetsRequest { partitions: wanted })
}

/// An answer with offsets.
#[must_use]
pub fn offsets_reply_to(reply: &OffsetsReply) -> proto::OffsetsReply {
    let found: Vec<&OffsetsFound> = reply.partitions.iter().flatten().collect();
    proto::OffsetsReply {
        exists: reply.partitions.iter().map(Option::is_some).collect(),
        watermarks: Some(watermarks_to(found.iter().map(|f| &f.watermarks))),
        found: found.iter().map(|f| f.extent.is_some()).collect(),
        extents: Some(extents_to(found.iter().filter_map(|f| f.extent.as_ref()))),
    }
}

/// Reads what [`offsets_reply_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn offsets_reply_from(reply: proto::OffsetsReply) -> Result<OffsetsReply, Malformed> {
    let watermarks = watermarks_from(reply.watermarks, reply.found.len())?;
    let extents = spread(&reply.found, extents_from(reply.extents)?.into_iter())?;
    let found = watermarks.into_iter().zip(extents);
    let found = found.map(|(watermarks, extent)| OffsetsFound { watermarks, extent });
    Ok(OffsetsReply {
        partitions: spread(&reply.exists, found)?,
    })
}
