//! What a swap has to be, whatever lies in its ranges.

use std::collections::BTreeSet;

use aquifer_format::{
    ids::{ObjectLevel, WriterSlot},
    limits::{JOB_OBJECTS_MAX, SWAP_EXTENTS_MAX, SWAP_OBJECTS_MAX, SWAP_RANGES_MAX},
};
use aquifer_metadata_api::upkeep::{SwapObject, SwapRange, SwapRequest};

use crate::state::entity::State;

/// Most locations of an object.
const LOCATIONS_MAX: usize = 16;

/// Says which rule the request breaks.
pub(super) fn check(state: &State, request: &SwapRequest) -> Result<(), &'static str> {
    let extents = request.ranges.iter().map(|range| range.extents.len());
    let extents = extents.fold(0, usize::saturating_add);
    let ids: BTreeSet<_> = request.objects.iter().map(|object| object.id).collect();
    let overlaps = |a: &SwapRange, b: &SwapRange| {
        a.partition > b.partition || (a.partition == b.partition && a.to > b.from)
    };
    let mut pairs = request.ranges.iter().zip(request.ranges.iter().skip(1));
    if request.objects.len() > SWAP_OBJECTS_MAX {
        return Err("it has too many objects");
    } else if request.inputs.len() > JOB_OBJECTS_MAX {
        return Err("it has too many inputs");
    } else if request.ranges.len() > SWAP_RANGES_MAX {
        return Err("it has too many ranges");
    } else if extents > SWAP_EXTENTS_MAX {
        return Err("it has too many extents");
    } else if !request.inputs.is_sorted_by(|a, b| a < b) {
        return Err("its inputs are not sorted");
    } else if ids.len() != request.objects.len() {
        return Err("it names an object twice");
    } else if request.inputs.iter().any(|input| ids.contains(input)) {
        return Err("an input is an output");
    } else if pairs.any(|(a, b)| overlaps(a, b)) {
        return Err("its ranges are not sorted, or overlap");
    }
    for object in &request.objects {
        check_object(state, object)?;
    }
    for range in &request.ranges {
        check_range(range, request.objects.len())?;
    }
    Ok(())
}

fn check_object(state: &State, object: &SwapObject) -> Result<(), &'static str> {
    let id = &object.id;
    let known = state
        .objects
        .find(id)
        .and_then(|at| state.objects.parts(at));
    if id.writer != WriterSlot::COMPACTOR {
        Err("an object is not a compactor's")
    } else if id.level == ObjectLevel::L0 {
        Err("an object is of level 0")
    } else if id.incarnation != state.counters.incarnation {
        Err("an object is of another incarnation")
    } else if id.upload_epoch > state.counters.upload_epoch {
        Err("an object is of an upload epoch that has not begun")
    } else if object.locations.len() > LOCATIONS_MAX {
        Err("an object has too many locations")
    } else if known.is_some_and(|(_, bytes, _)| bytes != object.bytes) {
        Err("an object is known with another size")
    } else {
        Ok(())
    }
}

fn check_range(range: &SwapRange, objects: usize) -> Result<(), &'static str> {
    let partition = range.partition.partition.0;
    if range.from.0 < 0 || range.from >= range.to || partition < 0 {
        return Err("a range is none");
    }
    if range.extents.is_empty() {
        return Err("a range has no extent");
    }
    let cleaned = range.cleaned_through;
    if cleaned.is_some_and(|through| through <= range.from || through > range.to) {
        return Err("a range was compacted up to an offset that is not in it");
    }
    let mut end = range.from;
    for extent in &range.extents {
        let offsets = extent.end_offset.0.checked_sub(extent.base_offset.0);
        let run_end = extent.run_position.checked_add(u64::from(extent.run_bytes));
        if usize::try_from(extent.object).map_or(true, |object| object >= objects) {
            return Err("an extent's object is not among those of the request");
        } else if extent.base_offset < end || extent.end_offset > range.to {
            return Err("extents are not in order, or not in their range");
        } else if offsets.is_none_or(|offsets| offsets < 1 || u32::try_from(offsets).is_err()) {
            return Err("an extent takes no offset, or 2^32");
        } else if run_end.is_none() {
            return Err("a run ends beyond 2^64 bytes");
        }
        end = extent.end_offset;
    }
    Ok(())
}
