//! Fetch and ListOffsets as raw requests.

use aquifer_format::{
    batch::{self, RecordBatch},
    record,
};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::PartitionData,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
};

use crate::wire::{Connection, topic_name};

/// What a fetch asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Milliseconds to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Answer at once when there are this many.
    pub min_bytes: i32,
    /// Bound of the response.
    pub max_bytes: i32,
    /// Bound per partition.
    pub partition_max_bytes: i32,
    /// 0 = read_uncommitted, 1 = read_committed.
    pub isolation: i8,
}

impl Default for Ask {
    fn default() -> Self {
        let mebibyte = 1 << 20;
        Self {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 50 * mebibyte,
            partition_max_bytes: mebibyte,
            isolation: 0,
        }
    }
}

/// A request for partitions of one topic from offsets, without a session.
#[must_use]
pub fn request(topic: &str, from: &[(i32, i64)], ask: Ask) -> FetchRequest {
    let partitions = from.iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(ask.partition_max_bytes)
    });
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(ask.max_wait_ms)
        .with_min_bytes(ask.min_bytes)
        .with_max_bytes(ask.max_bytes)
        .with_isolation_level(ask.isolation)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// The data of a partition in a response.
///
/// # Panics
/// If it is not in it.
#[must_use]
pub fn partition(response: &FetchResponse, index: i32) -> &PartitionData {
    let mut all = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    all.find(|partition| partition.partition_index == index)
        .expect("the partition is answered")
}

/// The batches of a partition in a response.
///
/// # Panics
/// If they are not whole batches with right checksums.
#[must_use]
pub fn batches(data: &PartitionData) -> Vec<RecordBatch> {
    let bytes = data.records.clone().unwrap_or_default();
    let batches = batch::split(bytes).expect("whole batches");
    for batch in &batches {
        batch.validate().expect("a valid batch");
    }
    batches
}

/// (offset, timestamp) of each record of a partition in a response.
///
/// # Panics
/// If the records can't be read.
#[must_use]
pub fn records(data: &PartitionData) -> Vec<(i64, i64)> {
    let mut found = Vec::new();
    for batch in batches(data) {
        for record in record::records(&batch, 1 << 24).expect("readable records") {
            let record = record.expect("a readable record");
            found.push((
                batch.header.base_offset.0 + i64::from(record.offset_delta),
                record.timestamp,
            ));
        }
    }
    found
}

impl Connection {
    /// Fetches one partition at version 12 and returns its data.
    pub fn fetch(&mut self, topic: &str, index: i32, from: i64, ask: Ask) -> PartitionData {
        let response = self.call(12, &request(topic, &[(index, from)], ask));
        partition(&response, index).clone()
    }

    /// Where a partition's next record will stand.
    ///
    /// # Panics
    /// If the agent answers with an error.
    pub fn end_offset(&mut self, topic: &str, index: i32) -> i64 {
        let (error, offset, _) = self.list_offset_of(5, topic, index, -1);
        assert_eq!(error, 0, "the end of {topic}-{index}");
        offset
    }

    /// ListOffsets of partition 0: (error code, offset, timestamp).
    pub fn list_offset(&mut self, version: i16, topic: &str, timestamp: i64) -> (i16, i64, i64) {
        self.list_offset_of(version, topic, 0, timestamp)
    }

    /// The same of any partition.
    pub fn list_offset_of(
        &mut self,
        version: i16,
        topic: &str,
        index: i32,
        timestamp: i64,
    ) -> (i16, i64, i64) {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let response = self.call(version, &request);
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.offset, found.timestamp)
    }
}
