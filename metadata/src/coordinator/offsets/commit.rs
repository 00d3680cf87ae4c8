//! OffsetCommit (version 9 in and out, with topic ids and retention as tags).

use std::collections::BTreeMap;

use aquifer_format::ids::{Offset, PartitionId};
use aquifer_metadata_api::kafka::tags;
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    },
};

use super::partition_of;
use crate::{
    coordinator::{At, Caller, Coordinator, Ledger, classic, consumer, limits},
    event::{
        Event,
        group::{ClassicState, GroupNumber, OffsetCommit, OffsetsCommitted},
        offset_metadata,
    },
    state::{State, group::Body},
};

/// The retention time that stands for none.
const NO_RETENTION: i64 = -1;

/// What becomes of a partition of a request.
type Found = Result<PartitionId, ResponseError>;

impl<W> Coordinator<W> {
    /// Commits offsets: one event for all partitions of the request.
    pub(crate) fn offset_commit(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        caller: &Caller,
        request: &OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let topics = &request.topics;
        let mut found: Vec<Vec<Found>> = {
            let state = ledger.state();
            topics.iter().map(|topic| find(state, topic)).collect()
        };
        // as in Kafka, the group is not asked where no partition exists
        if found.iter().flatten().any(Result::is_ok) {
            match self.may_commit(ledger, at, caller, request) {
                Ok(group) => self.commit(ledger, at, request, group, &mut found),
                Err(error) => refuse(&mut found, error),
            }
        }
        let answers = topics.iter().zip(found);
        let answers = answers.map(|(topic, found)| answer(topic, &found));
        OffsetCommitResponse::default().with_topics(answers.collect())
    }

    /// The group that may commit; None = it begins by that.
    fn may_commit(
        &mut self,
        ledger: &dyn Ledger,
        at: At,
        caller: &Caller,
        request: &OffsetCommitRequest,
    ) -> Result<Option<GroupNumber>, ResponseError> {
        if request.group_id.len() > limits::GROUP_ID_BYTES_MAX {
            return Err(ResponseError::InvalidGroupId);
        }
        let generation = request.generation_id_or_member_epoch;
        let member = request.member_id.as_str();
        let instance = request.group_instance_id.as_deref();
        let Some((number, group)) = ledger.state().group_by_name(&request.group_id) else {
            return match (generation < 0, caller.version >= 9) {
                (true, _) => Ok(None),
                (false, true) => Err(ResponseError::GroupIdNotFound),
                (false, false) => Err(ResponseError::IllegalGeneration),
            };
        };
        match &group.body {
            Body::Classic(classic) => {
                classic::check_commit(classic, member, instance, generation)?;
                let lives = matches!(
                    classic.phase.state,
                    ClassicState::Stable | ClassicState::PreparingRebalance
                );
                if lives && let Some((id, _)) = classic.members.get_key_value(member) {
                    self.classic_heard(at, number, group, id);
                }
            }
            Body::Consumer(consumer) => {
                consumer::check_commit(consumer, member, instance, generation, caller.version)?;
            }
        }
        Ok(Some(number))
    }

    /// Commits what may be committed of what was found, and notes what may not.
    fn commit(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        request: &OffsetCommitRequest,
        group: Option<GroupNumber>,
        found: &mut [Vec<Found>],
    ) {
        let room = Room::of(ledger.state(), group);
        let mut offsets: BTreeMap<PartitionId, OffsetCommit> = BTreeMap::new();
        for (topic, found) in request.topics.iter().zip(found) {
            for (partition, found) in topic.partitions.iter().zip(found) {
                let Ok(id) = *found else {
                    continue;
                };
                let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
                if let Err(error) = room.check(id, metadata) {
                    *found = Err(error);
                    continue;
                }
                // of a partition that is named twice, the last
                offsets.insert(
                    id,
                    OffsetCommit {
                        offset: Offset(partition.committed_offset),
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: offset_metadata(metadata),
                    },
                );
            }
        }
        if offsets.is_empty() {
            return;
        }
        let group = group.unwrap_or_else(|| self.group_or_new(ledger, &request.group_id));
        let retention = tags::retention_ms(&request.unknown_tagged_fields);
        let retention = retention.filter(|retention| *retention != NO_RETENTION);
        ledger.apply(Event::OffsetsCommitted(Box::new(OffsetsCommitted {
            group,
            at_ms: at.unix_millis,
            expires_at_ms: retention.map(|retention| at.unix_millis.saturating_add(retention)),
            offsets: offsets.into_iter().collect(),
        })));
    }
}

/// How much may be committed.
struct Room<'a> {
    state: &'a State,
    group: Option<GroupNumber>,
    metadata_bytes_max: usize,
    /// Nothing may grow.
    is_full: bool,
}

impl<'a> Room<'a> {
    fn of(state: &'a State, group: Option<GroupNumber>) -> Self {
        let (usage, budgets) = (state.usage(), state.budgets());
        let no_group = group.is_none() && usage.group_bytes >= budgets.group_bytes;
        Self {
            state,
            group,
            metadata_bytes_max: state.group_settings().offset_metadata_bytes_max,
            is_full: no_group || usage.offset_bytes >= budgets.offset_bytes,
        }
    }

    fn check(&self, id: PartitionId, metadata: &str) -> Result<(), ResponseError> {
        let max = self.metadata_bytes_max;
        // Java counts UTF-16 units, of which there are no more than bytes
        if metadata.len() > max && metadata.encode_utf16().count() > max {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        if !self.is_full {
            return Ok(());
        }
        let group = self.group;
        let before = group.and_then(|group| self.state.committed_offset(group, id));
        // what is there may always move
        match before {
            Some(before) if metadata.len() <= before.metadata.len() => Ok(()),
            _ => Err(ResponseError::InvalidCommitOffsetSize),
        }
    }
}

/// The partitions of a topic of a request.
fn find(state: &State, topic: &OffsetCommitRequestTopic) -> Vec<Found> {
    let by_id = tags::topic_id(&topic.unknown_tagged_fields);
    let (known, unknown) = match by_id {
        Some(id) => (state.topic(id), ResponseError::UnknownTopicId),
        None => (
            state.topic_by_name(&topic.name),
            ResponseError::UnknownTopicOrPartition,
        ),
    };
    let one = |partition: &OffsetCommitRequestPartition| {
        let known = known.ok_or(unknown)?;
        let found = partition_of(known, partition.partition_index);
        found.ok_or(ResponseError::UnknownTopicOrPartition)
    };
    topic.partitions.iter().map(one).collect()
}

/// Refuses whatever is not refused already.
fn refuse(found: &mut [Vec<Found>], error: ResponseError) {
    for one in found.iter_mut().flatten() {
        if one.is_ok() {
            *one = Err(error);
        }
    }
}

fn answer(topic: &OffsetCommitRequestTopic, found: &[Found]) -> OffsetCommitResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .zip(found)
        .map(|(partition, found)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(found.err().map_or(0, |error| error.code()))
        });
    let mut answer = OffsetCommitResponseTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect());
    if let Some(id) = tags::topic_id(&topic.unknown_tagged_fields) {
        tags::set_topic_id(&mut answer.unknown_tagged_fields, id);
    }
    answer
}
