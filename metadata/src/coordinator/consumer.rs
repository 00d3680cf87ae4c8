//! Consumer groups (KIP-848). Rules and their order are those of Kafka's
//! `GroupMetadataManager.consumerGroupHeartbeat`, `CurrentAssignmentBuilder` and `TargetAssignmentBuilder`.

use kafka_protocol::ResponseError;

use crate::state::group::ConsumerGroup;

mod describe;
mod heartbeat;
mod leave;
mod reconcile;
mod target;
mod update;

/// Whether a member may commit offsets with this epoch (`ConsumerGroup.validateOffsetCommit`). `version`: the
/// client's of OffsetCommit.
pub(super) fn check_commit(
    _group: &ConsumerGroup,
    _member: &str,
    _instance: Option<&str>,
    _epoch: i32,
    _version: i16,
) -> Result<(), ResponseError> {
    todo!("builder B")
}

/// Whether a member may fetch offsets with this epoch (`ConsumerGroup.validateOffsetFetch`).
pub(super) fn check_fetch(
    _group: &ConsumerGroup,
    _member: Option<&str>,
    _epoch: i32,
) -> Result<(), ResponseError> {
    todo!("builder B")
}
