//! DescribeLogDirs (version 4 in and out): how large partitions are.
//!
//! There is one log directory, the bucket, which has no size of its own. The size of a partition is that of
//! its record batches, as in Kafka; what they take in the bucket may be less, where blocks are compressed,
//! and is shared where records go that others of the same object outlive. Partitions that are not there are
//! left out, as in Kafka.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::ids::PartitionIndex;
use kafka_protocol::{
    messages::{
        DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName,
        describe_log_dirs_response::{
            DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
        },
    },
    protocol::StrBytes,
};

use crate::state::{entity::State, topic::Topic};

/// What the bucket is called.
const LOG_DIR: &str = "/bucket";
/// Kafka's `UNKNOWN_VOLUME_BYTES`.
const UNKNOWN_BYTES: i64 = -1;

/// Answers a DescribeLogDirs request.
#[must_use]
pub fn describe_log_dirs(
    state: &State,
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let topics = match &request.topics {
        None => {
            let mut all: Vec<_> = state.topics.values().map(whole).collect();
            all.sort_by(|a, b| a.name.cmp(&b.name));
            all
        }
        Some(wanted) => {
            let mut by_name: BTreeMap<&TopicName, BTreeSet<i32>> = BTreeMap::new();
            for topic in wanted {
                by_name
                    .entry(&topic.topic)
                    .or_default()
                    .extend(&topic.partitions);
            }
            let known = by_name.into_iter().filter_map(|(name, partitions)| {
                let topic = state.topics.get(&state.names.get(name.as_str())?)?;
                let partitions = partitions.into_iter().map(PartitionIndex);
                Some(described(topic, partitions))
            });
            known.filter(|topic| !topic.partitions.is_empty()).collect()
        }
    };
    let bucket = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_static_str(LOG_DIR))
        .with_topics(topics)
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES);
    DescribeLogDirsResponse::default().with_results(vec![bucket])
}

fn whole(topic: &Topic) -> DescribeLogDirsTopic {
    described(topic, topic.indexed().map(|(index, _)| index))
}

fn described(
    topic: &Topic,
    partitions: impl Iterator<Item = PartitionIndex>,
) -> DescribeLogDirsTopic {
    let partitions = partitions.filter_map(|index| {
        let size = topic.partition(index)?.extents.raw_bytes();
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(index.0)
            .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX));
        Some(described)
    });
    DescribeLogDirsTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
        .with_partitions(partitions.collect())
}
