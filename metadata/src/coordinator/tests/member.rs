//! Members of consumer groups, as client libraries are them, and topics for them.

use std::sync::Arc;

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};
use kafka_protocol::{
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId,
        consumer_group_heartbeat_request::TopicPartitions as OwnedTopic,
    },
    protocol::StrBytes,
};

use super::bed::{Bed, caller};
use crate::{
    coordinator::Ledger,
    event::{
        Event,
        group::{GroupNumber, TopicPartitions},
    },
    state::{
        decide,
        group::{ConsumerEntry, ConsumerGroup},
        tests::world::{
            Counting, NOW, add_partitions_request, create_request, delete_request, topic_name,
        },
    },
};

/// The group that members are in.
pub(super) const GROUP: &str = "group";
/// Their rebalance timeout in milliseconds.
pub(super) const PATIENCE_MS: u64 = 10_000;

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn apply(bed: &mut Bed, events: Vec<Event>) {
    for event in events {
        bed.ledger.apply(event);
    }
}

/// Makes a topic. `rand` is the test's own, so that no two topics have one id.
pub(super) fn create(bed: &mut Bed, rand: &Counting, name: &str, partitions: i32) -> TopicId {
    let request = create_request(name, partitions, &[]);
    let decided = decide::create_topics(&bed.ledger.state, rand, &request);
    assert_eq!(decided.reply.topics[0].error_code, 0);
    apply(bed, decided.events);
    TopicId(decided.reply.topics[0].topic_id)
}

pub(super) fn grow(bed: &mut Bed, name: &str, partitions: i32) {
    let request = add_partitions_request(name, partitions);
    let decided = decide::create_partitions(&bed.ledger.state, &request);
    assert_eq!(decided.reply.results[0].error_code, 0);
    apply(bed, decided.events);
}

pub(super) fn delete(bed: &mut Bed, name: &str) {
    let decided = decide::delete_topics(&bed.ledger.state, &NOW, 6, &delete_request(name));
    assert_eq!(decided.reply.responses[0].error_code, 0);
    apply(bed, decided.events);
}

/// The group and its number.
pub(super) fn group(bed: &Bed) -> (GroupNumber, &ConsumerGroup) {
    let (number, group) = bed.ledger.state.group_by_name(GROUP).unwrap();
    (number, group.consumer().unwrap())
}

/// A member as the group has it.
pub(super) fn entry<'a>(bed: &'a Bed, id: &str) -> &'a ConsumerEntry {
    &group(bed).1.members[id]
}

pub(super) fn send_as(
    bed: &mut Bed,
    version: i16,
    call: u128,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let caller = caller(version, call);
    bed.coordinator
        .consumer_heartbeat(&mut bed.ledger, bed.at, &caller, request)
}

pub(super) fn send(
    bed: &mut Bed,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    send_as(bed, 1, 1, request)
}

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What it sends to join.
    pub(super) joining: ConsumerGroupHeartbeatRequest,
    pub(super) epoch: i32,
    pub(super) owned: TopicPartitions,
    /// It has other partitions than it said last.
    pub(super) tell: bool,
}

impl Member {
    /// One that subscribes to topics by name.
    pub(super) fn new(id: &str, topics: &[&str]) -> Self {
        let names = topics.iter().map(|name| topic_name(name)).collect();
        let joining = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(id))
            .with_rebalance_timeout_ms(i32::try_from(PATIENCE_MS).unwrap())
            .with_subscribed_topic_names(Some(names))
            .with_topic_partitions(Some(Vec::new()));
        Self {
            joining,
            epoch: 0,
            owned: TopicPartitions::new(),
            tell: false,
        }
    }

    /// One that subscribes by an expression.
    pub(super) fn matching(id: &str, regex: &str) -> Self {
        let mut member = Self::new(id, &[]);
        member.joining.subscribed_topic_names = None;
        member.joining.subscribed_topic_regex = Some(text(regex));
        member
    }

    pub(super) fn fixed(mut self, instance: &str) -> Self {
        self.joining.instance_id = Some(text(instance));
        self
    }

    pub(super) fn id(&self) -> &str {
        &self.joining.member_id
    }

    /// What it sends between joining and leaving.
    pub(super) fn beating(&self) -> ConsumerGroupHeartbeatRequest {
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.joining.group_id.clone())
            .with_member_id(self.joining.member_id.clone())
            .with_instance_id(self.joining.instance_id.clone())
            .with_member_epoch(self.epoch);
        if self.tell {
            request.topic_partitions = Some(self.owned_topics());
        }
        request
    }

    fn owned_topics(&self) -> Vec<OwnedTopic> {
        let topics = self.owned.topics().map(|(topic, indexes)| {
            OwnedTopic::default()
                .with_topic_id(topic.0)
                .with_partitions(indexes.iter().map(|index| index.0).collect())
        });
        topics.collect()
    }

    /// Joins, with nothing; the code of the answer.
    pub(super) fn join(&mut self, bed: &mut Bed) -> i16 {
        self.epoch = 0;
        self.owned = TopicPartitions::new();
        self.tell = false;
        let request = self.joining.clone();
        let answer = send(bed, &request);
        self.hear(&answer);
        answer.error_code
    }

    /// Heartbeats; the code of the answer.
    pub(super) fn beat(&mut self, bed: &mut Bed) -> i16 {
        let request = self.beating();
        self.tell = false;
        let answer = send(bed, &request);
        self.hear(&answer);
        answer.error_code
    }

    /// Leaves with this epoch (-1 or -2); the code of the answer.
    pub(super) fn leave(&mut self, bed: &mut Bed, epoch: i32) -> i16 {
        let request = self.beating().with_member_epoch(epoch);
        self.owned = TopicPartitions::new();
        send(bed, &request).error_code
    }

    /// Does what it is told: gives partitions up at once, and takes others.
    pub(super) fn hear(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        if answer.error_code != 0 {
            return;
        }
        self.epoch = answer.member_epoch;
        let Some(assignment) = &answer.assignment else {
            return;
        };
        let partitions = assignment.topic_partitions.iter().flat_map(|topic| {
            let id = TopicId(topic.topic_id);
            let indexes = topic.partitions.iter();
            indexes.map(move |index| PartitionId::new(id, PartitionIndex(*index)))
        });
        let assigned: TopicPartitions = partitions.collect();
        self.tell |= assigned != self.owned;
        self.owned = assigned;
    }

    /// How many partitions it has.
    pub(super) fn has(&self) -> usize {
        self.owned.len()
    }
}

/// All heartbeat until nothing changes any more.
pub(super) fn settle(bed: &mut Bed, members: &mut [&mut Member]) {
    for _ in 0..10 {
        let before = bed.ledger.rows;
        for member in members.iter_mut() {
            assert_eq!(member.beat(bed), 0, "{}", member.id());
        }
        if bed.ledger.rows == before && members.iter().all(|member| !member.tell) {
            return;
        }
    }
    panic!("the group does not come to rest");
}

/// A member's name, as groups have it.
pub(super) fn name(id: &str) -> Arc<str> {
    Arc::from(id)
}
