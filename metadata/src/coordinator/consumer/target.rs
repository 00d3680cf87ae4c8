//! Target assignments: which assignor, from which members and topics, and what differs from the last one.

use crate::{
    coordinator::subscriptions::Subscriptions,
    event::group::{GroupChange, GroupNumber},
    state::State,
};

/// The change that brings the group's target assignment up to its epoch.
pub(super) fn change(
    _state: &State,
    _subscriptions: &mut Subscriptions,
    _group: GroupNumber,
) -> Option<GroupChange> {
    todo!("builder B")
}
