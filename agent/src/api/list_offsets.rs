//! ListOffsets, versions 1 to 10 (11 is not in the protocol crate; 0 is gone from Kafka 4).
//!
//! Every answer is exact: the leader is asked, once for all partitions. A timestamp is looked for
//! inside the batches of the extent that the leader names.

use std::{collections::BTreeSet, sync::Arc};

use aquifer_format::ids::{Offset, PartitionId};
use aquifer_metadata_api::{
    Metadata,
    locate::{OffsetSpec, OffsetsFound, OffsetsRequest},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse,
        list_offsets_request::ListOffsetsPartition,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
};

use super::{Close, Reply, RequestContext};
use crate::{
    broker::Broker,
    fetch::{FetchPath, SearchError, Target, check_epoch, leader_epoch, readable_end},
    view::{Topic, View},
};

/// Partitions whose timestamps are looked for at a time.
const SEARCHES_AT_ONCE: usize = 8;
/// First version with OFFSET_NOT_AVAILABLE (78); before, LEADER_NOT_AVAILABLE says the same.
const OFFSET_NOT_AVAILABLE_VERSION: i16 = 5;
/// First version with a leader epoch.
const LEADER_EPOCH_VERSION: i16 = 4;

/// Timestamps that mean something else, and the first version that knows each (Kafka's
/// `ListOffsetsRequest` and `ReplicaManager.isListOffsetsTimestampUnsupported`).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const SPECIAL: [(i64, i16); 5] = [
    (LATEST, 1),
    (EARLIEST, 1),
    (MAX_TIMESTAMP, 7),
    (EARLIEST_LOCAL, 8),
    (LATEST_TIERED, 9),
];

/// Answers a request.
pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let fenced = broker.fence.check().is_err();
    let metadata = &*broker.metadata;
    list_offsets(&broker.fetch, &broker.view, metadata, fenced, ctx, body).await
}

/// What is known of one partition of the request.
enum Lookup {
    Error(ResponseError),
    Ask { topic: Arc<Topic>, id: PartitionId },
}

pub(crate) async fn list_offsets(
    path: &FetchPath,
    view: &View,
    metadata: &dyn Metadata,
    fenced: bool,
    ctx: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: ListOffsetsRequest = ctx.decode(body)?;
    let version = ctx.api_version;
    let committed = request.isolation_level == 1;
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (topic.name.as_str(), partition.partition_index);
            if !seen.insert(key) {
                twice.insert(key);
            }
        }
    }
    let mut lookups = Vec::new();
    let mut caught_up = None;
    for topic in &request.topics {
        for partition in &topic.partitions {
            let lookup = if twice.contains(&(topic.name.as_str(), partition.partition_index)) {
                Lookup::Error(ResponseError::InvalidRequest)
            } else if !is_supported(partition.timestamp, version) {
                Lookup::Error(ResponseError::UnsupportedVersion)
            } else if fenced {
                Lookup::Error(ResponseError::NotLeaderOrFollower)
            } else {
                look(view, &topic.name, partition, &mut caught_up, version).await
            };
            lookups.push(lookup);
        }
    }
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let wanted: Vec<ListOffsetsPartition> = partitions.cloned().collect();
    let found = ask(metadata, &wanted, &lookups).await;
    let answers =
        wanted
            .into_iter()
            .zip(lookups)
            .zip(found)
            .map(|((partition, lookup), found)| async move {
                match resolve(path, &partition, lookup, found, committed).await {
                    Ok(answer) => answer,
                    Err(code) => error(&partition, for_version(code, version)),
                }
            });
    let answers: Vec<_> = stream::iter(answers)
        .buffered(SEARCHES_AT_ONCE)
        .collect()
        .await;
    let mut answers = answers.into_iter().map(|answer| {
        if version >= LEADER_EPOCH_VERSION {
            answer
        } else {
            answer.with_leader_epoch(-1)
        }
    });
    let topics = request.topics.iter().map(|topic| {
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(answers.by_ref().take(topic.partitions.len()).collect())
    });
    let response = ListOffsetsResponse::default().with_topics(topics.collect());
    ctx.reply(&response)
}

fn is_supported(timestamp: i64, version: i16) -> bool {
    timestamp >= 0
        || SPECIAL
            .iter()
            .any(|(special, since)| timestamp == *special && version >= *since)
}

fn for_version(code: ResponseError, version: i16) -> ResponseError {
    match code {
        ResponseError::OffsetNotAvailable if version < OFFSET_NOT_AVAILABLE_VERSION => {
            ResponseError::LeaderNotAvailable
        }
        code => code,
    }
}

