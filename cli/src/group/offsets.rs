//! Offsets: those that a group committed, and where partitions begin and end.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use kafka_protocol::messages::{
    BrokerId, GroupId, ListOffsetsRequest, OffsetFetchRequest, TopicName,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    offset_fetch_request::OffsetFetchRequestGroup,
};

use super::cluster::{Cluster, Leaders, TopicPartition};
use crate::protocol::{refusal, string};

/// The log start offset, as a timestamp that brokers know.
pub(super) const EARLIEST: i64 = -2;
/// The high watermark, the same way.
pub(super) const LATEST: i64 = -1;

/// What a group committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommittedOffset {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: String,
}

/// All that a group committed.
pub(super) type Committed = BTreeMap<TopicPartition, CommittedOffset>;

/// Everything that the group committed.
pub(super) fn committed(cluster: &mut Cluster<'_>, group: &str) -> Result<Committed> {
    let all = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(string(group)))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![all]);
    let answer = cluster.ask(group, &request, 8..=9, |answer| {
        answer.groups.first().map_or(0, |group| group.error_code)
    })?;
    let found = answer.groups.into_iter().next();
    let found = found.ok_or_else(|| anyhow!("nobody says what group {group} committed"))?;
    if let Some(refused) = refusal(found.error_code, None) {
        bail!("what group {group} committed cannot be had: {refused}");
    }
    let mut committed = Committed::new();
    for topic in found.topics {
        for partition in topic.partitions {
            let at = TopicPartition {
                topic: topic.name.0.to_string(),
                partition: partition.partition_index,
            };
            if let Some(refused) = refusal(partition.error_code, None) {
                bail!("what group {group} committed of {at} cannot be had: {refused}");
            }
            if partition.committed_offset >= 0 {
                let metadata = partition.metadata.unwrap_or_default();
                let offset = CommittedOffset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: metadata.to_string(),
                };
                committed.insert(at, offset);
            }
        }
    }
    Ok(committed)
}

/// What was found of a partition, or why nothing was.
pub(super) type Found = BTreeMap<TopicPartition, Result<i64, String>>;

/// Asks the leaders of these partitions for their offsets at a time in milliseconds since 1970, or
/// [`EARLIEST`] or [`LATEST`]. -1 = there is no record as late as that.
pub(super) fn at_time<'p>(
    cluster: &mut Cluster<'_>,
    leaders: &Leaders,
    partitions: impl IntoIterator<Item = &'p TopicPartition>,
    time: i64,
) -> Result<Found> {
    let mut found = Found::new();
    let mut by_leader: BTreeMap<&str, Vec<&TopicPartition>> = BTreeMap::new();
    for at in partitions {
        match leaders.get(at) {
            Some(Some(leader)) => by_leader.entry(leader).or_default().push(at),
            Some(None) => {
                found.insert(at.clone(), Err("it has no leader just now".to_owned()));
            }
            None => {
                found.insert(at.clone(), Err("there is no such partition".to_owned()));
            }
        }
    }
    for (leader, mut partitions) in by_leader {
        partitions.sort_unstable();
        let answer = cluster
            .at(leader)?
            .call(&request(&partitions, time), 1..=7)?;
        for topic in answer.topics {
            for partition in topic.partitions {
                let at = TopicPartition {
                    topic: topic.name.0.to_string(),
                    partition: partition.partition_index,
                };
                let offset = match refusal(partition.error_code, None) {
                    None => Ok(partition.offset),
                    Some(refused) => Err(refused.to_string()),
                };
                found.insert(at, offset);
            }
        }
    }
    Ok(found)
}

/// `partitions` are sorted.
fn request(partitions: &[&TopicPartition], time: i64) -> ListOffsetsRequest {
    let topics = partitions.chunk_by(|a, b| a.topic == b.topic).map(|all| {
        let partitions = all.iter().map(|at| {
            ListOffsetsPartition::default()
                .with_partition_index(at.partition)
                .with_timestamp(time)
        });
        let topic = all.first().map(|at| at.topic.as_str()).unwrap_or_default();
        ListOffsetsTopic::default()
            .with_name(TopicName(string(topic)))
            .with_partitions(partitions.collect())
    });
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(topics.collect())
}
