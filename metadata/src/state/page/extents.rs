//! The body of a page of extents: the position (u64, little endian), how many extents were dropped before
//! these, how many these are, and then a row for each, all in the numbers of [`crate::varint`].
//!
//! Objects of one *source* (incarnation, writer, level, locations) differ in little but counters, and
//! neighbours in a log come from few sources: so a page describes a source once, and of an object what
//! has changed since the source's last one. An extent takes about 20 bytes. Its row:
//!
//! 1. `place * 2 + 1` if it has an append time, else `place * 2`. Place 0 is the object of the extent
//!    before. Places 1 to n are the sources that the page has described so far, n + 1 is a new one: its
//!    incarnation, writer, level, and how many locations it has and which (bytes) follow.
//! 2. Of an object that is not that of the extent before: upload epoch and unique number, both signed and
//!    less those of the source's last object (0 at first); its size.
//! 3. The position of the run, its stored bytes; where in its expanded bytes the extent begins, and how
//!    many it has; the base offset less the end of the extent before (signed); records; the largest
//!    timestamp less that of the extent before (signed).

use aquifer_format::ids::{Incarnation, ObjectId, UploadEpoch, WriterSlot};

use crate::{
    event::{Malformed, ObjectInfo, level_from, level_to},
    state::{
        entity::Position,
        extents::{Chunk, Packed},
        object::{ObjectIndex, Objects},
    },
    varint::{Reader, put as number, put_signed as signed},
};

#[cfg(test)]
mod tests;

/// About what an extent takes.
const ROW_BYTES: usize = 24;
/// What it takes at least: a byte for each of its eight numbers.
const ROW_BYTES_MIN: usize = 8;
/// Position, counts, a source.
const REST_BYTES: usize = 64;

/// What a page holds.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) at: Position,
    pub(super) dropped: u32,
    pub(super) extents: Vec<Packed>,
}

/// How long the body is going to be, about.
pub(super) fn bytes_about(chunk: &Chunk) -> usize {
    REST_BYTES + chunk.extents.len() * ROW_BYTES
}

/// Appends the body to `to`. None = an object is unknown, which cannot be while extents count for it.
pub(super) fn put(to: &mut Vec<u8>, chunk: &Chunk, objects: &Objects) -> Option<()> {
    to.extend_from_slice(&chunk.at.to_bits().to_le_bytes());
    number(to, u64::from(chunk.dropped));
    number(to, u64::try_from(chunk.extents.len()).unwrap_or(u64::MAX));
    let mut sources: Vec<Described<'_>> = Vec::new();
    let mut object: Option<ObjectIndex> = None;
    let mut end = 0i64;
    let mut timestamp = 0i64;
    for extent in &chunk.extents {
        let time = u64::from(extent.log_append_time);
        if object == Some(extent.object) {
            number(to, time);
        } else {
            object = Some(extent.object);
            put_object(to, time, objects.parts(extent.object)?, &mut sources);
        }
        number(to, extent.run_position);
        number(to, u64::from(extent.run_bytes));
        number(to, u64::from(extent.raw_start));
        number(to, u64::from(extent.raw_bytes));
        signed(to, extent.base_offset.wrapping_sub(end));
        end = extent.end();
        number(to, u64::from(extent.records));
        signed(to, extent.max_timestamp.wrapping_sub(timestamp));
        timestamp = extent.max_timestamp;
    }
    Some(())
}

/// A source that the page has described, and its last object.
struct Described<'a> {
    last: ObjectId,
    locations: &'a [u8],
}

impl Described<'_> {
    fn is_of(&self, id: &ObjectId, locations: &[u8]) -> bool {
        self.last.writer == id.writer
            && self.last.level == id.level
            && self.last.incarnation == id.incarnation
            && self.locations == locations
    }
}

