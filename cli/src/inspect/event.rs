//! Events of the journal as JSON; what people see is made of it.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{ObjectId, Offset, PartitionId},
    key::object_name,
};
use aquifer_metadata::event::{
    Committed, CommittedBatch, CommittedRun, Decision, Event, HoldDecided, LossAccepted, Moment,
    TopicCreated,
    swapped::{Swapped, SwappedRange},
};
use aquifer_metadata_api::{
    commit::{BatchSummary, Rejection},
    register::AgentAddress,
};
use serde_json::{Value, json};

pub(super) mod group;

/// The name of an event, and what it says.
pub(super) fn event(event: &Event) -> (&'static str, Value) {
    let name = match event {
        Event::Genesis { .. } => "genesis",
        Event::UploadEpochAdvanced { .. } => "upload_epoch_advanced",
        Event::Registered { .. } => "registered",
        Event::SessionEnded { .. } => "session_ended",
        Event::TopicCreated(_) => "topic_created",
        Event::TopicDeleted { .. } => "topic_deleted",
        Event::ProducerIdAllocated { .. } => "producer_id_allocated",
        Event::Committed(_) => "committed",
        Event::HoldsDecided { .. } => "holds_decided",
        Event::ProducersExpired { .. } => "producers_expired",
        Event::ObjectsReleased { .. } => "objects_released",
        Event::TopicConfigsSet { .. } => "topic_configs_set",
        Event::PartitionsAdded { .. } => "partitions_added",
        Event::LogStartMoved { .. } => "log_start_moved",
        Event::BrokerConfigsSet { .. } => "broker_configs_set",
        Event::GroupCreated { .. } => "group_created",
        Event::GroupChanged { .. } => "group_changed",
        Event::GroupDeleted { .. } => "group_deleted",
        Event::OffsetsCommitted(_) => "offsets_committed",
        Event::OffsetsRemoved { .. } => "offsets_removed",
        Event::GroupConfigsSet { .. } => "group_configs_set",
        Event::LossAccepted(_) => "loss_accepted",
        Event::Swapped(_) => "swapped",
        Event::ObjectsDeleted { .. } => "objects_deleted",
        Event::TopicSoftDeleted { .. } => "topic_soft_deleted",
        Event::TopicRestored { .. } => "topic_restored",
    };
    (name, fields(event))
}

fn fields(event: &Event) -> Value {
    match event {
        Event::Genesis {
            cluster,
            incarnation,
            upload_epoch,
        } => json!({
            "cluster": cluster.to_string(),
            "incarnation": incarnation.0,
            "upload_epoch": upload_epoch.0,
        }),
        Event::UploadEpochAdvanced { upload_epoch } => json!({ "upload_epoch": upload_epoch.0 }),
        Event::Registered {
            slot,
            session,
            agent,
        } => json!({ "slot": slot.0, "session": session.0, "agent": address(agent) }),
        Event::SessionEnded {
            session,
            slot,
            upload_epoch,
        } => json!({ "session": session.0, "slot": slot.0, "upload_epoch": upload_epoch.0 }),
        Event::TopicCreated(created) => topic_created(created),
        Event::TopicDeleted { topic } => json!({ "topic_id": topic.to_string() }),
        Event::ProducerIdAllocated { producer_id } => json!({ "producer_id": producer_id.0 }),
        Event::Committed(done) => committed(done),
        Event::HoldsDecided { at, decisions } => json!({
            "at": moment(*at),
            "decisions": list(decisions, |decided| hold_decided(decided, *at)),
        }),
        Event::ProducersExpired {
            last_seen_through,
            partitions,
        } => json!({
            "last_seen_through": last_seen_through.0,
            "partitions": list(partitions, |id| json!(id.to_string())),
        }),
        Event::ObjectsReleased { since, objects } => {
            json!({ "since": since.0, "objects": list(objects, released) })
        }
        Event::TopicConfigsSet { topic, configs } => {
            json!({ "topic_id": topic.to_string(), "configs": configs })
        }
        Event::PartitionsAdded { topic, partitions } => {
            json!({ "topic_id": topic.to_string(), "partitions": partitions })
        }
        Event::LogStartMoved { partitions } => json!({ "partitions": by_partition(partitions) }),
        Event::BrokerConfigsSet { configs } => json!({ "configs": configs }),
        Event::GroupCreated { group, name } => json!({ "group": group.0, "name": name }),
        Event::GroupChanged { group, changes } => {
            json!({ "group": group.0, "changes": list(changes, group::change) })
        }
        Event::GroupDeleted { group } => json!({ "group": group.0 }),
        Event::OffsetsCommitted(committed) => group::offsets_committed(committed),
        Event::OffsetsRemoved { group, partitions } => json!({
            "group": group.0,
            "partitions": list(partitions, |id| json!(id.to_string())),
        }),
        Event::GroupConfigsSet { group, configs } => json!({ "name": group, "configs": configs }),
        Event::LossAccepted(accepted) => loss_accepted(accepted),
        Event::Swapped(done) => swapped(done),
        Event::ObjectsDeleted { objects } => {
            json!({ "objects": list(objects, |id| json!(object_name(id))) })
        }
        Event::TopicSoftDeleted {
            topic,
            at_ms,
            purge_at_ms,
        } => json!({ "topic_id": topic.to_string(), "at": at_ms, "purge_at": purge_at_ms }),
        Event::TopicRestored {
            topic,
            leader_epoch,
        } => json!({ "topic_id": topic.to_string(), "leader_epoch": leader_epoch.0 }),
    }
}

