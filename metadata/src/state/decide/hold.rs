//! Held batches: how they come to be decided.

use std::collections::BTreeMap;

use aquifer_format::ids::{CommitNumber, ObjectId, PartitionId, SessionId};
use aquifer_metadata_api::commit::{BatchRef, Rejection};

use super::{
    Decided, HoldOutcome, Now,
    draft::{Draft, PendingObject},
};
use crate::{
    event::{Decision, Event, HoldDecided, Moment, ObjectInfo},
    state::{entity::State, object::ObjectIndex},
};

/// Decisions on held batches, gathered over the partitions of one request.
#[derive(Default)]
pub(super) struct HoldDecisions {
    pub(super) decisions: Vec<HoldDecided>,
    pub(super) outcomes: Vec<HoldOutcome>,
    /// How many holds each earlier object lost without becoming an extent.
    lost: BTreeMap<ObjectIndex, u32>,
}

impl HoldDecisions {
    /// Takes over what a draft decided. `own`: the commit in progress and its object; its batches get
    /// no outcome here, because the commit's own answer has it.
    pub(super) fn take(
        &mut self,
        state: &State,
        draft: &mut Draft<'_>,
        append_time: Option<i64>,
        own: Option<((SessionId, CommitNumber), &ObjectInfo)>,
    ) {
        let log_start = draft.log_start();
        let id = draft.id;
        for (pending, decision) in draft.decided.drain(..) {
            let object = match (pending.object, own) {
                (PendingObject::New, Some((_, object))) => object.clone(),
                (PendingObject::New, None) => continue,
                (PendingObject::Earlier(index), _) => {
                    if !matches!(decision, Decision::Appended { .. }) {
                        *self.lost.entry(index).or_default() += 1;
                    }
                    let Some(object) = state.objects.info(index) else {
                        continue;
                    };
                    self.outcomes.push(HoldOutcome {
                        session: pending.session,
                        batch: pending.batch,
                        outcome: decision.outcome(append_time, log_start),
                    });
                    object
                }
            };
            self.decisions.push(HoldDecided {
                partition: id,
                session: pending.session,
                batch: pending.batch,
                summary: pending.summary,
                object,
                run_position: pending.run_position,
                run_bytes: pending.run_bytes,
                raw_start: pending.raw_start,
                log_start,
                log_append_time: append_time.is_some(),
                decision,
            });
        }
    }

    /// Earlier objects that nothing refers to any more once the decisions are applied.
    pub(super) fn released(&self, state: &State) -> Vec<(ObjectId, u64)> {
        released_by(state, &self.lost)
    }

    /// The events and further answers of a request that is about held batches only.
    pub(super) fn into_decided(self, state: &State, at: Moment) -> Decided<()> {
        let released = self.released(state);
        let mut events = Vec::new();
        if !self.decisions.is_empty() {
            events.push(Event::HoldsDecided {
                at,
                decisions: self.decisions,
            });
        }
        if !released.is_empty() {
            events.push(Event::ObjectsReleased {
                since: at.upload_epoch,
                objects: released,
            });
        }
        Decided {
            events,
            reply: (),
            holds: self.outcomes,
        }
    }
}

/// Objects that lose all their references if they lose these.
pub(super) fn released_by(
    state: &State,
    lost: &BTreeMap<ObjectIndex, u32>,
) -> Vec<(ObjectId, u64)> {
    let gone = lost
        .iter()
        .filter(|(object, lost)| state.objects.references(**object) <= **lost);
    gone.filter_map(|(object, _)| {
        let info = state.objects.info(*object)?;
        Some((info.id, info.bytes))
    })
    .collect()
}

/// Ends the wait of held batches: their time is up, or their connection has nothing more under way. A
/// gap is then out of order; an unknown producer's batch is appended, the earliest of its held batches
/// first. Batches that are not held are ignored.
#[must_use]
pub fn release_holds(state: &State, now: &Now, batches: &[(SessionId, BatchRef)]) -> Decided<()> {
    let mut by_partition: BTreeMap<PartitionId, Vec<(SessionId, BatchRef)>> = BTreeMap::new();
    for batch in batches {
        if let Some(partition) = state.holds.get(batch) {
            by_partition.entry(*partition).or_default().push(*batch);
        }
    }
    let mut decisions = HoldDecisions::default();
    for (id, batches) in by_partition {
        let Some(topic) = state.topics.get(&id.topic) else {
            continue;
        };
        let Some(partition) = topic.partition(id.partition) else {
            continue;
        };
        let append_time = topic.log_append_time.then_some(now.unix_millis);
        let mut draft = Draft::new(id, partition, append_time);
        for (session, batch) in batches {
            draft.release(session, batch);
        }
        decisions.take(state, &mut draft, append_time, None);
    }
    decisions.into_decided(state, moment(state, now))
}

/// Gives up all held batches of a session.
pub(super) fn drop_session(state: &State, session: SessionId, decisions: &mut HoldDecisions) {
    let mut partitions: Vec<PartitionId> = state
        .holds
        .range((session, FIRST)..=(session, LAST))
        .map(|(_, partition)| *partition)
        .collect();
    partitions.sort_unstable();
    partitions.dedup();
    for id in partitions {
        if let Some(partition) = state.partition(id) {
            let mut draft = Draft::new(id, partition, None);
            draft.reject(session, Rejection::OutOfOrderSequence);
            decisions.take(state, &mut draft, None, None);
        }
    }
}

/// Gives up all held batches of a topic that is about to be deleted.
pub(super) fn drop_partition(state: &State, id: PartitionId, decisions: &mut HoldDecisions) {
    let Some(partition) = state.partition(id) else {
        return;
    };
    if partition.holds().is_empty() {
        return;
    }
    let mut draft = Draft::new(id, partition, None);
    for hold in partition.holds() {
        draft.reject(hold.session, Rejection::UnknownPartition);
    }
    decisions.take(state, &mut draft, None, None);
}

const FIRST: BatchRef = BatchRef {
    number: CommitNumber(0),
    run: 0,
    batch: 0,
};
const LAST: BatchRef = BatchRef {
    number: CommitNumber(u64::MAX),
    run: u32::MAX,
    batch: u32::MAX,
};

pub(super) fn moment(state: &State, now: &Now) -> Moment {
    Moment {
        unix_millis: now.unix_millis,
        upload_epoch: state.counters.upload_epoch,
    }
}
