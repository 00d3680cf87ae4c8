//! Tables that several messages have: partitions, watermarks, extents.

use aquifer_format::ids::{
    Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, PartitionIndex, TopicId, UploadEpoch,
    WriterSlot,
};
use bytes::Bytes;

use super::{
    super::proto,
    Malformed, UNEVEN,
    ids::{level_from, level_to, topic_from},
};
use crate::extent::{Extent, Watermarks};

/// Bytes of a topic id.
const ID_BYTES: usize = 16;

pub(super) fn partitions_to(
    partitions: impl ExactSizeIterator<Item = PartitionId>,
) -> proto::Partitions {
    let mut topics = Vec::new();
    let mut rows: Vec<u32> = Vec::new();
    let mut index = Vec::with_capacity(partitions.len());
    let mut last = None;
    for partition in partitions {
        match rows.last_mut() {
            Some(count) if last == Some(partition.topic) && *count < u32::MAX => *count += 1,
            _ => {
                last = Some(partition.topic);
                topics.extend_from_slice(partition.topic.0.as_bytes());
                rows.push(1);
            }
        }
        index.push(partition.partition.0.cast_unsigned());
    }
    proto::Partitions {
        topics: Bytes::from(topics),
        rows,
        index,
    }
}

pub(super) fn partitions_from(
    partitions: Option<proto::Partitions>,
) -> Result<Vec<PartitionId>, Malformed> {
    let partitions = partitions.unwrap_or_default();
    if partitions.topics.len() != partitions.rows.len().saturating_mul(ID_BYTES) {
        return Err(UNEVEN);
    }
    let mut ids = Vec::with_capacity(partitions.index.len());
    let mut index = partitions.index.iter();
    for (topic, count) in partitions.topics.chunks(ID_BYTES).zip(&partitions.rows) {
        let topic = topic_from(topic)?;
        let before = ids.len();
        let count = usize::try_from(*count).map_err(|_| UNEVEN)?;
        let of_topic = index.by_ref().take(count);
        ids.extend(of_topic.map(|i| PartitionId::new(topic, PartitionIndex(i.cast_signed()))));
        if ids.len() - before != count {
            return Err(UNEVEN);
        }
    }
    if index.len() > 0 {
        return Err(UNEVEN);
    }
    Ok(ids)
}

pub(super) fn topics_to(topics: &[TopicId]) -> Bytes {
    let mut bytes = Vec::with_capacity(topics.len() * ID_BYTES);
    for topic in topics {
        bytes.extend_from_slice(topic.0.as_bytes());
    }
    Bytes::from(bytes)
}

pub(super) fn topics_from(bytes: &[u8]) -> Result<Vec<TopicId>, Malformed> {
    bytes.chunks(ID_BYTES).map(topic_from).collect()
}

pub(super) fn watermarks_to<'a>(
    watermarks: impl ExactSizeIterator<Item = &'a Watermarks>,
) -> proto::Watermarks {
    let count = watermarks.len();
    let mut to = proto::Watermarks {
        log_start: Vec::with_capacity(count),
        high_watermark: Vec::with_capacity(count),
        unstable: Vec::with_capacity(count),
        leader_epoch: Vec::with_capacity(count),
    };
    for marks in watermarks {
        to.log_start.push(marks.log_start.0);
        to.high_watermark.push(marks.high_watermark.0);
        let unstable = marks.high_watermark.0.wrapping_sub(marks.last_stable.0);
        to.unstable.push(unstable);
        to.leader_epoch.push(marks.leader_epoch.0);
    }
    to
}

/// Reads `count` rows.
pub(super) fn watermarks_from(
    watermarks: Option<proto::Watermarks>,
    count: usize,
) -> Result<Vec<Watermarks>, Malformed> {
    let from = watermarks.unwrap_or_default();
    let columns = [
        from.log_start.len(),
        from.high_watermark.len(),
        from.unstable.len(),
        from.leader_epoch.len(),
    ];
    if columns != [count; 4] {
        return Err(UNEVEN);
    }
    let row = |at: usize| Watermarks {
        log_start: Offset(from.log_start[at]),
        high_watermark: Offset(from.high_watermark[at]),
        last_stable: Offset(from.high_watermark[at].wrapping_sub(from.unstable[at])),
        leader_epoch: LeaderEpoch(from.leader_epoch[at]),
    };
    Ok((0..count).map(row).collect())
}

