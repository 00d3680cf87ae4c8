//! Swaps and deletions of objects.
//!
//! A range is swapped if everything that lies in it lies in the objects that the job read: offsets are given once,
//! and an object is written once, so these are the very extents that were read. What the log start has cut off
//! meanwhile does not count; what ends at or below it of the output is left out.

use aquifer_format::ids::ObjectId;
use aquifer_metadata_api::{
    MetadataError,
    upkeep::{SwapReply, SwapRequest},
};

use super::Decided;
use crate::state::entity::State;

/// Decides a swap whose token was admitted.
///
/// # Errors
/// `Refused`: the request breaks a rule of [`aquifer_metadata_api::upkeep`], so nothing of it is done.
pub fn swap(state: &State, request: &SwapRequest) -> Result<Decided<SwapReply>, MetadataError> {
    let _ = (state, request);
    todo!("builder B")
}

/// Decides that the bytes of these objects are gone. Those that are not released are left out.
#[must_use]
pub fn delete_objects(state: &State, objects: &[ObjectId]) -> Decided<()> {
    let _ = (state, objects);
    todo!("builder B")
}
