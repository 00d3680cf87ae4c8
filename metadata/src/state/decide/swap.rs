//! Swaps and deletions of objects.
//!
//! A range is swapped if everything that lies in it lies in the objects that the job read: offsets are given once,
//! and an object is written once, so these are the very extents that were read. What the log start has cut off
//! meanwhile does not count; what ends at or below it of the output is left out.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{ObjectId, ObjectLevel, Offset, PartitionId},
    limits::{COMMIT_AGE_EPOCHS_MAX, SWAP_EXTENTS_MAX},
};
use aquifer_metadata_api::{
    MetadataError,
    upkeep::{MergedExtent, RangeOutcome, SwapRange, SwapReply, SwapRequest},
};

use super::{Decided, hold::released_by};
use crate::{
    event::{
        Event, ObjectInfo,
        swapped::{Swapped, SwappedExtent, SwappedRange},
    },
    state::{
        entity::State, extents::Packed, merged::Placing, object::ObjectIndex, partition::Partition,
    },
};

mod check;

/// Decides a swap whose token was admitted.
///
/// # Errors
/// `Refused`: the request breaks a rule of [`aquifer_metadata_api::upkeep`], so nothing of it is done.
pub fn swap(state: &State, request: &SwapRequest) -> Result<Decided<SwapReply>, MetadataError> {
    check::check(state, request).map_err(|reason| MetadataError::Refused {
        reason: format!("the swap is malformed: {reason}"),
    })?;
    let mut swapping = Swapping::new(state, request);
    let ranges = request.ranges.iter();
    let outcomes = ranges.map(|range| swapping.decide(range)).collect();
    Ok(Decided {
        events: swapping.into_events(),
        reply: SwapReply { outcomes },
        holds: Vec::new(),
    })
}

/// Decides that the bytes of these objects are gone. Those that are not released are left out.
#[must_use]
pub fn delete_objects(state: &State, objects: &[ObjectId]) -> Decided<()> {
    let released = objects.iter().filter(|id| state.released.contains(id));
    let mut objects: Vec<ObjectId> = released.copied().collect();
    objects.sort_unstable();
    objects.dedup();
    let mut decided = Decided::only(());
    if !objects.is_empty() {
        decided.events.push(Event::ObjectsDeleted { objects });
    }
    decided
}

/// A request that is being decided.
struct Swapping<'a> {
    state: &'a State,
    request: &'a SwapRequest,
    too_old: bool,
    /// Extents that were looked at.
    looked: usize,
    /// How many extents each input loses.
    lost: BTreeMap<ObjectIndex, u32>,
    /// Objects of the event by their index in the request.
    named: BTreeMap<u32, u32>,
    swapped: Swapped,
    note: Option<Note>,
}

/// What earlier ranges of the request did to the partition that is looked at.
struct Note {
    partition: PartitionId,
    placing: Placing,
    /// Keys were compacted up to here.
    cleaned: i64,
}

impl<'a> Swapping<'a> {
    fn new(state: &'a State, request: &'a SwapRequest) -> Self {
        let now = state.counters.upload_epoch.0;
        // not one epoch later: an output that was released at once may be deleted then
        let too_old = request
            .objects
            .iter()
            .any(|object| now.saturating_sub(object.id.upload_epoch.0) >= COMMIT_AGE_EPOCHS_MAX);
        Self {
            state,
            request,
            too_old,
            looked: 0,
            lost: BTreeMap::new(),
            named: BTreeMap::new(),
            swapped: Swapped::default(),
            note: None,
        }
    }

    fn decide(&mut self, range: &SwapRange) -> RangeOutcome {
        match self.swap(range) {
            Ok(()) => RangeOutcome::Done,
            Err(outcome) => outcome,
        }
    }

    /// An error is an outcome that needs no event.
    fn swap(&mut self, range: &SwapRange) -> Result<(), RangeOutcome> {
        let state = self.state;
        let partition = state
            .any_partition(range.partition)
            .filter(|partition| partition.log_start < range.to.0)
            .ok_or(RangeOutcome::Gone)?;
        let inputs = self.inputs(range, partition)?;
        let outputs: Vec<&MergedExtent> = range
            .extents
            .iter()
            .filter(|extent| extent.end_offset.0 > partition.log_start)
            .collect();
        let released = |extent: &&MergedExtent| {
            let id = self.output(extent.object);
            id.is_none_or(|id| state.released.contains(&id))
        };
        if outputs.is_empty() || outputs.iter().any(released) {
            return Err(RangeOutcome::Gone);
        }
        if !self.shrinks(range, &inputs, outputs.len()) {
            return Err(RangeOutcome::Useless);
        }
        let placing = &mut self.note(range.partition).placing;
        let into = placing
            .place(&partition.extents, range.from.0, range.to.0, outputs.len())
            .ok_or(RangeOutcome::Useless)?;
        let cleaned_through = self.cleaned(range, partition);
        for input in &inputs {
            *self.lost.entry(input.object).or_default() += 1;
        }
        let extents = outputs.iter().filter_map(|extent| self.named(extent));
        let extents = extents.collect();
        self.swapped.ranges.push(SwappedRange {
            partition: range.partition,
            from: range.from,
            to: range.to,
            into: Offset(into),
            cleaned_through,
            extents,
        });
        Ok(())
    }

