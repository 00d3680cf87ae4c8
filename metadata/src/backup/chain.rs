//! Reading the newest backup, and which objects of earlier ones are of no use any more.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    ids::ClusterId,
    key::{BACKUP_MANIFEST, BackupId, backup_key, backups_prefix, parse_backup_key},
};
use aquifer_store::{GetError, ListError, ObjectStore};

use super::{
    Manifest, PartRef,
    part::{self, Entry, PartKind},
};
use crate::journal::{Page, PageKey, Row};

/// Objects that one listing call asks for.
const LIST_LIMIT: usize = 1_000;
/// How often an object is read until it is called damaged in the bucket itself, and not on its way.
const READS_MAX: u32 = 10;

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadBackupError {
    /// The bucket did not list the backups.
    #[error(transparent)]
    List(#[from] ListError),
    /// The bucket did not give an object.
    #[error(transparent)]
    Get(GetError),
    /// An object is not what was written, or is gone.
    #[error("{key} is damaged: {reason}")]
    Damaged {
        /// The object.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// Keys of all objects of a cluster's backups, in order; what has another kind of name is not ours.
pub(super) async fn list(
    store: &dyn ObjectStore,
    cluster: ClusterId,
) -> Result<Vec<String>, ListError> {
    let prefix = backups_prefix(cluster);
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&prefix, after.as_deref(), LIST_LIMIT).await?;
        let complete = page.len() < LIST_LIMIT;
        after = page.last().map(|meta| meta.key.clone());
        let ours = page.into_iter().map(|meta| meta.key);
        keys.extend(ours.filter(|key| parse_backup_key(cluster, key).is_some()));
        if complete {
            return Ok(keys);
        }
    }
}

/// The backups that have a manifest, the newest last.
pub(super) fn complete(cluster: ClusterId, keys: &[String]) -> Vec<BackupId> {
    let named = keys.iter().filter_map(|key| parse_backup_key(cluster, key));
    let manifests = named.filter(|(_, name)| *name == BACKUP_MANIFEST);
    manifests.map(|(id, _)| id).collect()
}

/// Of `keys`, those of backups before `newest` that none of `kept` needs: `kept` are manifests with their ids.
pub(super) fn superfluous(
    cluster: ClusterId,
    keys: &[String],
    newest: BackupId,
    kept: &[(BackupId, &Manifest)],
) -> Vec<String> {
    let parts = kept.iter().flat_map(|(_, manifest)| manifest.keys());
    let needed: BTreeSet<&str> = parts.collect();
    let is_kept = |id: BackupId| kept.iter().any(|(other, _)| *other == id);
    let useless = keys.iter().filter(|key| {
        parse_backup_key(cluster, key).is_some_and(|(id, name)| {
            let manifest = name == BACKUP_MANIFEST && is_kept(id);
            id < newest && !manifest && !needed.contains(key.as_str())
        })
    });
    useless.cloned().collect()
}

/// Reads the manifest of a backup.
pub(super) async fn manifest(
    store: &dyn ObjectStore,
    cluster: ClusterId,
    id: &BackupId,
) -> Result<Manifest, ReadBackupError> {
    let key = backup_key(cluster, id, BACKUP_MANIFEST);
    let manifest = read(store, &key, Manifest::decode).await?;
    if manifest.cluster == cluster {
        return Ok(manifest);
    }
    let reason = format!("it is of cluster {}", manifest.cluster);
    Err(ReadBackupError::Damaged { key, reason })
}

/// The newest backup's manifest and its key; None = there is none.
pub(crate) async fn newest(
    store: &dyn ObjectStore,
    cluster: ClusterId,
) -> Result<Option<(String, Manifest)>, ReadBackupError> {
    let keys = list(store, cluster).await?;
    let Some(id) = complete(cluster, &keys).pop() else {
        return Ok(None);
    };
    let key = backup_key(cluster, &id, BACKUP_MANIFEST);
    Ok(Some((key, manifest(store, cluster, &id).await?)))
}

/// The pages of a backup, as they were in the database.
pub(crate) async fn pages(
    store: &dyn ObjectStore,
    manifest: &Manifest,
) -> Result<Vec<Page>, ReadBackupError> {
    let mut pages: BTreeMap<PageKey, Page> = BTreeMap::new();
    for part in &manifest.pages {
        for entry in entries(store, part, |kind| kind != PartKind::Rows).await? {
            match entry {
                Entry::Page(page) => {
                    pages.insert(page.key.clone(), page);
                }
                Entry::Gone(key) => {
                    pages.remove(&key);
                }
                Entry::Row(_) => {}
            }
        }
    }
    Ok(pages.into_values().collect())
}

/// The rows of one of its parts.
pub(crate) async fn rows(
    store: &dyn ObjectStore,
    part: &PartRef,
) -> Result<Vec<Row>, ReadBackupError> {
    let entries = entries(store, part, |kind| kind == PartKind::Rows).await?;
    let rows = entries.into_iter().filter_map(|entry| match entry {
        Entry::Row(row) => Some(row),
        Entry::Page(_) | Entry::Gone(_) => None,
    });
    Ok(rows.collect())
}

async fn entries(
    store: &dyn ObjectStore,
    part: &PartRef,
    expected: impl Fn(PartKind) -> bool,
) -> Result<Vec<Entry>, ReadBackupError> {
    let (kind, entries) = read(store, &part.key, |bytes| {
        if u64::try_from(bytes.len()) != Ok(part.bytes) {
            return Err(format!(
                "it has {} bytes, and its manifest says {}",
                bytes.len(),
                part.bytes
            ));
        }
        if part::checksum(bytes) != part.checksum {
            return Err("its checksum is not that of its manifest".to_owned());
        }
        part::read(bytes)
    })
    .await?;
    if expected(kind) {
        return Ok(entries);
    }
    Err(ReadBackupError::Damaged {
        key: part.key.clone(),
        reason: format!("it holds {}, which its manifest does not say", kind.name()),
    })
}

/// Reads an object; what came damaged is read again.
async fn read<T>(
    store: &dyn ObjectStore,
    key: &str,
    decode: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, ReadBackupError> {
    let damaged = |reason: String| ReadBackupError::Damaged {
        key: key.to_owned(),
        reason,
    };
    let mut tries = 1;
    loop {
        let bytes = match store.get(key).await {
            Ok(bytes) => bytes,
            Err(GetError::NotFound { .. }) => return Err(damaged("it is gone".to_owned())),
            Err(error) => return Err(ReadBackupError::Get(error)),
        };
        match decode(&bytes) {
            Ok(decoded) => return Ok(decoded),
            Err(reason) if tries >= READS_MAX => return Err(damaged(reason)),
            Err(_) => tries += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::{
        ids::{Incarnation, JournalSeq, LeaderTerm, UploadEpoch},
        mark::JournalMark,
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_two_manifests_need_stays_and_what_is_newer_is_not_looked_at() {
        let cluster = ClusterId(Uuid::from_u128(7));
        let id = |term, number| BackupId {
            incarnation: Incarnation(1),
            term: LeaderTerm(term),
            number,
        };
        let key = |term, number, name: &str| backup_key(cluster, &id(term, number), name);
        let manifest = |parts: &[String]| Manifest {
            cluster,
            mark: JournalMark::default(),
            pages_through: JournalSeq(1),
            upload_epoch: UploadEpoch(1),
            unix_millis: 0,
            pages: parts
                .iter()
                .map(|key| PartRef {
                    key: key.clone(),
                    bytes: 1,
                    checksum: 1,
                })
                .collect(),
            rows: Vec::new(),
        };
        let before = manifest(&[key(2, 1, "base-00000"), key(2, 3, "pages-00000")]);
        let newest = manifest(&[key(2, 1, "base-00000"), key(2, 4, "pages-00000")]);
        let useless = [
            key(1, 9, "base-00000"),
            key(1, 9, BACKUP_MANIFEST),
            key(2, 1, BACKUP_MANIFEST),
            key(2, 1, "rows-00000"),
            key(2, 2, "pages-00000"),
            key(2, 3, "rows-00000"),
        ];
        let kept = [
            key(2, 1, "base-00000"),
            key(2, 3, BACKUP_MANIFEST),
            key(2, 3, "pages-00000"),
            key(2, 4, BACKUP_MANIFEST),
            key(2, 4, "pages-00000"),
            key(2, 5, "pages-00000"),
            key(3, 1, "base-00000"),
        ];
        let mut keys = [useless.clone().to_vec(), kept.to_vec()].concat();
        keys.sort();
        let found = superfluous(
            cluster,
            &keys,
            id(2, 4),
            &[(id(2, 3), &before), (id(2, 4), &newest)],
        );
        assert_eq!(found, useless);
        let complete = complete(cluster, &keys);
        assert_eq!(complete, [id(1, 9), id(2, 1), id(2, 3), id(2, 4)]);
    }
}