fn put_object<'a>(
    to: &mut Vec<u8>,
    time: u64,
    (id, bytes, locations): (ObjectId, u64, &'a [u8]),
    sources: &mut Vec<Described<'a>>,
) {
    let known = sources
        .iter()
        .position(|source| source.is_of(&id, locations));
    let at = known.unwrap_or(sources.len());
    let place = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
    number(to, (place << 1) | time);
    if known.is_none() {
        number(to, u64::from(id.incarnation.0));
        number(to, u64::from(id.writer.0));
        number(to, u64::from(level_to(id.level)));
        number(to, u64::try_from(locations.len()).unwrap_or(u64::MAX));
        to.extend_from_slice(locations);
        let last = ObjectId {
            upload_epoch: UploadEpoch(0),
            unique: 0,
            ..id
        };
        sources.push(Described { last, locations });
    }
    let last = &mut sources[at].last;
    signed(
        to,
        i64::from(id.upload_epoch.0) - i64::from(last.upload_epoch.0),
    );
    signed(to, id.unique.wrapping_sub(last.unique).cast_signed());
    number(to, bytes);
    *last = id;
}

/// Reads what [`put`] wrote. `intern` enters an object that extents are in; whoever calls this settles it.
pub(super) fn read(
    body: &[u8],
    extents_max: usize,
    mut intern: impl FnMut(&ObjectInfo) -> ObjectIndex,
) -> Result<Table, Malformed> {
    let mut from = Reader::new(body);
    let at = Position::from_bits(u64::from_le_bytes(from.array()?));
    let dropped = from.small()?;
    let count = from.count()?;
    if count > extents_max {
        return Err("it has too many extents");
    }
    let mut extents = Vec::with_capacity(count.min(from.left() / ROW_BYTES_MIN));
    let mut sources: Vec<ObjectInfo> = Vec::new();
    let mut object: Option<ObjectIndex> = None;
    let mut end = 0i64;
    let mut timestamp = 0i64;
    for _ in 0..count {
        let head = from.number()?;
        if let Some(place) = (head >> 1).checked_sub(1) {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            object = Some(intern(next_object(&mut from, place, &mut sources)?));
        }
        let extent = Packed {
            object: object.ok_or("its first extent names no object")?,
            run_position: from.number()?,
            run_bytes: from.small()?,
            raw_start: from.small()?,
            raw_bytes: from.small()?,
            base_offset: end.wrapping_add(from.signed()?),
            records: from.small()?,
            max_timestamp: timestamp.wrapping_add(from.signed()?),
            log_append_time: head & 1 != 0,
        };
        end = extent.end();
        timestamp = extent.max_timestamp;
        extents.push(extent);
    }
    from.finish()?;
    Ok(Table {
        at,
        dropped,
        extents,
    })
}

/// The next object of a source that was described, or of one that is.
fn next_object<'a>(
    from: &mut Reader<'_>,
    place: usize,
    sources: &'a mut Vec<ObjectInfo>,
) -> Result<&'a ObjectInfo, Malformed> {
    if place == sources.len() {
        sources.push(source(from)?);
    }
    let object = sources
        .get_mut(place)
        .ok_or("an extent is of a source that the page does not describe")?;
    let id = &mut object.id;
    id.upload_epoch = UploadEpoch(from.small_after(id.upload_epoch.0)?);
    id.unique = id.unique.wrapping_add(from.signed()?.cast_unsigned());
    object.bytes = from.number()?;
    Ok(object)
}

fn source(from: &mut Reader<'_>) -> Result<ObjectInfo, Malformed> {
    let id = ObjectId {
        incarnation: Incarnation(from.small()?),
        upload_epoch: UploadEpoch(0),
        writer: WriterSlot(from.small()?),
        level: level_from(from.small()?)?,
        unique: 0,
    };
    let locations = from.count()?;
    Ok(ObjectInfo {
        id,
        bytes: 0,
        locations: from.bytes(locations)?.to_vec(),
    })
}
