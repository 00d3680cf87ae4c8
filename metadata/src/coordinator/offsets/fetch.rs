//! OffsetFetch (version 9 in and out, always with groups, with topic ids as tags).

use std::collections::BTreeMap;

use aquifer_format::ids::{PartitionId, PartitionIndex};
use aquifer_metadata_api::kafka::tags;
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetFetchRequest, OffsetFetchResponse, TopicName,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
        },
    },
    protocol::StrBytes,
};

use crate::{
    coordinator::{Caller, Coordinator, answer_room::AnswerRoom, consumer},
    event::group::GroupNumber,
    state::{State, TopicRef, group::CommittedOffset},
};

impl<W> Coordinator<W> {
    /// Answers what groups committed. `require_stable` asks for nothing more: every offset here is that of a
    /// commit that is decided.
    pub(crate) fn offset_fetch(
        &self,
        state: &State,
        _caller: &Caller,
        request: &OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        let mut room = AnswerRoom::new();
        let groups = request.groups.iter().map(|group| {
            let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
            match of_group(state, group, &mut room) {
                Ok(topics) => answer.with_topics(topics),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    }
}

fn of_group(
    state: &State,
    request: &OffsetFetchRequestGroup,
    room: &mut AnswerRoom,
) -> Result<Vec<OffsetFetchResponseTopics>, ResponseError> {
    let found = state.group_by_name(&request.group_id);
    if let Some(group) = found.and_then(|(_, group)| group.consumer()) {
        let member = request.member_id.as_deref();
        consumer::check_fetch(group, member, request.member_epoch)?;
    }
    // a group that is not there is one that committed nothing
    let group = found.map(|(number, _)| number);
    match &request.topics {
        Some(topics) => {
            let topics = topics.iter();
            topics
                .map(|topic| of_topic(state, group, topic, room))
                .collect()
        }
        None => group.map_or_else(|| Ok(Vec::new()), |group| all(state, group, room)),
    }
}

fn of_topic(
    state: &State,
    group: Option<GroupNumber>,
    request: &OffsetFetchRequestTopics,
    room: &mut AnswerRoom,
) -> Result<OffsetFetchResponseTopics, ResponseError> {
    let by_id = tags::topic_id(&request.unknown_tagged_fields);
    let topic = match by_id {
        Some(id) => state.topic(id),
        None => state.topic_by_name(&request.name),
    };
    let indexes = request.partition_indexes.iter().copied();
    let partitions = indexes.map(|index| -> Result<_, ResponseError> {
        let committed = group.zip(topic).and_then(|(group, topic)| {
            let id = PartitionId::new(topic.id(), PartitionIndex(index));
            state.committed_offset(group, id)
        });
        Ok(match (committed, by_id, topic) {
            (Some(committed), ..) => shown(index, committed, room)?,
            (None, Some(_), None) => {
                nothing(index).with_error_code(ResponseError::UnknownTopicId.code())
            }
            (None, ..) => nothing(index),
        })
    });
    let partitions = partitions.collect::<Result<Vec<_>, _>>()?;
    let mut answer = OffsetFetchResponseTopics::default()
        .with_name(request.name.clone())
        .with_partitions(partitions);
    if let Some(id) = by_id.or(topic.map(|topic| topic.id())) {
        tags::set_topic_id(&mut answer.unknown_tagged_fields, id);
    }
    Ok(answer)
}

/// All that the group committed, by the names of topics.
fn all(
    state: &State,
    group: GroupNumber,
    room: &mut AnswerRoom,
) -> Result<Vec<OffsetFetchResponseTopics>, ResponseError> {
    let mut topics: BTreeMap<&str, (TopicRef<'_>, Vec<OffsetFetchResponsePartitions>)> =
        BTreeMap::new();
    let mut last: Option<TopicRef<'_>> = None;
    for (id, committed) in state.committed_offsets(group) {
        let topic = last.filter(|last| last.id() == id.topic);
        let Some(topic) = topic.or_else(|| state.topic(id.topic)) else {
            continue;
        };
        last = Some(topic);
        let (_, partitions) = topics
            .entry(topic.name())
            .or_insert_with(|| (topic, Vec::new()));
        partitions.push(shown(id.partition.0, committed, room)?);
    }
    let topics = topics.into_iter().map(|(name, (topic, partitions))| {
        let mut answer = OffsetFetchResponseTopics::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_partitions(partitions);
        tags::set_topic_id(&mut answer.unknown_tagged_fields, topic.id());
        answer
    });
    Ok(topics.collect())
}

/// A committed offset, if the answer has room for it.
fn shown(
    index: i32,
    committed: &CommittedOffset,
    room: &mut AnswerRoom,
) -> Result<OffsetFetchResponsePartitions, ResponseError> {
    let bytes = size_of::<OffsetFetchResponsePartitions>();
    if !room.take(bytes.saturating_add(committed.metadata.len())) {
        return Err(AnswerRoom::refusal().error);
    }
    let metadata = StrBytes::from_string(committed.metadata.to_string());
    Ok(OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(committed.offset.0)
        .with_committed_leader_epoch(committed.leader_epoch)
        .with_metadata(Some(metadata)))
}

/// What is answered where nothing was committed.
fn nothing(index: i32) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::default()))
}
