//! ConsumerGroupDescribe (version 1 in and out).

use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, TopicName,
        consumer_group_describe_response::{
            Assignment, DescribedGroup, Member, TopicPartitions as DescribedTopic,
        },
    },
    protocol::StrBytes,
};

use super::target;
use crate::{
    coordinator::{Coordinator, answer_room::AnswerRoom},
    event::group::TopicPartitions,
    state::{
        State,
        group::{ConsumerEntry, ConsumerGroup},
    },
};

/// Every operation that there is on groups (READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS): there
/// are no ACLs.
const GROUP_OPERATIONS: i32 = 3_400;
/// Member types of KIP-1099.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

impl<W> Coordinator<W> {
    /// Describes consumer groups.
    pub(crate) fn consumer_describe(
        &self,
        state: &State,
        request: &ConsumerGroupDescribeRequest,
    ) -> ConsumerGroupDescribeResponse {
        let with_operations = request.include_authorized_operations;
        let mut room = AnswerRoom::new();
        let groups = request.group_ids.iter();
        let groups = groups.map(|id| described(state, id, with_operations, &mut room));
        ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
    }
}

fn described(
    state: &State,
    id: &GroupId,
    with_operations: bool,
    room: &mut AnswerRoom,
) -> DescribedGroup {
    let answer = DescribedGroup::default().with_group_id(id.clone());
    let refused = |answer: DescribedGroup, error: ResponseError, text: Option<String>| {
        answer
            .with_error_code(error.code())
            .with_error_message(text.map(StrBytes::from_string))
    };
    if !state.group_settings().consumer_protocol {
        return refused(answer, ResponseError::UnsupportedVersion, None);
    }
    if id.is_empty() {
        return refused(answer, ResponseError::InvalidGroupId, None);
    }
    let name = id.as_str();
    let Some((_, found)) = state.group_by_name(name) else {
        let text = format!("Group {name} not found.");
        return refused(answer, ResponseError::GroupIdNotFound, Some(text));
    };
    let Some(group) = found.consumer() else {
        let text = format!("Group {name} is not a consumer group.");
        return refused(answer, ResponseError::GroupIdNotFound, Some(text));
    };
    if !room.take(found.cost()) {
        let refusal = AnswerRoom::refusal();
        return answer
            .with_error_code(refusal.code())
            .with_error_message(refusal.text());
    }
    let answer = of_group(state, group, answer);
    if with_operations {
        answer.with_authorized_operations(GROUP_OPERATIONS)
    } else {
        answer
    }
}

fn of_group(state: &State, group: &ConsumerGroup, answer: DescribedGroup) -> DescribedGroup {
    let assignors = &state.group_settings().consumer.assignors;
    let members = group.members.values().map(|entry| member(state, entry));
    answer
        .with_group_state(StrBytes::from_static_str(group.state().name()))
        .with_group_epoch(group.epoch)
        .with_assignment_epoch(group.assignment_epoch)
        .with_assignor_name(text(target::preferred(group, assignors)))
        .with_members(members.collect())
}

fn member(state: &State, entry: &ConsumerEntry) -> Member {
    let member = &entry.member;
    let topics = member.topics.iter().map(|name| TopicName(text(name)));
    let kind = if member.classic.is_some() {
        CLASSIC
    } else {
        CONSUMER
    };
    Member::default()
        .with_member_id(text(&member.id))
        .with_instance_id(member.instance.as_deref().map(text))
        .with_rack_id(member.rack.as_deref().map(text))
        .with_member_epoch(entry.current.epoch)
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_subscribed_topic_names(topics.collect())
        // Kafka answers an empty one where there is none
        .with_subscribed_topic_regex(Some(text(member.regex.as_deref().unwrap_or_default())))
        .with_assignment(assignment(state, &entry.current.assigned))
        .with_target_assignment(assignment(state, &entry.target))
        .with_member_type(kind)
}

/// Partitions with the names of their topics; topics that are gone are left out.
fn assignment(state: &State, partitions: &TopicPartitions) -> Assignment {
    let topics = partitions.topics().filter_map(|(id, indexes)| {
        let topic = state.topic(id)?;
        Some(
            DescribedTopic::default()
                .with_topic_id(id.0)
                .with_topic_name(TopicName(text(topic.name())))
                .with_partitions(indexes.iter().map(|index| index.0).collect()),
        )
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
