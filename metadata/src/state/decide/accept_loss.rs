//! Going on after the journal lost rows.

use std::collections::BTreeMap;

use aquifer_format::ids::{
    Incarnation, JournalSeq, LeaderEpoch, Offset, PartitionId, ProducerId, SessionId, UploadEpoch,
};

use super::{Now, end_session};
use crate::{
    event::{Event, LossAccepted},
    state::entity::State,
};

/// Leader epochs that an incarnation leaves out: topics that were made in lost rows had some. Two billion
/// of them are enough for two million acceptances.
const LEADER_EPOCHS: i32 = 1_000;

/// What others remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The new incarnation.
    pub incarnation: Incarnation,
    /// The highest upload epoch that anybody was shown.
    pub upload_epoch: UploadEpoch,
    /// The highest watermarks that anybody was shown.
    pub high_watermarks: BTreeMap<PartitionId, Offset>,
    /// Offsets to leave out above them, and sessions and producer ids above the journal's own.
    pub gap: i64,
}

/// Ends every session and goes on above `loss`. Unlike other decisions it is carried out in `state` at
/// once, as events of row `seq`, because each session's end depends on the ones before.
pub fn accept_loss(state: &mut State, seq: JournalSeq, now: &Now, loss: &Loss) -> Vec<Event> {
    let mut events = Vec::new();
    let sessions: Vec<SessionId> = state.sessions().map(|(id, ..)| id).collect();
    for session in sessions {
        let ended = end_session(state, now, session).events;
        for event in &ended {
            state.apply(seq, event);
        }
        events.extend(ended);
    }
    let accepted = Event::LossAccepted(Box::new(accepted(state, loss)));
    state.apply(seq, &accepted);
    events.push(accepted);
    events
}

fn accepted(state: &State, loss: &Loss) -> LossAccepted {
    let counters = &state.counters;
    let gap = loss.gap.max(0);
    let incarnation = loss
        .incarnation
        .max(Incarnation(counters.incarnation.0.saturating_add(1)));
    let steps = incarnation.0.saturating_sub(counters.incarnation.0);
    let epochs = LEADER_EPOCHS.saturating_mul(i32::try_from(steps).unwrap_or(i32::MAX));
    let upload_epoch = loss.upload_epoch.max(counters.upload_epoch);
    // those of deleted topics, too: they may come back, or the row in which they did is among those lost
    let topics = state.topics.iter().chain(&state.trash);
    let all = topics.flat_map(|(id, topic)| {
        let indexed = topic.indexed();
        indexed.map(move |(index, partition)| (PartitionId::new(*id, index), partition))
    });
    let partitions: BTreeMap<PartitionId, Offset> = all
        .map(|(id, partition)| {
            let seen = loss.high_watermarks.get(&id).copied().unwrap_or_default();
            let highest = partition.high_watermark.max(seen.0);
            (id, Offset(highest.saturating_add(gap)))
        })
        .collect();
    LossAccepted {
        incarnation,
        upload_epoch: UploadEpoch(upload_epoch.0.saturating_add(1)),
        leader_epoch: LeaderEpoch(counters.next_leader_epoch.0.saturating_add(epochs)),
        next_session: SessionId(
            state
                .slots
                .next_session
                .0
                .saturating_add(gap.unsigned_abs()),
        ),
        next_producer_id: ProducerId(counters.next_producer_id.0.saturating_add(gap)),
        partitions: partitions.into_iter().collect(),
    }
}