pub(super) fn list<T>(all: &[T], one: impl Fn(&T) -> Value) -> Vec<Value> {
    all.iter().map(one).collect()
}

fn topic_created(created: &TopicCreated) -> Value {
    json!({
        "topic_id": created.topic.to_string(),
        "topic": created.name,
        "partitions": created.partitions,
        "leader_epoch": created.leader_epoch.0,
        "configs": created.configs,
    })
}

fn loss_accepted(accepted: &LossAccepted) -> Value {
    json!({
        "incarnation": accepted.incarnation.0,
        "upload_epoch": accepted.upload_epoch.0,
        "leader_epoch": accepted.leader_epoch.0,
        "next_session": accepted.next_session.0,
        "next_producer_id": accepted.next_producer_id.0,
        "partitions": by_partition(&accepted.partitions),
    })
}

/// Offsets by partition.
fn by_partition(partitions: &[(PartitionId, Offset)]) -> BTreeMap<String, i64> {
    let offsets = partitions.iter();
    offsets
        .map(|(id, offset)| (id.to_string(), offset.0))
        .collect()
}

fn committed(done: &Committed) -> Value {
    let mut batches = done.batches.iter();
    let runs = done.runs.iter().map(|run| {
        let count = usize::try_from(run.batches).unwrap_or(usize::MAX);
        let batches: Vec<Value> = batches.by_ref().take(count).map(batch).collect();
        committed_run(run, batches)
    });
    json!({
        "session": done.session.0,
        "commit": done.number.0,
        "answered_through": done.answered_through.0,
        "object": object_name(&done.object.id),
        "object_bytes": done.object.bytes,
        "at": moment(done.at),
        "batches": decisions(done.batches.iter().map(|batch| batch.decision)),
        "runs": runs.collect::<Vec<_>>(),
    })
}

fn swapped(done: &Swapped) -> Value {
    let objects = list(
        &done.objects,
        |object| json!({ "object": object_name(&object.id), "bytes": object.bytes }),
    );
    json!({
        "objects": objects,
        "ranges": list(&done.ranges, |range| swapped_range(done, range)),
    })
}

