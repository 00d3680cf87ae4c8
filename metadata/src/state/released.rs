//! Objects without a live extent, whose bytes may go after a grace.

use std::{collections::BTreeMap, ops::Bound};

use aquifer_format::ids::{Incarnation, ObjectId, ObjectLevel, UploadEpoch, WriterSlot};

use super::{
    entity::{Dirty, Position},
    page::PageRef,
};

/// What is left of an object's id within one (incarnation, upload epoch).
pub(super) type ReleasedKey = (WriterSlot, ObjectLevel, u64);

/// Released objects of one (incarnation, upload epoch): one page.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    pub(super) at: Position,
    pub(super) dirty: bool,
    /// Size in bytes, and the upload epoch of the release.
    pub(super) objects: BTreeMap<ReleasedKey, (u64, UploadEpoch)>,
}

/// All released objects, by the upload epoch of the objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Released(pub(super) BTreeMap<(Incarnation, UploadEpoch), Bucket>);

impl Released {
    pub(super) fn add(
        &mut self,
        at: Position,
        id: ObjectId,
        bytes: u64,
        since: UploadEpoch,
        dirty: &mut Dirty,
    ) {
        let bucket = self.0.entry((id.incarnation, id.upload_epoch)).or_default();
        // Equal = this event touched the bucket before, or its page has the event: both are harmless.
        if bucket.at > at {
            return;
        }
        bucket.at = at;
        bucket
            .objects
            .insert((id.writer, id.level, id.unique), (bytes, since));
        let page = PageRef::Released(id.incarnation, id.upload_epoch);
        dirty.mark(&mut bucket.dirty, page);
    }

    /// Forgets an object whose bytes are gone.
    pub(super) fn remove(&mut self, at: Position, id: &ObjectId, dirty: &mut Dirty) {
        let place = (id.incarnation, id.upload_epoch);
        let Some(bucket) = self.0.get_mut(&place) else {
            return;
        };
        // Equal = this event touched the bucket before.
        if bucket.at > at {
            return;
        }
        bucket.at = at;
        bucket.objects.remove(&(id.writer, id.level, id.unique));
        let page = PageRef::Released(id.incarnation, id.upload_epoch);
        if bucket.objects.is_empty() {
            self.0.remove(&place);
            dirty.gone(page);
        } else {
            dirty.mark(&mut bucket.dirty, page);
        }
    }

    pub(super) fn contains(&self, id: &ObjectId) -> bool {
        self.0
            .get(&(id.incarnation, id.upload_epoch))
            .is_some_and(|bucket| {
                bucket
                    .objects
                    .contains_key(&(id.writer, id.level, id.unique))
            })
    }

    /// (object, bytes, released since), in order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ObjectId, u64, UploadEpoch)> + '_ {
        let all = self.0.iter();
        all.flat_map(|(place, bucket)| named(*place, bucket.objects.iter()))
    }

    /// The same from `from` on.
    pub(super) fn iter_from(
        &self,
        from: ObjectId,
    ) -> impl Iterator<Item = (ObjectId, u64, UploadEpoch)> + '_ {
        let first = (from.incarnation, from.upload_epoch);
        let within = (from.writer, from.level, from.unique);
        self.0.range(first..).flat_map(move |(place, bucket)| {
            let begin = if *place == first {
                Bound::Included(within)
            } else {
                Bound::Unbounded
            };
            named(*place, bucket.objects.range((begin, Bound::Unbounded)))
        })
    }
}

/// Objects of one bucket with their whole ids.
fn named<'a>(
    (incarnation, upload_epoch): (Incarnation, UploadEpoch),
    objects: impl Iterator<Item = (&'a ReleasedKey, &'a (u64, UploadEpoch))> + 'a,
) -> impl Iterator<Item = (ObjectId, u64, UploadEpoch)> + 'a {
    objects.map(move |((writer, level, unique), (bytes, since))| {
        let id = ObjectId {
            incarnation,
            upload_epoch,
            writer: *writer,
            level: *level,
            unique: *unique,
        };
        (id, *bytes, *since)
    })
}
