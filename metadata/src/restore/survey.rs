//! What the bucket has of a cluster, compared with what the backup knows.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{ClusterId, ObjectId, ObjectLevel, PartitionId, UploadEpoch},
    key::{object_key, parse_object_key},
    object::{Footer, FooterRead, read_footer},
};
use aquifer_store::{GetError, ObjectStore};
use futures::stream::{self, StreamExt};

use super::{Manifest, RestoreError};
use crate::{
    bucket::BucketError,
    state::{State, decide::FoundRun},
};

/// Objects that one listing call asks for.
const LIST_LIMIT: usize = 1_000;
/// Bytes of an object's end that are read for its footer.
const TAIL_BYTES: u64 = 64 << 10;
/// Footers that are read at a time.
const READS_AT_ONCE: usize = 16;
/// How often a footer is read until it is called damaged in the bucket itself, and not on its way.
const READS_MAX: u32 = 10;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Objects that the state refers to and the bucket does not have, sorted.
    pub(super) missing: Vec<ObjectId>,
    /// Objects of level 0 that the state does not know and that are as young as the backup, and their bytes.
    pub(super) unvouched: (u64, u64),
    /// The highest upload epoch of any object.
    pub(super) upload_epoch: UploadEpoch,
    /// Runs of compactors in objects that the state does not know, sorted.
    pub(super) runs: BTreeMap<PartitionId, Vec<FoundRun>>,
}

/// Lists the bucket, and reads the footers of what compactors wrote since the backup.
pub(super) async fn survey(
    store: &dyn ObjectStore,
    cluster: ClusterId,
    state: &State,
    manifest: &Manifest,
) -> Result<Survey, RestoreError> {
    let (mut survey, merged) = list(store, cluster, state, manifest).await?;
    let reads = merged.into_iter().map(|(id, bytes)| async move {
        let footer = footer(store, cluster, id, bytes).await;
        footer.map(|footer| footer.map(|footer| (footer, bytes)))
    });
    let mut reads = stream::iter(reads).buffered(READS_AT_ONCE);
    while let Some(read) = reads.next().await {
        if let Some((footer, bytes)) = read.map_err(BucketError::from)? {
            note(&mut survey, &footer, bytes);
        }
    }
    for runs in survey.runs.values_mut() {
        runs.sort_unstable();
    }
    Ok(survey)
}

/// What the listing alone tells, and the objects of compactors that the state does not know, with their sizes.
async fn list(
    store: &dyn ObjectStore,
    cluster: ClusterId,
    state: &State,
    manifest: &Manifest,
) -> Result<(Survey, Vec<(ObjectId, u64)>), RestoreError> {
    let mut referred: Vec<(ObjectId, bool)> = state.objects().map(|(id, _)| (id, false)).collect();
    referred.sort_unstable();
    let mut released: Vec<ObjectId> = state.released().map(|(id, ..)| id).collect();
    released.sort_unstable();
    let mut survey = Survey::default();
    let mut merged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list("", after.as_deref(), LIST_LIMIT).await?;
        let complete = page.len() < LIST_LIMIT;
        after = page.last().map(|meta| meta.key.clone());
        for meta in page {
            // the bucket may be shared
            let Some(id) = own(cluster, &meta.key) else {
                continue;
            };
            survey.upload_epoch = survey.upload_epoch.max(id.upload_epoch);
            let found = referred.binary_search_by_key(&id, |(id, _)| *id);
            if let Some((_, there)) = found.ok().and_then(|at| referred.get_mut(at)) {
                *there = true;
                continue;
            }
            let is_released = released.binary_search(&id).is_ok();
            if id.incarnation != manifest.mark.incarnation || is_released {
                continue;
            }
            if id.level != ObjectLevel::L0 {
                merged.push((id, meta.bytes));
            } else if id.upload_epoch >= manifest.upload_epoch {
                let (objects, bytes) = survey.unvouched;
                survey.unvouched = (objects + 1, bytes.saturating_add(meta.bytes));
            }
        }
        if complete {
            break;
        }
    }
    let missing = referred.into_iter().filter(|(_, there)| !there);
    survey.missing = missing.map(|(id, _)| id).collect();
    Ok((survey, merged))
}

fn own(cluster: ClusterId, key: &str) -> Option<ObjectId> {
    let (of, id) = parse_object_key(key).ok()?;
    (of == cluster).then_some(id)
}

/// The footer of an object; None = it is gone, or nothing that can be used.
async fn footer(
    store: &dyn ObjectStore,
    cluster: ClusterId,
    id: ObjectId,
    bytes: u64,
) -> Result<Option<Footer>, GetError> {
    let key = object_key(cluster, &id);
    let mut tail_bytes = TAIL_BYTES;
    let mut reads = 0;
    loop {
        let from = bytes.saturating_sub(tail_bytes);
        let tail = match store.get_range(&key, from..bytes).await {
            Ok(tail) => tail,
            Err(GetError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        reads += 1;
        match read_footer(&tail, bytes) {
            Ok(FooterRead::Footer(footer)) if footer.cluster == cluster && footer.id == id => {
                return Ok(Some(footer));
            }
            Ok(FooterRead::Footer(_)) => {
                tracing::warn!(
                    key,
                    "the footer names another object; what is in it is left out"
                );
                return Ok(None);
            }
            Ok(FooterRead::NeedMore { tail_bytes: needed }) if reads < READS_MAX => {
                tail_bytes = needed;
            }
            Err(_) if reads < READS_MAX => {}
            Ok(FooterRead::NeedMore { .. }) | Err(_) => {
                tracing::warn!(key, "the footer cannot be read; what is in it is left out");
                return Ok(None);
            }
        }
    }
}

fn note(survey: &mut Survey, footer: &Footer, object_bytes: u64) {
    for run in &footer.runs {
        let (Some(first), Some(last)) = (run.blocks.first(), run.blocks.last()) else {
            continue;
        };
        let raw = run.blocks.iter().map(|block| block.header.expanded_bytes);
        let timestamps = run.blocks.iter().map(|block| block.max_timestamp);
        let found = FoundRun {
            base_offset: first.base_offset,
            end_offset: last.end_offset,
            object: footer.id,
            object_bytes,
            run_position: run.position,
            run_bytes: run.stored_bytes,
            raw_bytes: raw.fold(0, u32::saturating_add),
            max_timestamp: timestamps.max().unwrap_or(i64::MIN),
        };
        survey.runs.entry(run.partition).or_default().push(found);
    }
}