fn swapped_range(done: &Swapped, range: &SwappedRange) -> Value {
    let extents = list(&range.extents, |extent| {
        let object = usize::try_from(extent.object).ok();
        let object = object.and_then(|at| done.objects.get(at));
        json!({
            "object": object.map(|object| object_name(&object.id)),
            "run_position": extent.run_position,
            "run_bytes": extent.run_bytes,
            "expanded_bytes": extent.raw_bytes,
            "base_offset": extent.base_offset.0,
            "end_offset": extent.base_offset.plus(extent.offsets).0,
            "max_timestamp": extent.max_timestamp,
        })
    });
    json!({
        "partition": range.partition.to_string(),
        "from": range.from.0,
        "to": range.to.0,
        "into": range.into.0,
        "cleaned_through": range.cleaned_through.map(|through| through.0),
        "extents": extents,
    })
}

fn committed_run(run: &CommittedRun, batches: Vec<Value>) -> Value {
    json!({
        "partition": run.partition.to_string(),
        "position": run.position,
        "stored_bytes": run.stored_bytes,
        "log_start": run.log_start.0,
        "log_append_time": run.log_append_time,
        "batches": batches,
    })
}

fn batch(batch: &CommittedBatch) -> Value {
    with(summary(&batch.summary), decision(batch.decision))
}

fn hold_decided(decided: &HoldDecided, at: Moment) -> Value {
    let place = json!({
        "partition": decided.partition.to_string(),
        "session": decided.session.0,
        "commit": decided.batch.number.0,
        "object": object_name(&decided.object.id),
        "run_position": decided.run_position,
        "run_bytes": decided.run_bytes,
        "expanded_position": decided.raw_start,
        "log_start": decided.log_start.0,
        "append_time": decided.log_append_time.then_some(at.unix_millis),
    });
    let batch = with(summary(&decided.summary), decision(decided.decision));
    with(place, batch)
}

fn summary(batch: &BatchSummary) -> Value {
    json!({
        "producer_id": batch.producer_id.0,
        "producer_epoch": batch.producer_epoch.0,
        "first_sequence": batch.first_sequence.0,
        "records": batch.records,
        "bytes": batch.bytes,
        "max_timestamp": batch.max_timestamp,
    })
}

fn decision(decision: Decision) -> Value {
    match decision {
        Decision::Appended { base_offset } => {
            json!({ "decision": "appended", "base_offset": base_offset.0 })
        }
        Decision::Duplicate {
            base_offset,
            log_append_time,
        } => json!({
            "decision": "duplicate",
            "base_offset": base_offset.0,
            "duplicate_append_time": log_append_time,
        }),
        Decision::Held => json!({ "decision": "held" }),
        Decision::Rejected(why) => json!({ "decision": "rejected", "why": rejection(why) }),
    }
}

/// How many batches met which decision.
fn decisions(all: impl Iterator<Item = Decision>) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for decision in all {
        let name = match decision {
            Decision::Appended { .. } => "appended",
            Decision::Duplicate { .. } => "duplicate",
            Decision::Held => "held",
            Decision::Rejected(_) => "rejected",
        };
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

fn rejection(why: Rejection) -> &'static str {
    match why {
        Rejection::UnknownPartition => "unknown_partition",
        Rejection::StaleProducerEpoch => "stale_producer_epoch",
        Rejection::OutOfOrderSequence => "out_of_order_sequence",
        Rejection::TooOld => "too_old",
        Rejection::OverBudget => "over_budget",
    }
}

fn moment(at: Moment) -> Value {
    json!({ "unix_millis": at.unix_millis, "upload_epoch": at.upload_epoch.0 })
}

fn released((id, bytes): &(ObjectId, u64)) -> Value {
    json!({ "object": object_name(id), "bytes": bytes })
}

/// An agent's address.
pub(super) fn address(agent: &AgentAddress) -> Value {
    json!({
        "host": agent.host,
        "port": agent.port,
        "node_ids": agent.node_ids,
        "zone": agent.zone,
        "peer": agent.peer,
    })
}

/// One object of the fields of two.
fn with(mut one: Value, other: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut one, other) {
        fields.extend(more);
    }
    one
}

#[cfg(test)]
mod tests;
