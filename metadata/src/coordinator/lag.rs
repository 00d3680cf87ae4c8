//! What is told of groups: how far they are behind, in records and in time, how many there are, and who
//! waits. Looked at in steps, so that requests have their turn.

use std::collections::BTreeMap;

use aquifer_format::ids::{Offset, PartitionId};

use super::{Coordinator, limits};
use crate::{
    event::group::GroupNumber,
    state::{State, group::Group},
};

#[cfg(test)]
mod tests;

/// Groups that are counted before requests have their turn.
const GROUPS_PER_STEP: usize = 512;

/// What a step found, and where the next one goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LagStep {
    /// By group and partition.
    pub(crate) found: Vec<(GroupNumber, PartitionId, GroupLag)>,
    /// None = all were looked at.
    pub(crate) next: Option<(GroupNumber, PartitionId)>,
}

/// How far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupLag {
    /// Records from the committed offset to the high watermark. Offsets that no record has (those of a gap)
    /// count as records, as they do in Kafka.
    pub(crate) records: u64,
    /// Age of the oldest of them in milliseconds, as far as extents tell (see [`time_of`]); 0 where there is none.
    pub(crate) millis: u64,
}

/// Looks at the next committed offsets: those behind `from`, which need not be there any more.
pub(crate) fn step(
    state: &State,
    unix_millis: i64,
    from: Option<(GroupNumber, PartitionId)>,
) -> LagStep {
    let mut found = Vec::new();
    let mut last = None;
    let mut looked = 0;
    let behind = state.committed_after(from);
    for (group, id, committed) in behind.take(limits::OFFSETS_PER_LAG_STEP) {
        looked += 1;
        last = Some((group, id));
        if let Some(lag) = lag_of(state, unix_millis, id, committed.offset) {
            found.push((group, id, lag));
        }
    }
    LagStep {
        found,
        next: last.filter(|_| looked == limits::OFFSETS_PER_LAG_STEP),
    }
}

/// None = there is no such partition.
fn lag_of(state: &State, unix_millis: i64, id: PartitionId, committed: Offset) -> Option<GroupLag> {
    let watermarks = state.watermarks(id)?;
    // what was deleted can't be read any more
    let from = committed.max(watermarks.log_start);
    let behind = watermarks.high_watermark.0.saturating_sub(from.0);
    let Some(records) = u64::try_from(behind).ok().filter(|behind| *behind > 0) else {
        return Some(GroupLag::default());
    };
    let age = time_of(state, id, from).map(|timestamp| unix_millis.saturating_sub(timestamp));
    let millis = age.and_then(|age| u64::try_from(age).ok()).unwrap_or(0);
    Some(GroupLag { records, millis })
}

/// About the timestamp of the first record at or behind `from`. An extent tells its largest one only, and may hold
/// hours: so times are taken to rise evenly from the largest of the extent before it.
fn time_of(state: &State, id: PartitionId, from: Offset) -> Option<i64> {
    let extent = state.extents(id, from).next()?;
    // a client may have said any time, or none (-1)
    let newest = Some(extent.max_timestamp).filter(|timestamp| *timestamp >= 0)?;
    let before = state.extent_before(id, extent.base_offset);
    let Some(oldest) = before.map(|extent| extent.max_timestamp) else {
        return Some(newest);
    };
    if oldest < 0 || oldest >= newest {
        return Some(newest);
    }
    let offsets = extent.end_offset.0.saturating_sub(extent.base_offset.0);
    let read = from
        .max(extent.base_offset)
        .0
        .saturating_sub(extent.base_offset.0);
    let (offsets, through) = (
        i128::from(offsets.max(1)),
        i128::from(read.saturating_add(1)),
    );
    let rise = i128::from(newest.saturating_sub(oldest)).saturating_mul(through) / offsets;
    let rise = i64::try_from(rise).unwrap_or(i64::MAX);
    Some(oldest.saturating_add(rise).min(newest))
}

/// How many groups there are, and where the next step goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CountStep {
    /// Groups by kind and state.
    pub(crate) groups: BTreeMap<(&'static str, &'static str), u64>,
    /// Members by the kind of their group.
    pub(crate) members: BTreeMap<&'static str, u64>,
    /// None = all were counted.
    pub(crate) next: Option<GroupNumber>,
}

/// Counts the next groups: those behind `from`.
pub(crate) fn count_step(state: &State, from: Option<GroupNumber>) -> CountStep {
    match from {
        None => counted(state.groups()),
        Some(from) => counted(state.groups_after(from)),
    }
}

fn counted<'a>(groups: impl Iterator<Item = (GroupNumber, &'a Group)>) -> CountStep {
    let mut step = CountStep::default();
    let mut last = None;
    let mut looked = 0;
    for (number, group) in groups.take(GROUPS_PER_STEP) {
        looked += 1;
        last = Some(number);
        let (kind, state) = kind_and_state(group);
        *step.groups.entry((kind, state)).or_default() += 1;
        let members = u64::try_from(group.members()).unwrap_or(u64::MAX);
        let of_kind = step.members.entry(kind).or_default();
        *of_kind = of_kind.saturating_add(members);
    }
    step.next = last.filter(|_| looked == GROUPS_PER_STEP);
    step
}

/// As Kafka names them.
fn kind_and_state(group: &Group) -> (&'static str, &'static str) {
    match (group.classic(), group.consumer()) {
        (Some(classic), _) => ("classic", classic.phase.state.name()),
        (None, Some(consumer)) => ("consumer", consumer.state().name()),
        (None, None) => ("unknown", "unknown"),
    }
}

impl<W> Coordinator<W> {
    /// How many calls wait: of JoinGroup, of SyncGroup.
    pub(crate) fn parked_calls(&self) -> (usize, usize) {
        self.parked.counts()
    }

    /// Rebalances by kind of group since this was asked last.
    pub(crate) fn take_rebalances(&mut self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.rebalances)
    }
}
