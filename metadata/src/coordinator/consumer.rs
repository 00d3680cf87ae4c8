//! Consumer groups (KIP-848). Rules and their order are those of Kafka's
//! `GroupMetadataManager.consumerGroupHeartbeat`, `CurrentAssignmentBuilder` and `TargetAssignmentBuilder`.

use std::time::Duration;

use kafka_protocol::ResponseError;

use crate::state::{State, group::ConsumerGroup};

mod describe;
mod heartbeat;
mod leave;
mod reconcile;
mod request;
mod target;
mod update;

pub(super) use update::Update;

/// Member epoch of a request by which a member leaves.
const LEAVES: i32 = -1;
/// Member epoch of a request by which a static member leaves and will be back; the epoch of such a member
/// until then.
const LEAVES_FOR_A_WHILE: i32 = -2;

/// Whether a member may commit offsets with this epoch (`ConsumerGroup.validateOffsetCommit`). `version`: the
/// client's of OffsetCommit.
pub(super) fn check_commit(
    group: &ConsumerGroup,
    member: &str,
    _instance: Option<&str>,
    epoch: i32,
    version: i16,
) -> Result<(), ResponseError> {
    if epoch < 0 && group.members.is_empty() {
        return Ok(());
    }
    let entry = group.members.get(member);
    let entry = entry.ok_or(ResponseError::UnknownMemberId)?;
    if entry.member.classic.is_none() && version < 9 {
        return Err(ResponseError::UnsupportedVersion);
    }
    check_epoch(group, member, epoch)
}

/// Whether a member may fetch offsets with this epoch (`ConsumerGroup.validateOffsetFetch`).
pub(super) fn check_fetch(
    group: &ConsumerGroup,
    member: Option<&str>,
    epoch: i32,
) -> Result<(), ResponseError> {
    match member {
        None if epoch < 0 => Ok(()),
        None => Err(ResponseError::UnknownMemberId),
        Some(member) => check_epoch(group, member, epoch),
    }
}

fn check_epoch(group: &ConsumerGroup, member: &str, epoch: i32) -> Result<(), ResponseError> {
    let entry = group.members.get(member);
    let entry = entry.ok_or(ResponseError::UnknownMemberId)?;
    if entry.current.epoch == epoch {
        return Ok(());
    }
    Err(if entry.member.classic.is_some() {
        ResponseError::IllegalGeneration
    } else {
        ResponseError::StaleMemberEpoch
    })
}

/// How long a member of the group called `name` may be silent.
fn session_timeout(state: &State, name: &str) -> Duration {
    let settings = &state.group_settings().consumer;
    let own = own_config(state, name, "consumer.session.timeout.ms");
    let (min, max) = settings.session_timeout_bounds_ms;
    let own = own.map(|own| own.max(min).min(max));
    millis(own.unwrap_or(settings.session_timeout_ms))
}

/// How often members of the group called `name` are told to show up, in milliseconds.
fn heartbeat_interval_ms(state: &State, name: &str) -> i32 {
    let settings = &state.group_settings().consumer;
    let own = own_config(state, name, "consumer.heartbeat.interval.ms");
    let (min, max) = settings.heartbeat_interval_bounds_ms;
    let own = own.map(|own| own.max(min).min(max));
    own.unwrap_or(settings.heartbeat_interval_ms)
}

fn own_config(state: &State, name: &str, config: &str) -> Option<i32> {
    state.group_configs(name)?.get(config)?.trim().parse().ok()
}

/// A time that a client or a config says; one below zero is none.
fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
