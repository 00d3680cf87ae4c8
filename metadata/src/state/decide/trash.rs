//! Topics that were deleted go for good.

use aquifer_format::ids::TopicId;

use super::{Decided, Now};
use crate::state::entity::State;

/// Purges up to `limit` topics whose time has come, the one that was deleted first before others; where
/// partitions or extents use 80 % of their budget, others too. Says which.
#[must_use]
pub fn purge(state: &State, now: &Now, limit: usize) -> Decided<Vec<TopicId>> {
    let _ = (state, now, limit);
    todo!("builder B")
}
