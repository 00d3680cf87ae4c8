//! The Kafka APIs that an agent serves, one file each, and what they have in common: the request's
//! context, the reply, the reasons to close a connection.

use std::sync::Arc;

use aquifer_format::limits::TOPIC_NAME_CHARS_MAX;
use aquifer_metadata_api::topic_name;
use aquifer_store::Monotonic;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use kafka_protocol::{
    messages::ApiKey,
    protocol::{Decodable, Encodable},
};

use crate::{
    broker::Broker,
    connection::{ConnectionHandle, End, zone::ClientZone},
};

mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
pub(crate) mod compact;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_acls;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_user_scram_credentials;
mod elect_leaders;
pub mod errors;
mod features;
pub(crate) mod fetch;
mod find_coordinator;
mod get_telemetry_subscriptions;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
pub(crate) mod list_offsets;
mod list_partition_reassignments;
mod metadata;
pub(crate) mod nodes;
pub(crate) mod offset_commit;
mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
mod produce;
mod push_telemetry;
mod sync_group;
#[cfg(test)]
mod tests;
mod update_features;
pub mod versions;

/// Who asks, and how.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The connection.
    pub connection: Arc<ConnectionHandle>,
    /// Index of the node id that the client connected to (each has a port of its own).
    pub node_index: u8,
    /// The client's `client.id`; empty where it sent none.
    pub client_id: String,
    /// The client's zone, as far as it is known.
    pub zone: ClientZone,
    /// API key of the request.
    pub api_key: i16,
    /// Version of the request.
    pub api_version: i16,
    /// When the request's last byte arrived.
    pub received: Monotonic,
}

impl RequestContext {
    /// Decodes the request's body. Only for frames that the guard has passed: the decoder reserves by
    /// the counts that it reads.
    pub(crate) fn decode<T: Decodable>(&self, mut body: Bytes) -> Result<T, Close> {
        T::decode(&mut body, self.api_version).map_err(|e| Close::Undecodable {
            reason: e.to_string(),
        })
    }

    /// Encodes a response at the request's version.
    pub(crate) fn reply<T: Encodable>(&self, response: &T) -> Result<Reply, Close> {
        encode_at(response, self.api_version)
    }
}

/// Encodes a response at a version.
fn encode_at<T: Encodable>(response: &T, version: i16) -> Result<Reply, Close> {
    let unencodable = |error: &dyn std::fmt::Display| Close::Unencodable {
        reason: error.to_string(),
    };
    let bytes = response
        .compute_size(version)
        .map_err(|e| unencodable(&e))?;
    let mut body = BytesMut::with_capacity(bytes);
    response
        .encode(&mut body, version)
        .map_err(|e| unencodable(&e))?;
    Ok(Reply::Body(vec![body.freeze()]))
}

/// Answers a request of any API but Produce.
pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    api: ApiKey,
    body: Bytes,
) -> Result<Reply, Close> {
    let began = broker.ports.clock.now();
    let reply = match api {
        ApiKey::Fetch => fetch::handle(broker, context, body).await,
        ApiKey::ListOffsets => list_offsets::handle(broker, context, body).await,
        ApiKey::OffsetForLeaderEpoch => {
            offset_for_leader_epoch::handle(broker, context, body).await
        }
        ApiKey::Metadata => metadata::handle(broker, context, body).await,
        ApiKey::FindCoordinator => find_coordinator::handle(broker, context, body).await,
        ApiKey::ApiVersions => api_versions::handle(broker, context, body).await,
        ApiKey::CreateTopics => create_topics::handle(broker, context, body).await,
        ApiKey::DeleteTopics => delete_topics::handle(broker, context, body).await,
        ApiKey::InitProducerId => init_producer_id::handle(broker, context, body).await,
        // Boxed, so that a connection that reads and writes records stays small.
        _ => Box::pin(administer(broker, context, api, body)).await,
    };
    let took = broker.ports.clock.now().since(began);
    metrics::histogram!("aquifer_request_seconds", "api" => api_name(context.api_key))
        .record(took.as_secs_f64());
    reply
}

