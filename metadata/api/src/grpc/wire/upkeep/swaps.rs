//! Swaps.

use aquifer_format::ids::Offset;
use bytes::Bytes;

use super::{
    super::{
        super::proto,
        Malformed, UNEVEN,
        columns::{deal, length, partitions_from, partitions_to},
    },
    jobs::{token_from, token_to},
    objects::{ids_from, ids_to},
};
use crate::upkeep::{
    MergedExtent, RangeOutcome, SwapObject, SwapRange, SwapReply, SwapRequest, WorkerId,
};

/// What ranges of a merge say instead of an offset.
const MERGE: i64 = -1;

/// A swap.
#[must_use]
pub fn swap_to(request: &SwapRequest) -> proto::SwapRequest {
    let (objects, ranges) = (&request.objects, &request.ranges);
    let cleans = ranges.iter().any(|range| range.cleaned_through.is_some());
    let cleaned = ranges
        .iter()
        .map(|range| range.cleaned_through.map_or(MERGE, |offset| offset.0));
    let mut to = proto::SwapRequest {
        worker: request.worker.0,
        token: Some(token_to(request.token)),
        objects: Some(ids_to(objects.iter().map(|object| object.id))),
        bytes: objects.iter().map(|object| object.bytes).collect(),
        locations: objects
            .iter()
            .map(|object| Bytes::copy_from_slice(&object.locations))
            .collect(),
        inputs: Some(ids_to(request.inputs.iter().copied())),
        partitions: Some(partitions_to(ranges.iter().map(|range| range.partition))),
        from: ranges.iter().map(|range| range.from.0).collect(),
        offsets: ranges
            .iter()
            .map(|range| range.to.0.wrapping_sub(range.from.0))
            .collect(),
        rows: ranges
            .iter()
            .map(|range| length(range.extents.len()))
            .collect(),
        cleaned_through: cleaned.filter(|_| cleans).collect(),
        ..proto::SwapRequest::default()
    };
    let mut timestamp = 0i64;
    for range in ranges {
        let mut end = range.from.0;
        for extent in &range.extents {
            to.object.push(extent.object);
            to.run_position.push(extent.run_position);
            to.run_bytes.push(extent.run_bytes);
            to.raw_bytes.push(extent.raw_bytes);
            to.base_offset.push(extent.base_offset.0.wrapping_sub(end));
            end = extent.end_offset.0;
            let span = end.wrapping_sub(extent.base_offset.0);
            to.span.push(u32::try_from(span).unwrap_or(0));
            let later = extent.max_timestamp.wrapping_sub(timestamp);
            to.max_timestamp.push(later);
            timestamp = extent.max_timestamp;
        }
    }
    to
}

/// Reads what [`swap_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn swap_from(request: proto::SwapRequest) -> Result<SwapRequest, Malformed> {
    let partitions = partitions_from(request.partitions.clone())?;
    let columns = [
        request.from.len(),
        request.offsets.len(),
        request.rows.len(),
    ];
    let cleaned = request.cleaned_through.len();
    if columns != [partitions.len(); 3] || (cleaned > 0 && cleaned != partitions.len()) {
        return Err(UNEVEN);
    }
    let mut ranges: Vec<SwapRange> = Vec::with_capacity(partitions.len());
    for (at, (partition, extents)) in partitions
        .into_iter()
        .zip(extents_from(&request)?)
        .enumerate()
    {
        let from = request.from[at];
        let through = request.cleaned_through.get(at).copied();
        ranges.push(SwapRange {
            partition,
            from: Offset(from),
            to: Offset(from.wrapping_add(request.offsets[at])),
            extents,
            cleaned_through: through.filter(|offset| *offset != MERGE).map(Offset),
        });
    }
    Ok(SwapRequest {
        worker: WorkerId(request.worker),
        token: token_from(request.token)?,
        objects: swapped_objects(request.objects, request.bytes, request.locations)?,
        inputs: ids_from(request.inputs)?,
        ranges,
    })
}

fn swapped_objects(
    ids: Option<proto::Objects>,
    bytes: Vec<u64>,
    locations: Vec<Bytes>,
) -> Result<Vec<SwapObject>, Malformed> {
    let ids = ids_from(ids)?;
    if [bytes.len(), locations.len()] != [ids.len(); 2] {
        return Err(UNEVEN);
    }
    let rows = ids.into_iter().zip(bytes).zip(locations);
    let objects = rows.map(|((id, bytes), locations)| SwapObject {
        id,
        bytes,
        locations: locations.to_vec(),
    });
    Ok(objects.collect())
}

/// The extents of each range.
fn extents_from(request: &proto::SwapRequest) -> Result<Vec<Vec<MergedExtent>>, Malformed> {
    let count = request.object.len();
    let columns = [
        request.run_position.len(),
        request.run_bytes.len(),
        request.raw_bytes.len(),
        request.base_offset.len(),
        request.span.len(),
        request.max_timestamp.len(),
    ];
    if columns != [count; 6] {
        return Err(UNEVEN);
    }
    let ranges = deal((0..count).collect(), &request.rows)?;
    let mut timestamp = 0i64;
    let mut extents = Vec::with_capacity(ranges.len());
    for (rows, from) in ranges.into_iter().zip(&request.from) {
        let mut end = *from;
        let mut of_range = Vec::with_capacity(rows.len());
        for at in rows {
            let base = end.wrapping_add(request.base_offset[at]);
            end = base.wrapping_add(i64::from(request.span[at]));
            timestamp = timestamp.wrapping_add(request.max_timestamp[at]);
            of_range.push(MergedExtent {
                object: request.object[at],
                run_position: request.run_position[at],
                run_bytes: request.run_bytes[at],
                raw_bytes: request.raw_bytes[at],
                base_offset: Offset(base),
                end_offset: Offset(end),
                max_timestamp: timestamp,
            });
        }
        extents.push(of_range);
    }
    Ok(extents)
}

/// What became of a swap's ranges.
#[must_use]
pub fn swap_reply_to(reply: &SwapReply) -> proto::SwapReply {
    let code = |outcome: &RangeOutcome| match outcome {
        RangeOutcome::Done => 0,
        RangeOutcome::Gone => 1,
        RangeOutcome::Changed => 2,
        RangeOutcome::Fenced => 3,
        RangeOutcome::TooOld => 4,
        RangeOutcome::Useless => 5,
    };
    proto::SwapReply {
        outcome: reply.outcomes.iter().map(code).collect(),
    }
}

/// Reads what [`swap_reply_to`] wrote, of a swap of `asked` ranges.
///
/// # Errors
/// Messages that it does not write.
pub fn swap_reply_from(reply: &proto::SwapReply, asked: usize) -> Result<SwapReply, Malformed> {
    if reply.outcome.len() != asked {
        return Err(UNEVEN);
    }
    let outcome = |code: &u32| {
        Ok(match code {
            0 => RangeOutcome::Done,
            1 => RangeOutcome::Gone,
            2 => RangeOutcome::Changed,
            3 => RangeOutcome::Fenced,
            4 => RangeOutcome::TooOld,
            5 => RangeOutcome::Useless,
            _ => return Err(Malformed("a range of a swap has an unknown outcome")),
        })
    };
    let outcomes = reply.outcome.iter().map(outcome);
    Ok(SwapReply {
        outcomes: outcomes.collect::<Result<_, Malformed>>()?,
    })
}
