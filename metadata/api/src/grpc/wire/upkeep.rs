//! Messages of `upkeep.proto`. A pair of functions per type of [`crate::upkeep`] that travels, named like those of
//! the neighbours.

mod jobs;
mod objects;
mod swaps;
#[cfg(test)]
mod tests;

pub use jobs::{
    finish_from, finish_to, inputs_from, inputs_reply_from, inputs_reply_to, inputs_to, lease_from,
    lease_reply_from, lease_reply_to, lease_to, renewal_from, renewal_to, renewed_from, renewed_to,
};
pub use objects::{
    deleted_topics_from, deleted_topics_to, objects_from, objects_reply_from, objects_reply_to,
    objects_to, restore_from, restore_to, restored_from, restored_to,
};
pub use swaps::{swap_from, swap_reply_from, swap_reply_to, swap_to};