/// Answers a request of those APIs that groups and administrators' tools use.
#[rustfmt::skip]
async fn administer(
    broker: &Arc<Broker>,
    context: &RequestContext,
    api: ApiKey,
    body: Bytes,
) -> Result<Reply, Close> {
    match api {
        ApiKey::AlterConfigs => alter_configs::handle(broker, context, body).await,
        ApiKey::AlterPartitionReassignments => alter_partition_reassignments::handle(broker, context, body).await,
        ApiKey::ConsumerGroupDescribe => consumer_group_describe::handle(broker, context, body).await,
        ApiKey::ConsumerGroupHeartbeat => consumer_group_heartbeat::handle(broker, context, body).await,
        ApiKey::CreateAcls => create_acls::handle(broker, context, body).await,
        ApiKey::CreatePartitions => create_partitions::handle(broker, context, body).await,
        ApiKey::DeleteAcls => delete_acls::handle(broker, context, body).await,
        ApiKey::DeleteGroups => delete_groups::handle(broker, context, body).await,
        ApiKey::DeleteRecords => delete_records::handle(broker, context, body).await,
        ApiKey::DescribeAcls => describe_acls::handle(broker, context, body).await,
        ApiKey::DescribeClientQuotas => describe_client_quotas::handle(broker, context, body).await,
        ApiKey::DescribeCluster => describe_cluster::handle(broker, context, body).await,
        ApiKey::DescribeConfigs => describe_configs::handle(broker, context, body).await,
        ApiKey::DescribeGroups => describe_groups::handle(broker, context, body).await,
        ApiKey::DescribeLogDirs => describe_log_dirs::handle(broker, context, body).await,
        ApiKey::DescribeProducers => describe_producers::handle(broker, context, body).await,
        ApiKey::DescribeQuorum => describe_quorum::handle(broker, context, body).await,
        ApiKey::DescribeTopicPartitions => describe_topic_partitions::handle(broker, context, body).await,
        ApiKey::DescribeUserScramCredentials => describe_user_scram_credentials::handle(broker, context, body).await,
        ApiKey::ElectLeaders => elect_leaders::handle(broker, context, body).await,
        ApiKey::GetTelemetrySubscriptions => get_telemetry_subscriptions::handle(broker, context, body).await,
        ApiKey::Heartbeat => heartbeat::handle(broker, context, body).await,
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs::handle(broker, context, body).await,
        ApiKey::JoinGroup => join_group::handle(broker, context, body).await,
        ApiKey::LeaveGroup => leave_group::handle(broker, context, body).await,
        ApiKey::ListConfigResources => list_config_resources::handle(broker, context, body).await,
        ApiKey::ListGroups => list_groups::handle(broker, context, body).await,
        ApiKey::ListPartitionReassignments => list_partition_reassignments::handle(broker, context, body).await,
        ApiKey::OffsetCommit => offset_commit::handle(broker, context, body).await,
        ApiKey::OffsetDelete => offset_delete::handle(broker, context, body).await,
        ApiKey::OffsetFetch => offset_fetch::handle(broker, context, body).await,
        ApiKey::PushTelemetry => push_telemetry::handle(broker, context, body).await,
        ApiKey::SyncGroup => sync_group::handle(broker, context, body).await,
        ApiKey::UpdateFeatures => update_features::handle(broker, context, body).await,
        _ => Err(Close::Unhandled {
            api_key: context.api_key,
        }),
    }
}

/// Takes a Produce request into the buffer, which waits while there is no room; the answer comes once
/// it is durable.
pub(crate) async fn start_produce(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> BoxFuture<'static, Result<Reply, End>> {
    let clock = Arc::clone(&broker.ports.clock);
    let began = context.received;
    match produce::accept(broker, context, body).await {
        Ok(pending) => Box::pin(async move {
            let reply = pending.await;
            let took = clock.now().since(began);
            metrics::histogram!("aquifer_request_seconds", "api" => "Produce")
                .record(took.as_secs_f64());
            reply.map_err(End::Handler)
        }),
        Err(close) => Box::pin(std::future::ready(Err(End::Handler(close)))),
    }
}

/// As much of a name as an answer repeats in a text: a topic's name is no longer, what is longer would come back
/// with each of its partitions, and a text around the longest name would be longer than answers can carry.
fn shown(name: &str) -> &str {
    let end = name.char_indices().nth(TOPIC_NAME_CHARS_MAX);
    end.map_or(name, |(end, _)| &name[..end])
}

fn api_name(api_key: i16) -> &'static str {
    versions::find(api_key).map_or("unknown", |served| served.shape.name)
}

/// What a handler gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The encoded response body in pieces that are written one after the other; the connection puts
    /// length and response header before them.
    Body(Vec<Bytes>),
    /// No answer (Produce with acks=0).
    Nothing,
}

impl Reply {
    /// Size of the body.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Body(pieces) => pieces.iter().map(Bytes::len).sum(),
            Self::Nothing => 0,
        }
    }
}

/// Why a connection is closed without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The body passed the guard and the decoder still refused it (text that is not UTF-8, say).
    #[error("the request cannot be decoded: {reason}")]
    Undecodable {
        /// What the decoder said.
        reason: String,
    },
    /// A response could not be encoded; a bug.
    #[error("the response cannot be encoded: {reason}")]
    Unencodable {
        /// What the encoder said.
        reason: String,
    },
    /// A Produce request with acks=0 failed: closing is the only way to say so.
    #[error("a produce request with acks=0 failed with error code {code}")]
    UnacknowledgedFailed {
        /// Kafka's error code.
        code: i16,
    },
    /// The commit session ended with the request's outcome unknown: the client finds out by trying
    /// again on a new connection.
    #[error("the commit session ended before the outcome was known")]
    SessionEnded,
    /// The table of served versions has an API that no handler answers; a bug.
    #[error("api key {api_key} has no handler")]
    Unhandled {
        /// The key.
        api_key: i16,
    },
    /// The agent stops.
    #[error("the agent is stopping")]
    Stopping,
}
