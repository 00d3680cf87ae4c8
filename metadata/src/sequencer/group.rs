//! What is collected for one group commit.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{JournalSeq, LeaderTerm, Offset, PartitionId, TopicId};
use aquifer_metadata_api::{
    extent::Extent,
    watch::{AgentView, CommonFrame, TopicView},
};

use super::request::Departure;
use crate::{
    event::Event,
    hub::{Acknowledgement, Interests, NewWatcher, Publication},
    journal::RowHash,
    state::{Changes, State},
};

/// Requests in one row at most; the next ones wait for the next row.
const REQUESTS_MAX: usize = 4_096;
/// Batches in one row at most: about 2 MiB of encoded events.
const BATCHES_MAX: usize = 65_536;

/// Decided and applied, not yet on its way to the journal.
#[derive(Default)]
pub(super) struct Group {
    pub(super) events: Vec<Event>,
    pub(super) departures: Vec<Departure>,
    pub(super) changes: Changes,
    pub(super) new_watchers: Vec<NewWatcher>,
    pub(super) acknowledgements: Vec<Acknowledgement>,
    pub(super) requests: usize,
    pub(super) batches: usize,
}

impl Group {
    /// Whether nothing waits in it.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.departures.is_empty()
            && self.new_watchers.is_empty()
            && self.acknowledgements.is_empty()
    }

    /// Whether further requests are to wait for the next one.
    pub(super) fn is_full(&self) -> bool {
        self.requests >= REQUESTS_MAX || self.batches >= BATCHES_MAX
    }
}

/// What frames say beside the changes.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    pub(super) term: LeaderTerm,
    pub(super) seq: JournalSeq,
    /// Hash of the row at `seq`; of one that is yet to be written it is set once it is durable.
    pub(super) hash: RowHash,
    pub(super) throttle_produce: bool,
    /// All live agents.
    pub(super) agents: Vec<AgentView>,
    /// Whether none can be missing.
    pub(super) agents_complete: bool,
    /// Whether they changed since the last frame.
    pub(super) agents_changed: bool,
    /// Whether the group has a row (then every watcher is told, be it of nothing but the position).
    pub(super) has_row: bool,
    /// Whether the throttle flag changed.
    pub(super) throttle_changed: bool,
}

/// Turns the changes of a group that is being closed (so `state` shows exactly `surface.seq`) into what
/// watchers are told once it is durable; extents of partitions that somebody is interested in now.
pub(super) fn publication(
    state: &State,
    surface: Surface,
    mut changes: Changes,
    new_watchers: Vec<NewWatcher>,
    acknowledgements: Vec<Acknowledgement>,
    interests: &Interests,
) -> Publication {
    let extents = new_extents(state, std::mem::take(&mut changes.appended), interests);
    let reset = (!new_watchers.is_empty()).then(|| whole(state, &surface));
    let tells = surface.has_row || surface.agents_changed || surface.throttle_changed;
    let seq = surface.seq;
    let common = tells.then(|| difference(state, surface, changes));
    Publication {
        seq,
        common,
        reset,
        new_watchers,
        acknowledgements,
        extents,
    }
}

fn frame(state: &State, surface: &Surface) -> CommonFrame {
    CommonFrame {
        term: surface.term,
        seq: surface.seq,
        hash: surface.hash,
        incarnation: state.incarnation(),
        reset: false,
        upload_epoch: state.upload_epoch(),
        topics: Vec::new(),
        deleted_topics: Vec::new(),
        watermarks: Vec::new(),
        agents: None,
        agents_complete: surface.agents_complete,
        throttle_produce: surface.throttle_produce,
        broker_configs: None,
    }
}

fn whole(state: &State, surface: &Surface) -> CommonFrame {
    let topics = state.topics().map(|topic| Arc::new(topic.view()));
    let watermarks = state.topics().flat_map(|topic| topic.watermarks());
    CommonFrame {
        reset: true,
        topics: topics.collect(),
        watermarks: watermarks.collect(),
        agents: Some(surface.agents.clone()),
        broker_configs: Some(state.broker_configs()),
        ..frame(state, surface)
    }
}

fn difference(state: &State, surface: Surface, changes: Changes) -> CommonFrame {
    let mut topics: BTreeMap<TopicId, Arc<TopicView>> = BTreeMap::new();
    let mut partitions = changes.partitions;
    for topic in changes.topics.iter().filter_map(|id| state.topic(*id)) {
        topics.insert(topic.id(), Arc::new(topic.view()));
        partitions.extend(topic.watermarks().map(|(id, _)| id));
    }
    let altered = changes.altered_topics.iter();
    for topic in altered.filter_map(|id| state.topic(*id)) {
        topics.insert(topic.id(), Arc::new(topic.view()));
    }
    // stable, as it is quick with what is sorted in parts: each commit brings its partitions in order
    partitions.sort();
    partitions.dedup();
    // a topic that lived within one group was never shown
    let shown = |id: &&TopicId| !changes.topics.contains(id);
    let deleted = changes.deleted_topics.iter().filter(shown).copied();
    CommonFrame {
        topics: topics.into_values().collect(),
        deleted_topics: deleted.collect(),
        watermarks: state.watermarks_of(&partitions).collect(),
        ..CommonFrame {
            agents: surface.agents_changed.then(|| surface.agents.clone()),
            broker_configs: changes.broker_configs.then(|| state.broker_configs()),
            ..frame(state, &surface)
        }
    }
}

/// New extents of partitions that somebody wants, by partition and in offset order (which is not the order of
/// events where a batch was held). The state has them; what is gone again by now is not told.
fn new_extents(
    state: &State,
    mut appended: Vec<(PartitionId, Offset)>,
    interests: &Interests,
) -> Vec<(PartitionId, Vec<Extent>)> {
    appended.retain(|(id, _)| !interests.of(id).is_empty());
    appended.sort();
    // of a partition that repeats, the lowest offset stays
    appended.dedup_by_key(|(id, _)| *id);
    let new = appended
        .into_iter()
        .map(|(id, from)| (id, state.extents(id, from).collect::<Vec<_>>()));
    new.filter(|(_, extents)| !extents.is_empty()).collect()
}

/// Extents that are sent with an acknowledgement, so that a reader near the tail need not ask for them:
/// at most this many.
const ACKNOWLEDGED_EXTENTS_MAX: usize = 16;

/// From where on a new interest is complete, and the extents between there and the end of the log.
pub(super) fn tail_from(
    state: &State,
    partition: PartitionId,
    from: Offset,
) -> (Offset, Vec<Extent>) {
    let Some(watermarks) = state.watermarks(partition) else {
        return (from, Vec::new());
    };
    let end = watermarks.high_watermark;
    if from >= end || from < watermarks.log_start {
        return (end, Vec::new());
    }
    let extents: Vec<Extent> = state
        .extents(partition, from)
        .take(ACKNOWLEDGED_EXTENTS_MAX + 1)
        .collect();
    if extents.len() > ACKNOWLEDGED_EXTENTS_MAX {
        return (end, Vec::new());
    }
    (from, extents)
}