fn error(partition: &ListOffsetsPartition, code: ResponseError) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(partition.partition_index)
        .with_error_code(code.code())
        .with_timestamp(-1)
        .with_offset(-1)
        .with_leader_epoch(-1)
}

/// Finds the partition; asks the leader, once per request, before it says that there is none.
/// `caught_up`: whether that succeeded.
async fn look(
    view: &View,
    name: &str,
    partition: &ListOffsetsPartition,
    caught_up: &mut Option<bool>,
    version: i16,
) -> Lookup {
    loop {
        let topic = view.topic_by_name(name);
        let known =
            topic.and_then(|topic| Some((topic.partition(partition.partition_index)?, topic)));
        if let Some((id, topic)) = known {
            return Lookup::Ask { topic, id };
        }
        match *caught_up {
            Some(true) => return Lookup::Error(ResponseError::UnknownTopicOrPartition),
            Some(false) => {
                return Lookup::Error(for_version(ResponseError::OffsetNotAvailable, version));
            }
            None => *caught_up = Some(view.catch_up().await.is_ok()),
        }
    }
}

/// One call for all partitions. None = the partition was not asked for or does not exist; an error = no
/// answer.
async fn ask(
    metadata: &dyn Metadata,
    wanted: &[ListOffsetsPartition],
    lookups: &[Lookup],
) -> Vec<Result<Option<OffsetsFound>, ResponseError>> {
    let mut request = OffsetsRequest::default();
    for (partition, lookup) in wanted.iter().zip(lookups) {
        if let Lookup::Ask { id, .. } = lookup {
            let spec = match partition.timestamp {
                MAX_TIMESTAMP => OffsetSpec::MaxTimestamp,
                timestamp @ 0.. => OffsetSpec::Timestamp(timestamp),
                _ => OffsetSpec::Watermarks,
            };
            request.partitions.push((*id, spec));
        }
    }
    let answer = if request.partitions.is_empty() {
        Ok(Vec::new())
    } else {
        metadata.offsets(request).await.map(|r| r.partitions)
    };
    let mut answers = match answer {
        Ok(answers) => Ok(answers.into_iter()),
        Err(error) => {
            tracing::debug!(%error, "offsets cannot be listed");
            Err(ResponseError::OffsetNotAvailable)
        }
    };
    lookups
        .iter()
        .map(|lookup| match (lookup, &mut answers) {
            (Lookup::Error(_), _) => Ok(None),
            (Lookup::Ask { .. }, Ok(answers)) => Ok(answers.next().flatten()),
            (Lookup::Ask { .. }, Err(code)) => Err(*code),
        })
        .collect()
}

async fn resolve(
    path: &FetchPath,
    partition: &ListOffsetsPartition,
    lookup: Lookup,
    found: Result<Option<OffsetsFound>, ResponseError>,
    committed: bool,
) -> Result<ListOffsetsPartitionResponse, ResponseError> {
    let (topic, id) = match lookup {
        Lookup::Error(code) => return Err(code),
        Lookup::Ask { topic, id } => (topic, id),
    };
    let found = found?.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let marks = found.watermarks;
    let epoch = leader_epoch(&topic, &marks);
    check_epoch(partition.current_leader_epoch, epoch)?;
    let end = readable_end(&marks, committed);
    let (timestamp, offset, epoch) = match partition.timestamp {
        LATEST => (-1, end, epoch.0),
        EARLIEST | EARLIEST_LOCAL => (-1, marks.log_start, epoch.0),
        // Nothing is tiered.
        LATEST_TIERED => (-1, Offset(-1), -1),
        wanted => {
            let target = if wanted == MAX_TIMESTAMP {
                Target::Max
            } else {
                Target::AtOrAfter(wanted)
            };
            let record = match found.extent {
                None => None,
                Some(extent) => path
                    .search(id, target, &marks, end, extent)
                    .await
                    .map_err(|error| search_code(id, &error))?,
            };
            match record {
                None => (-1, Offset(-1), -1),
                Some(record) => (record.timestamp, record.offset, epoch.0),
            }
        }
    };
    Ok(error(partition, ResponseError::UnknownServerError)
        .with_error_code(0)
        .with_timestamp(timestamp)
        .with_offset(offset.0)
        .with_leader_epoch(epoch))
}

fn search_code(partition: PartitionId, error: &SearchError) -> ResponseError {
    tracing::warn!(%partition, %error, "a timestamp cannot be looked for");
    match error {
        SearchError::Metadata(_) => ResponseError::OffsetNotAvailable,
        SearchError::Read(_) => ResponseError::KafkaStorageError,
    }
}
