//! OffsetDelete (version 0 in and out).

use std::collections::BTreeSet;

use aquifer_format::ids::PartitionId;
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetDeleteRequest, OffsetDeleteResponse,
        offset_delete_request::OffsetDeleteRequestTopic,
        offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
    },
};

use super::{Subscription, consumes, is_empty, partition_of};
use crate::{
    coordinator::{Coordinator, Ledger},
    event::{Event, group::GroupNumber},
    state::State,
};

impl<W> Coordinator<W> {
    /// Deletes offsets of topics that nobody of the group is subscribed to.
    pub(crate) fn offset_delete(
        &mut self,
        ledger: &mut dyn Ledger,
        request: &OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let response = OffsetDeleteResponse::default();
        let state = ledger.state();
        let group = match deletes(state, &request.group_id) {
            Ok(group) => group,
            // says it all: Kafka names no partition then
            Err(error) => return response.with_error_code(error.code()),
        };
        let mut gone = BTreeSet::new();
        let topics: Vec<_> = {
            // read once for all topics, of which a request may name many
            let subscription = state.group(group).map(Subscription::of);
            let subscription = subscription.as_ref();
            let topics = request.topics.iter();
            topics
                .map(|topic| self.delete_of_topic(state, group, subscription, topic, &mut gone))
                .collect()
        };
        if !gone.is_empty() {
            ledger.apply(Event::OffsetsRemoved {
                group,
                partitions: gone.into_iter().collect(),
            });
        }
        response.with_topics(topics)
    }

    fn delete_of_topic(
        &mut self,
        state: &State,
        number: GroupNumber,
        subscription: Option<&Subscription<'_>>,
        request: &OffsetDeleteRequestTopic,
        gone: &mut BTreeSet<PartitionId>,
    ) -> OffsetDeleteResponseTopic {
        let topic = state.topic_by_name(&request.name);
        let subscription = subscription.filter(|_| topic.is_some());
        let is_subscribed = subscription.is_some_and(|subscription| {
            subscription.has(state, &mut self.subscriptions, &request.name)
        });
        let partitions = request.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let id = topic.and_then(|topic| partition_of(topic, index));
            let code = match id {
                None => ResponseError::UnknownTopicOrPartition.code(),
                Some(_) if is_subscribed => ResponseError::GroupSubscribedToTopic.code(),
                Some(id) => {
                    if state.committed_offset(number, id).is_some() {
                        gone.insert(id);
                    }
                    0
                }
            };
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
        });
        OffsetDeleteResponseTopic::default()
            .with_name(request.name.clone())
            .with_partitions(partitions.collect())
    }
}

/// The group, if offsets of it may be deleted.
fn deletes(state: &State, name: &str) -> Result<GroupNumber, ResponseError> {
    if name.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let (number, group) = state
        .group_by_name(name)
        .ok_or(ResponseError::GroupIdNotFound)?;
    match group.classic() {
        // whose members' subscriptions nobody knows
        Some(classic) if !is_empty(group) && !consumes(classic) => {
            Err(ResponseError::NonEmptyGroup)
        }
        _ => Ok(number),
    }
}
