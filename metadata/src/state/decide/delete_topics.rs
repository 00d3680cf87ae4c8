//! DeleteTopics (version 6 in and out): topics by name or by id.
//!
//! Checks follow Kafka's `ControllerApis.deleteTopics`. The topic is gone at once for clients. It
//! can be restored for as long as `topic.soft.delete.ttl.ms` says; where that is 0, its objects that nothing else
//! refers to are journaled as released, and their bytes go later. A topic with
//! `aquifer.deletion.protection=true` is refused.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::ids::{PartitionId, TopicId};
use aquifer_metadata_api::config::{TopicConfig, topic::DELETION_PROTECTION};
use kafka_protocol::{
    ResponseError,
    messages::{
        TopicName,
        delete_topics_request::{DeleteTopicState, DeleteTopicsRequest},
        delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    Decided, Now,
    hold::{HoldDecisions, drop_partition, moment, released_by},
    refusal::Refusal,
    trash::has_room,
};
use crate::{
    event::Event,
    state::{entity::State, object::ObjectIndex, topic::Topic},
};

/// The first version in which a client knows TOPIC_DELETION_DISABLED.
const VERSION_WITH_DISABLED: i16 = 3;

/// Decides a DeleteTopics request of a client that used `client_version`. Answers come in the order of the
/// request; names and ids that were given twice are answered once.
#[must_use]
pub fn delete_topics(
    state: &State,
    now: &Now,
    client_version: i16,
    request: &DeleteTopicsRequest,
) -> Decided<DeleteTopicsResponse> {
    let by_name = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name.clone())));
    let wanted: Vec<DeleteTopicState> = request.topics.iter().cloned().chain(by_name).collect();
    if !state.broker_config().delete_topic_enable {
        return Decided::only(disabled(&wanted, client_version));
    }
    let twice = given_twice(&wanted);
    let mut response = DeleteTopicsResponse::default();
    let mut answered = BTreeSet::new();
    let mut doomed: BTreeSet<TopicId> = BTreeSet::new();
    for topic in &wanted {
        let key = (topic.name.clone(), topic.topic_id);
        let outcome = if twice.contains(&key) {
            if !answered.insert(key) {
                continue;
            }
            Err(invalid(match topic.name {
                Some(_) => "Duplicate topic name.",
                None => "Duplicate topic id.",
            }))
        } else {
            find(state, topic)
        };
        let outcome = outcome.and_then(|id| {
            check_protection(state, id)?;
            if doomed.insert(id) {
                Ok(id)
            } else {
                let text = "The provided topic name maps to an ID that was already supplied.";
                Err(invalid(text))
            }
        });
        response.responses.push(answer(state, topic, outcome));
    }
    delete(state, now, &doomed, response)
}

type Key = (Option<TopicName>, Uuid);

fn invalid(text: &str) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, text)
}

fn disabled(wanted: &[DeleteTopicState], client_version: i16) -> DeleteTopicsResponse {
    let error = if client_version < VERSION_WITH_DISABLED {
        ResponseError::InvalidRequest
    } else {
        ResponseError::TopicDeletionDisabled
    };
    let results = wanted.iter().map(|topic| {
        DeletableTopicResult::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_error_code(error.code())
    });
    DeleteTopicsResponse::default().with_responses(results.collect())
}

fn check_protection(state: &State, id: TopicId) -> Result<(), Refusal> {
    let Some(topic) = state.topics.get(&id) else {
        return Ok(());
    };
    let config = TopicConfig::resolve(&topic.configs, state.broker_configs.effective());
    if !config.deletion_protection {
        return Ok(());
    }
    let text = format!(
        "Topic '{}' is protected from deletion; set {DELETION_PROTECTION}=false on it first.",
        topic.name
    );
    Err(Refusal::new(ResponseError::PolicyViolation, text))
}

