//! Swaps: what a compactor made takes the place of what it was made of.
//!
//! The table in `Swapped.table`, in the numbers of [`crate::varint`]: the number of ranges; per range the topic (place
//! among those that the table named so far, from 1; 0 = a new one, whose 16 bytes follow), the partition, `from`
//! (signed), `to` less `from`, `into` less `from` (signed), `cleaned_through` less `from` plus 1 (0 = none), the
//! number of extents; per extent the object (its index in `objects`), run position, run bytes, expanded
//! bytes, base offset less the end of the one before in its range (less `from` for the first), offsets, max
//! timestamp less the one before in the table (signed).

use std::collections::BTreeMap;

use aquifer_format::ids::{
    Incarnation, ObjectId, Offset, PartitionId, PartitionIndex, TopicId, UploadEpoch, WriterSlot,
};
use uuid::Uuid;

use super::{ObjectInfo, convert::Malformed, level_from, level_to, object_from, object_to, proto};
use crate::varint::{Reader, put, put_signed};

/// See [`super::Event::Swapped`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swapped {
    /// Objects that the extents are in.
    pub objects: Vec<ObjectInfo>,
    /// Ranges that were swapped, sorted by partition and offset, none overlapping.
    pub ranges: Vec<SwappedRange>,
}

/// A range of one partition whose extents are others from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwappedRange {
    /// The partition.
    pub partition: PartitionId,
    /// Extents that lie between this offset
    pub from: Offset,
    /// and this one are gone.
    pub to: Offset,
    /// The page of merged extents that the new ones go into: one that is there, or one that begins with them.
    pub into: Offset,
    /// Keys were compacted up to here.
    pub cleaned_through: Option<Offset>,
    /// What lies there from now on, in offset order.
    pub extents: Vec<SwappedExtent>,
}

/// An extent of level 1 or 2: a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwappedExtent {
    /// Index in [`Swapped::objects`].
    pub object: u32,
    /// Byte position of the run in the object.
    pub run_position: u64,
    /// Stored bytes of the run.
    pub run_bytes: u32,
    /// Bytes of its batches.
    pub raw_bytes: u32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// How many offsets it takes; some may have no record.
    pub offsets: u32,
    /// Largest timestamp.
    pub max_timestamp: i64,
}

pub(super) fn swapped_to(swapped: &Swapped) -> proto::Swapped {
    proto::Swapped {
        objects: swapped.objects.iter().map(object_to).collect(),
        table: table_to(&swapped.ranges),
    }
}

/// Total: whatever the bytes are. Objects that an extent names and the message does not have are malformed.
pub(super) fn swapped_from(from: proto::Swapped) -> Result<Swapped, Malformed> {
    let objects = from.objects.into_iter();
    let objects = objects.map(|object| object_from(Some(object)));
    let objects: Vec<ObjectInfo> = objects.collect::<Result<_, _>>()?;
    Ok(Swapped {
        ranges: table_from(&from.table, objects.len())?,
        objects,
    })
}

pub(super) fn deleted_to(objects: &[ObjectId]) -> proto::ObjectsDeleted {
    proto::ObjectsDeleted {
        incarnation: objects.iter().map(|id| id.incarnation.0).collect(),
        upload_epoch: objects.iter().map(|id| id.upload_epoch.0).collect(),
        writer: objects.iter().map(|id| id.writer.0).collect(),
        level: objects.iter().map(|id| level_to(id.level)).collect(),
        unique: objects.iter().map(|id| id.unique).collect(),
    }
}

pub(super) fn deleted_from(from: &proto::ObjectsDeleted) -> Result<Vec<ObjectId>, Malformed> {
    let count = from.unique.len();
    let columns = [
        &from.incarnation,
        &from.upload_epoch,
        &from.writer,
        &from.level,
    ];
    if columns.iter().any(|column| column.len() != count) {
        return Err("the columns of deleted objects are of different lengths");
    }
    let places = from.incarnation.iter().zip(&from.upload_epoch);
    let writers = from.writer.iter().zip(&from.level);
    let rows = places.zip(writers).zip(&from.unique);
    rows.map(|(((incarnation, upload_epoch), (writer, level)), unique)| {
        Ok(ObjectId {
            incarnation: Incarnation(*incarnation),
            upload_epoch: UploadEpoch(*upload_epoch),
            writer: WriterSlot(*writer),
            level: level_from(*level)?,
            unique: *unique,
        })
    })
    .collect()
}

