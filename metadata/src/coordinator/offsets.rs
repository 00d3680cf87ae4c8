//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups, expiry. Rules and their order are
//! those of Kafka's `OffsetMetadataManager` and `GroupCoordinatorService`, before them those of `KafkaApis` on
//! topics.

use std::collections::BTreeSet;

use aquifer_format::ids::{PartitionId, PartitionIndex};

use super::{classic, subscriptions::Subscriptions};
use crate::{
    event::group::ClassicState,
    state::{
        State, TopicRef,
        group::{Body, ClassicGroup, ConsumerGroup, Group},
    },
};

mod commit;
mod delete;
mod delete_groups;
mod expire;
mod fetch;

/// The protocol type of those who consume.
const CONSUMER: &str = "consumer";

/// The partition of a topic.
fn partition_of(topic: TopicRef<'_>, index: i32) -> Option<PartitionId> {
    let exists = u32::try_from(index).is_ok_and(|index| index < topic.partitions());
    exists.then(|| PartitionId::new(topic.id(), PartitionIndex(index)))
}

/// What a group is subscribed to, for many topics.
enum Subscription<'a> {
    /// Classic: these topics.
    Topics(BTreeSet<String>),
    /// Classic: to all, or none, as far as anybody can tell.
    Unknown(bool),
    /// Of KIP-848.
    Consumer(&'a ConsumerGroup),
}

impl<'a> Subscription<'a> {
    fn of(group: &'a Group) -> Self {
        match &group.body {
            Body::Consumer(group) => Self::Consumer(group),
            Body::Classic(group) => match classic::subscribed_topics(group) {
                Some(topics) => Self::Topics(topics),
                None => Self::Unknown(consumes(group)),
            },
        }
    }

    fn has(&self, state: &State, known: &mut Subscriptions, topic: &str) -> bool {
        match self {
            Self::Topics(topics) => topics.contains(topic),
            Self::Unknown(all) => *all,
            Self::Consumer(group) => known.is_subscribed(state, group, topic),
        }
    }
}

/// Kafka's `usesConsumerGroupProtocol`.
fn consumes(group: &ClassicGroup) -> bool {
    group.phase.protocol_type.as_deref() == Some(CONSUMER)
}

/// Whether the group has no members and may go.
fn is_empty(group: &Group) -> bool {
    match &group.body {
        Body::Classic(group) => group.phase.state == ClassicState::Empty,
        Body::Consumer(group) => group.members.is_empty(),
    }
}
