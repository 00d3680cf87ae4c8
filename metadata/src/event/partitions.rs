//! Partitions in columns: topics once, partition numbers packed.

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};

use super::convert::{Malformed, topic_from};

const UNEVEN: Malformed = "partitions and topics do not add up";

/// Partitions, those of a topic next to each other, as columns.
#[derive(Default)]
pub(super) struct PartitionColumns {
    pub(super) topics: Vec<u8>,
    pub(super) topic_partitions: Vec<u32>,
    pub(super) partition: Vec<u32>,
}

impl FromIterator<PartitionId> for PartitionColumns {
    fn from_iter<T: IntoIterator<Item = PartitionId>>(partitions: T) -> Self {
        let mut to = Self::default();
        let mut topic: Option<TopicId> = None;
        for id in partitions {
            match to.topic_partitions.last_mut() {
                Some(count) if topic == Some(id.topic) && *count < u32::MAX => *count += 1,
                _ => {
                    to.topics.extend_from_slice(id.topic.0.as_bytes());
                    to.topic_partitions.push(1);
                }
            }
            topic = Some(id.topic);
            to.partition.push(id.partition.0.cast_unsigned());
        }
        to
    }
}

/// The partitions of columns.
pub(super) fn partitions_from(
    topics: &[u8],
    counts: &[u32],
    indexes: &[u32],
) -> Result<Vec<PartitionId>, Malformed> {
    let topics = topics_from(topics, counts)?;
    let topics = topics
        .iter()
        .flat_map(|(topic, partitions)| std::iter::repeat_n(*topic, *partitions));
    let partitions: Vec<PartitionId> = topics
        .zip(indexes)
        .map(|(topic, index)| PartitionId::new(topic, PartitionIndex(index.cast_signed())))
        .collect();
    if partitions.len() != indexes.len() {
        return Err(UNEVEN);
    }
    Ok(partitions)
}

/// Topics with how many rows each has.
fn topics_from(ids: &[u8], counts: &[u32]) -> Result<Vec<(TopicId, usize)>, Malformed> {
    if ids.len() != counts.len().saturating_mul(16) {
        return Err(UNEVEN);
    }
    ids.chunks(16)
        .zip(counts)
        .map(|(id, count)| {
            let count = usize::try_from(*count).map_err(|_| UNEVEN)?;
            Ok((topic_from(id)?, count))
        })
        .collect()
}
