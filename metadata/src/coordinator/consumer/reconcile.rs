//! A member's next step towards its target (Kafka's `CurrentAssignmentBuilder`).

use aquifer_format::ids::PartitionId;

use crate::{
    event::group::{CurrentAssignment, TopicPartitions},
    state::group::ConsumerGroup,
};

/// Where the member stands after it said what it owns. `free`: whether nobody else of the group has the
/// partition or is yet to give it up. None = as before.
pub(super) fn step(
    _group: &ConsumerGroup,
    _member: &str,
    _owned: Option<&TopicPartitions>,
    _subscribed: &dyn Fn(PartitionId) -> bool,
    _free: &dyn Fn(PartitionId) -> bool,
) -> Option<CurrentAssignment> {
    todo!("builder B")
}
