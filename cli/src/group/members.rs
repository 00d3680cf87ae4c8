//! A group as its coordinator describes it, of either protocol.

use anyhow::{Result, anyhow};
use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId,
        consumer_group_describe_response::{self as consumer, Assignment},
        describe_groups_response as classic,
    },
    protocol::StrBytes,
};
use serde_json::{Value, json};

use super::{
    assignment,
    cluster::{Cluster, Node, TopicPartition},
};
use crate::protocol::{refusal, string};

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described {
    pub(super) kind: &'static str,
    pub(super) state: String,
    pub(super) coordinator: Node,
    /// What its members speak: "consumer", or another classic protocol type; empty = nobody said.
    pub(super) protocol: String,
    /// How partitions are assigned; empty = they are not.
    pub(super) assignor: String,
    /// Group epoch and that of the assignment.
    pub(super) epochs: Option<(i32, i32)>,
    pub(super) members: Vec<Member>,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) client: String,
    pub(super) host: String,
    pub(super) epoch: Option<i32>,
    /// Set where it says "classic" in a group of KIP-848.
    pub(super) protocol: Option<&'static str>,
    /// Sorted; None = only the members know.
    pub(super) assigned: Option<Vec<TopicPartition>>,
    /// What it is to get, where that differs.
    pub(super) target: Option<Vec<TopicPartition>>,
}

/// Asks the coordinator of a group; None = there is no such group.
pub(super) fn describe_group(cluster: &mut Cluster<'_>, name: &str) -> Result<Option<Described>> {
    if let Some(group) = consumer_group(cluster, name)? {
        return Ok(Some(group));
    }
    classic_group(cluster, name)
}

fn refused(name: &str, code: i16, message: Option<&StrBytes>) -> anyhow::Error {
    match refusal(code, message) {
        Some(refused) => refused.context(format!("group {name} cannot be described")),
        None => anyhow!("group {name} cannot be described"),
    }
}

fn silence(name: &str) -> anyhow::Error {
    anyhow!("the cluster says nothing of group {name}")
}

/// None = it is none of KIP-848, or the broker does not know them.
fn consumer_group(cluster: &mut Cluster<'_>, name: &str) -> Result<Option<Described>> {
    let versions = 0..=1;
    if !cluster.knows::<ConsumerGroupDescribeRequest>(name, &versions)? {
        return Ok(None);
    }
    let request =
        ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(string(name))]);
    let answer = cluster.ask(name, &request, versions, |answer| {
        answer.groups.first().map_or(0, |group| group.error_code)
    })?;
    let group = answer.groups.into_iter().next();
    let group = group.ok_or_else(|| silence(name))?;
    match ResponseError::try_from_code(group.error_code) {
        None => {}
        Some(ResponseError::GroupIdNotFound | ResponseError::UnsupportedVersion) => {
            return Ok(None);
        }
        Some(_) => {
            return Err(refused(
                name,
                group.error_code,
                group.error_message.as_ref(),
            ));
        }
    }
    Ok(Some(Described {
        kind: "consumer",
        state: group.group_state.to_string(),
        coordinator: cluster.coordinator(name)?,
        protocol: "consumer".to_owned(),
        assignor: group.assignor_name.to_string(),
        epochs: Some((group.group_epoch, group.assignment_epoch)),
        members: group.members.iter().map(consumer_member).collect(),
    }))
}

fn consumer_member(member: &consumer::Member) -> Member {
    let assigned = partitions(&member.assignment);
    let target = partitions(&member.target_assignment);
    Member {
        id: member.member_id.to_string(),
        instance: member.instance_id.as_ref().map(|id| id.to_string()),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        protocol: (member.member_type == 0).then_some("classic"),
        target: (target != assigned).then_some(target),
        assigned: Some(assigned),
    }
}

fn partitions(assignment: &Assignment) -> Vec<TopicPartition> {
    let mut all = Vec::new();
    for topic in &assignment.topic_partitions {
        all.extend(topic.partitions.iter().map(|partition| TopicPartition {
            topic: topic.topic_name.0.to_string(),
            partition: *partition,
        }));
    }
    all.sort_unstable();
    all
}

fn classic_group(cluster: &mut Cluster<'_>, name: &str) -> Result<Option<Described>> {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(string(name))]);
    let answer = cluster.ask(name, &request, 0..=6, |answer| {
        answer.groups.first().map_or(0, |group| group.error_code)
    })?;
    let group = answer.groups.into_iter().next();
    let group = group.ok_or_else(|| silence(name))?;
    match ResponseError::try_from_code(group.error_code) {
        // older versions say Dead of groups that are not there
        None if &*group.group_state == "Dead" => return Ok(None),
        None => {}
        Some(ResponseError::GroupIdNotFound) => return Ok(None),
        Some(_) => {
            return Err(refused(
                name,
                group.error_code,
                group.error_message.as_ref(),
            ));
        }
    }
    let protocol = group.protocol_type.to_string();
    let member = |member: &classic::DescribedGroupMember| classic_member(member, &protocol);
    Ok(Some(Described {
        kind: "classic",
        state: group.group_state.to_string(),
        coordinator: cluster.coordinator(name)?,
        assignor: group.protocol_data.to_string(),
        epochs: None,
        members: group.members.iter().map(member).collect(),
        protocol,
    }))
}

fn classic_member(member: &classic::DescribedGroupMember, protocol: &str) -> Member {
    Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.as_ref().map(|id| id.to_string()),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        protocol: None,
        assigned: (protocol == "consumer")
            .then(|| assignment::read(&member.member_assignment))
            .flatten(),
        target: None,
    }
}

impl Member {
    /// For machines.
    pub(super) fn json(&self) -> Value {
        let list = |all: &Vec<TopicPartition>| -> Vec<Value> {
            all.iter()
                .map(|at| json!({ "topic": at.topic, "partition": at.partition }))
                .collect()
        };
        json!({
            "member": self.id,
            "instance": self.instance,
            "client": self.client,
            "host": self.host,
            "epoch": self.epoch,
            "protocol": self.protocol,
            "assigned": self.assigned.as_ref().map(list),
            "target": self.target.as_ref().map(list),
        })
    }
}
