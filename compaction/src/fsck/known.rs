//! What the metadata knows of a part of the keys.

use std::sync::Arc;

use aquifer_format::{
    ids::{ObjectId, UploadEpoch},
    key::object_key,
    limits::LIVE_OBJECTS_MAX,
};
use aquifer_metadata_api::{
    Metadata, MetadataError, Upkeep,
    live::LiveObjects,
    upkeep::{ListedObject, ObjectsReply, ObjectsRequest},
};
use async_trait::async_trait;

use super::{Comparison, DAMAGE_NAMED, Found, FsckError, Identity, add};

/// What is asked of the metadata.
#[async_trait]
pub(super) trait Knows: Send + Sync {
    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError>;

    async fn live(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError>;
}

#[async_trait]
impl Knows for Arc<dyn Upkeep> {
    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        Upkeep::objects(&**self, request).await
    }

    async fn live(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        Metadata::live_objects(&**self, objects).await
    }
}

/// The keys behind `from`, up to `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// None = from the first one.
    pub(super) from: Option<String>,
    /// None = to the last one.
    to: Option<String>,
}

impl Part {
    /// All keys.
    pub(super) const ALL: Self = Self {
        from: None,
        to: None,
    };

    /// One of `of` parts that are alike, by the hash that objects' keys begin with; all other keys are in some part,
    /// too.
    pub(super) fn of(number: u8, of: u8) -> Self {
        let bound = |number: u8| {
            let hash = u32::from(number) * 0x1_0000 / u32::from(of.max(1));
            (number > 0 && number < of).then(|| format!("{hash:04x}"))
        };
        Self {
            from: bound(number),
            to: bound(number + 1),
        }
    }

    pub(super) fn is_behind(&self, key: &str) -> bool {
        self.to.as_deref().is_some_and(|to| key > to)
    }

    pub(super) fn holds(&self, key: &str) -> bool {
        self.from.as_deref().is_none_or(|from| key > from) && !self.is_behind(key)
    }
}

/// An object that the metadata knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownObject {
    id: ObjectId,
    bytes: u64,
    released: bool,
    seen: bool,
}

/// Objects that the metadata knows, in order of their ids.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<KnownObject>);

impl KnownObject {
    /// It was listed.
    pub(super) fn is_there(&mut self, bytes: u64, found: &mut Found) {
        let report = &mut found.report;
        self.seen = true;
        if self.released {
            add(&mut report.released, bytes);
            return;
        }
        add(&mut report.live, bytes);
        if bytes != self.bytes && report.resized.len() < DAMAGE_NAMED {
            report.resized.push((self.id, self.bytes, bytes));
        }
    }
}

impl Known {
    pub(super) fn find(&mut self, id: &ObjectId) -> Option<&mut KnownObject> {
        let at = self.0.binary_search_by_key(id, |known| known.id).ok()?;
        self.0.get_mut(at)
    }

    /// Live ones that were not listed.
    pub(super) fn unseen(&self) -> Vec<ObjectId> {
        let unseen = self.0.iter().filter(|known| !known.seen && !known.released);
        unseen.map(|known| known.id).collect()
    }
}

impl Comparison {
    /// What the metadata knows of the keys; None = more than `known_max`.
    pub(super) async fn known(
        &mut self,
        part: &Part,
        known_max: Option<usize>,
    ) -> Result<Option<Known>, FsckError> {
        let mut known = Known::default();
        let mut after = None;
        loop {
            let page = self.objects(after, LIVE_OBJECTS_MAX).await?;
            let full = page.len() >= LIVE_OBJECTS_MAX;
            let last = page.last().map(|object| object.id);
            known.0.extend(
                page.iter()
                    .filter(|object| {
                        *part == Part::ALL
                            || part.holds(&object_key(self.identity.cluster, &object.id))
                    })
                    .map(|object| KnownObject {
                        id: object.id,
                        bytes: object.bytes,
                        released: object.released_in.is_some(),
                        seen: false,
                    }),
            );
            if known_max.is_some_and(|most| known.0.len() > most) {
                return Ok(None);
            }
            if !full || last.is_none() {
                return Ok(Some(known));
            }
            after = last;
        }
    }

    /// Whether an object is known and not released, now.
    pub(super) async fn is_live(&mut self, id: &ObjectId) -> Result<bool, FsckError> {
        let Some(unique) = id.unique.checked_sub(1) else {
            // There is no simple place before it; what is known of it was asked before.
            return Ok(true);
        };
        let before = ObjectId { unique, ..*id };
        let page = self.objects(Some(before), 1).await?;
        let object = page.first().filter(|object| object.id == *id);
        Ok(object.is_some_and(|object| object.released_in.is_none()))
    }

    async fn objects(
        &mut self,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, FsckError> {
        let reply = self.knows.objects(ObjectsRequest { after, limit }).await?;
        let identity = Identity {
            cluster: reply.cluster,
            incarnation: reply.incarnation,
        };
        let ordered = reply.objects.is_sorted_by(|a, b| a.id < b.id)
            && reply.objects.first().map(|object| object.id) > after
            || reply.objects.is_empty();
        if identity != self.identity || !ordered {
            return Err(FsckError::Identity {
                reason:
                    "the leader became one of another cluster or incarnation meanwhile; begin again"
                        .to_owned(),
            });
        }
        self.epoch = UploadEpoch(reply.upload_epoch.0.max(self.epoch.0));
        Ok(reply.objects)
    }
}
