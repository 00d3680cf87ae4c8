//! CreatePartitions (version 3 in and out).
//!
//! Checks, their order, codes and texts follow Kafka's `ControllerApis.createPartitions` and
//! `ReplicationControlManager.createPartitions`. New partitions are empty and have the topic's leader
//! epoch.

use std::collections::BTreeSet;

use aquifer_format::limits::TOPIC_PARTITIONS_MAX;
use kafka_protocol::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse,
        create_partitions_request::CreatePartitionsTopic,
        create_partitions_response::CreatePartitionsTopicResult,
    },
};

use super::{Decided, assignment, partition_budget::PartitionBudget, refusal::Refusal};
use crate::{event::Event, state::entity::State};

/// Decides a CreatePartitions request. Answers come in the order of the request; a name that was given
/// twice is answered once.
#[must_use]
pub fn create_partitions(
    state: &State,
    request: &CreatePartitionsRequest,
) -> Decided<CreatePartitionsResponse> {
    let mut seen = BTreeSet::new();
    let names = request.topics.iter().map(|topic| &topic.name);
    let twice: BTreeSet<_> = names.filter(|name| !seen.insert(*name)).collect();
    let mut answered = BTreeSet::new();
    let mut budget = PartitionBudget::new(state);
    let mut decided = Decided::only(CreatePartitionsResponse::default());
    for topic in &request.topics {
        let outcome = if twice.contains(&topic.name) {
            if !answered.insert(&topic.name) {
                continue;
            }
            let text = "Duplicate topic name.";
            Err(Refusal::new(ResponseError::InvalidRequest, text))
        } else {
            added(state, topic, &mut budget)
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        let result = match outcome {
            Ok(event) => {
                decided.events.push(event);
                result
            }
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.text()),
        };
        decided.reply.results.push(result);
    }
    if request.validate_only {
        decided.events.clear();
    }
    decided
}

fn added(
    state: &State,
    topic: &CreatePartitionsTopic,
    budget: &mut PartitionBudget<'_>,
) -> Result<Event, Refusal> {
    let name = topic.name.as_str();
    let known = state
        .topic_by_name(name)
        .ok_or_else(|| Refusal::bare(ResponseError::UnknownTopicOrPartition))?;
    let invalid = |text: String| Refusal::new(ResponseError::InvalidPartitions, text);
    let (now, asked) = (known.partitions(), topic.count);
    let wanted = match u32::try_from(asked) {
        Ok(wanted) if wanted == now => {
            return Err(invalid(format!("Topic already has {now} partition(s).")));
        }
        Ok(wanted) if wanted > now => wanted,
        _ => {
            return Err(invalid(format!(
                "The topic {name} currently has {now} partition(s); {asked} would not be an increase."
            )));
        }
    };
    let additional = wanted.saturating_sub(now);
    if let Some(assignments) = &topic.assignments {
        let assigned = assignments.len();
        if u32::try_from(assigned) != Ok(additional) {
            return Err(Refusal::new(
                ResponseError::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {additional} additional partition(s), but only {assigned} assignment(s) were specified."
                ),
            ));
        }
        let replicas = assignments.first().map(|first| first.broker_ids.len());
        for assignment in assignments {
            assignment::check(&assignment.broker_ids, replicas)?;
        }
    }
    if wanted > TOPIC_PARTITIONS_MAX {
        return Err(invalid(format!(
            "Number of partitions must not be over {TOPIC_PARTITIONS_MAX}."
        )));
    }
    budget.take_partitions(additional)?;
    Ok(Event::PartitionsAdded {
        topic: known.id(),
        partitions: wanted,
    })
}
