//! Finds records by timestamp: opens the batches of the extent that the leader named.

use std::sync::Arc;

use aquifer_format::{
    batch::{RecordBatch, TimestampType},
    ids::{Offset, PartitionId},
    limits::BATCH_EXPANDED_BYTES_MAX,
    record,
};
use aquifer_metadata_api::{
    MetadataError,
    extent::{Extent, Watermarks},
    locate::{LocatePartition, LocateRequest, OffsetSpec, OffsetsRequest},
};

use super::{
    FetchPath,
    cache::{ReadError, Reading},
    index::{has_pieces, pieces},
    run::{RunError, Selected, Take},
};

/// Times that the leader is asked again because an object was gone.
const TRIES_MAX: usize = 4;
/// Extents, or pieces of large ones, looked through where headers promise a timestamp that no record has (a producer may write
/// such headers).
const EXTENTS_MAX: usize = 64;

/// Which record is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The first one at or after this time.
    AtOrAfter(i64),
    /// The first one that has the largest timestamp.
    Max,
}

/// A record that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundRecord {
    pub(crate) offset: Offset,
    pub(crate) timestamp: i64,
}

/// Why a search has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    /// The leader did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The records cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl FetchPath {
    /// Finds a record among those that a reader may see, `start` the extent that the leader named for
    /// it. None = there is none.
    pub(crate) async fn search(
        &self,
        partition: PartitionId,
        target: Target,
        marks: &Watermarks,
        end: Offset,
        start: Extent,
    ) -> Result<Option<FoundRecord>, SearchError> {
        let mut extent = start;
        let mut last_error = ReadError::Gone;
        for _ in 0..TRIES_MAX {
            let bounds = (marks.log_start, end);
            match self.search_from(partition, target, bounds, extent).await {
                Err(SearchError::Read(ReadError::Gone)) => {
                    self.view.forget_object(partition, &extent.object);
                    last_error = ReadError::Gone;
                }
                result => return result,
            }
            match self.name_again(partition, target).await? {
                Some(named) => extent = named,
                None => return Ok(None),
            }
        }
        Err(last_error.into())
    }

    async fn name_again(
        &self,
        partition: PartitionId,
        target: Target,
    ) -> Result<Option<Extent>, MetadataError> {
        let spec = match target {
            Target::AtOrAfter(time) => OffsetSpec::Timestamp(time),
            Target::Max => OffsetSpec::MaxTimestamp,
        };
        let request = OffsetsRequest {
            partitions: vec![(partition, spec)],
        };
        let reply = self.metadata.offsets(request).await?;
        let found = reply.partitions.into_iter().next().flatten();
        Ok(found.and_then(|found| found.extent))
    }

    async fn search_from(
        &self,
        partition: PartitionId,
        target: Target,
        bounds: (Offset, Offset),
        start: Extent,
    ) -> Result<Option<FoundRecord>, SearchError> {
        let mut extents = vec![start];
        let mut looked_through = 0;
        while let Some(last) = extents.last().copied() {
            for extent in extents {
                let parts = self.parts(target, bounds, &extent).await?;
                if target == Target::Max {
                    return self.search_largest(bounds, &parts).await;
                }
                looked_through += usize::from(parts.is_empty());
                for part in parts {
                    looked_through += 1;
                    if let Some(found) = self.search_extent(target, bounds, &part).await? {
                        return Ok(Some(found));
                    }
                    if looked_through >= EXTENTS_MAX {
                        return Ok(None);
                    }
                }
            }
            let Target::AtOrAfter(time) = target else {
                return Ok(None);
            };
            if looked_through >= EXTENTS_MAX || last.end_offset >= bounds.1 {
                return Ok(None);
            }
            let request = LocateRequest {
                partitions: vec![LocatePartition {
                    partition,
                    from: last.end_offset,
                    max_bytes: u64::MAX,
                }],
            };
            let reply = self.metadata.locate(request).await?;
            let located = reply.partitions.into_iter().next().flatten();
            extents = located.map_or_else(Vec::new, |located| located.extents);
            // The last one stays, as the place to go on from; to look into it costs little.
            let end = extents.len().saturating_sub(1);
            let mut i = 0;
            extents.retain(|extent| {
                i += 1;
                extent.max_timestamp >= time || i > end
            });
            extents.truncate(EXTENTS_MAX);
        }
        Ok(None)
    }

    /// What of an extent may have the record: pieces, where it is a large one.
    async fn parts(
        &self,
        target: Target,
        bounds: (Offset, Offset),
        extent: &Extent,
    ) -> Result<Vec<Extent>, ReadError> {
        if !has_pieces(extent) {
            return Ok(vec![*extent]);
        }
        let index = self.cache.index(extent, Reading::Usual).await?;
        let mut parts = pieces(extent, &index, bounds.0, u64::MAX);
        parts.retain(|part| {
            let late_enough = match target {
                Target::AtOrAfter(time) => part.max_timestamp >= time,
                Target::Max => true,
            };
            late_enough && part.base_offset < bounds.1
        });
        Ok(parts)
    }

    /// The first of the records with the largest timestamp, looked for where headers promise the largest first.
    async fn search_largest(
        &self,
        bounds: (Offset, Offset),
        parts: &[Extent],
    ) -> Result<Option<FoundRecord>, SearchError> {
        let mut parts = parts.to_vec();
        parts.sort_by_key(|part| (std::cmp::Reverse(part.max_timestamp), part.base_offset));
        let order = |found: &FoundRecord| (found.timestamp, std::cmp::Reverse(found.offset));
        let mut best: Option<FoundRecord> = None;
        for part in parts.iter().take(EXTENTS_MAX) {
            let beaten = |best: &FoundRecord| {
                best.timestamp > part.max_timestamp
                    || (best.timestamp == part.max_timestamp && best.offset < part.base_offset)
            };
            if best.as_ref().is_some_and(beaten) {
                break;
            }
            let found = self.search_extent(Target::Max, bounds, part).await?;
            best = best.into_iter().chain(found).max_by_key(order);
        }
        Ok(best)
    }

    async fn search_extent(
        &self,
        target: Target,
        bounds: (Offset, Offset),
        extent: &Extent,
    ) -> Result<Option<FoundRecord>, SearchError> {
        let (run, _) = self.cache.run(extent, Reading::Usual).await?;
        let take = Take {
            from: bounds.0,
            before: bounds.1,
            bytes_max: u64::MAX,
            at_least_one: true,
            leader_epoch: aquifer_format::ids::LeaderEpoch(0),
        };
        let mut batches = Vec::new();
        run.select(extent, &take, &mut batches)
            .map_err(ReadError::from)?;
        // Opening batches takes memory and time: only so many at once.
        let permit = Arc::clone(&self.searches).acquire_owned().await;
        let mut best: Option<FoundRecord> = None;
        for batch in &batches {
            let found = search_batch(target, bounds, extent, batch)?;
            match (target, found, best) {
                (Target::AtOrAfter(_), Some(found), _) => return Ok(Some(found)),
                (Target::Max, Some(found), Some(so_far)) if found.timestamp <= so_far.timestamp => {
                }
                (Target::Max, Some(found), _) => best = Some(found),
                (_, None, _) => {}
            }
        }
        drop(permit);
        Ok(best)
    }
}