fn given_twice(wanted: &[DeleteTopicState]) -> BTreeSet<Key> {
    let mut seen = BTreeSet::new();
    wanted
        .iter()
        .map(|topic| (topic.name.clone(), topic.topic_id))
        .filter(|key| (key.0.is_some() || !key.1.is_nil()) && !seen.insert(key.clone()))
        .collect()
}

fn find(state: &State, topic: &DeleteTopicState) -> Result<TopicId, Refusal> {
    match (&topic.name, topic.topic_id.is_nil()) {
        (None, true) => Err(invalid("Neither topic name nor id were specified.")),
        (Some(_), false) => Err(invalid("You may not specify both topic name and topic id.")),
        (Some(name), true) => state.names.get(name.as_str()).ok_or_else(|| {
            let text = "This server does not host this topic-partition.";
            Refusal::new(ResponseError::UnknownTopicOrPartition, text)
        }),
        (None, false) => {
            let id = TopicId(topic.topic_id);
            if state.topics.contains_key(&id) {
                return Ok(id);
            }
            let text = "This server does not host this topic ID.";
            Err(Refusal::new(ResponseError::UnknownTopicId, text))
        }
    }
}

fn answer(
    state: &State,
    topic: &DeleteTopicState,
    outcome: Result<TopicId, Refusal>,
) -> DeletableTopicResult {
    match outcome {
        Ok(id) => {
            let name = state
                .topic(id)
                .map(|found| TopicName(StrBytes::from_string(found.name().to_owned())));
            DeletableTopicResult::default()
                .with_name(name)
                .with_topic_id(id.0)
        }
        Err(refusal) => DeletableTopicResult::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_error_code(refusal.code())
            .with_error_message(refusal.text()),
    }
}

fn delete(
    state: &State,
    now: &Now,
    doomed: &BTreeSet<TopicId>,
    response: DeleteTopicsResponse,
) -> Decided<DeleteTopicsResponse> {
    let mut holds = HoldDecisions::default();
    let mut lost: BTreeMap<ObjectIndex, u32> = BTreeMap::new();
    let ttl_ms = trash_ttl_ms(state);
    let mut ends = Vec::new();
    for (id, topic) in doomed
        .iter()
        .filter_map(|id| Some((id, state.topics.get(id)?)))
    {
        let stays = ttl_ms > 0 && has_extents(topic);
        for (index, partition) in topic.indexed() {
            drop_partition(state, PartitionId::new(*id, index), &mut holds);
            if !stays {
                for extent in partition.extents.iter() {
                    *lost.entry(extent.object).or_default() += 1;
                }
            }
            for hold in partition.holds() {
                *lost.entry(hold.object).or_default() += 1;
            }
        }
        ends.push(if stays {
            Event::TopicSoftDeleted {
                topic: *id,
                at_ms: now.unix_millis,
                purge_at_ms: now.unix_millis.saturating_add(ttl_ms),
            }
        } else {
            Event::TopicDeleted { topic: *id }
        });
    }
    let at = moment(state, now);
    let mut events = Vec::new();
    if !holds.decisions.is_empty() {
        events.push(Event::HoldsDecided {
            at,
            decisions: holds.decisions,
        });
    }
    events.extend(ends);
    let released = released_by(state, &lost);
    if !released.is_empty() {
        events.push(Event::ObjectsReleased {
            since: at.upload_epoch,
            objects: released,
        });
    }
    Decided {
        events,
        reply: response,
        holds: holds.outcomes,
    }
}

/// How long deleted topics can be restored; 0 = not at all. Where there is no room for them, they go at once.
fn trash_ttl_ms(state: &State) -> i64 {
    if has_room(state) {
        state.broker_config().topic_soft_delete_ttl_ms.max(0)
    } else {
        0
    }
}

/// A topic that has no record left has nothing to be restored for.
fn has_extents(topic: &Topic) -> bool {
    let mut partitions = topic.partitions.iter();
    partitions.any(|partition| partition.extents.iter().next().is_some())
}
