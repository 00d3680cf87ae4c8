//! A deleted topic comes back.

use aquifer_metadata_api::{
    MetadataError,
    upkeep::{RestoreTopic, RestoredTopic},
};

use super::Decided;
use crate::{event::Event, state::entity::State};

/// Decides it.
///
/// # Errors
/// `Refused`: there is no such topic in the trash, or its name is another's by now.
pub fn restore_topic(
    state: &State,
    request: &RestoreTopic,
) -> Result<Decided<RestoredTopic>, MetadataError> {
    let found = match request {
        RestoreTopic::Id(id) => state.trash.get_key_value(id),
        RestoreTopic::Name(name) => state
            .trash
            .iter()
            .filter(|(_, topic)| topic.name == *name)
            .max_by_key(|(id, topic)| (topic.deleted.map(|deleted| deleted.at_ms), **id)),
    };
    let Some((id, topic)) = found else {
        return Err(refused(match request {
            RestoreTopic::Id(id) => format!("no deleted topic of id {id} can be restored"),
            RestoreTopic::Name(name) => format!("no deleted topic '{name}' can be restored"),
        }));
    };
    let name = &topic.name;
    if state.names.get(name).is_some() {
        return Err(refused(format!(
            "there is another topic '{name}' by now; delete it first, and name this one by its id, {id}"
        )));
    }
    if let Some(other) = state.names.colliding(name) {
        return Err(refused(format!(
            "the name of topic '{name}' collides with that of topic '{other}', which was created meanwhile"
        )));
    }
    Ok(Decided {
        events: vec![Event::TopicRestored {
            topic: *id,
            leader_epoch: state.counters.next_leader_epoch,
        }],
        reply: RestoredTopic {
            id: *id,
            name: name.clone(),
        },
        holds: Vec::new(),
    })
}

fn refused(reason: String) -> MetadataError {
    MetadataError::Refused { reason }
}
