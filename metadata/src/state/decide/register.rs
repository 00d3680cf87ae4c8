//! Registration of writers: slots and sessions.

use aquifer_format::{
    ids::{SessionId, WriterSlot},
    limits::NODE_IDS_PER_SLOT,
};
use aquifer_metadata_api::{
    MetadataError,
    register::{AgentAddress, RegisterRequest, Registration},
};

use super::{
    Decided, Now,
    hold::{HoldDecisions, drop_session, moment},
};
use crate::{
    event::Event,
    state::entity::{Slot, State},
};

/// Upload epochs (minutes) for which a slot rests before a stranger gets it: a day. Clients keep node
/// ids in their metadata, and object keys name the slot.
const SLOT_REST_EPOCHS: u32 = 1_440;
/// Longest host name (RFC 1035), and longest zone.
const NAME_BYTES_MAX: usize = 255;
/// Longest `host:port`.
const PEER_BYTES_MAX: usize = NAME_BYTES_MAX + ":65535".len();

/// Gives a writer a slot and a new session. It keeps the slot that it had where that rests, or is live
/// under the same address (then that session ends: a restart that was quicker than its expiry).
///
/// # Errors
/// `Refused` where the address cannot be right, `Unavailable` before the cluster has begun.
pub fn register(
    state: &State,
    request: &RegisterRequest,
) -> Result<Decided<Registration>, MetadataError> {
    check(&request.agent)?;
    let Some(cluster) = state.counters.cluster else {
        return Err(MetadataError::Unavailable {
            reason: "the cluster has not begun".to_owned(),
            may_have_happened: false,
        });
    };
    let mut decided = Decided::only(());
    let slot = match kept_slot(state, request) {
        Some((slot, Some(session))) => {
            decided = end_session(state, &Now { unix_millis: 0 }, session);
            slot
        }
        Some((slot, None)) => slot,
        None => free_slot(state)?,
    };
    let session = state.slots.next_session;
    decided.events.push(Event::Registered {
        slot,
        session,
        agent: request.agent.clone(),
    });
    Ok(Decided {
        events: decided.events,
        holds: decided.holds,
        reply: Registration {
            slot,
            session,
            cluster,
            incarnation: state.counters.incarnation,
            upload_epoch: state.counters.upload_epoch,
        },
    })
}

fn check(agent: &AgentAddress) -> Result<(), MetadataError> {
    let fault = if agent.host.is_empty() || agent.host.len() > NAME_BYTES_MAX {
        Some("the host is empty or too long")
    } else if agent.zone.len() > NAME_BYTES_MAX {
        Some("the zone is too long")
    } else if agent.peer.len() > PEER_BYTES_MAX {
        Some("the address for other agents is too long")
    } else if agent.node_ids == 0 || i32::from(agent.node_ids) > NODE_IDS_PER_SLOT {
        Some("an agent has 1 to 16 node ids")
    } else if agent.port == 0
        || agent
            .port
            .checked_add(u16::from(agent.node_ids) - 1)
            .is_none()
    {
        Some("the ports of the node ids are not all between 1 and 65535")
    } else {
        None
    };
    match fault {
        Some(reason) => Err(MetadataError::Refused {
            reason: reason.to_owned(),
        }),
        None => Ok(()),
    }
}

/// The slot that the writer had, if it may have it again, with the session that must end for it.
fn kept_slot(state: &State, request: &RegisterRequest) -> Option<(WriterSlot, Option<SessionId>)> {
    let slot = request.previous_slot?;
    match state.slots.slots.get(&slot)? {
        Slot::Resting { .. } => Some((slot, None)),
        Slot::Live(session) => {
            let live = state.sessions.get(session)?;
            let same =
                live.agent.host == request.agent.host && live.agent.port == request.agent.port;
            same.then_some((slot, Some(*session)))
        }
    }
}

fn free_slot(state: &State) -> Result<WriterSlot, MetadataError> {
    let now = state.counters.upload_epoch;
    let rested = state.slots.slots.iter().find(|(_, slot)| match slot {
        Slot::Live(_) => false,
        Slot::Resting { since } => now.0.saturating_sub(since.0) >= SLOT_REST_EPOCHS,
    });
    if let Some((slot, _)) = rested {
        return Ok(*slot);
    }
    let next = state.slots.next_slot;
    let node_ids = i32::try_from(next.0)
        .ok()
        .and_then(|slot| slot.checked_add(1)?.checked_mul(NODE_IDS_PER_SLOT));
    match node_ids {
        Some(_) => Ok(next),
        None => Err(MetadataError::Unavailable {
            reason: "all registration slots are in use or rest".to_owned(),
            may_have_happened: false,
        }),
    }
}

/// Ends a session. Batches that it holds are given up: nobody waits for their answers any more, and
/// its agent answers none of the requests concerned. A session that is not there: nothing happens.
#[must_use]
pub fn end_session(state: &State, now: &Now, session: SessionId) -> Decided<()> {
    let Some(ended) = state.sessions.get(&session) else {
        return Decided::only(());
    };
    let at = moment(state, now);
    let mut holds = HoldDecisions::default();
    drop_session(state, session, &mut holds);
    let mut decided = holds.into_decided(state, at);
    decided.events.push(Event::SessionEnded {
        session,
        slot: ended.slot,
        upload_epoch: at.upload_epoch,
    });
    decided
}
