//! Parts of one kind, one after the other.

use aquifer_format::{
    ids::ClusterId,
    key::{BackupId, backup_key},
};
use aquifer_store::{ObjectStore, PutError, PutMode};

use super::{
    PartRef,
    part::{Entry, PartBuilder, PartKind, checksum},
};

/// After so many bytes others get their turn: compressing them takes a millisecond or two.
const YIELD_BYTES: usize = 256 << 10;

/// Puts entries into parts and the full ones into the bucket.
pub(super) struct Parts<'a> {
    store: &'a dyn ObjectStore,
    cluster: ClusterId,
    id: BackupId,
    kind: PartKind,
    part: Option<PartBuilder>,
    written: Vec<PartRef>,
    /// Bytes since others had their turn.
    busy: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        store: &'a dyn ObjectStore,
        cluster: ClusterId,
        id: BackupId,
        kind: PartKind,
    ) -> Self {
        Self {
            store,
            cluster,
            id,
            kind,
            part: None,
            written: Vec::new(),
            busy: 0,
        }
    }

    pub(super) async fn push(&mut self, entry: &Entry) -> Result<(), PutError> {
        let kind = self.kind;
        let part = self.part.get_or_insert_with(|| PartBuilder::new(kind));
        self.busy = self.busy.saturating_add(part.push(entry));
        if part.is_full() {
            self.put().await?;
        }
        if self.busy >= YIELD_BYTES {
            self.busy = 0;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The parts that are in the bucket now; none if nothing was pushed.
    pub(super) async fn finish(mut self) -> Result<Vec<PartRef>, PutError> {
        self.put().await?;
        Ok(self.written)
    }

    async fn put(&mut self) -> Result<(), PutError> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let bytes = part.finish();
        let name = format!("{}-{:05}", self.kind.name(), self.written.len());
        let key = backup_key(self.cluster, &self.id, &name);
        let part = PartRef {
            key: key.clone(),
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            checksum: checksum(&bytes),
        };
        self.store.put(&key, vec![bytes], PutMode::Create).await?;
        self.written.push(part);
        Ok(())
    }
}
