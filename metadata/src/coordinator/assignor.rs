//! Assignors on the server: pure functions of members and topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::ids::TopicId;

use crate::event::group::{MemberId, TopicPartitions};

mod balancer;
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
    pub(super) instance: Option<Arc<str>>,
    /// Existing topics that it subscribes to.
    pub(super) topics: Arc<BTreeSet<TopicId>>,
    /// Its target assignment so far: of topics in [`Spec::topics`], no partition at two members.
    pub(super) assigned: TopicPartitions,
}

/// The target of each member; one that is not named gets nothing.
pub(super) type Assignment = BTreeMap<MemberId, TopicPartitions>;

/// The assignor that is used where nobody says which.
pub(super) const UNIFORM: &str = "uniform";
const RANGE: &str = "range";
/// Assignors as `group.consumer.assignors` names them: by name, or by Kafka's class.
const NAMES: [(&str, &str); 4] = [
    (UNIFORM, UNIFORM),
    (RANGE, RANGE),
    (
        "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
        UNIFORM,
    ),
    (
        "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
        RANGE,
    ),
];

/// Names of the assignors that are configured, the default first. Where none of those is one that there is,
/// all that there are.
pub(super) fn supported(configured: &[String]) -> Vec<&'static str> {
    let mut supported = Vec::new();
    for config in configured {
        let known = NAMES.into_iter().find(|(name, _)| name == config);
        if let Some((_, name)) = known
            && !supported.contains(&name)
        {
            supported.push(name);
        }
    }
    if supported.is_empty() {
        supported.extend([UNIFORM, RANGE]);
    }
    supported
}

/// Assigns by the assignor of that name; None = there is none.
pub(super) fn assign(name: &str, spec: &Spec) -> Option<Assignment> {
    match name {
        UNIFORM => Some(uniform::assign(spec)),
        RANGE => Some(range::assign(spec)),
        _ => None,
    }
}