pub(super) fn extents_to<'a>(extents: impl Iterator<Item = &'a Extent>) -> proto::Extents {
    let mut to = proto::Extents::default();
    let mut object = None;
    let (mut end, mut timestamp) = (0i64, 0i64);
    for extent in extents {
        match to.rows.last_mut() {
            Some(rows) if object == Some(extent.object) && *rows < u32::MAX => *rows += 1,
            _ => {
                object = Some(extent.object);
                add_object(extent.object, &mut to);
            }
        }
        to.run_position.push(extent.run_position);
        to.run_bytes.push(extent.run_bytes);
        to.raw_start.push(extent.raw_start);
        to.raw_bytes.push(extent.raw_bytes);
        to.base_offset.push(extent.base_offset.0.wrapping_sub(end));
        end = extent.end_offset.0;
        to.offsets.push(end.wrapping_sub(extent.base_offset.0));
        to.max_timestamp
            .push(extent.max_timestamp.wrapping_sub(timestamp));
        timestamp = extent.max_timestamp;
        to.has_append_time.push(extent.log_append_time.is_some());
        let append_time = extent.log_append_time;
        to.log_append_time
            .extend(append_time.map(|t| t.wrapping_sub(timestamp)));
    }
    to
}

fn add_object(object: ObjectId, to: &mut proto::Extents) {
    to.rows.push(1);
    to.incarnation.push(object.incarnation.0);
    to.upload_epoch.push(object.upload_epoch.0);
    to.writer.push(object.writer.0);
    to.level.push(level_to(object.level));
    to.unique.push(object.unique);
}

pub(super) fn extents_from(extents: Option<proto::Extents>) -> Result<Vec<Extent>, Malformed> {
    let from = extents.unwrap_or_default();
    check_extents(&from)?;
    let count = from.run_position.len();
    let mut extents = Vec::with_capacity(count);
    let mut times = from.log_append_time.iter();
    let (mut end, mut timestamp) = (0i64, 0i64);
    let mut objects = Objects::default();
    for at in 0..count {
        let object = objects.next(&from)?;
        let base = end.wrapping_add(from.base_offset[at]);
        end = base.wrapping_add(from.offsets[at]);
        timestamp = timestamp.wrapping_add(from.max_timestamp[at]);
        let log_append_time = if from.has_append_time[at] {
            Some(timestamp.wrapping_add(*times.next().ok_or(UNEVEN)?))
        } else {
            None
        };
        extents.push(Extent {
            object,
            run_position: from.run_position[at],
            run_bytes: from.run_bytes[at],
            raw_start: from.raw_start[at],
            raw_bytes: from.raw_bytes[at],
            base_offset: Offset(base),
            end_offset: Offset(end),
            max_timestamp: timestamp,
            log_append_time,
        });
    }
    if times.len() > 0 || !objects.is_at_end(&from) {
        return Err(UNEVEN);
    }
    Ok(extents)
}

fn check_extents(from: &proto::Extents) -> Result<(), Malformed> {
    let objects = [
        from.incarnation.len(),
        from.upload_epoch.len(),
        from.writer.len(),
        from.level.len(),
        from.unique.len(),
    ];
    let extents = [
        from.run_bytes.len(),
        from.raw_start.len(),
        from.raw_bytes.len(),
        from.base_offset.len(),
        from.offsets.len(),
        from.max_timestamp.len(),
        from.has_append_time.len(),
    ];
    if objects == [from.rows.len(); 5] && extents == [from.run_position.len(); 7] {
        Ok(())
    } else {
        Err(UNEVEN)
    }
}

/// Walks the objects of extents, each for as many extents as it has.
#[derive(Default)]
struct Objects {
    next: usize,
    current: Option<ObjectId>,
    left: u32,
}

impl Objects {
    fn next(&mut self, from: &proto::Extents) -> Result<ObjectId, Malformed> {
        while self.left == 0 {
            let at = self.next;
            self.left = *from.rows.get(at).ok_or(UNEVEN)?;
            self.current = Some(ObjectId {
                incarnation: Incarnation(from.incarnation[at]),
                upload_epoch: UploadEpoch(from.upload_epoch[at]),
                writer: WriterSlot(from.writer[at]),
                level: level_from(from.level[at])?,
                unique: from.unique[at],
            });
            self.next += 1;
        }
        self.left -= 1;
        self.current.ok_or(UNEVEN)
    }

    fn is_at_end(&self, from: &proto::Extents) -> bool {
        self.left == 0 && self.next == from.rows.len()
    }
}

/// Deals `rows` out to lists of the given lengths.
pub(super) fn deal<T>(rows: Vec<T>, lengths: &[u32]) -> Result<Vec<Vec<T>>, Malformed> {
    let mut rows = rows.into_iter();
    let mut lists = Vec::with_capacity(lengths.len());
    for length in lengths {
        let length = usize::try_from(*length).map_err(|_| UNEVEN)?;
        if length > rows.len() {
            return Err(UNEVEN);
        }
        lists.push(rows.by_ref().take(length).collect());
    }
    if rows.len() > 0 {
        return Err(UNEVEN);
    }
    Ok(lists)
}

/// How many rows a list has, as a column says it.
pub(super) fn length(rows: usize) -> u32 {
    u32::try_from(rows).expect("a message has fewer than 2^32 rows")
}
