//! How far behind a group is, in time: the age of the first record that it has not read, which is fetched.
//! So it is exact with any Kafka broker.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;
use aquifer_format::{batch::Batches, limits::BATCH_EXPANDED_BYTES_MAX, record};
use bytes::Bytes;
use kafka_protocol::messages::{
    FetchRequest, TopicName,
    fetch_request::{FetchPartition, FetchTopic},
};

use super::cluster::TopicPartition;
use crate::protocol::{Connection, refusal, string};

/// Connections that fetch at the same time: each record that is looked at may cost a request to a bucket.
const FETCHES_AT_ONCE: usize = 16;
/// How long a broker may wait for a record that was there a moment ago.
const WAIT_MS: i32 = 500;

/// A partition with records that the group has not read.
#[derive(Clone, Debug)]
pub(super) struct Unread {
    pub(super) at: TopicPartition,
    /// Offset of the first of them.
    pub(super) from: i64,
    /// Address of the partition's leader.
    pub(super) leader: String,
}

/// Timestamps of the first unread records, where they could be had, in milliseconds since 1970.
pub(super) fn timestamps(unread: &[Unread], timeout: Duration) -> BTreeMap<TopicPartition, i64> {
    let share = unread.len().div_ceil(FETCHES_AT_ONCE).max(1);
    thread::scope(|scope| {
        let asked: Vec<_> = unread
            .chunks(share)
            .map(|some| scope.spawn(move || timestamps_of(some, timeout)))
            .collect();
        let told = asked.into_iter().filter_map(|one| one.join().ok());
        told.flatten().collect()
    })
}

fn timestamps_of(unread: &[Unread], timeout: Duration) -> Vec<(TopicPartition, i64)> {
    let mut open: BTreeMap<&str, Option<Connection>> = BTreeMap::new();
    let mut found = Vec::new();
    for one in unread {
        let connection = open
            .entry(&one.leader)
            .or_insert_with(|| Connection::open_at(&one.leader, timeout).ok());
        let Some(asked) = connection else {
            continue;
        };
        match timestamp(asked, one) {
            Ok(Some(timestamp)) => found.push((one.at.clone(), timestamp)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    "the first unread record of {} cannot be had: {error:#}",
                    one.at
                );
                // an answer may still be on its way
                *connection = None;
            }
        }
    }
    found
}

fn timestamp(connection: &mut Connection, unread: &Unread) -> Result<Option<i64>> {
    // brokers send a whole batch, however little is asked for
    let partition = FetchPartition::default()
        .with_partition(unread.at.partition)
        .with_fetch_offset(unread.from)
        .with_partition_max_bytes(1);
    let topic = FetchTopic::default()
        .with_topic(TopicName(string(&unread.at.topic)))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(1)
        .with_topics(vec![topic]);
    let answer = connection.call(&request, 4..=12)?;
    refusal(answer.error_code, None).map_or(Ok(()), Err)?;
    let partitions = answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions);
    for partition in partitions {
        refusal(partition.error_code, None).map_or(Ok(()), Err)?;
        if let Some(records) = partition.records {
            return Ok(first_timestamp(records, unread.from));
        }
    }
    Ok(None)
}

/// The timestamp of the first record at or behind `from`; of a batch that cannot be opened, or has none of them
/// (compaction took them), the largest of the batch.
fn first_timestamp(records: Bytes, from: i64) -> Option<i64> {
    let mut newest = None;
    for batch in Batches::new(records) {
        // the last one may have been cut
        let Ok(batch) = batch else {
            break;
        };
        if batch.header.last_offset().0 < from {
            continue;
        }
        newest = newest.or(Some(batch.header.max_timestamp));
        let Ok(mut opened) = record::records(&batch, BATCH_EXPANDED_BYTES_MAX) else {
            break;
        };
        while let Some(Ok(record)) = opened.next_view() {
            let offset = batch
                .header
                .base_offset
                .0
                .saturating_add(record.offset_delta.into());
            if offset >= from {
                return Some(record.timestamp).filter(|timestamp| *timestamp >= 0);
            }
        }
    }
    newest.filter(|timestamp| *timestamp >= 0)
}

#[cfg(test)]
mod tests;
