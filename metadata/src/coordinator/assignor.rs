//! Assignors on the server: pure functions of members and topics.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::ids::TopicId;

use crate::event::group::{MemberId, TopicPartitions};

mod range;
mod uniform;
mod uniform_heterogeneous;
mod uniform_homogeneous;

/// What is to be assigned.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    /// Members by id.
    pub(super) members: BTreeMap<MemberId, SpecMember>,
    /// How many partitions each topic has; those that exist.
    pub(super) topics: BTreeMap<TopicId, i32>,
    /// Whether all members subscribe to the same topics.
    pub(super) homogeneous: bool,
}

/// A member of what is to be assigned.
#[derive(Clone, Debug, Default)]
pub(super) struct SpecMember {
    /// Set for static members.
    pub(super) instance: Option<std::sync::Arc<str>>,
    /// Existing topics that it subscribes to.
    pub(super) topics: std::sync::Arc<BTreeSet<TopicId>>,
    /// Its target assignment so far.
    pub(super) assigned: TopicPartitions,
}

/// The target of each member.
pub(super) type Assignment = BTreeMap<MemberId, TopicPartitions>;

/// Names of the assignors that there are, as in `group.consumer.assignors`.
pub(super) const NAMES: [&str; 2] = ["uniform", "range"];

/// Assigns by the assignor of that name; None = there is none.
pub(super) fn assign(name: &str, spec: &Spec) -> Option<Assignment> {
    match name {
        "uniform" => Some(uniform::assign(spec)),
        "range" => Some(range::assign(spec)),
        _ => None,
    }
}