    fn output(&self, object: u32) -> Option<ObjectId> {
        let at = usize::try_from(object).ok()?;
        self.request.objects.get(at).map(|object| object.id)
    }

    /// What lies in the range, all of it in the job's inputs.
    fn inputs(
        &mut self,
        range: &SwapRange,
        partition: &Partition,
    ) -> Result<Vec<Packed>, RangeOutcome> {
        let begin = range.from.0.max(partition.log_start);
        let within = partition.extents.iter_from(begin);
        let mut inputs = Vec::new();
        let (mut in_place, mut unchanged) = (true, true);
        for extent in within.take_while(|extent| extent.base_offset < range.to.0) {
            self.looked = self.looked.saturating_add(1);
            if self.looked > SWAP_EXTENTS_MAX {
                return Err(RangeOutcome::Changed);
            }
            let object = self.state.objects.id(extent.object);
            let whole = extent.base_offset >= range.from.0 && extent.end() <= range.to.0;
            in_place &= object.is_some_and(|object| self.is_output(range, object, extent));
            unchanged &= whole
                && object.is_some_and(|object| self.request.inputs.binary_search(&object).is_ok());
            if !in_place && !unchanged {
                return Err(RangeOutcome::Changed);
            }
            inputs.push(*extent);
        }
        if inputs.is_empty() {
            Err(RangeOutcome::Gone)
        } else if in_place {
            Err(RangeOutcome::Done)
        } else if self.too_old {
            Err(RangeOutcome::TooOld)
        } else {
            Ok(inputs)
        }
    }

    fn is_output(&self, range: &SwapRange, object: ObjectId, extent: &Packed) -> bool {
        let outputs = &range.extents;
        let found =
            outputs.binary_search_by_key(&extent.base_offset, |output| output.base_offset.0);
        let output = found.ok().and_then(|at| outputs.get(at));
        output.is_some_and(|output| {
            output.run_position == extent.run_position
                && output.end_offset.0 == extent.end()
                && self.output(output.object) == Some(object)
        })
    }

    /// Whether the swap is worth its event: it takes an extent out of a small object, which can go then, or
    /// leaves fewer extents, or compacted the log.
    fn shrinks(&self, range: &SwapRange, inputs: &[Packed], outputs: usize) -> bool {
        let small = inputs.iter().any(|input| {
            let id = self.state.objects.id(input.object);
            id.is_some_and(|id| id.level == ObjectLevel::L0)
        });
        if small || range.cleaned_through.is_some() {
            outputs <= inputs.len()
        } else {
            outputs < inputs.len()
        }
    }

    /// What is noted of the range's partition.
    fn note(&mut self, partition: PartitionId) -> &mut Note {
        let same = self.note.take().filter(|note| note.partition == partition);
        self.note.insert(same.unwrap_or_else(|| Note {
            partition,
            placing: Placing::default(),
            cleaned: 0,
        }))
    }

    /// How far keys are compacted after this range: only if nothing lies before it that is not.
    fn cleaned(&mut self, range: &SwapRange, partition: &Partition) -> Option<Offset> {
        let through = range.cleaned_through?;
        let note = self.note(range.partition);
        let before = partition
            .log_start
            .max(partition.cleaned_through)
            .max(note.cleaned);
        let first = partition.extents.iter_from(before).next();
        if first.is_some_and(|extent| extent.base_offset < range.from.0) {
            return None;
        }
        note.cleaned = note.cleaned.max(through.0);
        Some(through)
    }

    /// The extent as the event has it.
    fn named(&mut self, extent: &MergedExtent) -> Option<SwappedExtent> {
        let object = if let Some(object) = self.named.get(&extent.object) {
            *object
        } else {
            let at = usize::try_from(extent.object).ok()?;
            let object = self.request.objects.get(at)?;
            let place = u32::try_from(self.swapped.objects.len()).ok()?;
            self.swapped.objects.push(ObjectInfo {
                id: object.id,
                bytes: object.bytes,
                locations: object.locations.clone(),
            });
            self.named.insert(extent.object, place);
            place
        };
        let offsets = extent.end_offset.0.checked_sub(extent.base_offset.0)?;
        Some(SwappedExtent {
            object,
            run_position: extent.run_position,
            run_bytes: extent.run_bytes,
            raw_bytes: extent.raw_bytes,
            base_offset: extent.base_offset,
            offsets: u32::try_from(offsets).ok()?,
            max_timestamp: extent.max_timestamp,
        })
    }

    fn into_events(self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.swapped.ranges.is_empty() {
            return events;
        }
        let released = released_by(self.state, &self.lost);
        events.push(Event::Swapped(Box::new(self.swapped)));
        if !released.is_empty() {
            events.push(Event::ObjectsReleased {
                since: self.state.counters.upload_epoch,
                objects: released,
            });
        }
        events
    }
}
