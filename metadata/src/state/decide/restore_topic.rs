//! A deleted topic comes back.

use aquifer_metadata_api::{
    MetadataError,
    upkeep::{RestoreTopic, RestoredTopic},
};

use super::Decided;
use crate::state::entity::State;

/// Decides it.
///
/// # Errors
/// `Refused`: there is no such topic in the trash, or its name is another's by now.
pub fn restore_topic(
    state: &State,
    request: &RestoreTopic,
) -> Result<Decided<RestoredTopic>, MetadataError> {
    let _ = (state, request);
    todo!("builder B")
}