/// Fewest bytes of a range whose topic was named before, and of an extent: what is reserved for them is bounded
/// by the bytes that there are.
const RANGE_BYTES_MIN: usize = 7;
const EXTENT_BYTES_MIN: usize = 7;

fn table_to(ranges: &[SwappedRange]) -> Vec<u8> {
    let mut to = Vec::new();
    let mut topics: BTreeMap<TopicId, u64> = BTreeMap::new();
    let mut timestamp = 0i64;
    put(&mut to, length(ranges.len()));
    for range in ranges {
        let from = range.from.0;
        let topic = range.partition.topic;
        if let Some(place) = topics.get(&topic) {
            put(&mut to, *place);
        } else {
            put(&mut to, 0);
            to.extend_from_slice(topic.0.as_bytes());
            topics.insert(topic, length(topics.len()).saturating_add(1));
        }
        put(
            &mut to,
            u64::from(range.partition.partition.0.cast_unsigned()),
        );
        put_signed(&mut to, from);
        put(&mut to, range.to.0.wrapping_sub(from).cast_unsigned());
        put_signed(&mut to, range.into.0.wrapping_sub(from));
        let cleaned = range.cleaned_through.map_or(0, |through| {
            through.0.wrapping_sub(from).cast_unsigned().wrapping_add(1)
        });
        put(&mut to, cleaned);
        put(&mut to, length(range.extents.len()));
        let mut end = from;
        for extent in &range.extents {
            put(&mut to, u64::from(extent.object));
            put(&mut to, extent.run_position);
            put(&mut to, u64::from(extent.run_bytes));
            put(&mut to, u64::from(extent.raw_bytes));
            let skipped = extent.base_offset.0.wrapping_sub(end);
            put(&mut to, skipped.cast_unsigned());
            put(&mut to, u64::from(extent.offsets));
            put_signed(&mut to, extent.max_timestamp.wrapping_sub(timestamp));
            timestamp = extent.max_timestamp;
            end = extent.base_offset.plus(extent.offsets).0;
        }
    }
    to
}

fn table_from(table: &[u8], objects: usize) -> Result<Vec<SwappedRange>, Malformed> {
    let mut from = Reader::new(table);
    let count = from.count()?;
    let mut ranges = Vec::with_capacity(count.min(from.left() / RANGE_BYTES_MIN));
    let mut topics: Vec<TopicId> = Vec::new();
    let mut timestamp = 0i64;
    for _ in 0..count {
        ranges.push(range_from(&mut from, objects, &mut topics, &mut timestamp)?);
    }
    from.finish()?;
    Ok(ranges)
}

fn range_from(
    from: &mut Reader<'_>,
    objects: usize,
    topics: &mut Vec<TopicId>,
    timestamp: &mut i64,
) -> Result<SwappedRange, Malformed> {
    let topic = match from.count()?.checked_sub(1) {
        None => {
            let topic = TopicId(Uuid::from_bytes(from.array()?));
            topics.push(topic);
            topic
        }
        Some(place) => *topics.get(place).ok_or("a range's topic was not named")?,
    };
    let partition = PartitionIndex(from.small()?.cast_signed());
    let first = from.signed()?;
    let to = first.wrapping_add(from.number()?.cast_signed());
    let into = first.wrapping_add(from.signed()?);
    let cleaned_through = from.number()?.checked_sub(1);
    let count = from.count()?;
    let mut extents = Vec::with_capacity(count.min(from.left() / EXTENT_BYTES_MIN));
    let mut end = first;
    for _ in 0..count {
        let object = from.small()?;
        if usize::try_from(object).map_or(true, |object| object >= objects) {
            return Err("an extent's object was not named");
        }
        let (run_position, run_bytes, raw_bytes) = (from.number()?, from.small()?, from.small()?);
        let base_offset = Offset(end.wrapping_add(from.number()?.cast_signed()));
        let offsets = from.small()?;
        *timestamp = timestamp.wrapping_add(from.signed()?);
        end = base_offset.plus(offsets).0;
        extents.push(SwappedExtent {
            object,
            run_position,
            run_bytes,
            raw_bytes,
            base_offset,
            offsets,
            max_timestamp: *timestamp,
        });
    }
    Ok(SwappedRange {
        partition: PartitionId::new(topic, partition),
        from: Offset(first),
        to: Offset(to),
        into: Offset(into),
        cleaned_through: cleaned_through.map(|less| Offset(first.wrapping_add(less.cast_signed()))),
        extents,
    })
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
