//! What groups cost in memory.

use std::sync::Arc;

use super::{Body, ClassicEntry, CommittedOffset, ConsumerEntry, Group};
use crate::event::group::{Protocol, TopicPartitions};

/// A group without members: tree nodes, names.
const GROUP_BYTES: usize = 384;
/// A member without what it says: tree nodes, its timer.
const MEMBER_BYTES: usize = 512;
/// A topic in a set of partitions.
const TOPIC_BYTES: usize = 64;
/// A partition in a set.
const PARTITION_BYTES: usize = 4;
/// A committed offset with its share of tree nodes.
const OFFSET_BYTES: usize = 80;

impl Group {
    /// What it costs now.
    pub(super) fn weigh(&self) -> u64 {
        let members: usize = match &self.body {
            Body::Classic(group) => group.members.values().map(ClassicEntry::weigh).sum(),
            Body::Consumer(group) => group.members.values().map(ConsumerEntry::weigh).sum(),
        };
        bytes(GROUP_BYTES + self.name.len() + members)
    }
}

impl ClassicEntry {
    /// What it costs.
    pub(crate) fn weigh(&self) -> usize {
        let member = &self.member;
        MEMBER_BYTES
            + member.id.len()
            + text(member.instance.as_ref())
            + member.client_id.len()
            + member.client_host.len()
            + protocols(&member.protocols)
            + self.assignment.len()
    }
}

impl ConsumerEntry {
    /// What it costs.
    pub(crate) fn weigh(&self) -> usize {
        let member = &self.member;
        let classic = member.classic.as_ref();
        MEMBER_BYTES
            + member.id.len()
            + text(member.instance.as_ref())
            + text(member.rack.as_ref())
            + text(member.regex.as_ref())
            + member.client_id.len()
            + member.client_host.len()
            + member
                .topics
                .iter()
                .map(|name| name.len() + 32)
                .sum::<usize>()
            + classic.map_or(0, |classic| protocols(&classic.protocols))
            + partitions(&self.current.assigned)
            + partitions(&self.current.revoking)
            + partitions(&self.target)
    }
}

impl CommittedOffset {
    /// What it costs.
    pub(super) fn weigh(&self) -> u64 {
        bytes(OFFSET_BYTES + self.metadata.len())
    }
}

fn text(text: Option<&Arc<str>>) -> usize {
    text.map_or(0, |text| text.len())
}

fn protocols(all: &[Protocol]) -> usize {
    let one = |protocol: &Protocol| 64 + protocol.name.len() + protocol.metadata.len();
    all.iter().map(one).sum()
}

fn partitions(set: &TopicPartitions) -> usize {
    let topics = set.topics();
    topics
        .map(|(_, all)| TOPIC_BYTES + PARTITION_BYTES * all.len())
        .sum()
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