/// The first record of a batch that the target asks for; for `Max`, the first of its largest.
fn search_batch(
    target: Target,
    (from, before): (Offset, Offset),
    extent: &Extent,
    batch: &Selected,
) -> Result<Option<FoundRecord>, ReadError> {
    let damaged = |error| ReadError::Damaged(RunError::Batch(error));
    let parsed = RecordBatch::parse(batch.bytes.clone()).map_err(damaged)?;
    let append_time = extent.log_append_time.or_else(|| {
        let by_broker = parsed.header.timestamp_type() == TimestampType::LogAppendTime;
        by_broker.then_some(parsed.header.max_timestamp)
    });
    let largest = append_time.unwrap_or(parsed.header.max_timestamp);
    if let Target::AtOrAfter(time) = target
        && largest < time
    {
        return Ok(None);
    }
    let mut best: Option<FoundRecord> = None;
    let records =
        record::records(&parsed, BATCH_EXPANDED_BYTES_MAX).map_err(|error| ReadError::Failed {
            reason: format!("a batch cannot be opened: {error}"),
        })?;
    for record in records {
        let record = record.map_err(|error| ReadError::Failed {
            reason: format!("a record cannot be read: {error}"),
        })?;
        let offset = Offset(
            batch
                .base_offset
                .0
                .saturating_add(i64::from(record.offset_delta)),
        );
        if offset < from || offset >= before {
            continue;
        }
        let timestamp = append_time.unwrap_or(record.timestamp);
        let found = FoundRecord { offset, timestamp };
        match target {
            Target::AtOrAfter(time) if timestamp >= time => return Ok(Some(found)),
            Target::Max if best.is_none_or(|so_far| timestamp > so_far.timestamp) => {
                best = Some(found);
            }
            Target::AtOrAfter(_) | Target::Max => {}
        }
    }
    Ok(best)
}
