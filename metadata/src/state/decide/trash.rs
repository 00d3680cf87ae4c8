//! Topics that were deleted go for good.

use std::collections::BTreeMap;

use aquifer_format::ids::TopicId;

use super::{Decided, Now, hold::released_by};
use crate::{
    event::Event,
    state::{
        budget::Budgets,
        entity::State,
        object::ObjectIndex,
        topic::{Deleted, Topic},
    },
};

/// Objects that one event releases.
const RELEASED_PER_EVENT: usize = 4_096;
/// Extents that go in one decision before no other topic follows.
const EXTENTS_PER_PURGE: usize = 4_096;
/// From this share of a budget on there is no room for what is deleted.
const FULL_PERCENT: u64 = 80;

/// Purges up to `limit` topics whose time has come, the one that was deleted first before others; where
/// partitions or extents use 80 % of their budget, others too. No other follows once 4,096 extents go: the rest is for
/// the next step. Says which.
#[must_use]
pub fn purge(state: &State, now: &Now, limit: usize) -> Decided<Vec<TopicId>> {
    let no_room = !has_room(state);
    let deleted = state.trash.iter();
    let mut due: Vec<(Deleted, TopicId, &Topic)> = deleted
        .filter_map(|(id, topic)| Some((topic.deleted?, *id, topic)))
        .filter(|(deleted, ..)| no_room || deleted.purge_at_ms <= now.unix_millis)
        .collect();
    due.sort_by_key(|(deleted, id, _)| (deleted.at_ms, *id));
    let mut decided = Decided::only(Vec::new());
    let mut lost: BTreeMap<ObjectIndex, u32> = BTreeMap::new();
    let mut extents = 0usize;
    for (_, id, topic) in due.into_iter().take(limit) {
        if extents >= EXTENTS_PER_PURGE {
            break;
        }
        for extent in topic.partitions.iter().flat_map(|p| p.extents.iter()) {
            *lost.entry(extent.object).or_default() += 1;
            extents = extents.saturating_add(1);
        }
        decided.events.push(Event::TopicDeleted { topic: id });
        decided.reply.push(id);
    }
    let released = released_by(state, &lost);
    let released = released.chunks(RELEASED_PER_EVENT);
    decided
        .events
        .extend(released.map(|objects| Event::ObjectsReleased {
            since: state.counters.upload_epoch,
            objects: objects.to_vec(),
        }));
    decided
}

/// Whether a deleted topic may stay for a while: it costs what it did.
pub(super) fn has_room(state: &State) -> bool {
    let Budgets {
        partition_bytes,
        extent_bytes,
        ..
    } = state.budgets;
    let is_full = |used: u64, budget: u64| used.saturating_mul(100) / budget.max(1) >= FULL_PERCENT;
    !is_full(state.usage.partition_bytes, partition_bytes)
        && !is_full(state.usage.extent_bytes, extent_bytes)
}
